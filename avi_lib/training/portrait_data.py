"""What a portrait's neural renderer is trained on: videos of a person, or rendered heads, in; examples out.

>>> seen = filmed([Path("me.mp4")], settings)        # every fifth part is held out: `kept_back=True` gives those
>>> seen = rendered([Path("speech.flac")], settings)                    # where there are no videos

An example is a frame of a video, and the layers' picture of one photograph of the same person carried to the motion
that was tracked in that frame. Photographs are frames of the videos themselves, each of which draws parts from which
other photographs come, so that pairs are learned in both directions. Rendered heads take the place of videos before
there are any: their motion is known exactly, and they are nobody's. They come from the whole cast, speak as loudly as
people do, turn no further than a photograph can, and are seen by cameras as poor as those of real videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from scipy.ndimage import gaussian_filter1d

from avi_lib.corpus.scripts import draw_instruction
from avi_lib.errors import InputError
from avi_lib.face.camera import FRAMINGS, View
from avi_lib.face.head import HEADS, Head, load_head
from avi_lib.face.portrait import FIRM, MOST_TURN_RAD, Portrait, place_of, portrait_of
from avi_lib.face.portrait import RECIPE as LAYERS_RECIPE
from avi_lib.face.portrait_layers import project
from avi_lib.face.portrait_networks import SIZES, Crops, Shape, as_maps, crops_of, windows
from avi_lib.face.tracking import FaceFollower, pictures_of
from avi_lib.files import cached, file_sha256
from avi_lib.models import cache_folder, resolve
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.settings import PortraitSettings, RenderSettings
from avi_lib.speech.decode import VIDEO_SUFFIXES
from avi_lib.speech.loading import load_voice

RECIPE = [3, LAYERS_RECIPE]
"""Part of the key under which examples are kept: raise it when what they are changes, as the layers' does."""
FPS = 25.0
PART_S = 4.0  # a video is cut into parts this long, and a shorter one is a part
HELD_OUT = 5  # every so many parts one is held out
STEADY_FRAMES = 2.0  # deviation of the bell over which eyes and nose are averaged to steady a crop
OPENED, TURNED = (0.8, 2.2), 0.5  # times that rendered heads open the mouth further, and turn
COARSENED, QUALITY = (1.0, 3.5), (40, 96)  # how much coarser their cameras are than the picture, and JPEG's quality
CALM = [ARKIT.index(name) for name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthPucker")]


class Examples(NamedTuple):
    """Pictures of faces and mouths, `photos` by number in `of`; motion about each; and the first photograph whole."""

    photo: UInt8[np.ndarray, "photos size size 3"]
    photo_mouth: UInt8[np.ndarray, "photos high wide 3"]
    box: Float32[np.ndarray, "photos 4"]
    of: Int[np.ndarray, " items"]
    part: Int[np.ndarray, " items"]
    motion: Float32[np.ndarray, "items 27 58"]
    drawn: UInt8[np.ndarray, "items size size 3"]
    drawn_mouth: UInt8[np.ndarray, "items high wide 3"]
    true: UInt8[np.ndarray, "items size size 3"]
    true_mouth: UInt8[np.ndarray, "items high wide 3"]
    picture: UInt8[np.ndarray, "height width 3"]

    def crops(self, items: np.ndarray) -> tuple[Crops, torch.Tensor, torch.Tensor]:
        """What the networks see of these items, and the true faces and mouths."""
        of = self.of[items]
        seen = Crops(
            torch.from_numpy(self.motion[items]),
            as_maps(self.photo[of]),
            as_maps(self.drawn[items]),
            as_maps(self.photo_mouth[of]),
            as_maps(self.drawn_mouth[items]),
            torch.from_numpy(self.box[of]),
        )
        return seen, as_maps(self.true[items]), as_maps(self.true_mouth[items])

    def of_items(self, chosen: Bool[np.ndarray, " items"]) -> Examples:
        """Some of the items, with all photographs."""
        return self._replace(**{name: getattr(self, name)[chosen] for name in self._fields[3:10]})


# Videos of a person.


class Tracked(NamedTuple):
    """A face through a video: where every picture shows it, or NaN."""

    start_s: Float[np.ndarray, " pictures"]
    values: Float32[np.ndarray, "pictures 55"]
    landmarks: Float32[np.ndarray, "pictures 478 2"]


def videos_in(path: Path) -> list[Path]:
    """The videos of a folder, or the one that is named; InputError for none."""
    found = (
        sorted(each for each in path.iterdir() if each.suffix.lower() in VIDEO_SUFFIXES) if path.is_dir() else [path]
    )
    if not found or not found[0].is_file():
        raise InputError("a video, or a folder of videos", str(path), "check the path")
    return found


def follow(video: Path) -> Tracked:
    """The track of a video with its landmarks; kept by content."""

    def look() -> dict[str, np.ndarray]:
        rows: list[tuple[float, np.ndarray, np.ndarray]] = []
        with FaceFollower(resolve("face-landmarker").files["face_landmarker.task"]) as follower:
            for start_s, rgb in pictures_of(video):
                person, values, _, _ = follower.follow(start_s, rgb)
                seen = person == 0
                marks = follower.landmarks[:, :2] if seen else np.full((478, 2), np.nan)
                rows.append((start_s, values if seen else np.full(len(ARKIT), np.nan), marks))
        columns = [np.array(each) for each in zip(*rows, strict=True)]
        return dict(zip(Tracked._fields, (columns[0], *(each.astype(np.float32) for each in columns[1:])), strict=True))

    key = {"what": "landmarks of a video", "video": file_sha256(video)}
    return Tracked(**cached(cache_folder() / "portraits", key, look))


class Part(NamedTuple):
    """Some seconds of a video: its pictures by number, 25 a second."""

    video: Path
    track: Tracked
    pictures: Int[np.ndarray, " frames"]

    @property
    def values(self) -> Float32[np.ndarray, "frames 55"]:
        """The motion of these pictures."""
        return self.track.values[self.pictures]


def parts_of(videos: Sequence[Path]) -> list[Part]:
    """All parts of videos in which the face is seen throughout; InputError where there is none."""
    found = []
    for video in videos:
        track = follow(video)
        times = np.arange(track.start_s[0], track.start_s[-1] + 1e-3, 1 / FPS)
        pictures = np.searchsorted(track.start_s, times + 0.5 / FPS) - 1
        for first in range(0, len(pictures), round(PART_S * FPS)):
            part = Part(video, track, pictures[first : first + round(PART_S * FPS)])
            if len(part.pictures) > FPS and np.isfinite(part.values).all():
                found.append(part)
    if not found:
        raise InputError("a video in which one face stays in view", f"{len(videos)} without", "choose another video")
    return found


def filmed(videos: Sequence[Path], settings: PortraitSettings, kept_back: bool = False) -> Examples:
    """Examples of the parts that are trained on, or held out: those are drawn of the first photograph alone.

    Of held-out parts (`kept_back`) every frame is kept. Raises InputError for videos without a face that can talk.
    """
    what = settings.model_dump(include={"size", "photos", "views", "every"})
    key = {"what": "examples", "recipe": RECIPE, "videos": [file_sha256(each) for each in videos], **what}
    arrays = cached(cache_folder() / "portraits", key | {"held": kept_back}, lambda: _film(videos, settings, kept_back))
    return Examples(**arrays)


def _film(videos: Sequence[Path], settings: PortraitSettings, kept_back: bool) -> dict[str, np.ndarray]:
    shape, parts = SIZES[settings.size], parts_of(videos)
    chosen = photographs(parts, settings.photos)[: 1 if kept_back else None]
    wholes = [next(rgb for number, rgb in pictures_in(part) if number == frame) for part, frame in chosen]
    pairs = zip(wholes, chosen, strict=True)
    portraits = [portrait_of(picture, part.video, RenderSettings()) for picture, (part, _) in pairs]
    rows: list[tuple[Any, ...]] = []
    for number, part in enumerate(held_out(parts) if kept_back else learned(parts)):
        every = 1 if kept_back else settings.every
        frames = np.arange(number % every, len(part.pictures), every)
        steady = gaussian_filter1d(
            part.track.landmarks[part.pictures][:, list(FIRM)], STEADY_FRAMES, axis=0, mode="nearest"
        )
        boxes = place_of(steady.astype(np.float64), steady[0].astype(np.float64)).boxes[frames]
        true = [rgb for frame, rgb in pictures_in(part) if frame in frames]
        for view in range(1 if kept_back else settings.views):
            of = (number + view * max(len(portraits) // settings.views, 1)) % len(portraits)
            portrait, (home, at) = portraits[of], chosen[of]
            motion = MotionClip(part.values - home.values[at] + portrait.own, FPS, ARKIT)
            rows.append(
                (
                    of,
                    number,
                    *_drawn(portrait, motion, frames, shape),
                    *crops_of(true, boxes, portrait.mouth_box, shape),
                )
            )
    return _gathered(portraits, rows, wholes[0], shape)


def _calmest(parts: Sequence[Part]) -> tuple[float, Part, int]:
    """How calm the calmest frame is (0: at rest), its part, and its number there."""
    turns = slice(len(ARKIT) - 3, None)
    calm = [np.abs(part.values[:, CALM]).sum(axis=1) + 2 * np.abs(part.values[:, turns]).sum(axis=1) for part in parts]
    least = min(range(len(parts)), key=lambda number: float(calm[number].min()))
    return float(calm[least].min()), parts[least], int(calm[least].argmin())


def learned(parts: Sequence[Part]) -> list[Part]:
    """What is trained on: all where there are few."""
    return [part for number, part in enumerate(parts) if number % HELD_OUT != HELD_OUT - 1]


def held_out(parts: Sequence[Part]) -> list[Part]:
    """Every so many parts of a person; the last where there are few."""
    return list(parts[HELD_OUT - 1 :: HELD_OUT] or parts[-1:])


def photographs(parts: Sequence[Part], count: int) -> list[tuple[Part, int]]:
    """Frames that stand for photographs, the calmest of so many groups of parts, and of these the calmest first."""
    groups = [group for start in range(count) if (group := learned(parts)[start::count])]
    return [(part, frame) for _, part, frame in sorted(map(_calmest, groups), key=lambda each: each[0])]


def pictures_in(part: Part) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a part by number, and their pictures."""
    wanted, frame = list(part.pictures), 0
    for number, (_, rgb) in enumerate(pictures_of(part.video)):
        while frame < len(wanted) and wanted[frame] == number:
            yield frame, rgb
            frame += 1
        if frame == len(wanted):
            return


def _drawn(
    portrait: Portrait, motion: MotionClip, frames: np.ndarray, shape: Shape
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Motion about frames, and the layers' faces and mouths of these."""
    places = portrait.places(motion)
    with portrait.rasteriser() as rasteriser:
        pictures = rasteriser.draw_all(portrait.move(motion.at(frames.tolist())))
        faces, mouths = crops_of(pictures, places.boxes[frames], portrait.mouth_box, shape)
    return windows(motion.values, places)[frames], faces, mouths


def _gathered(
    portraits: Sequence[Portrait], rows: Sequence[tuple[Any, ...]], whole: np.ndarray, shape: Shape
) -> dict[str, np.ndarray]:
    """Rows of (photograph, part, motion, drawn, drawn mouths, true, true mouths) as `Examples`."""
    photos = [crops_of([each.photo], each.face_box[None], each.mouth_box, shape) for each in portraits]
    numbers = [np.repeat([[row[0]], [row[1]]], len(row[2]), axis=1) for row in rows]
    of, part = np.concatenate(numbers, axis=1)
    columns = [np.concatenate([row[column] for row in rows]) for column in range(2, 7)]
    boxes = np.stack([each.mouth_box for each in portraits]).astype(np.float32)
    made = (
        np.concatenate([face for face, _ in photos]),
        np.concatenate([mouth for _, mouth in photos]),
        boxes,
        of,
        part,
    )
    return dict(zip(Examples._fields, (*made, *columns, whole), strict=True))


# Rendered heads.


def rendered(speech: Sequence[Path], settings: PortraitSettings) -> Examples:
    """Examples of heads that nobody is: faces, skins, light and backdrops drawn anew, performing what is said."""
    what = settings.model_dump(include={"size", "people", "frames"}) | {"seed": settings.train.seed}
    key = {"what": "rendered", "recipe": RECIPE, "speech": [file_sha256(each) for each in speech], **what}
    return Examples(**cached(cache_folder() / "portraits", key, lambda: _render(speech, settings)))


def _render(speech: Sequence[Path], settings: PortraitSettings) -> dict[str, np.ndarray]:
    from avi_lib.face.raster import Rasteriser

    shape, voices = SIZES[settings.size], [load_voice(each) for each in speech[: settings.people]]
    performers = [Performer(each.phones().phones, each.prosody(FPS), each.duration_s) for each in voices]
    portraits, rows = list[Portrait](), []
    for number in range(settings.people):
        rng = np.random.default_rng([settings.train.seed, 7, number])
        head, view = _somebody(rng)
        motion = _spoken(performers[number % len(performers)].perform(draw_instruction(rng), number), rng)
        frames = np.sort(rng.choice(len(motion), min(settings.frames, len(motion)), replace=False))
        with Rasteriser(head, view) as rasteriser:
            photo, *true = [_photographed(each, number, settings) for each in rasteriser.draw_all(
                (head.vertices, *head.move(motion.at(frames.tolist()))))]  # fmt: skip
        try:
            portrait = portrait_of(photo, Path(f"somebody {number}"), RenderSettings(), answered=False)
        except InputError:
            continue  # whom the tracker does not find
        firm = _beside(head, view, portrait.landmarks[list(FIRM)])
        rest = project(head.vertices[firm].astype(np.float64), view)
        moved = project(head.move(motion)[:, firm].reshape(-1, 3).astype(np.float64), view).reshape(len(motion), -1, 2)
        boxes = place_of(moved + portrait.landmarks[list(FIRM)] - rest, rest).boxes[frames]
        motion = replace(motion, values=motion.values + portrait.own)
        rows.append((len(portraits), number, *_drawn(portrait, motion, frames, shape),
                     *crops_of(true, boxes, portrait.mouth_box, shape)))  # fmt: skip
        portraits.append(portrait)
    return _gathered(portraits, rows, portraits[0].photo, shape)


def _somebody(rng: np.random.Generator) -> tuple[Head, View]:
    """One of the heads that are shipped, made another by its sliders, before a plain backdrop."""
    head = load_head(list(HEADS)[rng.integers(len(HEADS))])
    chosen = rng.choice(len(head.identity_names), 4, replace=False)
    sliders = {head.identity_names[i]: float(rng.uniform(*(0.6 * head.identity_bounds[i]))) for i in chosen}
    camera = (
        FRAMINGS["face"]
        .orbit(float(rng.uniform(-6, 6)), float(rng.uniform(-4, 4)))
        .nearer(float(rng.uniform(0.8, 1.1)))
    )
    return head.with_identity(sliders), View.square(512, camera, "#" + bytes(rng.integers(20, 220, 3).tolist()).hex())


def _spoken(motion: MotionClip, rng: np.random.Generator) -> MotionClip:
    """The motion with the mouth opened further, and turns that a portrait follows."""
    values, turns = motion.values.copy(), slice(len(ARKIT_BLENDSHAPES), None)
    values[:, ARKIT.index("jawOpen")] *= rng.uniform(*OPENED)
    values[:, : turns.start] = values[:, : turns.start].clip(0, 1)
    values[:, turns] = MOST_TURN_RAD * np.tanh(TURNED * values[:, turns] / MOST_TURN_RAD)
    return replace(motion, values=values)


def _photographed(picture: np.ndarray, number: int, settings: PortraitSettings) -> np.ndarray:
    """A picture in the light and by the camera of this person: darker, warmer, less fine, and compressed."""
    rng = np.random.default_rng([settings.train.seed, 8, number])
    gain, gamma = rng.uniform(0.8, 1.15) * rng.uniform(0.93, 1.07, 3), rng.uniform(0.8, 1.25)
    lit: np.ndarray = np.clip(np.rint(255 * gain * (picture / 255) ** gamma), 0, 255).astype(np.uint8)
    side, quality = round(len(picture) / rng.uniform(*COARSENED)), int(rng.integers(*QUALITY))
    small = cv2.resize(lit, (side, side), interpolation=cv2.INTER_AREA)
    kept = cv2.imencode(".jpg", small[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    read: Any = cv2.imdecode(kept, cv2.IMREAD_COLOR)
    seen: np.ndarray = cv2.resize(read[..., ::-1], picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return seen


def _beside(head: Head, view: View, marks: Float[np.ndarray, "N 2"]) -> Int[np.ndarray, " N"]:
    """The skin's foremost vertices beside places of the picture."""
    skin = np.unique(head.triangles[head.material <= 1])
    away = np.linalg.norm(project(head.vertices[skin].astype(np.float64), view) - marks[:, None], axis=2)
    near = away < away.min(axis=1, keepdims=True) + 2.0
    return skin[np.where(near, head.vertices[skin, 2], -1.0).argmax(axis=1)]
