"""The renderer: it draws what geometry says, smooth at edges, and refuses what cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from jaxtyping import Float32, Int32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIAL_NAMES, PORTRAIT, Camera, View, background
from avi_lib.face.head import Head, load_head
from avi_lib.face.raster import Rasteriser, vertex_normals
from avi_lib.motion.clip import ARKIT

AHEAD = Camera(position=(0.0, 0.0, 1.0), target=(0.0, 0.0, 0.0), fov_deg=24.0)


@dataclass(frozen=True)
class Mesh:
    vertices: Float32[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "T 3"]
    uv: Float32[np.ndarray, "V 2"]
    weld: Int32[np.ndarray, " V"]
    material: UInt8[np.ndarray, " T"]
    occlusion: Float32[np.ndarray, " V"]
    atlas: UInt8[np.ndarray, "H W 3"]


def square(side_m: float = 0.1, z: float = 0.0, material: str = "skin", flipped: bool = False) -> Mesh:
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], np.float32) * np.float32(side_m / 2)
    corners[:, 2] = z
    triangles = np.array([(0, 1, 2), (0, 2, 3)], np.int32)
    return Mesh(
        vertices=corners,
        triangles=triangles[:, ::-1].copy() if flipped else triangles,
        uv=np.array([(0, 1), (1, 1), (1, 0), (0, 0)], np.float32),
        weld=np.arange(4, dtype=np.int32),
        material=np.full(2, MATERIAL_NAMES.index(material), np.uint8),
        occlusion=np.ones(4, np.float32),
        atlas=np.full((4, 4, 3), 180, np.uint8),
    )


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


def picture(mesh: Mesh, camera: Camera = AHEAD, size: int = 128) -> np.ndarray:
    with Rasteriser(mesh, View.square(size, camera)) as rasteriser:
        return rasteriser.draw(mesh.vertices)


def poses(head: Head) -> np.ndarray:
    """Rest; a wide open smile; a frown with the head turned."""
    values = np.zeros((3, len(ARKIT.channels)), np.float32)
    wanted = [
        {},
        {"jawOpen": 0.6, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "tongueOut": 0.3},
        {"browDownLeft": 1.0, "eyeBlinkRight": 0.6, "mouthPucker": 0.7, "headYaw": 0.5, "headPitch": -0.2},
    ]
    for row, weights in zip(values, wanted, strict=True):
        for name, weight in weights.items():
            row[ARKIT.index(name)] = weight
    return head.deform(values)


def test_each_pose_has_its_own_picture_whatever_was_drawn_before(head: Head) -> None:
    frames = poses(head)
    with Rasteriser(head, View.square(128)) as rasteriser:
        forth = [rasteriser.draw(vertices) for vertices in frames]
        back = [rasteriser.draw(vertices) for vertices in frames[::-1]][::-1]
    assert np.array_equal(forth, back)
    assert not np.array_equal(forth[0], forth[1]) and not np.array_equal(forth[1], forth[2])


def test_two_renderers_at_once_do_not_disturb_each_other() -> None:
    near, far = square(0.2), square(0.1)
    alone = picture(near), picture(far)
    with (
        Rasteriser(near, View.square(128, AHEAD)) as first,
        Rasteriser(far, View.square(128, AHEAD)) as second,
    ):
        for _ in range(2):
            assert np.array_equal(first.draw(near.vertices), alone[0])
            assert np.array_equal(second.draw(far.vertices), alone[1])


def test_a_square_covers_the_pixels_geometry_says() -> None:
    mesh = square(0.2)
    covered = (picture(mesh).astype(int) != background(128, 128)).any(axis=2)
    side = 0.2 / (2.0 * np.tan(np.radians(12.0))) * 128
    assert abs(np.sqrt(covered.sum()) - side) < 1.0
    rows, columns = np.nonzero(covered)
    assert abs(rows.mean() - 63.5) < 0.1
    assert abs(columns.mean() - 63.5) < 0.1


def test_up_is_up_and_the_persons_left_is_at_the_right() -> None:
    mesh = square(0.1)
    moved = mesh.vertices + np.array([0.1, 0.1, 0.0], np.float32)
    with Rasteriser(mesh, View.square(128, AHEAD)) as rasteriser:
        rows, columns = np.nonzero((rasteriser.draw(moved).astype(int) != background(128, 128)).any(axis=2))
    assert rows.mean() < 50
    assert columns.mean() > 78


def test_a_slanted_edge_has_at_least_three_steps_between_surface_and_wall() -> None:
    mesh = square(0.2)
    turn = np.radians(20.0)
    spin = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]], np.float32)
    with Rasteriser(mesh, View.square(128, AHEAD)) as rasteriser:
        seen = rasteriser.draw(mesh.vertices @ spin.T).astype(int)
    wall = background(128, 128).astype(int)
    inside = seen[64, 64, 0]
    share = (seen[64, :, 0] - wall[64, :, 0]) / (inside - wall[64, 0, 0])
    everywhere = (seen[..., 0] - wall[..., 0]) / (inside - wall[..., 0])
    partly = np.unique(np.rint(everywhere[(everywhere > 0.1) & (everywhere < 0.9)] * 4))
    assert set(partly) >= {1.0, 2.0, 3.0}
    assert share.max() <= 1.05


def test_the_nearer_surface_hides_the_farther_whatever_their_order() -> None:
    front, back = square(0.1, z=0.1), square(0.1, z=-0.1)
    bright, dark = np.full(4, 0.9, np.float32), np.full(4, 0.2, np.float32)
    for first, second, light in ((front, back, (bright, dark)), (back, front, (dark, bright))):
        both = Mesh(
            vertices=np.concatenate([first.vertices, second.vertices]),
            triangles=np.concatenate([first.triangles, second.triangles + 4]),
            uv=np.concatenate([first.uv, second.uv]),
            weld=np.arange(8, dtype=np.int32),
            material=np.concatenate([first.material, second.material]),
            occlusion=np.concatenate(light),
            atlas=front.atlas,
        )
        alone = Mesh(**{**vars(front), "occlusion": bright})
        assert np.array_equal(picture(both)[64, 64], picture(alone)[64, 64])


def test_backs_are_hidden_for_skin_and_lit_like_fronts_for_cloth() -> None:
    assert np.array_equal(picture(square(flipped=True)), background(128, 128))
    front, back = picture(square(material="cloth")), picture(square(material="cloth", flipped=True))
    assert np.abs(front.astype(int) - back).max() <= 1


def test_occluded_surfaces_are_darker() -> None:
    open_square = square()
    closed = Mesh(**{**vars(open_square), "occlusion": np.full(4, 0.3, np.float32)})
    assert picture(closed)[64, 64].mean() < 0.75 * picture(open_square)[64, 64].mean()


def test_the_face_is_neither_overexposed_nor_dark(head: Head) -> None:
    with Rasteriser(head, View.square(256)) as rasteriser:
        seen = rasteriser.draw(head.vertices)
    drawn = seen[(seen.astype(int) != background(256, 256)).any(axis=2)]
    assert (drawn.max(axis=1) >= 250).mean() < 0.01
    skin = renderer_face_patch(seen)
    assert 120 < skin.mean() < 215
    assert skin[..., 0].mean() > skin[..., 2].mean() + 15


def renderer_face_patch(seen: np.ndarray) -> np.ndarray:
    """The cheeks and nose of the portrait view."""
    size = seen.shape[0]
    return seen[int(0.45 * size) : int(0.55 * size), int(0.43 * size) : int(0.57 * size)]


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
        with Rasteriser(head, View.square(192)) as rasteriser:
            pictures.append(rasteriser.draw(head.vertices))
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("size", [0, 63, 129, 5000])
def test_sizes_that_cannot_be_drawn_are_refused(size: int) -> None:
    with pytest.raises(InputError, match="even picture size of 64-4096"):
        View.square(size)


@pytest.mark.parametrize(
    ("vertices", "message"),
    [
        (np.zeros((5, 3), np.float32), r"expected vertices of shape \(4, 3\); got \(5, 3\)"),
        (np.full((4, 3), np.nan, np.float32), "expected finite vertices"),
    ],
)
def test_vertices_that_do_not_fit_are_refused(vertices: np.ndarray, message: str) -> None:
    with Rasteriser(square(), View.square(128)) as rasteriser, pytest.raises(InputError, match=message):
        rasteriser.draw(vertices)


def test_a_mesh_whose_arrays_do_not_fit_is_refused() -> None:
    mesh = square()
    broken = Mesh(**{**vars(mesh), "triangles": mesh.triangles + 4})
    with pytest.raises(InputError, match="numbers 0-3 in the mesh's triangles"):
        Rasteriser(broken, View.square(128))


def test_a_wider_picture_shows_the_same_in_its_middle(head: Head) -> None:
    with (
        Rasteriser(head, View.square(192)) as narrow,
        Rasteriser(head, View(320, 192)) as wide,
    ):
        middle = wide.draw(head.vertices)[:, 64:256].astype(int)
        assert np.abs(middle - narrow.draw(head.vertices)).mean() < 0.05


def test_an_upright_picture_sees_the_angle_of_its_width(head: Head) -> None:
    with (
        Rasteriser(head, View.square(192)) as flat,
        Rasteriser(head, View(192, 256)) as upright,
    ):
        middle = upright.draw(head.vertices)[32:224]
        seen = flat.draw(head.vertices)
        drawn = (seen != background(192, 192)).any(axis=2)
        assert np.abs(middle.astype(int) - seen)[drawn].mean() < 1.0


def test_a_transparent_picture_over_a_colour_is_the_picture_before_that_colour(head: Head) -> None:
    clear, white = View.square(192, backdrop="transparent"), View.square(192, backdrop="#ffffff")
    with Rasteriser(head, clear) as first, Rasteriser(head, white) as second:
        seen = first.draw(head.vertices).astype(float)
        share = seen[..., 3:] / 255.0
        over = seen[..., :3] * share + 255.0 * (1.0 - share)
        assert seen.shape == (192, 192, 4)
        assert np.abs(over - second.draw(head.vertices)).max() <= 2.0
        assert seen[0, 0, 3] == 0 and seen[150, 96, 3] == 255
        assert len(np.unique(seen[..., 3])) == 5  # four samples a pixel


@pytest.mark.parametrize("backdrop", ["", "red", "#12345", "#12345g", "Studio"])
def test_a_backdrop_that_is_none_is_refused(backdrop: str) -> None:
    with pytest.raises(InputError, match="a backdrop"):
        View(backdrop=backdrop)


def test_an_orbit_keeps_the_distance_and_looks_from_the_right_and_from_above() -> None:
    turned = PORTRAIT.orbit(30.0, 20.0)
    distances = [np.linalg.norm(np.subtract(camera.position, camera.target)) for camera in (PORTRAIT, turned)]
    assert distances[1] == pytest.approx(distances[0])
    assert turned.position[0] > 0.3 and turned.position[1] > PORTRAIT.position[1] + 0.2
