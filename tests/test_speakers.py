"""Whom sentences are about: words for a speaker tell a gender only where it is known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, STRENGTH_WORDS, levels
from avi_lib.instruction.grammar import FRAMES, GENDERS, SPEAKERS, describe, slots, speakers_of
from avi_lib.instruction.instruction import Instruction, paraphrases

TELLING = {
    "female": re.compile(r"\b(she|hers?|herself|wom[ae]n|lady|girl|female)\b", re.IGNORECASE),
    "male": re.compile(r"\b(he|him|his|himself|m[ae]n|guy|boy|male)\b", re.IGNORECASE),
}
STATES = [(None, None), *((emotion, level) for emotion in EMOTIONS for level in levels(emotion))]


def told(text: str) -> set[str]:
    return {gender for gender, words in TELLING.items() if words.search(text)}


@pytest.mark.parametrize("gender", [None, *GENDERS])
def test_sentences_tell_no_gender_but_a_known_one_and_parse_back(gender: str | None) -> None:
    rng = np.random.default_rng(11)
    seen: set[str] = set()
    for i in range(500):
        emotion, level = STATES[i % len(STATES)]
        chosen = rng.choice(list(ACTION_UNITS), int(rng.integers(0, 4)), replace=False)
        units = {str(name): float(rng.choice([0.0, *(words.strength for words in STRENGTH_WORDS)])) for name in chosen}
        text = describe(units, emotion, level, rng=rng, speakers=speakers_of(gender))
        said = Instruction.parse(text)
        assert (said.emotion, said.level, said.action_units) == (emotion, level, units), text
        assert told(text) <= {gender}, text
        seen |= told(text)
    assert seen == ({gender} if gender else set())


def test_a_noun_on_a_face_follows_the_speaker() -> None:
    (frame,) = (frame for frame in FRAMES if "noun" in slots(frame))
    rng = np.random.default_rng(2)
    for gender, nouns in ((None, {"person", "speaker"}), ("male", {"person", "speaker", "man"})):
        texts = [describe({}, "sad", 2, rng=rng, frame=frame, speakers=speakers_of(gender)) for _ in range(60)]
        assert {text.split("'s face")[0].split()[-1] for text in texts} == nouns


def test_paraphrases_keep_to_their_speakers_and_by_default_take_anyone() -> None:
    instruction = Instruction.parse("A person feels quite angry and speaks with brow strongly down.")
    anyone = paraphrases(instruction, 100, seed=5)
    assert anyone == paraphrases(instruction, 100, seed=5, speakers=SPEAKERS)
    assert told(" ".join(anyone)) == set(GENDERS)
    assert told(" ".join(paraphrases(instruction, 100, seed=5, speakers=speakers_of(None)))) == set()
    assert told(" ".join(paraphrases(instruction, 100, seed=5, speakers=speakers_of("female")))) == {"female"}


def test_neither_another_gender_nor_no_speaker_at_all_is_taken() -> None:
    with pytest.raises(InputError, match="female, male, or None; got 'f'"):
        speakers_of("f")
    with pytest.raises(InputError, match="at least one speaker"):
        describe({}, "sad", rng=np.random.default_rng(0), speakers=())
