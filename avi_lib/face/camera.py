"""A perspective camera, and the portrait view every video uses.

>>> PORTRAIT.matrix().shape  # world coordinates (x, y, z, 1) to OpenGL clip coordinates, y pointing down the picture
(4, 4)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

MOST_PITCH_RAD = math.radians(80.0)


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and looks (metres, y up, the head faces +z); `fov_deg` is what the shorter side sees."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fov_deg: float = 24.0
    near_m: float = 0.2
    far_m: float = 4.0

    def matrix(self, aspect: float = 1.0) -> Float32[np.ndarray, "4 4"]:
        """World to clip coordinates of a picture `aspect` times as wide as high.

        Rows of the picture run downwards, so clip y grows towards the chin.
        """
        back, right, up = self._axes()
        view = np.eye(4)
        view[:3, :3] = right, up, back
        view[:3, 3] = -view[:3, :3] @ np.asarray(self.position)
        focal = 1.0 / math.tan(math.radians(self.fov_deg) / 2.0)
        near, far = self.near_m, self.far_m
        projection = np.array(
            [
                [focal / max(aspect, 1.0), 0.0, 0.0, 0.0],
                [0.0, -focal * min(aspect, 1.0), 0.0, 0.0],
                [0.0, 0.0, -(far + near) / (far - near), -2.0 * far * near / (far - near)],
                [0.0, 0.0, -1.0, 0.0],
            ]
        )
        return (projection @ view).astype(np.float32)

    def rays(self, width: int, height: int) -> Float32[np.ndarray, "3 3"]:
        """From what a pixel shows towards the camera: rays[0] + column * rays[1] + row * rays[2], not of unit length.

        Columns and rows count from the picture's upper left corner; a pixel's middle is at its number plus one half.
        """
        back, right, up = self._axes()
        step = 2.0 * math.tan(math.radians(self.fov_deg) / 2.0) / min(width, height)
        corner = back + 0.5 * step * (width * right - height * up)
        return np.array([corner, -step * right, step * up], np.float32)

    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        back = _unit(np.asarray(self.position) - np.asarray(self.target))
        right = _unit(np.cross((0.0, 1.0, 0.0), back))
        return back, right, np.cross(back, right)

    def orbit(self, yaw_deg: float, pitch_deg: float = 0.0) -> Camera:
        """The same camera carried around its target: yaw > 0 to the picture's right, pitch > 0 up (within +-80)."""
        x, y, z = np.asarray(self.position) - np.asarray(self.target)
        distance, across = math.hypot(x, y, z), math.hypot(x, z)
        yaw = math.atan2(x, z) + math.radians(yaw_deg)
        pitch = min(max(math.atan2(y, across) + math.radians(pitch_deg), -MOST_PITCH_RAD), MOST_PITCH_RAD)
        offset = (math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw))
        x, y, z = (at + distance * part for at, part in zip(self.target, offset, strict=True))
        return replace(self, position=(x, y, z))

    def nearer(self, times: float) -> Camera:
        """The same camera seeing a part `times` smaller, as with a longer lens."""
        half = math.atan(math.tan(math.radians(self.fov_deg) / 2.0) / times)
        return replace(self, fov_deg=math.degrees(2.0 * half))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


PORTRAIT = Camera(position=(0.0, -0.030, 0.96), target=(0.0, -0.047, 0.0))
"""A bust, seen as with an 85 mm lens from a metre away, the eyes a little above the middle."""

FRAMINGS = {
    "portrait": PORTRAIT,
    "face": Camera(position=(0.0, -0.030, 0.96), target=(0.0, -0.018, 0.0)).nearer(1.55),
    "mouth": Camera(position=(0.0, -0.070, 0.96), target=(0.0, -0.078, 0.05)).nearer(3.6),
    "eyes": Camera(position=(0.0, 0.0, 0.96), target=(0.0, -0.004, 0.03)).nearer(3.0),
}
"""Cameras by the name of what fills the picture."""
