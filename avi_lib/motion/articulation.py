"""Phones with times to mouth curves: coarticulation by dominance functions.

Every phone pulls the mouth towards its viseme with a strength that is full inside the phone and decays exponentially
outside; the mouth follows the weighted mean (Cohen and Massaro 1993, "Modeling coarticulation in synthetic visual
speech"). Lip closure is kept out of that mean, since a closure half reached is heard as a wrong phone: it has its own
curve, full for the whole contact (JALI's hard constraint), and acts last.

>>> curves = articulate(phones, duration_s=2.0, fps=25.0)
>>> curves.values.shape, curves.closure.shape
((50, 55), (50,))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from avi_lib.motion.space import ARKIT
from avi_lib.motion.visemes import READY, READY_LEAD_S, REST, VISEMES, Viseme
from avi_lib.speech.phones import Phone

STEP_S = 0.01
"""Spacing of the grid on which dominances are summed, before sampling at the frame rate."""

REACH_S = 0.40
"""Beyond this distance a phone's pull is dropped; its dominance there is below 2 %."""

CONTACT_S = 0.05
"""Shortest lip contact: longer than a video frame, so that one frame shows it."""

CLOSING_S, OPENING_S = 0.06, 0.05
"""Times the lips take to reach and to leave contact."""

BRIEF_PAUSE_S = 0.20
"""Pauses up to this length do not return the mouth to rest."""


@dataclass(frozen=True)
class MouthCurves:
    """ARKIT values (frames, 55) before closure, and closure (frames,): the share of the lip opening that is shut."""

    values: Float32[np.ndarray, "frames channels"]
    closure: Float32[np.ndarray, " frames"]


@dataclass(frozen=True)
class _Gesture:
    viseme: Viseme
    start_s: float
    end_s: float


def articulate(phones: Sequence[Phone], duration_s: float, fps: float) -> MouthCurves:
    """Mouth curves of a phone sequence, sampled at the middle of every frame.

    The number of frames is `duration_s * fps`, rounded up. Phones that are not in `VISEMES` count as silence.
    """
    gestures = _gestures(phones)
    grid_s = np.arange(0.0, duration_s + STEP_S, STEP_S)
    dense = _blend(gestures, grid_s)
    closure = _closure(gestures, grid_s)
    middles_s = (np.arange(frame_count(duration_s, fps)) + 0.5) / fps
    picks = np.minimum(np.round(middles_s / STEP_S).astype(int), len(grid_s) - 1)
    return MouthCurves(dense[picks], closure[picks])


def frame_count(duration_s: float, fps: float) -> int:
    """Frames that cover a duration: the last one may be partly silence."""
    return max(1, int(np.ceil(duration_s * fps - 1e-6)))


def _gestures(phones: Sequence[Phone]) -> list[_Gesture]:
    """Phones and what the mouth does in silences: rest, then part ahead of the next sound."""
    gestures: list[_Gesture] = []
    for i, (phone, start_s, end_s) in enumerate(phones):
        if phone in VISEMES:
            gestures.append(_Gesture(VISEMES[phone], start_s, end_s))
            continue
        sound_follows = i + 1 < len(phones)
        sound_precedes = i > 0
        pause_s = end_s - start_s
        if sound_follows and sound_precedes and pause_s <= BRIEF_PAUSE_S:
            gestures.append(_Gesture(READY, start_s, end_s))
            continue
        lead_s = min(READY_LEAD_S, 0.6 * pause_s) if sound_follows else 0.0
        gestures.append(_Gesture(REST, start_s, end_s - lead_s))
        if lead_s:
            gestures.append(_Gesture(READY, end_s - lead_s, end_s))
    return gestures


def _blend(gestures: Sequence[_Gesture], grid_s: Float[np.ndarray, " steps"]) -> Float32[np.ndarray, "steps channels"]:
    """Mean of the targets weighted by dominance, (steps, 55)."""
    pulled = np.zeros((len(grid_s), len(ARKIT)))
    total = np.zeros(len(grid_s))
    for gesture in gestures:
        viseme = gesture.viseme
        first = max(0, int((gesture.start_s - REACH_S) / STEP_S))
        last = min(len(grid_s), int((gesture.end_s + REACH_S) / STEP_S) + 1)
        times_s = grid_s[first:last]
        before = np.maximum(gesture.start_s - times_s, 0.0) / viseme.before_s
        after = np.maximum(times_s - gesture.end_s, 0.0) / viseme.after_s
        dominance = viseme.dominance * np.exp(-before - after)
        total[first:last] += dominance
        channels = [ARKIT.index(channel) for channel in viseme.both_sides]
        weights = np.fromiter(viseme.both_sides.values(), float)
        pulled[first:last, channels] += dominance[:, None] * weights
    return (pulled / np.maximum(total, 1e-9)[:, None]).astype(np.float32)


def _closure(gestures: Sequence[_Gesture], grid_s: Float[np.ndarray, " steps"]) -> Float32[np.ndarray, " steps"]:
    """Share of the lip opening that is shut at every step: raised-cosine ramps around each contact."""
    closure = np.zeros(len(grid_s))
    for gesture in gestures:
        if not gesture.viseme.closure:
            continue
        lacking_s = max(0.0, CONTACT_S - (gesture.end_s - gesture.start_s))
        start_s, end_s = gesture.start_s - lacking_s / 2, gesture.end_s + lacking_s / 2
        first = max(0, int((start_s - CLOSING_S) / STEP_S))
        last = min(len(grid_s), int((end_s + OPENING_S) / STEP_S) + 2)
        times_s = grid_s[first:last]
        away = np.maximum((start_s - times_s) / CLOSING_S, 0.0) + np.maximum((times_s - end_s) / OPENING_S, 0.0)
        shape = 0.5 + 0.5 * np.cos(np.pi * np.minimum(away, 1.0))
        closure[first:last] = np.maximum(closure[first:last], gesture.viseme.closure * shape)
    return closure.astype(np.float32)
