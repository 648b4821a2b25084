"""The screen: a head before a camera, and motion on it as pictures, videos, comparisons and contact sheets.

>>> with Screen("open", RenderSettings(size=256, caption=True)) as screen:
...     screen.write_video(talk, Path("talk.mp4"))
...     screen.write_comparison([talk, edited], Path("both.mp4"))   # side by side, frame by frame
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from avi_lib.errors import InputError
from avi_lib.face.camera import FRAMINGS
from avi_lib.face.driven import DrivenHead
from avi_lib.face.heads import load_any_head
from avi_lib.face.lettering import captioned
from avi_lib.face.sheet import columns_of, save_picture, tiled
from avi_lib.face.strip import Strip
from avi_lib.face.video import container_of, write_video
from avi_lib.face.view import TRANSPARENT, View
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT
from avi_lib.settings import RenderSettings
from avi_lib.talk import Talk

if TYPE_CHECKING:
    from avi_lib.face.renderer import Renderer

CHUNK_FRAMES = 100
"""Frames deformed at a time: memory stays the same for any length."""

Picture = UInt8[np.ndarray, "height width channels"]
Shown = UInt8[np.ndarray, "shown width channels"]
"""A picture with what stands under it."""


class Screen:
    """A head and its renderer, each made when first needed; a context manager.

    Args:
        head: name of a shipped head, or a path to one's own.
        settings: size, camera and backdrop of the picture, and what is written over it.
        identity: sliders of the open head.
    """

    def __init__(self, head: str, settings: RenderSettings, identity: Mapping[str, float] | None = None) -> None:
        self.settings = settings
        self._name, self._identity = head, dict(identity or {})

    @cached_property
    def head(self) -> DrivenHead:
        """The head that is named."""
        return load_any_head(self._name, self._identity)

    @cached_property
    def view(self) -> View:
        """The camera and the size of the picture."""
        chosen = self.settings
        camera = FRAMINGS[chosen.framing].orbit(chosen.turn_deg, chosen.tilt_deg)
        return View(chosen.width or chosen.size, chosen.size, camera, chosen.backdrop)

    @cached_property
    def renderer(self) -> Renderer:
        """What draws the head; numba is loaded for it."""
        from avi_lib.face.renderer import Renderer

        return Renderer(self.head, self.view)

    def check_video(self, path: Path, abreast: int = 1) -> None:
        """Raise InputError unless a video of these pictures, so many abreast, can have this name."""
        transparent = self.settings.backdrop == TRANSPARENT
        container_of(path, transparent)
        if transparent and (self.settings.strip or abreast > 1):
            what = "a strip" if self.settings.strip else "pictures side by side"
            raise InputError(f"an opaque backdrop with {what}", TRANSPARENT, "name a colour")

    def frames(self, motion: MotionClip) -> Iterator[Picture]:
        """Pictures of a motion, one at a time."""
        return map(self.renderer.draw, self._vertices(motion))

    def pictures(self, talk: Talk) -> Iterator[Shown]:
        """Pictures of a talk with what the settings ask for: the instruction as a caption, a strip underneath."""
        return self._lettered(self.frames(talk.motion), talk)

    def write_video(self, talk: Talk, output: Path) -> None:
        """Render a talk with its sound, atomically."""
        self.check_video(output)
        shown = _watched(self.pictures(talk), len(talk.motion))
        write_video(output, shown, talk.motion.fps, talk.speech.wave, talk.speech.rate_hz)

    def write_comparison(self, talks: Sequence[Talk], output: Path) -> None:
        """Render several talks of one recording side by side under their instructions, atomically.

        Raises InputError for talks of different lengths, and for a transparent backdrop.
        """
        self.check_video(output, abreast=len(talks))
        first = talks[0]
        if any(len(talk.motion) != len(first.motion) for talk in talks):
            got = ", ".join(f"{len(talk.motion)} frames" for talk in talks)
            raise InputError("talks of the same recording", got, "compare them over one recording")
        shown = _watched(self._beside(talks), len(first.motion))
        write_video(output, shown, first.motion.fps, first.speech.wave, first.speech.rate_hz)

    def _beside(self, talks: Sequence[Talk]) -> Iterator[UInt8[np.ndarray, "height across 3"]]:
        turns = zip(*(self._vertices(talk.motion) for talk in talks), strict=True)
        drawn = map(self.renderer.draw, chain.from_iterable(turns))
        lettering = [_Lettering(talk, self.view, True, self.settings.strip) for talk in talks]
        columns = columns_of(len(talks))
        for frame in range(len(talks[0].motion)):
            pictures = islice(drawn, len(talks))
            cells = [each.on(picture, frame) for each, picture in zip(lettering, pictures, strict=True)]
            yield tiled(cells, columns)

    def contact_sheet(self, talk: Talk, count: int = 8, columns: int = 4) -> UInt8[np.ndarray, "rows across 3"]:
        """Pictures spread evenly over a talk, each under its time; a transparent backdrop is shown as black."""
        picks = ((np.arange(count) + 0.5) / count * len(talk.motion)).astype(int).tolist()
        pictures = [picture[..., :3] for picture in self.frames(talk.motion.at(picks))]
        lettering = _Lettering(talk, self.view, self.settings.caption, strip=False)
        titles = [f"{pick / talk.motion.fps:.2f} s" for pick in picks]
        return tiled([lettering.on(each, pick) for each, pick in zip(pictures, picks, strict=True)], columns, titles)

    def write_sheet(self, talk: Talk, output: Path, count: int = 8, columns: int = 4) -> None:
        """Write a contact sheet as PNG, atomically."""
        save_picture(self.contact_sheet(talk, count, columns), output)

    def _lettered(self, pictures: Iterable[Picture], talk: Talk) -> Iterator[Shown]:
        lettering = _Lettering(talk, self.view, self.settings.caption, self.settings.strip)
        return (lettering.on(picture, frame) for frame, picture in enumerate(pictures))

    def _vertices(self, motion: MotionClip) -> Iterator[Float32[np.ndarray, "V 3"]]:
        for start in range(0, len(motion), CHUNK_FRAMES):
            yield from self.head.move(motion.at(range(start, min(start + CHUNK_FRAMES, len(motion)))))

    def close(self) -> None:
        """Stop the threads that draw."""
        if "renderer" in self.__dict__:
            self.renderer.close()

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Lettering:
    """What is written over and under the pictures of a talk."""

    def __init__(self, talk: Talk, view: View, caption: bool, strip: bool) -> None:
        self._talk, self._caption = talk, caption
        if strip and talk.motion.space is not ARKIT:
            raise InputError("a strip of ARKit motion", f"motion of {talk.motion.space.name}", "leave out the strip")
        self._strip = Strip(talk.motion, view.width, view.height // 2) if strip else None

    def on(self, picture: Picture, frame: int) -> Shown:
        if self._caption:
            picture = captioned(picture, self._talk.asked_at(frame / self._talk.motion.fps).text)
        if self._strip is not None:
            picture = np.concatenate([picture, self._strip.at(frame)])
        return picture


def _watched(pictures: Iterable[Shown], count: int) -> Iterator[Shown]:
    """The pictures with a progress bar, where there is a terminal to show it on."""
    yield from tqdm(pictures, "rendering", count, unit=" frames", leave=False, disable=None)
