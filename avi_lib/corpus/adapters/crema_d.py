"""CREMA-D: twelve English sentences acted by 91 people, the labels in the file names.

In: the folder with files such as `AudioWAV/1001_DFA_ANG_XX.wav` at any depth. Out: one Recording for each, named by
its codes.

>>> scan(Path("CREMA-D")).recordings[0].text
"Don't forget a jacket"

Codes: actor, sentence, emotion, intensity (LO, MD, HI; XX, and X in one name of the corpus, for unspecified, taken as
the middle). Only the sound is used: `VideoFlash/*.flv` is ignored, and so is an mp3 whose wav is there.

Cao, Cooper, Keutmann, Gur, Nenkova & Verma, "CREMA-D: Crowd-sourced emotional multimodal actors dataset", IEEE
Transactions on Affective Computing 5(4), 2014.
"""

from __future__ import annotations

import re
from pathlib import Path

from avi_lib.corpus.adapters.labels import level_of
from avi_lib.corpus.adapters.layout import RuleError, by_preference, collect, find, stem
from avi_lib.corpus.recording import SPEECH_SUFFIXES, Recording, Scan, scanned

LAYOUT = "CREMA-D files such as AudioWAV/1001_DFA_ANG_XX.wav: actor, sentence, emotion and intensity"

_EMOTIONS = {"ANG": "angry", "DIS": "disgusted", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_LEVELS = {"LO": 1, "MD": 2, "HI": 3, "XX": None, "X": None}
_TEXTS = {
    "DFA": "Don't forget a jacket",
    "IEO": "It's eleven o'clock",
    "IOM": "I'm on my way to the meeting",
    "ITH": "I think I have a doctor's appointment",
    "ITS": "I think I've seen this before",
    "IWL": "I would like a new alarm clock",
    "IWW": "I wonder what this is about",
    "MTI": "Maybe tomorrow it will be cold",
    "TAI": "The airplane is almost full",
    "TIE": "That is exactly what happened",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_NAME = re.compile(r"(\d{4})_([A-Z]+)_([A-Z]+)_([A-Z]+)", re.ASCII)


def scan(source: Path) -> Scan:
    """Every clip of a CREMA-D folder; InputError when there is none."""
    found, unreadable = find(source, SPEECH_SUFFIXES)
    waves = {_codes(name) for name in found if name.lower().endswith(".wav")}
    once = {n: path for n, path in found.items() if not (n.lower().endswith(".mp3") and _codes(n) in waves)}
    recordings, refused = collect(by_preference(once), _recording)
    return scanned(source, LAYOUT, recordings, unreadable + refused)


def _codes(name: str) -> str:
    return stem(name).rsplit("/", 1)[-1]


def _recording(name: str, path: Path) -> Recording:
    match = _NAME.fullmatch(_codes(name))
    if not match:
        raise RuleError("the name is not actor, sentence, emotion and intensity, as in 1001_DFA_ANG_XX")
    actor, sentence, emotion_code, intensity = match.groups()
    for rule, code, known in (
        ("sentence", sentence, _TEXTS),
        ("emotion", emotion_code, _EMOTIONS),
        ("intensity", intensity, _LEVELS),
    ):
        if code not in known:
            raise RuleError(f"{rule} code {code} in the file name; CREMA-D knows {', '.join(known)}")
    emotion = _EMOTIONS[emotion_code]
    if emotion == "neutral" and _LEVELS[intensity] is not None:
        raise RuleError(f"intensity code {intensity} with NEU in the file name; neutral has XX only")
    return Recording(
        _codes(name),
        speaker=actor,
        speech=path,
        emotion=emotion,
        level=level_of(emotion, _LEVELS[intensity]),
        text=_TEXTS[sentence],
    )
