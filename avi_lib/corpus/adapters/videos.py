"""A plain folder of videos of talking people.

In: a folder with videos at any depth. Out: one Recording for each video.

>>> scan(Path("talks")).recordings[0]
Recording(name='anna/greeting', speaker='anna', speech=..., video=..., emotion=None, ..., text='Good morning.')

The speaker is the folder directly below the source. Videos at the top belong together to one speaker, "unknown": a
guess who speaks could put one person on both sides of a split. A sound file beside a video with its stem is the speech,
otherwise the video is; `<stem>.txt` beside it is the transcript, assumed English. Sounds and texts without a video are
ignored.
"""

from __future__ import annotations

from pathlib import Path

from avi_lib.corpus.adapters.layout import RuleError, by_preference, collect, find, speaker_folder, stem
from avi_lib.corpus.recording import SPEECH_SUFFIXES, VIDEO_SUFFIXES, Recording, Scan, scanned

LAYOUT = f"videos ({', '.join(VIDEO_SUFFIXES)}), in one folder for each speaker"

MAX_TRANSCRIPT_BYTES = 100_000


def scan(source: Path) -> Scan:
    """Every video below a folder; InputError when there is none."""
    found, unreadable = find(source, (*SPEECH_SUFFIXES, *VIDEO_SUFFIXES, ".txt"))
    videos = {name: path for name, path in found.items() if path.suffix.lower() in VIDEO_SUFFIXES}
    beside: dict[str, Path] = {}
    texts: dict[str, Path] = {}
    for name, path in by_preference(found).items():
        if path.suffix.lower() == ".txt":
            texts.setdefault(stem(name), path)
        elif name not in videos:
            beside.setdefault(stem(name), path)

    def read(name: str, path: Path) -> Recording:
        text = texts.get(stem(name))
        return Recording(
            stem(name),
            speaker=speaker_folder(name),
            speech=beside.get(stem(name), path),
            video=path,
            text=_transcript(text) if text else None,
        )

    recordings, refused = collect(by_preference(videos), read)
    return scanned(source, LAYOUT, recordings, unreadable + refused)


def _transcript(path: Path) -> str | None:
    """The words of a text file in one line, None when it is empty; RuleError when it cannot be read or is too long."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_TRANSCRIPT_BYTES + 1)
        if len(content) > MAX_TRANSCRIPT_BYTES:
            raise RuleError(f"its transcript {path.name} has more than {MAX_TRANSCRIPT_BYTES} bytes; cut it")
        return " ".join(content.decode("utf-8-sig").split()) or None
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(f"its transcript {path.name} cannot be read as UTF-8: {error}") from error
