"""Phrases of a sentence, and the sentence without them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avi_lib.instruction.parser import phrases, without

TEMPLATE = "A person feels quite angry and speaks with brow strongly down."


def test_phrases_of_the_template_are_the_emotion_and_the_movement():
    assert [phrase.text for phrase in phrases(TEMPLATE)] == ["feels quite angry", "brow strongly down"]


@pytest.mark.parametrize(
    ("sentence", "rests"),
    [
        (TEMPLATE, ["A person speaks with brow strongly down.", "A person feels quite angry and speaks."]),
        ("She is furious, without smiling.", ["She, without smiling.", "She is furious."]),
        ("Sadness and a touch of fear", ["a touch of fear", "Sadness"]),
        ("Happy", [""]),
    ],
)
def test_a_sentence_without_a_phrase_is_still_one(sentence, rests):
    assert [without(sentence, phrase) for phrase in phrases(sentence)] == rests


def test_phrases_that_are_not_understood_count_where_there_are_no_others():
    assert [phrase.text for phrase in phrases("The moon over water, silver light.")] == [
        "The moon over water",
        "silver light",
    ]
    assert phrases("and, with; but.") == ()


def test_many_marks_before_a_phrase_take_no_time():
    sentence = "she is happy" + "," * 400 + "x, smiling."
    assert without(sentence, phrases(sentence)[-1]) == "she is happy" + "," * 400 + "x."


@given(st.text(max_size=200))
def test_phrases_are_where_they_say_and_leaving_one_out_never_adds(sentence):
    for phrase in phrases(sentence):
        assert sentence[phrase.start : phrase.stop] == phrase.text
        assert len(without(sentence, phrase)) <= len(sentence)
