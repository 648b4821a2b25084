"""How much free English is understood: sentences kept out of training, and the frozen test by kind.

>>> right(understand("He won."), row["kind"], row["text"], row["labels"])
True

data/sentences/README.md says when an answer is right. Intervals of 95 % are by bootstrap over situations.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avi_lib.instruction.action_units import EMOTION_CLASSES, prototype
from avi_lib.instruction.grammar import class_words
from avi_lib.instruction.instruction import Instruction, expression_targets, in_order, mended
from avi_lib.instruction.language_model import TextEncoder, load_language_model
from avi_lib.instruction.parser import scan
from avi_lib.instruction.reader import UNREAD, Reader, load_reader
from avi_lib.training.reader import FOLDS, read_lines
from tools.benchmarks.measuring import ROOT, Figure, Options, there

SENTENCES = ROOT / "data" / "sentences"
MOVED, SHOWN = 0.3, 0.15
"""Strength of a unit from which it moves; weight of a channel from which it shows."""
RESAMPLED = 2000
SHOTS = (
    ("She found a coin in her old coat.", "slightly happy"),
    ("His dog has been run over.", "extremely sad"),
    ("They keyed his new car.", "quite angry"),
    ("There is a burglar downstairs.", "extremely afraid"),
    ("The sandwich has gone mouldy.", "quite disgusted"),
    ("The lights came on and everyone shouted.", "quite surprised"),
    ("The count eyes the beggar's shoes.", "quite contemptuous"),
    ("The speech goes into its third hour.", "quite bored"),
    ("He reads out the serial number.", "neutral"),
)
"""Examples that the language model sees; none is in the data."""

Read = Callable[[Sequence[str]], list[Instruction]]
Label = Mapping[str, Any]


def measure(options: Options) -> Iterator[Figure]:
    """Every reader on sentences kept out of training and on the frozen test; then the shipped one by kind."""
    test, kept_out = read_lines(SENTENCES / "test.jsonl"), development()
    shipped = load_reader()
    encoder = shipped.encoder
    readers: dict[str, Read] = {
        "parser alone": lambda texts: [parsed(text) for text in texts],
        "nearest emotion": nearest_emotion(encoder),
        "language model, nine examples": nine_shot(),
        "reader": lambda texts: reads(shipped, texts),
    }
    for name, read in readers.items():
        for where, rows in (("kept out", kept_out), ("test", test)):
            yield from _figures(f"{name}, {where}", rows, read, by_kind=name == "reader" and where == "test")
    yield from _figures("reader, unreadable kept out", _unreadable(), readers["reader"], by_kind=False)
    begun = time.perf_counter()
    shipped.instructions(["The old man has found a puppy on his doorstep."])
    yield Figure("a sentence, loaded", time.perf_counter() - begun, "s", "<= 1.5", "one thread or more")
    cases = options.real.parent / "cases" / "free_sentences.csv"
    if there(cases.parent, "free sentences"):
        yield from free_sentences(cases, readers["reader"])


def development() -> list[dict[str, Any]]:
    """Sentences of the situations that are kept out of training, labelled once, as rows of the test."""
    rows = read_lines(SENTENCES / "train.jsonl")
    return [
        {"id": row["situation"], "kind": row["kind"], "text": text, "labels": [row]}
        for row in rows
        if row["situation"] % FOLDS == 0
        for text in row["texts"]
    ]


def _unreadable() -> list[dict[str, Any]]:
    rows = [row for row in read_lines(SENTENCES / "others.jsonl") if row["split"] == "dev"]
    return [{"id": i, "kind": "language", "text": row["text"], "labels": []} for i, row in enumerate(rows)]


def reads(reader: Reader, texts: Sequence[str]) -> list[Instruction]:
    """As `understand` does, many at once."""
    asked = [Instruction.parse(mended(Instruction.parse(text))) for text in texts]
    free = [i for i, each in enumerate(asked) if each.unknown]
    for i, each in zip(free, reader.instructions([asked[i].text for i in free]), strict=True):
        asked[i] = each
    return asked


def parsed(text: str) -> Instruction:
    """The parser's reading; refused where it finds nothing and does not know all words."""
    asked = Instruction.parse(text)
    understood = asked.emotion or asked.action_units or not asked.unknown
    return asked if understood else Instruction(asked.text, unknown=asked.unknown, said=asked.text)


def nearest_emotion(encoder: TextEncoder) -> Read:
    """The emotion class whose words lie nearest in the mean state of a sentence encoder, without any training."""

    def means(texts: Sequence[str]) -> np.ndarray:
        found = np.stack([states.mean(axis=0) for states in encoder.encode(texts)])
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    words = [f"A person feels {class_words(label)}." for label in EMOTION_CLASSES]
    anchors = means(words)
    return lambda texts: [Instruction.parse(words[int(i)]) for i in (means(texts) @ anchors.T).argmax(axis=1)]


def nine_shot() -> Read:
    """The frozen language model after nine examples: the class that the sentence makes likelier than another does."""
    model = load_language_model()
    shots = "".join(f"{said}\nThe person feels {felt}.\n\n" for said, felt in SHOTS)
    words = [class_words(label) for label in EMOTION_CLASSES]
    continuations = [model.tokens(f" {each}.") for each in words]

    def scores(text: str) -> np.ndarray:
        prompt = model.embed(model.tokens(f"{shots}{text}\nThe person feels"))[None]
        return np.asarray(model.log_probabilities(model.read(prompt), continuations)[0].numpy())

    prior = scores("Something happens.")
    return lambda texts: [
        Instruction.parse(f"A person feels {words[int((scores(t) - prior).argmax())]}.") for t in texts
    ]


# When an answer is right.


def right(asked: Instruction, kind: str, text: str, labels: Sequence[Label]) -> bool:
    """Whether what was understood of a sentence of a kind is what its labels say."""
    refused = asked.said is not None and bool(asked.unknown) and asked.text in (UNREAD, asked.said)
    if kind == "language":
        return refused
    if kind == "nothing":
        return refused or (asked.emotion in (None, "neutral") and not any(asked.action_units.values()))
    states = in_order(asked)
    sided = any(side in text.lower() for side in ("left", "right"))
    if kind != "sequence":
        return not refused and all(_fits(state, kind, sided, labels) for state in states)
    thens = [label["then"] for label in labels if "then" in label]
    ends = (_fits(states[0], kind, sided, labels), _fits(states[-1], kind, sided, thens or labels))
    return not refused and len(states) > 1 and all(ends)


def _fits(state: Instruction, kind: str, sided: bool, labels: Sequence[Label]) -> bool:
    found = scan(state.text)
    asked = {name for name, strength in state.action_units.items() if strength > 0}
    moved = (prototype(state.emotion, state.level or 1) if state.emotion else {}) | dict(state.action_units)
    both = set.intersection(*(set(_forbidden(label)) for label in labels))
    if both & ({state.emotion, *(name for name, _ in found.others)} | {n for n, s in moved.items() if s >= MOVED}):
        return False
    wanted = {name for label in labels for name in label.get("units", {})}
    if not sided:
        wanted |= {_mirrored(name) for name in wanted}
    by_units = bool(wanted) and (kind == "stage" or not any(label.get("emotions") for label in labels))
    if by_units:
        return bool(asked & wanted)
    fitting = set.intersection(*(set(label.get("also", ())) for label in labels))
    for label in labels:
        shares = label.get("emotions") or {"neutral": 1.0}
        fitting |= {max(shares, key=shares.__getitem__), *(name for name, share in shares.items() if share >= 0.3)}
    return (state.emotion or "neutral") in fitting


def _forbidden(label: Label) -> tuple[str, ...]:
    return (*label.get("forbidden_emotions", ()), *label.get("forbidden_units", ()))


def _mirrored(name: str) -> str:
    swapped = name.replace("left", "*").replace("right", "left")
    return swapped.replace("*", "right")


def _figures(name: str, rows: Sequence[Mapping[str, Any]], read: Read, by_kind: bool) -> Iterator[Figure]:
    answers = read([row["text"] for row in rows])
    judged = [right(a, row["kind"], row["text"], row["labels"]) for a, row in zip(answers, rows, strict=True)]
    results, groups = np.array(judged, float), np.array([row["id"] for row in rows])
    kinds = np.array([row["kind"] for row in rows])
    english = kinds != "language" if set(kinds) != {"language"} else kinds == "language"
    must = {"reader, test": ">= 0.75", "reader, unreadable kept out": "1"}.get(name, "")
    yield Figure(name, float(results[english].mean()), "", must, _interval(results[english], groups[english]))
    for kind in dict.fromkeys(kinds.tolist() if by_kind else []):
        here, least = kinds == kind, {"negation": ">= 0.95", "sequence": ">= 0.80", "language": "1"}.get(kind, "")
        yield Figure(f"{name}, {kind}", float(results[here].mean()), "", least, _interval(results[here], groups[here]))


def _interval(results: np.ndarray, groups: np.ndarray) -> str:
    """The 95 % interval of a mean, by drawing groups."""
    rng, names = np.random.default_rng(0), np.unique(groups)
    sums = np.array([results[groups == name].sum() for name in names])
    counts = np.array([(groups == name).sum() for name in names])
    drawn = rng.integers(len(names), size=(RESAMPLED, len(names)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (2.5, 97.5))
    return f"{low:.2f} to {high:.2f}, {len(results)} sentences"


def free_sentences(path: Path, read: Read) -> Iterator[Figure]:
    """Sentences of `free_sentences.csv` whose channels move as they should, English ones and others."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    answers = read([row["text"] for row in rows])
    results: dict[bool, list[bool]] = {True: [], False: []}
    for row, asked in zip(rows, answers, strict=True):
        foreign = row["text"].startswith(("Er ist wü", "Sie l", "Elle", "Il a")) or not row["text"].isascii()
        refused = asked.said is not None and bool(asked.unknown)
        moves = _moves(row, asked)
        results[foreign].append(moves or (foreign and refused))
    yield Figure("free sentences, English", float(sum(results[False])), "", ">= 22", f"of {len(results[False])}")
    yield Figure(
        "free sentences, others", float(sum(results[True])), "", "6", f"of {len(results[True])}, right or refused"
    )


def _moves(row: Mapping[str, str], asked: Instruction) -> bool:
    """Whether any wanted channel shows in the end and no forbidden one at any time."""
    faces = [{**expression_targets(state)} for state in in_order(asked)]
    rhythms = [{"eyeBlink": state.action_units.get("blink_more", 0.0)} for state in in_order(asked)]

    def shown(number: int, channel: str) -> bool:
        name = channel.strip("+-")
        return rhythms[number].get(name, 0.0) >= SHOWN or any(
            value >= SHOWN for each, value in faces[number].items() if each.startswith(name)
        )

    wanted = row["want_any"].split()
    still = "none" in wanted and not any(value >= SHOWN for value in faces[-1].values())
    forbidden = any(shown(i, each) for i in range(len(faces)) for each in row["forbid"].split())
    return not forbidden and (still or any(shown(len(faces) - 1, each) for each in wanted if each != "none"))
