"""Phones scored against a corpus of labelled ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avi_lib.evaluation import phones


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Ten clips of 1 s at 8 kHz with a text for each second one, and two labels without a recording."""
    names = [f"clip{i}" for i in range(12)]
    labels = [["one", "W", 0.0, 0.3], ["one", "M", 0.3, 0.6], ["one", "N", 0.6, 1.0]]
    (tmp_path / "phones.json").write_text(json.dumps(dict.fromkeys(names, labels)))
    wave = np.random.default_rng(2).normal(0, 0.1, 8000)
    for name in names[:10]:
        soundfile.write(tmp_path / f"{name}.flac", wave, 8000)
    (tmp_path / "index.csv").write_text("clip,text\n" + "".join(f"{name},one\n" for name in names[::2]))
    return tmp_path


def test_clips_of_a_corpus_are_spread_over_all_of_it(corpus: Path, capsys: pytest.CaptureFixture[str]):
    def chosen(clips: int | None) -> list[int]:
        return [int(path.stem.removeprefix("clip")) for path, _, _ in phones.read_source(corpus, clips)]

    assert chosen(7) == [0, 2, 3, 4, 6, 8, 9]
    assert chosen(4) == [0, 3, 6, 9]
    assert chosen(None) == chosen(99) == list(range(10))
    assert "2 of 12 labelled clips have no recording" in capsys.readouterr().err


def test_recordings_of_a_corpus_are_scored_at_16_khz_and_timed_by_their_own_seconds(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
):
    clock_s = iter(np.arange(0.0, 100.0))
    samples: list[int] = []

    def heard(wave: np.ndarray, text: str = "") -> phones.PhoneTrack:
        samples.append(len(wave))
        return phones.PhoneTrack(phones.read_source(corpus, 1)[0][2], "toy", "it is one")

    monkeypatch.setattr(phones, "recognise_phones", heard)
    monkeypatch.setattr(phones, "align_phones", heard)
    monkeypatch.setattr(phones.time, "process_time", lambda: next(clock_s))
    scores = phones.evaluate(corpus, 3)
    assert set(samples) == {16_000}
    assert {mode: (score["clips"], score["cpu_s_per_s"]) for mode, score in scores.items()} == {
        "audio": (3, 1.0),
        "text": (2, 1.0),
    }


def test_a_corpus_that_cannot_be_scored_ends_in_one_line_and_status_2(corpus: Path, capsys: pytest.CaptureFixture[str]):
    (corpus / "bare").mkdir()
    (corpus / "bare" / "phones.json").write_text("{}")
    for arguments in ([str(corpus), "--clips", "0"], [str(corpus / "bare")], [str(corpus / "none")]):
        assert phones.main(arguments) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
