"""An independent judge of emotion: what a network that saw photographs of people only says of rendered faces.

>>> judge = load_judge()
>>> shares = judge.judge(pictures, face_boxes(head, motion.values, size=320))     # (pictures, 7)
>>> EXPRESSIONS[shares.mean(axis=0).argmax()]
'happy'

Nothing of this project was trained with the judge or by it, so that what it recognises was not made for it. It knows
seven expressions; calm, contempt and boredom are none of them. How far to trust it: see `PUBLISHED`, and
`neutral_share` for what it says of real videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8

from avi_lib.assets.manifest import load_manifest
from avi_lib.assets.resolver import resolve
from avi_lib.corpus.landmarker import FaceFollower
from avi_lib.corpus.video import Footage
from avi_lib.errors import InputError
from avi_lib.evaluation.expression_network import EXPRESSIONS, SHIPPED_JUDGE, SIDE, ExpressionNetwork, load_network
from avi_lib.face.camera import PORTRAIT
from avi_lib.face.head import Head

PUBLISHED = "66 % of the photographs of FER-2013, seven expressions (published: Arriaga et al. 2017; not measured here)"
MARGINS = (1.0, 1.1, 1.2)
"""Sides of the squares that are cut out, in sides of the face's box. The network tells one crop from another, so that
several, each also mirrored, are judged and averaged."""
LANDMARKS = 0.82
"""Share of the height of a head's region `face`, from the chin, that the landmarks of face trackers cover."""

_BATCH = 64


@dataclass(frozen=True, eq=False)
class Judge:
    """The network, where its weights come from and under which licence."""

    network: ExpressionNetwork
    reason: str
    licence: str

    def judge(
        self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], boxes: Float[np.ndarray, "pictures 4"]
    ) -> Float32[np.ndarray, "pictures expressions"]:
        """Probabilities of `EXPRESSIONS` for the face in every picture.

        boxes: left, top, right and bottom of each face in pixels; InputError when there is not one for each picture.
        """
        if len(pictures) != len(boxes):
            got = f"{len(pictures)} pictures and {len(boxes)} boxes"
            raise InputError("a box for every picture", got, "leave out pictures without a face")
        if not pictures:
            return np.zeros((0, len(EXPRESSIONS)), np.float32)
        views = np.stack([cut for pair in zip(pictures, boxes, strict=True) for cut in _views(*pair)])
        faces = torch.from_numpy(views)[:, None]
        shares = torch.cat([self.network(faces[first : first + _BATCH]) for first in range(0, len(faces), _BATCH)])
        return np.asarray(shares.unflatten(0, (len(pictures), -1)).mean(dim=1).numpy())


def load_judge(path: Path | None = None) -> Judge:
    """The judge with the shipped weights, or with those of a path; InputError for other weights."""
    if path is not None:
        return Judge(load_network(path), f"weights of {path}", "that of your own copy")
    [shipped] = (asset for asset in load_manifest().shipped if asset.path == SHIPPED_JUDGE)
    return Judge(load_network(), "shipped weights", shipped.licence)


def face_boxes(head: Head, values: Float[np.ndarray, "frames channels"], size: int) -> Float32[np.ndarray, "frames 4"]:
    """Boxes of the face in pictures of a head by the portrait camera: left, top, right, bottom in pixels.

    They reach from the chin up to where the landmarks of a face tracker end, so that renders and photographs are cut
    alike: on the open head MediaPipe's box is 127 pixels high of 320, this one too.
    """
    matrix, members = PORTRAIT.matrix(), head.regions["face"]
    boxes = []
    for vertices in head.deform(values)[:, members]:
        clip = np.concatenate([vertices, np.ones((len(vertices), 1), np.float32)], axis=1) @ matrix.T
        at = (clip[:, :2] / clip[:, 3:] + 1) / 2 * size
        (left, top), (right, bottom) = at.min(axis=0), at.max(axis=0)
        boxes.append((left, bottom - LANDMARKS * (bottom - top), right, bottom))
    return np.array(boxes, np.float32)


def confusion(
    asked: Sequence[str], shares: Float[np.ndarray, "faces expressions"], emotions: Sequence[str]
) -> Int[np.ndarray, "emotions expressions"]:
    """How many faces of each asked emotion (row) the judge takes for each expression (column)."""
    counts = np.zeros((len(emotions), len(EXPRESSIONS)), int)
    for emotion, said in zip(asked, shares.argmax(axis=1), strict=True):
        counts[list(emotions).index(emotion), said] += 1
    return counts


def known(asked: Sequence[str]) -> list[bool]:
    """Which asked emotions are expressions that the judge knows."""
    return [emotion in EXPRESSIONS for emotion in asked]


def judge_video(judge: Judge, video: Path, step: int = 5) -> Float32[np.ndarray, "pictures expressions"]:
    """Probabilities for every `step`-th picture of a real video in which a face is followed.

    Raises InputError when it is no video, AssetError when this machine cannot track faces.
    """
    pictures, boxes = [], []
    bundle = resolve("face-landmarker").files["face_landmarker.task"]
    with FaceFollower(bundle) as follower, Footage(video) as footage:
        for number, picture in enumerate(footage.pictures()):
            seen = follower.follow(picture)
            if number % step == 0 and seen.person >= 0 and follower.box is not None:
                pictures.append(picture.rgb)
                boxes.append(follower.box)
    return judge.judge(pictures, np.array(boxes, np.float64).reshape(-1, 4))


def neutral_share(shares: Float[np.ndarray, "pictures expressions"]) -> float:
    """Share of pictures that are taken for neutral, as those of people who read commands should be; NaN without one."""
    said = shares.argmax(axis=1) == EXPRESSIONS.index("neutral")
    return float(said.mean()) if len(said) else float("nan")


def _views(rgb: UInt8[np.ndarray, "height width 3"], box: Float[np.ndarray, " 4"]) -> list[Float32[np.ndarray, "s s"]]:
    """Grey squares about the face with values from -1 to 1, each also mirrored; beyond the picture its edge goes on."""
    if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        raise InputError("a box: left, top, right, bottom", f"{box.tolist()}", "leave out pictures without a face")
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    middle, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
    views = []
    for margin in MARGINS:
        scale = side * margin / SIDE
        corner = middle - side * margin / 2 + scale / 2 - 0.5  # OpenCV counts from the middle of the first pixel
        onto = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        smooth = cv2.GaussianBlur(grey, (0, 0), scale / 2) if scale > 1 else grey
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cut = cv2.warpAffine(smooth, onto, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        face = cut.astype(np.float32) / 127.5 - 1
        views += [face, face[:, ::-1].copy()]
    return views
