"""The pages of a portrait's atlas: what a photograph shows of each part, and what it hides, made from around it.

Who is in the photograph is told by MediaPipe's selfie segmentation; what lies behind, under a lid or beside an iris is
smooth between what is seen around it. Teeth and tongue are the open head's, in the light on the person's skin.

>>> alpha = person(picture)                                # (height, width), 0-1
>>> behind = filled(picture, (alpha < 0.02).astype(float))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from avi_lib.face.head import Head
from avi_lib.models import ASSETS

MASK = ASSETS / "person_mask.tflite"
EYE_GROWN = (1.3, 1.8)  # how much wider and higher than the opening the eye with its lashes is
LID_ROWS = (0.0, 0.3, 0.6, 0.85, 1.0, 1.15)  # of a shut lid, from its upper end to where the lids meet, and beyond
LID_PX = 160  # width of the page of a shut lid, at least
LID_TONE = 0.2  # share of the skin's colour below the eye in that of the lid, whose own surroundings lie in shadow
LASH, LASHES = 0.06, 0.95  # width of the line that the lashes of a shut eye are, of the eye's; and how dark it is
CHEEKS = (50, 280, 205, 425)  # landmarks where the light on the face is read
CHEEK_RGB = np.array([205.0, 160.0, 138.0])  # of a cheek in the light of the studio that lights the mouth
MOUTH_LIGHT = 0.56  # share of that light that reaches the teeth
FEATHER = 0.035  # width of the face's soft edge, as a share of its width


class Landmarks(NamedTuple):
    """Numbers of the landmarks around the face, the eyes and irises (left, right), and of the inner lips."""

    oval: Sequence[int]
    eyes: tuple[Sequence[int], Sequence[int]]
    irises: tuple[Sequence[int], Sequence[int]]
    lips: tuple[Sequence[int], Sequence[int]]  # upper, lower
    lip_corners: tuple[int, int]


def resample(
    rgb: UInt8[np.ndarray, "H W 3"], onto: Float[np.ndarray, "2 3"], width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The part of a picture that the scale and shift `onto` (of pixel edges) bring into width x height."""
    scale = float(onto[0, 0])
    if scale < 1:  # a mean over what falls into a pixel
        rgb = cv2.GaussianBlur(rgb, (0, 0), 0.42 * np.sqrt(1 / scale**2 - 1) + 1e-3)
    centred = onto.copy()
    centred[:, 2] += 0.5 * scale - 0.5
    made: np.ndarray = cv2.warpAffine(
        rgb, centred, (width, height), flags=cv2.INTER_LINEAR if scale < 1 else cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return made


def polygon(points: Float[np.ndarray, "N 2"], width: int, height: int) -> UInt8[np.ndarray, "height width"]:
    """How much of each pixel lies within a polygon, 0-255; points in pixels from the upper left corner."""
    mask = np.zeros((height * 4, width * 4), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 4 - 0.5).astype(np.int32)], 255)
    covered: np.ndarray = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
    return covered


def _depth_in(outline: np.ndarray, size: np.ndarray) -> np.ndarray:
    """How many pixels deep each pixel lies within a polygon; negative outside."""
    inside = (polygon(outline, *map(int, size)) > 127).astype(np.uint8)
    deep: np.ndarray = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return deep


def filled(page: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A picture whose unknown parts are smooth between what is known around them: a pyramid, up and down again."""
    levels: list[tuple[Any, Any]] = [(page * known[..., None], known)]
    while min(levels[-1][1].shape) > 3:
        half = tuple(-(-extent // 2) for extent in levels[-1][1].shape[::-1])
        colours, shares = (cv2.resize(each, half, interpolation=cv2.INTER_AREA) for each in levels[-1])
        levels.append((colours, shares))
    colours, shares = levels[-1]
    made: Any = np.broadcast_to(colours.sum(axis=(0, 1)) / max(shares.sum(), 1e-6), colours.shape)
    for colours, shares in levels[::-1]:
        made = cv2.resize(np.ascontiguousarray(made), colours.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        share = np.clip(2 * shares, 0, 1)[..., None] if colours is not levels[0][0] else known[..., None]
        made = share * (colours / np.maximum(shares, 1e-6)[..., None]) + (1 - share) * made
    return made


def person(picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """How much of each pixel is of a person: MediaPipe's selfie segmentation, its edge drawn along the picture's own.

    The edge follows a guided filter (He, Sun and Tang 2010) over the picture's grey.
    """
    height, width = picture.shape[:2]
    network = cv2.dnn.readNetFromTFLite(str(MASK))
    network.setInput(cv2.dnn.blobFromImage(picture, 1 / 255, (256, 256)))
    rough = cv2.resize(np.squeeze(network.forward()).astype(np.float64), (width, height), interpolation=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) / 255.0
    side = 2 * round(min(width, height) / 100) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        blurred: np.ndarray = cv2.blur(values, (side, side))
        return blurred

    slope = (mean(grey * rough) - mean(grey) * mean(rough)) / (mean(grey * grey) - mean(grey) ** 2 + 1e-3)
    alpha = mean(slope) * grey + mean(mean(rough) - slope * mean(grey))
    sharp: np.ndarray = np.clip((alpha - 0.15) / 0.7, 0.0, 1.0)
    return sharp


def cut_out(picture: np.ndarray, behind: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person alone: colours that over what is behind them make the photograph again, and how opaque they are."""
    share = np.maximum(alpha, 0.2)[..., None]
    own = np.clip((picture - (1 - alpha[..., None]) * behind) / share, 0, 255)
    return np.round(np.dstack([own, 255 * alpha])).astype(np.uint8)


def face_page(picture: np.ndarray, oval: np.ndarray) -> np.ndarray:
    """The photograph, clear beyond the face's edge."""
    height, width = picture.shape[:2]
    within = polygon(oval, width, height)
    soft = FEATHER * np.ptp(oval[:, 0])
    away = cv2.distanceTransform((within > 127).astype(np.uint8), cv2.DIST_L2, 5)
    alpha = np.clip(away / soft, 0.0, 1.0)
    return np.dstack([picture, np.round(255 * alpha * alpha * (3 - 2 * alpha)).astype(np.uint8)])


def lid_page(
    picture: np.ndarray, eye: np.ndarray, upper: np.ndarray, rows: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """The colours of a shut lid between the corners `low` and `high` of the photograph; `rows` lie on it from above."""
    zoom = max(LID_PX / (high - low).max(), 1.0)
    extent = np.round(zoom * (high - low)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(count, dtype=np.float32) for count in extent)), axis=-1) + 0.5
    middle, wide = eye.mean(axis=0), float(np.linalg.norm(upper[0] - upper[-1]))
    known = 1 - polygon(zoom * ((eye - middle) * EYE_GROWN + middle - low), *map(int, extent)) / 255.0
    around: Any = cv2.remap(picture, (grid / zoom + low - 0.5).astype(np.float32), np.zeros(0), cv2.INTER_CUBIC)
    skin = filled(around, known)
    column, row = np.clip((middle + np.array([0, 0.6 * wide])).astype(int), 0, np.array(picture.shape[1::-1]) - 1)
    below_eye = cv2.GaussianBlur(picture, (0, 0), 0.15 * wide)[row, column]
    skin += LID_TONE * cv2.GaussianBlur(1 - known, (0, 0), 0.12 * zoom * wide)[..., None] * (below_eye - skin)

    rows, wide = zoom * (rows - low), zoom * wide
    meeting, down = rows[LID_ROWS.index(1.0)], np.array([0.0, wide])
    within = _depth_in(np.concatenate([rows[0], (meeting + down)[::-1]]), extent)
    above = _depth_in(np.concatenate([meeting, (rows[0] - down)[::-1]]), extent)
    opening = _depth_in(zoom * (eye - low), extent)
    covers = np.maximum(within / (0.27 * wide), 1.5 + opening / (0.1 * wide))
    alpha = np.clip(covers, 0, 1) * np.clip(1.6 + above / (0.05 * wide), 0, 1)
    share = (grid[..., 0] - meeting[1, 0]) / (meeting[-2, 0] - meeting[1, 0])
    lash = LASHES * np.exp(-((above / (LASH * wide)) ** 2)) * np.clip(6 * (0.5 - np.abs(share - 0.5)), 0, 1)
    seen = np.clip(upper[:, ::-1].astype(int), 0, np.array(picture.shape[:2]) - 1)
    tone = np.percentile(picture[tuple(seen.T)], 25, axis=0)
    page = np.dstack([skin + lash[..., None] * (tone - skin), 255 * alpha * alpha * (3 - 2 * alpha)])
    return np.clip(np.round(page), 0, 255).astype(np.uint8)


def eye_page(picture: np.ndarray, marks: np.ndarray, regions: Landmarks) -> np.ndarray:
    """The photograph with eyes whose lids are away: irises made whole, white carried on."""
    height, width = picture.shape[:2]
    page = picture.copy()
    rows, columns = np.mgrid[:height, :width] + 0.5
    for eye, iris in zip(regions.eyes, regions.irises, strict=True):
        contour = marks[list(eye), :2]
        middle = marks[list(iris), :2].mean(axis=0)
        radius = np.linalg.norm(marks[list(iris[1:]), :2] - middle, axis=1).mean()
        open_to = polygon((contour - contour.mean(axis=0)) * (0.94, 0.86) + contour.mean(axis=0), width, height) > 127
        far = np.hypot(columns - middle[0], rows - middle[1])
        white = open_to & (far > 1.15 * radius)
        reach = 3.0 * np.ptp(contour[:, 0])
        left, top = np.maximum((contour.mean(axis=0) - reach / 2).astype(int), 0)
        part = np.s_[top : top + int(reach), left : left + int(reach)]
        known = picture[part][white[part]].astype(np.float64)
        if len(known) < 4:
            known = np.array([[200.0, 195, 190]])
        light = known.mean(axis=1)
        tone = known[light >= np.percentile(light, 70)].mean(axis=0)
        filled = cv2.inpaint(picture[part], (~white[part]).astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.float64)
        off = cv2.distanceTransform((~white[part]).astype(np.uint8), cv2.DIST_L2, 5)[..., None] / max(radius, 1)
        filled = tone + (filled - tone) * np.exp(-off)
        seen = open_to & (far <= 1.15 * radius)
        disc = _whole_iris(picture, seen, middle, radius)
        share = np.clip((1.12 * radius - far) / max(0.16 * radius, 1.0), 0.0, 1.0)[part][..., None]
        made = share * disc[part] + (1 - share) * filled
        made[open_to[part]] = picture[part][open_to[part]]
        page[part] = np.clip(np.round(made), 0, 255)
    return page


def _whole_iris(picture: np.ndarray, seen: np.ndarray, middle: np.ndarray, radius: float) -> np.ndarray:
    """The picture with what lids hide of an iris filled: from the point opposite, or the mean at that radius."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width] + 0.5
    ring = np.minimum((np.hypot(columns - middle[0], rows - middle[1]) / radius * 6).astype(int), 7)
    made = picture.astype(np.float64)
    whole = picture[seen].mean(axis=0) if seen.any() else np.array([60.0, 50, 45])
    for number in range(8):
        members = seen & (ring == number)
        tone = picture[members].mean(axis=0) if members.sum() > 3 else whole
        made[(ring == number) & ~seen] = tone
    return made


def mouth_page(head: Head, picture: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """The open head's atlas at half its size, in the light that falls on the person's cheeks."""
    page: np.ndarray = cv2.resize(head.atlas, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(picture, (0, 0), max(np.ptp(marks[:, 0]) / 30, 1.0))
    places = np.clip(marks[list(CHEEKS), :2].astype(int), 0, np.array(picture.shape[1::-1]) - 1)
    light = (smooth[places[:, 1], places[:, 0]].mean(axis=0) / CHEEK_RGB) ** 2.2
    tone = light.mean() * (light / light.mean()) ** 0.5
    linear = (page / 255.0) ** 2.2 * np.clip(MOUTH_LIGHT * tone, 0.02, 2.0)
    tinted: np.ndarray = np.round(255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    return tinted
