"""The open head: what its shapes move, how its eyes, lids, lips and neck behave, and what its loader refuses."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from avi_lib.errors import AssetError, InputError
from avi_lib.face.camera import MATERIAL_NAMES, PORTRAIT, Camera, View, background
from avi_lib.face.head import GAZE_YAW_RAD, HEADS, REGIONS, Head, RenderMesh, check_head, load_head
from avi_lib.face.people import choose
from avi_lib.face.raster import Rasteriser
from avi_lib.face.surface import vertex_normals
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES
from avi_lib.speech.voice import Voice

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


@pytest.mark.parametrize("name", sorted(HEADS))
def test_lids_cover_the_eyeball_and_let_none_of_it_through(name: str) -> None:
    head = load_head(name)
    shut = head.deform(frame(eyeBlink=1.0))[0]
    squeezed = head.deform(frame(eyeSquint=1.0, cheekSquint=1.0, noseSneer=1.0))[0]
    seen = [eye_pixels(head, vertices) for vertices in (head.vertices, squeezed, shut)]
    assert seen[0] > seen[1] > seen[2] == 0
    glaring = frame(browDown=1.0, noseSneer=0.4, eyeWide=0.5)
    assert eye_pixels(head, head.deform(glaring)[0]) > 0.8 * seen[0], "brows come down to the lids, not over them"


def eye_pixels(head: Head, vertices: np.ndarray) -> int:
    """How much of the eyes a picture shows: they are painted red, and all else blue."""
    uv, atlas = np.full_like(head.uv, 0.75), np.zeros((16, 16, 3), np.uint8)
    uv[material(head, "eye")] = 0.25
    atlas[:, :8, 0] = atlas[:, 8:, 2] = 200
    seen = picture(replace(head, uv=uv, atlas=atlas, alpha=None), View.square(512), vertices).astype(int)
    return int((seen[..., 0] > seen[..., 2] + 20).sum())


def test_the_lip_gap_follows_the_jaw_and_mouth_close_and_agrees_with_the_vertices(head: Head):
    assert head.lip_gap(frame())[0] == 0.0
    assert 0.02 < head.lip_gap(frame(jawOpen=1.0))[0] < 0.05
    for weight in (0.2, 0.5, 1.0):
        assert abs(head.lip_gap(frame(jawOpen=weight, mouthClose=weight))[0]) < 0.0005
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


def test_positive_angles_nod_down_turn_left_tilt_right_and_the_tongue_comes_past_the_lips(head: Head):
    nose = head.vertices[:, 2].argmax()
    crown = head.vertices[:, 1].argmax()
    assert head.deform(frame(headPitch=0.3))[0, nose, 1] < head.vertices[nose, 1]
    assert head.deform(frame(headYaw=0.3))[0, nose, 0] > head.vertices[nose, 0]
    assert head.deform(frame(headRoll=0.3))[0, crown, 0] < head.vertices[crown, 0]
    tongue, lips = material(head, "tongue"), head.regions["lips"]
    moved = head.deform(frame(jawOpen=0.5, tongueOut=1.0))[0]
    assert head.vertices[tongue, 2].max() < head.vertices[lips, 2].max()
    assert moved[tongue, 2].max() > moved[lips, 2].max()


def test_frames_are_deformed_each_for_itself(head: Head) -> None:
    values = np.random.default_rng(3).uniform(0.0, 0.5, (23, len(ARKIT))).astype(np.float32)
    whole = head.deform(values)
    parts = np.concatenate([head.deform(values[:10]), head.deform(values[10:23])])
    np.testing.assert_allclose(parts, whole, atol=2e-6)


@pytest.mark.parametrize("name", sorted({*HEADS} - {"open"}))
def test_people_have_the_open_heads_face_and_lips_that_meet_as_its_do(name: str, head: Head) -> None:
    person = load_head(name)
    check_head(person)
    assert person.name == name and HEADS[name].stat().st_size < 800_000
    assert all(len(person.regions[region]) == len(members) for region, members in head.regions.items())
    assert 0.001 < np.abs(person.vertices[person.regions["face"]] - head.vertices[head.regions["face"]]).max() < 0.04
    assert contact_m(person) == pytest.approx(contact_m(head), abs=2e-4)
    talk = frame(jawOpen=0.5, mouthClose=0.5, mouthPress=0.3)
    assert person.lip_gap(talk)[0] == pytest.approx(head.lip_gap(talk)[0], abs=5e-4)
    hair = np.setdiff1d(material(person, "hair"), np.flatnonzero(person.vertices[:, 1] < 0.06))
    np.testing.assert_array_equal(person.deform(frame(jawOpen=1.0, browDown=1.0))[0, hair], person.vertices[hair])


def contact_m(head: Head) -> float:
    """How far the inner lips are apart at rest."""
    upper, lower = (head.vertices[head.regions[f"{lip}_lip_inner"], 1].mean() for lip in ("upper", "lower"))
    return float(upper - lower)


def test_identity_sliders_change_the_face_and_carry_the_eyes(head: Head) -> None:
    for slider, (_, most) in zip(head.identity_names, head.identity_bounds, strict=True):
        changed = head.with_identity({slider: float(most)})
        moved = np.linalg.norm(changed.vertices - head.vertices, axis=1).max() > 0.001
        assert moved or (changed.atlas != head.atlas).any(), slider
    apart = head.with_identity({"eyeSpacing": 1.0})
    assert np.ptp(apart.eye_centres[:, 0]) > np.ptp(head.eye_centres[:, 0]) + 0.001
    members = apart.eyeballs[0]
    spread = np.linalg.norm(apart.vertices[members] - apart.eye_centres[0], axis=1)
    np.testing.assert_allclose(spread, np.linalg.norm(head.vertices[members] - head.eye_centres[0], axis=1), atol=2e-6)
    dark = head.with_identity({"african": 0.9})
    assert dark.atlas[400:600, 400:700].mean() < 0.65 * head.atlas[400:600, 400:700].mean()
    assert head.with_identity({"female": 1.0}).vertices[head.regions["face"]].std() < head.vertices.std()


@pytest.mark.parametrize("name", ["open", "grace"])
def test_no_sliders_within_their_bounds_fold_the_face_or_part_the_lips(name: str) -> None:
    head, rng = load_head(name), np.random.default_rng(4)
    ends = [(slider, float(end)) for slider, both in zip(head.identity_names, head.identity_bounds, strict=True)
            for end in both if end]  # fmt: skip
    pairs = [dict(ends[i] for i in rng.choice(len(ends), 2, replace=False)) for _ in range(60)]
    face = np.isin(np.arange(len(head.vertices)), np.union1d(head.regions["face"], head.regions["eyes"]))
    triangles = head.triangles[(head.material < 2) & face[head.triangles].all(axis=1)]
    rest, rest_size = normals_of(head.vertices, triangles)
    shown = rest_size > 1e-6
    corners = [{"african": 1.0, "mouthAngles": 1.0}, {"male": 1.0, "browRidge": -0.8}]
    for sliders in [*(dict([end]) for end in ends), *pairs[: 60 if name == "open" else 20], *corners]:
        changed = head.with_identity(sliders)
        normals, size = normals_of(changed.vertices, triangles)
        assert ((normals * rest).sum(axis=1)[shown] > 0.0).all(), f"flipped by {sliders}"
        assert (size > 0.05 * rest_size)[shown].all(), f"collapsed by {sliders}"
        assert abs(contact_m(changed) - contact_m(head)) < 0.0015, sliders


def normals_of(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals of triangles, and twice their areas."""
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    normals = np.cross(b - a, c - a)
    size = np.linalg.norm(normals, axis=1)
    return normals / np.maximum(size, 1e-15)[:, None], size


@pytest.mark.parametrize(
    ("sliders", "message"),
    [
        ({"chinChin": 1.0}, "chinChin"),
        ({"male": -3.0}, "male from 0 to 1; got male=-3"),
        *(({"old": bad}, "old from -0.3 to 1") for bad in (np.nan, -np.inf, 1e6, -0.31)),
    ],
)
def test_unknown_and_absurd_identity_sliders_are_refused(head: Head, sliders: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        head.with_identity(sliders)


@pytest.mark.parametrize(("f0_hz", "name"), [(110.0, "ben"), (210.0, "anna"), (0.0, "open")])
def test_the_pitch_of_a_voice_chooses_who_speaks_and_says_why(f0_hz: float, name: str) -> None:
    at_s = np.arange(16_000) / 16_000
    wave = sum(np.sin(2 * np.pi * f0_hz * k * at_s) / k for k in range(1, 9)).astype(np.float32)
    chosen = choose(Voice(0.2 * wave))
    assert chosen.name == name
    assert "pitch" in chosen.reason and (name == "open" or f"{f0_hz:.0f} Hz" in chosen.reason)


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
    ("a pickle", whole("format", np.array([{"a": 1}], dtype=object)), "pickled objects"),
    ("no shapes", lambda fields: fields.pop("shape_starts"), "shape_starts"),
    ("points there are none of", at("weld", 7, 2**31 - 2, "i8"), "part of it is missing"),
    ("eyeballs beyond memory", at("eyeball_bounds", 3, 2**33, "i8"), "MB|allocate|part of it is missing"),
    ("an atlas beyond memory", lambda fields: fields.update(atlas=huge_picture()), "decompression bomb"),
    ("a flat pivot", whole("pivot", np.zeros(5, np.float32)), "mesh pivot of shape"),
    ("too few weights", whole("head_weight", np.zeros(9, np.uint16)), "mesh head_weight of shape"),
    ("a region beyond the vertices", at("region_lips", 0, 10**9, "i8"), "region lips"),
    ("an empty region", whole("region_eyes", np.zeros(0, np.uint16)), "region eyes"),
    ("a point that is no number", at("points", 5, np.nan), "within 10 m"),
    ("eyes far away", at("eye_centres", 0, 1e30), "within 10 m"),
    ("shapes that are no number", whole("shape_step_m", np.float32(np.nan)), "within 10 m"),
    ("identities far away", whole("identity_step_m", np.float32(1e30)), "within 10 m"),
    ("shapes out of order", at("shape_starts", 9, 10**6), "negative"),
    ("moves of points there are none of", at("shape_points", 9, 60_000), "part of it is missing"),
    ("corners there are none of", at("triangles", 9, 60_000), "mesh's triangles"),
    ("another material", at("material", 9, 99), "mesh's material"),
    ("a name in two lines", at("identity_names", 0, "a\nb"), "printable names"),
    ("places of another type", lambda fields: fields.update(uv=fields["uv"].astype(np.float32)), "uv of uint16"),
]


@pytest.mark.parametrize(("spoil", "message"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_spoilt_head_is_refused_in_a_line(tmp_path, fields, spoil, message):
    path, spoilt = tmp_path / "head.npz", dict(fields)
    spoil(spoilt)
    np.savez(path, **spoilt)
    with pytest.raises(InputError, match=message) as error:
        load_head(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"not an archive", "spoilt"])
def test_a_missing_or_damaged_head_is_named(tmp_path, monkeypatch, fields, content):
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


def test_a_baked_head_of_ones_own_is_the_same_head_and_damaged_bytes_never_leave_a_traceback(tmp_path, head):
    own = load_head(shutil.copy(HEADS["open"], tmp_path / "own.npz"))
    assert (own.name, own.identity_names) == ("own", head.identity_names)
    for name in ("vertices", "triangles", "uv", "shapes", "identity", "material", "occlusion", "atlas"):
        np.testing.assert_array_equal(getattr(own, name), getattr(head, name))
    whole, rng, path = HEADS["open"].read_bytes(), np.random.default_rng(2), tmp_path / "head.npz"
    for _ in range(4):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=5):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert load_head(path).name == "head"


# The renderer: it draws what geometry says, smooth at edges, and refuses what cannot be drawn

AHEAD = Camera(position=(0.0, 0.0, 1.0), target=(0.0, 0.0, 0.0), fov_deg=24.0)


def square(side_m: float = 0.1, z: float = 0.0, material: str = "skin", flipped: bool = False) -> RenderMesh:
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], np.float32) * np.float32(side_m / 2)
    corners[:, 2] = z
    triangles = np.array([(0, 1, 2), (0, 2, 3)], np.int32)
    return RenderMesh(
        vertices=corners,
        triangles=triangles[:, ::-1].copy() if flipped else triangles,
        uv=np.array([(0, 1), (1, 1), (1, 0), (0, 0)], np.float32),
        weld=np.arange(4, dtype=np.int32),
        material=np.full(2, MATERIAL_NAMES.index(material), np.uint8),
        occlusion=np.ones(4, np.float32),
        atlas=np.full((4, 4, 3), 180, np.uint8),
    )


def picture(mesh: RenderMesh, view: View | None = None, vertices: np.ndarray | None = None) -> np.ndarray:
    with Rasteriser(mesh, view or View.square(128, AHEAD)) as rasteriser:
        return rasteriser.draw(mesh.vertices if vertices is None else vertices)


def test_each_pose_has_its_own_picture_whatever_was_drawn_before(head: Head) -> None:
    values = np.zeros((3, len(ARKIT)), np.float32)
    values[1, [ARKIT.index("jawOpen"), ARKIT.index("tongueOut")]] = 0.6
    values[2, [ARKIT.index("browDownLeft"), ARKIT.index("headYaw")]] = 0.5
    frames = head.deform(values)
    with Rasteriser(head, View.square(128)) as rasteriser:
        forth = [rasteriser.draw(vertices) for vertices in frames]
        back = list(rasteriser.draw_all(frames[::-1]))[::-1]
    assert np.array_equal(forth, back)
    assert not np.array_equal(forth[0], forth[1]) and not np.array_equal(forth[1], forth[2])


def test_a_square_covers_the_pixels_geometry_says_with_the_persons_left_at_the_right():
    mesh = square(0.2)
    covered = (picture(mesh).astype(int) != background(128, 128)).any(axis=2)
    side = 0.2 / (2.0 * np.tan(np.radians(12.0))) * 128
    assert abs(np.sqrt(covered.sum()) - side) < 1.0
    rows, columns = np.nonzero(covered)
    assert abs(rows.mean() - 63.5) < 0.1
    assert abs(columns.mean() - 63.5) < 0.1
    mesh = square(0.1)
    moved = picture(mesh, vertices=mesh.vertices + np.array([0.1, 0.1, 0.0], np.float32))
    rows, columns = np.nonzero((moved.astype(int) != background(128, 128)).any(axis=2))
    assert rows.mean() < 50 and columns.mean() > 78


def test_a_slanted_edge_has_at_least_three_steps_between_surface_and_wall() -> None:
    mesh = square(0.2)
    turn = np.radians(20.0)
    spin = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]], np.float32)
    seen = picture(mesh, vertices=mesh.vertices @ spin.T).astype(int)
    wall = background(128, 128).astype(int)
    inside = seen[64, 64, 0]
    share = (seen[64, :, 0] - wall[64, :, 0]) / (inside - wall[64, 0, 0])
    everywhere = (seen[..., 0] - wall[..., 0]) / (inside - wall[..., 0])
    partly = np.unique(np.rint(everywhere[(everywhere > 0.1) & (everywhere < 0.9)] * 4))
    assert set(partly) >= {1.0, 2.0, 3.0}
    assert share.max() <= 1.05


def joined(*meshes: RenderMesh) -> RenderMesh:
    """Squares as one mesh, each with the first one's atlas."""
    several = {
        name: np.concatenate([getattr(each, name) for each in meshes])
        for name in ("vertices", "uv", "material", "occlusion")
    }
    triangles = np.concatenate([each.triangles + 4 * number for number, each in enumerate(meshes)])
    weld = np.arange(4 * len(meshes), dtype=np.int32)
    return replace(meshes[0], triangles=triangles.astype(np.int32), weld=weld, **several)


def test_the_nearer_surface_hides_the_farther_whatever_their_order() -> None:
    bright, dark = np.full(4, 0.9, np.float32), np.full(4, 0.2, np.float32)
    front, back = replace(square(0.1, z=0.1), occlusion=bright), replace(square(0.1, z=-0.1), occlusion=dark)
    for both in (joined(front, back), joined(back, front)):
        assert np.array_equal(picture(both)[64, 64], picture(front)[64, 64])


def test_what_is_half_transparent_mixes_with_what_is_behind_it_whatever_the_order_of_triangles() -> None:
    alpha = np.full((4, 4), 255, np.uint8)
    alpha[:, :2] = 128  # the left half of the atlas
    uv = square().uv * np.float32([0.2, 1.0])
    veil = replace(square(0.1, z=0.1, material="cloth", flipped=True), uv=uv, alpha=alpha)
    wall = replace(
        square(0.2, z=-0.1), uv=uv + np.float32([0.8, 0]), alpha=alpha, occlusion=np.full(4, 0.3, np.float32)
    )
    hidden = replace(veil, vertices=veil.vertices - np.float32([0, 0, 0.3]))
    farther = replace(veil, vertices=veil.vertices - np.float32([0, 0, 0.1]), occlusion=np.zeros(4, np.float32))
    ground = picture(wall).astype(int)
    cloth = picture(replace(veil, alpha=None)).astype(int)[64, 64]
    half, black = (ground[64, 64] + cloth) / 2, ground[64, 64] / 2
    cases = ((veil, wall), half), ((farther, veil, wall), (black + cloth) / 2), ((hidden, wall), ground[64, 64])
    for parts, expected in cases:
        several = [picture(joined(*order)).astype(int) for order in (parts, parts[::-1])]
        assert np.array_equal(*several)
        assert np.abs(several[0][50:78, 50:78] - expected).max() <= 3, "nor do edges between triangles show"
    clear = picture(veil, View.square(128, AHEAD, "transparent"))
    assert clear[64, 64, 3] == pytest.approx(128, abs=1) and np.abs(clear[64, 64, :3] - cloth).max() <= 1


def test_backs_are_hidden_for_skin_and_lit_for_cloth_and_occluded_surfaces_are_darker():
    assert np.array_equal(picture(square(flipped=True)), background(128, 128))
    front, back = picture(square(material="cloth")), picture(square(material="cloth", flipped=True))
    assert np.abs(front.astype(int) - back).max() <= 1
    closed = replace(square(), occlusion=np.full(4, 0.3, np.float32))
    assert picture(closed)[64, 64].mean() < 0.75 * picture(square())[64, 64].mean()


def test_the_face_is_neither_overexposed_nor_dark(head: Head) -> None:
    seen = picture(head, View.square(256))
    drawn = seen[(seen.astype(int) != background(256, 256)).any(axis=2)]
    assert (drawn.max(axis=1) >= 250).mean() < 0.01
    skin = seen[115:141, 110:146]  # the cheeks and the nose
    assert 120 < skin.mean() < 215
    assert skin[..., 0].mean() > skin[..., 2].mean() + 15


def test_what_stands_in_the_light_of_a_wall_darkens_it_where_the_light_comes_from_and_nowhere_else() -> None:
    wall, above = square(0.3), square(0.05, z=0.06)
    towards = np.float32([-0.5, 0.55, 0.75]) / 0.75 * 0.06
    above = replace(above, vertices=above.vertices + towards * np.float32([1, 1, 0]))
    lit, shaded = (picture(mesh).astype(int) for mesh in (wall, joined(wall, above)))
    assert shaded[64, 64].mean() < 0.8 * lit[64, 64].mean(), "the square's shadow falls on the middle"
    assert np.array_equal(shaded[100, 100], lit[100, 100])


def test_a_coarse_ball_is_drawn_with_a_round_outline() -> None:
    turns = np.arange(12) * np.pi / 6.0
    ring = np.column_stack([np.cos(turns), np.sin(turns), np.zeros(12)])
    points = np.float32(0.1) * np.concatenate([ring, [(0, 0, 1), (0, 0, -1)]]).astype(np.float32)
    after = np.roll(np.arange(12), -1)
    front, back = (
        np.column_stack(corners)
        for corners in ((np.arange(12), after, np.full(12, 12)), (after, np.arange(12), np.full(12, 13)))
    )
    ball = RenderMesh(
        vertices=points,
        triangles=np.concatenate([front, back]).astype(np.int32),
        uv=np.full((14, 2), 0.5, np.float32),
        weld=np.arange(14, dtype=np.int32),
        material=np.zeros(24, np.uint8),
        occlusion=np.ones(14, np.float32),
        atlas=square().atlas,
    )
    covered = (picture(ball, View.square(256, AHEAD)).astype(int) != background(256, 256)).any(axis=2).sum()
    radius = 0.1 / (2.0 * np.tan(np.radians(12.0))) * 256
    assert covered == pytest.approx(np.pi * radius**2, rel=0.012), (
        "twelve corners alone leave out four and a half percent"
    )


def test_normals_are_smooth_across_a_welded_seam_and_sharp_without() -> None:
    vertices = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 0), (0, 1, 0), (0, 0, 1)], np.float32)
    triangles = np.array([(0, 1, 2), (3, 4, 5)], np.int32)
    welded = vertex_normals(vertices, triangles, np.array([0, 1, 2, 0, 2, 3], np.int32))
    assert np.allclose(welded[0], np.array([1, 0, 1]) / np.sqrt(2), atol=1e-6)
    assert np.array_equal(welded[0], welded[3])
    sharp = vertex_normals(vertices, triangles, np.arange(6, dtype=np.int32))
    assert np.allclose(sharp[[0, 3]], [(0, 0, 1), (1, 0, 0)], atol=1e-6)


def test_the_number_of_threads_does_not_change_the_picture(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    for threads in (1, 5):
        monkeypatch.setattr("os.cpu_count", lambda count=threads: count)
        pictures.append(picture(head, View.square(192)))
    assert np.array_equal(*pictures)


def test_sizes_backdrops_meshes_and_vertices_that_cannot_be_drawn_are_refused() -> None:
    for size in (0, 63, 129, 5000):
        with pytest.raises(InputError, match="even picture size of 64-4096"):
            View(width=size)
    for backdrop in ("", "red", "#12345", "#12345g", "Studio"):
        with pytest.raises(InputError, match="a backdrop"):
            View(backdrop=backdrop)
    with pytest.raises(InputError, match="numbers 0-3 in the mesh's triangles"):
        picture(replace(square(), triangles=square().triangles + 4))
    with pytest.raises(InputError, match=r"expected vertices of shape \(4, 3\); got \(5, 3\)"):
        picture(square(), vertices=np.zeros((5, 3), np.float32))
    with pytest.raises(InputError, match="expected finite vertices"):
        picture(square(), vertices=np.full((4, 3), np.nan, np.float32))


def test_wide_and_upright_pictures_show_the_same_in_their_middle(head: Head) -> None:
    flat = picture(head, View.square(192))
    wide, upright = picture(head, View(320, 192))[:, 64:256], picture(head, View(192, 256))[32:224]
    assert np.abs(wide.astype(int) - flat).mean() < 0.05
    drawn = (flat != background(192, 192)).any(axis=2)
    assert np.abs(upright.astype(int) - flat)[drawn].mean() < 1.0


def test_a_transparent_picture_over_a_colour_is_the_picture_before_that_colour(head: Head) -> None:
    seen = picture(head, View.square(192, backdrop="transparent")).astype(float)
    share = seen[..., 3:] / 255.0
    over = seen[..., :3] * share + 255.0 * (1.0 - share)
    assert seen.shape == (192, 192, 4)
    assert np.abs(over - picture(head, View.square(192, backdrop="#ffffff"))).max() <= 2.0
    assert seen[0, 0, 3] == 0 and seen[150, 96, 3] == 255
    assert len(np.unique(seen[..., 3])) == 5  # four samples a pixel


def test_an_orbit_keeps_the_distance_and_looks_from_the_right_and_from_above() -> None:
    turned = PORTRAIT.orbit(30.0, 20.0)
    distances = [np.linalg.norm(np.subtract(camera.position, camera.target)) for camera in (PORTRAIT, turned)]
    assert distances[1] == pytest.approx(distances[0])
    assert turned.position[0] > 0.3 and turned.position[1] > PORTRAIT.position[1] + 0.2
