"""Augmentation: the same speech in another room, through another microphone; sounds without speech.

>>> rng = np.random.default_rng(7)
>>> room = draw_room(rng)
>>> other = put_in_room(wave, room, rng)  # as long as `wave`, and every sound at its time

Waves are (samples,) float32 at 16 kHz. Every random choice comes from the generator that is passed. But for speed and
pauses nothing moves in time: filters have no phase, the direct sound of a reverberation stays where it was, and the
rest has no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float32, Float64
from scipy.signal import lfilter, oaconvolve

from avi_lib.errors import InputError
from avi_lib.speech.encoders import RATE_HZ

SILENT_DBFS = -100.0  # level that a wave of zeros is said to have
TELEPHONE_HZ = (300.0, 3400.0)
SPEEDS = (0.88, 1.14)  # slowest and fastest that another voice is imitated by playing a clip at another speed
CODECS = ("mu-law", "low-rate")

LONGEST_PAUSE_S = 0.6  # longest silence that is put before or after a clip

_FRAME = RATE_HZ // 40
_ACTIVE_DB, _QUIET_DB = 20.0, 30.0
_PAD = RATE_HZ // 8
_LARGEST = 0.98

Wave = Float32[np.ndarray, " samples"]
Maker = Callable[[int, np.random.Generator], np.ndarray]  # makes so many samples of a sound, at any level
Gains = Callable[[Float64[np.ndarray, " bins"]], Float64[np.ndarray, " bins"]]


@dataclass(frozen=True)
class Room:
    """What is done to a wave, in this order; None leaves a step out."""

    rt60_s: float | None = None  # time in which the reverberation falls by 60 dB
    direct_db: float = 10.0  # energy of the direct sound above that of the reverberation
    tilt_db: float = 0.0  # rise of the spectrum an octave around 1 kHz
    low_shelf_db: float = 0.0  # below 200 Hz
    high_shelf_db: float = 0.0  # above 4 kHz
    level_dbfs: float | None = None  # of the sounding part; None keeps it
    tone_dbfs: float | None = None  # level of the room tone
    tone_slope_db: float = 3.0  # how its spectrum falls an octave: 0 white, 3 pink, 6 brown
    hum_hz: float | None = None  # mains hum as part of the room tone
    hum_db: float = 0.0  # above the rest of the tone
    band_hz: tuple[float, float] | None = None  # edges of a narrow channel
    limit_db: float | None = None  # how far below the peak a limiter saturates softly
    clip_db: float | None = None  # how far below the peak the wave is cut off
    codec: str | None = None  # one of CODECS


def augmented(wave: Wave, rng: np.random.Generator) -> Float32[np.ndarray, " samples_"]:
    """The wave at another speed one time in two, with other pauses two times in three, and in another room.

    Another speed moves pitch and rate alike.
    """
    if rng.random() < 0.5:
        length = max(2, round(len(wave) / rng.uniform(*SPEEDS)))
        wave = np.interp(np.linspace(0, len(wave) - 1, length), np.arange(len(wave)), wave).astype(np.float32)
    if rng.random() < 2 / 3:
        wave = change_pauses(wave, float(rng.choice((0.0, 0.5, 2.0))), rng.uniform(0, LONGEST_PAUSE_S, 2))
    return put_in_room(wave, draw_room(rng), rng)


def change_pauses(wave: Wave, factor: float, around_s: Float64[np.ndarray, " 2"]) -> Float32[np.ndarray, " samples_"]:
    """The wave with every quiet frame of 25 ms kept `factor` times, and with silence before and after it.

    A frame is quiet 30 dB below the loudest. `factor` 0 cuts pauses away, 0.5 halves them, 2 doubles them.
    """
    frames = np.pad(wave, (0, -len(wave) % _FRAME)).reshape(-1, _FRAME)
    power = np.square(frames).mean(axis=1)
    quiet = power < power.max(initial=0.0) * 10 ** (-_QUIET_DB / 10)
    kept = np.floor(np.cumsum(np.where(quiet, factor, 1.0)) + 1e-6).astype(int)
    before, after = (round(float(each) * RATE_HZ) for each in around_s)
    return np.pad(np.repeat(frames, np.diff(kept, prepend=0), axis=0).ravel(), (before, after))


def draw_room(rng: np.random.Generator) -> Room:
    """A room, a microphone and a channel: most are plain, some are bad, no two alike."""

    def one_in(times: int) -> bool:
        return bool(rng.random() < 1 / times)

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 3)

    level_dbfs = between(-36.0, -16.0)
    return Room(
        rt60_s=None if one_in(5) else between(0.1, 0.8),
        direct_db=between(3.0, 18.0),
        tilt_db=between(-2.0, 2.0),
        low_shelf_db=between(-8.0, 4.0),
        high_shelf_db=between(-6.0, 6.0),
        level_dbfs=level_dbfs,
        tone_dbfs=None if one_in(8) else round(max(level_dbfs - between(10.0, 50.0), -72.0), 3),
        tone_slope_db=between(0.0, 6.0),
        hum_hz=float(rng.choice((50.0, 60.0))) if one_in(5) else None,
        hum_db=between(-6.0, 18.0),
        band_hz=TELEPHONE_HZ if one_in(12) else (between(40.0, 150.0), between(3800.0, 7600.0)) if one_in(3) else None,
        limit_db=between(2.0, 10.0) if one_in(4) else None,
        clip_db=between(0.5, 4.0) if one_in(12) else None,
        codec=str(rng.choice(CODECS)) if one_in(8) else None,
    )


def put_in_room(wave: Wave, room: Room, rng: np.random.Generator) -> Wave:
    """The wave as that room, microphone and channel give it, (samples,) within full scale.

    Raises InputError for an empty wave, samples that are not finite, and a codec that is none of CODECS.
    """
    if not len(wave) or not np.isfinite(wave).all():
        raise InputError("a wave of finite samples", "an empty or damaged one", "load a recording with load_voice")
    if room.rt60_s is not None:
        wave = reverberate(wave, room.rt60_s, room.direct_db, rng)

    def gains(hz: Float64[np.ndarray, " bins"]) -> Float64[np.ndarray, " bins"]:
        octaves = np.log2(np.clip(hz, 60.0, 8000.0) / 1000.0)
        low, high = 1 / (1 + (hz / 200.0) ** 2), 1 - 1 / (1 + (hz / 4000.0) ** 2)
        return 10 ** ((room.tilt_db * octaves + room.low_shelf_db * low + room.high_shelf_db * high) / 20)

    wave = filtered(wave, gains)
    wave = wave if room.level_dbfs is None else at_level(wave, room.level_dbfs)
    if room.tone_dbfs is not None:
        wave = wave + room_tone(len(wave), room.tone_dbfs, room.tone_slope_db, rng, room.hum_hz, room.hum_db)
    wave = wave if room.band_hz is None else filtered(wave, partial(band_gains, band_hz=room.band_hz))
    if room.limit_db is not None:
        ceiling = np.float32(max(np.abs(wave).max(), 1e-9) * 10 ** (-room.limit_db / 20))
        wave = ceiling * np.tanh(wave / ceiling)
    if room.clip_db is not None:
        ceiling = np.float32(np.abs(wave).max() * 10 ** (-room.clip_db / 20))
        wave = np.clip(wave, -ceiling, ceiling)
    wave = wave if room.codec is None else degrade(wave, room.codec)
    peak = float(np.abs(wave).max())
    return wave if peak <= _LARGEST else wave * np.float32(_LARGEST / peak)


def active_dbfs(wave: Wave) -> float:
    """Level of the sounding part: of the frames of 25 ms within 20 dB of the loudest, SILENT_DBFS at least."""
    padded = np.pad(wave, (0, -len(wave) % _FRAME)).reshape(-1, _FRAME)
    power = np.einsum("ij,ij->i", padded, padded).astype(np.float64) / _FRAME
    loud = power[power >= power.max(initial=0.0) * 10 ** (-_ACTIVE_DB / 10)]
    return float(10 * np.log10(max(loud.mean() if len(loud) else 0.0, 10 ** (SILENT_DBFS / 10))))


def gain(wave: Wave, gain_db: float) -> Wave:
    """The wave (samples,) louder by so much."""
    return wave * np.float32(10 ** (gain_db / 20))


def at_level(wave: Wave, dbfs: float) -> Wave:
    """The wave (samples,) with its sounding part at a level; a wave of zeros stays one."""
    level = active_dbfs(wave)
    return wave if level <= SILENT_DBFS else gain(wave, dbfs - level)


def reverberate(wave: Wave, rt60_s: float, direct_db: float, rng: np.random.Generator) -> Wave:
    """The wave (samples,) with the sound of a room after it: some reflections, then noise that decays exponentially.

    The noise is duller than the wave, as walls are (Polack 1988, "La transmission de l'énergie sonore dans les
    salles").
    """
    times_s = np.arange(max(int(rt60_s * RATE_HZ), 2)) / RATE_HZ
    tail = rng.standard_normal(len(times_s)) * 10 ** (-3 * times_s / rt60_s)
    tail = lfilter([1.0], [1.0, -rng.uniform(0.2, 0.7)], tail)
    tail[: RATE_HZ // 250] = 0.0  # sound takes a while to the first wall and back
    for delay_s in rng.uniform(0.004, 0.03, int(rng.integers(3, 9))):
        at = min(int(delay_s * RATE_HZ), len(tail) - 1)
        tail[at] += rng.choice((-1.0, 1.0)) * rng.uniform(1.0, 4.0) * np.exp(-delay_s / 0.02)
    tail *= 10 ** (-direct_db / 20) / max(float(np.sqrt(np.square(tail).sum())), 1e-9)
    response = tail.astype(np.float32)
    response[0] = 1.0
    return oaconvolve(wave, response)[: len(wave)].astype(np.float32)


def room_tone(
    samples: int,
    dbfs: float,
    slope_db: float,
    rng: np.random.Generator,
    hum_hz: float | None = None,
    hum_db: float = 0.0,
) -> Wave:
    """Steady noise (samples,) at a level; its spectrum falls by `slope_db` an octave and has broad bumps, no two alike.

    slope_db: 0 white, 3 pink, 6 brown. hum_hz: of the mains, whose hum has harmonics and lies `hum_db` above the noise.
    """
    knots_db = rng.uniform(-4.0, 4.0, 9)

    def gains(hz: Float64[np.ndarray, " bins"]) -> Float64[np.ndarray, " bins"]:
        octaves = np.log2(np.maximum(hz, 30.0) / 30.0)
        return 10 ** ((np.interp(octaves, np.arange(9), knots_db) - slope_db * octaves) / 20) * (hz > 10.0)

    tone = _unit(filtered(rng.standard_normal(samples, np.float32), gains))
    if hum_hz is not None:
        turns, harmonics = hum_hz * np.arange(samples) / RATE_HZ, np.arange(1, 9)[:, None]
        strengths, phases = rng.uniform(0.1, 1.0, (8, 1)) / harmonics, rng.uniform(0.0, 1.0, (8, 1))
        hum = (strengths * np.sin(2 * np.pi * (harmonics * turns + phases))).sum(axis=0)
        tone += gain(_unit(hum.astype(np.float32)), hum_db)
    return gain(_unit(tone), dbfs)


def degrade(wave: Wave, codec: str) -> Wave:
    """The wave (samples,) coded with few bits: "mu-law" with 8 of them (ITU-T G.711), "low-rate" with 10 below 3 kHz.

    Raises InputError for another codec.
    """
    if codec == "mu-law":
        squeezed = np.sign(wave) * np.log1p(255 * np.minimum(np.abs(wave), 1)) / np.log(256)
        coded = np.round(squeezed * 127) / 127
        return (np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255).astype(np.float32)
    if codec == "low-rate":
        step = max(float(np.abs(wave).max()), 1e-9) / 511
        return (np.round(filtered(wave, partial(band_gains, band_hz=(30.0, 3000.0))) / step) * step).astype(np.float32)
    raise InputError(f"a codec of {', '.join(CODECS)}", repr(codec), "choose one of them")


def filtered(wave: Wave, gains: Gains) -> Wave:
    """The wave (samples,) through a filter without phase, given as gains at frequencies in Hz."""
    size = 1 << (len(wave) + _PAD - 1).bit_length()
    spectrum = np.fft.rfft(wave, size) * gains(np.fft.rfftfreq(size, 1 / RATE_HZ))
    return np.fft.irfft(spectrum, size)[: len(wave)].astype(np.float32)


def band_gains(hz: Float64[np.ndarray, " bins"], band_hz: tuple[float, float]) -> Float64[np.ndarray, " bins"]:
    """Gains of a Butterworth band of fourth order, between two edges, at frequencies in Hz."""
    low_hz, high_hz = band_hz
    return 1 / np.sqrt((1 + (low_hz / np.maximum(hz, 1.0)) ** 8) * (1 + (hz / high_hz) ** 8))


def _unit(wave: Wave) -> Wave:
    return wave / np.float32(max(float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))), 1e-9))


# Sounds that are no speech: quiet, noise, hum, tones and music, so that a model can learn to tell them from voices.

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))
"""Steps of the scales that music keeps to, in semitones."""


def draw_sound(duration_s: float, rng: np.random.Generator, kind: str | None = None) -> Wave:
    """A sound of `SOUNDS`, (duration_s * 16000,) float32 at any level; a kind is drawn when None."""
    samples = max(2, round(duration_s * RATE_HZ))
    made = SOUNDS[kind or str(rng.choice(tuple(SOUNDS)))](samples, rng)
    return at_level(made.astype(np.float32), float(rng.uniform(-45, -12)))


def _swelling(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise that rises and falls, as of wind, rain or traffic."""
    knots = rng.uniform(0.05, 1.0, 2 + samples // RATE_HZ * 2)
    return SOUNDS["steady"](samples, rng) * np.interp(np.arange(samples), np.linspace(0, samples, len(knots)), knots)


def _cluttered(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Short noises one after another over a room's tone: knocks that ring, rustling that comes and goes."""
    wave = room_tone(samples, -55.0, 3.0, rng)
    for _ in range(int(rng.integers(2, 9))):
        times_s = np.arange(round(rng.uniform(0.05, 0.6) * RATE_HZ)) / RATE_HZ
        ring = np.sin(2 * np.pi * np.exp(rng.uniform(np.log(80), np.log(5000), (3, 1))) * times_s).sum(axis=0)
        noise, low_hz = rng.standard_normal(len(times_s), np.float32), rng.uniform(100, 4000)
        noise = filtered(noise, partial(band_gains, band_hz=(low_hz, 2 * low_hz)))
        short = np.exp(-times_s / rng.uniform(0.002, 0.3)) * np.minimum(1.0, (times_s[-1] - times_s) / 0.005)
        short = short * (rng.random() * ring + rng.random() * noise)
        at = int(rng.integers(max(1, samples - len(short))))
        part = wave[at : at + len(short)]
        part += at_level(short.astype(np.float32), float(rng.uniform(-40, -20)))[: len(part)]
    return wave


def _glide(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A steady or a gliding tone, or beeps."""
    first_hz, last_hz = (float(hz) for hz in rng.uniform(80, 2500, 2))
    hz = np.geomspace(first_hz, last_hz if rng.random() < 0.4 else first_hz, samples)
    wave = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)
    if rng.random() < 0.4:
        wave = wave * (np.sin(2 * np.pi * rng.uniform(0.5, 4) * np.arange(samples) / RATE_HZ) > 0)
    return wave + 0.01 * rng.standard_normal(samples)


def _music(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Notes of a scale in time: a melody, chords below it, a beat."""
    beat = round(RATE_HZ * 60 / rng.uniform(70, 160))
    scale, root_hz = SCALES[int(rng.integers(len(SCALES)))], rng.uniform(110, 330)
    wave = np.zeros(samples)
    brightness, decay = rng.uniform(0.3, 0.8), rng.uniform(1.5, 8)
    for at in range(0, samples, beat):
        degrees = [int(rng.integers(-3, 10))] + ([0, 2, 4] if rng.random() < 0.5 else [])
        length = min(samples - at, beat * int(rng.integers(1, 3)))
        for degree in degrees:
            semitones = scale[degree % len(scale)] + 12 * (degree // len(scale))
            hz, time_s = root_hz * 2 ** (semitones / 12), np.arange(length) / RATE_HZ
            harmonics = np.arange(1, max(2, min(9, int(7000 / hz))))
            tones = np.sin(2 * np.pi * hz * harmonics[:, None] * time_s) * (brightness ** (harmonics - 1))[:, None]
            wave[at : at + length] += tones.sum(axis=0) * np.exp(-decay * time_s) * np.minimum(1, time_s / 0.008)
        if rng.random() < 0.4:
            strike = min(samples - at, RATE_HZ // 12)
            wave[at : at + strike] += 0.6 * rng.standard_normal(strike) * np.exp(-np.arange(strike) / (RATE_HZ / 60))
    return wave + 1e-3 * rng.standard_normal(samples)


SOUNDS: dict[str, Maker] = {
    "steady": lambda samples, rng: room_tone(samples, -30.0, float(rng.uniform(0, 6)), rng),
    "swelling": _swelling,
    "humming": lambda samples, rng: room_tone(
        samples, -30.0, 3.0, rng, float(rng.choice((50.0, 60.0, 100.0))), float(rng.uniform(3, 20))
    ),
    "cluttered": _cluttered,
    "tone": _glide,
    "music": _music,
}
"""Kinds of sounds; each gives its samples at any level."""
