"""Any head, by name or by path: the open head, FLAME, glTF, a folder of OBJ shapes.

>>> load_any_head("open", {"old": 0.6}).notes
()
>>> load_any_head("generic_model.pkl", {"shape0": 1.5}).notes[0]
'fitted from ARKit: ...'
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.face.driven import DrivenHead
from avi_lib.face.head import HEADS, Head, load_head

FLAME_SHAPES = 300
MOST_SHAPE = 10.0
"""Standard deviations of a population's faces, in which the coefficients count; beyond a few nobody looks like it."""
_FLAME_SLIDER = re.compile(r"shape(\d{1,3})", re.ASCII)


def load_any_head(name_or_path: str, identity: Mapping[str, float] | None = None) -> DrivenHead:
    """The head of a name or a path, with its identity sliders set.

    A folder holds OBJ shapes; .glb and .gltf are read with their morph targets; a .pkl, or an .npz with `v_template`,
    is a FLAME model, whose sliders are shape0 to shape299; any other .npz is a baked head.

    Raises:
        InputError: nothing of these, damaged, or without the sliders that are set.
    """
    sliders, path = dict(identity or {}), Path(name_or_path)
    if name_or_path not in HEADS and _is_flame(path):
        from avi_lib.face.flame_head import load_flame_head

        return load_flame_head(path, _shape(sliders) if sliders else None)
    head = _shaped_head(name_or_path, path)
    if not sliders:
        return head
    if not head.identity_names:
        raise InputError("a head with identity sliders, such as open", name_or_path, "leave the sliders out")
    return head.with_identity(sliders)


def _shaped_head(name: str, path: Path) -> Head:
    if name not in HEADS and path.is_dir():
        from avi_lib.face.obj_head import load_obj_head

        return load_obj_head(path)
    if name not in HEADS and path.suffix.lower() in (".glb", ".gltf"):
        from avi_lib.face.gltf_reading import load_gltf_head

        return load_gltf_head(path)
    return load_head(name)


def _is_flame(path: Path) -> bool:
    """Whether a file is a FLAME model: by its suffix, or by what an npz holds."""
    if path.suffix.lower() == ".pkl":
        return True
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "v_template.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def _shape(sliders: Mapping[str, float]) -> Float32[np.ndarray, " coefficients"]:
    """FLAME's shape coefficients of sliders by name."""
    shape = np.zeros(FLAME_SHAPES, np.float32)
    for name, value in sliders.items():
        number = _FLAME_SLIDER.fullmatch(name)
        if number is None or int(number[1]) >= FLAME_SHAPES:
            raise InputError(f"sliders shape0 to shape{FLAME_SHAPES - 1} of a FLAME head", repr(name), "rename it")
        if not abs(value) <= MOST_SHAPE:
            raise InputError(f"a FLAME slider of at most {MOST_SHAPE:g} either way", f"{name}={value:g}", "lower it")
        shape[int(number[1])] = value
    return shape
