"""Jobs: which recordings are worked on, and where the results of each go.

>>> recordings, alone = find_recordings([Path("interviews/")])
>>> jobs = sampled(plan_jobs(recordings, alone, Wanted(output=Path("faces/"))), samples=2)
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from avi_lib.errors import InputError
from avi_lib.face.video import CONTAINERS, container_of
from avi_lib.files import keep_inputs
from avi_lib.motion.formats import MOTION_SUFFIXES, check_motion, written_files

RECORDING_SUFFIXES = frozenset(
    ".wav .flac .ogg .opus .mp3 .m4a .aac .aif .aiff .mp4 .mov .mkv .webm .mpg .mpeg .avi".split()
)
"""Files taken from a folder; a file named on its own may have any name."""

TALK_SUFFIX = ".talk.mp4"
"""Ending of a video that was given no name."""

SHEET_SUFFIX = ".png"
MOST_SAMPLES = 1000

_TALK = re.compile(r"\.talk(\.\d+)?\.mp4$")


class Wanted(NamedTuple):
    """The results that are asked for: files for one recording, folders for several."""

    output: Path | None = None
    motion: Path | None = None
    sheet: Path | None = None
    video: bool = True


class Job(NamedTuple):
    """One sample of one recording and where its results go."""

    recording: Path
    video: Path | None
    motion: Path | None
    sheet: Path | None = None
    sample: int = 1

    @property
    def targets(self) -> tuple[Path, ...]:
        """Every file that is to be written."""
        return tuple(path for path in (self.video, self.motion, self.sheet) if path)


def find_recordings(sources: Sequence[Path]) -> tuple[list[Path], bool]:
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


def plan_jobs(recordings: Sequence[Path], alone: bool, wanted: Wanted) -> list[Job]:
    """Where everything goes; InputError for names that fall together or have the wrong ending."""
    return [_named(recordings[0], wanted)] if alone else _in_folders(recordings, wanted)


def sampled(jobs: Sequence[Job], samples: int) -> list[Job]:
    """Every job once for each sample, with its number before the suffix: face.2.mp4."""
    if samples == 1:
        return list(jobs)
    return [
        Job(
            job.recording,
            _numbered(job.video, sample),
            _numbered(job.motion, sample),
            _numbered(job.sheet, sample),
            sample,
        )
        for job in jobs
        for sample in range(1, samples + 1)
    ]


def _numbered(path: Path | None, number: int) -> Path | None:
    """The path with a number before its suffix; behind the name of a folder."""
    return path and path.with_name(f"{path.stem}.{number}{path.suffix}" if path.suffix else f"{path.name}_{number}")


def check_targets(inputs: Iterable[Path], jobs: Sequence[Job]) -> None:
    """InputError for a result that would take the place of what is read, or of another result."""
    targets = [each for job in jobs for target in job.targets for each in written_files(target)]
    keep_inputs(inputs, targets)
    if len({target.resolve() for target in targets}) < len(targets):
        twice = next(target for target in targets if targets.count(target) > 1)
        raise InputError("a name for each result", f"{twice} twice", "choose another name")


def _named(recording: Path, wanted: Wanted) -> Job:
    """The one recording's job, its results named by the arguments."""
    target = wanted.output or Path(f"{recording.stem}{TALK_SUFFIX}")
    if wanted.video:
        container_of(target)
    if wanted.motion:
        check_motion(wanted.motion)
    if wanted.sheet and wanted.sheet.suffix.lower() != SHEET_SUFFIX:
        raise InputError(f"a contact sheet ending in {SHEET_SUFFIX}", str(wanted.sheet), "change the suffix")
    return Job(recording, target if wanted.video else None, wanted.motion, wanted.sheet)


def _in_folders(recordings: Sequence[Path], wanted: Wanted) -> list[Job]:
    """A job for each recording, its results named after it in the folders of the arguments."""
    for folder in (wanted.output, wanted.motion, wanted.sheet):
        if folder and folder.suffix.lower() in (*CONTAINERS, *MOTION_SUFFIXES, SHEET_SUFFIX):
            raise InputError("a folder for several results", f"{folder}, named like a file", "name a folder")
    stems = Counter(recording.stem for recording in recordings)
    jobs = []
    for recording in recordings:
        name = recording.stem if stems[recording.stem] == 1 else recording.name
        target = wanted.output / f"{name}.mp4" if wanted.output else Path(f"{name}{TALK_SUFFIX}")
        motion = wanted.motion / f"{name}.npz" if wanted.motion else None
        sheet = wanted.sheet / f"{name}{SHEET_SUFFIX}" if wanted.sheet else None
        jobs.append(Job(recording, target if wanted.video else None, motion, sheet))
    if len({job.targets[0] for job in jobs}) < len(jobs):
        raise InputError("recordings of different names", "two of the same name", "work on their folders one by one")
    return jobs
