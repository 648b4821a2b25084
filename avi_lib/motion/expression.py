"""The face's expression over time: action-unit targets in, channel curves with dynamics out.

An expression comes on before the first sound, swells on stressed syllables, breathes a little while it lasts and
fades to a remainder after the last sound: onset, apex and offset as the Facial Action Coding System times them
(Ekman, Friesen and Hager 2002); stress moves brows and head (Cave et al. 1996, "About the relationship between
eyebrow movements and F0 variations"; Graf et al. 2002, "Visual prosody: facial movements accompanying speech").

>>> curves = express({"browDownLeft": 0.8, "browDownRight": 0.8}, span, beats, frames=100, fps=25.0, rng=rng)
>>> curves.shape
(100, 55)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32

from avi_lib.motion.space import ARKIT
from avi_lib.speech.prosody import Beat

ONSET_S, OFFSET_S = 0.5, 0.9
LEAD_S = 0.35
"""The expression has begun this long before the first sound."""

PRESENT_AT_START = 0.55
"""Share that is there in the first frame: a recording rarely starts with an empty face."""

REMAINDER = 0.6
"""Share that stays after the offset."""

BEAT_RISE_S, BEAT_FALL_S = 0.14, 0.30
BEAT_SWELL = 0.18
"""A full-strength beat adds this share of the target."""

NOD_RAD = 0.055
BROW_BEAT = 0.22


def express(
    targets: Mapping[str, float],
    speech_s: tuple[float, float],
    beats: Sequence[Beat],
    frames: int,
    fps: float,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "frames 55"]:
    """Curves (frames, 55) that carry channel targets (weights, radians for the head) through a recording.

    speech_s: times of the first and last sound. Every group of channels starts and swells a little differently, from
    `rng`.
    """
    times_s = (np.arange(frames) + 0.5) / fps
    swell = pulses(times_s, beats)
    values = np.zeros((frames, len(ARKIT)), np.float32)
    for members in ARKIT.groups.values():
        delay_s, breath = rng.uniform(-0.08, 0.08), rng.uniform(0.03, 0.07)
        phase, period_s = rng.uniform(0, 2 * np.pi), rng.uniform(2.5, 4.5)
        strength = _envelope(times_s - delay_s, *speech_s) * (
            1.0 + breath * np.sin(2 * np.pi * times_s / period_s + phase)
        )
        strength = strength * (1.0 + BEAT_SWELL * (swell - swell.mean()))
        for channel in members:
            target = targets.get(ARKIT.channels[channel], 0.0)
            if target:
                values[:, channel] = target * strength
    return values


def add_beats(
    values: Float32[np.ndarray, "frames 55"], beats: Sequence[Beat], fps: float, nod: float = 1.0, brow: float = 1.0
) -> None:
    """Stress made visible, in place: brows flash up (unless they are held down) and the head nods."""
    pulse = pulses((np.arange(len(values)) + 0.5) / fps, beats)
    held_down = values[:, [ARKIT.index("browDownLeft"), ARKIT.index("browDownRight")]].max(axis=1)
    lift = (BROW_BEAT * brow * pulse * (1.0 - np.minimum(1.0, 2.0 * held_down))).astype(np.float32)
    values[:, ARKIT.index("browInnerUp")] += 0.6 * lift
    for side in ("Left", "Right"):
        values[:, ARKIT.index(f"browOuterUp{side}")] += lift
    values[:, ARKIT.index("headPitch")] += (NOD_RAD * nod * pulse).astype(np.float32)


def pulses(times_s: Float[np.ndarray, " frames"], beats: Sequence[Beat]) -> Float[np.ndarray, " frames"]:
    """One asymmetric raised-cosine bump a beat at rising times, as high as its strength; bumps do not add up."""
    curve = np.zeros(len(times_s))
    for beat in beats:
        first, last = np.searchsorted(times_s, (beat.time_s - BEAT_RISE_S, beat.time_s + BEAT_FALL_S))
        since_s = times_s[first:last] - beat.time_s
        away = np.maximum(-since_s / BEAT_RISE_S, since_s / BEAT_FALL_S)
        bump = beat.strength * (0.5 + 0.5 * np.cos(np.pi * np.minimum(away, 1.0)))
        curve[first:last] = np.maximum(curve[first:last], bump)
    return curve


def _envelope(times_s: Float[np.ndarray, " frames"], first_s: float, last_s: float) -> Float[np.ndarray, " frames"]:
    onset = _ease((times_s - first_s + LEAD_S + ONSET_S / 2) / ONSET_S)
    offset = _ease((times_s - last_s) / OFFSET_S)
    return (PRESENT_AT_START + (1.0 - PRESENT_AT_START) * onset) * (1.0 - (1.0 - REMAINDER) * offset)


def _ease(x: Float[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(x, 0.0, 1.0))
