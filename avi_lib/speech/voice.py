"""One voice a recording: its wave, how it was loaded, and what is computed from it once, when first asked for.

>>> voice = load_voice("my.m4a")
>>> voice.prosody(25.0), voice.phones(), voice.phones("Hello there."), voice.features(load_encoder())
>>> voice.acoustic_features(encoder).shape  # early layers, 25 steps a second
(3, 96, 384)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from copy import copy
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float16, Float32
from pydantic import BaseModel, ConfigDict, Field

from avi_lib.errors import Finding
from avi_lib.speech.encoders import FPS, RATE_HZ, SpeechEncoder
from avi_lib.speech.phones import PhoneTrack, align_phones, recognise_phones
from avi_lib.speech.prosody import PitchTrack, Prosody, track_pitch

STEPS_S = 25
RECIPE = 2
"""Part of the address of everything that is kept; to be raised when the way from wave to acoustic features changes."""

Wave = Float32[np.ndarray, " samples"]


class SpeechReport(BaseModel):
    """How a recording was loaded. `repairs` changed the wave; `warnings` left it as it is.

    Channels, rate and claimed length are those of the file; every level is that of the 16 kHz wave that came out, in dB
    relative to full scale, except `clipping_fraction` and `dc_offset`, which are measured before any change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    container: str
    codec: str
    channels: int
    source_rate_hz: int
    claimed_s: float | None = Field(description="length that the file's header promises, None where it promises none")
    duration_s: float
    peak_dbfs: float
    rms_dbfs: float = Field(description="over the whole recording")
    speech_dbfs: float = Field(description="RMS over the frames that are not silent")
    noise_dbfs: float = Field(description="tenth percentile of the levels of 25 ms frames")
    snr_db: float = Field(description="estimate; a lower bound where the recording has no pause")
    silence_ratio: float = Field(description="fraction of 25 ms frames that are silent")
    clipping_fraction: float = Field(description="fraction of samples that lie flat at the extreme")
    dc_offset: float = Field(description="largest mean of a channel, relative to full scale or a higher peak")
    repairs: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    def finding(self, name: str) -> Finding | None:
        """The repair or warning of that name, None when there was no need for it."""
        return next((finding for finding in (*self.repairs, *self.warnings) if finding.name == name), None)

    def lines(self) -> Iterator[str]:
        """The report for a person: the source, the levels, then a line for each repair and each warning."""
        channels = f"{self.channels} channel{'s' if self.channels > 1 else ''}"
        container = self.container.split(",")[0]
        yield f"{self.path}: {container} {self.codec}, {channels}, {self.source_rate_hz} Hz, {self.duration_s:.2f} s"
        yield (
            f"peak {self.peak_dbfs:.1f} dBFS, speech {self.speech_dbfs:.1f} dBFS, noise {self.noise_dbfs:.1f} dBFS, "
            f"SNR about {self.snr_db:.0f} dB, silent {self.silence_ratio:.0%}"
        )
        yield from (f"repaired: {finding.text}" for finding in self.repairs)
        yield from (f"note: {finding.text}" for finding in self.warnings)


AcousticFeatures = Float16[np.ndarray, "_layers _steps _dim"]
"""What the instructor reads of a clip: states of the encoder's early layers."""


class Voice:
    """A recording for every later stage.

    Attributes:
        wave: (samples,) float32 in [-1, 1] at 16 kHz.
        report: how it was loaded; None for a wave that was made.
    """

    rate_hz = RATE_HZ

    def __init__(self, wave: Wave, report: SpeechReport | None = None) -> None:
        self.wave, self._report = wave, report
        self._phones: dict[str | None, PhoneTrack] = {}
        self._states: dict[SpeechEncoder, Float32[np.ndarray, "layers frames dim"]] = {}

    def __repr__(self) -> str:
        """Its path, where it has one, and length."""
        return f"<Voice {self._report.path if self._report else 'made'}: {self.duration_s:.2f} s at {RATE_HZ} Hz>"

    @property
    def report(self) -> SpeechReport:
        """How it was loaded."""
        assert self._report is not None, "a wave that was made has no report"
        return self._report

    def named(self, name: str) -> Voice:
        """The same under another name in its report; it shares what is computed already."""
        other = copy(self)
        other._report = self.report.model_copy(update={"path": name})
        return other

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.wave) / RATE_HZ

    @cached_property
    def track(self) -> PitchTrack:
        """Power and pitch of every 10 ms; InputError for an empty wave."""
        return track_pitch(self.wave)

    def prosody(self, fps: float = 25.0) -> Prosody:
        """Prosody in ceil(duration * fps) frames; see `prosody.prosody`."""
        return self.track.at(fps)

    def phones(self, text: str | None = None) -> PhoneTrack:
        """Phones with times, aligned with what is said where it is known; see `recognise_phones`, `align_phones`."""
        if text not in self._phones:
            self._phones[text] = recognise_phones(self.wave) if text is None else align_phones(self.wave, text)
        return self._phones[text]

    def states(self, encoder: SpeechEncoder) -> Float32[np.ndarray, "layers frames dim"]:
        """States of every layer of an encoder for the whole wave, 50 a second; see `SpeechEncoder.encode_layers`."""
        if encoder not in self._states:
            self._states[encoder] = encoder.encode_layers(self.wave)
        return self._states[encoder]

    def features(self, encoder: SpeechEncoder) -> Float32[np.ndarray, "frames dim"]:
        """States of the last layer alone; of an encoder of many layers the others are not kept for it."""
        if encoder in self._states or encoder.layers == 1:
            return self.states(encoder)[-1]
        return encoder.encode(self.wave)

    def acoustic_features(self, encoder: SpeechEncoder) -> AcousticFeatures:
        """What the instructor reads of the whole wave; its recording level makes no difference.

        Raises InputError for an empty wave and samples that are not finite.
        """
        states = encoder.encode_early(self.wave)
        every = round(FPS / STEPS_S)
        steps = -(-states.shape[1] // every)
        padded = np.pad(states, ((0, 0), (0, steps * every - states.shape[1]), (0, 0)), mode="edge")
        joined = padded.reshape(len(states), steps, every, -1).mean(axis=2)
        return np.asarray(joined.astype(np.float16))

    def groups(self, longest_s: float) -> list[tuple[float, Voice]]:
        """Breath groups of at most `longest_s`, each with its start in seconds; the voice itself if it is no longer."""
        frames = max(1, -(-len(self.wave) // SAMPLES))
        parts = cut_at_pauses(self.wave, frames, round(longest_s * RATE_HZ) // SAMPLES)
        if len(parts) == 1:
            return [(0.0, self)]
        return [(first / VIDEO_FPS, Voice(self.wave[first * SAMPLES : last * SAMPLES])) for first, last in parts]


# Cutting: where a long recording is parted into clips, in whole video frames.


VIDEO_FPS = 25
SAMPLES = RATE_HZ // VIDEO_FPS
"""Samples of one video frame."""
_PAUSE = 7
"""Frames over which a pause is looked for, about a quarter of a second."""


def cut_at_pauses(wave: Wave, frames: int, longest: int) -> list[tuple[int, int]]:
    """First and last (exclusive) frame of each part of a wave; parts follow on and have at most `longest` frames.

    Each cut is the quietest quarter of a second in the second half of what a part may be; no part is shorter than half
    of `longest`.
    """
    if frames <= longest:
        return [(0, frames)]
    padded = np.pad(wave, (0, max(frames * SAMPLES - len(wave), 0)))[: frames * SAMPLES]
    power = np.square(padded, dtype=np.float32).reshape(frames, SAMPLES).mean(axis=1)
    around = np.convolve(np.pad(power, _PAUSE // 2, mode="edge"), np.full(_PAUSE, 1 / _PAUSE), mode="valid")
    level_db: Float[np.ndarray, " frames"] = 10 * np.log10(around + 1e-8)
    parts, start, least = [], 0, longest // 2
    while frames - start > longest:
        most = min(longest, frames - start - least)
        end = start + least + int(np.argmin(level_db[start + least : start + most + 1]))
        parts.append((start, end))
        start = end
    return [*parts, (start, frames)]


def cut_evenly(frames: int, longest: int) -> list[tuple[int, int]]:
    """Parts of like length, for motion without sound."""
    count = -(-frames // longest)
    return list(itertools.pairwise(round(i * frames / count) for i in range(count + 1)))
