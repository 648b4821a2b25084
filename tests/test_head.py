"""The open head: what its shapes move, how its eyes, lids, lips and neck behave, and what its loader refuses."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avi_lib.cli import number_pairs
from avi_lib.errors import AssetError, InputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import GAZE_YAW_RAD, HEADS, REGIONS, Head, check_head, load_head
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES

MAX_ASSET_BYTES = 3_000_000


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


def test_the_asset_is_small_and_whole(head: Head) -> None:
    assert HEADS["open"].stat().st_size <= MAX_ASSET_BYTES
    assert len(head.triangles) <= 16_500 and len(head.vertices) <= 10_500
    check_head(head)
    reach = np.linalg.norm(head.shapes, axis=2).max(axis=1)
    assert head.shapes.shape == (52, len(head.vertices), 3)
    assert reach.min() > 0.001, ARKIT_BLENDSHAPES[reach.argmin()]
    assert set(head.regions) == set(REGIONS) and all(len(members) >= 3 for members in head.regions.values())


@pytest.mark.parametrize("shape", [s for s in ARKIT_BLENDSHAPES if s.endswith(("Left", "Right")) and "outh" not in s])
def test_sided_shapes_move_their_own_side(head: Head, shape: str) -> None:
    if shape in ("jawLeft", "jawRight"):
        assert (head.shapes[ARKIT.index(shape), head.regions["lips"], 0].mean() > 0) == shape.endswith("Left")
        return
    moved = np.linalg.norm(head.shapes[ARKIT.index(shape)], axis=1)
    left = moved[head.vertices[:, 0] > 0.0].sum()
    share = left / moved.sum()
    assert share > 0.7 if shape.endswith("Left") else share < 0.3


def test_lids_cover_the_eyeball_and_let_none_of_it_through(head: Head) -> None:
    shut = head.deform(frame(eyeBlink=1.0))[0]
    squeezed = head.deform(frame(eyeSquint=1.0, cheekSquint=1.0, noseSneer=1.0))[0]
    for eye in (0, 1):
        open_share = _seen_share(head, head.vertices, eye)
        assert open_share > 0.10 and _seen_share(head, shut, eye) == 0.0
        assert 0.0 < _seen_share(head, squeezed, eye) < open_share


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


def test_the_lips_part_as_the_jaw_drops_and_mouth_close_brings_them_together(head: Head) -> None:
    assert head.lip_gap(frame())[0] == 0.0
    assert 0.02 < head.lip_gap(frame(jawOpen=1.0))[0] < 0.05
    for weight in (0.2, 0.5, 1.0):
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
    pupil = head.eyeballs[0][head.vertices[head.eyeballs[0], 2].argmax()]
    side, _, ahead = moved[pupil] - head.eye_centres[0]
    yaw_rad = {"eyeLookOut": GAZE_YAW_RAD, "eyeLookIn": -GAZE_YAW_RAD}.get(gaze, 0.0)
    assert np.arctan2(side, ahead) == pytest.approx(yaw_rad, abs=0.01), "out is to the person's left for the left eye"


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


def test_frames_are_deformed_each_for_itself(head: Head) -> None:
    values = np.random.default_rng(3).uniform(0.0, 0.5, (23, len(ARKIT))).astype(np.float32)
    whole = head.deform(values)
    parts = np.concatenate([head.deform(values[:10]), head.deform(values[10:23])])
    np.testing.assert_allclose(parts, whole, atol=2e-6)


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


@pytest.mark.parametrize(
    ("sliders", "message"),
    [
        ({"chinChin": 1.0}, "chinChin"),
        *(({"old": bad}, "from -3 to 3") for bad in (np.nan, -np.inf, 1e6, -3.01)),
    ],
)
def test_unknown_and_absurd_identity_sliders_are_refused(head: Head, sliders: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        head.with_identity(sliders)
    assert np.isfinite(head.with_identity({"old": -3.0}).vertices).all()


@pytest.mark.parametrize("values", [np.zeros((3, 52)), np.full((1, 55), np.nan)])
def test_motion_of_a_wrong_shape_or_not_finite_is_an_input_error(head: Head, values: np.ndarray) -> None:
    for use in (head.deform, head.lip_gap):
        with pytest.raises(InputError):
            use(values)


@pytest.fixture(scope="module")
def fields() -> dict[str, np.ndarray]:
    with np.load(HEADS["open"], allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def at(name: str, place: int, value: float | str, dtype: str | None = None) -> Callable[[dict[str, np.ndarray]], None]:
    """A change of one number of a field."""

    def spoil(fields: dict[str, np.ndarray]) -> None:
        fields[name] = fields[name].astype(dtype or fields[name].dtype)
        fields[name].flat[place] = value

    return spoil


def whole(name: str, value: object) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda fields: fields.update({name: np.asarray(value)})


def huge_picture() -> np.ndarray:
    stream = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(stream, "PNG")
    return np.frombuffer(stream.getvalue(), np.uint8)


SPOILT = [
    ("no such format", whole("format", 9), "format 1"),
    ("a format in words", whole("format", ["one"]), "format 1"),
    ("a pickle", whole("format", np.array([{"a": 1}], dtype=object)), "allow_pickle"),
    ("no shapes", lambda fields: fields.pop("shape_starts"), "shape_starts"),
    ("points there are none of", at("weld", 7, 2**31 - 2, "i8"), "out of bounds"),
    ("eyeballs beyond memory", at("eyeball_bounds", 3, 2**33, "i8"), "MB|allocate|out of bounds"),
    ("an atlas beyond memory", lambda fields: fields.update(atlas=huge_picture()), "decompression bomb"),
    ("a flat pivot", whole("pivot", np.zeros(5, np.float32)), "mesh pivot of shape"),
    ("too few weights", whole("head_weight", np.zeros(9, np.uint16)), "mesh head_weight of shape"),
    ("a region elsewhere", at("region_lips", 0, 10**9, "i8"), "region lips"),
    ("an empty region", whole("region_eyes", np.zeros(0, np.uint16)), "region eyes"),
    ("a point that is no number", at("points", 5, np.nan), "within 10 m"),
    ("eyes far away", at("eye_centres", 0, 1e30), "within 10 m"),
    ("shapes that are no number", whole("shape_step_m", np.float32(np.nan)), "within 10 m"),
    ("identities far away", whole("identity_step_m", np.float32(1e30)), "within 10 m"),
    ("shapes out of order", at("shape_starts", 9, 10**6), "negative"),
    ("moves of points there are none of", at("shape_points", 9, 60_000), "out of bounds"),
    ("corners there are none of", at("triangles", 9, 60_000), "mesh's triangles"),
    ("another material", at("material", 9, 99), "mesh's material"),
    ("a name in two lines", at("identity_names", 0, "a\nb"), "printable names"),
    ("places of another type", lambda fields: fields.update(uv=fields["uv"].astype(np.float32)), "uv of uint16"),
]


@pytest.mark.parametrize(("spoil", "message"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_spoilt_head_is_refused_in_a_line(
    tmp_path: Path, fields: dict[str, np.ndarray], spoil: Callable[[dict[str, np.ndarray]], None], message: str
) -> None:
    path, spoilt = tmp_path / "head.npz", dict(fields)
    spoil(spoilt)
    np.savez(path, **spoilt)
    with pytest.raises(InputError, match=message) as error:
        load_head(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"not an archive", "spoilt"])
def test_a_missing_or_damaged_head_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, np.ndarray], content: bytes | str | None
) -> None:
    path = tmp_path / "head.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **(fields | {"pivot": np.zeros(5, np.float32)}))
    with pytest.raises(InputError, match=r"head\.npz"):
        load_head(path)
    monkeypatch.setitem(HEADS, "open", path)
    with pytest.raises(AssetError, match=r"head\.npz"):
        load_head()


def test_damaged_bytes_of_a_head_never_leave_a_traceback(tmp_path: Path) -> None:
    whole, rng, path = HEADS["open"].read_bytes(), np.random.default_rng(2), tmp_path / "head.npz"
    for _ in range(8):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=5):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert load_head(path).name == "head"


def test_a_baked_head_of_ones_own_is_the_same_head(tmp_path: Path, head: Head) -> None:
    own = load_head(shutil.copy(HEADS["open"], tmp_path / "own.npz"))
    assert (own.name, own.identity_names) == ("own", head.identity_names)
    for name in ("vertices", "triangles", "uv", "shapes", "identity", "material", "occlusion", "atlas"):
        np.testing.assert_array_equal(getattr(own, name), getattr(head, name))


@pytest.mark.parametrize("text", ["old=nan", "old=inf", "old=-Infinity", "old=1e999", "old=", "old"])
def test_options_take_finite_numbers_only(text: str) -> None:
    assert number_pairs(["old=0.8", "noseWidth=-0.5"], "--identity") == {"old": 0.8, "noseWidth": -0.5}
    with pytest.raises(InputError, match="--identity NAME=NUMBER"):
        number_pairs([text], "--identity")
