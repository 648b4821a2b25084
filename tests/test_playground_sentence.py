"""The sentence of the playground and its controls say the same, whichever of them is changed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.instruction.grammar import MAX_LENGTH, MAX_UNITS, SPEAKERS
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import EMOTIONS, levels
from avi_lib.instruction.timeline import Entry, Timeline
from avi_lib.workbook.playground.instruction_editor import InstructionEditor
from avi_lib.workbook.playground.timeline_editor import MOST_ROWS, TimelineEditor
from avi_lib.workbook.playground.unit_sliders import REGIONS, UnitSliders
from avi_lib.workbook.playground.wording import STRENGTHS, plain_sentence, speaker_of

FEELINGS = [(None, None), *((emotion, level) for emotion in EMOTIONS for level in levels(emotion))]


def parts(sentence: str) -> tuple[str | None, int | None, dict[str, float]]:
    told = Instruction.parse(sentence)
    assert not told.unknown
    return told.emotion, told.level, dict(told.action_units)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FEELINGS),
    st.dictionaries(st.sampled_from(sorted(ACTION_UNITS)), st.sampled_from(sorted(STRENGTHS.values())), max_size=8),
    st.sampled_from(SPEAKERS),
)
def test_a_plain_sentence_says_just_its_parts(feeling, units, speaker):
    sentence = plain_sentence(units, *feeling, speaker)
    assert parts(sentence) == (*feeling, units)
    assert len(sentence) <= MAX_LENGTH
    assert speaker_of(sentence) == speaker


def test_every_action_unit_has_one_slider():
    names = [name for region in REGIONS.values() for name in region]
    assert sorted(names) == sorted(ACTION_UNITS)


@pytest.mark.parametrize("feeling", FEELINGS)
def test_emotion_and_level_go_from_the_sentence_to_the_controls_and_back(feeling):
    told: list[str] = []
    editor = InstructionEditor("She speaks, nodding slightly.", told.append)
    emotion, level = feeling
    sentence = plain_sentence({"head_nod": 0.3}, emotion, level)
    editor.text.value = sentence
    assert (editor.emotion.value or None) == emotion
    assert editor.level.disabled == (emotion in (None, "neutral", "calm"))
    if not editor.level.disabled:
        assert editor.level.value == level
    editor.units["head_nod"].value = 0.9
    assert parts(editor.text.value) == (emotion, level, {"head_nod": 0.9})
    assert not told


def test_a_moved_slider_rewrites_the_sentence_about_the_same_speaker():
    editor = InstructionEditor("He is angry.", pytest.fail)
    editor.units["brow_down"].value = STRENGTHS["strongly"]
    assert editor.text.value == "He feels angry and speaks with brow strongly down."
    editor.level.value = 3
    assert editor.text.value == "He feels furious and speaks with brow strongly down."
    editor.units["lip_corner_pull"].value = STRENGTHS["without"]
    assert parts(editor.text.value) == ("angry", 3, {"brow_down": 0.9, "lip_corner_pull": 0.0})
    editor.emotion.value = "calm"
    assert parts(editor.text.value)[:2] == ("calm", 1)
    assert editor.units.values == {"brow_down": 0.9, "lip_corner_pull": 0.0}


def test_strengths_between_words_stay_as_they_are_until_their_own_slider_moves():
    editor = InstructionEditor("She is happy and surprised.", pytest.fail)
    lent = dict(editor.instruction.action_units)
    assert lent and editor.units.values.keys() == lent.keys()
    assert max(abs(editor.units.values[name] - lent[name]) for name in lent) <= 0.075


def test_other_words_say_the_same():
    editor = InstructionEditor("She is happy, brows strongly raised.", pytest.fail)
    before, said = parts(editor.text.value), {editor.text.value}
    for _ in range(4):
        editor.reword.click()
        said.add(editor.text.value)
        assert parts(editor.text.value) == before
    assert len(said) >= 4


def test_one_edit_is_told_once_and_a_slider_that_follows_is_no_edit():
    changes: list[str] = []
    editor = InstructionEditor("She is calm.", pytest.fail)
    editor.on_change(lambda: changes.append(editor.text.value))
    editor.text.value = "She is furious, brows strongly down, nodding."
    assert changes == ["She is furious, brows strongly down, nodding."]
    editor.say("She is sad.")
    assert len(changes) == 1 and editor.emotion.value == "sad"


def test_more_units_than_a_sentence_holds_are_refused_and_the_slider_goes_back():
    told: list[str] = []
    editor = InstructionEditor("She speaks.", told.append)
    names = sorted(ACTION_UNITS)[: MAX_UNITS + 1]
    for name in names:
        editor.units[name].value = 0.9
    assert len(told) == 1 and f"at most {MAX_UNITS} action units" in told[0]
    assert editor.units.values == dict.fromkeys(names[:-1], 0.9)
    assert parts(editor.text.value)[2] == editor.units.values


def test_too_faint_for_a_word_is_not_shown_and_nothing_is_not_forbidden():
    sliders = UnitSliders()
    sliders.show({"jaw_drop": 0.05, "dimple": 0.0, "pucker": 0.5})
    assert sliders.values == {"dimple": 0.0, "pucker": 0.45}
    assert sliders.box.titles[list(REGIONS).index("Lips")] == "Lips · 1"


def test_the_first_row_of_a_timeline_begins_at_the_start_and_the_last_one_stays():
    editor = TimelineEditor("She is calm.")
    editor.add(at_s=2.5)
    editor.sentence = "She is furious."
    editor.add(at_s=1.0)
    editor.sentence = "She is sad."
    told = [(entry.at_s, entry.instruction.emotion) for entry in editor.timeline.entries]
    assert told == [(0.0, "calm"), (1.0, "sad"), (2.5, "angry")]
    for row in list(editor._rows):
        row.drop.click()
    assert [(entry.at_s, entry.instruction.emotion) for entry in editor.timeline.entries] == [(0.0, "sad")]


def test_a_timeline_that_is_too_long_for_the_page_is_refused():
    editor = TimelineEditor("She is calm.")
    calm = Instruction.parse("She is calm.")
    with pytest.raises(InputError, match=f"{MOST_ROWS} rows"):
        editor.show(Timeline(tuple(Entry(float(at), calm) for at in range(MOST_ROWS + 1))))
    assert len(editor.timeline.entries) == 1
