"""The studio behind the page: the models, one recording, and talks of it as videos and files. No widget in here.

>>> studio = Studio(TalkSettings(render=RenderSettings(size=256)))
>>> talk = studio.hear(Recording(Path("my.wav"), "my.wav"))
>>> video = studio.video(studio.carry_out(wish))
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from avi_lib.errors import InputError
from avi_lib.files import atomic_path, make_folder
from avi_lib.formats import writable_here, write_motion
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Timeline
from avi_lib.pipeline import Talker
from avi_lib.screen import Screen
from avi_lib.settings import TalkSettings
from avi_lib.talk import Talk
from avi_lib.workbook.playground.wish import Wish

PREVIEW_S = 12.0
"""Length of a preview; of longer recordings it shows a part."""

VIDEO, WISH = ".mp4", ".json"
KINDS = (VIDEO, *writable_here(), WISH)
"""What a face is saved as; `.json` holds what was asked for."""

SILENT = Instruction.parse("A person feels neutral.")


class Recording(NamedTuple):
    """A file with speech, the name it is shown by, and what is said in it, where that is known."""

    path: Path
    name: str
    words: str = ""


class Files(NamedTuple):
    """What is saved: where, under which name, as which of `KINDS`, and the height of the video in pixels."""

    folder: Path
    name: str
    kinds: tuple[str, ...]
    size: int = 512

    def path(self, suffix: str, number: str = "") -> Path:
        """Where a kind goes; several of one kind are numbered."""
        return self.folder / f"{self.name}{number}{suffix}"


class Studio:
    """Models and one recording."""

    def __init__(self, settings: TalkSettings) -> None:
        self.talker = Talker(settings)
        self._heard: Talk | None = None

    @property
    def heard(self) -> Talk:
        """The recording as it was heard, under a neutral face; InputError while there is none."""
        if self._heard is None:
            raise InputError("a recording", "none yet", "choose one under Speech")
        return self._heard

    def hear(self, recording: Recording) -> Talk:
        """Listen to a recording; InputError where it cannot be used, and the one before is kept."""
        talk = self.talker.listen(recording.path, SILENT, recording.words.strip() or None)
        report = talk.speech.report.model_copy(update={"path": recording.name})
        self._heard = replace(talk, speech=replace(talk.speech, report=report))
        return self._heard

    def write(self) -> Instruction:
        """The instruction that the instructor writes for the recording."""
        return self.talker.instructor.instruct(self.heard.speech.wave).instruction

    def write_timeline(self) -> Timeline:
        """An instruction for every breath group of the recording."""
        return self.talker.instructor.timeline(self.heard.speech.wave)[0]

    def carry_out(self, wish: Wish) -> list[Talk]:
        """The recording as a wish asks, once for each of its seeds."""
        sample = wish.sample if self.talker.director is not None else None
        return [self.talker.direct(self.heard, wish.timeline, seed, wish.factors, sample) for seed in wish.seeds]

    def video(self, talks: Sequence[Talk], start_s: float = 0.0, most_s: float = PREVIEW_S) -> bytes:
        """Talks side by side as mp4, or a single one without its caption; at most so many seconds from a start."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "preview.mp4"
            self._write([_part(talk, start_s, most_s) for talk in talks], path, self.talker.screen)
            return path.read_bytes()

    def _write(self, talks: Sequence[Talk], path: Path, screen: Screen) -> None:
        if len(talks) == 1:
            screen.write_video(talks[0], path)
        else:
            screen.write_comparison(talks, path)

    def save(self, talks: Sequence[Talk], shown: Sequence[Talk], wish: Wish, files: Files) -> list[Path]:
        """Write what was made: the motion of each talk, one video of those shown, the wish; each file atomically.

        Raises InputError for a name that is none, or no kind.
        """
        name = files.name
        if not name.strip() or Path(name).name != name or name.startswith("."):
            raise InputError("a name for the files, without a folder", repr(name), "write one such as furious")
        if not files.kinds:
            raise InputError(f"a kind of file among {', '.join(KINDS)}", "none", "tick one")
        make_folder(files.folder)
        paths = [files.path(VIDEO)] if VIDEO in files.kinds else []
        if paths:
            self._save_video(shown, paths[0], files.size)
        for suffix in (each for each in KINDS[1:-1] if each in files.kinds):
            for talk in talks:
                paths.append(files.path(suffix, f"-{talk.seed}" if len(talks) > 1 else ""))
                write_motion(talk.motion, paths[-1], self.talker.head)
        if WISH in files.kinds:
            paths.append(files.path(WISH))
            with atomic_path(paths[-1]) as temporary:
                temporary.write_text(json.dumps(wish.as_json(), indent=2) + "\n", "utf-8")
        return paths

    def _save_video(self, shown: Sequence[Talk], path: Path, size: int) -> None:
        settings = self.talker.settings
        render = settings.render.model_copy(update={"size": size})
        with Screen(settings.head, render, settings.identity) as screen:
            self._write(shown, path, screen)

    def close(self) -> None:
        """Give back models' threads and graphics memory."""
        self.talker.close()


def _part(talk: Talk, start_s: float, most_s: float) -> Talk:
    """Some seconds of a talk, with the sound and the timeline as they are there."""
    fps, rate = talk.motion.fps, talk.speech.rate_hz
    first = min(int(start_s * fps), len(talk.motion) - 1)
    last = min(first + max(round(most_s * fps), 1), len(talk.motion))
    if first == 0 and last == len(talk.motion):
        return talk
    wave = talk.speech.wave[round(first / fps * rate) : round(last / fps * rate)]
    timeline = _timeline_from(talk.timeline, first / fps)
    speech = replace(talk.speech, wave=wave)
    return replace(talk, motion=talk.motion.at(range(first, last)), speech=speech, timeline=timeline)


def _timeline_from(timeline: Timeline, start_s: float) -> Timeline:
    """What is asked for from a time on."""
    past = [entry for entry in timeline.entries if entry.at_s <= start_s]
    later = [entry for entry in timeline.entries if entry.at_s > start_s]
    shifted = [replace(entry, at_s=entry.at_s - start_s) for entry in later]
    return Timeline((*(replace(entry, at_s=0.0) for entry in past[-1:]), *shifted))
