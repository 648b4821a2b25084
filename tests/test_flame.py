"""FLAME heads: skinning, the map from ARKit and back, and what a render shows, on a made-up file."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from flame_files import Ch, flame_arrays, write_flame
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head, RiggedHead, check_mesh, load_head
from avi_lib.heads.flame import FlameModel, flame_model, load_flame_file, save_flame_npz
from avi_lib.heads.flame_head import FlameHead, FlameMap, fit_flame_map
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME, HEAD_LIMIT_RAD, MotionClip
from avi_lib.motion.formats import load_flame, save_flame_coefficients

FPS = 25.0
LOST, WORST = 0.07, 0.16
"""Shares of a blendshape's movement that the map loses on the made-up file: on average, and of any but a few."""
FITTED = [i for i in range(len(ARKIT_BLENDSHAPES)) if i not in (*ARKIT.groups["gaze"], ARKIT.index("tongueOut"))]


@pytest.fixture(scope="module")
def model(flame_path: Path) -> FlameModel:
    return flame_model(load_flame_file(flame_path))


@pytest.fixture(scope="module")
def head(flame_head: FlameHead) -> FlameHead:
    return flame_head


@pytest.fixture(scope="module")
def open_head() -> Head:
    return load_head()


@pytest.fixture(scope="module")
def fitted(head: FlameHead) -> FlameMap:
    return head.fitted


def arkit(frames: int = 1, **weights: float) -> MotionClip:
    """ARKit motion at rest but for some channels; a name without a side sets both sides."""
    values = np.zeros((frames, len(ARKIT)), np.float32)
    for name, weight in weights.items():
        sides = [channel for channel in (name, f"{name}Left", f"{name}Right") if channel in ARKIT.channels]
        assert sides
        values[:, [ARKIT.index(channel) for channel in sides]] = weight
    return MotionClip(values, FPS, ARKIT)


def flame(frames: int, seed: int = 0) -> MotionClip:
    values = np.random.default_rng(seed).normal(0.0, 0.3, (frames, len(FLAME))).astype(np.float32)
    return MotionClip(values, FPS, FLAME)


def by_the_book(shape: np.ndarray, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """One frame of Li et al. 2017, vertex by vertex in float64; pose is the five joints' axis-angle."""
    a = flame_arrays()
    betas = np.zeros(400)
    betas[: len(shape)], betas[300 : 300 + len(expression)] = shape, expression
    shaped = a["v_template"] + a["shapedirs"] @ betas
    joints = a["J_regressor"] @ shaped
    turns = Rotation.from_rotvec(pose).as_matrix()
    free = shaped + a["posedirs"] @ np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    placed: list[np.ndarray] = []
    for joint, parent in enumerate([None, 0, 1, 1, 1]):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (0.0 if parent is None else joints[parent])
        placed.append(local if parent is None else placed[parent] @ local)
    moved = np.empty_like(free)
    for v, point in enumerate(free):
        total = np.zeros(3)
        for joint in range(5):
            total += a["weights"][v, joint] * (placed[joint] @ np.append(point - joints[joint], 1.0))[:3]
        moved[v] = total
    return moved


def test_skinning_is_that_of_the_paper(flame_path: Path):
    rng = np.random.default_rng(3)
    shape, expression, pose = rng.normal(size=80), rng.normal(size=(2, 50)), rng.normal(0, 0.4, (2, 5, 3))
    model = flame_model(load_flame_file(flame_path), shape)
    got = model.vertices(expression, pose)
    expected = np.stack([by_the_book(shape, e, p) for e, p in zip(expression, pose, strict=True)])
    assert got.shape == (2, 5023, 3) and got.dtype == np.float32
    assert np.abs(got - expected).max() < 2e-6
    assert np.abs(got[0] - model.template).max() > 0.05


def test_coefficients_are_saved_of_flame_motion_alone(tmp_path: Path):
    with pytest.raises(InputError, match="the FLAME space"):
        save_flame_coefficients(arkit(), tmp_path / "hello.npz")
    assert not list(tmp_path.iterdir())


def test_the_map_loses_little_of_what_the_file_can_show(fitted: FlameMap):
    assert fitted.residual[FITTED].mean() < LOST
    assert fitted.residual[FITTED].max() < WORST
    assert fitted.residual[ARKIT.index("tongueOut")] == 1.0
    assert np.abs(fitted.coefficients).max() < 6.0
    assert fitted.registration.error_m < 0.0005


def test_the_map_undoes_the_stretch_between_the_two_faces(fitted: FlameMap, open_head: Head):
    """The template is the open head's skin stretched, so counterparts lie where the stretch took them from."""
    found = fitted.registration
    place = flame_arrays()["v_template"][found.members]
    landed = np.einsum("mc,mci->mi", found.shares, open_head.vertices[found.corners])
    off = np.linalg.norm((place - [0.0, 0.025, -0.04]) / [1.05, 1.02, 1.04] - landed, axis=1)
    assert np.median(off) < 0.0005
    assert np.quantile(off, 0.9) < 0.0025
    assert len(place) > 3000


def test_arkit_comes_back_from_flame(fitted: FlameMap):
    rng = np.random.default_rng(5)
    values = np.zeros((200, len(ARKIT)), np.float32)
    values[:, FITTED] = np.clip(rng.normal(0.0, 0.4, (200, len(FITTED))), 0.0, 1.0)
    values[:, 52:] = rng.uniform(-HEAD_LIMIT_RAD, HEAD_LIMIT_RAD, (200, 3))
    there = fitted.to_flame(MotionClip(values, FPS, ARKIT))
    back, off_mm, share = fitted.to_arkit(there)
    correlation = [np.corrcoef(values[:, i], back.values[:, i])[0, 1] for i in FITTED]
    assert min(correlation) > 0.95
    assert np.abs(back.values[:, 52:] - values[:, 52:]).max() < 1e-5
    assert back.values[:, :52].min() >= 0.0 and back.values[:, :52].max() <= 1.0
    assert off_mm < 0.05 and share < 0.01
    assert back.fps == there.fps == FPS


def test_what_no_weights_can_show_is_given_as_an_error(fitted: FlameMap):
    _, off_mm, share = fitted.to_arkit(flame(50))
    assert 0.2 < share < 1.0 and off_mm > 0.2
    assert fitted.to_arkit(MotionClip(np.zeros((3, len(FLAME)), np.float32), FPS, FLAME))[1:] == (0.0, 0.0)


def test_the_gaze_stays_at_rest_on_the_way_back(fitted: FlameMap):
    back, *_ = fitted.to_arkit(fitted.to_flame(arkit(eyeLookUp=1.0)))
    assert not back.values[:, list(ARKIT.groups["gaze"])].any()


def test_another_persons_shape_is_found_as_well(flame_path: Path, open_head: Head):
    shape = 0.7 * np.random.default_rng(1).normal(size=30)
    fitted = fit_flame_map(flame_model(load_flame_file(flame_path), shape), open_head)
    assert fitted.residual[FITTED].mean() < 0.12
    assert 0.2 < fitted.coefficients[ARKIT.index("jawOpen"), 50] < 0.5


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (np.diag([1.0, 1.0, 4.0]), "facing"),
        (np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]]), "lips part"),
        (np.diag([-1.0, 1.0, -1.0]), "facing"),
    ],
)
def test_a_template_that_does_not_face_the_viewer_is_an_error(tmp_path, open_head, turn, said):
    template = flame_arrays()["v_template"] @ turn.T
    model = flame_model(load_flame_file(write_flame(tmp_path / "turned.pkl", v_template=template)))
    with pytest.raises(InputError, match=said):
        fit_flame_map(model, open_head)


def test_a_flame_head_is_a_mesh_that_motion_drives(head: FlameHead):
    check_mesh(head)
    assert isinstance(head, RiggedHead)
    assert head.name == "generic_model"
    assert "of a blink" in head.notes[0] and "no teeth" in head.notes[1]
    eyes = np.unique(head.triangles[head.material == MATERIAL_NAMES.index("eye")])
    assert len(eyes) == 2 * 546
    assert np.abs(head.vertices[eyes].mean(axis=0)).max() < 1e-4


def test_it_moves_alike_in_both_spaces_but_for_the_gaze(head: FlameHead):
    motion = arkit(frames=2, jawOpen=0.4, mouthSmile=0.6, headYaw=0.3, headPitch=-0.1, eyeLookUp=0.8)
    own, other = head.move(motion), head.move(head.fitted.to_flame(motion))
    eyes = np.unique(head.triangles[head.material == MATERIAL_NAMES.index("eye")])
    apart = np.linalg.norm(own - other, axis=2)
    assert own.shape == (2, len(head.vertices), 3)
    assert apart[:, eyes].max() > 0.002
    assert np.delete(apart, eyes, axis=1).max() < 0.002
    assert np.abs(head.move(arkit())[0] - head.vertices).max() < 1e-6


def test_it_nods_and_looks_to_the_side_that_arkit_says(head: FlameHead):
    front = head.vertices[:, 2].argmax()
    nod, turn = (head.move(arkit(**{name: 0.3}))[0, front] - head.vertices[front] for name in ("headPitch", "headYaw"))
    assert nod[1] < -0.01 and turn[0] > 0.01
    ball = np.unique(head.triangles[head.material == MATERIAL_NAMES.index("eye")])
    pupil = ball[head.vertices[ball, 2].argmax()]
    aside = head.move(arkit(eyeLookOutLeft=1.0, eyeLookInRight=1.0))[0, pupil] - head.vertices[pupil]
    assert aside[0] > 0.003


def test_the_face_is_painted_with_lips_eyes_and_brows(head: FlameHead):
    size = np.array(head.atlas.shape[1::-1])
    places = {"lips": (0.0, -0.073), "cheek": (0.04, -0.04), "brow": (0.031, 0.018)}
    found = {}
    for name, place in places.items():
        ahead = np.flatnonzero(np.linalg.norm(head.vertices[:, :2] - place, axis=1) < 0.006)
        column, row = (head.uv[ahead[head.vertices[ahead, 2].argmax()]] * size).astype(int)
        found[name] = head.atlas[row, column].astype(int)
    lips, cheek, brow = (found[name] for name in places)
    assert cheek[0] > cheek[1] > cheek[2] > 60
    assert lips[0] - lips[1] > cheek[0] - cheek[1] + 8
    assert brow.sum() < 0.6 * cheek.sum()
    balls = np.unique(head.triangles[head.material == MATERIAL_NAMES.index("eye")])
    column, row = (head.uv[balls[head.vertices[balls, 2].argmax()]] * size).astype(int)
    assert head.atlas[row, column].sum() < 0.6 * cheek.sum(), "a dark pupil"


def test_coefficients_come_back_exactly_through_the_corpus_adapter(tmp_path: Path):
    clip = MotionClip(flame(40).values, 29.97, FLAME)
    save_flame_coefficients(clip, tmp_path / "hello.npz")
    curves = load_flame(tmp_path / "hello.npz")
    assert np.array_equal(curves.values, clip.values)
    assert curves.fps == 29.97 and curves.space is FLAME and curves.present.all()
    with np.load(tmp_path / "hello.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {"expression", "jaw_pose", "global_pose", "fps"}


# FLAME's model file: what is read of it, and what a hostile or damaged one does not do

JOINTS_OF_A_HAND = 16


@pytest.fixture(scope="module")
def file(flame_path: Path) -> dict[str, np.ndarray]:
    return load_flame_file(flame_path)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_flame_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_python_2_pickle_gives_its_arrays(file: dict[str, np.ndarray]):
    for name, expected in flame_arrays().items():
        got = file[name]
        if name == "kintree_table":
            expected = np.array([[-1, 0, 1, 1, 1], range(5)])
        assert got.dtype == (np.int32 if name in ("f", "kintree_table") else np.float32)
        assert np.array_equal(got, expected.astype(got.dtype)), name


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_pickle_that_python_3_wrote_again_gives_the_same(file: dict[str, np.ndarray], tmp_path: Path, protocol: int):
    again = tmp_path / "again.pkl"
    again.write_bytes(pickle.dumps(flame_arrays(), protocol))
    assert np.array_equal(load_flame_file(again)["shapedirs"], file["shapedirs"])


def test_columns_first_big_endian_and_npz_files_are_the_same_model(file: dict[str, np.ndarray], tmp_path: Path):
    template = np.asfortranarray(flame_arrays()["v_template"]).astype(">f8")
    assert np.array_equal(
        load_flame_file(write_flame(tmp_path / "f.pkl", v_template=template))["v_template"], file["v_template"]
    )
    save_flame_npz(file, tmp_path / "flame.npz")
    again = load_flame_file(tmp_path / "flame.npz")
    assert all(np.array_equal(again[name], file[name]) for name in flame_arrays())


class Runs:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Evaluated(Runs):
    def __reduce__(self):
        return eval, (f"__import__('os').mkdir({str(self.mark)!r})",)


class Fetched(Runs):
    def __reduce__(self):
        return getattr, (Runs(self.mark), "none")


@pytest.mark.parametrize(("kind", "named"), [(Runs, "mkdir"), (Evaluated, "eval"), (Fetched, "getattr")])
@pytest.mark.parametrize(("protocol", "within"), [(2, "alone"), (4, "a field"), (2, "chumpy")])
def test_calls_in_a_pickle_are_named_and_not_made(tmp_path: Path, kind: type, named: str, protocol: int, within: str):
    hostile = kind(tmp_path / "mark")
    held = {"alone": hostile, "a field": {"f": 1, "extra": [hostile]}, "chumpy": {"f": {"x": hostile}}}[within]
    data = pickle.dumps(held, protocol)
    (tmp_path / "bad.pkl").write_bytes(data)
    said = refused(tmp_path / "bad.pkl")
    assert named in said and "nothing of it was run" in said
    assert not (tmp_path / "mark").exists()
    with contextlib.suppress(AttributeError):
        pickle.loads(data)
    assert (tmp_path / "mark").exists()  # the pickle would have run


TEXT = b"X\x01\x00\x00\x00a"
MEMO_OF_64_GB = b"\x80\x02}r\xff\xff\xff\xff."


def nested_key(depth: int) -> bytes:
    """A dict whose key is a tuple of a tuple twice, and so on: hashing it takes 2^depth steps."""
    deeper = b"".join(b"h" + bytes([n, ord("h"), n, 0x86, ord("q"), n + 1]) for n in range(depth))
    return b"\x80\x02}" + b")q\x00" + deeper + b"Ns."


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"\x80\x02cposix\nsystem\n" + TEXT + b"\x85R.", "posix.system"),
        (b"\x80\x02ccopy_reg\n_reconstructor\n.", "copy_reg._reconstructor"),
        (b"\x80\x02ccopyreg\nadd_extension\n.", "copyreg.add_extension"),
        (b"\x80\x02cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile"),
        (b"\x80\x02cnumpy\nload\n.", "numpy.load"),
        (b"\x80\x04" + b"\x8c\x05numpy\x8c\x0dndarray.dumps\x93.", "ndarray.dumps"),
        (b"\x80\x02" + TEXT + b"Q.", "persistent"),
        (b"Pid\n.", "persistent"),
        (b"\x80\x02\x82\x01.", "extension"),
        (b"\x80\x02" + TEXT + b")R.", "of another kind"),
        (b"\x80\x02" + TEXT + b")\x81.", "NEWOBJ"),
        (b"\x80\x02(" + b"N" * 30_000 + b"t.", "a tuple, not a dict"),
    ],
)
def test_names_and_opcodes_that_do_more_than_build_arrays_are_refused(tmp_path: Path, data: bytes, said: str):
    (tmp_path / "bad.pkl").write_bytes(data)
    assert said in refused(tmp_path / "bad.pkl")


@pytest.mark.parametrize(
    "data",
    [
        MEMO_OF_64_GB,
        nested_key(60),
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
        b"\x80\x02T" + struct.pack("<i", 1 << 30) + b"x.",
        b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"x.",
        b"\x80\x02" + b"\x85" * 100 + b".",
        b"\x80\x02}" + TEXT + b"s.",
        b"\x80\x02h\x05.",
        b"\x80\x02]Nb.",
        b"",
        b"\x80",
        b"not a model at all",
    ],
)
def test_sizes_that_are_lies_and_damage_end_soon_in_an_error(tmp_path, data, monkeypatch):
    (tmp_path / "bad.pkl").write_bytes(data)
    monkeypatch.setattr("avi_lib.heads.flame.SECONDS", 1.0)
    began = time.perf_counter()
    refused(tmp_path / "bad.pkl")
    assert time.perf_counter() - began < 5.0


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9999999])
def test_a_file_that_is_cut_short_is_an_error(flame_path: Path, tmp_path: Path, share: float):
    data = flame_path.read_bytes()
    (tmp_path / "cut.pkl").write_bytes(data[: int(len(data) * share)])
    assert "cut.pkl" in refused(tmp_path / "cut.pkl")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": None}, "no weights"),
        ({"v_template": np.zeros((6890, 3))}, "5023 vertices and 5 joints"),
        ({"weights": np.ones((5023, JOINTS_OF_A_HAND)) / JOINTS_OF_A_HAND}, "5023 vertices and 5 joints"),
        ({"shapedirs": Ch(np.zeros((5023, 3, 10)))}, "(5023, 3, 400)"),
        ({"v_template": np.array([[None]])}, "v_template is object, no array of numbers"),
        ({"v_template": [1.0, 2.0]}, "v_template is list, no array of numbers"),
        ({"f": np.zeros((9976, 3))}, "f of numbers of the kind iu"),
        (("v_template", (7, 1), np.nan), "finite v_template"),
        (("posedirs", (7, 1, 2), 1e300), "finite posedirs"),
        (("v_template", (7, 1), 250.0), "in metres"),
        (("f", (5, 0), 5023), "vertices 0 to 5023"),
        (("weights", (5, 0), 1.5), "sum to 1"),
        ({"J_regressor": np.zeros((5, 5023))}, "joint regressor whose rows sum to 1"),
        (("kintree_table", (0, 1), 2), "every parent before its children"),
        (("kintree_table", (0, 2), 7), "every parent before its children"),
    ],
)
def test_arrays_that_are_no_flame_are_refused_by_name(tmp_path: Path, changes: dict | tuple, said: str):
    """Changes are fields, or one field, a place in it and the value there."""
    if isinstance(changes, tuple):
        name, place, value = changes
        array = flame_arrays()[name].copy()
        array[place] = value
        changes = {name: array}
    small = {"shapedirs": Ch(np.zeros((5023, 3, 400), np.float32))}
    assert said in refused(write_flame(tmp_path / "bad.pkl", **(small | changes)))


def test_a_sparse_matrix_with_indices_out_of_range_is_an_error(tmp_path: Path):
    regressor = scipy.sparse.csc_matrix(flame_arrays()["J_regressor"])
    regressor.indices[3] = 70
    assert "indices must be < 5" in refused(write_flame(tmp_path / "bad.pkl", J_regressor=regressor))
    wide = scipy.sparse.csc_matrix((1 << 20, 1 << 20))
    assert "at most 2048 MB" in refused(write_flame(tmp_path / "bad.pkl", J_regressor=wide))


def test_a_missing_file_and_an_npz_with_objects_or_without_an_array_are_errors(tmp_path: Path):
    np.savez(tmp_path / "a.npz", **(flame_arrays() | {"f": np.array([[object()]])}))
    assert "pickled objects" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", v_template=np.zeros(3))
    assert "no f, shapedirs" in refused(tmp_path / "b.npz")
    assert "generic_model.pkl" in refused(tmp_path / "none.pkl")
