"""The one place that joins the stages: speech -> instruction -> motion -> face -> video and data.

>>> with Talker() as talker:
...     talk = talker.listen(Path("my.wav"))                               # the instruction is written
...     talk = talker.direct(talk, understand("She is furious."))   # and may be another one
...     talker.write_video(talk, Path("angry.mp4"))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from avi_lib.errors import InputError, expect
from avi_lib.face.camera import FRAMINGS, TRANSPARENT, View
from avi_lib.face.head import RiggedHead, load_any_head
from avi_lib.face.people import VOICE, Chosen, choose
from avi_lib.face.portrait import SYNTHETIC, Portrait, is_photo, load_portrait
from avi_lib.face.video import Strip, captioned, columns_of, container_of, tiled, write_video
from avi_lib.instruction.instruction import Instruction, Timeline, as_timeline, in_order, understand
from avi_lib.motion.clip import ARKIT, FACTORS, MotionClip, compose, fitted
from avi_lib.motion.formats import READABLE, load_arkit
from avi_lib.motion.performer import Performer
from avi_lib.settings import Factors, RenderSettings, SampleSettings, TalkSettings
from avi_lib.speech.decode import VIDEO_SUFFIXES
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import SILENCE, PhoneTrack
from avi_lib.speech.prosody import Prosody
from avi_lib.speech.voice import Voice

if TYPE_CHECKING:
    from avi_lib.face.raster import Rasteriser
    from avi_lib.instruction.instructor import Instructor, Written
    from avi_lib.motion.generator import LearnedGenerator
    from avi_lib.motion.prior import PriorSampler


_AT_REST = MotionClip(np.zeros((1, len(ARKIT)), np.float32), 25.0, ARKIT)


@dataclass(frozen=True, eq=False)
class Talk:
    """One talking face: its speech, what was asked for, and the motion that carries it out.

    Attributes:
        timeline: what was asked for; a single instruction is a timeline of one.
        seed: of every random choice in the motion.
        features: what the learned generator reads of the speech; None for the performer.
        styles: (entries, 128), one for each instruction; None for the performer.
        written: how the instruction was written; None where it was given.
        factors: where factors of the face come from that are not the speech's own, in words.
        speaker: who of the cast speaks; None where the settings name a head.
        deviations: where the face is not what was understood, in words.
    """

    speech: Voice
    phones: PhoneTrack
    prosody: Prosody
    timeline: Timeline
    seed: int
    motion: MotionClip = _AT_REST
    features: Float32[np.ndarray, "steps dim"] | None = None
    styles: Float32[np.ndarray, "entries style"] | None = None
    written: Written | None = None
    factors: tuple[str, ...] = ()
    speaker: Chosen | None = None
    deviations: tuple[str, ...] = ()

    @property
    def instruction(self) -> Instruction:
        """What was asked for first."""
        return self.timeline.instructions[0]

    @property
    def notes(self) -> list[str]:
        """What was asked for and is not to be seen as it was asked for, in words."""
        end_s, entries = self.speech.duration_s, self.timeline.entries
        late = [entry for entry in entries[1:] if entry.at_s >= end_s]
        notes = [f"the recording ends at {end_s:.2f} s, before the instruction at {each.at_s:g} s" for each in late]
        mixed = [entry for entry in entries if len(in_order(entry.instruction)) > 1]
        do = "give each part a time of its own"
        return notes + [f"what the instruction at {each.at_s:g} s asks for in order is mixed: {do}" for each in mixed]


LEAST_MEASURED_S = 1.0  # speech under an instruction that is long enough to say whether the face is what was understood
CHUNK_FRAMES = 16  # frames deformed at a time, while others are drawn: memory stays the same for any length

R = TypeVar("R", bound="Renderer")
Picture = UInt8[np.ndarray, "height width channels"]
Style = Float32[np.ndarray, " style"]
Shown = UInt8[np.ndarray, "shown width channels"]  # a picture with its strip under it


def _kept(pictures: Iterable[Picture], drawn: list[Picture]) -> Iterator[Picture]:
    """The pictures, which are also put into a list in place of what is there."""
    drawn.clear()
    for picture in pictures:
        drawn.append(picture)
        yield picture


class Renderer:
    """Heads and what draws them, each made when first needed; a context manager.

    Args:
        head: name of a shipped head, a path to one's own or to a photograph, or `people.VOICE` for whoever speaks.
        picture: its size, camera and backdrop, and what is written over it.
        identity: sliders of the head.

    Attributes:
        shown: what is named as the head now; see `become`.
    """

    def __init__(self, head: str, picture: RenderSettings, identity: Mapping[str, float] | None = None) -> None:
        self.picture = picture
        self.shown, self._identity = head, dict(identity or {})
        self._heads: dict[str, RiggedHead] = {}
        self._rasterisers: dict[str, Rasteriser] = {}
        self._drawn: list[tuple[MotionClip, list[Picture]]] = []

    def _named(self, talk: Talk | None) -> str:
        if self.shown != VOICE:
            return self.shown
        return talk.speaker.name if talk and talk.speaker else "open"

    def head_of(self, talk: Talk | None = None) -> RiggedHead:
        """The head that is named, or that of whoever speaks; the open head where that is not known."""
        name = self._named(talk)
        if name not in self._heads:
            photo = is_photo(name)
            if photo and self._identity:
                raise InputError("a head with identity sliders, such as open", name, "leave the sliders out")
            self._heads[name] = (
                load_portrait(Path(name), self.picture) if photo else load_any_head(name, self._identity)
            )
        return self._heads[name]

    def become(self, head: str) -> None:
        """Show another head from now on, named as the first one was; the one before stays where there is no such."""
        before, self.shown = self.shown, head
        try:
            self.head_of()
        except Exception:
            self.shown = before
            raise
        self.__dict__.pop("view", None)
        self._drawn = []

    @cached_property
    def view(self) -> View:
        """The camera and the size of the picture."""
        head = self.head_of() if is_photo(self.shown) else None
        if isinstance(head, Portrait):
            return head.view
        chosen = self.picture
        camera = FRAMINGS[chosen.framing].orbit(chosen.turn_deg, chosen.tilt_deg)
        return View(chosen.width or chosen.size, chosen.size, camera, chosen.backdrop)

    def rasteriser_of(self, talk: Talk | None = None) -> Rasteriser:
        """What draws the head of a talk; numba is loaded for it."""
        from avi_lib.face.raster import Rasteriser

        name = self._named(talk)
        if name not in self._rasterisers:
            head = self.head_of(talk)
            self._rasterisers[name] = head.rasteriser() if isinstance(head, Portrait) else Rasteriser(head, self.view)
        return self._rasterisers[name]

    def check_video(self, path: Path, abreast: int = 1) -> None:
        """Raise InputError unless a video of these pictures, so many abreast, can have this name."""
        transparent = self.picture.backdrop == TRANSPARENT
        container_of(path, transparent)
        if transparent and (self.picture.strip or abreast > 1):
            what = "a strip" if self.picture.strip else "pictures side by side"
            raise InputError(f"an opaque backdrop with {what}", TRANSPARENT, "name a colour")

    def frames(self, motion: MotionClip, talk: Talk | None = None) -> Iterator[Picture]:
        """Pictures of a motion, one at a time, by the head of a talk."""
        drawn = next((pictures for clip, pictures in self._drawn if clip is motion), None)
        if drawn is not None and len(drawn) == len(motion):
            return iter(drawn)
        head, rasteriser = self.head_of(talk), self.rasteriser_of(talk)
        chunks = (range(len(motion))[start : start + CHUNK_FRAMES] for start in range(0, len(motion), CHUNK_FRAMES))
        pictures = rasteriser.draw_all(chain.from_iterable(map(head.move, map(motion.at, chunks))))
        if isinstance(head, Portrait):
            pictures = iter(head.refined(motion, pictures))
        return pictures if drawn is None else _kept(pictures, drawn)

    def remember(self, motions: Sequence[MotionClip]) -> None:
        """Keep the pictures of these motions once they are drawn, and forget those of all others."""
        known = {id(clip): (clip, pictures) for clip, pictures in self._drawn}
        self._drawn = [known.get(id(motion), (motion, [])) for motion in motions]

    def pictures(self, talk: Talk, caption: bool = False, picks: Sequence[int] | None = None) -> Iterator[Shown]:
        """Pictures of a talk, or of the frames `picks`: captioned where it is asked for here or by the settings.

        All frames together have a strip underneath where the settings ask for it; InputError for one of FLAME motion.
        """
        motion, strip = talk.motion if picks is None else talk.motion.at(picks), None
        if self.picture.strip and picks is None:
            if motion.space is not ARKIT:
                raise InputError("a strip of ARKit motion", f"motion of {motion.space.name}", "leave out the strip")
            strip = Strip(motion, self.view.width, self.view.height // 2)
        pictures: Iterator[Shown] = self.frames(motion, talk)
        if caption or self.picture.caption:
            entries, frames = talk.timeline.entries, picks or range(len(motion))
            asked = ([each.instruction for each in entries if each.at_s <= i / motion.fps][-1] for i in frames)
            texts = (each.said or each.text for each in asked)
            pictures = map(captioned, pictures, texts)
        return pictures if strip is None else (np.concatenate([each, strip.at(i)]) for i, each in enumerate(pictures))

    def write_video(self, talk: Talk, output: Path) -> None:
        """Render a talk with its sound, atomically."""
        self.write_comparison([talk], output)

    def write_comparison(self, talks: Sequence[Talk], output: Path) -> None:
        """Render talks of one recording with its sound, atomically: several side by side under their instructions.

        Raises InputError for talks of different lengths, and for several on a transparent backdrop.
        """
        self.check_video(output, abreast=len(talks))
        first, several = talks[0], len(talks) > 1
        if any(len(talk.motion) != len(first.motion) for talk in talks):
            got = ", ".join(f"{len(talk.motion)} frames" for talk in talks)
            raise InputError("talks of the same recording", got, "compare them over one recording")
        pictures, *more = [self.pictures(talk, caption=several) for talk in talks]
        if several:
            pictures = (tiled(shown, columns_of(len(talks))) for shown in zip(pictures, *more, strict=True))
        pictures = iter(tqdm(pictures, "rendering", len(first.motion), unit=" frames", leave=False, disable=None))
        mark = SYNTHETIC if is_photo(self.shown) else ""
        write_video(output, pictures, first.motion.fps, first.speech.wave, first.speech.rate_hz, mark)

    def contact_sheet(self, *talks: Talk, count: int = 8) -> UInt8[np.ndarray, "rows across 3"]:
        """Pictures spread evenly over a talk, each under its time; of several, with their sentences, row by row.

        A transparent backdrop is shown as black.
        """
        sheets = []
        for talk in talks:
            picks = ((np.arange(count) + 0.5) / count * len(talk.motion)).astype(int).tolist()
            titles = [f"{pick / talk.motion.fps:.2f} s" for pick in picks]
            pictures = self.pictures(talk, caption=len(talks) > 1, picks=picks)
            sheets.append(np.split(tiled([picture[..., :3] for picture in pictures], 4, titles), -(-count // 4)))
        return np.concatenate([row for rows in zip(*sheets, strict=True) for row in rows])

    def close(self) -> None:
        """Stop the threads that draw."""
        for rasteriser in self._rasterisers.values():
            rasteriser.close()

    def __enter__(self: R) -> R:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


SPEECH, OFF, SEED, TEXT, FILE = "speech", "off", "seed", "text", "file"


def parse_source(text: str) -> tuple[str, str]:
    """Where a factor comes from, as it is written on the command line: its kind, and which seed, sentence or file.

    Raises InputError for a text that names no source, or a missing file.
    """
    kind, colon, value = text.partition(":")
    is_seed = kind == SEED and value.isdecimal() and len(value) < 20 and int(value) < 2**63
    if text in (SPEECH, OFF) or is_seed or (colon and kind == TEXT and value.strip()):
        return kind, value
    if Path(text).suffix.lower() not in {*VIDEO_SUFFIXES, *READABLE} or not Path(text).is_file():
        do = f"write {SPEECH}, {OFF}, {SEED}:7, {TEXT}:SENTENCE, or a file of motion or video"
        gone = ", which is not there" if Path(text).suffix.lower() in {*VIDEO_SUFFIXES, *READABLE} else ""
        raise InputError("a source of a factor", f"{text[:200]!r}{gone}", do)
    return FILE, text


def load_factor(path: Path, factor: str, frames: int, fps: float) -> tuple[MotionClip, str]:
    """Motion of a file, or tracked in a video, for a factor of a talk of `frames` at `fps`; and what it is in words.

    Before a face is seen in a video lips rest, and all else is as in the first frame with a face.

    Raises:
        InputError: the file is damaged, shows no face, is in another space, or lacks the factor's channels.
        AssetError: a video, and faces cannot be tracked on this machine.
    """
    clip, words = _motion(path.resolve(), path.stat().st_mtime_ns, fps)
    missing = [ARKIT.channels[i] for i in FACTORS[factor] if not clip.present[i]]
    if len(missing) == len(FACTORS[factor]):
        raise InputError(f"motion with the channels of {factor}", f"{path} without any of them", "name another source")
    words = f"{path}{words}" + (f"; without {', '.join(missing)}" if missing else "")
    if (first := round(clip.start_s * fps)) > 0:
        before = np.repeat(clip.values[:1] * np.float32(factor != "lips"), first, axis=0)
        clip = MotionClip(np.concatenate([before, clip.values]), clip.fps, clip.space)
    if len(clip) < frames:
        words += f"; {clip.duration_s:.1f} s, {'then at rest' if factor == 'lips' else 'played to and fro'}"
    return fitted(clip, frames, factor), words


@lru_cache(maxsize=8)
def _motion(path: Path, changed_ns: int, fps: float) -> tuple[MotionClip, str]:
    """Motion of a file at a frame rate, and what it is in words; kept until the file changes."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        clip = load_arkit(path).at_fps(fps)
        return clip, "".join(f"; {line}" for line in clip.lines())
    from avi_lib.face.tracking import track_video

    track = track_video(path, fps)
    longest = max(track.pieces, key=len)
    words = ", tracked"
    if len(track.pieces) > 1:
        words += f", the longest of {len(track.pieces)} pieces"
    if longest.start_s > 0:
        words += f", from {longest.start_s:.2f} s on"
    return longest, words


class Talker(Renderer):
    """Makes talks of recordings and shows them; models and heads are loaded once, when first needed."""

    def __init__(self, settings: TalkSettings | None = None) -> None:
        self.settings = settings or TalkSettings()
        super().__init__(self.settings.head, self.settings.render, self.settings.identity)

    @property
    def head(self) -> RiggedHead:
        """The head that is named in the settings; the open head where it follows the voice."""
        return self.head_of()

    @property
    def generator(self) -> LearnedGenerator | None:
        """The learned generator of the settings, None for the performer."""
        return self._loading[0].result()

    @property
    def prior_sampler(self) -> PriorSampler | None:
        """The diffusion prior of the settings, None where styles are the performer's."""
        return self._loading[1].result()

    @property
    def instructor(self) -> Instructor:
        """What writes an instruction where none is given."""
        return self._instructor.result()

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        """The one thread in which models are loaded: transformers loads one at a time."""
        return ThreadPoolExecutor(1, "models")

    def _loaded(self, module: str, function: str, *given: Any, **named: Any) -> Future[Any]:
        """What a function of a module will give, which is imported and called in the models' thread."""
        return self._thread.submit(lambda: getattr(import_module(f"avi_lib.{module}"), function)(*given, **named))

    @cached_property
    def _instructor(self) -> Future[Instructor]:
        weights = _weights("an instructor: learned", self.settings.instructor)
        return self._loaded("instruction.instructor", "load_instructor", weights, language=self.settings.language_model)

    @cached_property
    def _loading(self) -> tuple[Future[LearnedGenerator | None], Future[PriorSampler | None]]:
        """Generator and prior, loaded in a thread: meanwhile a recording is decoded and its phones are found."""
        settings = self.settings
        performed = settings.generator == "performer"
        for name, value in (("--encoder", settings.encoder), ("--text-encoder", settings.text_encoder)):
            if performed and value is not None:
                raise InputError("an encoder for the learned generator", "one for the performer", f"leave out {name}")
        sampled = not performed and settings.prior != "performer"
        if not sampled and (settings.sample != SampleSettings() or settings.prior not in ("learned", "performer")):
            do = "leave out --prior, --guidance and --steps"
            raise InputError("options of the prior where it draws the style", "them with the performer", do)
        weights = _weights("a generator: learned, performer", settings.generator)
        of_prior = _weights("a prior: learned, performer", settings.prior)
        nothing: Future[Any] = Future()
        nothing.set_result(None)
        return (
            nothing if performed else self._loaded("motion.generator", "load_generator", weights, settings.encoder),
            self._loaded("motion.prior", "load_prior_sampler", of_prior, settings.text_encoder) if sampled else nothing,
        )

    def style(self, asked: Instruction, seed: int, sample: SampleSettings | None = None) -> Style:
        """A style (128,) for an instruction, drawn by the prior of the settings."""
        assert self.prior_sampler is not None, "the settings have a prior"
        return self.prior_sampler.style(asked, seed, sample or self.settings.sample)

    def prepare(self, video: bool, writes: bool = False) -> None:
        """Make what the settings name, so that a wrong name is found before any work; `writes` with the instructor."""
        sources = _sources(self.settings.factors)
        _ = self.head, self.view, self._loading
        for factor, (kind, value) in sources.items():
            if kind == FILE:
                load_factor(Path(value), factor, 1, self.settings.performer.fps)
        if writes:
            _ = self._instructor
        if video and self.settings.head != VOICE:
            _ = self.rasteriser_of()

    def listen(
        self,
        recording: Path | Voice,
        asked: Instruction | Timeline | None = None,
        text: str | None = None,
        seed: int | None = None,
    ) -> Talk:
        """Load a recording, find its phones (aligned when its `text` is given) and carry out over it what is asked.

        Where nothing is asked the instructor writes what the face should do. The seed is that of the settings, or
        another one.
        """
        speech = recording if isinstance(recording, Voice) else load_voice(recording)
        written = None
        if asked is None:
            written = self.instructor.instruct(speech)
            asked = written.instruction
        talk = Talk(
            speech,
            speech.phones(text),
            speech.prosody(self.settings.performer.fps),
            as_timeline(asked, speech.duration_s),
            self.settings.seed if seed is None else seed,
            features=speech.features(self.generator.encoder) if self.generator else None,
            written=written,
            speaker=choose(speech) if self.shown == VOICE else None,
        )
        return self._carry_out(talk, self.settings.factors, self.settings.sample)

    def direct(
        self,
        talk: Talk,
        asked: Instruction | Timeline,
        seed: int | None = None,
        factors: Factors | None = None,
        sample: SampleSettings | None = None,
    ) -> Talk:
        """The same recording under another instruction, from the same noise or a seed's; the speech is not read again.

        Factors of the face come from where `factors` says, and styles are drawn as `sample` says, or else the settings.
        Raises InputError for a `sample` where no prior draws the styles.
        """
        if sample is not None and self.prior_sampler is None:
            raise InputError("a sample where the prior draws the style", "one for the performer", "leave it out")
        seed = talk.seed if seed is None else seed
        draft = replace(talk, timeline=as_timeline(asked, talk.speech.duration_s), seed=seed, written=None, factors=())
        return self._carry_out(draft, factors or self.settings.factors, sample or self.settings.sample)

    def _carry_out(self, draft: Talk, factors: Factors, sample: SampleSettings) -> Talk:
        """A talk with its motion."""
        performer = Performer(draft.phones.phones, draft.prosody, draft.speech.duration_s, self.settings.performer)

        def perform(timeline: Timeline, seed: int) -> tuple[MotionClip, Float32[np.ndarray, "entries style"] | None]:
            if self.generator is None:
                return performer.perform_timeline(timeline, seed), None
            assert draft.features is not None, "the learned generator reads them"
            drawn_by_prior, performed = partial(self.style, sample=sample), partial(self.generator.style_of, performer)
            draw = drawn_by_prior if self.prior_sampler else performed
            drawn = {each: draw(each, seed) for each in dict.fromkeys(timeline.instructions)}
            styles = [drawn[each] for each in timeline.instructions]
            motion = self.generator.perform_timeline(draft.features, performer, timeline, seed, styles)
            return motion, np.stack(styles)

        motion, styles = perform(draft.timeline, draft.seed)
        clips, words = {}, []
        for factor, (kind, value) in _sources(factors).items():
            if kind == OFF:
                clips[factor], what = replace(motion, values=np.zeros_like(motion.values)), "off"
            elif kind == FILE:
                clips[factor], what = load_factor(Path(value), factor, len(motion), motion.fps)
            elif kind == SEED:
                clips[factor], what = perform(draft.timeline, int(value))[0], f"seed {value}"
            else:
                asked = understand(value)
                clips[factor], what = perform(as_timeline(asked, draft.speech.duration_s), draft.seed)[0], asked.text
            words.append(f"{factor}: {what}")
        strengths = {name: float(getattr(factors, name).strength) for name in FACTORS}
        words += [f"{factor}: {strength:g} times" for factor, strength in strengths.items() if strength != 1.0]
        found = () if words else self._deviations(draft, motion)
        if words:
            motion = compose(motion, clips, strengths)
        return replace(draft, motion=motion, styles=styles, factors=tuple(words), deviations=found)

    def _deviations(self, draft: Talk, motion: MotionClip) -> tuple[str, ...]:
        """Where the face is not what was understood, while there is speech, entry by entry."""
        from avi_lib.motion.prior import deviations

        spoken = [each for each in draft.phones.phones if each.phone != SILENCE] or draft.phones.phones
        entries, found = draft.timeline.entries, dict[str, None]()
        ends_s = [*(entry.at_s for entry in entries[1:]), spoken[-1].end_s]
        for entry, end_s in zip(entries, ends_s, strict=True):
            first, last = max(entry.at_s + entry.fade_s / 2, spoken[0].start_s), min(end_s, spoken[-1].end_s)
            frames = range(round(first * motion.fps), min(round(last * motion.fps), len(motion)))
            if len(frames) >= LEAST_MEASURED_S * motion.fps:
                prior = self.prior_sampler.prior if self.prior_sampler else None
                found |= dict.fromkeys(deviations(entry.instruction, motion.at(frames), prior))
        return tuple(found)

    def close(self) -> None:
        """Stop threads; a model that is being loaded is waited for, the next ones are not."""
        if "_thread" in self.__dict__:
            self._thread.shutdown(cancel_futures=True)
        super().close()


def _sources(factors: Factors) -> dict[str, tuple[str, str]]:
    """Where the factors of the face come from, those that are the speech's own left out."""
    sources = {name: parse_source(getattr(factors, name).source) for name in FACTORS}
    return {name: source for name, source in sources.items() if source[0] != SPEECH}


def _weights(what: str, name: str) -> Path | None:
    """A file of weights, None for what is shipped or made by rules; InputError for another name."""
    if name in ("learned", "performer"):
        return None
    expect(Path(name).is_file(), f"{what}, or a file of weights", name, "name one of them")
    return Path(name)


@cache
def _talker() -> Talker:
    """What the functions below share: the shipped models and the open head, each loaded once."""
    return Talker()


def instruct(voice: Voice) -> Written:
    """The instruction that the language model writes for a voice, with the probability of every emotion."""
    return _talker().instructor.instruct(voice)


def draw_style(asked: Instruction, seed: int = 0) -> Style:
    """A style (128,) for an instruction, drawn by the diffusion prior."""
    return _talker().style(asked, seed)


def talk(voice: Voice, asked: Instruction | Timeline | None = None, *, text: str | None = None, seed: int = 0) -> Talk:
    """A talking face of a voice under what is asked, or else under the instruction that the language model writes.

    text: what is said, for sharper lips; seed: of every random choice.
    """
    return _talker().listen(voice, asked, text, seed)


def render(made: Talk, path: Path | str) -> Path:
    """Write a talk as a video with its sound, mp4 or webm, and return its path."""
    _talker().write_video(made, Path(path))
    return Path(path)
