"""A portrait's neural renderer on videos of its person that it was not trained on, beside what it starts from.

Rows that are told 52 channels and the head's turn: the photograph as it is; a plain warp of it, a thin plate through
the landmarks that these channels give (as the tracker finds them in the layers' pictures); the layers of
`face.portrait`; and the renderer. Rows that are told all landmarks of the true frame, and thus the answer's geometry:
the same warp through these, and the renderer over layers that follow them. All are compared in crops steadied by eyes
and nose, each held-out part counting once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter1d

from avi_lib.face.portrait import FIRM, Portrait, look_at, place_of, portrait_of
from avi_lib.face.portrait_networks import Shape, as_maps, crops_of, fade, load_networks, redrawn, windows
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
from tools.benchmarks.portrait import TRAINED_ON, following, landmark_errors, thin_plate

MEASURED = Shape(192, (96, 64))  # sizes of the crops that are compared
EVERY = 5  # frames from one that is compared and tracked again to the next
WARP, TOLD_WARP, TOLD = "warp", "warp told landmarks", "renderer told landmarks"
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
    if there(others := options.real / "grid10", "talkers whom the renderer has not seen"):
        yield from strangers(options.renderer, [each for each in videos_in(others) if each.stem != TRAINED_ON])


def compare(weights: Path, videos: Sequence[Path], settings: PortraitSettings) -> dict[str, dict[str, np.ndarray]]:
    """Measures (parts,) of every row, by row and name."""
    parts, network = parts_of(videos), load_perceptual()
    home, at = photographs(parts, settings.photos)[0]
    photo = next(rgb for number, rgb in pictures_in(home) if number == at)
    portrait = replace(portrait_of(photo, weights, RenderSettings()), networks=load_networks(weights))
    rest = home.values[at] - portrait.own
    found = [compare_part(portrait, part, rest, network) for part in held_out(parts)]
    return {row: {name: np.array([each[row][name] for each in found]) for name in found[0][row]} for row in found[0]}


def strangers(weights: Path, videos: Sequence[Path]) -> Iterator[Figure]:
    """How far the networks help the first pictures of videos of other people, each counting once."""
    networks, features, found = load_networks(weights), load_perceptual(), list[dict[str, dict[str, float]]]()
    for video in videos:
        part = parts_of([video])[0]
        _, first = next(pictures_in(part))
        portrait = replace(portrait_of(first, video, RenderSettings()), networks=networks)
        found.append(compare_part(portrait, part, part.values[0] - portrait.own, features))
    for name in ("mouth perceptual", "mouth PSNR", "face perceptual", "face PSNR"):
        times, unit = (1, "dB") if "PSNR" in name else (100, "%")
        rows = {row: times * np.array([each[row][name] for each in found]) for row in (WARP, "layers", "renderer")}
        means = ", ".join(f"{row} {values.mean():.2f}" for row, values in rows.items())
        for row in (WARP, "layers"):
            better = MEASURES[name] * (rows["renderer"] - rows[row])
            middle, low, high = interval(better)
            how = f"{low:.2f} to {high:.2f} (95 %), {(better > 0).sum()} of {len(found)}; {means}"
            yield Figure(f"strangers: renderer better than {row}: {name}", middle, unit, ">= 0", how)


def compare_part(portrait: Portrait, part: Part, rest: np.ndarray, network: Perceptual) -> dict[str, dict[str, float]]:
    """Measures of every row in one part; `rest` is what the tracker sees of the person at rest."""
    motion, found = MotionClip(part.values - rest, FPS, ARKIT), dict[str, dict[str, float]]()
    truth, rows = pictured(portrait, part, motion)
    marks = part.track.landmarks[part.pictures][::EVERY].astype(np.float64)
    for name, (frames, pictures, boxes) in rows.items():
        step = EVERY if len(frames) == len(truth[0]) else 1
        crops = crops_of(pictures, boxes, portrait.mouth_box, MEASURED)
        found[name] = scores(crops, (truth[0][frames], truth[1][frames]), network, step)
        if step > 1:  # of every frame
            found[name] |= trembling(crops[0], truth[0])
        if name in ("layers", "renderer", TOLD):
            read = look_at(pictures[::step])[0][..., :2]
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
    some = every[::EVERY]
    aims = at_home(marks[some], boxes[some], portrait)
    given = look_at(layers[frame] for frame in some)[0][..., :2]
    told = following(portrait, motion.at(some.tolist()), aims)
    networks, windowed = portrait.networks, windows(motion.values, portrait.places(motion))[some]
    assert networks is not None, "what is measured"
    return truth, {
        "still": (every, [portrait.photo] * len(motion), home),
        WARP: (some, [plain_warp(portrait, each) for each in given], places[some]),
        "layers": (every, layers, places),
        "renderer": (every, list(portrait.refined(motion, layers)), places),
        TOLD_WARP: (some, [plain_warp(portrait, each) for each in aims], home[some]),
        TOLD: (some, list(redrawn(portrait, networks, windowed, home[some], told)), home[some]),
    }


def at_home(
    marks: Float[np.ndarray, "frames 478 2"], boxes: Float[np.ndarray, "frames 4"], portrait: Portrait
) -> Float[np.ndarray, "frames 478 2"]:
    """Landmarks of true frames with these boxes of faces, where the face is in the photograph."""
    home = portrait.face_box
    scale = (home[2] - home[0]) / (boxes[:, 2] - boxes[:, 0])
    carried: np.ndarray = (marks - boxes[:, None, :2]) * scale[:, None, None] + home[:2]
    return carried


def plain_warp(portrait: Portrait, aims: Float[np.ndarray, "478 2"]) -> np.ndarray:
    """The photograph carried by a thin plate from its landmarks to others."""
    plate = thin_plate(aims, portrait.landmarks, portrait.face_box)
    height, width = portrait.photo.shape[:2]
    nodes = np.stack(np.meshgrid(np.linspace(0, width, GRID), np.linspace(0, height, GRID)), axis=-1)
    sources = plate(nodes.reshape(-1, 2)).reshape(GRID, GRID, 2).astype(np.float32)
    columns, rows = (np.arange(extent, dtype=np.float32) / extent * (GRID - 1) for extent in (width, height))
    places = np.stack(np.meshgrid(columns, rows), axis=-1)
    dense = cv2.remap(sources, places, np.zeros(0), cv2.INTER_LINEAR)
    warped: np.ndarray = cv2.remap(portrait.photo, dense, np.zeros(0), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return warped


def scores(made: Crops, true: Crops, network: Perceptual, step: int = 1) -> dict[str, float]:
    """Distances of crops from true ones, of every so many frames; sharpness as a share of the true."""
    found = {}
    for name, ours, theirs in (("face", made[0], true[0]), ("mouth", made[1], true[1])):
        ours, theirs = ours[::step], theirs[::step]
        errors = (ours.astype(float) - theirs) ** 2
        if name == "face":
            errors = errors * fade(*ours.shape[1:3])[..., None] / fade(*ours.shape[1:3]).mean()
        found[f"{name} PSNR"] = float(np.mean(10 * np.log10(255**2 / errors.mean(axis=(1, 2, 3)))))
        with torch.inference_mode():
            apart = [
                perceptual_distance(*(network(as_maps(each[i : i + 8])) for each in (ours, theirs)))
                for i in range(0, len(ours), 8)
            ]
        found[f"{name} perceptual"] = float(torch.cat(apart).mean())
    found["sharpness"] = _fine(made[0][::step]) / _fine(true[0][::step])
    return found


def trembling(faces: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Flicker: how much a picture differs from the mean of its neighbours, as a share of true pictures'."""
    ours, theirs = (float(np.abs(np.diff(each.astype(float), n=2, axis=0)).mean()) for each in (faces, true))
    return {"flicker": ours / theirs}


def _fine(faces: np.ndarray) -> float:
    """Mean square of what a Laplacian sees in the middle of the faces."""
    middle = faces[:, faces.shape[1] // 5 : -faces.shape[1] // 5, faces.shape[2] // 5 : -faces.shape[2] // 5]
    return float(np.mean([np.square(cv2.Laplacian(each, cv2.CV_32F)).mean() for each in middle]))


def figures(found: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[Figure]:
    """Every measure of every row, and how far the renderer is better than others that are told the same."""
    for name, better in MEASURES.items():
        times, unit = (1, "dB") if "PSNR" in name else (100, "%") if name.endswith(("perceptual", "error")) else (1, "")
        rows = {row: times * values[name] for row, values in found.items() if name in values}
        ours, must = rows.pop("renderer"), MUST.get(name, "-")
        how = ", ".join(f"{row} {values.mean():.2f}" for row, values in rows.items())
        yield Figure(f"renderer: {name}", float(ours.mean()), unit, must, f"{how}; {len(ours)} held-out parts")
        for of, row in ((ours, WARP), (ours, "layers"), (rows.get(TOLD), TOLD_WARP)) if must == "-" else ():
            middle, low, high = interval(better * (of - rows[row]))
            who = "renderer" if of is ours else TOLD
            yield Figure(f"{who} better than {row}: {name}", middle, unit, ">= 0", f"{low:.2f} to {high:.2f} (95 %)")


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean and its interval of 95 % over parts, by 2,000 draws."""
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
