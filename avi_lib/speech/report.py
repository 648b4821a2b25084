"""The health report of a recording: what it was, what was repaired, what a person should know.

>>> speech = load_speech("my.m4a")
>>> for line in speech.report.lines():
...     print(line)
my.m4a: mov aac, 2 channels, 44100 Hz, 9.31 s
repaired: peak 1.31 of full scale, scaled to 1
>>> speech.report.model_dump_json()
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field


class Finding(BaseModel):
    """One thing found in a recording: a stable name, the number that tells how much, and a sentence for a person."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float = Field(allow_inf_nan=False)
    text: str


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

    def repair(self, name: str) -> Finding | None:
        """The repair of that name, None when there was no need for it."""
        return next((finding for finding in self.repairs if finding.name == name), None)

    def warning(self, name: str) -> Finding | None:
        """The warning of that name, None when there was no reason for it."""
        return next((finding for finding in self.warnings if finding.name == name), None)

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
