"""MEAD: talking faces of eight emotions at three levels, filmed from seven sides, the labels in the folders.

In: the folder with actors such as `M003` (M for men, W for women), or one actor. Below an actor lie
`video/front/happy/level_2/001.mp4` and `audio/happy/level_2/001.m4a`; `front/happy/...` without `video`, and sound
beside its video, do as well. Out: one Recording for each clip, named as here:

>>> scan(Path("MEAD")).recordings[0].name
'M003/angry/level_1/001'

Only the front camera is used; files of the other six are ignored. Speech is the sound file, or the video where there
is none. Texts come from `mead_transcripts.csv` or `mead_transcripts.csv.gz` in the source, with the columns clip
(`M003_level_2_happy_001`) and text.

Wang et al., "MEAD: A large-scale audio-visual dataset for emotional talking-face generation", ECCV 2020.
"""

from __future__ import annotations

import re
from pathlib import Path

from avi_lib.corpus.adapters.labels import level_of, read_table
from avi_lib.corpus.adapters.layout import RuleError, by_preference, find, printable, stem
from avi_lib.corpus.recording import SPEECH_SUFFIXES, VIDEO_SUFFIXES, Recording, Refusal, Scan, scanned

LAYOUT = "MEAD folders such as M003/video/front/happy/level_2/001.mp4 and M003/audio/happy/level_2/001.m4a"

_EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
_OTHER_CAMERAS = frozenset({"down", "top", "left_30", "left_60", "right_30", "right_60"})
_ACTOR = re.compile(r"[MW]\d{3}", re.ASCII)
_LEVEL = re.compile(r"level_([123])", re.ASCII)
_CLIP = re.compile(r"\d{3}", re.ASCII)


def scan(source: Path) -> Scan:
    """Every clip of a MEAD folder as the front camera saw it; InputError for none or damaged transcripts."""
    found, refused = find(source, SPEECH_SUFFIXES + VIDEO_SUFFIXES)
    texts = _texts(source)
    sounds: dict[tuple[str, str, int, str], tuple[str, Path]] = {}
    videos: dict[tuple[str, str, int, str], tuple[str, Path]] = {}
    for name, path in by_preference(found).items():
        if _OTHER_CAMERAS & set(name.split("/")[:-1]):
            continue
        kind = videos if path.suffix.lower() in VIDEO_SUFFIXES else sounds
        try:
            if kind is videos and "front" not in name.split("/")[:-1]:
                raise RuleError("a video in no camera's folder; the front camera's folder is named front")
            clip = _clip(source, name)
            if clip in kind:
                raise RuleError(f"the same clip as {kind[clip][0]}, which is kept")
        except RuleError as error:
            refused.append(Refusal(printable(name), printable(str(error))))
        else:
            kind[clip] = (name, path)
    recordings = []
    for clip in sorted(sounds.keys() | videos.keys()):
        actor, emotion, level, number = clip
        video = videos[clip][1] if clip in videos else None
        recordings.append(
            Recording(
                f"{actor}/{emotion}/level_{level}/{number}",
                speaker=actor,
                speech=sounds[clip][1] if clip in sounds else video,
                video=video,
                emotion=emotion,
                level=level,
                text=texts.get(f"{actor}_level_{level}_{emotion}_{number}") or None,
                gender="male" if actor.startswith("M") else "female",
            )
        )
    return scanned(source, LAYOUT, recordings, refused)


def _texts(source: Path) -> dict[str, str]:
    for name in ("mead_transcripts.csv", "mead_transcripts.csv.gz"):
        if (source / name).exists():
            return {row["clip"]: row["text"] for _, row in read_table(source / name, "clip", "text")}
    return {}


def _clip(source: Path, name: str) -> tuple[str, str, int, str]:
    """Actor, emotion, level and number of a file; RuleError when its folders do not say them."""
    *folders, _ = name.split("/")
    actor = next((folder for folder in (*folders, source.resolve().name) if _ACTOR.fullmatch(folder)), None)
    if actor is None:
        raise RuleError("no folder of an actor above it, such as M003 or W009")
    if len(folders) < 2 or not (level := _LEVEL.fullmatch(folders[-1])):
        raise RuleError("it does not lie in an emotion's folder of a level, such as happy/level_2")
    if folders[-2] not in _EMOTIONS:
        raise RuleError(f"the emotion folder {folders[-2]}; MEAD knows {', '.join(_EMOTIONS)}")
    number = stem(name).rsplit("/", 1)[-1]
    if not _CLIP.fullmatch(number):
        raise RuleError("the name is not a number of three digits such as 001")
    return actor, folders[-2], level_of(folders[-2], int(level[1])), number
