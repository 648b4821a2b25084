"""Idle behaviour of a living face: blinks, gaze, nods and head sway, each from its own random stream.

Rates and amplitudes follow real talk: 10-44 blinks a minute; heads that turn with standard deviations of 1.3-2.5
degrees in pitch, 2.3-5.2 in yaw and 2.6-4.6 in roll. A blink closes in under 0.1 s and opens over twice that
(VanderWerf et al. 2003, "Eyelid movements: behavioral studies of blinking in humans"). Gaze rests and jumps (Lee,
Badler and Badler 2002, "Eyes alive").

>>> add_blinks(values, fps=25.0, rng=np.random.default_rng(7), per_minute=18)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from avi_lib.motion.space import ARKIT

Curves = Float32[np.ndarray, "frames 55"]

BLINK_CLOSE_S, BLINK_SHUT_S, BLINK_OPEN_S = 0.08, 0.02, 0.16
BLINK_REFRACTORY_S = 0.6
LIDS_FOLLOW_GAZE = 0.35
"""Share of a downward gaze that the upper lid follows."""


def add_blinks(values: Curves, fps: float, rng: np.random.Generator, per_minute: float) -> None:
    """Close both eyes now and then, in place; intervals are gamma distributed with the mean 60 / per_minute seconds."""
    duration_s = len(values) / fps
    times_s = (np.arange(len(values)) + 0.5) / fps
    mean_s = 60.0 / per_minute
    lids = np.zeros(len(values))
    at_s = rng.uniform(0.3, 1.0) * mean_s
    while at_s < duration_s:
        depth = rng.uniform(0.92, 1.0)
        slow = rng.uniform(0.9, 1.25)
        ends_s = (at_s - BLINK_CLOSE_S, at_s + BLINK_SHUT_S + slow * BLINK_OPEN_S)
        first, last = np.searchsorted(times_s, ends_s)
        since_s = times_s[first:last] - at_s
        away = np.maximum(-since_s / BLINK_CLOSE_S, (since_s - BLINK_SHUT_S) / (slow * BLINK_OPEN_S))
        lids[first:last] = depth * (0.5 + 0.5 * np.cos(np.pi * np.clip(away, 0.0, 1.0)))
        at_s += BLINK_REFRACTORY_S + rng.gamma(2.0, max(mean_s - BLINK_REFRACTORY_S, 0.1) / 2.0)
    for channel in ("eyeBlinkLeft", "eyeBlinkRight"):
        curve = values[:, ARKIT.index(channel)]
        values[:, ARKIT.index(channel)] = curve + (1.0 - curve) * lids
    for channel in ("eyeWideLeft", "eyeWideRight", "eyeSquintLeft", "eyeSquintRight"):
        values[:, ARKIT.index(channel)] *= 1.0 - 0.8 * lids


def add_gaze(values: Curves, fps: float, rng: np.random.Generator, restlessness: float = 1.0) -> None:
    """Small fixations around the viewer with an occasional glance aside, in place; lids follow a downward gaze."""
    frames = len(values)
    yaw, pitch = np.zeros(frames), np.zeros(frames)
    frame = 0
    while frame < frames:
        rest = max(4, int(rng.gamma(3.0, 0.35 / restlessness) * fps))
        aside = rng.random() < 0.12 * restlessness
        spread = 0.22 if aside else 0.045
        yaw[frame : frame + rest] = rng.normal(0.0, spread)
        pitch[frame : frame + rest] = rng.normal(-0.01, 0.5 * spread)
        frame += rest
    yaw, pitch = _glide(yaw, fps, 0.05), _glide(pitch, fps, 0.05)
    drift = 0.012
    add_gaze_direction(
        values, yaw + _wander(frames, fps, rng, 3.0, drift), pitch + _wander(frames, fps, rng, 3.0, drift)
    )


def add_gaze_direction(values: Curves, yaw: Float[np.ndarray, " frames"], pitch: Float[np.ndarray, " frames"]) -> None:
    """Turn both eyes, in place: yaw > 0 to the person's left, pitch > 0 up, in weights of the gaze blendshapes."""
    left, right = np.maximum(yaw, 0.0), np.maximum(-yaw, 0.0)
    up, down = np.maximum(pitch, 0.0), np.maximum(-pitch, 0.0)
    moves = {
        "eyeLookOutLeft": left, "eyeLookInRight": left, "eyeLookInLeft": right, "eyeLookOutRight": right,
        "eyeLookUpLeft": up, "eyeLookUpRight": up, "eyeLookDownLeft": down, "eyeLookDownRight": down,
        "eyeBlinkLeft": LIDS_FOLLOW_GAZE * down, "eyeBlinkRight": LIDS_FOLLOW_GAZE * down,
    }  # fmt: skip
    for channel, curve in moves.items():
        values[:, ARKIT.index(channel)] += curve.astype(np.float32)


def add_head_sway(values: Curves, fps: float, rng: np.random.Generator, amount: float = 1.0) -> None:
    """Slow head movement, in place: smooth noise with the spread of real talkers."""
    for channel, spread_deg in (("headPitch", 1.6), ("headYaw", 3.0), ("headRoll", 2.8)):
        slow = _wander(len(values), fps, rng, 2.2, 0.85)
        quick = _wander(len(values), fps, rng, 0.7, 0.5)
        values[:, ARKIT.index(channel)] += (amount * np.radians(spread_deg) * (slow + quick)).astype(np.float32)


def add_head_rhythm(values: Curves, fps: float, rng: np.random.Generator, nod: float = 0.0, shake: float = 0.0) -> None:
    """Nods (yes) and shakes (no) in bursts of about two seconds, in place; nod and shake are strengths 0-1."""
    times_s = (np.arange(len(values)) + 0.5) / fps
    for channel, strength, rate_hz, reach_rad in (("headPitch", nod, 1.3, 0.14), ("headYaw", shake, 1.1, 0.20)):
        start_s = rng.uniform(0.0, 0.4)
        while start_s < len(values) / fps and strength:
            length_s, rest_s = rng.uniform(1.6, 2.4), rng.uniform(0.6, 1.4)
            within = np.clip((times_s - start_s) / length_s, 0.0, 1.0)
            wave = np.sin(np.pi * within) ** 2 * np.sin(2 * np.pi * rate_hz * (times_s - start_s))
            values[:, ARKIT.index(channel)] += (strength * reach_rad * wave).astype(np.float32)
            start_s += length_s + rest_s


def _wander(
    frames: int, fps: float, rng: np.random.Generator, period_s: float, deviation: float
) -> Float[np.ndarray, " frames"]:
    """Smooth noise around zero: random values every `period_s`, joined by a cubic spline (Catmull-Rom)."""
    knots = rng.normal(0.0, deviation, int(frames / fps / period_s) + 5)
    position = np.arange(frames) / (fps * period_s) + 1.0
    left = position.astype(int)
    t = position - left
    before, here, after, beyond = (knots[left + offset] for offset in (-1, 0, 1, 2))
    slope_in, slope_out = (after - before) / 2, (beyond - here) / 2
    return (
        (2 * t**3 - 3 * t**2 + 1) * here
        + (t**3 - 2 * t**2 + t) * slope_in
        + (3 * t**2 - 2 * t**3) * after
        + (t**3 - t**2) * slope_out
    )


def _glide(curve: Float[np.ndarray, " frames"], fps: float, over_s: float) -> Float[np.ndarray, " frames"]:
    """Turn steps into short raised-cosine moves of about `over_s`."""
    width = max(1, round(over_s * fps)) + 2
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(curve, width // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="same")[width // 2 : width // 2 + len(curve)]
