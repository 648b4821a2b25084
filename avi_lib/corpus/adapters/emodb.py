"""EMO-DB: ten German sentences acted by ten people, labels in the file names and phones in `lablaut/`.

In: the folder of the corpus, or one folder with sound in it. Out: one Recording for each clip, named by its codes.

>>> scan(Path("emodb")).recordings[0].phones[0]
Phone(phone='T', start_s=0.080109, end_s=0.14437)

A name such as 03a01Fa is speaker, sentence, emotion (W angry, L bored, E disgusted, A fear, F happy, T sad, N neutral)
and version. EMO-DB knows no levels. When clips lie in several folders, such as 2-second cuts of all beside complete
clips of some, only the folder that holds every clip is taken: the complete clips may lack whole emotions, and a mixture
lets the length tell the emotion. Pass the other folder as the source to use that; the `lablaut` beside it is found. A
clip without a label file, or whose label file has no label, has no phones.

Burkhardt, Paeschke, Rolfes, Sendlmeier & Weiss, "A database of German emotional speech", Interspeech 2005.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from avi_lib.corpus.adapters.labels import level_of
from avi_lib.corpus.adapters.lablaut import load_lablaut
from avi_lib.corpus.adapters.layout import RuleError, by_preference, collect, find, stem
from avi_lib.corpus.recording import SPEECH_SUFFIXES, Recording, Scan, scanned
from avi_lib.errors import InputError

LAYOUT = "EMO-DB files such as wav/03a01Fa.wav: speaker, sentence, emotion and version; labels in lablaut/"

_EMOTIONS = {
    "W": "angry", "L": "bored", "E": "disgusted", "A": "fear", "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
_GENDERS = {
    **dict.fromkeys(("03", "10", "11", "12", "15"), "male"),
    **dict.fromkeys(("08", "09", "13", "14", "16"), "female"),
}
_TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_NAME = re.compile(r"(\d\d)([a-z]\d\d)([A-Z])[a-z]", re.ASCII)


def scan(source: Path) -> Scan:
    """Every clip of an EMO-DB folder.

    Raises:
        InputError: no clip, or clips in several folders of which none holds all.
    """
    found, unreadable = find(source, SPEECH_SUFFIXES)
    folders = [folder for folder in (source / "lablaut", source.resolve().parent / "lablaut") if folder.is_dir()]
    labels: dict[str, Path] = {}
    for folder in folders[:1]:
        files, broken = find(folder, (".lablaut",))
        labels = {_codes(name): path for name, path in files.items()}
        unreadable += broken

    def read(name: str, path: Path) -> Recording:
        return _recording(name, path, labels)

    recordings, refused = collect(by_preference(_one_folder(source, found)), read)
    return scanned(source, LAYOUT, recordings, unreadable + refused)


def _codes(name: str) -> str:
    return stem(name).rsplit("/", 1)[-1]


def _one_folder(source: Path, found: dict[str, Path]) -> dict[str, Path]:
    """All files when no clip lies in two folders; else those below the folder that holds every clip, and each once."""
    held: dict[str, dict[str, set[str]]] = {"": {}}
    for name in found:
        parent = name.rpartition("/")[0]
        above = itertools.accumulate(parent.split("/"), "{}/{}".format) if parent else ()
        for folder in ("", *above):
            if _NAME.fullmatch(_codes(name)):
                held.setdefault(folder, {}).setdefault(_codes(name), set()).add(parent)
    whole = [
        folder
        for folder, clips in held.items()
        if clips.keys() == held[""].keys() and all(len(parents) == 1 for parents in clips.values())
    ]
    if not whole:
        several = {parent for parents in held[""].values() if len(parents) > 1 for parent in parents}
        got = f"{source} with clips in several of {', '.join(sorted(several))}, none with all"
        raise InputError("one folder that holds every EMO-DB clip", got, "pass the folder to use as the source")
    prefix = min(whole, key=lambda folder: (folder.count("/"), folder))
    return {name: path for name, path in found.items() if not prefix or name.startswith(f"{prefix}/")}


def _recording(name: str, path: Path, labels: dict[str, Path]) -> Recording:
    codes = _codes(name)
    match = _NAME.fullmatch(codes)
    if not match:
        raise RuleError("the name is not speaker, sentence, emotion and version, as in 03a01Fa")
    speaker, sentence, letter = match.groups()
    if sentence not in _TEXTS:
        raise RuleError(f"sentence code {sentence} in the file name; EMO-DB knows {', '.join(_TEXTS)}")
    if letter not in _EMOTIONS:
        raise RuleError(f"emotion letter {letter} in the file name; EMO-DB knows {', '.join(_EMOTIONS)}")
    emotion = _EMOTIONS[letter]
    return Recording(
        codes,
        speaker=speaker,
        speech=path,
        emotion=emotion,
        level=level_of(emotion),
        text=_TEXTS[sentence],
        language="de",
        phones=load_lablaut(labels[codes]) if codes in labels else None,
        gender=_GENDERS.get(speaker),
    )
