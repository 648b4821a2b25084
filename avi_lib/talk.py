"""The one place that joins the stages: speech -> instruction -> motion -> face -> video and data.

>>> with Talker() as talker:
...     talk = talker.listen(Path("my.wav"))                               # the instruction is written
...     talk = talker.direct(talk, Instruction.parse("She is furious."))   # and may be another one
...     talker.write_video(talk, Path("angry.mp4"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from avi_lib.errors import InputError
from avi_lib.face.camera import FRAMINGS, TRANSPARENT, View
from avi_lib.face.head import DrivenHead, load_any_head
from avi_lib.face.video import Strip, captioned, columns_of, container_of, save_picture, tiled, video_writer
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Entry, Timeline
from avi_lib.motion.clip import ARKIT, FACTORS, Curves, MotionClip, compose, fitted
from avi_lib.motion.formats import READABLE, read_curves
from avi_lib.motion.performer import Performer
from avi_lib.settings import Factors, RenderSettings, SampleSettings, TalkSettings
from avi_lib.speech.loading import Speech, load_speech
from avi_lib.speech.phones import PhoneTrack, align_phones, recognise_phones
from avi_lib.speech.prosody import Prosody, prosody

if TYPE_CHECKING:
    from avi_lib.face.raster import Renderer
    from avi_lib.instruction.instructor import Instructor, Written
    from avi_lib.motion.generator import LearnedGenerator
    from avi_lib.motion.prior import PriorSampler


# A talk: one talking face, from what was heard to the motion that carries out what was asked.


@dataclass(frozen=True)
class Talk:
    """One talking face: what was heard, what was asked for, and the motion that carries it out.

    Attributes:
        timeline: what was asked for; a single instruction is a timeline of one.
        seed: of every random choice in the motion.
        features: what the learned generator heard; None for the performer.
        styles: (entries, 128), what the learned generator was told; None for the performer.
        written: how the instruction was written; None where it was given.
        factors: where factors of the face come from that are not the speech's own, in words.
    """

    speech: Speech
    phones: PhoneTrack
    prosody: Prosody
    timeline: Timeline
    seed: int
    motion: MotionClip
    features: Float32[np.ndarray, "steps dim"] | None = None
    styles: Float32[np.ndarray, "entries style"] | None = None
    written: Written | None = None
    factors: tuple[str, ...] = ()

    @property
    def instruction(self) -> Instruction:
        """What was asked for first."""
        return self.timeline.instructions[0]

    def asked_at(self, time_s: float) -> Instruction:
        """What holds at a time: the instruction of which half or more has come on."""
        return [entry.instruction for entry in self.timeline.entries if entry.at_s <= max(time_s, 0.0)][-1]


# The screen: a head before a camera, and motion on it as pictures, videos, comparisons and contact sheets.


CHUNK_FRAMES = 100
"""Frames deformed at a time: memory stays the same for any length."""

Picture = UInt8[np.ndarray, "height width channels"]
Shown = UInt8[np.ndarray, "shown width channels"]
"""A picture with what stands under it."""
_Seen = TypeVar("_Seen")


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
        from avi_lib.face.raster import Renderer

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
        for start in range(0, len(motion), CHUNK_FRAMES):
            for vertices in self.head.move(motion.at(range(start, min(start + CHUNK_FRAMES, len(motion))))):
                yield self.renderer.draw(vertices)

    def pictures(self, talk: Talk) -> Iterator[Shown]:
        """Pictures of a talk with what the settings ask for: the instruction as a caption, a strip underneath."""
        lettered = _lettering(talk, self.view, self.settings.caption, self.settings.strip)
        return map(lettered, self.frames(talk.motion), count())

    def write_video(self, talk: Talk, output: Path) -> None:
        """Render a talk with its sound, atomically."""
        self.check_video(output)
        shown = _watched(self.pictures(talk), len(talk.motion))
        with video_writer(output, talk.motion.fps, talk.speech.wave, talk.speech.rate_hz) as write:
            for picture in shown:
                write(picture)

    def write_comparison(self, talks: Sequence[Talk], output: Path) -> None:
        """Render several talks of one recording side by side under their instructions, atomically.

        Raises InputError for talks of different lengths, and for a transparent backdrop.
        """
        self.check_video(output, abreast=len(talks))
        first = talks[0]
        if any(len(talk.motion) != len(first.motion) for talk in talks):
            got = ", ".join(f"{len(talk.motion)} frames" for talk in talks)
            raise InputError("talks of the same recording", got, "compare them over one recording")
        lettering = [_lettering(talk, self.view, True, self.settings.strip) for talk in talks]
        shown = [map(on, self.frames(talk.motion), count()) for on, talk in zip(lettering, talks, strict=True)]
        with video_writer(output, first.motion.fps, first.speech.wave, first.speech.rate_hz) as write:
            for beside in _watched(zip(*shown, strict=True), len(first.motion)):
                write(tiled(beside, columns_of(len(talks))))

    def contact_sheet(self, talk: Talk, count: int = 8, columns: int = 4) -> UInt8[np.ndarray, "rows across 3"]:
        """Pictures spread evenly over a talk, each under its time; a transparent backdrop is shown as black."""
        picks = ((np.arange(count) + 0.5) / count * len(talk.motion)).astype(int).tolist()
        pictures = [picture[..., :3] for picture in self.frames(talk.motion.at(picks))]
        lettered = _lettering(talk, self.view, self.settings.caption, strip=False)
        titles = [f"{pick / talk.motion.fps:.2f} s" for pick in picks]
        return tiled(list(map(lettered, pictures, picks)), columns, titles)

    def write_sheet(self, talk: Talk, output: Path, count: int = 8, columns: int = 4) -> None:
        """Write a contact sheet as PNG, atomically."""
        save_picture(self.contact_sheet(talk, count, columns), output)

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


def _lettering(talk: Talk, view: View, caption: bool, strip: bool) -> Callable[[Picture, int], Shown]:
    """A function that writes over and under the picture of a frame of the talk."""
    if strip and talk.motion.space is not ARKIT:
        raise InputError("a strip of ARKit motion", f"motion of {talk.motion.space.name}", "leave out the strip")
    below = Strip(talk.motion, view.width, view.height // 2) if strip else None

    def lettered(picture: Picture, frame: int) -> Shown:
        if caption:
            picture = captioned(picture, talk.asked_at(frame / talk.motion.fps).text)
        return picture if below is None else np.concatenate([picture, below.at(frame)])

    return lettered


def _watched(pictures: Iterable[_Seen], total: int) -> Iterable[_Seen]:
    """The pictures with a progress bar, where there is a terminal to show it on."""
    watched: Iterable[_Seen] = tqdm(pictures, "rendering", total, unit=" frames", leave=False, disable=None)
    return watched


# Sources of a face's factors: where lips, expression, blink, gaze and pose come from when it is not the speech.


VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".avi", ".m4v"))
SPEECH, OFF, SEED, TEXT, FILE = "speech", "off", "seed", "text", "file"
_DO = f"write {SPEECH}, {OFF}, {SEED}:7, {TEXT}:SENTENCE, or a file of motion or video"


class Source(NamedTuple):
    """Where a factor comes from: speech, off, seed, text or file, and which seed, sentence or file."""

    kind: str
    value: str = ""


class Drive(NamedTuple):
    """Motion for a factor, as long as the speech, and what it is in words."""

    clip: MotionClip
    words: str


def parse_source(text: str) -> Source:
    """A source as it is written on the command line; InputError for one that is none, or for a missing file."""
    if text in (SPEECH, OFF):
        return Source(text)
    kind, colon, value = text.partition(":")
    if colon and kind == SEED:
        if not value.isdecimal() or len(value) > 19 or int(value) >= 2**63:
            raise InputError("a seed as seed:7", repr(text), _DO)
        return Source(SEED, value)
    if colon and kind == TEXT:
        if not value.strip():
            raise InputError("a sentence behind text:", repr(text), _DO)
        return Source(TEXT, value)
    if Path(text).suffix.lower() not in VIDEO_SUFFIXES | set(READABLE):
        raise InputError("a source of a factor", repr(text), _DO)
    if not Path(text).is_file():
        raise InputError("a source of a factor", f"{text}, which is no file", _DO)
    return Source(FILE, text)


def check_drive(path: Path, factor: str, fps: float) -> None:
    """Read a file that drives a factor, so that what is wrong with it is found before any work; it is kept."""
    _present(path, factor, _curves(path.resolve(), path.stat().st_mtime_ns, fps).curves)


def load_drive(path: Path, factor: str, frames: int, fps: float) -> Drive:
    """Motion of a file, or tracked in a video, for a factor of a talk of `frames` at `fps`.

    Raises:
        InputError: the file is damaged, shows no face, is in another space, or lacks the factor's channels.
        AssetError: a video, and faces cannot be tracked on this machine.
    """
    found = _curves(path.resolve(), path.stat().st_mtime_ns, fps)
    missing = _present(path, factor, found.curves)
    words = f"{path}{found.words}"
    if missing:
        words += f"; without {', '.join(missing)}"
    clip = _from(found.curves.clip, round(found.start_s * fps), factor)
    if len(clip) < frames:
        how = "then at rest" if factor == "lips" else "played to and fro"
        words += f"; {clip.duration_s:.1f} s, {how}"
    return Drive(fitted(clip, frames, factor), words)


class _Found(NamedTuple):
    """Curves of a file, when they begin, and what they are in words."""

    curves: Curves
    start_s: float
    words: str


def _present(path: Path, factor: str, curves: Curves) -> list[str]:
    """Channels of a factor that a file lacks; InputError where it lacks all of them."""
    missing = [ARKIT.channels[i] for i in FACTORS[factor] if not curves.present[i]]
    if len(missing) == len(FACTORS[factor]):
        raise InputError(f"motion with the channels of {factor}", f"{path} without any of them", "name another source")
    return missing


def _from(clip: MotionClip, first: int, factor: str) -> MotionClip:
    """The clip as it begins at a frame: before that lips rest, and all else is as in its first frame."""
    if first <= 0:
        return clip
    before = np.repeat(clip.values[:1] * np.float32(factor != "lips"), first, axis=0)
    return MotionClip(np.concatenate([before, clip.values]), clip.fps, clip.space)


@lru_cache(maxsize=8)
def _curves(path: Path, changed_ns: int, fps: float) -> _Found:
    """Curves of a file at a frame rate; those of the last files are kept while the files stay as they are."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return _Found(read_curves(path).at_fps(fps), 0.0, "")
    from avi_lib.face.tracking import track_video

    track = track_video(path, fps)
    longest = max(track.pieces, key=lambda piece: len(piece.curves.clip))
    words = ", tracked"
    if len(track.pieces) > 1:
        words += f", the longest of {len(track.pieces)} pieces"
    if longest.start_s > 0:
        words += f", from {longest.start_s:.2f} s on"
    return _Found(longest.curves, longest.start_s, words)


class Talker:
    """Holds what several recordings share: settings, head and renderer, each made when first needed."""

    def __init__(self, settings: TalkSettings | None = None) -> None:
        self.settings = settings or TalkSettings()

    @cached_property
    def screen(self) -> Screen:
        """The head of the settings, before the camera of the settings."""
        return Screen(self.settings.head, self.settings.render, self.settings.identity)

    @property
    def head(self) -> DrivenHead:
        """The head that is named in the settings."""
        return self.screen.head

    @property
    def generator(self) -> LearnedGenerator | None:
        """The learned generator of the settings, None for the performer."""
        return self._loading[0].result()

    @property
    def prior_sampler(self) -> PriorSampler | None:
        """The prior sampler of the settings, None where styles are the performer's."""
        return self._loading[1].result()

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        """The one thread in which models are loaded."""
        return ThreadPoolExecutor(1, "models")

    @property
    def instructor(self) -> Instructor:
        """Who writes an instruction where none is given."""
        return self._instructor.result()

    @cached_property
    def _instructor(self) -> Future[Instructor]:
        """The instructor, loaded behind the other models: transformers loads one at a time."""
        settings = self.settings
        if settings.instructor != "learned" and not Path(settings.instructor).is_file():
            raise InputError("an instructor: learned, or a file of weights", settings.instructor, "name one of them")
        return self._thread.submit(_load_instructor, settings.instructor, settings.language_model)

    @cached_property
    def _loading(self) -> tuple[Future[LearnedGenerator | None], Future[PriorSampler | None]]:
        """Generator and prior sampler, loaded in a thread while a recording is decoded and its phones are found."""
        settings = self.settings
        performed = settings.generator == "performer"
        for name, value in (("--encoder", settings.encoder), ("--text-encoder", settings.text_encoder)):
            if performed and value is not None:
                raise InputError("an encoder for the learned generator", "one for the performer", f"leave out {name}")
        directed = not performed and settings.prior != "performer"
        if not directed and (settings.sample != SampleSettings() or settings.prior not in ("learned", "performer")):
            do = "leave out --prior, --guidance, --steps, --sampler and --candidates"
            raise InputError("options of the prior where it draws the style", "them with the performer", do)
        for what, kind in (("generator", settings.generator), ("prior", settings.prior)):
            if kind not in ("performer", "learned") and not Path(kind).is_file():
                raise InputError(f"a {what}: learned, performer, or a file of weights", kind, "name one of them")
        generator = self._thread.submit(_load_generator, settings.generator, settings.encoder)
        prior = "performer" if performed else settings.prior
        prior_sampler = self._thread.submit(_load_prior_sampler, prior, settings.text_encoder, generator)
        return generator, prior_sampler

    def prepare(self, video: bool, writes: bool = False) -> None:
        """Make what the settings name, so that a wrong name is found before any work; `writes` with the instructor."""
        sources = _sources(self.settings.factors)
        _ = self.screen.head, self.screen.view, self._loading
        for factor, source in sources.items():
            if source.kind == FILE:
                check_drive(Path(source.value), factor, self.settings.performer.fps)
        if writes:
            _ = self._instructor
        if video:
            _ = self.screen.renderer

    def listen(self, recording: Path, asked: Instruction | Timeline | None = None, text: str | None = None) -> Talk:
        """Load a recording, find its phones (aligned when its `text` is given) and carry out over it what is asked.

        Where nothing is asked the instructor listens too, and writes what the face should do.
        """
        speech = load_speech(recording)
        written = self.instructor.instruct(speech.wave) if asked is None else None
        wanted = _timeline(asked if written is None else written.instruction)
        phones = align_phones(speech.wave, text) if text is not None else recognise_phones(speech.wave)
        heard = prosody(speech.wave, fps=self.settings.performer.fps)
        features = self.generator.listen(speech.wave) if self.generator else None
        talk = self._carry_out(speech, phones, heard, features, wanted, self.settings.seed)
        return replace(talk, written=written)

    def direct(
        self,
        talk: Talk,
        asked: Instruction | Timeline,
        seed: int | None = None,
        factors: Factors | None = None,
        sample: SampleSettings | None = None,
    ) -> Talk:
        """The same recording under another instruction, from the same noise or a seed's, without listening again.

        Factors of the face come from where `factors` says, and styles are drawn as `sample` says, or else the settings.
        Raises InputError for a `sample` where no prior draws the styles.
        """
        if sample is not None and self.prior_sampler is None:
            raise InputError("a sample where the prior draws the style", "one for the performer", "leave it out")
        chosen = talk.seed if seed is None else seed
        heard = (talk.speech, talk.phones, talk.prosody, talk.features)
        return self._carry_out(*heard, _timeline(asked), chosen, factors, sample)

    def _carry_out(
        self,
        speech: Speech,
        phones: PhoneTrack,
        heard: Prosody,
        features: Float32[np.ndarray, "steps dim"] | None,
        timeline: Timeline,
        seed: int,
        factors: Factors | None = None,
        sample: SampleSettings | None = None,
    ) -> Talk:
        performer = Performer(phones.phones, heard, speech.duration_s, self.settings.performer)
        motion, styles = self._perform(performer, features, timeline, seed, sample)
        talk = Talk(speech, phones, heard, timeline, seed, motion, features, styles)
        chosen = factors or self.settings.factors
        strengths = {name: float(getattr(chosen, name).strength) for name in FACTORS}
        sources = _sources(chosen)
        if not sources and set(strengths.values()) == {1.0}:
            return talk
        drives = {factor: self._drive(talk, performer, factor, source, sample) for factor, source in sources.items()}
        driven = compose(motion, {factor: drive.clip for factor, drive in drives.items()}, strengths)
        weighed = (f"{factor}: {strength:g} times" for factor, strength in strengths.items() if strength != 1.0)
        words = (*(f"{factor}: {drive.words}" for factor, drive in drives.items()), *weighed)
        return replace(talk, motion=driven, factors=words)

    def _perform(
        self,
        performer: Performer,
        features: Float32[np.ndarray, "steps dim"] | None,
        timeline: Timeline,
        seed: int,
        sample: SampleSettings | None,
    ) -> tuple[MotionClip, Float32[np.ndarray, "entries style"] | None]:
        """Motion under a timeline, and the styles that the learned generator was told."""
        if self.generator is None:
            return performer.perform_timeline(timeline, seed), None
        assert features is not None, "the learned generator has listened"
        styles = np.stack([self._style(performer, each, seed, sample) for each in timeline.instructions])
        return self.generator.perform_timeline(features, performer, timeline, seed, list(styles)), styles

    def _drive(
        self, talk: Talk, performer: Performer, factor: str, source: Source, sample: SampleSettings | None
    ) -> Drive:
        """Motion for one factor of a talk from another source than its speech, sentence and seed."""
        frames, fps = len(talk.motion), talk.motion.fps
        if source.kind == OFF:
            return Drive(MotionClip(np.zeros_like(talk.motion.values), fps, ARKIT), "off")
        if source.kind == FILE:
            return load_drive(Path(source.value), factor, frames, fps)
        if source.kind == SEED:
            clip, _ = self._perform(performer, talk.features, talk.timeline, int(source.value), sample)
            return Drive(clip, f"seed {source.value}")
        asked = Timeline((Entry(0.0, Instruction.parse(source.value)),))
        clip, _ = self._perform(performer, talk.features, asked, talk.seed, sample)
        return Drive(clip, asked.instructions[0].text)

    def _style(
        self, performer: Performer, instruction: Instruction, seed: int, sample: SampleSettings | None
    ) -> Float32[np.ndarray, " style"]:
        assert self.generator is not None, "styles are for the learned generator"
        if self.prior_sampler is None:
            return self.generator.style_of(performer, instruction, seed)
        return self.prior_sampler.style(instruction.text, seed, sample or self.settings.sample)

    def frames(self, motion: MotionClip) -> Iterator[UInt8[np.ndarray, "height width channels"]]:
        """Pictures of a motion, one at a time."""
        return self.screen.frames(motion)

    def write_video(self, talk: Talk, output: Path) -> None:
        """Render a talk to a video with its sound, atomically."""
        self.screen.write_video(talk, output)

    def close(self) -> None:
        """Stop threads; a model that is being loaded is waited for, the next ones are not."""
        if "_thread" in self.__dict__:
            self._thread.shutdown(cancel_futures=True)
        if "screen" in self.__dict__:
            self.screen.close()

    def __enter__(self) -> Talker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sources(factors: Factors) -> dict[str, Source]:
    """Where the factors of the face come from, those that are the speech's own left out."""
    sources = {name: parse_source(getattr(factors, name).source) for name in FACTORS}
    return {name: source for name, source in sources.items() if source.kind != SPEECH}


def _timeline(asked: Instruction | Timeline | None) -> Timeline:
    assert asked is not None, "given, or written"
    return asked if isinstance(asked, Timeline) else Timeline((Entry(0.0, asked),))


def _load_instructor(kind: str, language: str | None) -> Instructor:
    from avi_lib.instruction.instructor import load_instructor

    return load_instructor(None if kind == "learned" else Path(kind), language=language)


def _load_prior_sampler(
    kind: str, text_encoder: str | None, generator: Future[LearnedGenerator | None]
) -> PriorSampler | None:
    loaded = generator.result()
    if kind == "performer" or loaded is None:
        return None
    from avi_lib.motion.prior import load_prior_sampler

    prior_sampler = load_prior_sampler(None if kind == "learned" else Path(kind), text_encoder)
    prior_sampler.check_fits(loaded.model)
    return prior_sampler


def _load_generator(kind: str, encoder: str | None) -> LearnedGenerator | None:
    if kind == "performer":
        return None
    from avi_lib.motion.generator import load_generator

    return load_generator(None if kind == "learned" else Path(kind), encoder)
