"""Adapters: a rule for each layout of a raw corpus, one function that scans by it, and where corpora lie.

>>> scan_source("ravdess", Path("data/raw/ravdess")).recordings[0].emotion
'neutral'
>>> [corpus.name for corpus in find_corpora(Path("data/raw"))]
['emodb', 'ravdess']
"""

from __future__ import annotations

import itertools
import json
import os
import posixpath
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from avi_lib.corpus.layouts import (
    SOUND_SUFFIXES,
    SPEECH_SUFFIXES,
    UNKNOWN_SPEAKER,
    VIDEO_SUFFIXES,
    Entries,
    Found,
    MotionFile,
    Recording,
    Refusal,
    RuleError,
    Scan,
    by_preference,
    by_written_name,
    emotion_of,
    find,
    inside,
    level_of,
    load_lablaut,
    nfc,
    phones_of,
    printable,
    read_json,
    read_phones,
    read_table,
    speaker_folder,
    stem,
    understood,
)
from avi_lib.corpus.rigs import MOTION_RULES, motion_entries
from avi_lib.errors import InputError
from avi_lib.motion.clip import SPACES, UNREADABLE, load_curves, read_header

Beside = Callable[[Mapping[str, str]], dict[str, Any]]
"""What lies beside the sound: for the codes of a name, what is added to its Recording."""


@dataclass(frozen=True)
class Adapter:
    """A kind of raw corpus: how its folder looks, its entries, and the licence of a published one."""

    layout: str
    entries: Callable[[Path, list[Refusal]], Entries]
    licence: str = ""


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _last(name: str) -> str:
    return posixpath.basename(stem(name))


# Corpora whose file names or folders are their labels: the rules of `corpora.json`.


@dataclass(frozen=True)
class NameRule:
    """The labels that file names or folders hold; sound and video of one name are one recording."""

    layout: str  # how the corpus' folder looks
    licence: str
    reference: str  # where the corpus was published
    form: str  # how a name looks, for the refusal of others
    pattern: str  # of a path without suffix, the source's own folder in front; its groups are codes, `actor` and `clip`
    codes: Mapping[str, Mapping[str, Any]]  # what codes mean: an `emotion`, the level of an `intensity`, a `sentence`
    name: str = "{clip}"  # of a recording, made of its codes
    impossible: Mapping[str, str] = field(default_factory=dict)  # patterns of paths that cannot be used, and why
    unlevelled: Sequence[str] = ()  # emotions whose intensity says nothing
    gender: Mapping[str, str] = field(default_factory=dict)  # patterns of the actors of each
    language: str = "en"
    video: bool = True  # whether videos are read beside sound

    def read_codes(self, source: Path, name: str) -> dict[str, str]:
        """The codes of a file below the source; RuleError for another form, unknown codes or an impossible name."""
        match = re.fullmatch(self.pattern, f"{source.resolve().name}/{stem(name)}")
        if not match:
            raise RuleError(f"the name is not {self.form}")
        for group, known in self.codes.items():
            if match[group] not in known:
                shown = ", ".join(known) if len(known) < 16 else f"{min(known)} to {max(known)}"
                raise RuleError(f"{group} code {match[group]} in the file name; known are {shown}")
        for pattern, reason in self.impossible.items():
            if re.fullmatch(pattern, f"/{name}"):
                raise RuleError(reason)
        return match.groupdict()


_RULES = Path(__file__).with_name("corpora.json")
NAME_RULES = {name: NameRule(**entry) for name, entry in json.loads(_RULES.read_text("utf-8")).items()}


def _named(corpus: str, source: Path, refused: list[Refusal]) -> Entries:
    rule, choose, beside_of = NAME_RULES[corpus], *_EXTRAS[corpus]
    found, broken = find(source, SOUND_SUFFIXES if rule.video else SPEECH_SUFFIXES)
    refused += broken
    beside = beside_of(source)
    codes_of: dict[str, dict[str, str]] = {}
    files: dict[str, Found] = {}
    for name, path in by_preference(choose(source, found)).items():
        try:
            codes = rule.read_codes(source, name)
            recording = rule.name.format(**codes)
            others = files.setdefault(recording, {})
            if same := [other for other, kept in others.items() if _is_video(kept) == _is_video(path)]:
                raise RuleError(f"the same recording as {same[0]}, which is kept")
            codes_of[recording], others[name] = codes, path
        except RuleError as error:
            refused.append(Refusal(printable(name), printable(str(error))))

    def read(name: str) -> Recording:
        codes, paths = codes_of[name], list(files[name].values())  # the sound first
        meant = {group: known[codes[group]] for group, known in rule.codes.items()}
        level = None if meant["emotion"] in rule.unlevelled else meant.get("intensity")
        genders = [gender for gender, pattern in rule.gender.items() if re.fullmatch(pattern, codes["actor"])]
        labels = {
            "emotion": meant["emotion"],
            "level": level_of(meant["emotion"], level),
            "text": meant.get("sentence"),
            "language": rule.language,
            "gender": genders[0] if genders else None,
        }
        return Recording(name, codes["actor"], paths[0], next(filter(_is_video, paths), None), **labels | beside(codes))

    return {next(iter(files[name])): partial(read, name) for name in codes_of}


def _unfilmed(_: Path, found: Found) -> Found:
    """RAVDESS without sound alone of what is there as video: both are cut at different times."""
    filmed = {_last(name)[2:] for name, path in found.items() if _is_video(path) and _last(name).startswith("01-")}
    return {n: path for n, path in found.items() if not (_last(n).startswith("03-") and _last(n)[2:] in filmed)}


def _ravdess_phones(source: Path) -> Beside:
    phones = read_phones(source)
    return lambda codes: {"phones": phones_of(phones[codes["clip"]])} if codes["clip"] in phones else {}


def _waves(_: Path, found: Found) -> Found:
    """CREMA-D without an mp3 whose wav is there."""
    waves = {_last(name) for name in found if name.lower().endswith(".wav")}
    return {n: path for n, path in found.items() if not (n.lower().endswith(".mp3") and _last(n) in waves)}


def _one_folder(source: Path, found: Found) -> Found:
    """EMO-DB: all files when no clip lies in two folders, else those below the folder that holds every clip once.

    Complete clips beside 2-second cuts of all may lack whole emotions, and a mixture lets the length tell the emotion.
    """
    held: dict[str, dict[str, set[str]]] = {"": {}}
    for name in found:
        if not re.fullmatch(NAME_RULES["emodb"].pattern, f"/{stem(name)}"):
            continue
        parent = posixpath.dirname(name)
        above = itertools.accumulate(parent.split("/"), "{}/{}".format) if parent else ()
        for folder in ("", *above):
            held.setdefault(folder, {}).setdefault(_last(name), set()).add(parent)
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


def _lablauts(source: Path) -> Beside:
    folders = [folder for folder in (source / "lablaut", source.resolve().parent / "lablaut") if folder.is_dir()]

    def phones(codes: Mapping[str, str]) -> dict[str, Any]:
        paths = [folder / f"{codes['clip']}.lablaut" for folder in folders[:1]]
        return {"phones": load_lablaut(paths[0])} if paths and os.path.lexists(paths[0]) else {}

    return phones


def _front(_: Path, found: Found) -> Found:
    """MEAD without files of the six other cameras."""
    others = {"down", "top", "left_30", "left_60", "right_30", "right_60"}
    return {name: path for name, path in found.items() if not others & set(name.split("/")[:-1])}


def _mead_texts(source: Path) -> Beside:
    paths = [source / name for name in ("mead_transcripts.csv", "mead_transcripts.csv.gz")]
    rows = next((read_table(path, "clip", "text") for path in paths if path.exists()), [])
    texts = {row["clip"]: row["text"] for _, row in rows}
    key = "{actor}_level_{intensity}_{emotion}_{clip}"
    return lambda codes: {"text": texts.get(key.format(**codes)) or None}


_EXTRAS: dict[str, tuple[Callable[[Path, Found], Found], Callable[[Path], Beside]]] = {
    "ravdess": (_unfilmed, _ravdess_phones),
    "crema-d": (_waves, lambda source: lambda codes: {}),
    "emodb": (_one_folder, _lablauts),
    "mead": (_front, _mead_texts),
}
"""For each of these corpora which of the files found count, and what lies beside the sound."""


# Tables, captions and videos.

_GENDERS = {**dict.fromkeys(("female", "f", "woman"), "female"), **dict.fromkeys(("male", "m", "man"), "male")}


def _table(source: Path, refused: list[Refusal]) -> Entries:
    found, broken = find(source, (*SOUND_SUFFIXES, ".npz"))
    refused += broken
    index = source / "index.csv"
    if not index.is_file():
        got = f"{source} without index.csv"
        raise InputError(ADAPTERS["table"].layout, got, "write the table, or choose another adapter")
    rows = read_table(index)
    if rows and not {"clip", "file"} & rows[0][1].keys():
        raise InputError("a column clip or file", f"{index} without", "name the sound of every row")
    motions = by_written_name({name: path for name, path in found.items() if path.suffix.lower() == ".npz"})
    sounds = by_written_name({name: path for name, path in found.items() if path.suffix.lower() != ".npz"})
    phones = read_phones(source)

    def read(clip: str, row: Mapping[str, str]) -> Recording:
        name = inside(clip)
        motion = _table_motion(row.get("motion", ""), name, motions)
        file = row.get("file")
        places = [inside(file)] if file else [folder + name for folder in ("", "flac/", "wav/")]
        sound = next(filter(None, (sounds.get(nfc(place)) for place in places)), None)
        if sound is None and (file or motion is None):
            raise RuleError(f"no sound or video named {file or name}")
        caption, emotion, level = understood(row["instruction"]) if row.get("instruction") else (None, None, None)
        if row.get("emotion"):
            emotion = emotion_of(row["emotion"])
            level = level_of(emotion, row.get("level"))
        elif row.get("level"):
            raise RuleError(f"level {row['level']} without an emotion")
        return Recording(
            name,
            speaker=printable(row.get("speaker", "")) or UNKNOWN_SPEAKER,
            speech=sound,
            video=sound if sound and motion is None and _is_video(sound) else None,
            motion=motion,
            emotion=emotion,
            level=level,
            text=" ".join(row.get("text", "").split()) or None,
            language=row.get("language") or "en",
            phones=phones_of(phones[clip]) if clip in phones else None,
            caption=caption,
            gender=_GENDERS.get(row.get("gender", "").lower()),
        )

    clips = [(row.get("clip") or stem(row.get("file", "")), line, row) for line, row in rows]
    return {f"{clip} (line {line})": partial(read, clip, row) for clip, line, row in clips}


def _table_motion(cell: str, name: str, motions: Found) -> MotionFile | None:
    """The motion that a row names, else an npz of the clip's name if it has the arrays of a motion npz."""
    places = [inside(cell)] if cell else [f"{name}.npz", f"motion/{name}.npz"]
    paths = [path for path in (motions.get(nfc(place)) for place in places) if path]
    for path in paths:
        try:
            with zipfile.ZipFile(path) as archive:
                whole = {"values.npy", "fps.npy", "channels.npy"} <= set(archive.namelist())
                shape = read_header(partial(archive.open, "channels.npy"))[0] if whole else ()
        except UNREADABLE as error:
            raise RuleError(f"{path.name} cannot be read as npz: {error}") from error
        for space in SPACES.values():
            if shape == (len(space),):
                return MotionFile(path, load_curves, space.name)
    if cell:
        raise RuleError(f"{'no motion npz in' if paths else 'no motion named'} {cell}")
    return None


class _Caption(NamedTuple):
    """A sentence as the JSON has it; `folder` is where in the source the JSON lies."""

    folder: str
    clip: object
    sentence: object


def _captioned(source: Path, refused: list[Refusal]) -> Entries:
    folder = source.parent if source.is_file() else source
    found, broken = find(folder, (*SOUND_SUFFIXES, ".json"))
    refused += broken
    whole = source if source.is_file() else source / "captions.json"
    captions = _captions(whole, "") if whole.is_file() else []
    for name, path in () if captions else found.items():
        if path.suffix.lower() == ".json":
            try:
                captions += _captions(path, posixpath.dirname(name))
            except InputError as error:
                refused.append(Refusal(printable(name), printable(str(error))))
    sounds = by_written_name({name: path for name, path in found.items() if path.suffix.lower() != ".json"})

    def read(caption: _Caption) -> Recording:
        for what, value in (("path of its clip", caption.clip), ("sentence", caption.sentence)):
            if not isinstance(value, str):
                raise RuleError(f"the {what} is {type(value).__name__}; it should be text")
        name = inside(str(caption.clip), caption.folder)
        path = sounds.get(nfc(name))
        if path is None:
            raise RuleError(f"no sound or video named {name}")
        text, emotion, level = understood(str(caption.sentence))
        clip = stem(name) if path.suffix and name.lower().endswith(path.suffix.lower()) else name
        video = path if _is_video(path) else None
        speaker = speaker_folder(name)
        return Recording(clip, speaker, path, video, emotion=emotion, level=level, caption=text)

    labels = [f"{posixpath.join(c.folder, str(c.clip))} (sentence {i})" for i, c in enumerate(captions, start=1)]
    return {label: partial(read, caption) for label, caption in zip(labels, captions, strict=True)}


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
    layout = ADAPTERS["captioned"].layout
    raise InputError(layout, f"{path} in none of the three forms", "write one mapping of clip to sentence")


MAX_TRANSCRIPT_BYTES = 100_000


def _videos(source: Path, refused: list[Refusal]) -> Entries:
    found, broken = find(source, (*SOUND_SUFFIXES, ".txt"))
    refused += broken
    ordered = by_preference(found)
    texts = {stem(name): path for name, path in ordered.items() if path.suffix.lower() == ".txt"}
    sounds = {stem(n): p for n, p in reversed(ordered.items()) if p.suffix.lower() in SPEECH_SUFFIXES}

    def read(name: str, path: Path) -> Recording:
        clip, text = stem(name), None
        if transcript := texts.get(clip):
            try:
                with transcript.open("rb") as stream:
                    content = stream.read(MAX_TRANSCRIPT_BYTES + 1)
                if len(content) > MAX_TRANSCRIPT_BYTES:
                    got = f"its transcript {transcript.name} has more than {MAX_TRANSCRIPT_BYTES} bytes; cut it"
                    raise RuleError(got)
                text = " ".join(content.decode("utf-8-sig").split()) or None
            except (OSError, UnicodeDecodeError) as error:
                raise RuleError(f"its transcript {transcript.name} cannot be read as UTF-8: {error}") from error
        return Recording(clip, speaker_folder(name), sounds.get(clip, path), path, text=text)

    return {name: partial(read, name, path) for name, path in ordered.items() if _is_video(path)}


# All layouts, and the scan of a source by one of them.

ADAPTERS = {
    **{name: Adapter(rule.layout, partial(_named, name), rule.licence) for name, rule in NAME_RULES.items()},
    "livelink": Adapter(
        "Live Link Face takes: TAKE.csv as the app writes it, sound or video of the same name beside",
        partial(motion_entries, MOTION_RULES["livelink"]),
    ),
    "rig": Adapter(
        "a folder of npz files with weights (frames, names), fps and names, sound of the same name beside",
        partial(motion_entries, MOTION_RULES["rig"]),
    ),
    "flame": Adapter(
        "FLAME coefficients: CLIP.npz or CLIP/*.npy with expression and jaw, sound of the same name beside",
        partial(motion_entries, MOTION_RULES["flame"]),
    ),
    "table": Adapter(
        "a folder with index.csv (a column clip or file) and the sound it names",
        _table,
    ),
    "captioned": Adapter(
        "captions: a JSON file of clip to sentence beside the sound, or a folder with captions.json or a JSON a clip",
        _captioned,
    ),
    "videos": Adapter(
        f"videos ({', '.join(VIDEO_SUFFIXES)}), in one folder for each speaker",
        _videos,
    ),
}
"""Every adapter by the name that the command takes; `docs/corpora.md` describes the layouts."""


def scan_source(adapter: str, source: Path) -> Scan:
    """What an adapter finds in a source; of several recordings with one name the first is kept.

    Raises:
        InputError: an unknown adapter, a source without a recording of its layout, or a damaged table.
    """
    if adapter not in ADAPTERS:
        raise InputError(f"an adapter of {', '.join(ADAPTERS)}", repr(adapter), "choose the layout of your corpus")
    refused: list[Refusal] = []
    kept: dict[str, tuple[str, Recording]] = {}
    for label, read in ADAPTERS[adapter].entries(source, refused).items():
        try:
            recording = read()
            if recording.name in kept:
                raise RuleError(f"the same recording as {kept[recording.name][0]}, which is kept")
            kept[recording.name] = label, recording
        except (RuleError, InputError) as error:
            refused.append(Refusal(printable(label), printable(str(error))))
    refused.sort(key=lambda refusal: refusal.name)
    if not kept:
        broken = "; ".join(f"{refusal.name}: {refusal.reason}" for refusal in refused[:3])
        got = f"{source} without one" + (f" ({len(refused)} files broke a rule: {broken})" if refused else "")
        do = "pass the folder that holds this layout, or choose another adapter"
        raise InputError(ADAPTERS[adapter].layout, got, do)
    return Scan(tuple(kept[name][1] for name in sorted(kept)), tuple(refused))


# Raw corpora: those below a folder are recognised by its names, others are named.

FOLDERS = {
    **{name: name for name in ADAPTERS},
    "cremad": "crema-d",
    "emo-db": "emodb",
    "facegood": "rig",
    "arkit_iphone": "rig",
    "synthesised": "table",
}
"""The adapter that reads a folder of a name; letters count in lower case, underscores as hyphens too."""


class RawCorpus(NamedTuple):
    """A raw corpus: the name it is known by, the adapter that reads it, and where it lies."""

    name: str
    adapter: str
    folder: Path


def find_corpora(raw: Path) -> list[RawCorpus]:
    """Corpora among the folders directly below `raw`, sorted by name; those of other names are left alone."""
    paths = sorted(path for path in raw.iterdir() if path.is_dir()) if raw.is_dir() else []
    names = [(path.name.lower(), path) for path in paths]
    found = [(name, FOLDERS.get(name) or FOLDERS.get(name.replace("_", "-")), path) for name, path in names]
    return [RawCorpus(name, adapter, path) for name, adapter, path in found if adapter]


def named_corpora(text: str, root: Path) -> list[RawCorpus]:
    """Corpora written as NAME=ADAPTER:FOLDER, several with commas between them; folders below `root` or absolute."""
    corpora = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = part.partition("=")
        adapter, _, folder = rest.partition(":")
        if not name or not folder or adapter not in ADAPTERS:
            expected = f"corpora as NAME=ADAPTER:FOLDER with an adapter of {', '.join(ADAPTERS)}"
            raise InputError(expected, repr(part), "write for example ravdess=ravdess:data/raw/ravdess")
        corpora.append(RawCorpus(name.strip(), adapter, root / folder.strip()))
    return corpora


def choose_corpora(root: Path, raw: str | None, sources: str = "", without: str = "") -> list[RawCorpus]:
    """The raw corpora of a notebook.

    Args:
        root: the project's folder.
        raw: folder whose corpora are taken beside the shipped sample corpus, None for the sample corpus alone.
        sources: corpora to take instead of all these, see `named_corpora`.
        without: names of corpora that are left out, with commas between them.
    """
    left_out = [name.strip() for name in without.split(",")]
    samples = RawCorpus("samples", "table", root / "data/samples/corpus")
    chosen = named_corpora(sources, root) or [samples, *(find_corpora(root / raw) if raw is not None else [])]
    return [corpus for corpus in chosen if corpus.name not in left_out]
