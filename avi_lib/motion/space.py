"""Motion spaces: the named channels of a talking face and their groups.

>>> ARKIT.index("jawOpen")
17
>>> ARKIT.groups["head"]
(52, 53, 54)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32

ARKIT_BLENDSHAPES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft",
    "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 face blendshapes of Apple's ARKit in the order of `ARFaceAnchor.BlendShapeLocation`; weights in 0-1."""

HEAD_ROTATION = ("headPitch", "headYaw", "headRoll")
"""Head rotation in radians: pitch > 0 nods down, yaw > 0 turns to the person's left, roll > 0 tilts to their right."""


HEAD_LIMIT_RAD = 0.6
"""How far a head turns from facing the viewer, about any axis."""


@dataclass(frozen=True, eq=False)
class MotionSpace:
    """Named channels and named groups of them.

    `groups` maps a group's name to channel indices, `limits` is the lowest and the highest value of every channel that
    a face is asked to carry out. A space is equal only to itself.
    """

    name: str
    channels: tuple[str, ...]
    groups: dict[str, tuple[int, ...]]
    limits: tuple[tuple[float, float], ...]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {channel: i for i, channel in enumerate(self.channels)}

    def index(self, channel: str) -> int:
        """Position of a channel; KeyError names the space when it has no such channel."""
        try:
            return self._index[channel]
        except KeyError:
            raise KeyError(f"motion space {self.name} has no channel {channel!r}") from None

    def __len__(self) -> int:
        return len(self.channels)

    def limited(self, values: Float32[np.ndarray, "frames channels"]) -> Float32[np.ndarray, "frames channels"]:
        """The same motion with every value within its limits."""
        low, high = np.array(self.limits, np.float32).T
        return np.clip(values, low, high)


def _arkit_groups(channels: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    prefixes = {
        "lips": ("jaw", "mouth", "tongue"),
        "brows": ("brow",),
        "blink": ("eyeBlink", "eyeSquint", "eyeWide"),
        "gaze": ("eyeLook",),
        "cheeks_nose": ("cheek", "nose"),
        "head": ("head",),
    }
    return {
        group: tuple(i for i, channel in enumerate(channels) if channel.startswith(starts))
        for group, starts in prefixes.items()
    }


_ARKIT_CHANNELS = ARKIT_BLENDSHAPES + HEAD_ROTATION
_WEIGHT, _HEAD = (0.0, 1.0), (-HEAD_LIMIT_RAD, HEAD_LIMIT_RAD)
ARKIT = MotionSpace(
    "ARKIT",
    _ARKIT_CHANNELS,
    _arkit_groups(_ARKIT_CHANNELS),
    (_WEIGHT,) * len(ARKIT_BLENDSHAPES) + (_HEAD,) * len(HEAD_ROTATION),
)
"""52 ARKit blendshapes, then head pitch, yaw and roll in radians: 55 channels."""

_FLAME_CHANNELS = (
    tuple(f"expression{i}" for i in range(50))
    + tuple(f"jaw{axis}" for axis in "XYZ")
    + tuple(f"global{axis}" for axis in "XYZ")
)
FLAME = MotionSpace(
    "FLAME",
    _FLAME_CHANNELS,
    {"expression": tuple(range(50)), "lips": (50, 51, 52), "head": (53, 54, 55)},
    ((-6.0, 6.0),) * 50 + ((-1.0, 1.0),) * 3 + ((-math.pi, math.pi),) * 3,
)
"""FLAME expression coefficients 50, jaw 3 and global rotation 3, both axis-angle in radians: 56 channels."""

SPACES = {space.name: space for space in (ARKIT, FLAME)}
