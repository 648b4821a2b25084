"""Names that other tools give to shapes and materials: what is known of them, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gltf_files import Builder

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.heads.gltf_head import load_gltf_head
from avi_lib.heads.obj import load_obj_head
from avi_lib.heads.placing import MATERIAL_WORDS, describe, match_channels, material_of
from avi_lib.motion.clip import ARKIT_BLENDSHAPES


def renamed(channel: str, left: str, right: str) -> str:
    """A channel with its side written another way; directions of the jaw and the mouth stay as they are."""
    if channel in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        return channel
    return channel.replace("Left", left).replace("Right", right)


def snake(channel: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in channel)


@pytest.mark.parametrize(
    "names",
    [
        list(ARKIT_BLENDSHAPES),
        [name.upper() for name in ARKIT_BLENDSHAPES],
        [name[0].upper() + name[1:] for name in ARKIT_BLENDSHAPES],
        [snake(name) for name in ARKIT_BLENDSHAPES],
        [f"{place:02d}_{name}" for place, name in enumerate(ARKIT_BLENDSHAPES)],
        [f"A{place:02d}_{snake(name)}" for place, name in enumerate(ARKIT_BLENDSHAPES)],
        [f"head_blendShapes.{name}" for name in ARKIT_BLENDSHAPES],
        [f"Face_{place}_{name}" for place, name in enumerate(ARKIT_BLENDSHAPES)],
        [renamed(name, "_L", "_R") for name in ARKIT_BLENDSHAPES],
        [renamed(name, ".l", ".r") for name in ARKIT_BLENDSHAPES],
        [f"Face_{renamed(name, ' Left', ' Right')}" for name in ARKIT_BLENDSHAPES],
        [
            f"L_{renamed(name, '', '')}" if renamed(name, "", "") + "Left" == name else name
            for name in ARKIT_BLENDSHAPES
        ],
    ],
)
def test_all_52_channels_are_found_however_a_tool_writes_them(names: list[str]) -> None:
    match = match_channels(names)
    assert match.places == {channel: place for place, channel in enumerate(ARKIT_BLENDSHAPES)}
    assert match.unused == ()
    assert describe(match) == ("52 of 52 ARKit channels found",)


def test_missing_channels_and_unused_names_are_told() -> None:
    match = match_channels(["Basis", "jawOpen", "viseme_aa", "eyeBlink_L"])
    assert match.places == {"eyeBlinkLeft": 3, "jawOpen": 1}
    assert match.unused == ("Basis", "viseme_aa")
    found, missing = describe(match)
    assert found == "2 of 52 ARKit channels found"
    assert "tongueOut" in missing and "eyeBlinkRight" in missing and "jawOpen" not in missing


def test_halves_of_a_channel_are_left_out_and_named() -> None:
    match = match_channels(["browInnerUp_L", "browInnerUp_R", "jawOpen"])
    assert match.unused == ("browInnerUp_L", "browInnerUp_R")
    assert any("browInnerUp_L and browInnerUp_R: halves of browInnerUp" in note for note in describe(match))


@pytest.mark.parametrize("names", [["jawOpen", "jaw_open"], ["mouthSmile_L", "MouthSmileLeft"], ["jawOpen"] * 2])
def test_two_names_of_one_channel_are_an_error_that_tells_both(names: list[str]) -> None:
    with pytest.raises(InputError, match=f"{names[0]}.*{names[1]}"):
        match_channels(names)


def test_only_names_of_the_commonest_prefix_count() -> None:
    names = ["head.jawOpen", "teeth.jawOpen", "head.mouthSmile_R", "head.corrective_jawOpen", "jawOpen_eyeBlinkLeft"]
    match = match_channels(names)
    assert match.places == {"jawOpen": 0, "mouthSmileRight": 2}
    assert match.unused == ("teeth.jawOpen", "head.corrective_jawOpen", "jawOpen_eyeBlinkLeft")


def test_a_side_of_the_jaw_is_a_direction() -> None:
    assert match_channels(["jaw_L", "mouth_R"]).places == {"jawLeft": 0, "mouthRight": 1}
    assert match_channels(["L_jaw", "jawOpen"]).unused == ("L_jaw",)


@pytest.mark.parametrize("names", [[], ["", "123", "___"], ["x" * 10_000, "jawOpen" * 1000], ["ударение", "口"]])
def test_names_of_nothing_match_nothing(names: list[str]) -> None:
    match = match_channels(names)
    assert match.places == {} and match.unused == tuple(names)
    assert describe(match)[0].startswith("0 of 52")


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


def test_a_name_speaks_of_one_material_in_every_format(tmp_path: Path) -> None:
    builder = Builder().mesh()
    (mesh,) = builder.json["meshes"]
    builder.json["materials"] = [{"name": name} for name in NAMES]
    mesh["primitives"] = [{**mesh["primitives"][0], "material": number} for number in range(len(NAMES))]
    head = load_gltf_head(builder.save(tmp_path / "ada.glb"))
    looks = np.split(head.material, len(NAMES))
    assert [{MATERIAL_NAMES[kind] for kind in look} for look in looks] == [{look} for look in NAMES.values()]
    folder = tmp_path / "ada"
    folder.mkdir()
    faces = "".join(f"usemtl {name}\nf 1 2 3\n" for name in NAMES)
    for name, height in (("neutral", 1.0), ("jawOpen", 0.9)):
        (folder / f"{name}.obj").write_text(f"v 0 0 0\nv 1 0 0\nv 0 {height} 0\n{faces}")
    assert [MATERIAL_NAMES[kind] for kind in load_obj_head(folder).material] == list(NAMES.values())


def test_the_first_telling_name_counts() -> None:
    assert material_of("Mat_07", "Eyelash_Mesh", "Teeth") == "hair"
    assert material_of() == material_of("", "007") == "skin"
    assert set(MATERIAL_WORDS) <= set(MATERIAL_NAMES)
