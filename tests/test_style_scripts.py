"""Scripts of the prior: what training never sees, what evaluations hold, and sentences that say their parts."""

from __future__ import annotations

import numpy as np
import pytest

from avi_lib.corpus.scripts import (
    ONE_EMOTION,
    TWO_EMOTIONS,
    draw_free,
    draw_style_script,
    is_held_combination,
    is_held_wording,
    loosened,
)
from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTIONS, quantise
from avi_lib.instruction.grammar import FRAMES, Phrasing, UnsayableError, describe
from avi_lib.instruction.instruction import Instruction

PLAIN = ("The train leaves at nine.", "My cat sleeps on the table.", "Put the books there.")


def drawn(count, seed=0, **options):
    rng = np.random.default_rng(seed)
    return [draw_style_script(rng, 2, PLAIN, **options) for _ in range(count)]


def test_training_sees_no_held_out_combination():
    scripts = [script for script in drawn(400) if script.kind != "free"]
    assert not any(is_held_combination(script.instruction) for script in scripts)


def test_an_evaluation_on_combinations_holds_one_in_every_script():
    assert all(is_held_combination(script.instruction) for script in drawn(60, draw="combination"))


def test_training_says_no_held_out_frame():
    held = [frame for frame in FRAMES if is_held_wording(frame)]
    assert 2 <= len(held) <= 12, held
    starts = {text.partition("{")[0].capitalize() for text in held if text.partition("{")[0].strip()}
    texts = [text for script in drawn(300) for text in script.texts if script.kind in ("emotion", "mix", "units")]
    assert not [text for text in texts for start in starts if text.startswith(start) and len(start) > 8]


def test_held_out_wordings_are_other_sentences_of_combinations_that_training_sees():
    trained = {text.lower().strip(".!") for script in drawn(800) for text in script.texts}
    held = drawn(80, seed=1, draw="wording")
    assert not any(is_held_combination(script.instruction) for script in held if script.kind != "free")
    fresh = [text.lower().strip(".!") not in trained for script in held for text in script.texts[:1]]
    assert np.mean(fresh) > 0.95


@pytest.mark.parametrize("kind", ["units", "mix"])
@pytest.mark.parametrize("draw", ["train", "combination", "wording"])
def test_a_sentence_of_units_says_the_strengths_that_are_performed(draw, kind):
    for script in drawn(60, draw=draw, kind=kind):
        for text in script.texts:
            found = Instruction.parse(text)
            assert found.emotion == script.instruction.emotion, text
            asked = dict(script.instruction.action_units)
            assert {name: quantise(strength) for name, strength in asked.items()} == found.action_units, text


def test_a_plain_script_asks_for_nothing_and_is_performed_neutral():
    for script in drawn(60, kind="plain"):
        assert script.instruction.emotion is None and not script.instruction.action_units
        assert not any(Instruction.parse(text).emotion for text in script.texts if text)


def test_the_same_stream_draws_the_same_scripts_and_another_one_others():
    assert drawn(20, seed=3) == drawn(20, seed=3) != drawn(20, seed=4)


@pytest.mark.parametrize(
    ("draw", "kind"),
    [("combination", "emotion"), ("combination", "free"), ("combination", "plain"), ("wording", "plain")],
)
def test_a_kind_without_anything_held_out_is_refused_and_not_drawn_for_ever(draw, kind):
    with pytest.raises(InputError, match="combines"):
        drawn(1, draw=draw, kind=kind)


def test_loose_sentences_are_understood():
    rng = np.random.default_rng(0)
    found = [draw_free(rng) for _ in range(400)]
    assert {each.emotion for each in found} == set(EMOTIONS)
    assert sum(bool(each.action_units) for each in found) > 30, "second emotions lend their units"
    assert len({each.text for each in found}) > 300


@pytest.mark.parametrize("template", [*ONE_EMOTION, *TWO_EMOTIONS])
def test_every_loose_sentence_names_an_emotion(template):
    slots = {"he": "she", "his": "her", "him": "her", "someone": "a woman", "felt": "angry", "mood": "anger"}
    found = Instruction.parse(template.format_map(slots | {"felt2": "afraid", "mood2": "fear"}))
    assert found.emotion == "angry"


def test_loosened_sentences_mean_the_same():
    rng = np.random.default_rng(0)
    text = "She is furious, with slightly raised brows."
    parts = Instruction.parse(text)
    for _ in range(40):
        found = Instruction.parse(loosened(text, rng))
        assert (found.emotion, found.level) == (parts.emotion, parts.level)


def test_training_mixes_every_pair_of_emotions_it_can():
    rng = np.random.default_rng(0)
    scripts = [draw_style_script(rng, 1, PLAIN, kind="free") for _ in range(1500)]
    mixed = [script for script in scripts if script.instruction.action_units]
    assert len(mixed) > 250, "a second emotion lends its units"
    assert any(is_held_combination(script.instruction) for script in mixed), "which are not what the sentence names"


def test_held_out_wordings_hold_one_that_training_never_says():
    rng = np.random.default_rng(0)
    words = {"trained": Phrasing(lambda phrase: not is_held_wording(phrase), strict=True)}
    for _ in range(200):
        parts = draw_style_script(rng, 1, PLAIN, kind="units").instruction
        try:
            describe(parts.action_units, rng=rng, phrasing=words["trained"])
        except UnsayableError:
            continue
    assert not any(map(is_held_wording, words["trained"].said))
