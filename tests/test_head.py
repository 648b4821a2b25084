"""The open head: what its shapes move, how its eyes, lids, lips and neck behave, and what its loader refuses."""

from __future__ import annotations

import contextlib
import io
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avi_lib.cli import number_pairs
from avi_lib.errors import AssetError, InputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import GAZE_YAW_RAD, HEADS, REGIONS, Head, check_mesh, load_head
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES

MAX_ASSET_BYTES = 3_000_000


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


def frame(**weights: float) -> np.ndarray:
    """One frame of motion; a name without a side sets both sides."""
    values = np.zeros((1, len(ARKIT)), np.float32)
    for name, weight in weights.items():
        for channel in (name, f"{name}Left", f"{name}Right"):
            if channel in ARKIT.channels:
                values[0, ARKIT.index(channel)] = weight
    assert values.any() or not weights
    return values


def material(head: Head, name: str) -> np.ndarray:
    """Vertices used by triangles of a material."""
    return np.unique(head.triangles[head.material == MATERIAL_NAMES.index(name)])


def test_asset_is_within_its_size_and_triangle_budget(head: Head) -> None:
    assert HEADS["open"].stat().st_size <= MAX_ASSET_BYTES
    assert len(head.triangles) <= 16_500
    assert len(head.vertices) <= 10_500
    check_mesh(head)


def test_all_52_shapes_move_the_head_by_at_least_a_millimetre(head: Head) -> None:
    reach = np.linalg.norm(head.shapes, axis=2).max(axis=1)
    assert head.shapes.shape == (52, len(head.vertices), 3)
    assert reach.min() > 0.001, ARKIT_BLENDSHAPES[reach.argmin()]


def test_every_region_holds_vertices(head: Head) -> None:
    assert set(head.regions) == set(REGIONS)
    for members in head.regions.values():
        assert len(members) >= 3 and members.max() < len(head.vertices)


@pytest.mark.parametrize("shape", [s for s in ARKIT_BLENDSHAPES if s.endswith(("Left", "Right")) and "outh" not in s])
def test_sided_shapes_move_their_own_side(head: Head, shape: str) -> None:
    if shape in ("jawLeft", "jawRight"):
        assert (head.shapes[ARKIT.index(shape), head.regions["lips"], 0].mean() > 0) == shape.endswith("Left")
        return
    moved = np.linalg.norm(head.shapes[ARKIT.index(shape)], axis=1)
    left = moved[head.vertices[:, 0] > 0.0].sum()
    share = left / moved.sum()
    assert share > 0.7 if shape.endswith("Left") else share < 0.3


def test_blink_covers_the_eyeball_that_rest_shows(head: Head) -> None:
    for eye in (0, 1):
        assert _seen_share(head, head.vertices, eye) > 0.10
        assert _seen_share(head, head.deform(frame(eyeBlink=1.0))[0], eye) == 0.0


def test_squinting_with_raised_cheeks_lets_no_eyeball_through_the_skin(head: Head) -> None:
    squeezed = head.deform(frame(eyeSquint=1.0, cheekSquint=1.0, noseSneer=1.0))[0]
    for eye in (0, 1):
        assert 0.0 < _seen_share(head, squeezed, eye) < _seen_share(head, head.vertices, eye)


def _seen_share(head: Head, vertices: np.ndarray, eye: int) -> float:
    """Share of an eyeball's front that a viewer straight ahead sees past the lids."""
    ball = vertices[head.eyeballs[eye]]
    front = ball[ball[:, 2] > head.eye_centres[eye, 2] + 0.005]
    lids = vertices[head.triangles[head.material == MATERIAL_NAMES.index("skin")]]
    seen = 0
    for point in front:
        a, b, c = (lids[:, i, :2] - point[:2] for i in range(3))
        areas = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)])
        over = (areas >= 0.0).all(axis=0) | (areas <= 0.0).all(axis=0)
        total = areas.sum(axis=0)
        over &= total != 0.0
        heights = (areas[:, over] * lids[over, :, 2].T).sum(axis=0) / total[over]
        seen += not (heights > point[2]).any()
    return seen / len(front)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def test_lip_gap_is_zero_at_rest_and_centimetres_when_the_jaw_drops(head: Head) -> None:
    assert head.lip_gap(frame())[0] == 0.0
    assert 0.02 < head.lip_gap(frame(jawOpen=1.0))[0] < 0.05


@pytest.mark.parametrize("weight", [0.2, 0.5, 1.0])
def test_mouth_close_cancels_jaw_open(head: Head, weight: float) -> None:
    assert abs(head.lip_gap(frame(jawOpen=weight, mouthClose=weight))[0]) < 0.0005


def test_lip_gap_agrees_with_deformed_vertices(head: Head) -> None:
    values = frame(jawOpen=0.4, mouthFunnel=0.3)
    moved, rest = head.deform(values)[0], head.vertices
    upper, lower = head.regions["upper_lip_inner"], head.regions["lower_lip_inner"]
    gap = (moved[upper] - rest[upper])[:, 1].mean() - (moved[lower] - rest[lower])[:, 1].mean()
    assert head.lip_gap(values)[0] == pytest.approx(gap, abs=1e-6)


@pytest.mark.parametrize("gaze", ["eyeLookUp", "eyeLookDown", "eyeLookOut", "eyeLookIn"])
def test_eyes_stay_spherical_and_keep_their_centre_under_gaze(head: Head, gaze: str) -> None:
    moved = head.deform(frame(**{gaze: 1.0}))[0]
    for members, centre in zip(head.eyeballs, head.eye_centres, strict=True):
        before = np.linalg.norm(head.vertices[members] - centre, axis=1)
        after = np.linalg.norm(moved[members] - centre, axis=1)
        np.testing.assert_allclose(after, before, atol=1e-6)
        assert np.linalg.norm(moved[members] - head.vertices[members], axis=1).max() > 0.005


def test_left_eye_looks_towards_the_persons_left_when_it_looks_out(head: Head) -> None:
    members = head.eyeballs[0]
    pupil = members[head.vertices[members, 2].argmax()]
    moved = head.deform(frame(eyeLookOutLeft=1.0))[0, pupil] - head.eye_centres[0]
    assert np.arctan2(moved[0], moved[2]) == pytest.approx(GAZE_YAW_RAD, abs=0.01)


def test_lower_teeth_follow_the_jaw_and_upper_teeth_stay(head: Head) -> None:
    moved = head.deform(frame(jawOpen=1.0))[0, :, 1] - head.vertices[:, 1]
    teeth = material(head, "teeth")
    drop = moved[teeth]
    still, dropped = teeth[drop > -1e-4], teeth[drop < -0.005]
    assert len(still) + len(dropped) == len(teeth)
    assert 0.4 < len(still) / len(teeth) < 0.6
    assert head.vertices[still, 1].mean() > head.vertices[dropped, 1].mean()


def test_tongue_out_brings_the_tongue_past_the_lips(head: Head) -> None:
    tongue, lips = material(head, "tongue"), head.regions["lips"]
    moved = head.deform(frame(jawOpen=0.5, tongueOut=1.0))[0]
    assert head.vertices[tongue, 2].max() < head.vertices[lips, 2].max()
    assert moved[tongue, 2].max() > moved[lips, 2].max()


@pytest.mark.parametrize("turn", ["headPitch", "headYaw", "headRoll"])
def test_head_turns_rigidly_over_still_shoulders(head: Head, turn: str) -> None:
    moved = head.deform(frame(**{turn: 0.3}))[0]
    shirt = material(head, "cloth")
    np.testing.assert_array_equal(moved[shirt], head.vertices[shirt])
    for members in (head.regions["eyes"], *head.eyeballs):
        before, after = head.vertices[members] - head.pivot, moved[members] - head.pivot
        np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), atol=2e-5)
    edges = head.triangles[:, [0, 1]]
    before = np.linalg.norm(head.vertices[edges[:, 0]] - head.vertices[edges[:, 1]], axis=1)
    after = np.linalg.norm(moved[edges[:, 0]] - moved[edges[:, 1]], axis=1)
    long = before > 0.004
    assert (after[long] / before[long]).max() < 1.5


def test_positive_angles_nod_down_turn_left_and_tilt_right(head: Head) -> None:
    nose = head.vertices[:, 2].argmax()
    crown = head.vertices[:, 1].argmax()
    assert head.deform(frame(headPitch=0.3))[0, nose, 1] < head.vertices[nose, 1]
    assert head.deform(frame(headYaw=0.3))[0, nose, 0] > head.vertices[nose, 0]
    assert head.deform(frame(headRoll=0.3))[0, crown, 0] < head.vertices[crown, 0]


def test_bust_ends_on_a_plane(head: Head) -> None:
    lowest = head.vertices[:, 1].min()
    cloth = head.triangles[head.material == MATERIAL_NAMES.index("cloth")]
    welded = head.weld[cloth]
    edges = np.sort(np.concatenate([welded[:, [0, 1]], welded[:, [1, 2]], welded[:, [2, 0]]]), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    open_points = np.unique(unique[counts == 1])
    heights = np.array([head.vertices[head.weld == point, 1][0] for point in open_points])
    base = heights[heights < lowest + 0.03]
    assert len(base) > 40
    np.testing.assert_allclose(base, lowest, atol=1e-5)


def test_deforming_chunks_gives_the_same_as_the_whole(head: Head) -> None:
    values = np.random.default_rng(3).uniform(0.0, 0.5, (23, len(ARKIT))).astype(np.float32)
    whole = head.deform(values)
    chunks = np.concatenate([head.deform(values[:10]), head.deform(values[10:])])
    np.testing.assert_allclose(chunks, whole, atol=2e-6)


def test_deform_of_ten_seconds_is_quick(head: Head) -> None:
    values = np.random.default_rng(4).uniform(0.0, 0.5, (250, len(ARKIT))).astype(np.float32)
    head.deform(values[:2])
    start = time.process_time()
    head.deform(values)
    assert time.process_time() - start < 1.5


def test_identity_sliders_change_the_face_and_carry_the_eyes(head: Head) -> None:
    assert {"male", "old", "asian", "african"} <= set(head.identity_names)
    for slider in head.identity_names:
        changed = head.with_identity({slider: 1.0})
        assert np.linalg.norm(changed.vertices - head.vertices, axis=1).max() > 0.001, slider
    apart = head.with_identity({"eyeSpacing": 1.0})
    assert np.ptp(apart.eye_centres[:, 0]) > np.ptp(head.eye_centres[:, 0]) + 0.001
    members = apart.eyeballs[0]
    spread = np.linalg.norm(apart.vertices[members] - apart.eye_centres[0], axis=1)
    np.testing.assert_allclose(spread, np.linalg.norm(head.vertices[members] - head.eye_centres[0], axis=1), atol=1e-6)


def test_unknown_identity_slider_is_an_input_error(head: Head) -> None:
    with pytest.raises(InputError, match="chinChin"):
        head.with_identity({"chinChin": 1.0})


@pytest.mark.parametrize("values", [np.zeros((3, 52)), np.full((1, 55), np.nan)])
def test_motion_of_a_wrong_shape_or_not_finite_is_an_input_error(head: Head, values: np.ndarray) -> None:
    with pytest.raises(InputError):
        head.deform(values)


def test_missing_head_names_what_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody"):
        load_head(tmp_path / "nobody.npz")


def test_head_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(InputError, match="unreadable"):
        load_head(path)


@pytest.mark.parametrize("content", [None, b"", b"not an archive"])
def test_a_missing_or_damaged_shipped_head_is_an_asset_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "head.npz"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setitem(HEADS, "open", path)
    with pytest.raises(AssetError, match=r"head\.npz"):
        load_head()


@pytest.mark.parametrize("version", [np.int64(9), np.array(["one"])])
def test_head_file_of_another_format_is_refused(tmp_path: Path, version: np.ndarray) -> None:
    np.savez(tmp_path / "head.npz", format=version)
    with pytest.raises(InputError, match="format 1"):
        load_head(tmp_path / "head.npz")


def test_head_file_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    np.savez(path, format=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="unreadable"):
        load_head(path)


def test_head_file_without_its_fields_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    np.savez(path, format=np.int64(1), weld=np.zeros(3, np.uint16))
    with pytest.raises(InputError, match="shape_starts"):
        load_head(path)


def fields_of_the_open_head() -> dict[str, np.ndarray]:
    with np.load(HEADS["open"], allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def changed(name: str, place: int, value: float | str, dtype: str | None = None) -> np.ndarray:
    array = fields_of_the_open_head()[name].copy()
    array = array if dtype is None else array.astype(dtype)
    array.flat[place] = value
    return array


def picture_of(width: int, height: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, "PNG")
    return np.frombuffer(stream.getvalue(), np.uint8)


SPOILT: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    "weld": (lambda: changed("weld", 7, 2**31 - 2, "i8"), "weld"),
    "eyeball_bounds": (lambda: changed("eyeball_bounds", 3, 2**33, "i8"), "eyeball_bounds"),
    "atlas": (lambda: picture_of(30_000, 30_000), "atlas"),
    "pivot": (lambda: np.zeros(5, np.float32), "pivot of the shape"),
    "head_weight": (lambda: fields_of_the_open_head()["head_weight"][:-9], "head_weight of the shape"),
    "region_lips": (lambda: changed("region_lips", 0, 10**9, "i8"), "region_lips"),
    "region_eyes": (lambda: np.zeros(0, np.uint16), "region_eyes of the shape"),
    "points": (lambda: changed("points", 5, np.nan), "points with NaN"),
    "eye_centres": (lambda: changed("eye_centres", 0, 1e30), "eye_centres with NaN or beyond"),
    "shape_step_m": (lambda: np.float32(np.nan), "shape_step_m"),
    "identity_step_m": (lambda: np.float32(1e30), "identity_step_m"),
    "shape_starts": (lambda: changed("shape_starts", 9, 10**6), "shape_starts"),
    "shape_points": (lambda: changed("shape_points", 9, 60_000), "shape_points"),
    "triangles": (lambda: changed("triangles", 9, 60_000), "triangles"),
    "material": (lambda: changed("material", 9, 99), "materials"),
    "identity_names": (lambda: changed("identity_names", 0, "a\nb"), "identity_names"),
    "uv": (lambda: fields_of_the_open_head()["uv"].astype(np.float32), "uv of the type"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_field_that_does_not_fit_the_head_is_named_in_a_line(tmp_path: Path, name: str) -> None:
    spoil, told = SPOILT[name]
    path = tmp_path / "head.npz"
    np.savez(path, **(fields_of_the_open_head() | {name: spoil()}))
    with pytest.raises(InputError, match=told) as error:
        load_head(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_header_that_claims_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<u2", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(HEADS["open"]) as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, header.getvalue() if name == "weld.npy" else good.read(name))
    with pytest.raises(InputError, match="weld of the shape"):
        load_head(tmp_path / "bad.npz")


def test_a_shipped_head_that_does_not_fit_is_an_asset_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "head.npz", **(fields_of_the_open_head() | {"triangles": changed("triangles", 9, 60_000)}))
    monkeypatch.setitem(HEADS, "open", tmp_path / "head.npz")
    with pytest.raises(AssetError, match="triangles"):
        load_head()


def test_damaged_bytes_of_a_head_never_leave_a_traceback(tmp_path: Path) -> None:
    whole, rng, path = HEADS["open"].read_bytes(), np.random.default_rng(2), tmp_path / "head.npz"
    for _ in range(15):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=5):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert load_head(path).name == "head"


def test_a_head_that_does_not_turn_stays_where_it_is(head: Head) -> None:
    still = replace(head, head_weight=np.zeros_like(head.head_weight))
    values = np.zeros((1, len(ARKIT)), np.float32)
    values[:, ARKIT.index("headYaw")] = 0.5
    np.testing.assert_allclose(still.deform(values)[0], head.vertices, atol=1e-7)


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), -float("inf"), 1e6, -3.01])
def test_absurd_identity_sliders_are_refused(head: Head, strength: float) -> None:
    with pytest.raises(InputError, match="from -3 to 3"):
        head.with_identity({"old": strength})
    assert np.isfinite(head.with_identity({"old": -3.0}).vertices).all()


@pytest.mark.parametrize("text", ["old=nan", "old=inf", "old=-Infinity", "old=1e999", "old=", "old"])
def test_options_take_finite_numbers_only(text: str) -> None:
    assert number_pairs(["old=0.8", "noseWidth=-0.5"], "--identity") == {"old": 0.8, "noseWidth": -0.5}
    with pytest.raises(InputError, match="--identity NAME=NUMBER"):
        number_pairs([text], "--identity")
