"""What the pipeline needs to know of a head that motion drives, whichever file it comes from.

>>> head: DrivenHead = load_head()
>>> vertices = head.move(motion)  # (frames, V, 3) float32, metres
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from avi_lib.face.mesh import RenderMesh
from avi_lib.motion.clip import MotionClip


@runtime_checkable
class DrivenHead(RenderMesh, Protocol):
    """A mesh that motion moves.

    It stands as the open head does (metres, y up, +z towards the viewer, x to the person's left, the origin midway
    between the eyes), so that one camera fits all heads.
    """

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it: channels it lacks, how well it follows; empty where there is nothing."""
        ...

    def move(self, motion: MotionClip) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices in metres of every frame; InputError for motion of a space that the head cannot follow."""
        ...
