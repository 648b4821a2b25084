"""A batch of recordings through the pipeline; one that fails does not stop the rest.

Head and renderer are made once for all of them.

>>> for outcome in talk_all([Path("interviews/")], TalkSettings(), "She is furious.", output=Path("faces/")):
...     print(outcome.path, outcome.error or outcome.video)
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avi_lib.errors import AviError, InputError
from avi_lib.files import check_writable, make_folder
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Timeline, as_json, load_timeline
from avi_lib.pipeline import MOTION_SUFFIXES, NEUTRAL, Talk, Talker, check_motion_suffix, write_motion
from avi_lib.settings import TalkSettings

RECORDING_SUFFIXES = frozenset(
    ".wav .flac .ogg .opus .mp3 .m4a .aac .aif .aiff .mp4 .mov .mkv .webm .mpg .mpeg .avi".split()
)
"""Files taken from a folder; a file named on its own may have any name."""

TALK_SUFFIX = ".talk.mp4"
"""Ending of a video that was given no name."""

MOST_SAMPLES = 1000

_TALK = re.compile(r"\.talk(\.\d+)?\.mp4$")


@dataclass(frozen=True)
class Outcome:
    """What became of one sample of a recording; `alone` when that was the only recording asked for."""

    path: Path
    alone: bool
    sample: int = 1
    talk: Talk | None = None
    video: Path | None = None
    motion: Path | None = None
    renderer: str | None = None
    generator: str = ""
    prior: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    error: AviError | None = None

    def lines(self) -> list[str]:
        """The outcome in words: what was made, and every automatic choice with its reason."""
        assert self.talk is not None
        lines = [
            *self.talk.speech.report.lines(),
            f"phones: {self.talk.phones.method} ({self.talk.phones.reason})",
            *(line for entry in self.talk.timeline.entries for line in _asked_lines(entry.instruction, entry.at_s)),
        ]
        if self.talk.phones.warning:
            lines.append(f"warning: {self.talk.phones.warning}")
        lines.append(f"generator: {self.generator}")
        if self.prior:
            lines.append(f"prior: {self.prior}")
        lines += [f"warning: {warning}" for warning in self.warnings]
        if self.renderer:
            lines.append(f"renderer: {self.renderer}")
        lines.append(f"seed: {self.talk.seed}")
        lines += [f"{kind}: {path}" for kind, path in (("video", self.video), ("motion", self.motion)) if path]
        return [*lines, f"took {self.seconds:.1f} s for {self.talk.speech.duration_s:.1f} s of speech"]

    def as_json(self) -> dict[str, Any]:
        """The outcome as one JSON object with its `path`."""
        if self.talk is None:
            return {"path": str(self.path), "error": str(self.error)}
        return {
            "path": str(self.path),
            "video": str(self.video) if self.video else None,
            "motion": str(self.motion) if self.motion else None,
            "sample": self.sample,
            "seed": self.talk.seed,
            "instruction": _asked_json(self.talk.instruction),
            "timeline": as_json(self.talk.timeline) if len(self.talk.timeline.entries) > 1 else None,
            "phones": {
                "method": self.talk.phones.method,
                "reason": self.talk.phones.reason,
                "warning": self.talk.phones.warning,
            },
            "generator": {"reason": self.generator, "prior": self.prior, "warnings": list(self.warnings)},
            "renderer": self.renderer,
            "speech": self.talk.speech.report.model_dump(mode="json"),
            "frames": len(self.talk.motion),
            "fps": self.talk.motion.fps,
            "seconds": round(self.seconds, 3),
        }


def talk_all(
    sources: Sequence[Path],
    settings: TalkSettings,
    instruction: str | None = None,
    text: str | None = None,
    output: Path | None = None,
    motion: Path | None = None,
    video: bool = True,
    timeline: Path | None = None,
    samples: int = 1,
) -> Iterator[Outcome]:
    """Make a talking face of every recording among `sources` (files, or folders of them).

    With one file, `output` and `motion` name files; with several or with a folder they name folders, which are made.
    Without `output` videos go into the working folder as `<recording>.talk.mp4`. With several samples each has the seed
    after the last one's, and its number before the suffix of its files. Raises InputError, before any work and with
    nothing written, for arguments that suit no recording.
    """
    recordings, alone = _recordings(sources)
    asked = _asked(instruction, timeline)
    if not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"1 to {MOST_SAMPLES} samples", f"{samples}", "ask for fewer, with another --seed for more")
    if text is not None and not alone:
        raise InputError("a transcript for one recording named on its own", "several or a folder", "leave out --text")
    if not video and motion is None:
        raise InputError("something to write", "neither video nor motion", "name a motion file or leave out --no-video")
    jobs = _sampled(_jobs(recordings, alone, output, motion, video), samples)
    _keep_recordings(jobs)
    with Talker(settings) as talker:
        talker.prepare(video)
        for folder in (output if video else None, motion):
            if folder and not alone:
                make_folder(folder)
        for target in (target for job in jobs for target in (job.video, job.motion) if target):
            check_writable(target)
        heard: Talk | None = None
        for job in jobs:
            outcome = _outcome(talker, job, alone, asked, text, heard if job.sample > 1 else None)
            heard = outcome.talk
            yield outcome


class Job(NamedTuple):
    """One sample of one recording and where its results go."""

    recording: Path
    video: Path | None
    motion: Path | None
    sample: int = 1


def _asked(instruction: str | None, timeline: Path | None) -> Instruction | Timeline:
    if timeline is None:
        return Instruction.parse(NEUTRAL if instruction is None else instruction)
    if instruction is not None:
        raise InputError("an instruction or a timeline", "both", "write the instruction into the timeline")
    return load_timeline(timeline)


def _asked_lines(asked: Instruction, at_s: float) -> list[str]:
    units = ", ".join(f"{name} {strength:.2f}" for name, strength in asked.action_units.items())
    when = f" from {at_s:g} s" if at_s else ""
    lines = [
        f"instruction{when}: {asked.text}",
        f"understood: {asked.emotion or 'no emotion'}{f' at level {asked.level}' if asked.level else ''}"
        + (f"; {units}" if units else ""),
    ]
    return lines + ([f"not understood: {', '.join(asked.unknown)}"] if asked.unknown else [])


def _asked_json(asked: Instruction) -> dict[str, Any]:
    return {
        "text": asked.text,
        "emotion": asked.emotion,
        "level": asked.level,
        "action_units": dict(asked.action_units),
        "unknown": list(asked.unknown),
    }


def _outcome(
    talker: Talker, job: Job, alone: bool, asked: Instruction | Timeline, text: str | None, heard: Talk | None
) -> Outcome:
    """Carry out a job; a recording whose first sample was made is not listened to again."""
    begun = time.perf_counter()
    try:
        if heard is None:
            heard = talker.listen(job.recording, asked, text)
        seed = talker.settings.seed + job.sample - 1
        talk = heard if heard.seed == seed else talker.direct(heard, asked, seed)
        if job.motion:
            write_motion(talk.motion, job.motion)
        if job.video:
            talker.write_video(talk, job.video)
    except AviError as error:
        return Outcome(job.recording, alone, job.sample, seconds=time.perf_counter() - begun, error=error)
    reason = talker.renderer[1] if job.video else None
    generator, director = talker.generator, talker.director
    prior = director.reason if director else "styles of the performer's own performances" if generator else None
    return Outcome(
        job.recording,
        alone,
        job.sample,
        talk,
        job.video,
        job.motion,
        reason,
        generator.reason if generator else "performer: asked for",
        prior,
        tuple(model.warning for model in (generator, director) if model and model.warning),
        time.perf_counter() - begun,
    )


def _recordings(sources: Sequence[Path]) -> tuple[list[Path], bool]:
    """The files to work on, each once, and whether it is a single file named on its own."""
    recordings: dict[Path, Path] = {}
    for source in sources:
        found = _in_folder(source) if os.path.isdir(source) else [source]  # noqa: PTH112 (a name may be too long)
        for recording in found:
            recordings.setdefault(Path(os.path.realpath(recording)), recording)
    return list(recordings.values()), len(sources) == 1 and not os.path.isdir(sources[0])  # noqa: PTH112


def _in_folder(folder: Path) -> list[Path]:
    """The recordings in a folder; hidden files and the videos this product leaves there are none."""
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in RECORDING_SUFFIXES
        and path.is_file()
        and not path.name.startswith(".")
        and not _TALK.search(path.name)
    )
    if not found:
        raise InputError("a folder with recordings", f"none in {folder}", "name the files or another folder")
    return found


def _jobs(recordings: Sequence[Path], alone: bool, output: Path | None, motion: Path | None, video: bool) -> list[Job]:
    """Where everything goes; InputError for names that fall together or have the wrong ending."""
    return _named(recordings, output, motion, video) if alone else _in_folders(recordings, output, motion, video)


def _sampled(jobs: Sequence[Job], samples: int) -> list[Job]:
    """Every job once for each sample, with its number before the suffix: face.2.mp4."""
    if samples == 1:
        return list(jobs)
    return [
        Job(job.recording, _numbered(job.video, sample), _numbered(job.motion, sample), sample)
        for job in jobs
        for sample in range(1, samples + 1)
    ]


def _numbered(path: Path | None, number: int) -> Path | None:
    return path and path.with_name(f"{path.stem}.{number}{path.suffix}")


def _keep_recordings(jobs: Sequence[Job]) -> None:
    """InputError for a result that would take the place of a recording."""
    sources = {job.recording.resolve() for job in jobs}
    for target in (target for job in jobs for target in (job.video, job.motion) if target):
        if target.resolve() in sources:
            raise InputError("a new file to write", f"the recording {target} itself", "choose another name")


def _named(recordings: Sequence[Path], output: Path | None, motion: Path | None, video: bool) -> list[Job]:
    """The one recording's job, its results named by the arguments."""
    (recording,) = recordings
    target = output or Path(f"{recording.stem}{TALK_SUFFIX}")
    if video and target.suffix.lower() != ".mp4":
        raise InputError("a video ending in .mp4", str(target), "change the suffix")
    if motion:
        check_motion_suffix(motion)
    return [Job(recording, target if video else None, motion)]


def _in_folders(recordings: Sequence[Path], output: Path | None, motion: Path | None, video: bool) -> list[Job]:
    """A job for each recording, its results named after it in the folders of the arguments."""
    for folder in (output, motion):
        if folder and folder.suffix.lower() in (".mp4", *MOTION_SUFFIXES):
            raise InputError("a folder for several results", f"{folder}, named like a file", "name a folder")
    stems = Counter(recording.stem for recording in recordings)
    jobs = []
    for recording in recordings:
        name = recording.stem if stems[recording.stem] == 1 else recording.name
        target = output / f"{name}.mp4" if output else Path(f"{name}{TALK_SUFFIX}")
        jobs.append(Job(recording, target if video else None, motion / f"{name}.npz" if motion else None))
    if len({job.video or job.motion for job in jobs}) < len(jobs):
        raise InputError("recordings of different names", "two of the same name", "work on their folders one by one")
    return jobs
