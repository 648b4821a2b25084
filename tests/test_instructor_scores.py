"""The study of the instructor: opinions are known by their weights, temperatures fit, recipes are settings."""

from __future__ import annotations

import copy

import numpy as np
import torch
from small_instructors import SETTINGS, Mirror, bank, frozen, trained

from avi_lib.evaluation.instructor_scores import Predictions, write_out
from avi_lib.instruction.action_units import EMOTION_CLASSES
from avi_lib.instruction.instructor import Instructor
from tools.benchmarks.folds import RECIPES, best_temperature, kept_predictions


def instructor(change=0.0):
    model = copy.deepcopy(trained().model)
    with torch.no_grad():
        model.of_states.bias += change
    return Instructor(model, Mirror(), frozen().language, "for tests")


def test_opinions_are_read_from_their_file_for_the_same_weights_and_clips_alone(tmp_path):
    few = bank().select([number < 5 for number in range(len(bank()))])
    first = kept_predictions(instructor(), few, tmp_path / "kept.npz")
    written = (tmp_path / "kept.npz").stat().st_mtime_ns
    again = kept_predictions(instructor(), few, tmp_path / "kept.npz")
    assert (tmp_path / "kept.npz").stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.classes, first.classes)
    other = kept_predictions(instructor(0.5), few, tmp_path / "kept.npz")
    assert not np.array_equal(other.classes, first.classes)
    fewer = kept_predictions(instructor(0.5), few.select([True, False, True, False, False]), tmp_path / "kept.npz")
    assert len(fewer.classes) == 2


def test_the_temperature_makes_confidence_what_it_claims_to_be():
    rng = np.random.default_rng(0)
    clips = bank().select([clip.emotion in ("angry", "sad") for clip in bank().clips])
    right = rng.random(len(clips)) < 0.7
    names = [
        clip.emotion if ok else {"angry": "sad", "sad": "angry"}[clip.emotion]
        for clip, ok in zip(clips.clips, right, strict=True)
    ]
    logits = np.array(
        [[9.0 * (label.emotion == name and label.level == 2) for label in EMOTION_CLASSES] for name in names]
    )
    predictions = Predictions(clips, logits.astype(np.float32), np.ones(len(clips), np.float32))
    best = best_temperature([predictions])
    assert best > 1.5
    assert predictions.classified(best).calibration_error < predictions.classified(1.0).calibration_error
    assert predictions.classified(best).accuracy == predictions.classified(1.0).accuracy


def test_every_so_many_sentences_are_written_out():
    assert len(write_out(instructor(), bank(), every=10)) == -(-len(bank()) // 10)


def test_recipes_are_settings_that_exist_and_the_last_is_what_is_shipped():
    known = set(type(SETTINGS).model_fields)
    assert len(RECIPES) >= 4
    assert all(set(changes) <= known for changes in RECIPES.values())
    assert not list(RECIPES.values())[-1]
