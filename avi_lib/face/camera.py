"""A perspective camera, and the portrait view every video uses.

>>> PORTRAIT.matrix().shape  # world coordinates (x, y, z, 1) to OpenGL clip coordinates, y pointing down the picture
(4, 4)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and looks (metres, y up, the head faces +z) and how wide it sees (square picture)."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fov_deg: float = 24.0
    near_m: float = 0.2
    far_m: float = 4.0

    def matrix(self) -> Float32[np.ndarray, "4 4"]:
        """World to clip coordinates; rows of the picture run downwards, so clip y grows towards the chin."""
        back, right, up = self._axes()
        view = np.eye(4)
        view[:3, :3] = right, up, back
        view[:3, 3] = -view[:3, :3] @ np.asarray(self.position)
        focal = 1.0 / math.tan(math.radians(self.fov_deg) / 2.0)
        near, far = self.near_m, self.far_m
        projection = np.array(
            [
                [focal, 0.0, 0.0, 0.0],
                [0.0, -focal, 0.0, 0.0],
                [0.0, 0.0, -(far + near) / (far - near), -2.0 * far * near / (far - near)],
                [0.0, 0.0, -1.0, 0.0],
            ]
        )
        return (projection @ view).astype(np.float32)

    def rays(self, size: int) -> Float32[np.ndarray, "3 3"]:
        """From what a pixel shows towards the camera: rays[0] + column * rays[1] + row * rays[2], not of unit length.

        Columns and rows count from the picture's upper left corner; a pixel's middle is at its number plus one half.
        """
        back, right, up = self._axes()
        reach = math.tan(math.radians(self.fov_deg) / 2.0)
        step = 2.0 * reach / size
        return np.array([back + reach * right - reach * up, -step * right, step * up], np.float32)

    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        back = _unit(np.asarray(self.position) - np.asarray(self.target))
        right = _unit(np.cross((0.0, 1.0, 0.0), back))
        return back, right, np.cross(back, right)

    def orbit(self, yaw_deg: float) -> Camera:
        """The same camera carried around the target's vertical axis; positive goes to the picture's right."""
        offset = np.asarray(self.position) - np.asarray(self.target)
        c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
        turned = np.array([c * offset[0] + s * offset[2], offset[1], -s * offset[0] + c * offset[2]])
        x, y, z = (float(value) for value in turned + np.asarray(self.target))
        return replace(self, position=(x, y, z))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


PORTRAIT = Camera(position=(0.0, -0.030, 0.96), target=(0.0, -0.047, 0.0))
"""A bust, seen as with an 85 mm lens from a metre away, the eyes a little above the middle."""
