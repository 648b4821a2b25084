"""What is drawn of a portrait, back to front: the backdrop, a sheet of hair, neck and shoulders; mouth, eyeballs, face.

All of it is one mesh of the open head's kind: its shapes, eyeballs and neck move it and the rasteriser draws it.
Face, eyeballs and sheet take their colours from the photograph as they are; teeth, tongue and the inside of the mouth
are the open head's, lit, in the tone of the person's skin.

>>> made = build(head, fit, own, picture, marks, irises, view, regions)      # the arrays of a `portrait.Portrait`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.interpolate import RBFInterpolator
from scipy.sparse import coo_array, diags_array
from scipy.spatial import cKDTree

from avi_lib.face.camera import MATERIAL_NAMES, View
from avi_lib.face.head import Head
from avi_lib.face.portrait_pages import (
    LID_ROWS,
    Landmarks,
    cut_out,
    eye_page,
    face_page,
    filled,
    lid_page,
    mouth_page,
    person,
    polygon,
)  # fmt: skip
from avi_lib.motion.clip import ARKIT

PICTURED, LIPS, EYE, TEETH, TONGUE = (MATERIAL_NAMES.index(name) for name in ("skin", "lips", "eye", "teeth", "tongue"))
CELLS = 56  # cells of the sheet along the shorter side
INNER_M = 0.0025  # what lies so far behind the seen surface of the lips belongs to the inside of the mouth
REACH_M = {"up": 0.26, "side": 0.17, "down": 0.06}  # from the face's edge to where nothing moves with the head
LID_M = 0.004  # how far it lies before what it covers
LID_SLIDES = 0.5  # share of its way that the photograph's own lid goes beneath it
SEALED_M = 0.006  # how far from the line between the lips what closes their gaps is felt
STIFFNESS = (1.0, 100.0)  # of the thin plate across the face, and of its depth, against the noise of landmarks
BEHIND_M = 0.005  # how much deeper eyeballs and teeth lie than the open head's, so that no lid or lip cuts into them
UPPER_DOWN_M, LOWER_UP_M, LOWER_BEHIND_M = 0.002, 0.004, 0.0015
"""How much nearer to each other than the open head's the rows of teeth are (speech shows both), the lower behind."""
SPREAD_M = 0.035  # how far beyond the face's edge its expression is felt


LIGHT = (0.0, 0.5, 0.866)  # towards what lights the skin: above and before the face
DIFFUSE = 0.35  # share of the light that comes from all sides
CREASED = 0.35  # power of the area left to pressed skin that its light follows: it folds, and folds lie in shadow
SOFTENED = 2  # times that the light of a vertex is the mean over its neighbours
RATIO = (0.7, 1.3)  # bounds of the change of light
UNSEEN = 0.004  # up to which it is left out, as no grey changes by it
DEEP = ((0.04, 0.16), (0.0, -0.05), (-0.005, -0.045), (-0.005, -0.045))
"""How deep within the face's edge, the mouth and the eyes, in widths of the face, no change and all of it shows."""


# Geometry of one picture.


def project(points: Float[np.ndarray, "N 3"], view: View) -> Float[np.ndarray, "N 2"]:
    """Column and row, in pixels from the upper left corner, of points in the world."""
    clip = np.column_stack([points, np.ones(len(points))]) @ view.matrix().astype(np.float64).T
    places: np.ndarray = (clip[:, :2] / clip[:, 3:] + 1) / 2 * (view.width, view.height)
    return places


def unproject(
    pixels: Float[np.ndarray, "N 2"], depth_m: Float[np.ndarray, " N"], view: View
) -> Float[np.ndarray, "N 3"]:
    """The points of the world that pixels show at the z coordinates `depth_m`."""
    rays = view.camera.rays(view.width, view.height).astype(np.float64)
    towards = rays[0] + pixels[:, :1] * rays[1] + pixels[:, 1:] * rays[2]
    position = np.asarray(view.camera.position)
    points: np.ndarray = position - ((position[2] - depth_m) / towards[:, 2])[:, None] * towards
    return points


def facing(vertices: np.ndarray, triangles: np.ndarray, view: View) -> Bool[np.ndarray, " T"]:
    """Which triangles turn their outside to the camera."""
    turned: np.ndarray = _area(project(vertices, view), triangles) < 0
    return turned


def surface(
    pixels: Float[np.ndarray, "V 2"], depth_m: np.ndarray, triangles: np.ndarray, places: Float[np.ndarray, "N 2"]
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """The nearest surface's z coordinate at places of the picture, and whether there is one."""
    a, b, c = (pixels[triangles[:, corner]] for corner in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    found = np.full(len(places), -np.inf)
    for number, place in enumerate(places):
        to = place - a
        wb = (to[:, 0] * (c - a)[:, 1] - to[:, 1] * (c - a)[:, 0]) / area
        wc = ((b - a)[:, 0] * to[:, 1] - (b - a)[:, 1] * to[:, 0]) / area
        within = (wb >= -1e-6) & (wc >= -1e-6) & (wb + wc <= 1 + 1e-6)
        if within.any():
            corners = depth_m[triangles[within]]
            at = (
                corners[:, 0]
                + wb[within] * (corners[:, 1] - corners[:, 0])
                + wc[within] * (corners[:, 2] - corners[:, 0])
            )
            found[number] = at.max()
    return np.where(np.isfinite(found), found, 0.0), np.isfinite(found)


# From the open head to the person.


class Fit:
    """Carries points of the open head, in the expression of the photograph, over to the person.

    A similarity, and on it a thin plate through the landmarks over the plane of the face (Bookstein 1989), so that what
    lies behind the skin goes with the skin before it, and what meets on the open head meets on the person.
    """

    def __init__(
        self, posed: np.ndarray, target: np.ndarray, scale: float, rotation: np.ndarray, shift: np.ndarray
    ) -> None:
        self.posed, self.target, self.shift = posed, target, shift
        self.rotation = scale * rotation
        off = (target - self.similar(posed)) @ rotation
        self._across, self._ahead = (
            RBFInterpolator(100 * posed[:, :2], part, kernel="thin_plate_spline", smoothing=stiffness, degree=1)
            for part, stiffness in zip((off[:, :2], off[:, 2:]), STIFFNESS, strict=True)
        )
        self._turn = rotation

    def similar(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points carried over by the similarity alone."""
        carried: np.ndarray = points @ self.rotation.T + self.shift
        return carried

    def __call__(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points of the open head, on the person."""
        places = 100 * points[:, :2]
        off = np.concatenate([self._across(places), self._ahead(places)], axis=1)
        carried: np.ndarray = self.similar(points) + off @ self._turn.T
        return carried


class Piece(NamedTuple):
    """A part of the mesh: at rest, moved by the shapes, seen at `uv` of a page of the atlas."""

    vertices: np.ndarray
    shapes: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    occlusion: np.ndarray
    head_weight: np.ndarray
    material: int | np.ndarray


def build(
    head: Head, fit: Fit, own: Float[np.ndarray, " shapes"], picture: UInt8[np.ndarray, "H W 3"],
    marks: Float[np.ndarray, "478 3"], irises: Float[np.ndarray, "2 3"], vertices: np.ndarray, view: View,
    regions: Landmarks,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The arrays of a portrait.

    Args:
        head: the open head.
        fit: what carries it over to the person.
        own: its weights for the expression of the photograph.
        picture: the photograph as it is shown.
        marks: its landmarks in these pixels.
        irises: middles of the irises on the open head at rest.
        vertices: the open head's vertex beside each landmark.
        view: the photograph's camera.
        regions: which landmark is what.
    """
    height, width = picture.shape[:2]
    size = np.array([width, height])
    oval = marks[list(regions.oval), :2]
    head = replace(head, shapes=_drawn_lids(head))
    face, inside = _parts_of_face(head, fit, oval, view)
    skin = _face_piece(head, fit, own, face, view, size)
    mouth = _mouth_piece(head, fit, inside, regions)
    eyes, centres = zip(
        *(_eye_piece(head, fit, side, marks, irises, view, regions, size) for side in range(2)), strict=True
    )
    alpha = person(picture)
    clear = filled(picture, (cv2.dilate(alpha, np.ones((5, 5))) < 0.02).astype(np.float64))
    behind = np.clip(np.round(clear), 0, 255).astype(np.uint8)
    sheet, moves = _sheet_piece(skin, oval, view, alpha)
    pages = [
        cut_out(picture, behind, alpha), face_page(picture, oval), eye_page(picture, marks, regions),
        mouth_page(head, picture, marks),
    ]  # fmt: skip
    lids, lid_pages = zip(
        *(
            _lid_piece(head, fit, side, vertices, (skin, eyes[side]), picture, marks, view, regions)
            for side in range(2)
        ),
        strict=True,
    )
    made = _join([*eyes, skin, *lids, mouth, sheet], [2, 2, 1, 4, 5, 3, 0], [*pages, *lid_pages]) | _rest(
        head, fit, picture, np.where(moves[..., None], behind, picture), marks, regions
    )
    first = sum(len(eye.vertices) for eye in eyes)
    made |= _seal(skin, np.unique(face), vertices, regions, first)
    made["relit"] = np.zeros(len(made["vertices"]), np.float32)
    made["relit"][first : first + len(skin.vertices)] = _relit(skin, own, marks, view, regions)
    return {**made, "eye_centres": np.stack(centres).astype(np.float32)}


def _rest(
    head: Head, fit: Fit, picture: np.ndarray, behind: np.ndarray, marks: np.ndarray, regions: Landmarks
) -> dict[str, np.ndarray]:
    """Where the neck bends, and the backdrop: what is behind the person, and the dark behind the lips."""
    height, width = picture.shape[:2]
    backdrop = behind.copy()
    corners = marks[list(regions.lip_corners), :2]
    middle, wide = corners.mean(axis=0), np.linalg.norm(corners[0] - corners[1])
    turns = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    hole = middle + np.stack([0.85 * np.cos(turns), 0.1 + 0.6 * np.sin(turns)], axis=1) * wide
    lips = picture[
        tuple(np.clip(marks[[each[4] for each in regions.lips], 1::-1].astype(int), 0, (height - 1, width - 1)).T)
    ]
    backdrop[polygon(hole, width, height) > 127] = 0.3 * lips.mean(axis=0)
    return {"pivot": fit.similar(head.pivot[None])[0].astype(np.float32), "backdrop": backdrop}


def _parts_of_face(head: Head, fit: Fit, oval: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the face with its lids and lips, and those inside the mouth, which closed lips hide."""
    skin = head.triangles[head.material <= 1]
    vertices = head.vertices.astype(np.float64)
    members = np.unique(skin)
    places = project(fit.similar(vertices), view)
    fitted = np.full((len(vertices), 2), -1e6)
    front = members[vertices[members, 2] > -0.09]
    fitted[front] = project(fit(vertices[front]), view)
    outline = oval.astype(np.float32).reshape(-1, 1, 2)
    within = np.zeros(len(vertices), bool)
    within[front] = [cv2.pointPolygonTest(outline, tuple(map(float, at)), False) >= 0 for at in fitted[front]]
    near = vertices[:, 2] > -0.062
    lips = vertices[np.unique(head.triangles[head.material == LIPS])]
    low, high = lips.min(axis=0), lips.max(axis=0)
    beside = ((vertices >= low) & (vertices <= high)).all(axis=1)
    behind = (np.abs(vertices[:, 0]) < high[0] + 0.007) & (vertices[:, 1] < -0.04) & (vertices[:, 1] > -0.098)
    behind &= near & (vertices[:, 2] < low[2])
    asked = np.flatnonzero((beside | behind) & np.isin(np.arange(len(vertices)), members))
    outer = skin[facing(fit.similar(vertices), skin, view)]
    depth_m, _ = surface(places, vertices[:, 2], outer, places[asked])
    hidden = np.zeros(len(vertices), bool)
    hidden[asked] = depth_m - vertices[asked, 2] > INNER_M
    inner = hidden[skin].all(axis=1)
    return skin[within[skin].all(axis=1) & near[skin].all(axis=1) & ~inner], skin[inner]


def _drawn_lids(head: Head) -> np.ndarray:
    """The open head's shapes with a blink that only slides the skin around the eye: `_lid_piece` draws the lids."""
    shapes = head.shapes.copy()
    for side in ("Left", "Right"):
        blink, squint = ARKIT.index(f"eyeBlink{side}"), ARKIT.index(f"eyeSquint{side}")
        shapes[blink] = LID_SLIDES * head.shapes[blink] + 0.25 * head.shapes[squint]
    return shapes


def _area(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    area: np.ndarray = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return area


def _face_piece(head: Head, fit: Fit, own: np.ndarray, triangles: np.ndarray, view: View, size: np.ndarray) -> Piece:
    """The face with its lids and lips, coloured by where it lies in the photograph."""
    members, local = np.unique(triangles, return_inverse=True)
    rest = head.vertices[members].astype(np.float64)
    vertices = fit(rest)
    shapes = np.zeros((len(head.shapes), len(members), 3))
    for number, shape in enumerate(head.shapes[:, members].astype(np.float64)):
        moved = np.flatnonzero(np.abs(shape).max(axis=1) > 2e-5)
        if len(moved):
            shapes[number, moved] = fit(rest[moved] + shape[moved]) - vertices[moved]
    shown = fit(rest + np.tensordot(own, head.shapes[:, members], axes=1))
    ones = np.ones(len(members))
    return Piece(vertices, shapes, local.reshape(-1, 3), project(shown, view) / size, ones, ones, PICTURED)


def _lid_piece(
    head: Head, fit: Fit, side: int, vertices: np.ndarray, covered: Sequence[Piece], picture: np.ndarray,
    marks: np.ndarray, view: View, regions: Landmarks,
) -> tuple[Piece, np.ndarray]:  # fmt: skip
    """The upper lid as a curtain: rolled up at its edge while the eye is open, drawn over the eye by a blink.

    No photograph shows a lid's skin while it is folded; the curtain has the colours around the eye, and the lashes.
    """
    eye = list(regions.eyes[side])
    lower, upper = eye[:9], [eye[0], *eye[:8:-1], eye[8]]  # from the outer corner to the inner
    if side == 0:
        lower, upper = lower[::-1], upper[::-1]
    rest = head.vertices[vertices[upper]].astype(np.float64)
    felt = np.stack([fit(rest + shape) - fit(rest) for shape in head.shapes[:, vertices[upper]].astype(np.float64)])
    edge, bottom = fit.target[upper], fit.target[lower]
    wide = np.linalg.norm(edge[0] - edge[-1]) * np.array([0.0, 1.0, 0.0])
    rise = 0.1 + 0.2 * np.sin(np.pi * np.linspace(0, 1, len(edge)))[:, None] ** 0.3
    top = edge + 0.4 * (edge - bottom) + rise * wide
    edge, top, bottom = (_longer(each, 0.14) for each in (edge, top, bottom))
    drawn = np.stack([top + (bottom - top) * down for down in LID_ROWS])

    blink = ARKIT.index(f"eyeBlink{('Left', 'Right')[side]}")
    places = project(drawn.reshape(-1, 3), view)
    depth_m = drawn[..., 2].ravel()
    for piece in covered:
        seen = piece.triangles[facing(piece.vertices, piece.triangles, view)]
        for points in (piece.vertices, piece.vertices + piece.shapes[blink]):
            found, hit = surface(project(points, view), points[:, 2], seen, places)
            depth_m = np.where(hit, np.maximum(found, depth_m), depth_m)
    drawn = unproject(places, depth_m + LID_M, view).reshape(drawn.shape)
    edge = unproject(project(edge, view), edge[:, 2] + 1.5 * LID_M, view)
    shapes = np.repeat(_longer(felt, 0.0)[:, None], len(drawn), axis=1)
    shapes[blink] = drawn - edge

    low, high = places.min(axis=0) - 1, places.max(axis=0) + 1
    rows = places.reshape(len(drawn), len(edge), 2)
    page = lid_page(picture, marks[eye, :2], marks[upper, :2], rows, low, high)
    ones, triangles = np.ones(len(places)), _net(len(drawn), len(edge))
    rolled = np.broadcast_to(edge, drawn.shape).reshape(-1, 3)
    uv = (places - low) / (high - low)
    return Piece(rolled, shapes.reshape(len(shapes), -1, 3), triangles, uv, ones, ones, PICTURED), page


def _net(rows: int, columns: int) -> np.ndarray:
    """Triangles of a net of vertices that lie row by row."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, below = corner + 1, corner + columns
    return np.concatenate([np.stack([corner, below, right], 1), np.stack([right, below, below + 1], 1)])


def _longer(points: np.ndarray, share: float) -> np.ndarray:
    """A row of points (..., N, 3) with one more at either end, on the line through the ends."""
    first, last = points[..., :1, :], points[..., -1:, :]
    longer: np.ndarray = np.concatenate(
        [first + share * (first - last), points, last + share * (last - first)], axis=-2
    )
    return longer


def _seal(
    skin: Piece, members: np.ndarray, vertices: np.ndarray, regions: Landmarks, first: int
) -> dict[str, np.ndarray]:
    """What closes small gaps of the lips: pairs of vertices that meet, and what follows each of them by how much."""
    pairs = vertices[np.array(regions.lips)]
    pairs = np.searchsorted(members, pairs[:, np.isin(pairs, members).all(axis=0)])
    upper, lower = skin.vertices[pairs]
    middle, points = (upper + lower) / 2, skin.vertices
    across = np.exp(-(((points[:, None, 0] - middle[:, 0]) / SEALED_M) ** 2))
    reach = across.max(axis=1, keepdims=True)
    across /= np.maximum(across.sum(axis=1, keepdims=True), 1e-6)
    reach *= np.exp(-(((points[:, 1] - across @ middle[:, 1]) / SEALED_M) ** 2))[:, None]
    drop = skin.shapes[ARKIT.index("jawOpen"), :, 1]
    side = np.where(drop < across @ (drop[pairs[0]] + drop[pairs[1]]) / 2, 0.5, -0.5)
    shares = side[:, None] * reach * across
    followers = np.flatnonzero(np.abs(shares).max(axis=1) > 0.01)
    return {
        "lip_pairs": (first + pairs).astype(np.int32),
        "lip_followers": (first + followers).astype(np.int32),
        "lip_shares": shares[followers].astype(np.float32),
    }


def _mouth_piece(head: Head, fit: Fit, inside: np.ndarray, regions: Landmarks) -> Piece:
    """Teeth, tongue and the inside of the mouth: the open head's, as wide as the person's mouth and at its place."""
    kinds = np.isin(head.material, (TEETH, TONGUE))
    triangles = np.concatenate([head.triangles[kinds], inside])
    material = np.concatenate([head.material[kinds], np.full(len(inside), TONGUE)])
    members, local = np.unique(triangles, return_inverse=True)
    rest = head.vertices[members].astype(np.float64)
    corners, lips = list(regions.lip_corners), [each[4] for each in regions.lips]
    wide = [
        np.linalg.norm(points[corners[0]] - points[corners[1]]) for points in (fit.posed @ fit.rotation.T, fit.target)
    ]
    grown = float(np.clip(wide[1] / wide[0], 0.75, 1.25))
    middle = fit.similar(fit.posed[lips + corners]).mean(axis=0)
    offset = fit.target[lips + corners].mean(axis=0) - middle

    def placed(points: np.ndarray) -> np.ndarray:
        carried: np.ndarray = (fit.similar(points) - middle) * grown + middle + offset
        return carried

    vertices = placed(rest) - (0, 0, BEHIND_M)
    teeth = np.isin(members, np.unique(head.triangles[head.material == TEETH]))
    drop = head.shapes[ARKIT.index("jawOpen"), members, 1]
    lower = teeth & (drop < drop[teeth].min() / 2)
    vertices[teeth & ~lower] -= (0.0, grown * UPPER_DOWN_M, 0.0)
    vertices[lower] += (0.0, grown * LOWER_UP_M, -LOWER_BEHIND_M)
    behind = np.isin(members, np.unique(inside))
    front = head.vertices[np.unique(head.triangles[head.material == LIPS]), 2].max()
    share = np.where(behind, np.clip((front - 0.006 - rest[:, 2]) / 0.022, 0.0, 1.0), 1.0)[:, None]
    vertices = share * vertices + (1 - share) * fit(rest)
    shapes = head.shapes[:, members].astype(np.float64) @ (grown * fit.rotation.T)
    ones = np.ones(len(members))
    tongue = np.isin(members, np.unique(head.triangles[head.material == TONGUE]))
    occlusion = np.maximum(head.occlusion[members], np.where(tongue, 0.5, 0.12))
    uv = head.uv[members].astype(np.float64)
    return Piece(vertices, shapes, local.reshape(-1, 3), uv, occlusion, ones, material)


def _eye_piece(
    head: Head, fit: Fit, side: int, marks: np.ndarray, irises: np.ndarray, view: View, regions: Landmarks,
    size: np.ndarray,
) -> tuple[Piece, np.ndarray]:  # fmt: skip
    """An eyeball behind the lids, coloured by where it lies in the photograph without lids; and its centre."""
    balls = head.eyeballs[side]
    triangles = head.triangles[(head.material == EYE) & np.isin(head.triangles, balls).all(axis=1)]
    members, local = np.unique(triangles, return_inverse=True)
    rest = head.vertices[members].astype(np.float64)
    eye = list(regions.eyes[side])
    around = fit.target[eye].mean(axis=0)
    iris = marks[list(regions.irises[side]), :2].mean(axis=0)
    front = unproject(iris[None], np.array([around[2]]), view)[0]
    offset = front - fit.similar(irises[[side]])[0] - (0, 0, BEHIND_M)
    vertices, centre = fit.similar(rest) + offset, fit.similar(head.eye_centres[[side]])[0] + offset
    shapes = np.zeros((len(head.shapes), len(members), 3))
    ones, uv = np.ones(len(members)), project(vertices, view) / size
    return Piece(vertices, shapes, local.reshape(-1, 3), uv, ones, ones, PICTURED), centre


def _sheet_piece(
    face: Piece, oval: np.ndarray, view: View, alpha: Float[np.ndarray, "H W"]
) -> tuple[Piece, Bool[np.ndarray, "H W"]]:
    """Hair, ears, neck and shoulders around the face: a net that follows its edge and fades to rest; where it lies."""
    size = np.array(alpha.shape[::-1])
    step = size.min() / CELLS
    counts = np.ceil(size / step).astype(int)
    columns, rows = (np.linspace(0, extent, count + 1) for extent, count in zip(size, counts, strict=True))
    nodes = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    triangles = _net(len(rows), len(columns))
    outline = oval.astype(np.float32).reshape(-1, 1, 2)
    inside = np.array([cv2.pointPolygonTest(outline, tuple(map(float, node)), True) for node in nodes])
    m_a_pixel = 2 * np.tan(np.radians(view.camera.fov_deg) / 2) * view.camera.position[2] / size.min()
    away = np.maximum(-inside, 0.0) * m_a_pixel

    pixels = face.uv * size
    edge = np.array([cv2.pointPolygonTest(outline, tuple(map(float, at)), True) for at in pixels])
    border = np.flatnonzero((edge < 2.5 * step) & (edge > -1))
    far, nearest = cKDTree(pixels[border]).query(nodes, k=12)
    share = 1 / (far + 0.5 * step) ** 2
    share /= share.sum(axis=1, keepdims=True)
    of = border[nearest]
    depth_m = (share * face.vertices[of, 2]).sum(axis=1) - 0.7 * away - 0.0015
    vertices = unproject(nodes, np.maximum(depth_m, -0.11), view)
    felt = np.exp(-((away / SPREAD_M) ** 2))[:, None]
    shapes = np.einsum("nk,snkd->snd", share, face.shapes[:, of]) * felt

    middle = oval.mean(axis=0)
    towards = (nodes - middle) / np.maximum(np.linalg.norm(nodes - middle, axis=1, keepdims=True), 1e-6)
    upright = -towards[:, 1]
    reach = np.where(upright > 0, REACH_M["up"], REACH_M["down"]) * upright**2 + REACH_M["side"] * (1 - upright**2)
    left = np.clip(1 - away / reach, 0.0, 1.0)
    rim = np.clip(np.minimum(nodes, size - nodes).min(axis=1) / size.min() / 0.06 - 0.75, 0.0, 1.0)
    rim = rim * rim * (3 - 2 * rim)
    weight = left * left * (3 - 2 * left) * rim
    shapes *= rim[None, :, None]
    cells = np.round(nodes).astype(np.int32)
    there = cv2.dilate(alpha, np.ones((round(step), round(step))))[tuple(np.minimum(cells, size - 1).T[::-1])] > 0.01
    kept = (weight[triangles].max(axis=1) > 0) & (inside[triangles].min(axis=1) < 2.2 * step)
    kept &= there[triangles].any(axis=1)
    moves: Any = np.zeros(alpha.shape, np.uint8)
    for corners in cells[triangles[kept]]:
        cv2.fillConvexPoly(moves, corners, 1)
    cv2.fillPoly(moves, [np.round(oval).astype(np.int32)], 1)
    moves = cv2.erode(moves, np.ones((5, 5)))
    members, local = np.unique(triangles[kept], return_inverse=True)
    ones = np.ones(len(members))
    piece = Piece(
        vertices[members], shapes[:, members], local.reshape(-1, 3), nodes[members] / size, ones, weight[members],
        PICTURED,
    )  # fmt: skip
    return piece, moves > 0


def _join(pieces: Sequence[Piece], page_of: Sequence[int], pages: Sequence[np.ndarray]) -> dict[str, Any]:
    """One mesh of the pieces, and one atlas of the pages side by side."""
    high = -(-max(page.shape[0] for page in pages) // 4) * 4
    lefts = np.cumsum([0, *(page.shape[1] for page in pages)])
    wide = -(-int(lefts[-1]) // 4) * 4
    atlas, alpha = np.zeros((high, wide, 3), np.uint8), np.full((high, wide), 255, np.uint8)
    for left, page in zip(lefts[:-1], pages, strict=True):
        part = np.s_[: page.shape[0], left : left + page.shape[1]]
        atlas[part] = page[..., :3]
        if page.shape[2] == 4:
            alpha[part] = page[..., 3]
    uv, triangles, material, first = [], [], [], 0
    for piece, number in zip(pieces, page_of, strict=True):
        page = pages[number]
        uv.append((piece.uv * page.shape[1::-1] + (lefts[number], 0)) / (wide, high))
        triangles.append(piece.triangles + first)
        material.append(np.broadcast_to(piece.material, len(piece.triangles)))
        first += len(piece.vertices)
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    eyes = [np.arange(starts[side], starts[side + 1], dtype=np.int32) for side in range(2)]
    vertices = np.concatenate([piece.vertices for piece in pieces]).astype(np.float32)
    return {
        "vertices": vertices,
        "shapes": np.concatenate([piece.shapes for piece in pieces], axis=1).astype(np.float32),
        "triangles": np.concatenate(triangles).astype(np.int32),
        "uv": np.concatenate(uv).astype(np.float32),
        "weld": np.arange(len(vertices), dtype=np.int32),
        "material": np.concatenate(material).astype(np.uint8),
        "occlusion": np.concatenate([piece.occlusion for piece in pieces]).astype(np.float32),
        "head_weight": np.concatenate([piece.head_weight for piece in pieces]).astype(np.float32),
        "left_eyeball": eyes[0],
        "right_eyeball": eyes[1],
        "atlas": atlas,
        "alpha": alpha,
    }


# Light on the skin.


def _relit(
    skin: Piece, own: np.ndarray, marks: np.ndarray, view: View, regions: Landmarks
) -> Float32[np.ndarray, " members"]:
    """How much of a change of light each vertex of the face shows: all of the skin, nothing of edges, lips and eyes."""
    places = project(skin.vertices + np.tensordot(own, skin.shapes, axes=1), view)
    upper, lower = regions.lips
    mouth = [regions.lip_corners[0], *upper, regions.lip_corners[1], *lower[::-1]]
    share, wide = np.ones(len(places), np.float32), np.ptp(marks[list(regions.oval), 0])
    for line, (none, all_of_it) in zip((regions.oval, mouth, *regions.eyes), DEEP, strict=True):
        contour = marks[list(line), :2].astype(np.float32)
        depth = np.array([cv2.pointPolygonTest(contour, tuple(map(float, at)), True) for at in places]) / wide
        part = np.clip((depth - none) / (all_of_it - none), 0, 1)
        share *= part * part * (3 - 2 * part)
    return share


class Creases:
    """How the light on the skin changes as it moves: an expression ratio (Liu, Shan and Zhang 2001).

    What the face with an expression scatters, by the slopes of its skin and by how far that is pressed together,
    divided by what it scatters in the photograph. Turns of the head change nothing.

    Args:
        portrait: a `portrait.Portrait`.
        shown: its vertices in metres as they are in the photograph.
    """

    def __init__(self, portrait: Any, shown: Float32[np.ndarray, "V 3"]) -> None:
        self._triangles = portrait.triangles[(portrait.relit[portrait.triangles] > 0).any(axis=1)]
        self._members, corner = np.unique(self._triangles, return_inverse=True)
        of, count = np.repeat(np.arange(len(self._triangles)), 3), len(self._members)
        self._around = coo_array((np.ones(len(of)), (corner.ravel(), of))).tocsr()
        near = self._around @ self._around.T
        near = diags_array(1 / near.sum(axis=1)) @ near
        self._soft = diags_array(portrait.relit[self._members].astype(np.float64)).tocsr()
        for _ in range(SOFTENED):
            self._soft = self._soft @ near
        skull = (np.abs(portrait.shapes).max(axis=(0, 2)) < 1e-6) & (portrait.head_weight == 1)
        skull[np.concatenate(portrait.eyeballs)] = False
        self._skull, arms = np.flatnonzero(skull), portrait.vertices[skull].astype(np.float64)
        self._arms = np.linalg.pinv(arms - arms.mean(axis=0))
        self._usual = np.zeros((2, count))
        self._usual = self._lit(shown)

    def _lit(self, vertices: Float32[np.ndarray, "V 3"]) -> Float[np.ndarray, "2 members"]:
        """Logarithms of the light that is scattered and of the area around each vertex."""
        skull = vertices[self._skull].astype(np.float64)
        light = np.array(LIGHT) @ (self._arms @ (skull - skull.mean(axis=0)))
        a, b, c = vertices[self._triangles].astype(np.float64).transpose(1, 0, 2)
        slopes = np.cross(b - a, c - a)
        normals, areas = self._around @ slopes, self._around @ np.linalg.norm(slopes, axis=1)
        facing = normals @ light / np.linalg.norm(normals, axis=1)
        lit: np.ndarray = np.log([DIFFUSE + (1 - DIFFUSE) * np.maximum(facing, 0), areas])
        return lit

    def __call__(self, vertices: Float32[np.ndarray, "V 3"]) -> Float32[np.ndarray, " V"]:
        """By how much each vertex (metres) is lighter than in the photograph, as a share."""
        light, area = self._lit(vertices) - self._usual
        ratio = np.clip(np.exp(self._soft @ (light + CREASED * np.minimum(area, 0))), *RATIO) - 1
        lighter = np.zeros(len(vertices), np.float32)
        lighter[self._members] = np.sign(ratio) * np.maximum(np.abs(ratio) - UNSEEN, 0)
        return lighter
