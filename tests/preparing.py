"""Preparing made-up corpora in one process, without the costs of decoding and encoding."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from pathlib import Path

import pytest
import soundfile
from raw_corpora import RATE_HZ, StillEncoder

from avi_lib.corpus import prepare as preparing
from avi_lib.speech.phones import Phone
from avi_lib.speech.voice import SpeechReport, Voice


class Inline(Executor):
    """Does the work where it is asked for."""

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


def read_quickly(path: Path, max_minutes: float) -> Voice:
    """A sound FLAC without the checks and the process of its own that `load_voice` takes."""
    wave, _ = soundfile.read(path, dtype="float32")
    measures = "peak_dbfs rms_dbfs speech_dbfs noise_dbfs snr_db silence_ratio clipping_fraction dc_offset"
    levels = dict.fromkeys(measures.split(), 0.0)
    source = {"path": str(path), "container": "flac", "codec": "flac", "channels": 1, "source_rate_hz": RATE_HZ}
    return Voice(wave, SpeechReport(**source, **levels, claimed_s=None, duration_s=len(wave) / RATE_HZ))


def stand_in(patch: pytest.MonkeyPatch) -> None:
    """No worker processes and no network."""
    patch.setattr(preparing, "worker_pool", lambda workers: nullcontext(Inline()))
    patch.setattr(preparing, "_encoder", lambda name: StillEncoder())


def contiguous(phones: Iterable[Phone], duration_s: float) -> bool:
    """Whether phones run from 0 to `duration_s` without gap, overlap or empty phone."""
    end = 0.0
    for phone in phones:
        if phone.start_s != end or phone.end_s <= phone.start_s:
            return False
        end = phone.end_s
    return end == duration_s
