"""FLAME heads: skinning, the map from ARKit and back, and what a render shows, on a made-up file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flame_files import flame_arrays, write_flame

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head, RiggedHead, check_mesh, load_head
from avi_lib.heads.flame import FlameModel, flame_model, load_flame_file
from avi_lib.heads.flame_head import FlameHead, FlameMap, fit_flame_map, load_flame_head
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
def head(flame_path: Path) -> FlameHead:
    return load_flame_head(flame_path)


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


# Skinning


def by_the_book(shape: np.ndarray, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """One frame of Li et al. 2017, vertex by vertex in float64; pose is the five joints' axis-angle."""
    a = flame_arrays()
    betas = np.zeros(400)
    betas[: len(shape)], betas[300 : 300 + len(expression)] = shape, expression
    shaped = a["v_template"] + a["shapedirs"] @ betas
    joints = a["J_regressor"] @ shaped
    turns = [rodrigues(rotation) for rotation in pose]
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


def rodrigues(rotation: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(rotation)
    x, y, z = rotation / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_skinning_is_that_of_the_paper(flame_path: Path):
    rng = np.random.default_rng(3)
    shape, expression, pose = rng.normal(size=80), rng.normal(size=(2, 50)), rng.normal(0, 0.4, (2, 5, 3))
    model = flame_model(load_flame_file(flame_path), shape)
    got = model.vertices(expression, jaw=pose[:, 2], neck=pose[:, 1], eyes=pose[:, 3:], global_rotation=pose[:, 0])
    expected = np.stack([by_the_book(shape, e, p) for e, p in zip(expression, pose, strict=True)])
    assert got.shape == (2, 5023, 3) and got.dtype == np.float32
    assert np.abs(got - expected).max() < 2e-6
    assert np.abs(got[0] - model.template).max() > 0.05


def test_rest_is_the_template_and_frames_do_not_depend_on_each_other(model: FlameModel):
    assert np.abs(model.vertices(np.zeros((1, 50)))[0] - flame_arrays()["v_template"]).max() < 1e-7
    clip = flame(19)
    expression, jaw = clip.values[:, :50], clip.values[:, 50:53]
    whole = model.vertices(expression, jaw=jaw)
    parts = [model.vertices(expression[part], jaw=jaw[part]) for part in (slice(0, 5), slice(5, 19))]
    assert np.abs(whole - np.concatenate(parts)).max() < 1e-6


def test_a_turned_jaw_opens_the_mouth_and_leaves_the_brow(model: FlameModel, fitted: FlameMap):
    opened = model.vertices(np.zeros((1, 50)), jaw=np.array([[0.3, 0.0, 0.0]]))[0] - model.template
    near_lips = fitted.registration.lips_m < 0.006
    down = -opened[near_lips, 1]
    assert down.max() > 0.015 and np.quantile(down, 0.1) < 0.004
    brow = model.template[:, 1] > model.joints[3, 1] + 0.02
    assert np.abs(opened[brow]).max() < 0.003


def test_eyes_turn_about_their_joints_and_nothing_else_does(model: FlameModel):
    turned = model.vertices(np.zeros((1, 50)), eyes=np.array([[[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]]))[0]
    ball = model.weights[:, 3] > 0.5
    moved = np.linalg.norm(turned - model.template, axis=1)
    reach = [np.linalg.norm(v[ball] - model.joints[3], axis=1) for v in (turned, model.template)]
    assert moved[ball].max() > 0.005 and moved[~ball].max() < 0.002
    assert np.abs(reach[0] - reach[1]).max() < 1e-5


@pytest.mark.parametrize(
    ("shape", "said"), [(np.zeros(301), "at most 300"), (np.array([np.nan]), "NaN"), (np.array([np.inf]), "infinity")]
)
def test_shapes_that_are_none_are_errors(flame_path: Path, shape: np.ndarray, said: str):
    with pytest.raises(InputError, match=said):
        flame_model(load_flame_file(flame_path), shape)


def test_motion_of_another_space_or_that_is_not_finite_is_refused(model: FlameModel, fitted: FlameMap):
    with pytest.raises(InputError, match="finite FLAME coefficients"):
        model.vertices(np.full((1, 50), np.nan))
    with pytest.raises(InputError, match="finite FLAME coefficients"):
        model.vertices(np.zeros((1, 50)), jaw=np.full((1, 3), np.inf))
    with pytest.raises(InputError, match="the ARKIT space"):
        fitted.to_flame(flame(1))
    with pytest.raises(InputError, match="the FLAME space"):
        fitted.to_arkit(arkit())


# The map


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


def test_jaw_open_opens_the_flame_mouth_by_its_jaw(fitted: FlameMap, model: FlameModel):
    motion = fitted.to_flame(arkit(jawOpen=1.0))
    assert 0.2 < motion["jawX"][0] < 0.5
    moved = model.vertices(motion.values[:, :50], jaw=motion.values[:, 50:53])[0] - model.template
    down = -moved[fitted.registration.lips_m < 0.006, 1]
    assert down.max() > 0.015 and np.quantile(down, 0.1) < 0.003


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
def test_a_template_that_does_not_face_the_viewer_is_an_error(
    tmp_path: Path, open_head: Head, turn: np.ndarray, said: str
):
    template = flame_arrays()["v_template"] @ turn.T
    model = flame_model(load_flame_file(write_flame(tmp_path / "turned.pkl", v_template=template)))
    with pytest.raises(InputError, match=said):
        fit_flame_map(model, open_head)


# The head


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
    places = {"lips": (0.0, -0.073), "cheek": (0.04, -0.04), "brow": (0.031, 0.0215)}
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


# Coefficients on disk


def test_coefficients_come_back_exactly_through_the_corpus_adapter(tmp_path: Path):
    clip = MotionClip(flame(40).values, 29.97, FLAME)
    save_flame_coefficients(clip, tmp_path / "hello.npz")
    curves = load_flame(tmp_path / "hello.npz")
    assert np.array_equal(curves.clip.values, clip.values)
    assert curves.clip.fps == 29.97 and curves.clip.space is FLAME and curves.present.all()
    with np.load(tmp_path / "hello.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {"expression", "jaw_pose", "global_pose", "fps"}


def test_coefficients_of_arkit_motion_are_not_written(tmp_path: Path):
    with pytest.raises(InputError, match="the FLAME space"):
        save_flame_coefficients(arkit(), tmp_path / "hello.npz")
    assert not list(tmp_path.iterdir())
