"""A batch of recordings through the pipeline; one that fails does not stop the rest.

Head and renderer are made once for all of them.

>>> for outcome in talk_all([Path("interviews/")], TalkSettings(), "She is furious.", output=Path("faces/")):
...     print(outcome.path, outcome.error or outcome.video)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avi_lib.errors import AviError, InputError
from avi_lib.files import check_writable
from avi_lib.instruction.instruction import Instruction
from avi_lib.pipeline import NEUTRAL, Talk, Talker, check_motion_suffix, write_motion
from avi_lib.settings import TalkSettings

RECORDING_SUFFIXES = frozenset(
    ".wav .flac .ogg .opus .mp3 .m4a .aac .aif .aiff .mp4 .mov .mkv .webm .mpg .mpeg .avi".split()
)
"""Files taken from a folder; a file named on its own may have any name."""


@dataclass(frozen=True)
class Outcome:
    """What became of one recording; `alone` when it was the only one asked for."""

    path: Path
    alone: bool
    talk: Talk | None = None
    video: Path | None = None
    motion: Path | None = None
    renderer: str | None = None
    seconds: float = 0.0
    error: AviError | None = field(default=None)

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

    With one file, `output` and `motion` name files; with several or with a folder they name folders. Without `output`
    a video goes beside the current work as `<recording>.talk.mp4`. Raises InputError for arguments that suit no
    recording.
    """
    recordings, alone = _recordings(sources)
    asked = Instruction.parse(NEUTRAL if instruction is None else instruction)
    if text is not None and not alone:
        raise InputError("one recording with a transcript", f"{len(recordings)} recordings", "leave out --text")
    if not video and motion is None:
        raise InputError("something to write", "neither video nor motion", "name a motion file or leave out --no-video")
    targets = [_targets(recording, alone, output if video else None, motion, video) for recording in recordings]
    _check_targets(recordings, targets)
    with Talker(settings) as talker:
        for recording, (video_path, motion_path) in zip(recordings, targets, strict=True):
            yield _outcome(talker, recording, alone, asked, text, video_path, motion_path)


def _outcome(
    talker: Talker,
    recording: Path,
    alone: bool,
    asked: Instruction,
    text: str | None,
    video: Path | None,
    motion: Path | None,
) -> Outcome:
    begun = time.perf_counter()
    try:
        talk = talker.listen(recording, asked, text)
        if motion:
            write_motion(talk.motion, motion)
        if video:
            talker.write_video(talk, video)
    except AviError as error:
        return Outcome(recording, alone, seconds=time.perf_counter() - begun, error=error)
    reason = talker.renderer[1] if video else None
    return Outcome(recording, alone, talk, video, motion, reason, time.perf_counter() - begun)


def _recordings(sources: Sequence[Path]) -> tuple[list[Path], bool]:
    """The files to work on, and whether it is a single file named on its own."""
    recordings: list[Path] = []
    for source in sources:
        if source.is_dir():
            found = sorted(path for path in source.iterdir() if path.suffix.lower() in RECORDING_SUFFIXES)
            if not found:
                raise InputError("a folder with recordings", f"none in {source}", "name the files or another folder")
            recordings += found
        else:
            recordings.append(source)
    return recordings, len(sources) == 1 and not sources[0].is_dir()


def _targets(
    recording: Path, alone: bool, output: Path | None, motion: Path | None, video: bool
) -> tuple[Path | None, Path | None]:
    if alone:
        if motion:
            check_motion_suffix(motion)
        return (output or Path(f"{recording.stem}.talk.mp4")) if video else None, motion
    for folder in (output, motion):
        if folder:
            _make_folder(folder)
    video_path = (output or Path()) / f"{recording.stem}.{'mp4' if output else 'talk.mp4'}" if video else None
    return video_path, motion / f"{recording.stem}.npz" if motion else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"a folder {folder} for the results", error.strerror or str(error), "name another one"
        ) from error


def _check_targets(recordings: Sequence[Path], targets: Sequence[tuple[Path | None, Path | None]]) -> None:
    """Refuse before any work: places that cannot be written, that fall together, or that would replace a recording."""
    sources = {recording.resolve() for recording in recordings}
    taken: set[Path] = set()
    for path in (path for pair in targets for path in pair if path):
        check_writable(path)
        if path.resolve() in sources:
            raise InputError("a new file to write", f"the recording {path} itself", "choose another name")
        if path.resolve() in taken:
            raise InputError(
                "recordings of different names", f"two that would both become {path}", "rename one of them"
            )
        taken.add(path.resolve())
    for video, _ in targets:
        if video and video.suffix.lower() not in (".mp4", ".mov"):
            raise InputError("a video ending in .mp4", str(video), "change the suffix")
