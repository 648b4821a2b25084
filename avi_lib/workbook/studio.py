"""What the playground's page works with, without widgets: models, one recording, talks of it as videos and files.

>>> studio = Studio(TalkSettings(render=RenderSettings(size=256)), project_root())
>>> studio.listen(studio.recording("data/samples/arctic.flac"))
>>> video = studio.video(list(studio.talks({"B": Request(timeline, seed=7)}).values()))
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
import traceback
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml
from IPython.core.getipython import get_ipython
from PIL import Image

from avi_lib.errors import InputError, cause
from avi_lib.face.head import HEADS
from avi_lib.face.people import cast, choose
from avi_lib.files import atomic_path, cached, file_sha256, make_folder
from avi_lib.instruction.action_units import STRENGTH_WORDS
from avi_lib.instruction.grammar import SPEAKERS, Speaker, describe
from avi_lib.instruction.instruction import Instruction, Timeline, as_json, as_timeline, in_order
from avi_lib.models import cache_folder
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.formats import save_motion, writable_here
from avi_lib.settings import Factors, RenderSettings, SampleSettings, TalkSettings
from avi_lib.speech.voice import Voice
from avi_lib.talker import Renderer, Talk, Talker

if TYPE_CHECKING:
    from avi_lib.instruction.instructor import Written

PREVIEW_S = 8.0  # length of a preview; of longer recordings it shows a part
FACE_PX = 88  # side of the pictures that people are chosen from

VIDEO, REQUEST = ".mp4", ".json"
KINDS = (VIDEO, *writable_here(), REQUEST)  # what a face is saved as; `.json` holds the request

A, B = "A", "B"  # names of the face that is kept for comparison, and of the one that is edited

STRENGTHS = {"without": 0.0} | {words.before[0] or "plainly": words.strength for words in STRENGTH_WORDS}
"""Strengths of an action unit by the word that says them; `without` forbids it, no word at all is `plainly`."""

LEVELS = {1: "mild", 2: "plain", 3: "intense"}
REGIONS: dict[str, list[str]] = yaml.load(Path(__file__).with_name("regions.yaml").read_bytes(), yaml.CSafeLoader)
"""Every action unit, where a person looks for it."""

SAMPLES = Path("data", "samples")
MOST_SENT_MB = 12  # of base64 from the browser: half an hour of speech


def front_end(page: str = "auto") -> tuple[bool, str]:
    """Whether a browser or an editor shows this notebook's controls, and how that is known.

    A front end offers to answer questions (`input`) with every cell it sends; what executes notebooks headless, such as
    papermill, does not. `page` live or static decides it instead. Raises InputError for anything else.
    """
    if page in ("live", "static"):
        return page == "live", f"{page}: asked for by PAGE"
    if page != "auto":
        raise InputError("PAGE among auto, live, static", repr(page), "choose one of them")
    if (kernel := getattr(get_ipython(), "kernel", None)) is None:
        return False, "static: this is no notebook"
    if (kernel.get_parent("shell") or {}).get("content", {}).get("allow_stdin"):
        return True, "live: a front end runs the cells"
    return False, "static: the cells are run headless"


@dataclass(frozen=True)
class Request:
    """Everything that is asked of a face, whatever the recording; further samples take the seeds that follow."""

    timeline: Timeline
    seed: int = 0
    samples: int = 1
    sample: SampleSettings = field(default_factory=SampleSettings)
    factors: Factors = field(default_factory=Factors)

    def as_json(self) -> dict[str, Any]:
        """Enough to make the same again."""
        return {
            "timeline": as_json(self.timeline),
            "seeds": list(range(self.seed, self.seed + self.samples)),
            "sample": self.sample.model_dump(),
            "factors": self.factors.model_dump(),
        }


class Recording(NamedTuple):
    """A file with speech, the name it is shown by, and what is said in it, where that is known."""

    path: Path
    name: str
    words: str = ""


class Studio:
    """Models and one recording; paths are seen from `root`. `samples`: words and description by path."""

    def __init__(self, settings: TalkSettings, root: Path) -> None:
        self.talker, self.root = Talker(settings), root
        self.samples: dict[str, tuple[str, str]] = {}
        if (index := root / SAMPLES / "index.csv").is_file():
            with index.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    path = (SAMPLES / row["file"]).as_posix()
                    self.samples[path] = row["text"], f"{row['emotion']}, {row['duration_s']} s"
        self._received = tempfile.TemporaryDirectory(prefix="avi-playground-")
        self._neutral: Talk | None = None
        # what an edit leaves as it is, such as the face it is compared with, is not made again
        self._direct, self._part = lru_cache(8)(lambda *asked: self.talker.direct(*asked)), lru_cache(8)(part_of)

    def recording(self, path: str, words: str = "") -> Recording:
        """The recording at a path; the words of shipped samples are known."""
        return Recording(self.root / path, Path(path).name, words or self.samples.get(path, ("", ""))[0])

    def received(self, content: bytes, name: str) -> Recording:
        """What came through the browser, stored in a temporary folder under the plain letters of its name."""
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[-80:].lstrip(".") or "speech"
        path = Path(tempfile.mkdtemp(dir=self._received.name), plain)
        path.write_bytes(content)
        return Recording(path, name)

    @property
    def neutral(self) -> Talk:
        """The recording under a neutral face; InputError while there is none."""
        if self._neutral is None:
            raise InputError("a recording", "none yet", "choose one under Speech")
        return self._neutral

    def listen(self, recording: Recording) -> Talk:
        """Load a recording; InputError where it cannot be used, and the one before is kept."""
        neutral = Instruction.parse("A person feels no particular emotion.")
        talk = self.talker.listen(recording.path, neutral, recording.words.strip() or None)
        self._neutral = replace(talk, speech=talk.speech.named(recording.name), speaker=choose(talk.speech))
        if self.talker.prior_sampler is not None:
            self.talker.prior_sampler.encoder.load()  # the first edit need not wait for it
        return self._neutral

    def faces(self) -> dict[str, bytes]:
        """A picture of everybody of the cast, as a PNG by name; drawn once on a machine."""

        def draw() -> dict[str, np.ndarray]:
            drawn, at_rest = {}, MotionClip(np.zeros((1, len(ARKIT)), np.float32), 25.0, ARKIT)
            for person in cast():
                with Renderer(person.name, RenderSettings(size=FACE_PX, framing="face")) as renderer:
                    drawn[person.name] = next(renderer.frames(at_rest))
            return drawn

        key = {"what": "faces", "heads": {name: file_sha256(path) for name, path in HEADS.items()}, "size": FACE_PX}
        kept, pictures = cached(cache_folder() / "faces", key, draw), {}
        for person in cast():
            sink = BytesIO()
            Image.fromarray(kept[person.name]).save(sink, "PNG")
            pictures[person.name] = sink.getvalue()
        return pictures

    def talks(self, requests: Mapping[str, Request]) -> dict[str, Talk]:
        """The recording under named requests: a talk by the name of each, or one for every seed of several samples."""
        made = {}
        for name, request in requests.items():
            sample, asked = request.sample if self.talker.prior_sampler is not None else None, request.timeline
            if len(asked.entries) == 1 and len(in_order(only := asked.entries[0].instruction)) > 1:
                asked = as_timeline(only, self.neutral.speech.duration_s)
            for seed in range(request.seed, request.seed + request.samples):
                label = name if request.samples == 1 else f"{name}, seed {seed}"
                made[label] = self._direct(self.neutral, asked, seed, request.factors, sample)
        return made

    def video(self, talks: Sequence[Talk], start_s: float = 0.0) -> bytes:
        """Talks side by side as mp4, or a single one without its caption; at most `PREVIEW_S` seconds from `start_s`.

        Pictures of the first two are kept: the one that an edit is compared with is not drawn anew.
        """
        parts = [self._part(talk, start_s, PREVIEW_S) for talk in talks]
        self.talker.remember([part.motion for part in parts[:2]])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "preview.mp4"
            self.talker.write_comparison(parts, path)
            return path.read_bytes()

    def save(
        self, talks: Mapping[str, Talk], request: Request, folder: Path, name: str, kinds: Sequence[str], size: int
    ) -> list[Path]:
        """Write one video of all talks, `size` pixels high, the motion of each but A, and the request; atomically.

        Motions are numbered by their seeds where there are several. Raises InputError for a name that is none, or for
        no kind among `KINDS`.
        """
        if not name.strip() or Path(name).name != name or name.startswith("."):
            raise InputError("a name for the files, without a folder", repr(name), "write one such as furious")
        if not kinds:
            raise InputError(f"a kind of file among {', '.join(KINDS)}", "none", "tick one")
        make_folder(folder)
        paths = [folder / f"{name}{VIDEO}"] if VIDEO in kinds else []
        if paths:
            settings = self.talker.settings
            render = settings.render.model_copy(update={"size": size})
            with Renderer(self.talker.shown, render, settings.identity) as renderer:
                renderer.write_comparison(list(talks.values()), paths[0])
        moved = [talk for label, talk in talks.items() if label != A or len(talks) == 1]
        for suffix in (each for each in KINDS[1:-1] if each in kinds):
            for talk in moved:
                paths.append(folder / f"{name}{f'-{talk.seed}' if len(moved) > 1 else ''}{suffix}")
                save_motion(talk.motion, paths[-1], self.talker.head_of(talk))
        if REQUEST in kinds:
            paths.append(folder / f"{name}{REQUEST}")
            with atomic_path(paths[-1]) as temporary:
                temporary.write_text(json.dumps(request.as_json(), indent=2) + "\n", "utf-8")
        return paths

    def close(self) -> None:
        """Give back the models' threads and graphics memory, and remove what came through the browser."""
        self.talker.close()
        self._received.cleanup()


def part_of(talk: Talk, start_s: float, most_s: float) -> Talk:
    """At most `most_s` seconds of a talk, with the sound and the timeline as they are there."""
    fps, rate = talk.motion.fps, talk.speech.rate_hz
    first = min(int(start_s * fps), len(talk.motion) - 1)
    last = min(first + max(round(most_s * fps), 1), len(talk.motion))
    if first == 0 and last == len(talk.motion):
        return talk
    from_s = first / fps
    wave = talk.speech.wave[round(from_s * rate) : round(last / fps * rate)]
    past = [entry for entry in talk.timeline.entries if entry.at_s <= from_s]
    later = talk.timeline.entries[len(past) :]
    entries = [replace(entry, at_s=max(entry.at_s - from_s, 0.0)) for entry in (*past[-1:], *later)]
    speech, timeline = Voice(wave, talk.speech.report), Timeline(tuple(entries))
    return replace(talk, motion=talk.motion.at(range(first, last)), timeline=timeline, speech=speech)


class _First(np.random.Generator):
    """Draws the first of everything, in the order given."""

    def random(self, *_: Any, **__: Any) -> Any:
        return 0.0

    def integers(self, *_: Any, **__: Any) -> Any:
        return 0

    def permutation(self, x: Any, axis: int = 0) -> Any:
        return np.arange(x) if isinstance(x, int) else np.asarray(x)


def plain_sentence(
    action_units: Mapping[str, float], emotion: str | None, level: int | None, speaker: Speaker = SPEAKERS[0]
) -> str:
    """The plainest sentence that says these parts: the first wording of each, so that no edit makes others jump.

    Raises InputError for more action units than a sentence holds (`grammar.MAX_UNITS`), or parts that are none.
    """
    return describe(action_units, emotion, level, rng=_First(np.random.PCG64(0)), speakers=(speaker,))


def speaker_of(sentence: str) -> Speaker:
    """Whom a sentence is about, by its first subject; a person where it names none."""
    found = ((re.search(rf"\b{speaker.subject}\b", sentence.lower()), speaker) for speaker in SPEAKERS)
    placed = [(match.start(), speaker) for match, speaker in found if match]
    return min(placed, key=lambda each: each[0])[1] if placed else SPEAKERS[0]


def reading(instruction: Instruction) -> str:
    """What is understood of a sentence as HTML: emotion and level, action units with strengths, words left over.

    States one after the other, and what was written where the sentence is the reader's words for it.
    """
    chips = []
    for number, part in enumerate(in_order(instruction)):
        own = [("then", "")] if number else []
        if part.emotion is not None:
            level = f" · {LEVELS[part.level]}" if part.level and part.emotion != "neutral" else ""
            own.append((f"{part.emotion}{level}", "avi-emotion"))
        own += [(f"and {emotion}", "avi-emotion") for emotion, _ in part.others]
        for name, value in part.action_units.items():
            own.append((f"{name.replace('_', ' ')} {f'{value:.2f}' if value else 'not at all'}", ""))
        chips += own
    chips = chips or [("nothing asked for", "")]
    chips += [(word, "avi-unknown") for word in instruction.unknown]
    wrote = f'<span class="avi-hint">you wrote: {escape(instruction.said)}</span>' if instruction.said else ""
    return "".join(f'<span class="avi-chip {kind}">{escape(text)}</span>' for text, kind in chips) + wrote


def heard(written: Written) -> str:
    """How sure the instructor is of what it wrote: the likeliest emotions with their probabilities, and its doubts."""
    likely = sorted(written.probabilities.items(), key=lambda item: -item[1])[:3]
    shares = ", ".join(f"{emotion} {share:.2f}" for emotion, share in likely)
    return "; ".join([f"heard: {shares}", *written.warnings])


def one_line(error: Exception) -> str:
    """An error of the program: what it says and where it comes from."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}"
    return f"the program failed: {type(error).__name__}: {error} ({place})"


def decode_recording(sent: str) -> bytes:
    """The sound file in a data URL; InputError for anything else, and for what the browser could not do."""
    expected = "a recording from the browser"
    if sent.startswith("failed:"):
        reason = sent.split(":", 2)[-1]
        raise InputError("a microphone", f"{reason} from the browser", "allow it there, or choose a file")
    if len(sent) > MOST_SENT_MB << 20:
        raise InputError(expected, f"more than {MOST_SENT_MB} MB", "name its path instead")
    head, comma, body = sent.partition(",")
    if not (comma and head.startswith(("data:audio/", "data:video/")) and head.endswith(";base64")):
        raise InputError(expected, f"{head[:40]!r}", "record it again")
    try:
        return b64decode(body, validate=True)
    except ValueError as error:
        raise InputError(expected, f"damaged data: {cause(error)}", "record it again") from error
