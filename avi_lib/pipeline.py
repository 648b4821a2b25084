"""The one place that joins the stages: speech -> instruction -> motion -> face -> video and data.

>>> with Talker() as talker:
...     talk = talker.listen(Path("my.wav"))                               # the instruction is written
...     talk = talker.direct(talk, Instruction.parse("She is furious."))   # and may be another one
...     talker.write_video(talk, Path("angry.mp4"))
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.driving import FILE, OFF, SEED, SPEECH, Drive, Source, check_drive, load_drive, parse_source
from avi_lib.errors import InputError
from avi_lib.face.driven import DrivenHead
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Entry, Timeline
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.factors import FACTORS, compose
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import ARKIT
from avi_lib.screen import Screen
from avi_lib.settings import Factors, SampleSettings, TalkSettings
from avi_lib.speech.align import align_phones
from avi_lib.speech.audio import Speech, load_speech
from avi_lib.speech.phones import PhoneTrack
from avi_lib.speech.prosody import Prosody, prosody
from avi_lib.speech.recognise import recognise_phones
from avi_lib.talk import Talk

if TYPE_CHECKING:
    from avi_lib.instruction.instructor import Instructor
    from avi_lib.motion.director import Director
    from avi_lib.motion.learned import LearnedGenerator


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
        written = self.instructor.instruct(speech.wave, text) if asked is None else None
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
        if sample is not None and self.director is None:
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
        if self.director is None:
            return self.generator.style_of(performer, instruction, seed)
        return self.director.style(instruction.text, seed, sample or self.settings.sample)

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
