"""The grammar: sentences say exactly their parts, of whom they are meant to be, and answers say the emotion class."""

from __future__ import annotations

import re

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import (
    ACTION_UNITS,
    EMOTION_CLASSES,
    STRENGTH_WORDS,
    EmotionClass,
    prototype,
    quantise,
)
from avi_lib.instruction.grammar import (
    ANSWER_UNITS,
    FRAMES,
    GENDERS,
    MAX_LENGTH,
    MAX_UNITS,
    OPENING,
    SPEAKERS,
    answer,
    choices,
    class_words,
    describe,
    salient,
    serves,
    slots,
    speakers_of,
    worded,
)
from avi_lib.instruction.instruction import Instruction, paraphrases

NAMES = tuple(ACTION_UNITS)
BUCKETS = (0.0, *(bucket.strength for bucket in STRENGTH_WORDS))
STATES = [(None, None), *EMOTION_CLASSES]
ANGRY = Instruction.parse("A person feels quite angry and speaks with brow strongly down.")
TELLING = {
    "female": re.compile(r"\b(she|hers?|herself|wom[ae]n|lady|girl|female)\b", re.IGNORECASE),
    "male": re.compile(r"\b(he|him|his|himself|m[ae]n|guy|boy|male)\b", re.IGNORECASE),
}


def genders_in(text):
    return {gender for gender, words in TELLING.items() if words.search(text)}


def parts(text):
    instruction = Instruction.parse(text)
    assert instruction.unknown == (), text
    return instruction.emotion, instruction.level, dict(instruction.action_units)


def random_units(rng, most=MAX_UNITS):
    chosen = rng.choice(len(NAMES), int(rng.integers(0, most + 1)), replace=False)
    return {NAMES[i]: float(rng.choice(BUCKETS)) for i in chosen}


@pytest.mark.parametrize("frame", FRAMES)
def test_sentences_are_understood_again_in_every_frame(frame):
    rng = np.random.default_rng(len(frame))
    emotions = [state for state in STATES if serves(frame, state[0] is not None, units=True)]
    plain = [state for state in STATES if serves(frame, state[0] is not None, units=False)]
    for i in range(8):
        emotion, level = (emotions or plain)[int(rng.integers(len(emotions or plain)))]
        units = random_units(rng, most=4) | {NAMES[i]: 0.9} if emotions else {NAMES[i]: 0.0}
        text = describe(units, emotion, level, rng=rng, frame=frame)
        assert parts(text) == (emotion, level, units), text
        assert len(text) <= MAX_LENGTH


def test_sentences_are_understood_again_for_many_mixes():
    rng = np.random.default_rng(7)
    for i in range(140):
        emotion, level = STATES[i % len(STATES)]
        units = random_units(rng)
        assert parts(describe(units, emotion, level, rng=rng)) == (emotion, level, units)


def test_every_single_unit_is_understood_again():
    rng = np.random.default_rng(3)
    for i, name in enumerate(NAMES):
        for strength in (BUCKETS[i % len(BUCKETS)], BUCKETS[(i + 4) % len(BUCKETS)]):
            text = describe({name: strength}, rng=rng)
            assert parts(text) == (None, None, {name: strength}), text


def test_measured_strengths_are_said_at_the_nearest_word_the_strongest_first():
    assert quantise(0.87) == 0.9 and quantise(0.07) == 0.0
    text = describe({"brow_down": 0.87, "jaw_drop": 0.05, "pucker": 0.34}, rng=np.random.default_rng(1))
    assert parts(text)[2] == {"brow_down": 0.9, "pucker": 0.3}
    measured = {name: i / 100 for i, name in enumerate(NAMES)}
    assert list(salient(measured, most=3)) == list(reversed(NAMES[-3:]))
    assert salient({"smile": 0.01}) == {}


def test_paraphrases_differ_say_the_same_and_keep_to_their_speakers():
    found = paraphrases(ANGRY, 100, seed=5)
    assert len(set(found)) == 100
    assert all(parts(text) == ("angry", 2, {"brow_down": 0.9}) for text in found)
    assert found == paraphrases(ANGRY, 100, seed=5, speakers=SPEAKERS) != paraphrases(ANGRY, 100, seed=6)
    assert genders_in(" ".join(found)) == set(GENDERS)
    for gender in (None, "female"):
        said = paraphrases(ANGRY, 100, seed=5, speakers=speakers_of(gender))
        assert genders_in(" ".join(said)) == ({gender} if gender else set())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"action_units": {"brow_up": 0.5}}, "brow_up"),
        ({"emotion": "angry", "level": 4}, "level"),
        ({"emotion": "neutral", "level": 2}, "level"),
        ({"emotion": "jealous", "level": 1}, "jealous"),
        ({"action_units": dict.fromkeys(NAMES[:9], 0.5)}, "at most 8"),
        ({"action_units": {"brow_down": 0.9}, "frame": FRAMES[0]}, "slot"),  # the frame has a place for an emotion
        ({"emotion": "sad", "speakers": ()}, "at least one speaker"),
    ],
)
def test_what_cannot_be_said_is_refused(arguments, named):
    with pytest.raises(InputError, match=named):
        describe(**({"action_units": {}} | arguments), rng=np.random.default_rng(0))


@pytest.mark.parametrize("gender", [None, *GENDERS])
def test_sentences_tell_no_gender_but_a_known_one(gender):
    rng = np.random.default_rng(11)
    seen = set()
    for i in range(200):
        emotion, level = STATES[i % len(STATES)]
        units = random_units(rng, most=3)
        text = describe(units, emotion, level, rng=rng, speakers=speakers_of(gender))
        assert parts(text) == (emotion, level, units), text
        assert genders_in(text) <= {gender}, text
        seen |= genders_in(text)
    assert seen == ({gender} if gender else set())
    with pytest.raises(InputError, match="female, male, or None; got 'f'"):
        speakers_of("f")


def test_a_noun_on_a_face_follows_the_speaker():
    (frame,) = (frame for frame in FRAMES if "noun" in slots(frame))
    rng = np.random.default_rng(2)
    for gender, nouns in ((None, {"person", "speaker"}), ("male", {"person", "speaker", "man"})):
        texts = [describe({}, "sad", 2, rng=rng, frame=frame, speakers=speakers_of(gender)) for _ in range(60)]
        assert {text.split("'s face")[0].split()[-1] for text in texts} == nouns


@pytest.mark.parametrize("label", EMOTION_CLASSES, ids=class_words)
def test_answers_and_choices_are_understood_as_their_class(label):
    emotion, level, named = parts(answer(*label))
    assert (emotion, level) == label
    units = prototype(*label)
    assert len(named) == min(ANSWER_UNITS, len(units))
    strongest = sorted(units, key=lambda name: -units[name])[:ANSWER_UNITS]
    assert sorted(named.values()) == sorted(quantise(units[name]) for name in strongest)
    found = choices(label)
    assert found[0] == answer(*label)
    assert len(set(found)) == len(found) <= 60
    assert len(found) >= 3 or label.emotion == "neutral"
    for text in found:
        emotion, level, named = parts(text)
        assert (emotion, level) == label and len(named) <= 2
        assert all(strength == quantise(units[name]) for name, strength in named.items())


def test_answers_are_short_and_no_two_alike():
    answers = {label: answer(*label) for label in EMOTION_CLASSES}
    assert len(set(answers.values())) == len(answers)
    assert max(len(text.split()) for text in answers.values()) <= 18
    assert all(text.startswith(f"{OPENING} {class_words(label)}") for label, text in answers.items())


def test_own_units_are_named_in_place_of_the_prototypes():
    units = {"jaw_drop": 0.9, "brow_down": 0.3, "lip_corner_pull": 0.6, "lid_droop": 0.01}
    assert parts(worded(EmotionClass("happy", 2), units)) == ("happy", 2, {"jaw_drop": 0.9, "lip_corner_pull": 0.6})
