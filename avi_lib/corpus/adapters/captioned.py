r"""Captioned speech: clips, and for each a sentence that says how the face looks.

    {"kitchen/clip_01.wav": "A person feels quite angry and speaks with brow strongly down."}

In: a JSON file, or a folder with `captions.json` or with one JSON file for each clip. Out: one Recording for each
sentence, the sentence as its caption and the emotion and level that it names. Three forms are read: the mapping above;
`{"text_descs": [sentence, ...], "audio_paths": [path, ...]}`; and for each clip a file `{"mm_paths": path, "caption":
["sentence\n### "]}`, of which the text before the first line that begins with "#" counts.

Paths are relative to the folder of the JSON file and stay inside the source. A name without suffix finds its file. The
speaker is the folder directly below the source; clips at the top belong to one speaker, "unknown".
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import NamedTuple

from avi_lib.corpus.adapters.labels import read_json, understood
from avi_lib.corpus.adapters.layout import Files, RuleError, collect, find, inside, printable, speaker_folder, stem
from avi_lib.corpus.recording import SPEECH_SUFFIXES, VIDEO_SUFFIXES, Recording, Refusal, Scan, scanned
from avi_lib.errors import InputError

LAYOUT = "captions: a JSON file of clip to sentence beside the sound, or a folder with captions.json or a JSON a clip"


class _Caption(NamedTuple):
    """A sentence as the JSON has it; `folder` is where in the source the JSON lies."""

    folder: str
    clip: object
    sentence: object


def scan(source: Path) -> Scan:
    """Every sentence of a captioned corpus.

    Args:
        source: a JSON file, or a folder that holds `captions.json` or a JSON file for each clip.

    Raises:
        InputError: a source that is missing, a damaged `captions.json` or one of another form, or no sentence fits.
    """
    folder = source.parent if source.is_file() else source
    found, refused = find(folder, (*SPEECH_SUFFIXES, *VIDEO_SUFFIXES, ".json"))
    files = Files({name: path for name, path in found.items() if path.suffix.lower() != ".json"})
    whole = source if source.is_file() else source / "captions.json"
    if whole.is_file():
        captions = _captions(whole, "")
    else:
        captions = []
        for name, path in found.items():
            if path.suffix.lower() == ".json":
                try:
                    captions += _captions(path, posixpath.dirname(name))
                except InputError as error:
                    refused.append(Refusal(printable(name), printable(str(error))))
    entries = {_label(caption, number): caption for number, caption in enumerate(captions, start=1)}

    def read(_: str, caption: _Caption) -> Recording:
        return _recording(caption, files)

    recordings, broken = collect(entries, read)
    return scanned(source, LAYOUT, recordings, refused + broken)


def _captions(path: Path, folder: str) -> list[_Caption]:
    """The sentences of a JSON file of any of the three forms."""
    match read_json(path):
        case {"audio_paths": list(clips), "text_descs": list(sentences)}:
            if len(clips) != len(sentences):
                got = f"{len(clips)} and {len(sentences)} in {path}"
                raise InputError("as many audio_paths as text_descs", got, "give every clip one sentence")
            return [_Caption(folder, *pair) for pair in zip(clips, sentences, strict=True)]
        case {"mm_paths": [clip] | str(clip), "caption": [str(sentence)] | str(sentence)}:
            return [_Caption(folder, clip, sentence.split("\n#")[0])]
        case {"mm_paths": _, "caption": _}:
            raise InputError("one path in mm_paths and one sentence in caption", f"several in {path}", "split the file")
        case dict() as mapping if not {"audio_paths", "text_descs", "mm_paths"} & mapping.keys():
            return [_Caption(folder, *pair) for pair in mapping.items()]
    raise InputError(LAYOUT, f"{path} in none of the three forms", "write one mapping of clip to sentence")


def _label(caption: _Caption, number: int) -> str:
    return f"{posixpath.join(caption.folder, str(caption.clip))} (sentence {number})"


def _recording(caption: _Caption, files: Files) -> Recording:
    if not isinstance(caption.clip, str):
        raise RuleError(f"the path of its clip is {type(caption.clip).__name__}; it should be text")
    name = inside(caption.clip, caption.folder)
    path = files.at(name)
    if path is None:
        raise RuleError(f"no sound or video named {name}")
    if not isinstance(caption.sentence, str):
        raise RuleError(f"the sentence is {type(caption.sentence).__name__}; it should be text")
    text, emotion, level = understood(caption.sentence)
    clip = stem(name) if path.suffix and name.lower().endswith(path.suffix.lower()) else name
    return Recording(
        clip,
        speaker=speaker_folder(name),
        speech=path,
        video=path if path.suffix.lower() in VIDEO_SUFFIXES else None,
        emotion=emotion,
        level=level,
        caption=text,
    )
