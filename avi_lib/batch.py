"""A batch of recordings through the pipeline; one that fails does not stop the rest.

Head and renderer are made once for all of them.

>>> for outcome in talk_all([Path("interviews/")], TalkSettings(), "She is furious.", output=Path("faces/")):
...     print(outcome.path, outcome.error or outcome.video)
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avi_lib.errors import AviError, InputError
from avi_lib.files import check_writable, make_folder
from avi_lib.instruction.instruction import Instruction
from avi_lib.pipeline import MOTION_SUFFIXES, NEUTRAL, Talk, Talker, check_motion_suffix, write_motion
from avi_lib.settings import TalkSettings

RECORDING_SUFFIXES = frozenset(
    ".wav .flac .ogg .opus .mp3 .m4a .aac .aif .aiff .mp4 .mov .mkv .webm .mpg .mpeg .avi".split()
)
"""Files taken from a folder; a file named on its own may have any name."""

TALK_SUFFIX = ".talk.mp4"
"""Ending of a video that was given no name."""


@dataclass(frozen=True)
class Outcome:
    """What became of one recording; `alone` when it was the only one asked for."""

    path: Path
    alone: bool
    talk: Talk | None = None
    video: Path | None = None
    motion: Path | None = None
    renderer: str | None = None
    generator: str = ""
    warning: str | None = None
    seconds: float = 0.0
    error: AviError | None = None

    def lines(self) -> list[str]:
        """The outcome in words: what was made, and every automatic choice with its reason."""
        assert self.talk is not None
        asked = self.talk.instruction
        units = ", ".join(f"{name} {strength:.2f}" for name, strength in asked.action_units.items())
        lines = [
            *self.talk.speech.report.lines(),
            f"phones: {self.talk.phones.method} ({self.talk.phones.reason})",
            f"instruction: {asked.text}",
            f"understood: {asked.emotion or 'no emotion'}{f' at level {asked.level}' if asked.level else ''}"
            + (f"; {units}" if units else ""),
        ]
        if asked.unknown:
            lines.append(f"not understood: {', '.join(asked.unknown)}")
        if self.talk.phones.warning:
            lines.append(f"warning: {self.talk.phones.warning}")
        lines.append(f"generator: {self.generator}")
        if self.warning:
            lines.append(f"warning: {self.warning}")
        if self.renderer:
            lines.append(f"renderer: {self.renderer}")
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
            "instruction": {
                "text": self.talk.instruction.text,
                "emotion": self.talk.instruction.emotion,
                "level": self.talk.instruction.level,
                "action_units": dict(self.talk.instruction.action_units),
                "unknown": list(self.talk.instruction.unknown),
            },
            "phones": {
                "method": self.talk.phones.method,
                "reason": self.talk.phones.reason,
                "warning": self.talk.phones.warning,
            },
            "generator": {"reason": self.generator, "warning": self.warning},
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
) -> Iterator[Outcome]:
    """Make a talking face of every recording among `sources` (files, or folders of them).

    With one file, `output` and `motion` name files; with several or with a folder they name folders, which are made.
    Without `output` videos go into the working folder as `<recording>.talk.mp4`. Raises InputError, before any work and
    with nothing written, for arguments that suit no recording.
    """
    recordings, alone = _recordings(sources)
    asked = Instruction.parse(NEUTRAL if instruction is None else instruction)
    if text is not None and not alone:
        raise InputError("a transcript for one recording named on its own", "several or a folder", "leave out --text")
    if not video and motion is None:
        raise InputError("something to write", "neither video nor motion", "name a motion file or leave out --no-video")
    jobs = _jobs(recordings, alone, output, motion, video)
    with Talker(settings) as talker:
        talker.prepare(video)
        for folder in (output if video else None, motion):
            if folder and not alone:
                make_folder(folder)
        for target in (target for job in jobs for target in (job.video, job.motion) if target):
            check_writable(target)
        for job in jobs:
            yield _outcome(talker, job, alone, asked, text)


class Job(NamedTuple):
    """One recording and where its results go."""

    recording: Path
    video: Path | None
    motion: Path | None


def _outcome(talker: Talker, job: Job, alone: bool, asked: Instruction, text: str | None) -> Outcome:
    begun = time.perf_counter()
    try:
        talk = talker.listen(job.recording, asked, text)
        if job.motion:
            write_motion(talk.motion, job.motion)
        if job.video:
            talker.write_video(talk, job.video)
    except AviError as error:
        return Outcome(job.recording, alone, seconds=time.perf_counter() - begun, error=error)
    reason = talker.renderer[1] if job.video else None
    how = (talker.generator.reason, talker.generator.warning) if talker.generator else ("performer: asked for", None)
    return Outcome(job.recording, alone, talk, job.video, job.motion, reason, *how, time.perf_counter() - begun)


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
        and not path.name.endswith(TALK_SUFFIX)
    )
    if not found:
        raise InputError("a folder with recordings", f"none in {folder}", "name the files or another folder")
    return found


def _jobs(recordings: Sequence[Path], alone: bool, output: Path | None, motion: Path | None, video: bool) -> list[Job]:
    """Where everything goes; InputError for names that fall together, have the wrong ending or name a recording."""
    jobs = _named(recordings, output, motion, video) if alone else _in_folders(recordings, output, motion, video)
    sources = {recording.resolve() for recording in recordings}
    for target in (target for job in jobs for target in (job.video, job.motion) if target):
        if target.resolve() in sources:
            raise InputError("a new file to write", f"the recording {target} itself", "choose another name")
    return jobs


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
