"""Tiny prepared corpora that a talking model is trained on in tests: performed, recorded and FLAME, each made once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SCRATCH
from preparing import read_quickly, stand_in
from raw_corpora import RATE_HZ, talkers, voice, write_table_corpus

from avi_lib.corpus import segments
from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.prepare import prepare
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.formats import save_livelink
from avi_lib.settings import PrepareSettings

TAKES = {"plain": (2.0, 0.1, True), "wide": (2.4, 0.7, True), "mute": (1.6, 0.4, False)}
"""Seconds, weight of the smile, whether there is sound."""


@cache
def performed() -> Corpus:
    """Four speakers with three clips of 30 to 36 frames; two of them speak for training, and one says 3.2 s."""
    rows = talkers(speakers=4, clips=3)
    rows[0]["duration_s"] = 3.2
    return _prepared("table", lambda folder: write_table_corpus(folder, rows), "performed")


@cache
def recorded() -> Corpus:
    """Three takes of one actor, one of them without sound."""
    return _prepared("livelink", _write_takes, "recorded")


@cache
def flame() -> Corpus:
    """Two clips of FLAME coefficients with sound, without the head's rotation."""
    return _prepared("flame", _write_flame, "flame")


def take(seconds: float, smile: float) -> MotionClip:
    """A face that talks, blinks and smiles."""
    times_s = (np.arange(round(seconds * 60)) + 0.5) / 60
    values = np.zeros((len(times_s), len(ARKIT)), np.float32)
    values[:, ARKIT.index("jawOpen")] = 0.2 * (1 - np.cos(2 * np.pi * 3 * times_s))
    values[:, ARKIT.index("headYaw")] = 0.05 * np.sin(times_s)
    for channel in ("mouthSmileLeft", "mouthSmileRight"):
        values[:, ARKIT.index(channel)] = smile
    for channel in ("eyeBlinkLeft", "eyeBlinkRight"):
        values[:, ARKIT.index(channel)] = np.abs(times_s - 0.5) < 0.1
    return MotionClip(values, 60.0, ARKIT)


def _write_takes(folder: Path) -> Path:
    (folder / "anna").mkdir(parents=True)
    for name, (seconds, smile, sounding) in TAKES.items():
        save_livelink(take(seconds, smile), folder / "anna" / f"{name}.csv")
        if sounding:
            soundfile.write(folder / "anna" / f"{name}.wav", voice(seconds), RATE_HZ, subtype="PCM_16")
    return folder


def _write_flame(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in range(2):
        angle = np.linspace(0, 20, 50, dtype=np.float32)
        jaw = np.stack([0.1 + 0.1 * np.sin(angle), 0 * angle, 0 * angle], axis=1)
        expression = np.float32(0.5 + number) * np.cos(angle[:, None] / np.arange(1, 51, dtype=np.float32))
        np.savez(folder / f"f{number}.npz", expression=expression, jaw=jaw)
        soundfile.write(folder / f"f{number}.wav", voice(2.0, 100.0 + 30 * number), RATE_HZ, subtype="PCM_16")
    return folder


def _prepared(adapter: str, write: Callable[[Path], Path], name: str) -> Corpus:
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        patch.setattr(segments, "load_voice", read_quickly)
        settings = PrepareSettings(scripts=2, texts=1, group=3)
        prepare(adapter, write(folder / "raw"), folder / name, settings, workers=1, progress=False)
    return Corpus(folder / name)
