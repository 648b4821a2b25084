"""What measures: the file of results, peers, times, phones that are scored."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_priors import Letters
from talking_corpora import performed
from test_prior import SETTINGS

from avi_lib.errors import InputError
from avi_lib.motion.generator import STYLE
from avi_lib.speech.encoders import one_thread
from tools.benchmarks import __main__ as bench
from tools.benchmarks import peer_prior, phones, siege
from tools.benchmarks.autoregressive import HEADS, PERIOD, AutoregressiveDecoder, causal_bias, decode, decode_cached
from tools.benchmarks.damage import mutated
from tools.benchmarks.generator import measure_speed
from tools.benchmarks.measuring import Figure, in_turns_ms
from tools.benchmarks.results import is_missed, with_section

ROOT = Path(__file__).resolve().parents[2]


# Results


def test_a_figure_is_marked_where_it_misses_its_target_and_kept_results_are_of_known_sections():
    missed = ((0.35, "<= 0.25"), (0.4, ">= 0.5"), (19.0, "20"), (math.nan, ">= 0.5"), (1.31, "0.7 to 1.3"))
    met = ((0.25, "<= 0.25"), (1.0, "1"), (9.0, "-"), (9.0, "about 1"), (-0.1, "-0.1 to 0.1"))
    assert all(is_missed(Figure("a", value, "", must, "")) for value, must in missed)
    assert not any(is_missed(Figure("a", value, "", must, "")) for value, must in met)
    kept = re.findall(r"(?m)^## (.*)$", (ROOT / "docs" / "results.md").read_text("utf-8"))
    assert {name.partition(" ")[0] for name in kept} <= {*bench.SECTIONS, "notebooks", "ablations", "trainings"}


def test_a_section_measured_anew_leaves_the_others_as_they_were(tmp_path, monkeypatch, capsys):
    def measured(section: str, options: bench.Options):
        yield Figure(f"{section} x", 0.4, "s", ">= 0.5", "how")
        if section == "talk":
            raise InputError("a head", "none", "bring one")

    monkeypatch.setattr(bench, "measure", measured)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.md")
    monkeypatch.setattr(bench, "machine", lambda: "one core")
    assert bench.main(["--only", "phones", "units"]) == 0
    first = (tmp_path / "results.md").read_text()
    assert bench.main(["--only", "talk"]) == 2
    assert "the rest of talk: expected a head" in capsys.readouterr().err
    text = (tmp_path / "results.md").read_text()
    assert text.startswith(first.rstrip("\n")) and text.count("| **missed** |") == 3
    assert "`python -m tools.benchmarks --only talk`; one core." in text
    again = with_section(text, "phones", [Figure("y", 1.0, "", "-", "")], "two cores")
    assert [line for line in again.splitlines() if line.startswith("## ")] == ["## phones", "## units", "## talk"]
    assert "phones x" not in again and "| y | 1.00  | - |  |  |" in again


# The peers


def test_without_its_package_the_peer_of_the_prior_says_how_to_get_it(monkeypatch, tmp_path):
    if peer_prior.find_peer():
        few = SETTINGS.model_copy(update={"train": SETTINGS.train.model_copy(update={"steps": 3})})
        found = peer_prior.measure_peer([performed()], Letters(), few, tmp_path)
        assert {f.name: f.value for f in found}["pooled: millions of weights"] > 0
    monkeypatch.setattr(peer_prior, "_import_peer", lambda: (_ for _ in ()).throw(ImportError("no such package")))
    with pytest.raises(InputError, match="make peer"):
        list(peer_prior.measure_peer([performed()], Letters(), SETTINGS, tmp_path))


@pytest.mark.parametrize("layers", [1, 3])
def test_the_autoregressive_peer_sees_the_past_alone_and_loses_nothing_by_keeping_its_keys(layers: int):
    torch.manual_seed(0)
    peer = AutoregressiveDecoder(features=12, channels=5, width=32, layers=layers).eval()
    for parameter in peer.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    features, style = torch.randn(61, 12), torch.randn(STYLE)
    with one_thread():
        whole, cached = decode(peer, features, style), decode_cached(peer, features, style)
        changed = features.clone()
        changed[20:] += 1.0
        moved = (whole - decode(peer, changed, style)).abs().amax(dim=1)
    assert whole.shape == (30, 5) and (whole - cached).abs().max() < 1e-4 and whole.std() > 0.1
    assert moved[:10].max() < 1e-6 and moved[10:].min() > 1e-4
    for run in (decode, decode_cached):
        with pytest.raises(InputError, match="at least two steps"):
            run(peer, features[:1], style)


def test_attention_of_the_peer_falls_by_a_slope_of_its_head_for_each_whole_period():
    bias = causal_bias(3 * PERIOD)
    assert bias[:, 2 * PERIOD, PERIOD].tolist() == [-1 / 4, -1 / 16, -1 / 64, -1 / 256]
    assert (bias[0, PERIOD - 1, 0], bias[0, 2 * PERIOD, 0]) == (0, -1 / 2)
    assert bias[:, 0, 1].tolist() == [-math.inf] * HEADS


# Times


def test_work_is_timed_in_turns_and_in_milliseconds_of_the_processor():
    order: list[str] = []

    def work() -> None:
        order.append("work")
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass

    def sleep() -> None:
        order.append("sleep")
        time.sleep(0.02)

    spent = in_turns_ms({"work": work, "sleep": sleep}, turns=3)
    assert order == ["work", "sleep"] * 4
    assert [len(times) for times in spent.values()] == [3, 3]
    assert 20 <= min(spent["work"]) < 40
    assert min(spent["sleep"]) < 10


def test_figures_of_speed_name_what_they_must_reach():
    figures = {figure.name: figure for figure in measure_speed(turns=1, lengths_s=(1, 2), peer_frames=20)}
    assert (figures["1 s of motion"].unit, figures["1 s of motion"].must) == ("CPU ms", "<= 60")
    published = figures["faster than autoregressive, as published"]
    assert (published.unit, published.must) == ("x", ">= 20")
    deep = figures["faster than autoregressive, as deep as ours, keys kept"]
    assert deep.value > figures["faster than autoregressive, keys kept"].value > 0.1


# Phones


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Ten clips of 1 s at 8 kHz with a text for each second one, and two labels without a recording."""
    names = [f"clip{i}" for i in range(12)]
    labels = [["one", "W", 0.0, 0.3], ["one", "M", 0.3, 0.6], ["one", "N", 0.6, 1.0]]
    (tmp_path / "phones.json").write_text(json.dumps(dict.fromkeys(names, labels)))
    wave = np.random.default_rng(2).normal(0, 0.1, 8000)
    for name in names[:10]:
        soundfile.write(tmp_path / f"{name}.flac", wave, 8000)
    (tmp_path / "index.csv").write_text("clip,text\n" + "".join(f"{name},one\n" for name in names[::2]))
    return tmp_path


def test_labelled_clips_are_spread_over_their_folder_and_a_folder_without_them_is_refused(labelled: Path, capsys):
    def chosen(clips: int | None) -> list[int]:
        return [int(path.stem.removeprefix("clip")) for path, _, _ in phones.read_source(labelled, clips)]

    assert (chosen(7), chosen(4)) == ([0, 2, 3, 4, 6, 8, 9], [0, 3, 6, 9])
    assert chosen(None) == chosen(99) == list(range(10))
    assert "2 of 12 labelled clips: no recording" in capsys.readouterr().err
    (labelled / "bare").mkdir()
    (labelled / "bare" / "phones.json").write_text("{}")
    for folder, clips in ((labelled, 0), (labelled / "bare", None), (labelled / "none", None)):
        with pytest.raises(InputError):
            phones.read_source(folder, clips)


def test_recordings_are_scored_at_16_khz_and_timed_by_their_own_seconds(labelled: Path, monkeypatch):
    clock_s = iter(np.arange(0.0, 100.0))
    samples: list[int] = []

    def found(wave: np.ndarray, text: str = "") -> phones.PhoneTrack:
        samples.append(len(wave))
        return phones.PhoneTrack(phones.read_source(labelled, 1)[0][2], "toy", "it is one")

    monkeypatch.setattr(phones, "recognise_phones", found)
    monkeypatch.setattr(phones, "align_phones", found)
    monkeypatch.setattr(phones.time, "process_time", lambda: next(clock_s))
    scores = phones.evaluate(labelled, 3)
    assert set(samples) == {16_000}
    assert {mode: (score["clips"], score["cpu_s_per_s"]) for mode, score in scores.items()} == {
        "audio": (3, 1.0),
        "text": (2, 1.0),
    }


@pytest.mark.parametrize(("part", "count"), [("sounds", 20), ("motions", 30), ("sentences", 200), ("parameters", 100)])
def test_a_small_siege_finds_nothing(part: str, count: int, tmp_path: Path) -> None:
    given = (count, tmp_path) if part != "sentences" else (count,)
    figure = siege.besiege(part, getattr(siege, part)(*given))
    assert figure.value == 0, figure.how
    assert int(re.match(r"of (\d+)", figure.how)[1]) >= count


def test_a_siege_tells_hangs_foreign_exceptions_and_refusals_of_several_lines(capsys: pytest.CaptureFixture) -> None:
    def refuse(words: str) -> None:
        raise InputError("a file", words, "mend it")

    attacks = [("fine", lambda: None), ("refused", lambda: refuse("none")), ("foreign", lambda: {}["x"])]
    attacks += [("words", lambda: refuse("'int' object is not iterable")), ("hang", lambda: time.sleep(9))]
    figure = siege.besiege("readers", attacks, stuck_s=0.2, limit_s=0.1)
    assert figure.value == 3 and "1 refused, 1 taken" in figure.how
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines()] == [" foreign", " words", " hang"]


def test_damage_follows_from_the_seed() -> None:
    whole = bytes(range(256)) * 4
    again = [[mutated(whole, np.random.default_rng([7, n])) for n in range(50)] for _ in range(2)]
    assert again[0] == again[1] and whole not in again[0] and len(set(again[0])) == 50
