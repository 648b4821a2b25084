"""The reader: sentences and their labels, the words it answers in, its training, and what stays the parser's."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, levels
from avi_lib.instruction.instruction import Instruction, in_order, understand
from avi_lib.instruction.language_model import load_text_encoder
from avi_lib.instruction.parser import scan
from avi_lib.instruction.reader import UNREAD, State, Thresholds, load_reader, written
from avi_lib.settings import profile
from avi_lib.training.reader import load_sentences, make_reading_bank, misspelt, split, targets, train_reader, widened
from tests.small_language_models import save_bert

SENTENCES = Path(__file__).resolve().parents[1] / "data" / "sentences"


def test_every_sentence_has_a_valid_label_and_the_test_shares_none_with_training() -> None:
    train, test = ([json.loads(line) for line in (SENTENCES / name).read_text("utf-8").splitlines()]
                   for name in ("train.jsonl", "test.jsonl"))  # fmt: skip
    labels = [*train, *(label for row in test for label in row["labels"])]
    assert len(train) == 1750 and len(test) == 340 and all(len(row["labels"]) == 2 for row in test)
    for label in [*labels, *(label["then"] for label in labels if "then" in label)]:
        shares, units = label.get("emotions", {}), label.get("units", {})
        assert set(shares) <= set(EMOTIONS) and (not shares or sum(shares.values()) == pytest.approx(1.0, abs=0.02))
        assert set(units) <= set(ACTION_UNITS) and all(0 < strength <= 1 for strength in units.values())
        assert {*label.get("forbidden_emotions", ()), *label.get("also", ())} <= set(EMOTIONS)
        assert set(label.get("forbidden_units", ())) <= set(ACTION_UNITS) and label.get("level", 0) in range(4)
    learned = {text.casefold() for row in train for text in row["texts"]}
    assert not learned & {row["text"].casefold() for row in test}
    assert len({row["id"] for row in test}) == 340 and Counter(row["kind"] for row in test)["situation"] == 100


@pytest.mark.parametrize("seed", range(4))
def test_states_in_the_words_of_the_grammar_are_parsed_as_the_same_states(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(50):
        states = []
        for _ in range(int(rng.integers(1, 3))):
            emotions = {
                str(e): int(rng.choice(levels(str(e)))) for e in rng.choice(EMOTIONS, int(rng.integers(1, 3)), False)
            }
            units = {
                str(u): float(rng.choice([0.3, 0.6, 0.9]))
                for u in rng.choice(list(ACTION_UNITS), int(rng.integers(3)), False)
            }
            states.append(State(emotions, units))
        states[0] = states[0]._replace(denied=tuple(e for e in ("angry",) if e not in states[0].emotions))
        parts = in_order(Instruction.parse(written(states)))
        assert len(parts) == len(states)
        for part, state in zip(parts, states, strict=True):
            found = scan(part.text)
            assert dict([(found.emotion, found.level), *found.others]) == state.emotions
            assert {name: strength for name, strength in found.units.items() if strength} == state.units
            assert not found.unknown


def test_widened_sentences_keep_the_answer_that_goes_with_them() -> None:
    sentences = load_sentences(SENTENCES)
    learned, kept_out = split(sentences)
    assert not {each.situation for each in learned} & {each.situation for each in kept_out}
    rng = np.random.default_rng(0)
    made = [widened(learned[0], learned, rng) for _ in range(400)]
    joined = [each for each in made if each.then]
    assert 15 < len(joined) < 80 and all(each.emotions == learned[0].emotions for each in joined)
    assert targets(joined)["weight"].min() == 1.0 and len({each.text for each in made}) > 80
    assert misspelt("wonderful", rng) != "wonderful" and misspelt("a cat", rng) == "a cat"
    with pytest.raises(InputError, match="sentences"):
        load_sentences(SENTENCES / "absent")


def test_a_reader_is_trained_saved_and_read_again(tmp_path: Path) -> None:
    encoder = load_text_encoder(str(save_bert(tmp_path / "bert")))
    learned, kept_out = split(load_sentences(SENTENCES)[::40])
    settings = profile("smoke").reader
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"steps": 3})})
    reader, log = train_reader(make_reading_bank(learned, encoder, 1, 0), kept_out, encoder, settings, tmp_path / "run")
    assert np.isfinite([line["loss"] for line in log]).all()
    reader.save(tmp_path / "reader.safetensors", {})
    again = load_reader(tmp_path / "reader.safetensors", str(tmp_path / "bert"))
    assert again.thresholds == reader.thresholds
    open_ = replace(again, thresholds=Thresholds(0.0, 0.0, 0.0, 2.0))
    asked = open_.instructions(["The baker finds a pigeon in his flour.", "パン屋は驚いた。"])
    assert asked[0].emotion or asked[0].action_units
    assert asked[0].said == "The baker finds a pigeon in his flour." and not asked[0].unknown
    assert asked[1].text == UNREAD and asked[1].unknown


def test_a_sentence_of_words_that_are_none_is_not_understood() -> None:
    for text in ("flobble wug", "Wug!", "zxcv bnmq"):
        asked = understand(text)
        assert asked.emotion == "neutral" and asked.unknown == tuple(re.findall(r"\w+", text))
    assert understand("He looks like he just won the lottery.").emotion == "happy"


def test_what_the_parser_finds_denied_or_asked_for_counts_before_the_network() -> None:
    assert scan("She isn't afraid any more, the spiders just find her bored.").denied == ("fear",)
    reader = load_reader()
    scared, tilted = reader.instructions(
        ["I'm not afraid of spiders.", "He tilts his head to the right like a listening dog."]
    )
    assert scared.emotion != "fear" and "fear" not in dict(scared.others)
    assert tilted.action_units.get("head_tilt_right", 0.0) > 0
    bored, scolding = reader.instructions(["She is bored but very polite.", "She scolds, then can't help laughing."])
    assert bored.emotion == "bored", "what a sentence says is never denied"
    assert [part.emotion for part in in_order(scolding)] == ["angry", "happy"]


def test_the_parser_keeps_the_sentences_whose_words_it_knows() -> None:
    for text in (
        "She is furious, with slightly raised brows.",
        "A person speaks.",
        "He is not angry at all.",
        "First a person feels sad, then feels quite angry.",
    ):
        assert understand(text) == Instruction.parse(text)
