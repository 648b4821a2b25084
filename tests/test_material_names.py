"""Names of materials, as glTF and OBJ files carry them."""

from __future__ import annotations

from pathlib import Path

import pytest
from gltf_files import Builder

from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.heads.gltf_head import load_gltf_head
from avi_lib.heads.obj import load_obj_head
from avi_lib.heads.placing import MATERIAL_WORDS, material_of

NAMES = {
    "EyeLashes": "hair",
    "Eye_Lashes": "hair",
    "Eye_Brows": "hair",
    "Wolf3D_Eyes": "eye",
    "CC_Base_Pupil_L": "eye",
    "Wolf3D_Outfit_Top": "cloth",
    "Suit": "cloth",
    "Std_Upper_Teeth": "teeth",
    "LIPS.001": "lips",
    "Tongue01": "tongue",
    "Body": "skin",
    "eclipse": "skin",
}


@pytest.mark.parametrize(("name", "material"), NAMES.items())
def test_a_name_speaks_of_one_material_in_every_format(tmp_path: Path, name: str, material: str) -> None:
    builder = Builder().mesh()
    builder.json["materials"] = [{"name": name}]
    builder.json["meshes"][0]["primitives"][0]["material"] = 0
    head = load_gltf_head(builder.save(tmp_path / "ada.glb"))
    assert {MATERIAL_NAMES[kind] for kind in head.material} == {material}
    folder = tmp_path / "ada"
    folder.mkdir()
    points = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
    (folder / "neutral.obj").write_text(f"{points}usemtl {name}\nf 1 2 3\n")
    (folder / "jawOpen.obj").write_text(f"{points.replace('v 0 1 0', 'v 0 0.9 0')}usemtl {name}\nf 1 2 3\n")
    assert {MATERIAL_NAMES[kind] for kind in load_obj_head(folder).material} == {material}


def test_the_first_telling_name_counts() -> None:
    assert material_of("Mat_07", "Eyelash_Mesh", "Teeth") == "hair"
    assert material_of() == material_of("", "007") == "skin"
    assert set(MATERIAL_WORDS) <= set(MATERIAL_NAMES)
