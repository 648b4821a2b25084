"""A strip of trajectories to stand under a video: a row for each factor of the face, and a line where it is.

>>> strip = Strip(motion, width=512)
>>> strip.at(12).shape
(128, 512, 3)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from avi_lib.face.lettering import PAPER, font
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.factors import FACTORS
from avi_lib.motion.space import ARKIT

COLOURS = {
    "lips": (231, 111, 81), "expression": (233, 196, 106), "blink": (138, 177, 125), "gaze": (87, 160, 211),
    "pose": (160, 140, 200),
}  # fmt: skip
CURVES = 2
"""Channels of a factor that are drawn: those that move most, a left one and its right twin counting as one."""
REACH_RAD, REACH = 0.15, 0.3
"""A row shows at least so much of a rotation or a weight, so that what hardly moves looks like it."""
_CURSOR = (240, 240, 240)
_SCALE = 2
"""Drawn so many times larger and averaged, which smooths the curves."""


class Strip:
    """Trajectories of a motion (ARKIT), drawn once: as wide as a picture, a quarter of that high, at most `height`."""

    def __init__(self, motion: MotionClip, width: int, height: int = 1 << 16) -> None:
        height = min(width // 4, height) // 2 * 2
        self._frames = len(motion)
        self._left = width // 7
        self._picture = _drawn(motion, width, height, self._left)

    def at(self, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        """The strip with a line at a frame, counted from 0."""
        picture = self._picture.copy()
        span = picture.shape[1] - self._left
        column = self._left + min(int((frame + 0.5) / self._frames * span), span - 1)
        picture[:, max(column - 1, self._left) : column + 1] = _CURSOR
        return picture


def _drawn(motion: MotionClip, width: int, height: int, left: int) -> UInt8[np.ndarray, "height width 3"]:
    sheet = Image.new("RGB", (_SCALE * width, _SCALE * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    row = sheet.height / len(FACTORS)
    letters = font(round(0.42 * row))
    for number, factor in enumerate(FACTORS):
        top = number * row
        pen.text((0.12 * row, top + row / 2), factor, font=letters, fill=COLOURS[factor], anchor="lm")
        curves = _curves(motion, factor)
        reach = max(float(np.abs(curves).max()), REACH_RAD if factor == "pose" else REACH)
        middle, swing = (0.5, 0.42) if factor == "pose" else (0.9, 0.8)
        for shade, curve in zip((1.0, 0.55), curves, strict=False):
            heights = top + row * (middle - swing * curve / reach)
            across = np.linspace(_SCALE * left, sheet.width - 1, max(len(curve), 2))
            points = list(zip(across, np.resize(heights, len(across)), strict=True))
            colour = tuple(int(shade * part + (1 - shade) * ground) for part, ground in _pairs(factor))
            pen.line(points, fill=colour, width=2 * _SCALE - 1, joint="curve")
    return np.asarray(sheet.resize((width, height), Image.Resampling.BOX))


def _pairs(factor: str) -> list[tuple[int, int]]:
    return list(zip(COLOURS[factor], PAPER, strict=True))


def _curves(motion: MotionClip, factor: str) -> Float[np.ndarray, "curves frames"]:
    """The channels of a factor that move most, the strongest first."""
    sides: dict[str, list[int]] = {}
    for i in FACTORS[factor]:
        sides.setdefault(ARKIT.channels[i].removesuffix("Left").removesuffix("Right"), []).append(i)
    means = [motion.values[:, members].mean(axis=1) for members in sides.values()]
    means.sort(key=lambda curve: -float(np.ptp(curve)))
    return np.stack(means[:CURVES])
