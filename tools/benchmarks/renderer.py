"""A portrait's neural renderer on videos of its person that it was not trained on, beside what it starts from.

Rows: the photograph as it is; a plain warp of it, a thin plate through all landmarks of the true frame, which thus
knows the answer's geometry; the layers of `face.portrait`; and the renderer, both driven through 52 channels and head.
All are compared in crops steadied by eyes and nose, each held-out part counting once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter1d

from avi_lib.face.portrait import FIRM, Portrait, load_portrait, look_at, place_of
from avi_lib.face.portrait_networks import Shape, as_maps, crops_of, fade
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.settings import PortraitSettings, RenderSettings
from avi_lib.training.portrait import Perceptual, load_perceptual, perceptual_distance
from avi_lib.training.portrait_data import (
    FPS,
    STEADY_FRAMES,
    Part,
    held_out,
    parts_of,
    photographs,
    pictures_in,
    videos_in,
)  # fmt: skip
from tools.benchmarks.measuring import Figure, Options, left_out, there
from tools.benchmarks.portrait import landmark_errors

MEASURED = Shape(192, (96, 64))  # sizes of the crops that are compared
LOOKED_AT = 10  # frames of a part whose features are compared, at least
TRACKED_EVERY = 5  # frames from one that is tracked again to the next
WARPED_EVERY = 15  # frames from one that is warped plainly to the next
GRID = 48  # places of the plain warp along a side
Crops = tuple[UInt8[np.ndarray, "frames size size 3"], UInt8[np.ndarray, "frames high wide 3"]]
MEASURES = {
    "mouth perceptual": -1, "mouth PSNR": 1, "face perceptual": -1, "face PSNR": 1, "flicker": -1, "sharpness": 1,
    "landmark error": -1, "lip error": -1, "lip gap r": 1,
}  # fmt: skip
"""Each with the side on which it is better."""
TRACKED = ("landmark error", "lip error", "lip gap r")
MUST = {
    "flicker": "<= 1.2", "sharpness": ">= 0.8", "landmark error": "<= 2.5", "lip error": "<= 2.5",
    "lip gap r": ">= 0.8",
}  # fmt: skip


def measure(options: Options) -> Iterator[Figure]:
    """Rows and paired differences of a person's renderer on what was held out of their videos."""
    folder = options.real / "grid_s1_video"
    if options.renderer is None:
        left_out("renderer", "no weights given by --renderer")
        return
    if there(folder, "videos of the renderer's person"):
        found = compare(options.renderer, videos_in(folder), PortraitSettings())
        yield from figures(found)


def compare(weights: Path, videos: Sequence[Path], settings: PortraitSettings) -> dict[str, dict[str, np.ndarray]]:
    """Measures (parts,) of every row, by row and name."""
    portrait, parts, network = load_portrait(weights, RenderSettings()), parts_of(videos), load_perceptual()
    home, at = photographs(parts, settings.photos)[0]
    rest = home.values[at] - portrait.own
    found = [compare_part(portrait, part, rest, network) for part in held_out(parts)]
    return {row: {name: np.array([each[row][name] for each in found]) for name in found[0][row]} for row in found[0]}


def compare_part(portrait: Portrait, part: Part, rest: np.ndarray, network: Perceptual) -> dict[str, dict[str, float]]:
    """Measures of every row in one part; `rest` is what the tracker sees of the person at rest."""
    motion, found = MotionClip(part.values - rest, FPS, ARKIT), dict[str, dict[str, float]]()
    truth, rows = pictured(portrait, part, motion)
    marks = part.track.landmarks[part.pictures][::TRACKED_EVERY].astype(np.float64)
    for name, (frames, pictures, boxes) in rows.items():
        crops = crops_of(pictures, boxes, portrait.mouth_box, MEASURED)
        found[name] = scores(crops, (truth[0][frames], truth[1][frames]), network)
        if name in ("layers", "renderer"):
            read = look_at(pictures[::TRACKED_EVERY])[0][..., :2]
            found[name] |= dict(zip(TRACKED, landmark_errors(read, marks), strict=True))
    return found


Row = tuple[np.ndarray, Sequence[np.ndarray], Float[np.ndarray, "frames 4"]]
"""Frames, their pictures, and the boxes of their faces."""


def pictured(portrait: Portrait, part: Part, motion: MotionClip) -> tuple[Crops, dict[str, Row]]:
    """True crops of a part, and every row of pictures."""
    marks = part.track.landmarks[part.pictures].astype(np.float64)
    firm = gaussian_filter1d(marks[:, list(FIRM)], STEADY_FRAMES, axis=0, mode="nearest")
    boxes, every = place_of(firm, firm[0]).boxes, np.arange(len(motion))
    truth = crops_of((rgb for _, rgb in pictures_in(part)), boxes, portrait.mouth_box, MEASURED)
    with portrait.rasteriser() as rasteriser:
        layers = list(rasteriser.draw_all(portrait.move(motion)))
    places, home = portrait.places(motion).boxes, np.repeat(portrait.face_box[None], len(motion), axis=0)
    some = every[::WARPED_EVERY]
    return truth, {
        "still": (every, [portrait.photo] * len(motion), home),
        "warp": (some, [plain_warp(portrait, marks[frame], boxes[frame]) for frame in some], home[some]),
        "layers": (every, layers, places),
        "renderer": (every, list(portrait.refined(motion, layers)), places),
    }


def plain_warp(portrait: Portrait, marks: Float[np.ndarray, "478 2"], box: Float[np.ndarray, " 4"]) -> np.ndarray:
    """The photograph carried by a thin plate from its landmarks to those of a true frame with this face's box."""
    home = portrait.face_box
    scale = (home[2] - home[0]) / (box[2] - box[0])
    aims = (marks - box[:2]) * scale + home[:2]
    side = np.linspace(-0.15, 1.15, 12)
    rim = np.array([(x, y) for x in side for y in side if x in side[[0, -1]] or y in side[[0, -1]]])
    rim = home[:2] + rim * (home[2:] - home[:2])
    plate = RBFInterpolator(np.concatenate([aims, rim]), np.concatenate([portrait.landmarks, rim]), smoothing=1.0)
    height, width = portrait.photo.shape[:2]
    nodes = np.stack(np.meshgrid(np.linspace(0, width, GRID), np.linspace(0, height, GRID)), axis=-1)
    sources = plate(nodes.reshape(-1, 2)).reshape(GRID, GRID, 2).astype(np.float32)
    columns, rows = (np.arange(extent, dtype=np.float32) / extent * (GRID - 1) for extent in (width, height))
    places = np.stack(np.meshgrid(columns, rows), axis=-1)
    dense = cv2.remap(sources, places, np.zeros(0), cv2.INTER_LINEAR)
    warped: np.ndarray = cv2.remap(portrait.photo, dense, np.zeros(0), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return warped


def scores(made: Crops, true: Crops, network: Perceptual) -> dict[str, float]:
    """MEASURES of crops against true ones; flicker and sharpness as shares of the true."""
    found = {}
    for name, ours, theirs in (("face", made[0], true[0]), ("mouth", made[1], true[1])):
        errors = (ours.astype(float) - theirs) ** 2
        if name == "face":
            errors = errors * fade(*ours.shape[1:3])[..., None] / fade(*ours.shape[1:3]).mean()
        found[f"{name} PSNR"] = float(np.mean(10 * np.log10(255**2 / errors.mean(axis=(1, 2, 3)))))
        ours, theirs = (each[:: max(len(each) // LOOKED_AT, 1)] for each in (ours, theirs))
        with torch.inference_mode():
            apart = [
                perceptual_distance(*(network(as_maps(each[i : i + 8])) for each in (ours, theirs)))
                for i in range(0, len(ours), 8)
            ]
        found[f"{name} perceptual"] = float(torch.cat(apart).mean())
    found["flicker"] = _trembling(made[0]) / _trembling(true[0])
    found["sharpness"] = _fine(made[0]) / _fine(true[0])
    return found


def _trembling(faces: np.ndarray) -> float:
    """How much a picture differs from the mean of its neighbours."""
    return float(np.abs(np.diff(faces.astype(float), n=2, axis=0)).mean())


def _fine(faces: np.ndarray) -> float:
    """Mean square of what a Laplacian sees in the middle of the faces."""
    middle = faces[:, faces.shape[1] // 5 : -faces.shape[1] // 5, faces.shape[2] // 5 : -faces.shape[2] // 5]
    return float(np.mean([np.square(cv2.Laplacian(each, cv2.CV_32F)).mean() for each in middle]))


def figures(found: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[Figure]:
    """Every measure of every row, and how far the renderer is better than warp and layers, part by part."""
    for name, better in MEASURES.items():
        times, unit = (1, "dB") if "PSNR" in name else (100, "%") if name.endswith(("perceptual", "error")) else (1, "")
        rows = {row: times * values[name] for row, values in found.items() if name in values}
        ours, must = rows.pop("renderer"), MUST.get(name, "-")
        how = ", ".join(f"{row} {values.mean():.2f}" for row, values in rows.items())
        yield Figure(f"renderer: {name}", float(ours.mean()), unit, must, f"{how}; {len(ours)} held-out parts")
        for row in ("warp", "layers") if must == "-" else ():
            middle, low, high = interval(better * (ours - rows[row]))
            yield Figure(f"renderer better than {row}: {name}", middle, unit, ">= 0", f"{low:.2f} to {high:.2f} (95 %)")


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean and its interval of 95 % over parts, by 2,000 draws."""
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
