"""The shipped talking model: what its file says, and what it does with recordings it has never heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from avi_lib.evaluation.metrics import lip_closure
from avi_lib.face.head import load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.generator import SHIPPED, read_talking_about
from avi_lib.settings import PerformerSettings, TalkSettings
from avi_lib.talker import Talk, Talker

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"


@pytest.fixture(scope="module")
def talker() -> Talker:
    return Talker(TalkSettings(performer=PerformerSettings(blinks=False, gaze=False, sway=False)))


@pytest.fixture(scope="module")
def calm(talker: Talker) -> Talk:
    return talker.listen(SAMPLES / "arctic.flac", Instruction.parse("A person speaks calmly."))


def test_the_weights_are_small_half_precision_and_say_what_they_were_trained_on():
    assert SHIPPED.stat().st_size <= 8e6
    with safe_open(SHIPPED, "pt") as stored:
        assert {str(stored.get_slice(name).get_dtype()) for name in stored.keys()} == {"F16"}  # noqa: SIM118
    about = read_talking_about(SHIPPED)
    corpora = about["start"]["corpora"] | about["corpora"]
    assert {"samples", "synthesised", "facegood"} <= corpora.keys() and "ravdess" not in corpora
    assert all(told["licence"] not in ("", "unknown") and told["minutes"] > 0 for told in corpora.values())


def test_lips_are_open_on_vowels_and_shut_on_m_b_p(calm: Talk):
    gap = load_head().lip_gap(calm.motion.values)
    assert lip_closure(gap, calm.phones.phones, calm.motion.fps) > 1.5


def test_the_mouth_rests_where_nobody_speaks(talker: Talker):
    generator = talker.generator
    assert generator is not None
    style = generator.model.style_of(talker.listen(SAMPLES / "arctic.flac", Instruction.parse("She is calm.")).motion)
    hiss = 0.01 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    for wave in (np.zeros(48_000, np.float32), hiss):
        motion = generator.model.motion_of(generator.listen(wave), style)
        assert 1000 * np.percentile(load_head().lip_gap(motion.values), 95) < 1.5


def test_the_face_does_what_the_sentence_says_and_the_lips_keep_their_timing(talker: Talker, calm: Talk):
    angry = talker.direct(calm, Instruction.parse("A person feels very angry and speaks with brow strongly down."))
    assert (angry.motion["browDownLeft"] - calm.motion["browDownLeft"]).mean() > 0.3
    happy = talker.direct(calm, Instruction.parse("A person is very happy."))
    assert (happy.motion["mouthSmileLeft"] - calm.motion["mouthSmileLeft"]).mean() > 0.2
    jaw = ARKIT.index("jawOpen")
    assert np.corrcoef(angry.motion.values[:, jaw], calm.motion.values[:, jaw])[0, 1] > 0.9
