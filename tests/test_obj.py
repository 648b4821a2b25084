"""OBJ files: what is read of them, heads from folders of them, and a motion as a sequence of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gltf_files import Builder
from obj_folders import write_folder, write_obj, write_strangers_folder
from PIL import Image

from avi_lib.errors import InputError, OutputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head, check_mesh, head_behind_wall, load_head
from avi_lib.heads import obj
from avi_lib.heads.gltf import read_gltf_head
from avi_lib.heads.obj import read_obj, read_obj_head, write_obj_sequence
from avi_lib.heads.placing import MATERIAL_WORDS, clear_shells, material_of
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME, MotionClip, match_channels

CHANNELS = ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "mouthSmileLeft", "mouthSmileRight", "tongueOut")
load_obj_head = partial(head_behind_wall, read_obj_head)
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


@pytest.fixture(scope="module", params=["open", "ben"])
def either(request: pytest.FixtureRequest) -> Head:
    """Two shipped heads, one of them with see-through hair."""
    return load_head(request.param)


@pytest.fixture(scope="module")
def folder(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The open head with six shapes, in centimetres and away from the origin."""
    return write_folder(tmp_path_factory.mktemp("obj") / "ada", head, CHANNELS, unit=100.0)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Head:
    return load_obj_head(folder)


def small_folder(folder: Path, **files: str) -> Path:
    folder.mkdir()
    (folder / "neutral.obj").write_text(TRIANGLE + "f 1 2 3\n")
    for name, text in files.items():
        (folder / f"{name}.obj").write_text(text)
    return folder


def read_text(folder: Path, text: str) -> obj.ObjMesh:
    path = folder / "mesh.obj"
    path.write_bytes(text.encode("latin-1"))
    return read_obj(path)


FORMS = "1 2 3,1/1 2/2 3/3,1//1 2//1 3//1,1/1/1 2/2/1 3/3/1,-3 -2 -1,1 2 \\\n3,1 \\\r\n2\\\n 3"


@pytest.mark.parametrize("face", FORMS.split(","))
def test_every_form_of_a_face_is_read(tmp_path: Path, face: str) -> None:
    places = "vt 0 0\nvt 1 0\nvt 0 1 0\nvn 0 0 1\n"
    mesh = read_text(tmp_path, f"# a comment\no thing\n{TRIANGLE}{places}s off\nf {face}\n")
    assert mesh.corners[..., 0].tolist() == [[0, 1, 2]]
    assert mesh.corners[0, :, 1].tolist() == ([0, 1, 2] if "/1 " in face and "//" not in face else [-1] * 3)


def test_the_faces_of_a_head_are_read_once(tmp_path: Path, head: Head) -> None:
    rest = read_obj(write_obj(tmp_path / "rest.obj", head, head.vertices, "face.mtl"))
    moves = head.vertices + head.shapes[ARKIT.index("jawOpen")]
    moved = read_obj(write_obj(tmp_path / "moved.obj", head, moves, "other.mtl"))
    assert moved.corners is rest.corners and np.abs(moved.points - rest.points).max() > 0.01
    assert rest.libraries == ("face.mtl",) and {rest.materials[i] for i in rest.material} == {"face"}


def test_faces_counted_back_are_read_for_themselves_and_polygons_become_fans(tmp_path: Path):
    rest = read_text(tmp_path, f"{TRIANGLE}v 1 1 1\nf -4 -3 -2\n")
    shifted = read_text(tmp_path, f"{TRIANGLE}f -3 -2 -1\nv 1 1 1\n")
    assert shifted.corners[..., 0].tolist() == [[0, 1, 2]] == rest.corners[..., 0].tolist()
    mesh = read_text(tmp_path, f"{TRIANGLE}f -3 -2 -1\nv 5 5 5\nf -1 -2 -3\n")
    assert mesh.corners[..., 0].tolist() == [[0, 1, 2], [3, 2, 1]]
    mesh = read_text(tmp_path, "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv -1 0 0\nf 1 2 3 4 5\n")
    assert mesh.corners[..., 0].tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4]]


POINTS = "v 1 2 x|v 1 nan 3|v 1 1e300 3|v 1 2"
FACES = "f 1 2|f 0 1 2|f 1 2 -4|f 1 2 3.5|f 1/0 2 3|f -4 -3 -2"
MANY = [f"f 1 2 {'9' * digits}" for digits in (26, 6000)] + ["f" + " 1" * 2000]
MALFORMED = {
    **{TRIANGLE + line: "others in the lines of v in .*mesh.obj" for line in POINTS.split("|")},
    **{TRIANGLE + line: re.escape(f"'{line}' in ") for line in FACES.split("|")},
    **{TRIANGLE + line: "expected v with three numbers.* f of 3 to 1000 points there are; got" for line in MANY},
    TRIANGLE + "vt inf 0": "others in the lines of vt",
    TRIANGLE + "f 1 2 4": "a face of point 4 of 3",
    TRIANGLE + "f 1/1 2/1 3/1": "a face of place 1 of 0",
    "": "none",
    "\0\xff" * 100: "none",
    "usemtl a b\nusemtl".join(f" {i}\n" for i in range(300)) + TRIANGLE: "200 materials",
    f"\n\n{TRIANGLE}f 1 \\\n2\n": "'f 1  2' in",
}


@pytest.mark.parametrize(("text", "named"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_malformed_text_is_refused_with_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_text(tmp_path, text)


def test_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obj, "MAX_POINTS", 100)
    monkeypatch.setattr(obj, "MAX_TRIANGLES", 100)
    for text in ("v 0 0 0\n" * 101, TRIANGLE + "f 1 2 3\n" * 101, TRIANGLE + "f" + " 1 2 3" * 40 + "\n"):
        with pytest.raises(InputError, match="100"):
            read_text(tmp_path, text)
    monkeypatch.setattr(obj, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="MiB"):
        read_text(tmp_path, TRIANGLE)
    with pytest.raises(InputError, match=r"absent\.obj"):
        read_obj(tmp_path / "absent.obj")


def test_an_obj_head_moves_as_the_head_it_was_made_of(loaded: Head, head: Head) -> None:
    check_mesh(loaded)
    rng = np.random.default_rng(5)
    values = np.zeros((3, len(ARKIT)), np.float32)
    for channel in CHANNELS:
        values[:, ARKIT.index(channel)] = rng.uniform(0.0, 1.0, 3)
    moved = loaded.deform(values)
    _, first = np.unique(head.weld, return_index=True)
    used = np.unique(head.weld[head.triangles])
    vertex = first[np.searchsorted(np.unique(head.weld), used)][loaded.weld]  # of the open head at the same point
    scale = np.ptp(loaded.vertices, axis=0) / np.ptp(head.vertices[vertex], axis=0)
    np.testing.assert_allclose(scale, scale[0], rtol=1e-4)
    linear = np.tensordot(values[:, :52], head.shapes[:, vertex], axes=1)
    np.testing.assert_allclose(moved - loaded.vertices, scale[0] * linear, atol=5e-7)
    offset = loaded.vertices - scale[0] * head.vertices[vertex]
    np.testing.assert_allclose(offset, np.tile(offset.mean(axis=0), (len(offset), 1)), atol=5e-6)


def test_a_bust_whose_eyes_are_not_seen_keeps_its_size_and_bends_its_neck(tmp_path: Path, head: Head) -> None:
    loaded = load_obj_head(write_folder(tmp_path / "ada", head, ("jawOpen",), textured=False))
    assert any("not found: placed by the uppermost 0.23 m" in note for note in loaded.notes)
    np.testing.assert_allclose(np.ptp(loaded.vertices, axis=0), np.ptp(head.vertices, axis=0), atol=1e-5)
    np.testing.assert_allclose(loaded.vertices.max(axis=0), head.vertices.max(axis=0), atol=0.015)
    assert 0.0 == loaded.head_weight.min() < loaded.head_weight.max() == 1.0


def test_eyes_lie_63_mm_apart_the_texture_is_kept_and_missing_shapes_are_noted(loaded: Head, head: Head) -> None:
    blinks = [np.linalg.norm(loaded.shapes[ARKIT.index(f"eyeBlink{side}")], axis=1) for side in ("Left", "Right")]
    left, right = (np.average(loaded.vertices, axis=0, weights=moved) for moved in blinks)
    assert left[0] - right[0] == pytest.approx(0.063, abs=0.006)
    np.testing.assert_allclose(0.5 * (left + right)[:2], 0.0, atol=0.004)
    np.testing.assert_array_equal(loaded.atlas, head.atlas)
    np.testing.assert_allclose(loaded.uv[loaded.triangles], head.uv[head.triangles], atol=2e-5)
    assert loaded.name == "ada" and loaded.notes[0] == "6 of 52 ARKit channels found"
    assert any("jawForward" in note for note in loaded.notes)
    assert not loaded.shapes[ARKIT.index("jawForward")].any()


@pytest.mark.parametrize("name", ["rest.obj", "Base.OBJ", "Neutral_pose.obj", "ada_neutral.obj"])
def test_the_neutral_goes_by_several_names(tmp_path: Path, name: str) -> None:
    folder = small_folder(tmp_path / "a", jawOpen=TRIANGLE.replace("v 1", "v 2") + "f 1 2 3\n")
    (folder / "neutral.obj").rename(folder / name)
    assert load_obj_head(folder).notes[0].startswith("1 of 52")


REFUSED_FOLDERS: list[tuple[dict[str, str], str]] = [
    ({"jawOpen": TRIANGLE, "rest": TRIANGLE}, r"neutral\.obj and rest\.obj"),
    ({"neutral": "", "jawOpen": TRIANGLE}, "none"),
    ({"frown": TRIANGLE}, r"frown\.obj"),
    ({}, r"only neutral\.obj"),
    ({"jawOpen": TRIANGLE, "jaw_open": TRIANGLE}, "'jawOpen' and 'jaw_open'"),
    ({"neutral": TRIANGLE, "jawOpen": TRIANGLE}, "points only"),
    ({"jawOpen": TRIANGLE + "v 1 1 1\nf 1 2 3\n"}, "3 vertices.*4 in .*jawOpen"),
    ({"jawOpen": TRIANGLE + "f 3 2 1\n"}, "faces of neutral.*jawOpen"),
    ({"jawOpen": TRIANGLE + "f 1 2 3\nf 1 2 3\n"}, "faces of neutral.*jawOpen"),
]


@pytest.mark.parametrize(("files", "named"), REFUSED_FOLDERS)
def test_a_folder_that_is_no_head_says_what_is_wrong(tmp_path: Path, files: dict[str, str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_obj_head(small_folder(tmp_path / "a", **files))


def test_a_folder_without_a_neutral_says_what_was_looked_for(tmp_path: Path) -> None:
    (small_folder(tmp_path / "a") / "neutral.obj").unlink()
    with pytest.raises(InputError, match="neutral, rest, base"):
        load_obj_head(tmp_path / "a")
    with pytest.raises(InputError, match="folder of OBJ files"):
        load_obj_head(tmp_path / "absent")


def test_a_head_without_texture_is_painted_plain_and_shapes_that_move_nothing_are_noted(tmp_path: Path) -> None:
    still, moved = (text + "f 1 2 3\n" for text in (TRIANGLE, TRIANGLE.replace("1", "2")))
    loaded = load_obj_head(small_folder(tmp_path / "a", jawOpen=still, jawLeft=moved))
    assert "the same as at rest, so they do not move: jawOpen" in loaded.notes
    assert "no texture found: plain colours" in loaded.notes
    assert len(np.unique(loaded.atlas.reshape(-1, 3), axis=0)) == 1
    assert loaded.atlas.shape[0] % 4 == loaded.atlas.shape[1] % 4 == 0


def test_several_textures_lie_side_by_side_without_touching(tmp_path: Path) -> None:
    faces = "{}f 1/1 2/2 3/3\nusemtl Eye_L\nf 3/3 2/2 1/1\nusemtl teeth\nf 2 3 1\n"
    body = f"mtllib a.mtl\n{TRIANGLE}vt 0 0\nvt 1 0\nvt 0 1\n{faces}"
    folder = small_folder(tmp_path / "a", jawOpen=body.format("usemtl face\n").replace("v 1", "v 2"))
    (folder / "neutral.obj").write_text(body.format("usemtl face\n"))
    (folder / "a.mtl").write_text("newmtl face\nmap_Kd -s 1 1 1 red.png\nnewmtl Eye_L\nmap_Kd C:\\scans\\blue.jpg\n")
    Image.new("RGB", (64, 32), (250, 0, 0)).save(folder / "red.png")
    Image.new("RGB", (16, 16), (0, 0, 250)).save(folder / "blue.jpg", quality=95)
    loaded = load_obj_head(folder)
    size = np.array(loaded.atlas.shape[1::-1])
    texels = np.clip((loaded.uv[loaded.triangles] * size).astype(int), 0, size - 1)
    colours = loaded.atlas[texels[..., 1], texels[..., 0]].astype(int)
    assert np.abs(colours[0] - (250, 0, 0)).max() < 8 and np.abs(colours[1] - (0, 0, 250)).max() < 8
    assert (colours[2] == (228, 220, 204)).all()
    assert loaded.material.tolist() == [0, 2, 3]
    assert "plain colours for teeth" in loaded.notes


def test_nothing_outside_the_folder_is_read_and_links_are_told_as_links_and_large_files_as_large(tmp_path):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "secret.png")
    body = f"mtllib a.mtl\nmtllib ../b.mtl\nusemtl face\n{TRIANGLE}f 1 2 3\n"
    folder = small_folder(tmp_path / "a", jawOpen=body.replace("v 1", "v 2"))
    (folder / "neutral.obj").write_text(body)
    assert "the material file a.mtl is not in the folder" in load_obj_head(folder).notes
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "\0", "x" * 5000):
        (folder / "a.mtl").write_text(f"newmtl face\nmap_Kd {name}\nmap_Kd\n")
        notes = load_obj_head(folder).notes
        assert any("is not in the folder" in note for note in notes) and "no texture found: plain colours" in notes
    (folder / "a.mtl").write_text("#" * (200 << 10))
    assert "the material file a.mtl has 200 KiB, of at most 128" in load_obj_head(folder).notes
    (folder / "a.mtl").rename(tmp_path / "a.mtl")
    (folder / "a.mtl").symlink_to(tmp_path / "a.mtl")
    assert "the material file a.mtl is not in the folder but a link out of it" in load_obj_head(folder).notes
    (folder / "jawLeft.obj").symlink_to(tmp_path / "a.mtl")
    with pytest.raises(InputError, match=r"jawLeft\.obj, a link out of the folder"):
        load_obj_head(folder)


COLOURED: list[tuple[str, list[tuple[int, int, int]], str]] = [
    (
        "Kd 1 0 0|Kd 0 0.2 0|Kd 0 0 1",
        [(255, 0, 0), (0, 51, 0), (0, 0, 255)],
        "no texture found: colours of its materials",
    ),
    ("Kd .8 .8 .8|Kd .8 .8 .8|Kd .8 .8 .8", [(203, 158, 134), (92, 68, 50), (228, 220, 204)], "plain colours"),
    (
        "Kd 203 158 134|Kd 1 nan 0|Kd 1 0 0",
        [(203, 158, 134), (92, 68, 50), (255, 0, 0)],
        "Kd 203 158 134 is not from 0",
    ),
    ("Kd 1 0 0|Kd 0 1 0\nd 0.1\nTr 0|Kd 0 0 1", [(255, 0, 0), (0, 0, 255)], "its .mtl makes them transparent: iris"),
    ("Kd 1 0 0|Kd 0 1 0\nd 0\nmap_d b.png|Kd 0 0 1", [(255, 0, 0), (0, 255, 0), (0, 0, 255)], "colours of its"),
    ("Kd 1 0 0|Kd 0 1 0\nTr 0.9|Kd 0 0 1", [(255, 0, 0), (0, 0, 255)], "its .mtl makes them transparent: iris"),
    ("Kd 1 0 0\nTr 1|Kd 0 1 0\nTr 1|Kd 0 0 1", [(255, 0, 0), (0, 255, 0), (0, 0, 255)], "which does not count"),
    ("Kd 1 0 0\nmap_Kd a.png|Kd 0 1 0|", [(203, 158, 134), (0, 255, 0), (228, 220, 204)], "the texture a.png is not"),
]


@pytest.mark.parametrize(("looks", "colours", "told"), COLOURED)
def test_colours_and_opacities_of_the_mtl_are_used_where_they_tell_something(tmp_path, looks, colours, told):
    faces = "".join(f"usemtl {name}\nf 1 2 3\n" for name in ("face", "iris", "teeth"))
    folder = small_folder(tmp_path / "a", jawOpen=TRIANGLE.replace("v 1", "v 2") + faces)
    (folder / "neutral.obj").write_text(f"mtllib a.mtl\n{TRIANGLE}{faces}")
    named = zip(("face", "iris", "teeth"), looks.split("|"), strict=True)
    (folder / "a.mtl").write_text("".join(f"newmtl {name}\n{look}\n" for name, look in named))
    loaded = load_obj_head(folder)
    places = (loaded.uv[loaded.triangles[:, 0]] * loaded.atlas.shape[1::-1]).astype(int)
    assert loaded.atlas[places[:, 1], places[:, 0]].tolist() == [list(rgb) for rgb in colours]
    assert any(told in note for note in loaded.notes)


def test_a_strangers_head_has_eyes_gums_whole_brows_and_still_shoulders(tmp_path: Path, head: Head) -> None:
    channels = ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "browInnerUp", "cheekPuff")
    loaded = load_obj_head(write_strangers_folder(tmp_path / "ada", head, channels))
    for note in (
        "5 of 52 ARKit channels found",
        "cheekPuff_L and cheekPuff_R are merged into cheekPuff",
        "no channels of ARKit, so they are not used: PupilDilate_L",
        "left out, since one sees the eyes through them: M_EyeOcclusion",
        "no texture found: colours of its materials",
        "without a neck joint its neck bends over still shoulders",
    ):
        assert note in loaded.notes
    assert len(loaded.triangles) == len(head.triangles)
    places = (loaded.uv[loaded.triangles[:, 0]] * loaded.atlas.shape[1::-1]).astype(int)
    colours = loaded.atlas[places[:, 1], places[:, 0]]
    for kind, greys in (("eye", {51, 153}), ("tongue", {76, 8, 15}), ("teeth", {204}), ("skin", {153})):
        assert set(colours[loaded.material == MATERIAL_NAMES.index(kind)].ravel().tolist()) == greys
    apart, wide = (float(np.ptp(each.vertices[:, 0])) for each in (head, loaded))
    for channel in channels:
        mine, theirs = (np.linalg.norm(each.shapes[ARKIT.index(channel)], axis=1).max() for each in (head, loaded))
        assert theirs == pytest.approx(mine * wide / apart, rel=0.01)
    values = np.zeros((1, len(ARKIT)), np.float32)
    values[0, ARKIT.index("headRoll")] = 0.4
    moved = np.linalg.norm(loaded.deform(values)[0] - loaded.vertices, axis=1)
    shoulders, face = loaded.vertices[:, 1] < -0.19, loaded.vertices[:, 1] > -0.08
    shoulders &= np.abs(loaded.vertices[:, 0]) > 0.15
    assert moved[shoulders].max() == 0.0 and shoulders.sum() > 100
    np.testing.assert_array_equal(loaded.head_weight[face & (loaded.vertices[:, 2] > -0.05)], 1.0)


def test_damaged_and_huge_textures_are_refused(tmp_path: Path) -> None:
    body = f"mtllib a.mtl\nusemtl face\n{TRIANGLE}f 1 2 3\n"
    folder = small_folder(tmp_path / "a", jawOpen=body.replace("v 1", "v 2"))
    (folder / "neutral.obj").write_text(body)
    (folder / "a.mtl").write_text("newmtl face\nmap_Kd t.png\n")
    Image.new("1", (8193, 8193)).save(folder / "t.png")
    with pytest.raises(InputError, match="8193"):
        load_obj_head(folder)
    Image.new("1", (20_000, 20_000)).save(folder / "t.png")
    with pytest.raises(InputError, match="PNG, JPEG or WebP"):
        load_obj_head(folder)
    for content in (b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(50)):
        (folder / "t.png").write_bytes(content)
        with pytest.raises(InputError, match=r"t\.png"):
            load_obj_head(folder)


def clip(frames: int) -> MotionClip:
    values = np.random.default_rng(2).uniform(0.0, 0.5, (frames, len(ARKIT))).astype(np.float32)
    values[:, 52:] -= 0.25
    return MotionClip(values, 25.0, ARKIT)


@pytest.fixture(scope="module")
def sequence(either: Head, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sequence") / "talk"
    write_obj_sequence(either, clip(19), folder)
    yield folder
    shutil.rmtree(folder)


def test_there_is_one_file_a_frame_with_one_material_and_texture(sequence: Path, either: Head) -> None:
    names = sorted(path.name for path in sequence.iterdir())
    clear = ["alpha.png"] if either.alpha is not None else []
    assert names == [*clear, *(f"frame_{i:06d}.obj" for i in range(19)), "head.mtl", "head.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(sequence / "head.png")), either.atlas)
    material = (sequence / "head.mtl").read_text()
    assert "map_Kd head.png" in material and "25 frames a second" in material
    assert ("map_d alpha.png" in material) == bool(clear)


@pytest.mark.parametrize("frame", [0, 7, 8, 18])
def test_every_frame_holds_the_vertices_of_the_head_to_a_hundredth_of_a_millimetre(sequence, either, frame):
    mesh = read_obj(sequence / f"frame_{frame:06d}.obj")
    expected = either.move(clip(19))[frame]
    assert len(mesh.points) == either.weld.max() + 1 and len(mesh.uv) == len(either.vertices)
    np.testing.assert_allclose(mesh.points[mesh.corners[..., 0]], expected[either.triangles], atol=6e-6)
    np.testing.assert_array_equal(mesh.corners[..., 1], either.triangles)
    upwards = np.stack([either.uv[:, 0], 1.0 - either.uv[:, 1]], axis=1)
    np.testing.assert_allclose(mesh.uv, upwards, atol=6e-6)
    assert mesh.libraries == ("head.mtl",)


def test_two_runs_write_the_same_bytes_and_need_the_room_that_was_asked_for(tmp_path, head, monkeypatch):
    for name in ("a", "b"):
        write_obj_sequence(head, clip(3), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    size = (tmp_path / "a" / "frame_000000.obj").stat().st_size
    monkeypatch.setattr(obj.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 3 * size - 1))
    with pytest.raises(OutputError, match="GB of room for 3 files"):
        write_obj_sequence(head, clip(3), tmp_path / "c")


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, head: Head) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(InputError, match="does not exist yet"):
        write_obj_sequence(head, clip(1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]
    with pytest.raises(OutputError, match="existing folder"):
        write_obj_sequence(head, clip(1), tmp_path / "absent" / "a")


def test_nothing_is_left_of_a_motion_or_a_head_that_cannot_be_written(tmp_path: Path, head: Head) -> None:
    with pytest.raises(InputError, match="ARKIT"):
        write_obj_sequence(head, MotionClip(np.zeros((2, 56), np.float32), 25.0, FLAME), tmp_path / "a")
    far = clip(20)
    far.values[17, ARKIT.index("jawOpen")] = 1e4
    with pytest.raises(InputError, match="frame 17"):
        write_obj_sequence(head, far, tmp_path / "a")
    for field in ("pivot", "shapes", "vertices"):
        spoilt = replace(head, **{field: np.full_like(getattr(head, field), np.nan)})
        with pytest.raises(InputError, match=f"finite {field}"):
            write_obj_sequence(spoilt, clip(2), tmp_path / "a")
    assert not list(tmp_path.iterdir())


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
    assert match.parts == {channel: [place] for place, channel in enumerate(ARKIT_BLENDSHAPES)}
    assert match.unused == match.notes == ()


def test_missing_channels_unused_names_and_halves_of_a_channel_are_reported():
    match = match_channels(["Basis", "jawOpen", "viseme_aa", "eyeBlink_L"])
    assert match.parts == {"eyeBlinkLeft": [3], "jawOpen": [1]}
    assert match.unused == ("Basis", "viseme_aa")
    assert match.notes == ("no channels of ARKit, so they are not used: Basis, viseme_aa",)
    assert match_channels(list("abcdefg")).notes[0].endswith("a, b, c, d, e, 2 more")
    halves = ["f_browInnerUp_L", "f_browInnerUp_R", "f_jawOpen"]
    match = match_channels(halves)
    assert match.unused == () and match.parts == {"jawOpen": [2], "browInnerUp": [0, 1]}
    assert match.notes == ("f_browInnerUp_L and f_browInnerUp_R are merged into browInnerUp",)
    assert match_channels([*halves, "f_browInnerUp"]).parts == {"browInnerUp": [3], "jawOpen": [2]}
    assert match_channels(halves[1:]).unused == ("f_browInnerUp_R",)


@pytest.mark.parametrize("names", [["jawOpen", "jaw_open"], ["mouthSmile_L", "MouthSmileLeft"], ["jawOpen"] * 2])
def test_two_names_of_one_channel_are_an_error_that_tells_both(names: list[str]) -> None:
    with pytest.raises(InputError, match=f"{names[0]}.*{names[1]}"):
        match_channels(names)


def test_only_names_of_the_commonest_prefix_count_and_a_side_of_the_jaw_is_a_direction():
    names = ["head.jawOpen", "teeth.jawOpen", "head.mouthSmile_R", "head.corrective_jawOpen", "jawOpen_eyeBlinkLeft"]
    match = match_channels(names)
    assert match.parts == {"jawOpen": [0], "mouthSmileRight": [2]}
    assert match.unused == ("teeth.jawOpen", "head.corrective_jawOpen", "jawOpen_eyeBlinkLeft")
    assert match_channels(["jaw_L", "mouth_R"]).parts == {"jawLeft": [0], "mouthRight": [1]}
    assert match_channels(["L_jaw", "jawOpen"]).unused == ("L_jaw",)


@pytest.mark.parametrize("names", [[], ["", "123", "___"], ["x" * 10_000, "jawOpen" * 1000], ["ударение", "口"]])
def test_names_of_nothing_match_nothing(names: list[str]) -> None:
    match = match_channels(names)
    assert match.parts == {} and match.unused == tuple(names)


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
    head = head_behind_wall(read_gltf_head, builder.save(tmp_path / "ada.glb"))
    looks = np.split(head.material, len(NAMES))
    assert [{MATERIAL_NAMES[kind] for kind in look} for look in looks] == [{look} for look in NAMES.values()]
    folder = tmp_path / "ada"
    folder.mkdir()
    faces = "".join(f"usemtl {name}\nf 1 2 3\n" for name in NAMES)
    for name, height in (("neutral", 1.0), ("jawOpen", 0.9)):
        (folder / f"{name}.obj").write_text(f"v 0 0 0\nv 1 0 0\nv 0 {height} 0\n{faces}")
    assert [MATERIAL_NAMES[kind] for kind in load_obj_head(folder).material] == list(NAMES.values())


def test_the_first_telling_name_counts() -> None:
    notes: list[str] = []
    surfaces = [
        ["Iris", "Eye_Shell"],
        ["Cornea", "Eye"],
        ["Eye_L", "Head_Blend"],
        ["Eye_Lash_Blend"],
        ["Face"],
        ["Tear"],
    ]
    assert clear_shells(surfaces, notes) == [False, True, False, False, False, True]
    assert notes == ["left out, since one sees the eyes through them: Cornea, Tear"]
    assert clear_shells([["Cornea"], ["EyeLashes"], ["Face"]], notes) == [False] * 3
    assert material_of("Mat_07", "Eyelash_Mesh", "Teeth") == "hair"
    assert material_of() == material_of("", "007") == "skin"
    assert set(MATERIAL_WORDS) <= set(MATERIAL_NAMES)
