"""The style of a motion: how far each channel is held, how much it moves about that, and a few numbers of its dynamics.

It is a statistic, never learned and never of labels, so that a style can be read, edited and asked for by the channel:

>>> style = style_of(clip)                                   # (128,) float32
>>> levels(style, ARKIT)[ARKIT.index("browDownLeft")]        # an asked strength reads back as that number
0.7
>>> names(ARKIT)[110], known(ARKIT, clip.present).sum()
('blinks a second', 120)

===========================  =======================================================================
entries of C channels        what they say, in weights, or radians for the head
===========================  =======================================================================
0 to C-1, the levels         median over the frames of speech: what is held, whatever blinks and beats do
C to 2C-1, the spreads       standard deviation about the level over all frames
2C on (`DYNAMICS`)           blinks, shifts of gaze, head, brows and jaw; of the ARKIT space only
the rest, up to 128          0 and never known
===========================  =======================================================================
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, TABLES, MotionClip, MotionSpace

STYLE = 128
DYNAMICS: dict[str, float] = {name: usual for name, (usual, _) in TABLES["dynamics"].items()}
"""Numbers of dynamics and how much each usually differs from motion to motion."""
BLINK, SHIFT_A_SECOND = 0.25, 1.2
"""Lids closed this far beyond their level blink; a gaze faster than this many weights a second shifts."""
_LONGEST_BLINK_S = 0.6

Style = Float32[np.ndarray, " style"]
Known = Bool[np.ndarray, " style"]
Curve = Float[np.ndarray, " frames"]


def style_of(motion: MotionClip, spoken_s: tuple[float, float] | None = None) -> Style:
    """The style (128,) that a motion shows; entries of channels that are not present are 0 (see `known`).

    spoken_s: times of the first and the last sound, between which levels are taken; the whole motion when None or when
    less than half a second is left. Raises InputError for a motion without frames.
    """
    if not len(motion):
        raise InputError("motion of a frame at least", "none", "load a recording")
    values = np.where(motion.present, motion.values, 0.0).astype(np.float64)
    first, last = (round(s * motion.fps) for s in spoken_s or (0.0, len(values) / motion.fps))
    spoken = values[max(first, 0) : last] if last - max(first, 0) >= 0.5 * motion.fps else values
    level = np.median(spoken, axis=0)
    numbers = [level, np.sqrt(np.mean((values - level) ** 2, axis=0))]
    if motion.space is ARKIT:
        numbers.append(_dynamics(values, level, motion.fps))
    style = np.concatenate(numbers)
    return np.pad(style * known(motion.space, motion.present)[: len(style)], (0, STYLE - len(style))).astype(np.float32)


def known(space: MotionSpace, present: Bool[np.ndarray, " channels"]) -> Known:
    """Which entries of a style are known of motion with these channels."""
    mask = np.zeros(STYLE, bool)
    mask[: 2 * len(space)] = np.tile(present, 2)
    if space is ARKIT:
        mask[2 * len(space) :][: len(DYNAMICS)] = [present[channels].all() for channels in _USED]
    return mask


def names(space: MotionSpace) -> tuple[str, ...]:
    """What each entry of a style is."""
    every = [*space.channels, *(f"spread of {name}" for name in space.channels), *(DYNAMICS if space is ARKIT else ())]
    return (*every, *[""] * (STYLE - len(every)))


def scale(space: MotionSpace) -> Style:
    """How much each entry usually differs from motion to motion: for noise on styles, and what networks read."""
    wide = np.array([high - low for low, high in space.limits])
    every = np.concatenate([0.25 * wide, 0.05 * wide, np.array([*DYNAMICS.values()] if space is ARKIT else [])])
    return np.pad(every, (0, STYLE - len(every)), constant_values=1.0).astype(np.float32)


def levels(style: Float32[np.ndarray, "*n style"], space: MotionSpace) -> Float32[np.ndarray, "*n channels"]:
    """A view of the levels of every channel."""
    return style[..., : len(space)]


def enlivened(style: Style, by: Style) -> Style:
    """A style of the ARKIT space with the dynamics of another, such as real motion's.

    A performance moves less than a face. Levels, mouth and asked nods and shakes stay, of the spreads the greater of
    both is taken.
    """
    mixed, size, jaw = style.copy(), len(ARKIT), list(DYNAMICS).index("reach of the jaw")
    mixed[2 * size : 2 * size + jaw] = by[2 * size : 2 * size + jaw]
    greater = [size + channel for channel in range(size) if channel not in ARKIT.groups["lips"]]
    greater += [2 * size + i for i, name in enumerate(DYNAMICS) if name.startswith(("nods", "shakes"))]
    mixed[greater] = np.maximum(style[greater], by[greater])
    return mixed


_LIDS = ARKIT.columns("eyeBlink")
_YAW = ARKIT.columns("eyeLookOutLeft", "eyeLookInRight"), ARKIT.columns("eyeLookInLeft", "eyeLookOutRight")
_PITCH = ARKIT.columns("eyeLookUp"), ARKIT.columns("eyeLookDown")
_BROWS = ARKIT.columns("browInnerUp", "browOuterUp"), ARKIT.columns("browDown")
_HEAD, _JAW = ARKIT.groups["head"], ARKIT.index("jawOpen")
_USED = [
    [channel for channel, name in enumerate(ARKIT.channels) if name.startswith(beginning)]
    for _, beginning in TABLES["dynamics"].values()
]  # channels that each number of `DYNAMICS` is taken from


def _dynamics(values: np.ndarray, level: np.ndarray, fps: float) -> np.ndarray:
    """The numbers of `DYNAMICS` of values (frames, 55)."""
    duration_s = len(values) / fps
    widths_s = blink_widths(values[:, _LIDS].mean(axis=1), float(level[_LIDS].mean()), fps)
    yaw, pitch = (values[:, to].mean(axis=1) - values[:, fro].mean(axis=1) for to, fro in (_YAW, _PITCH))
    speed = np.hypot(np.diff(yaw), np.diff(pitch)) * fps
    head, raised = values[:, _HEAD], values[:, _BROWS[0]].mean(axis=1) - values[:, _BROWS[1]].mean(axis=1)
    uneven = values[:, ARKIT.groups["brows"]] @ np.array([-1.0, 1.0, 0.0, 1.0, -1.0])  # left higher than right
    jaw = values[:, _JAW]
    return np.array([
        len(widths_s) / duration_s,
        np.mean(widths_s) if len(widths_s) else DYNAMICS["width of a blink in s"],
        len(_runs(speed > SHIFT_A_SECOND)) / duration_s,
        np.hypot(yaw.std(), pitch.std()),
        *(np.sqrt(sum(band_power(curve, fps, *band) for curve in head.T)) for band in ((0.0, 0.7), (0.7, fps / 2))),
        np.sqrt(band_power(head[:, 0], fps, 0.9, 2.0)),
        np.sqrt(band_power(head[:, 1], fps, 0.7, 1.8)),
        np.sqrt(band_power(raised, fps, 1.0, fps / 2)),
        uneven.std(),
        np.subtract(*np.percentile(jaw, (90, 10))),
        np.abs(np.diff(jaw)).mean() * fps if len(jaw) > 1 else 0.0,
    ])  # fmt: skip


def blink_widths(lids: Curve, level: float, fps: float) -> list[float]:
    """Seconds that every blink of a curve stays above half of its height over the level."""
    over, widths_s = lids - level, []
    for first, last in _runs(over > BLINK):
        top = over[first:last].max()
        while first > 0 and over[first - 1] > top / 2:
            first -= 1
        while last < len(over) and over[last] > top / 2:
            last += 1
        width_s = int((over[first:last] > top / 2).sum()) / fps
        if width_s <= _LONGEST_BLINK_S:
            widths_s.append(width_s)
    return widths_s


def band_power(curve: Curve, fps: float, low_hz: float, high_hz: float) -> float:
    """Mean square of a curve without its mean, between two frequencies."""
    power = np.abs(np.fft.rfft(curve - curve.mean())) ** 2 / len(curve) ** 2
    power[1 : (len(curve) + 1) // 2] *= 2
    hz = np.fft.rfftfreq(len(curve), 1 / fps)
    return float(power[(hz >= low_hz) & (hz < high_hz if high_hz < fps / 2 else hz <= high_hz)].sum())


def _runs(true: np.ndarray) -> list[tuple[int, int]]:
    """Beginnings and ends of stretches that are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], true.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
