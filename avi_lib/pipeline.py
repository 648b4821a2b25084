"""The one place that joins the stages: speech -> instruction -> motion -> face -> video and data.

>>> with Talker() as talker:
...     talk = talker.listen(Path("my.wav"))                               # the instruction is written
...     talk = talker.direct(talk, Instruction.parse("She is furious."))   # and may be another one
...     talker.write_video(talk, Path("angry.mp4"))
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from avi_lib.errors import InputError
from avi_lib.face.egl_probe import probe_egl
from avi_lib.face.head import Head, load_head
from avi_lib.face.renderer import Renderer, choose_renderer
from avi_lib.face.video import write_video
from avi_lib.face.view import View
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Entry, Timeline
from avi_lib.motion.clip import MotionClip, load_motion, save_motion
from avi_lib.motion.livelink import load_livelink, save_livelink
from avi_lib.motion.performer import Performer
from avi_lib.settings import SampleSettings, TalkSettings
from avi_lib.speech.align import align_phones
from avi_lib.speech.audio import Speech, load_speech
from avi_lib.speech.phones import PhoneTrack
from avi_lib.speech.prosody import Prosody, prosody
from avi_lib.speech.recognise import recognise_phones

if TYPE_CHECKING:
    from avi_lib.instruction.instructor import Instructor, Written
    from avi_lib.motion.director import Director
    from avi_lib.motion.learned import LearnedGenerator

CHUNK_FRAMES = 100
"""Frames deformed at a time: memory stays the same for any length."""


@dataclass(frozen=True)
class Talk:
    """One talking face: what was heard, what was asked for, and the motion that carries it out.

    Attributes:
        timeline: what was asked for; a single instruction is a timeline of one.
        seed: of every random choice in the motion.
        features: what the learned generator heard; None for the performer.
        styles: (entries, 128), what the learned generator was told; None for the performer.
        written: how the instruction was written; None where it was given.
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

    @property
    def instruction(self) -> Instruction:
        """What was asked for first."""
        return self.timeline.instructions[0]


class Talker:
    """Holds what several recordings share: settings, head and renderer, each made when first needed."""

    def __init__(self, settings: TalkSettings | None = None) -> None:
        self.settings = settings or TalkSettings()

    @cached_property
    def head(self) -> Head:
        """The head named in the settings."""
        return load_head(self.settings.head)

    @cached_property
    def renderer(self) -> tuple[Renderer, str]:
        """The renderer and the reason for its choice."""
        render = self.settings.render
        if render.renderer == "auto":
            self._probing.join()
        return choose_renderer(self.head, View.square(render.size), render.renderer)

    @cached_property
    def _probing(self) -> Thread:
        """A thread that finds out whether EGL works; `probe_egl` remembers the answer."""
        thread = Thread(target=probe_egl, name="probe")
        thread.start()
        return thread

    @property
    def generator(self) -> LearnedGenerator | None:
        """The learned generator of the settings, None for the performer."""
        return self._loading[0].result()

    @property
    def director(self) -> Director | None:
        """The director of the settings, None where styles are the performer's."""
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
    def _loading(self) -> tuple[Future[LearnedGenerator | None], Future[Director | None]]:
        """Generator and director, loaded in a thread: meanwhile a recording is decoded and its phones are found."""
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
        director = self._thread.submit(_load_director, prior, settings.text_encoder, generator)
        return generator, director

    def prepare(self, video: bool, writes: bool = False) -> None:
        """Make what the settings name, so that a wrong name is found before any work; `writes` with the instructor.

        Whether EGL works is found out in a child process, while models are loaded and a recording is listened to.
        """
        auto = self.settings.render.renderer == "auto"
        if video and auto:
            _ = self._probing
        _ = self.head, self._loading
        if writes:
            _ = self._instructor
        if video and not auto:
            _ = self.renderer

    def listen(self, recording: Path, asked: Instruction | Timeline | None = None, text: str | None = None) -> Talk:
        """Load a recording, find its phones (aligned when its `text` is given) and carry out over it what is asked.

        Where nothing is asked the instructor listens too, and writes what the face should do.
        """
        speech = load_speech(recording)
        written = self.instructor.instruct(speech.wave, text) if asked is None else None
        wanted = _timeline(asked if written is None else written.instruction)
        phones = align_phones(speech.wave, text) if text is not None else recognise_phones(speech.wave)
        heard = prosody(speech.wave, fps=self.settings.performer.fps)
        features = self.generator.listen(speech.wave) if self.generator else None
        talk = self._carry_out(speech, phones, heard, features, wanted, self.settings.seed)
        return replace(talk, written=written)

    def direct(self, talk: Talk, asked: Instruction | Timeline, seed: int | None = None) -> Talk:
        """The same recording under another instruction, from the same noise or a seed's, without listening again."""
        chosen = talk.seed if seed is None else seed
        return self._carry_out(talk.speech, talk.phones, talk.prosody, talk.features, _timeline(asked), chosen)

    def _carry_out(
        self,
        speech: Speech,
        phones: PhoneTrack,
        heard: Prosody,
        features: Float32[np.ndarray, "steps dim"] | None,
        timeline: Timeline,
        seed: int,
    ) -> Talk:
        performer = Performer(phones.phones, heard, speech.duration_s, self.settings.performer)
        if self.generator is None:
            return Talk(speech, phones, heard, timeline, seed, performer.perform_timeline(timeline, seed))
        assert features is not None, "the learned generator has listened"
        styles = np.stack([self._style(performer, instruction, seed) for instruction in timeline.instructions])
        motion = self.generator.perform_timeline(features, performer, timeline, seed, list(styles))
        return Talk(speech, phones, heard, timeline, seed, motion, features, styles)

    def _style(self, performer: Performer, instruction: Instruction, seed: int) -> Float32[np.ndarray, " style"]:
        assert self.generator is not None, "styles are for the learned generator"
        if self.director is None:
            return self.generator.style_of(performer, instruction, seed)
        return self.director.style(instruction.text, seed, self.settings.sample)

    def frames(self, motion: MotionClip) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """Pictures of a motion, one at a time."""
        return self.renderer[0].stream(self._vertices(motion))

    def write_video(self, talk: Talk, output: Path) -> None:
        """Render a talk to H.264 with its sound, atomically."""
        write_video(output, self._shown(talk.motion), talk.motion.fps, talk.speech.wave, talk.speech.rate_hz)

    def _shown(self, motion: MotionClip) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """The pictures of a motion with a progress bar, where there is a terminal to show it on."""
        yield from tqdm(self.frames(motion), "rendering", len(motion), unit=" frames", leave=False, disable=None)

    def _vertices(self, motion: MotionClip) -> Iterator[Float32[np.ndarray, "V 3"]]:
        for start in range(0, len(motion), CHUNK_FRAMES):
            yield from self.head.deform(motion.values[start : start + CHUNK_FRAMES])

    def close(self) -> None:
        """Give back threads and graphics memory; a model that is being loaded is waited for, the next ones are not."""
        if "_thread" in self.__dict__:
            self._thread.shutdown(cancel_futures=True)
        if "renderer" in self.__dict__:
            self.renderer[0].close()

    def __enter__(self) -> Talker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _timeline(asked: Instruction | Timeline | None) -> Timeline:
    assert asked is not None, "given, or written"
    return asked if isinstance(asked, Timeline) else Timeline((Entry(0.0, asked),))


def _load_instructor(kind: str, language: str | None) -> Instructor:
    from avi_lib.instruction.instructor import load_instructor

    return load_instructor(None if kind == "learned" else Path(kind), language=language)


def _load_director(kind: str, text_encoder: str | None, generator: Future[LearnedGenerator | None]) -> Director | None:
    loaded = generator.result()
    if kind == "performer" or loaded is None:
        return None
    from avi_lib.motion.director import load_director

    director = load_director(None if kind == "learned" else Path(kind), text_encoder)
    director.must_direct(loaded.model)
    return director


def _load_generator(kind: str, encoder: str | None) -> LearnedGenerator | None:
    if kind == "performer":
        return None
    from avi_lib.motion.learned import load_generator

    return load_generator(None if kind == "learned" else Path(kind), encoder)


MOTION_SUFFIXES = (".npz", ".csv")


def write_motion(motion: MotionClip, output: Path) -> None:
    """Write motion as npz or Live Link Face CSV, by the suffix of `output`."""
    check_motion_suffix(output)
    (save_livelink if output.suffix.lower() == ".csv" else save_motion)(motion, output)


def read_motion(path: Path) -> MotionClip:
    """Read motion from npz or Live Link Face CSV, by the suffix of `path`."""
    check_motion_suffix(path)
    return load_livelink(path) if path.suffix.lower() == ".csv" else load_motion(path)


def check_motion_suffix(path: Path) -> None:
    """Raise InputError unless the suffix names a motion format."""
    if path.suffix.lower() not in MOTION_SUFFIXES:
        raise InputError(f"a motion file ending in {' or '.join(MOTION_SUFFIXES)}", str(path), "change the suffix")
