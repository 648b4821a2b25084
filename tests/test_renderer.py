"""The renderer: it draws what geometry says, smooth at edges, and refuses what cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from jaxtyping import Float32, Int32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIAL_NAMES, PORTRAIT, Camera, View, background
from avi_lib.face.head import Head
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


def picture(mesh: Mesh | Head, view: View | None = None, vertices: np.ndarray | None = None) -> np.ndarray:
    with Rasteriser(mesh, view or View.square(128, AHEAD)) as rasteriser:
        return rasteriser.draw(mesh.vertices if vertices is None else vertices)


def test_each_pose_has_its_own_picture_whatever_was_drawn_before(head: Head) -> None:
    values = np.zeros((3, len(ARKIT)), np.float32)
    values[1, [ARKIT.index("jawOpen"), ARKIT.index("tongueOut")]] = 0.6
    values[2, [ARKIT.index("browDownLeft"), ARKIT.index("headYaw")]] = 0.5
    frames = head.deform(values)
    with Rasteriser(head, View.square(128)) as rasteriser:
        forth = [rasteriser.draw(vertices) for vertices in frames]
        back = [rasteriser.draw(vertices) for vertices in frames[::-1]][::-1]
    assert np.array_equal(forth, back)
    assert not np.array_equal(forth[0], forth[1]) and not np.array_equal(forth[1], forth[2])


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
        assert np.array_equal(picture(both)[64, 64], picture(replace(front, occlusion=bright))[64, 64])


def test_backs_are_hidden_for_skin_and_lit_like_fronts_for_cloth() -> None:
    assert np.array_equal(picture(square(flipped=True)), background(128, 128))
    front, back = picture(square(material="cloth")), picture(square(material="cloth", flipped=True))
    assert np.abs(front.astype(int) - back).max() <= 1


def test_occluded_surfaces_are_darker() -> None:
    closed = replace(square(), occlusion=np.full(4, 0.3, np.float32))
    assert picture(closed)[64, 64].mean() < 0.75 * picture(square())[64, 64].mean()


def test_the_face_is_neither_overexposed_nor_dark(head: Head) -> None:
    seen = picture(head, View.square(256))
    drawn = seen[(seen.astype(int) != background(256, 256)).any(axis=2)]
    assert (drawn.max(axis=1) >= 250).mean() < 0.01
    skin = seen[115:141, 110:146]  # the cheeks and the nose
    assert 120 < skin.mean() < 215
    assert skin[..., 0].mean() > skin[..., 2].mean() + 15


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


@pytest.mark.parametrize("view", [{"width": size} for size in (0, 63, 129, 5000)])
def test_sizes_that_cannot_be_drawn_are_refused(view: dict[str, int]) -> None:
    with pytest.raises(InputError, match="even picture size of 64-4096"):
        View(**view)


@pytest.mark.parametrize("backdrop", ["", "red", "#12345", "#12345g", "Studio"])
def test_a_backdrop_that_is_none_is_refused(backdrop: str) -> None:
    with pytest.raises(InputError, match="a backdrop"):
        View(backdrop=backdrop)


def test_meshes_and_vertices_that_do_not_fit_are_refused() -> None:
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
