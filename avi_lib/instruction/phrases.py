"""The phrases of a sentence, and the sentence without one of them.

>>> [phrase.text for phrase in phrases("A person feels quite angry and speaks with brow strongly down.")]
['feels quite angry', 'brow strongly down']
>>> without("A person feels quite angry and speaks with brow strongly down.", phrases(...)[1])
'A person feels quite angry and speaks.'

A phrase is what stands between two breaks (a comma, "and", "with", ...) and means something: it holds a word for an
emotion, a movement or a part of the face, or else any word that is not merely grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from avi_lib.instruction.scanner import scan
from avi_lib.instruction.vocabulary import BREAKS, FUNCTION_WORDS
from avi_lib.instruction.words import stems_of

_BREAK = re.compile(
    r"\s*[,.;:!?()—–]+\s*|\s+(?:" + "|".join(sorted(map(re.escape, BREAKS), key=len, reverse=True)) + r")(?=\s)\s*",
    re.IGNORECASE,
)
_GRAMMAR = frozenset(stem for word in (*FUNCTION_WORDS, *BREAKS) for stem in stems_of(word))
_LEADING = re.compile(r"^[\s,;]*(?:(?:with|and|but|or|while|as|then)\s+)*", re.IGNORECASE)
_SUBJECT = re.compile(r"^(?:a|an|the)\s+(?:person|man|woman|speaker|face)\s+|^(?:he|she|they|you)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Phrase:
    """Characters `start` to `stop` of a sentence."""

    start: int
    stop: int
    text: str


def phrases(sentence: str) -> tuple[Phrase, ...]:
    """The phrases of a sentence in order.

    Those the scanner understands something of; where there are none, all that are more than grammar.
    """
    found = [_trimmed(sentence, start, stop) for start, stop in _pieces(sentence)]
    meant = tuple(phrase for phrase in found if phrase.text and _asks(phrase.text))
    return meant or tuple(phrase for phrase in found if set(stems_of(phrase.text)) - _GRAMMAR)


def without(sentence: str, phrase: Phrase) -> str:
    """The sentence with a phrase cut out, and the joint before it; empty when nothing but grammar is left."""
    before, after = sentence[: phrase.start].rstrip(), sentence[phrase.stop :].lstrip()
    joints = "|".join(map(re.escape, sorted(BREAKS, key=len, reverse=True)))
    if not after or after[0] in ".!?;,)":
        shorter = None
        while shorter != before:
            shorter = before
            before = re.sub(rf"(?:^|\s)(?:{joints})$", "", before.rstrip(" ,;:(—–"), flags=re.IGNORECASE)
    else:
        after = _LEADING.sub("", after)
    left = re.sub(r"\s+([,.;:!?])", r"\1", f"{before} {after}".strip()).strip(" ,;:")
    return left if re.search(r"\w", left) else ""


def _pieces(sentence: str) -> Iterator[tuple[int, int]]:
    start = 0
    for found in _BREAK.finditer(sentence):
        yield start, found.start()
        start = found.end()
    yield start, len(sentence)


def _trimmed(sentence: str, start: int, stop: int) -> Phrase:
    """A piece without the joint and the subject it begins with."""
    start += len(sentence[start:stop]) - len(_LEADING.sub("", sentence[start:stop]))
    piece = sentence[start:stop]
    subject = _SUBJECT.match(piece)
    if subject and subject.end() < len(piece):
        start += subject.end()
    text = sentence[start:stop]
    lead = len(text) - len(text.lstrip())
    return Phrase(start + lead, start + lead + len(text.strip()), text.strip())


def _asks(text: str) -> bool:
    found = scan(text)
    return found.emotion is not None or bool(found.units)
