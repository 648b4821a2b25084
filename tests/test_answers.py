"""Answers: the sentences that are written of clips say what was meant."""

from __future__ import annotations

import pytest

from avi_lib.instruction.action_units import EMOTION_CLASSES, EmotionClass, prototype, quantise
from avi_lib.instruction.grammar import ANSWER_UNITS, OPENING, QUESTIONS, answer, choices, class_words, worded
from avi_lib.instruction.instruction import Instruction


@pytest.mark.parametrize("label", EMOTION_CLASSES, ids=class_words)
def test_an_answer_is_understood_as_its_feeling_and_the_strongest_units_of_it(label):
    understood = Instruction.parse(answer(*label))
    assert (understood.emotion, understood.level) == label
    assert understood.unknown == ()
    units = prototype(*label)
    strongest = sorted(units, key=lambda name: -units[name])[:ANSWER_UNITS]
    assert len(understood.action_units) == min(ANSWER_UNITS, len(strongest))
    for name, strength in understood.action_units.items():
        assert strength == quantise(units[name])


def test_answers_are_short_and_no_two_alike():
    answers = [answer(*label) for label in EMOTION_CLASSES]
    assert len(set(answers)) == len(answers)
    assert max(len(text.split()) for text in answers) <= 18
    assert all(
        text.startswith(f"{OPENING} {class_words(label)}") for text, label in zip(answers, EMOTION_CLASSES, strict=True)
    )


def test_own_units_are_named_in_place_of_the_prototypes():
    text = worded(
        EmotionClass("happy", 2), {"jaw_drop": 0.9, "brow_down": 0.3, "lip_corner_pull": 0.6, "lid_droop": 0.01}
    )
    understood = Instruction.parse(text)
    assert understood.action_units == {"jaw_drop": 0.9, "lip_corner_pull": 0.6}
    assert (understood.emotion, understood.level) == ("happy", 2)


def test_questions_differ():
    assert len(set(QUESTIONS)) == len(QUESTIONS) >= 4


@pytest.mark.parametrize("label", EMOTION_CLASSES, ids=class_words)
def test_choices_begin_with_the_answer_and_are_all_understood_as_the_feeling(label):
    found = choices(label)
    assert found[0] == answer(*label)
    assert len(set(found)) == len(found) <= 60
    assert len(found) >= 3 or label.emotion == "neutral"
    for text in found:
        understood = Instruction.parse(text)
        assert (understood.emotion, understood.level, understood.unknown) == (*label, ())
        assert len(understood.action_units) <= 2
