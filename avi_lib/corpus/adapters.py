"""Adapters: a rule for each layout of a raw corpus, one function that scans by it, and where corpora lie.

>>> scan_source("ravdess", Path("data/raw/ravdess")).recordings[0].emotion
'neutral'
>>> [corpus.name for corpus in find_corpora(Path("data/raw"))]
['emodb', 'ravdess']
"""

from __future__ import annotations

import csv
import hashlib
import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from avi_lib.corpus import layouts, rigs
from avi_lib.corpus.layouts import Found, MotionFile, Recording, Refusal, RuleError, Scan, of_suffix, printable, stem
from avi_lib.errors import InputError, cause
from avi_lib.files import table_rows
from avi_lib.instruction.action_units import levels
from avi_lib.motion.clip import ARRAYS, FLAME, UNREADABLE, load_npz, read_array, space_of
from avi_lib.motion.formats import flame_part, load_flame, require_coefficients
from avi_lib.speech.decode import SOUND_SUFFIXES, SPEECH_SUFFIXES, VIDEO_SUFFIXES

Entries = dict[str, Callable[[], Recording]]
"""Files or rows of a source by name, and for each the call that reads it or raises RuleError or InputError."""


@dataclass(frozen=True)
class Adapter:
    """A kind of raw corpus, as corpora.json has it; sound and video of one name are one recording.

    Where file names or folders hold the labels, `pattern` reads them.
    """

    layout: str  # how the corpus' folder looks
    licence: str = ""  # of a published one
    beside_sound: Sequence[str] = ()  # suffixes of files that count beside sounds
    reference: str = ""  # where the corpus was published
    form: str = ""  # how a name looks, for the refusal of others
    pattern: str = ""  # of a path without suffix below the source's own name; its groups are actor, clip, codes
    codes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what they mean: emotions, levels, sentences
    name: str = "{clip}"  # of a recording, made of its codes
    impossible: Mapping[str, str] = field(default_factory=dict)  # patterns of paths that cannot be used, and why
    aside: str = "(?!)"  # pattern of paths that do not count
    copies: Sequence[str] = ("(?!)", "(?!)")  # patterns of files that do not count beside others of the same group 1
    unlevelled: Sequence[str] = ()  # emotions whose intensity says nothing
    gender: Mapping[str, str] = field(default_factory=dict)  # patterns of the actors of each
    language: str = "en"
    video: bool = True  # whether videos are read beside sound


ADAPTERS = {n: Adapter(**entry) for kind in ("named", "others") for n, entry in layouts.TABLES[kind].items()}
"""Every adapter by the name that the command takes; `docs/corpora.md` describes the layouts."""


def _video(path: Path) -> Path | None:
    return path if path.suffix.lower() in VIDEO_SUFFIXES else None


# Corpora whose file names or folders are their labels.
def _named(corpus: str, source: Path, found: Found, refused: list[Refusal]) -> Entries:
    """The recordings of a corpus whose file names or folders are their labels."""
    rule, beside = ADAPTERS[corpus], _beside(corpus, source)
    if corpus == "emodb":
        found = _one_folder(source, found)
    copy, better = rule.copies
    kept = {match[1] for match in (re.fullmatch(better, name) for name in found) if match}
    takes: dict[str, tuple[dict[str, str], Found]] = {}
    for name, path in found.items():
        spare = re.fullmatch(copy, name)
        if (spare and spare[1] in kept) or re.fullmatch(rule.aside, name):
            continue
        try:
            codes = _codes(rule, f"{source.resolve().name}/{stem(name)}", name)
            _, files = takes.setdefault(rule.name.format(**codes), (codes, {}))
            if same := [other for other, other_path in files.items() if bool(_video(other_path)) == bool(_video(path))]:
                raise RuleError(f"the same recording as {same[0]}, which is kept")
            files[name] = path
        except RuleError as error:
            refused.append(Refusal(printable(name), printable(str(error))))

    def read(recording: str, codes: Mapping[str, str], paths: Sequence[Path]) -> Recording:
        meant = {group: known[codes[group]] for group, known in rule.codes.items()}
        level = None if meant["emotion"] in rule.unlevelled else meant.get("intensity")
        labels = {
            "video": next(filter(_video, paths), None),
            "emotion": meant["emotion"],
            "level": layouts.level_of(meant["emotion"], level),
            "text": meant.get("sentence"),
            "language": rule.language,
            "gender": next((name for name, who in rule.gender.items() if re.fullmatch(who, codes["actor"])), None),
        }
        return Recording(recording, codes["actor"], paths[0], **labels | beside(codes))

    return {
        next(iter(files)): partial(read, name, codes, list(files.values())) for name, (codes, files) in takes.items()
    }


def _codes(rule: Adapter, below: str, name: str) -> dict[str, str]:
    """The codes of a file's name; RuleError for another form, unknown codes or an impossible name."""
    match = re.fullmatch(rule.pattern, below)
    if not match:
        raise RuleError(f"the name is not {rule.form}")
    for group, known in rule.codes.items():
        if match[group] not in known:
            shown = ", ".join(known) if len(known) < 16 else f"{min(known)} to {max(known)}"
            raise RuleError(f"{group} code {match[group]} in the file name; known are {shown}")
    if reason := next((why for pattern, why in rule.impossible.items() if re.fullmatch(pattern, f"/{name}")), None):
        raise RuleError(reason)
    return match.groupdict()


def _one_folder(source: Path, found: Found) -> Found:
    """EMO-DB: all files when no clip lies in two folders, else those below the folder that holds every clip once.

    Complete clips beside 2-second cuts of all may lack whole emotions, and a mixture lets the length tell the emotion.
    """
    files = [PurePosixPath(name) for name in found if re.fullmatch(ADAPTERS["emodb"].pattern, f"/{stem(name)}")]
    below: dict[PurePosixPath, set[tuple[str, PurePosixPath]]] = {}
    for file in files:
        for folder in file.parents:
            below.setdefault(folder, set()).add((file.stem, file.parent))
    clips = {file.stem for file in files}
    whole = [folder for folder, held in below.items() if len(held) == len(clips) == len({clip for clip, _ in held})]
    if files and not whole:
        got = f"{source} with clips in several of {', '.join(sorted({str(f.parent) for f in files}))}, none with all"
        raise InputError("one folder that holds every EMO-DB clip", got, "pass the folder to use as the source")
    chosen = min(whole, key=lambda folder: (len(folder.parts), folder), default=PurePosixPath())
    return {name: path for name, path in found.items() if chosen in PurePosixPath(name).parents}


def _beside(corpus: str, source: Path) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    """What lies beside a corpus' sound: for the codes of a name, what is added to its Recording."""
    if corpus == "ravdess":
        phones = layouts.read_phones(source)
        return lambda codes: {"phones": layouts.phones_of(phones[codes["clip"]])} if codes["clip"] in phones else {}
    if corpus == "emodb":
        folder = next(filter(Path.is_dir, (source / "lablaut", source.resolve().parent / "lablaut")), None)
        files = {path.stem: path for path in folder.glob("*.lablaut")} if folder else {}
        return lambda codes: {"phones": layouts.load_lablaut(files[codes["clip"]])} if codes["clip"] in files else {}
    if corpus == "mead":
        paths = [source / name for name in ("mead_transcripts.csv", "mead_transcripts.csv.gz")]
        rows = next((layouts.read_table(path, "clip", "text") for path in paths if path.exists()), [])
        texts, key = {row["clip"]: row["text"] for _, row in rows}, "{actor}_level_{intensity}_{emotion}_{clip}"
        return lambda codes: {"text": texts.get(key.format(**codes)) or None}
    return lambda _: {}


# Corpora of recorded motion: takes, the sound of the same name, and `index.csv` with labels where there is one.

_ENDINGS = ("_cal", "", "_raw")
"""Endings of the files that Live Link Face writes of one take, best first: calibration subtracts the face at rest."""
_TAKE_FOLDER = re.compile(r"\d{8}_.+_\d+", re.ASCII)
_TEST_SHARE, _VALIDATION_SHARE = 1 / 4, 1 / 16  # of a lone speaker's clips, kept for the test and for validation


def _recorded(adapter: str, source: Path, found: Found, refused: list[Refusal]) -> Entries:
    """The takes of a source by name; `index.csv` labels them where there is one.

    The only sound beside the only Live Link take of a folder is the take's, whatever its name. The clips of GRID's one
    speaker are parted by a digest of their names.
    """
    index = source / "index.csv"
    rows = [row for _, row in layouts.read_table(index, "clip")] if index.is_file() else []
    labelled = {row["clip"]: row for row in rows}
    if len(labelled) < len(rows):
        twice = Counter(row["clip"] for row in rows).most_common(1)[0][0]
        raise InputError("one row for each clip", f"{twice} again in {index}", "remove one")
    takes = _live_link_takes(found, refused) if adapter == "livelink" else of_suffix(found, ".npz")
    if adapter == "flame":
        expressions = {n: path for n, path in of_suffix(found, ".npy").items() if flame_part(path.stem) == "expression"}
        takes |= {posixpath.dirname(name) or stem(name): path for name, path in expressions.items()}
    folders = Counter(map(posixpath.dirname, takes))
    sounds = of_suffix(found, *SOUND_SUFFIXES)
    by_stem = {stem(name): path for name, path in reversed(sounds.items())}

    def sound(name: str) -> Path | None:
        folder = posixpath.dirname(name)
        beside = [path for other, path in sounds.items() if posixpath.dirname(other) == folder]
        alone = adapter == "livelink" and folders[folder] == 1 and len(beside) == 1
        named = (by_stem.get(name + ending) for ending in ("", "_cal", "_raw"))
        return next(filter(None, named), beside[0] if alone else None)

    def read(label: str, path: Path) -> Recording:
        name = stem(label) if path.suffix.lower() == ".npz" else label
        row = labelled.get(name) or labelled.get(posixpath.basename(name)) or {}
        own = [folder for folder in name.split("/")[:-1] if not _TAKE_FOLDER.fullmatch(folder)]
        labels = _labels(row, strict=False)
        if labels["speaker"] == layouts.UNKNOWN_SPEAKER and own:
            labels["speaker"] = own[0]
        if adapter == "av_grid_s1":
            place = hashlib.sha256(name.encode()).digest()[0] / 256
            later = (place >= _TEST_SHARE) + (place >= _TEST_SHARE + _VALIDATION_SHARE)
            labels["split"] = ("test", "validation", "train")[later]
        return Recording(name, speech=sound(name), motion=_motion_file(adapter, source, path), **labels)

    return {label: partial(read, label, path) for label, path in takes.items()}


def _labels(row: Mapping[str, str], strict: bool) -> dict[str, Any]:
    """What a row of `index.csv` says; unless `strict`, words that are no emotion ("neutral_idle") leave it open.

    RAVDESS' actors are named as by its own adapter: a voice held out by one is held out by both.
    """
    emotion, level = None, {"normal": "2", "strong": "3"}.get(row.get("intensity", "")) or row.get("level")
    if word := row.get("emotion") or row.get("label"):
        with nullcontext() if strict else suppress(RuleError):
            emotion = layouts.emotion_of(word)
    if strict and level and not emotion:
        raise RuleError(f"level {level} without an emotion")
    return {
        "speaker": printable(row.get("speaker", "")).removeprefix("RAVDESS_") or layouts.UNKNOWN_SPEAKER,
        "emotion": emotion,
        "level": emotion and layouts.level_of(emotion, level if strict or len(levels(emotion)) > 1 else None),
        "text": " ".join(row.get("text", "").split()) or None,
        "language": row.get("language", "").split("-")[0] or "en",
        "gender": layouts.TABLES["genders"].get(row.get("gender", "").lower()),
    }


def _live_link_takes(found: Found, refused: list[Refusal]) -> Found:
    """The best file of every take; other CSVs (`frame_log.csv`) have no Live Link header and are left alone."""
    variants: dict[str, Found] = {}
    for name, path in of_suffix(found, ".csv").items():
        try:
            with path.open("rb") as stream:
                _, header = next(table_rows(stream.read(1 << 16), whole=False), (0, []))
        except UnicodeDecodeError:
            continue
        except (OSError, csv.Error) as error:
            refused.append(Refusal(name, f"a CSV that cannot be read: {cause(error)}"))
            continue
        if "timecode" in map(str.lower, header) and "blendshapecount" in map(str.lower, header):
            base = re.sub("_(cal|raw)$", "", stem(name))
            variants.setdefault(base, {})[stem(name).removeprefix(base)] = path
    return {base: next(of[ending] for ending in _ENDINGS if ending in of) for base, of in variants.items()}


def _motion_file(adapter: str, source: Path, path: Path) -> MotionFile:
    """The motion of a take, which is looked at no further than to see that its arrays have the names they need."""
    if adapter == "rig":
        own = source / "rig_map.json"
        chosen = own if own.is_file() else None
        rigs.map_for(rigs.rig_names(path), chosen)
        return MotionFile(path, partial(rigs.load_rig, rig_map=chosen), also=(chosen,) if chosen else ())
    if adapter != "flame":
        reads = {"livelink": rigs.load_take, "av_grid_s1": load_npz, "av_ravdess_au": rigs.load_action_units}
        return MotionFile(path, reads[adapter])
    beside = sorted(path.parent.glob("*.npy")) if path.suffix.lower() == ".npy" else []
    try:
        if beside:
            require_coefficients([file.stem for file in beside])
        else:
            with zipfile.ZipFile(path) as archive:
                require_coefficients([stem(name) for name in archive.namelist()])
    except (OSError, zipfile.BadZipFile) as error:
        raise RuleError(f"no npz: {cause(error)}") from error
    except ValueError as error:
        raise RuleError(str(error)) from error
    return MotionFile(path, load_flame, FLAME.name, tuple(file for file in beside if file != path))


# Tables, captions and videos.
def _table(source: Path, found: Found, _: list[Refusal]) -> Entries:
    index = source / "index.csv"
    if not index.is_file():
        got = f"{source} without index.csv"
        raise InputError(ADAPTERS["table"].layout, got, "write the table, or choose another adapter")
    rows = layouts.read_table(index)
    if rows and not {"clip", "file"} & rows[0][1].keys():
        raise InputError("a column clip or file", f"{index} without", "name the sound of every row")
    motions = layouts.by_written_name(of_suffix(found, ".npz"))
    sounds = layouts.by_written_name(of_suffix(found, *SOUND_SUFFIXES))
    phones = layouts.read_phones(source)

    def read(clip: str, row: Mapping[str, str]) -> Recording:
        name = layouts.inside(clip)
        motion = _table_motion(row.get("motion", ""), name, motions)
        file = row.get("file")
        places = [layouts.inside(file)] if file else [folder + name for folder in ("", "clips/", "flac/", "wav/")]
        sound = next(filter(None, (sounds.get(layouts.nfc(place)) for place in places)), None)
        if sound is None and (file or motion is None):
            raise RuleError(f"no sound or video named {file or name}")
        labels, caption = _labels(row, strict=True), None
        if row.get("instruction"):
            caption, emotion, level = layouts.understood(row["instruction"])
            labels |= {} if labels["emotion"] else {"emotion": emotion, "level": level}
        return Recording(
            name,
            speech=sound,
            video=_video(sound) if sound and motion is None else None,
            motion=motion,
            phones=layouts.phones_of(phones[clip]) if clip in phones else None,
            caption=caption,
            **labels,
        )

    clips = [(row.get("clip") or stem(row.get("file", "")), line, row) for line, row in rows]
    return {f"{clip} (line {line})": partial(read, clip, row) for clip, line, row in clips}


def _table_motion(cell: str, name: str, motions: Found) -> MotionFile | None:
    """The motion that a row names, else an npz of the clip's name if it has the arrays of a motion npz."""
    places = [layouts.inside(cell)] if cell else [f"{name}.npz", f"motion/{name}.npz"]
    paths = [path for path in (motions.get(layouts.nfc(place)) for place in places) if path]
    for path in paths:
        try:
            with zipfile.ZipFile(path) as archive:
                whole = {"values.npy", "fps.npy", "channels.npy"} <= set(archive.namelist())
                opened = partial(archive.open, "channels.npy")
                channels = read_array(opened, "channels", *ARRAYS["channels"]) if whole else np.empty(0, "U")
        except UNREADABLE as error:
            raise RuleError(f"{path.name} cannot be read as npz: {cause(error)}") from error
        if space := space_of(channels.ravel().tolist()):
            return MotionFile(path, load_npz, space.name)
    if cell:
        raise RuleError(f"{'no motion npz in' if paths else 'no motion named'} {cell}")
    return None


def _captioned(source: Path, found: Found, refused: list[Refusal]) -> Entries:
    whole = source if source.is_file() else source / "captions.json"
    captions = _captions(whole, "") if whole.is_file() else []
    for name, path in () if captions else of_suffix(found, ".json").items():
        try:
            captions += _captions(path, posixpath.dirname(name))
        except InputError as error:
            refused.append(Refusal(printable(name), printable(str(error))))
    sounds = layouts.by_written_name(of_suffix(found, *SOUND_SUFFIXES))

    def read(folder: str, clip: object, sentence: object) -> Recording:
        for what, value in (("path of its clip", clip), ("sentence", sentence)):
            if not isinstance(value, str):
                raise RuleError(f"the {what} is {type(value).__name__}; it should be text")
        name = layouts.inside(str(clip), folder)
        path = sounds.get(layouts.nfc(name))
        if path is None:
            raise RuleError(f"no sound or video named {name}")
        text, emotion, level = layouts.understood(str(sentence))
        bare = stem(name) if path.suffix and name.lower().endswith(path.suffix.lower()) else name
        speaker = layouts.speaker_folder(name)
        return Recording(bare, speaker, path, _video(path), emotion=emotion, level=level, caption=text)

    return {
        f"{posixpath.join(folder, str(clip))} (sentence {i})": partial(read, folder, clip, sentence)
        for i, (folder, clip, sentence) in enumerate(captions, start=1)
    }


def _captions(path: Path, folder: str) -> list[tuple[str, object, object]]:
    """The folder, clips and sentences of a JSON file of any of the three forms, as the JSON has them."""
    match layouts.read_json(path):
        case {"audio_paths": list(clips), "text_descs": list(sentences)}:
            if len(clips) != len(sentences):
                got = f"{len(clips)} and {len(sentences)} in {path}"
                raise InputError("as many audio_paths as text_descs", got, "give every clip one sentence")
            return [(folder, *pair) for pair in zip(clips, sentences, strict=True)]
        case {"mm_paths": [clip] | str(clip), "caption": [str(sentence)] | str(sentence)}:
            return [(folder, clip, sentence.split("\n#")[0])]
        case {"mm_paths": _, "caption": _}:
            raise InputError("one path in mm_paths and one sentence in caption", f"several in {path}", "split the file")
        case dict() as mapping if not {"audio_paths", "text_descs", "mm_paths"} & mapping.keys():
            return [(folder, *pair) for pair in mapping.items()]
    layout = ADAPTERS["captioned"].layout
    raise InputError(layout, f"{path} in none of the three forms", "write one mapping of clip to sentence")


MAX_TRANSCRIPT_BYTES = 100_000


def _videos(_: Path, found: Found, __: list[Refusal]) -> Entries:
    texts = {stem(name): path for name, path in of_suffix(found, ".txt").items()}
    sounds = {stem(name): path for name, path in reversed(of_suffix(found, *SPEECH_SUFFIXES).items())}

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
                raise RuleError(f"its transcript {transcript.name} cannot be read as UTF-8: {cause(error)}") from error
        return Recording(clip, layouts.speaker_folder(name), sounds.get(clip, path), path, text=text)

    return {name: partial(read, name, path) for name, path in of_suffix(found, *VIDEO_SUFFIXES).items()}


# The scan of a source by one of them.
def scan_source(adapter: str, source: Path) -> Scan:
    """What an adapter finds in a source; of several recordings with one name the first is kept.

    Raises InputError for an unknown adapter, a source without a recording of its layout, and a damaged table.
    """
    if adapter not in ADAPTERS:
        raise InputError(f"an adapter of {', '.join(ADAPTERS)}", repr(adapter), "choose the layout of your corpus")
    rule, folder = ADAPTERS[adapter], source.parent if adapter == "captioned" and source.is_file() else source
    found, refused = layouts.find(folder, (*SOUND_SUFFIXES, *rule.beside_sound) if rule.video else SPEECH_SUFFIXES)
    others = {"table": _table, "captioned": _captioned, "videos": _videos}
    entries = others.get(adapter) or partial(_named if rule.pattern else _recorded, adapter)
    kept: dict[str, tuple[str, Recording]] = {}
    for label, read in entries(source, found, refused).items():
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
        raise InputError(rule.layout, got, do)
    return Scan(tuple(kept[name][1] for name in sorted(kept)), tuple(refused))


# Raw corpora: those below a folder are recognised by its names, others are named.

FOLDERS = {name: name for name in ADAPTERS} | layouts.TABLES["folders"]
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


def choose_corpora(root: Path, raw: str | None, sources: str = "", without: str = "") -> list[RawCorpus]:
    """The raw corpora of a notebook, whose project lies in `root`.

    They are the shipped sample corpus and those in the folder `raw`, if one is given, or instead of all these the
    `sources`, written as NAME=ADAPTER:FOLDER with commas between them; folders are below `root` or absolute. Corpora
    named in `without`, with commas between them, are left out.
    """
    chosen = []
    for part in filter(None, map(str.strip, sources.split(","))):
        name, _, rest = part.partition("=")
        adapter, _, folder = rest.partition(":")
        if not name or not folder or adapter not in ADAPTERS:
            expected = f"corpora as NAME=ADAPTER:FOLDER with an adapter of {', '.join(ADAPTERS)}"
            raise InputError(expected, repr(part), "write for example ravdess=ravdess:data/raw/ravdess")
        chosen.append(RawCorpus(name.strip(), adapter, root / folder.strip()))
    samples = RawCorpus("samples", "table", root / "data/samples/corpus")
    chosen = chosen or [samples, *(find_corpora(root / raw) if raw is not None else [])]
    left_out = [name.strip() for name in without.split(",")]
    return [corpus for corpus in chosen if corpus.name not in left_out]
