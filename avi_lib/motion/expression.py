"""The face's movement over time beside its speech: an expression with onset, apex and offset, and idle behaviour.

An expression comes on before the first sound, swells on stressed syllables, breathes a little while it lasts and
fades to a remainder after the last sound: onset, apex and offset as the Facial Action Coding System times them
(Ekman, Friesen and Hager 2002); stress moves brows and head (Cave et al. 1996, "About the relationship between
eyebrow movements and F0 variations"; Graf et al. 2002, "Visual prosody: facial movements accompanying speech").
Blinks, gaze, nods and head sway come each from a random stream of its own.

>>> curves = express({"browDownLeft": 0.8, "browDownRight": 0.8}, span, beats, frames=100, fps=25.0, rng=rng)
>>> curves.shape
(100, 55)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float, Float32

from avi_lib.motion.clip import ARKIT
from avi_lib.speech.prosody import Beat

ONSET_S, OFFSET_S = 0.5, 0.9
LEAD_S = 0.35  # the expression has begun this long before the first sound
PRESENT_AT_START = 0.55  # share in the first frame: a recording rarely starts with an empty face
REMAINDER = 0.6  # share that stays after the offset

BEAT_RISE_S, BEAT_FALL_S = 0.14, 0.30
BEAT_SWELL = 0.18  # a full-strength beat adds this share of the target
NOD_RAD, BROW_BEAT = 0.055, 0.22

BLINK_CLOSE_S, BLINK_SHUT_S, BLINK_OPEN_S = 0.08, 0.02, 0.16
BLINK_REFRACTORY_S = 0.6
LIDS_FOLLOW_GAZE = 0.35  # share of a downward gaze that the upper lid follows

Values = Float32[np.ndarray, "frames 55"]
Curve = Float[np.ndarray, " frames"]


def express(
    targets: Mapping[str, float],
    speech_s: tuple[float, float],
    beats: Sequence[Beat],
    frames: int,
    fps: float,
    rng: np.random.Generator,
) -> Values:
    """Curves (frames, 55) that carry channel targets (weights, radians for the head) through a recording.

    speech_s: times of the first and last sound. Every group of channels starts and swells a little differently, from
    `rng`.
    """
    times_s = frame_times(frames, fps)
    swell = pulses(times_s, beats)
    values = np.zeros((frames, len(ARKIT)), np.float32)
    for members in ARKIT.groups.values():
        delay_s, breath = rng.uniform(-0.08, 0.08), rng.uniform(0.03, 0.07)
        phase, period_s = rng.uniform(0, 2 * np.pi), rng.uniform(2.5, 4.5)
        onset = _ease((times_s - delay_s - speech_s[0] + LEAD_S + ONSET_S / 2) / ONSET_S)
        offset = _ease((times_s - delay_s - speech_s[1]) / OFFSET_S)
        envelope = (PRESENT_AT_START + (1.0 - PRESENT_AT_START) * onset) * (1.0 - (1.0 - REMAINDER) * offset)
        strength = envelope * (1.0 + breath * np.sin(2 * np.pi * times_s / period_s + phase))
        strength = strength * (1.0 + BEAT_SWELL * (swell - swell.mean()))
        for channel in members:
            if target := targets.get(ARKIT.channels[channel], 0.0):
                values[:, channel] = target * strength
    return values


def add_beats(values: Values, beats: Sequence[Beat], fps: float, nod: float = 1.0, brow: float = 1.0) -> None:
    """Stress made visible, in place: brows flash up (unless they are held down) and the head nods."""
    pulse = pulses(frame_times(len(values), fps), beats)
    held_down = values[:, ARKIT.columns("browDown")].max(axis=1)
    lift = (BROW_BEAT * brow * pulse * (1.0 - np.minimum(1.0, 2.0 * held_down))).astype(np.float32)
    values[:, ARKIT.index("browInnerUp")] += 0.6 * lift
    values[:, ARKIT.columns("browOuterUp")] += lift[:, None]
    values[:, ARKIT.index("headPitch")] += (NOD_RAD * nod * pulse).astype(np.float32)


def pulses(times_s: Curve, beats: Sequence[Beat]) -> Curve:
    """One asymmetric raised-cosine bump a beat at rising times, as high as its strength; bumps do not add up."""
    curve = np.zeros(len(times_s))
    for beat in beats:
        first, last = np.searchsorted(times_s, (beat.time_s - BEAT_RISE_S, beat.time_s + BEAT_FALL_S))
        since_s = times_s[first:last] - beat.time_s
        bump = beat.strength * raised_cosine(np.maximum(-since_s / BEAT_RISE_S, since_s / BEAT_FALL_S))
        curve[first:last] = np.maximum(curve[first:last], bump)
    return curve


def blink_rate(units: Mapping[str, float]) -> float:
    """How many times as often as usual eyes blink under some action units: not at all where it is forbidden."""
    if units.get("blink_more") == 0.0:
        return 0.0
    return (1.0 + 1.6 * units.get("blink_more", 0.0)) * (1.0 - 0.8 * units.get("blink_less", 0.0))


def add_blinks(values: Values, fps: float, rng: np.random.Generator, per_minute: float) -> None:
    """Close both eyes now and then, in place; intervals are gamma distributed with the mean 60 / per_minute seconds."""
    if per_minute <= 0:
        return
    times_s = frame_times(len(values), fps)
    mean_s = 60.0 / per_minute
    lids = np.zeros(len(values))
    at_s = rng.uniform(0.3, 1.0) * mean_s
    while at_s < len(values) / fps:
        depth = rng.uniform(0.92, 1.0)
        open_s = rng.uniform(0.9, 1.25) * BLINK_OPEN_S
        first, last = np.searchsorted(times_s, (at_s - BLINK_CLOSE_S, at_s + BLINK_SHUT_S + open_s))
        since_s = times_s[first:last] - at_s
        lids[first:last] = depth * raised_cosine(
            np.maximum(-since_s / BLINK_CLOSE_S, (since_s - BLINK_SHUT_S) / open_s)
        )
        at_s += BLINK_REFRACTORY_S + rng.gamma(2.0, max(mean_s - BLINK_REFRACTORY_S, 0.1) / 2.0)
    blink = ARKIT.columns("eyeBlink")
    values[:, blink] += (1.0 - values[:, blink]) * lids[:, None]
    values[:, ARKIT.columns("eyeWide", "eyeSquint")] *= 1.0 - 0.8 * lids[:, None]


def add_gaze(values: Values, fps: float, rng: np.random.Generator, restlessness: float = 1.0) -> None:
    """Small fixations around the viewer with an occasional glance aside, in place; lids follow a downward gaze."""
    frames = len(values)
    yaw, pitch = np.zeros(frames), np.zeros(frames)  # yaw > 0 to the person's left, pitch > 0 up, in gaze weights
    frame = 0
    while frame < frames:
        rest = max(4, int(rng.gamma(3.0, 0.35 / restlessness) * fps))
        aside = rng.random() < 0.12 * restlessness
        spread = 0.22 if aside else 0.045
        yaw[frame : frame + rest] = rng.normal(0.0, spread)
        pitch[frame : frame + rest] = rng.normal(-0.01, 0.5 * spread)
        frame += rest
    yaw, pitch = (_glide(curve, fps, 0.05) + _wander(frames, fps, rng, 3.0, 0.012) for curve in (yaw, pitch))
    left, right = np.maximum(yaw, 0.0), np.maximum(-yaw, 0.0)
    up, down = np.maximum(pitch, 0.0), np.maximum(-pitch, 0.0)
    moves = {
        "eyeLookOutLeft": left, "eyeLookInRight": left, "eyeLookInLeft": right, "eyeLookOutRight": right,
        "eyeLookUpLeft": up, "eyeLookUpRight": up, "eyeLookDownLeft": down, "eyeLookDownRight": down,
        "eyeBlinkLeft": LIDS_FOLLOW_GAZE * down, "eyeBlinkRight": LIDS_FOLLOW_GAZE * down,
    }  # fmt: skip
    for channel, curve in moves.items():
        values[:, ARKIT.index(channel)] += curve.astype(np.float32)


def add_head_sway(values: Values, fps: float, rng: np.random.Generator, amount: float = 1.0) -> None:
    """Slow head movement, in place: smooth noise with the spread of real talkers."""
    for channel, spread_deg in (("headPitch", 1.6), ("headYaw", 3.0), ("headRoll", 2.8)):
        slow = _wander(len(values), fps, rng, 2.2, 0.85)
        quick = _wander(len(values), fps, rng, 0.7, 0.5)
        values[:, ARKIT.index(channel)] += (amount * np.radians(spread_deg) * (slow + quick)).astype(np.float32)


def add_head_rhythm(values: Values, fps: float, rng: np.random.Generator, nod: float = 0.0, shake: float = 0.0) -> None:
    """Nods (yes) and shakes (no) in bursts of about two seconds, in place; nod and shake are strengths 0-1."""
    times_s = frame_times(len(values), fps)
    for channel, strength, rate_hz, reach_rad in (("headPitch", nod, 1.3, 0.14), ("headYaw", shake, 1.1, 0.20)):
        start_s = rng.uniform(0.0, 0.4)
        while start_s < len(values) / fps and strength:
            length_s, rest_s = rng.uniform(1.6, 2.4), rng.uniform(0.6, 1.4)
            within = np.clip((times_s - start_s) / length_s, 0.0, 1.0)
            wave = np.sin(np.pi * within) ** 2 * np.sin(2 * np.pi * rate_hz * (times_s - start_s))
            values[:, ARKIT.index(channel)] += (strength * reach_rad * wave).astype(np.float32)
            start_s += length_s + rest_s


def frame_times(frames: int, fps: float) -> Curve:
    """Seconds of the middle of every frame."""
    return (np.arange(frames) + 0.5) / fps


def raised_cosine(away: Curve) -> Curve:
    """1 at 0 and before, falling to 0 at 1 and beyond."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(away, 0.0, 1.0))


def _ease(x: Curve) -> Curve:
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(x, 0.0, 1.0))


def _wander(frames: int, fps: float, rng: np.random.Generator, period_s: float, deviation: float) -> Curve:
    """Smooth noise around zero: random values every `period_s`, joined by a cubic spline (Catmull-Rom)."""
    knots = rng.normal(0.0, deviation, int(frames / fps / period_s) + 5)
    position = np.arange(frames) / (fps * period_s) + 1.0
    left = position.astype(int)
    t = position - left
    before, here, after, beyond = (knots[left + offset] for offset in (-1, 0, 1, 2))
    slope_in, slope_out = (after - before) / 2, (beyond - here) / 2
    from_here, to_after = 2 * t**3 - 3 * t**2 + 1, 3 * t**2 - 2 * t**3
    return from_here * here + (t**3 - 2 * t**2 + t) * slope_in + to_after * after + (t**3 - t**2) * slope_out


def _glide(curve: Curve, fps: float, over_s: float) -> Curve:
    """Turn steps into short raised-cosine moves of about `over_s`."""
    width = max(1, round(over_s * fps)) + 2
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(curve, width // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="same")[width // 2 : width // 2 + len(curve)]


@dataclass(frozen=True)
class Dynamics:
    """How an emotion colours movement: factors on neutral behaviour, and blinks a minute."""

    articulation: float = 1.0
    sway: float = 1.0
    nod: float = 1.0
    brow: float = 1.0
    restlessness: float = 1.0
    blinks_per_minute: float = 18.0


_TABLE = yaml.load(Path(__file__).with_name("dynamics.yaml").read_text("utf-8"), yaml.CSafeLoader)
_AT_FULL_LEVEL = {emotion: Dynamics(**factors) for emotion, factors in _TABLE.items()}


def dynamics(emotion: str | None, level: int | None) -> Dynamics:
    """Dynamics of an emotion at a level 1-3 (2 where none is given); neutral for None, "neutral" and unlisted names."""
    neutral = Dynamics()
    full = _AT_FULL_LEVEL.get(emotion or "neutral", neutral)
    share = {1: 0.45, 2: 0.75, 3: 1.0}[level or 2]
    return Dynamics(**{name: value + share * (getattr(full, name) - value) for name, value in vars(neutral).items()})
