"""RAVDESS: acted English speech of 24 actors, the labels in the file names.

In: the folder with files such as `Actor_12/03-01-05-02-01-01-12.wav` at any depth, and `phones.json` if there is one.
Out: one Recording for each spoken clip, named by its seven codes.

>>> scan(Path("ravdess")).recordings[0].emotion
'neutral'

Codes: modality, channel, emotion, intensity, statement, repetition, actor. Normal intensity is level 2 and strong
intensity 3; neutral and calm have one level. Actors with even numbers are women, the others men. Song and silent video
are refused. Where a clip is there as video with sound and as sound alone, the video is taken and the sound left aside.
The phones of a clip are those of the entry with exactly its name, because video and sound are cut at different times.

Livingstone & Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song", PLoS ONE 13(5), 2018.
"""

from __future__ import annotations

import re
from pathlib import Path

from avi_lib.corpus.adapters.labels import level_of, phones_of, read_phones
from avi_lib.corpus.adapters.layout import RuleError, by_preference, collect, find, stem
from avi_lib.corpus.recording import SPEECH_SUFFIXES, VIDEO_SUFFIXES, Recording, Scan, scanned
from avi_lib.instruction.action_units import levels

LAYOUT = "RAVDESS files such as Actor_12/03-01-05-02-01-01-12.wav: seven codes of two digits, joined by hyphens"

_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgusted", "surprised")
_TEXTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
_CODES = re.compile(r"\d\d(?:-\d\d){6}", re.ASCII)


def scan(source: Path) -> Scan:
    """Every spoken clip of a RAVDESS folder; InputError when there is none or `phones.json` is damaged."""
    found, unreadable = find(source, SPEECH_SUFFIXES + VIDEO_SUFFIXES)
    phones = read_phones(source)
    filmed = {_codes(name)[2:] for name, path in found.items() if _is_video(path) and _codes(name).startswith("01-")}

    def read(name: str, path: Path) -> Recording:
        return _recording(name, path, phones)

    alone = {
        name: path for name, path in found.items() if not (_codes(name)[:3] == "03-" and _codes(name)[2:] in filmed)
    }
    recordings, refused = collect(by_preference(alone), read)
    return scanned(source, LAYOUT, recordings, unreadable + refused)


def _codes(name: str) -> str:
    return stem(name).rsplit("/", 1)[-1]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _recording(name: str, path: Path, phones: dict[str, object]) -> Recording:
    codes = _codes(name)
    if not _CODES.fullmatch(codes):
        raise RuleError("the name is not seven codes of two digits joined by hyphens, as in 03-01-05-02-01-01-12")
    modality, channel, emotion_code, intensity, statement, repetition, actor = codes.split("-")
    rules = (
        ("modality", modality, ("01", "02", "03")),
        ("vocal channel", channel, ("01", "02")),
        ("emotion", emotion_code, tuple(f"{code:02d}" for code in range(1, 9))),
        ("intensity", intensity, ("01", "02")),
        ("statement", statement, ("01", "02")),
        ("repetition", repetition, ("01", "02")),
        ("actor", actor, tuple(f"{code:02d}" for code in range(1, 25))),
    )
    for rule, code, known in rules:
        if code not in known:
            raise RuleError(f"{rule} code {code} in the file name; RAVDESS knows {known[0]} to {known[-1]}")
    if channel == "02":
        raise RuleError("vocal channel code 02 in the file name, which is song; only speech (01) is taken")
    if modality == "02":
        raise RuleError("modality code 02 in the file name, which is video without sound; 01 and 03 are taken")
    emotion = _EMOTIONS[int(emotion_code) - 1]
    if emotion == "neutral" and intensity == "02":
        raise RuleError("intensity code 02 (strong) with emotion code 01 (neutral), which RAVDESS does not have")
    return Recording(
        codes,
        speaker=actor,
        speech=path,
        video=path if modality == "01" and _is_video(path) else None,
        emotion=emotion,
        level=level_of(emotion, int(intensity) + 1 if len(levels(emotion)) > 1 else None),
        text=_TEXTS[statement],
        phones=phones_of(phones[codes]) if codes in phones else None,
        gender="male" if int(actor) % 2 else "female",
    )
