"""Speech in: a recording of any usual kind becomes a checked 16 kHz mono wave, or a clear error.

>>> voice = load_voice("my.m4a")
>>> voice.wave.shape, voice.wave.dtype, voice.rate_hz, round(voice.duration_s, 2)
((149024,), dtype('float32'), 16000, 9.31)
>>> list(voice.report.lines())  # its health, for a person

The checks, in order: a regular file within the size cap, decodable (in a child process, see `wall`), 1-8 channels,
4-192 kHz, finite samples, 0.1 s to `max_minutes`, silence, clipping, constant offset, cancelling channels, peak. Each
ends in an InputError or in a repair or warning of `Voice.report`. Blocks are resampled as they are decoded and kept in
a spool that moves to disk, so memory is bounded by the resulting mono wave (230 MB for an hour) and 64 MB.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import soxr
from jaxtyping import Float32, Float64
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avi_lib.errors import InputError, OutputError, expect, one_line
from avi_lib.speech.decode import CONVERT, MAX_CHANNELS, RATES_HZ, READABLE, decode_sound
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.voice import Finding, SpeechReport, Voice
from avi_lib.wall import behind_wall

MEMORY_MB = 768
MIN_S = 0.1
MAX_NOT_FINITE = 1e-3
SILENT_DBFS = -65.0  # a frame below this level is silent whatever surrounds it
SILENT_BELOW_SPEECH_DB = 35.0  # a frame this far below the loud frames is silent
MIN_AUDIBLE = 3  # a recording with fewer frames than this that are not silent holds a click at most
MOSTLY_SILENT = 0.8
QUIET_DBFS = -45.0
CLIPPED = 1e-3
LARGEST_SAMPLE = 1e36  # samples beyond this magnitude count as not finite: filters of float32 would overflow on them
DC_OF_SCALE, DC_OF_RMS = 0.005, 0.1
"""Constant offsets are removed from this fraction of full scale (or of a higher peak), or of the channel's RMS, on."""
CANCELLED_RATIO = 0.1
"""The channels cancel when their mean has less than this fraction of the power it would have were they unrelated."""
DEAD_RATIO = 1e-5  # a channel is dead when its power is below this fraction (-50 dB) of the strongest channel's

_CLIP_STEP = 1.5 / 32768
_CLIP_RUN = 3
_FRAME = RATE_HZ // 40
_SPOOL_BYTES = 64 << 20
_CHUNK = 1 << 18

Wave = Float32[np.ndarray, " samples"]
Block = Float32[np.ndarray, "samples channels"]


class Source(BaseModel):
    """What the decoder says a recording is; `claimed_s` is None where the container promises no length.

    `open` where its header says so; `others` are sound tracks that were not read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    container: str
    codec: str
    channels: int = Field(ge=1, le=MAX_CHANNELS)
    rate_hz: int = Field(ge=RATES_HZ[0], le=RATES_HZ[1])
    claimed_s: float | None = Field(ge=0, lt=1e9)
    open: bool = False
    others: list[str] = []


def load_voice(
    path: str | os.PathLike[str],
    max_minutes: float = 120.0,
    max_bytes: int = 4 << 30,
    refuse_silence: bool = True,
    track: int | None = None,
) -> Voice:
    """Load the sound of a recording or a video as 16 kHz mono with a report of its health.

    Samples that are not finite are interpolated when they are at most 0.1 % of all. A peak above full scale is scaled
    to 1; nothing is amplified. Without `refuse_silence` a silent recording is loaded too, with the
    warning `mostly_silent`. Of several sound tracks `track` is read, counted from 1, or the one that is most like
    speech; the warning `tracks` has its number and lists the others. Raises InputError for whatever cannot be used: the
    text says what came and what to do.
    """
    expect(track is None or track > 0, "a track from 1 on", track, "name another or leave it out")
    load = partial(_load_track, Path(path), max_minutes, max_bytes, refuse_silence)
    loaded = load(track or 0)
    if isinstance(loaded, Voice):
        return loaded
    best, best_score, reasons = None, -1.0, []
    for number in range(1, len(loaded) + 1):
        try:
            voice = load(number)
        except InputError as error:
            reasons.append(f"track {number}: {error.got}")
            continue
        assert isinstance(voice, Voice)
        if (score := likeness_to_speech(voice)) > best_score:
            best, best_score = voice, score
    if best is None:
        got = f"{len(loaded)} tracks, none of which can be used ({'; '.join(reasons)})"
        raise InputError("a recording in which somebody speaks", got, "record it again, or name another file")
    return best


def likeness_to_speech(voice: Voice) -> float:
    """How strongly the level moves at the rate of syllables, times the share of the sound whose pitch glides.

    Scheirer & Slaney 1997, "Construction and evaluation of a robust multifeature speech/music discriminator". Of the
    loudest two minutes; speech has 0.12 to 0.6, music, drums, babble and noise below 0.1.
    """
    block = 10 * RATE_HZ
    parts = [voice.wave[start : start + block] for start in range(0, len(voice.wave), block)]
    loudest = sorted(range(len(parts)), key=lambda i: -float(parts[i] @ parts[i]))[:12]
    prosody = Voice(np.concatenate([parts[i] for i in sorted(loudest)])).prosody(100.0)
    level = 10 ** (prosody.energy_db.astype(np.float64) / 20)
    strength = np.abs(np.fft.rfft(level - level.mean())) / len(level)
    rate_hz = np.fft.rfftfreq(len(level), 0.01)
    moves = np.sqrt(2 * np.square(strength[(rate_hz >= 2) & (rate_hz < 8)]).sum()) / level.mean()
    voiced, sounds = prosody.f0_hz > 75, level > level.max() / 100
    steps = np.abs(np.diff(12 * np.log2(np.maximum(prosody.f0_hz, 1))))[voiced[1:] & voiced[:-1]]
    glides = float(steps[steps < 5].mean()) if (steps < 5).any() else 0.0
    return float(moves * min(glides / 0.15, 1) * (voiced & sounds).sum() / sounds.sum())


def _load_track(path: Path, max_minutes: float, max_bytes: int, refuse_silence: bool, track: int) -> Voice | list[str]:
    """The sound of a track; without one (0) that of the only track, or what the tracks are where there are several."""
    name = one_line(path.name)
    with _open_recording(path, max_bytes) as file, tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        decoded = _decode_to(spool, file, name, max_minutes, track)
        if isinstance(decoded, list):
            return decoded
        source, statistics, counts = decoded
        repairs = _stream_repairs(source, counts, statistics, name)
        wave = _mixed(spool, statistics, repairs)
    peak = float(max(wave.max(), -wave.min()))
    if peak > 1:
        wave /= np.float32(peak)
        np.clip(wave, -1, 1, out=wave)
        repairs.append(Finding("peak", peak, f"peak {peak:.4g} of full scale, scaled to 1"))
    levels = _levels(wave, name, peak, refuse_silence)
    clipped, silent, speech_dbfs = statistics.clipping_fraction, levels["silence_ratio"], levels["speech_dbfs"]
    rate_hz, others = source.rate_hz, f"{len(source.others) + 1} was used; not used: {'; '.join(source.others)}"
    narrow = f"recorded at {rate_hz} Hz: nothing above {rate_hz // 2} Hz can be heard"
    warnings = _found(
        (source.open, "open_length", 0.0, "the header leaves the length open, as one written to a pipe does"),
        (silent > MOSTLY_SILENT, "mostly_silent", silent, f"{silent:.0%} of the recording is silent"),
        (speech_dbfs < QUIET_DBFS, "quiet", speech_dbfs, f"quiet: speech at {speech_dbfs:.0f} dBFS"),
        (clipped > CLIPPED, "clipping", clipped, f"clipped: {clipped:.1%} of the samples lie flat at the extreme"),
        (rate_hz < RATE_HZ, "narrow_band", rate_hz, narrow),
        (source.others, "tracks", track, f"sound track {track} of {others}"),
    )
    report = SpeechReport(
        path=one_line(str(path)),
        **source.model_dump(include={"container", "codec", "channels", "claimed_s"}),
        source_rate_hz=source.rate_hz,
        duration_s=len(wave) / RATE_HZ,
        clipping_fraction=clipped,
        dc_offset=float(np.abs(statistics.mean).max() / max(1.0, statistics.peak)),
        repairs=tuple(repairs),
        warnings=tuple(warnings),
        **levels,
    )
    return Voice(wave, report)


def _found(*rows: tuple[object, str, Any, str]) -> list[Finding]:
    """The findings that hold: whether it does, name, value and text of each."""
    return [Finding(name, float(value), text) for holds, name, value, text in rows if holds]


def _open_recording(path: Path, max_bytes: int) -> BinaryIO:
    """Open a regular file of 1 byte to `max_bytes`; folders, devices and pipes are refused without waiting on them."""
    shown = str(path)
    try:
        status = path.stat()
        is_folder, is_file, megabytes = stat.S_ISDIR(status.st_mode), stat.S_ISREG(status.st_mode), status.st_size / 1e6
        most, split = f"a file of at most {max_bytes / 1e6:.0f} MB", "extract the sound track or split the recording"
        expect(not is_folder, "a recording", f"the folder {shown}", "name a file inside it")
        expect(is_file, "a regular file", f"the device or pipe {shown}", "save the recording to a file first")
        expect(megabytes, "a recording", f"{shown}, an empty file (0 bytes)", "copy or record it again")
        expect(status.st_size <= max_bytes, most, f"{shown} with {megabytes:.0f} MB", split)
        return path.open("rb")
    except FileNotFoundError:
        raise InputError("an existing recording", f"{shown}, which is not there", "check the path") from None
    except (OSError, ValueError) as error:
        got = f"{shown}: {error.strerror if isinstance(error, OSError) else error}"
        raise InputError("a recording that can be read", got, "check the path and its permissions") from None


def _decode_to(
    spool: IO[bytes], file: BinaryIO, name: str, max_minutes: float, track: int
) -> tuple[Source, ChannelStatistics, dict[str, float]] | list[str]:
    """Fill the spool with interleaved float32 samples at 16 kHz; the statistics are of the samples before that.

    Of several tracks without a number of one: what they are.
    """
    cap_s = min(30.0 + os.fstat(file.fileno()).st_size / 1e5, 1800.0)  # 10 s a megabyte, half an hour at most
    terms: dict[str, Any] = {"name": name, "expected": READABLE, "do": CONVERT, "seconds": cap_s}
    with closing(behind_wall(decode_sound, file, name, track, **terms, memory_mb=MEMORY_MB)) as answers:
        try:
            first = next(answers)
            if "tracks" in first:
                return [str(track) for track in first["tracks"]]
            source = Source.model_validate(first)
            statistics = ChannelStatistics(source.channels)
            resampler = None
            if source.rate_hz != RATE_HZ:
                resampler = soxr.ResampleStream(source.rate_hz, RATE_HZ, source.channels, "float32", "HQ")
            counts: dict[str, Any] = {}
            for counts in answers:
                if "samples" not in counts:
                    break
                clean = statistics.add(counts["samples"].view("<f4").reshape(-1, source.channels))
                if statistics.samples > max_minutes * 60 * source.rate_hz:
                    got, do = f"{name}, which goes on after that", "split the recording or raise max_minutes"
                    raise InputError(f"at most {max_minutes:g} minutes", got, do)
                _store(spool, resampler.resample_chunk(clean) if resampler else clean)
            if resampler:
                _store(spool, resampler.resample_chunk(np.zeros((0, source.channels), np.float32), last=True))
            kinds = ("damaged", "changes", "unfinished", "filled", "cut", "anew", "loose")
            return source, statistics, {kind: float(counts[kind]) for kind in kinds}
        except (ValidationError, ValueError, KeyError, StopIteration) as error:
            got = f"{name}, on which the decoder gave a malformed answer"
            raise InputError(READABLE, got, CONVERT) from error


def _store(spool: IO[bytes], samples: Block) -> None:
    try:
        spool.write(np.ascontiguousarray(samples).data)
    except OSError as error:
        got = f"{error.strerror} in {tempfile.gettempdir()}"
        raise OutputError("room for temporary files", got, "free space or set TMPDIR to another folder") from error


def _stream_repairs(
    source: Source, counts: dict[str, float], statistics: ChannelStatistics, name: str
) -> list[Finding]:
    """What the decoder and the samples say; InputError for too few samples, or too many that are not finite."""
    found_s, bad = statistics.samples / source.rate_hz, statistics.not_finite
    share = bad / max(statistics.samples * source.channels, 1)
    enough, few = f"at least {MIN_S} s of sound", f"at most {MAX_NOT_FINITE:.1%} of samples that are not numbers"
    got = f"{share:.2%} of the samples in {name} not finite"
    expect(statistics.samples, enough, f"{name}, which has a header and no samples", "record it again")
    expect(share <= MAX_NOT_FINITE, few, got, "export it again, as 16-bit WAV")
    expect(found_s >= MIN_S, enough, f"{found_s:.3f} s in {name}", "record a longer clip")
    exact = source.codec.startswith("pcm") or source.codec == "flac"
    missing_s = (source.claimed_s or 0) - found_s - max(counts["cut"] - counts["filled"], counts["loose"], 0)
    truncated = f"truncated: the header says {source.claimed_s or 0:.2f} s, {found_s:.2f} s found"
    unfinished = f"broken off after {found_s:.2f} s: the end is not marked as such"
    texts = {
        "damaged": "damaged: {:.0f} of its pieces could not be decoded whole",
        "filled": "time stamps leave gaps: {:.2f} s filled with silence",
        "cut": "time stamps overlap: {:.2f} s that come twice cut",
        "anew": "time stamps begin anew {:.0f} times on the way; joined without a gap",
        "changes": "rate or channels change {:.0f} times on the way; all brought to those of the beginning",
    }
    return _found(
        (missing_s > (0.02 if exact else 0.15), "truncated", missing_s, truncated),
        (counts["unfinished"], "unfinished", found_s, unfinished),
        *((counts[kind], kind, counts[kind], text.format(counts[kind])) for kind, text in texts.items()),
        (bad, "not_finite", bad, f"{bad} samples that were not finite numbers interpolated"),
    )


def _levels(wave: Wave, name: str, source_peak: float, refuse_silence: bool) -> dict[str, float]:
    """Levels of 25 ms frames; raises InputError when fewer than three are loud enough, unless that is not refused."""
    frames = wave[: len(wave) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.einsum("ij,ij->i", frames, frames).astype(np.float64) / _FRAME
    level_db = 10 * np.log10(np.maximum(power, 1e-10))
    audible = int((level_db >= SILENT_DBFS).sum())
    if audible < MIN_AUDIBLE:
        if not refuse_silence:
            silent_levels = dict.fromkeys(("peak_dbfs", "rms_dbfs", "speech_dbfs", "noise_dbfs"), SILENT_DBFS)
            return silent_levels | {"snr_db": 0.0, "silence_ratio": 1.0}
        what = "silent but for a click" if audible else "silent throughout"
        got = f"{name}, {what} (loudest 25 ms at {level_db.max():.0f} dBFS, peak {source_peak:.3g})"
        do = "check the microphone and record or export it again"
        raise InputError("a recording in which somebody speaks", got, do)
    loud_db, noise_db = np.percentile(level_db, (95, 10))
    silent = level_db < max(SILENT_DBFS, loud_db - SILENT_BELOW_SPEECH_DB)
    speech, noise = power[~silent].mean(), 10 ** (noise_db / 10)
    return {
        "peak_dbfs": 20 * np.log10(float(max(wave.max(), -wave.min()))),
        "rms_dbfs": 10 * np.log10(power.mean()),
        "speech_dbfs": 10 * np.log10(speech),
        "noise_dbfs": float(noise_db),
        "snr_db": 10 * np.log10(max(speech / noise - 1, 0.1)),
        "silence_ratio": float(silent.mean()),
    }


# What must be known of all channels of a recording before they may be mixed, gathered block by block.


class ChannelStatistics:
    """Sums over all samples of a recording: enough for means, covariance, peak, clipping and repaired samples."""

    def __init__(self, channels: int) -> None:
        self.samples = 0
        self.not_finite = 0
        self.peak = 0.0
        self._sum = np.zeros(channels)
        self._product = np.zeros((channels, channels))
        self._last = np.zeros(channels, np.float32)
        self._clip_level = np.zeros(channels)
        self._clip_count = np.zeros(channels, np.int64)

    def add(self, block: Block) -> Block:
        """Take in the next block and return it with samples that are not finite interpolated."""
        block = self._finite(block)
        columns = np.ascontiguousarray(block.T, np.float64)
        self.samples += len(block)
        self._sum += columns.sum(axis=1)
        self._product += columns @ columns.T
        self._count_clipping(columns)
        self._last = block[-1]
        return block

    @property
    def mean(self) -> Float64[np.ndarray, " channels"]:
        """Mean of each channel."""
        return self._sum / self.samples

    @property
    def covariance(self) -> Float64[np.ndarray, "channels channels"]:
        """Covariance of the channels; its diagonal holds their powers without the offset."""
        return self._product / self.samples - np.outer(self.mean, self.mean)

    @property
    def clipping_fraction(self) -> float:
        """Fraction of samples in runs of at least three at their channel's extreme value."""
        return float(self._clip_count.sum() / (self.samples * len(self._sum)))

    def _finite(self, block: Block) -> Block:
        if block.min() >= -LARGEST_SAMPLE and block.max() <= LARGEST_SAMPLE:
            return block
        good = np.abs(block) <= LARGEST_SAMPLE
        self.not_finite += int(good.size - good.sum())
        block = block.copy()
        index = np.arange(len(block))
        for channel, (column, fine) in enumerate(zip(block.T, good.T, strict=True)):
            known = column[fine] if fine.any() else self._last[channel : channel + 1]
            column[~fine] = np.interp(index[~fine], index[fine] if fine.any() else [0], known)
        return block

    def _count_clipping(self, columns: Float64[np.ndarray, "channels samples"]) -> None:
        """Count flat tops at the highest level so far; a level that turns out higher starts the count again."""
        top = np.maximum(columns.max(axis=1), -columns.min(axis=1))
        self._clip_count[top > self._clip_level * (1 + _CLIP_STEP)] = 0
        self._clip_level = np.maximum(self._clip_level, top)
        self.peak = float(self._clip_level.max())
        near = self._clip_level * (1 - _CLIP_STEP)
        for channel in np.flatnonzero((top >= near) & (top > 0)):
            flat = np.abs(columns[channel]) >= near[channel]
            edges = np.flatnonzero(np.diff(flat, prepend=False, append=False))
            runs = edges[1::2] - edges[::2]
            self._clip_count[channel] += int(runs[runs >= _CLIP_RUN].sum())


def _mixed(spool: IO[bytes], statistics: ChannelStatistics, repairs: list[Finding]) -> Wave:
    """The mean of all channels, without constant offsets, dead channels and cancelling phases, which are repairs."""
    covariance, offsets = statistics.covariance, statistics.mean
    power = np.maximum(np.diagonal(covariance), 0.0)
    share = np.abs(offsets) / max(1.0, statistics.peak)
    shifted = bool((share >= DC_OF_SCALE).any() or (np.abs(offsets) > DC_OF_RMS * np.sqrt(power)).any())
    offsets = offsets if shifted else np.zeros_like(offsets)
    loudest = int(power.argmax())
    live = power > DEAD_RATIO * power[loudest]
    dead = len(live) - int(live.sum())
    weights = live / max(1, live.sum())
    unrelated, mixed = float((weights**2 * power).sum()), weights @ covariance @ weights
    cancelled = bool(unrelated and mixed < CANCELLED_RATIO * unrelated)
    loss_db = float(10 * np.log10(max(mixed / unrelated, 1e-12))) if cancelled else 0.0
    if cancelled:
        weights = weights * np.where(covariance[loudest] < 0, -1.0, 1.0)
    silent = f"{dead} of {len(live)} channels carry nothing and were left out"
    phases = f"the channels cancel each other ({loss_db:.0f} dB in their mean); opposite phases inverted"
    repairs += _found(
        (shifted, "dc_offset", share.max(), f"constant offset of {share.max():.2g} of full scale removed"),
        (0 < dead < len(live), "dead_channels", dead, silent),
        (cancelled, "phase_cancelled", loss_db, phases),
    )
    frame_bytes = 4 * len(weights)
    wave = np.empty(spool.tell() // frame_bytes, np.float32)
    spool.seek(0)
    offset, of_channels = offsets.astype(np.float32) @ weights.astype(np.float32), weights.astype(np.float32)
    for start in range(0, len(wave), _CHUNK):
        part = wave[start : start + _CHUNK]
        block = np.frombuffer(spool.read(len(part) * frame_bytes), np.float32).reshape(-1, len(weights))
        part[:] = -offset
        for column, weight in zip(block.T, of_channels, strict=True):
            part += weight * column
    return wave
