"""A recording of a raw corpus as its adapter found it: files and labels, nothing read yet.

>>> found = Scan((Recording("Actor_01/clip", speaker="01", speech=Path("clip.wav"), emotion="angry", level=2),), ())
>>> found.recordings[0].emotion
'angry'
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTIONS, levels
from avi_lib.instruction.grammar import GENDERS
from avi_lib.motion.clip import Curves
from avi_lib.speech.phones import Phone

SPEECH_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", ".aif", ".aiff")
UNKNOWN_SPEAKER = "unknown"
"""Speaker of recordings that nobody is named for: one speaker for the splits, since people must not cross them."""
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".webm", ".m4v")


@dataclass(frozen=True)
class MotionFile:
    """A file with motion and the function that reads it; the function is one of a module, so that workers can call it.

    `read(path)` returns Curves of `space` at the recording's own frame rate and raises InputError. `also` are other
    files that decide what it returns.
    """

    path: Path
    read: Callable[[Path], Curves]
    space: str = "ARKIT"
    also: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Recording:
    """One recording.

    Attributes:
        name: unique in the corpus, with forward slashes; usually the path below the source without its suffix.
        speaker: who speaks; splits never part a speaker.
        speech: file with the sound, which may be a video; None when the recording is silent motion.
        video: file in which a face is tracked; None when there is none or `motion` is there.
        motion: recorded motion; None when there is none.
        emotion: one of `EMOTIONS`, None when not labelled.
        level: 1-3 together with an emotion, else None; 2 for corpora that know no levels.
        text: what is said, None when not known.
        language: of what is said, as a code such as "en" or "de".
        phones: ARPAbet phones with times in seconds from the start of `speech`, None when the corpus has none.
        caption: an instruction for the face that comes with the corpus, None when there is none.
        gender: the speaker's, "female" or "male" as the corpus tells it, None when it does not: words for the speaker
            never guess it.

    Raises:
        InputError: an emotion, level or gender that does not exist, or neither sound nor motion.
    """

    name: str
    speaker: str
    speech: Path | None = None
    video: Path | None = None
    motion: MotionFile | None = None
    emotion: str | None = None
    level: int | None = None
    text: str | None = None
    language: str = "en"
    phones: tuple[Phone, ...] | None = None
    caption: str | None = None
    gender: str | None = None

    def __post_init__(self) -> None:
        """Refuse labels that no later stage knows."""
        if self.emotion is not None and self.emotion not in EMOTIONS:
            raise InputError(f"an emotion of {', '.join(EMOTIONS)}", repr(self.emotion), "translate it in the adapter")
        if self.level not in (levels(self.emotion) if self.emotion else (None,)):
            raise InputError("a level that the emotion has", f"{self.emotion} {self.level}", "see `levels`")
        if self.gender is not None and self.gender not in GENDERS:
            raise InputError(f"a gender of {', '.join(GENDERS)}", repr(self.gender), "leave it out where none fits")
        if self.speech is None and self.video is None and self.motion is None:
            raise InputError(f"sound or motion for {self.name}", "neither", "leave the recording out")

    @property
    def face(self) -> str:
        """Whose neutral face the motion is measured against: the speaker's, or the recording's own if nobody is named.

        Recordings without a speaker may show different people.
        """
        return self.speaker if self.speaker != UNKNOWN_SPEAKER else f"{self.speaker}/{self.name}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the recording is made of, each once."""
        motion = (self.motion.path, *self.motion.also) if self.motion else ()
        return tuple(dict.fromkeys(path for path in (self.speech, self.video, *motion) if path is not None))


@dataclass(frozen=True)
class Refusal:
    """A recording, or a file that should be one, that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """What an adapter found in a source: recordings sorted by name, and the files that broke a rule."""

    recordings: tuple[Recording, ...]
    refused: tuple[Refusal, ...]


def scanned(source: Path, layout: str, recordings: Iterable[Recording], refused: Iterable[Refusal]) -> Scan:
    """A Scan in order of names.

    Args:
        source: the folder that was searched.
        layout: one line on how the folder should look, for the error.
        recordings: what was found.
        refused: files that broke a rule.

    Raises:
        InputError: no recording was found, with the first refusals; or two recordings have one name.
    """
    kept = sorted(recordings, key=lambda recording: recording.name)
    left_out = sorted(refused, key=lambda refusal: refusal.name)
    if not kept:
        broken = "; ".join(f"{refusal.name}: {refusal.reason}" for refusal in left_out[:3])
        got = f"{source} without one" + (f" ({len(left_out)} files broke a rule: {broken})" if left_out else "")
        raise InputError(layout, got, "pass the folder that holds this layout, or choose another adapter")
    for before, after in itertools.pairwise(kept):
        if before.name == after.name:
            raise InputError("names that are unique", f"{after.name} twice in {source}", "rename one of the files")
    return Scan(tuple(kept), tuple(left_out))


def source_folder(source: Path) -> Path:
    """The source as a path; InputError when it is not a folder."""
    if not source.is_dir():
        state = "a file" if source.exists() else "missing"
        raise InputError("a folder with a raw corpus", f"{source}, which is {state}", "pass the corpus' folder")
    return source
