"""Scores that benchmarks give: of talking models, priors, the instructor, phones and units."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import real_data  # noqa: F401 (a fixture)
from raw_corpora import StillEncoder
from small_instructors import SETTINGS
from talking_corpora import performed, recorded
from test_model_scores import JAW, Knowing, alone, held_out  # noqa: F401 (a fixture)

from avi_lib.corpus.dataset import Item
from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import MM
from avi_lib.face.head import Head, load_head
from avi_lib.instruction.action_units import EMOTION_CLASSES, EmotionClass
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import STYLE, Shape, TalkingModel
from avi_lib.speech.phones import Phone, tidy
from avi_lib.training.instructor_data import BankClip
from tools import study
from tools.benchmarks import ablations, cross_corpus, instructor, phones, talking, units
from tools.benchmarks.measuring import Figure
from tools.benchmarks.prior import nearest_centroid, score_asked
from tools.benchmarks.systems import Clip, still_sounds
from tools.benchmarks.talking import measure_talking, rig_style, score_lips, score_rest, score_rig
from tools.benchmarks.trainings import merged


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


# Scores of a talking model


def spoken_clip(frames: int, seed: int) -> tuple[MotionClip, tuple[Phone, ...]]:
    """A mouth that is open on vowels and shut on /m/, each 0.2 s, as wide as a chance, after 0.2 s of silence."""
    wide = np.random.default_rng(seed).uniform(0.3, 0.7, frames // 5)
    said = [Phone("SIL", 0.0, 0.2)]
    values = np.zeros((frames, len(ARKIT)), np.float32)
    for number in range(1, frames // 5):
        vowel = (number + seed) % 2 == 0
        said.append(Phone("AA" if vowel else "M", number / 5, (number + 1) / 5))
        values[5 * number : 5 * number + 5, JAW] = wide[number] if vowel else 0.0
    return MotionClip(values, 25.0, ARKIT), tuple(said)


def test_the_real_gap_itself_is_correlated_by_one_and_closes_and_anothers_or_a_still_one_does_not(head):
    motions, clips = [], []
    for seed, frames in enumerate((45, 50)):  # a motion may be longer than its video
        motion, said = spoken_clip(50, seed)
        motions.append(motion)
        gap = 3.0 + 0.01 * MM * head.lip_gap(motion.values)[:frames]  # in a video's own unit
        clips.append(Clip(f"c{seed}", Path("none.flac"), "", said, gap.astype(np.float64), 25.0, motion))
    scores = score_lips(motions, clips, head)
    assert scores["r"] == pytest.approx(1.0, abs=1e-5)
    assert scores["r spoken"] == pytest.approx(1.0, abs=1e-5)
    assert scores["closed"] == 1.0
    assert scores["d"] > 1.5
    assert scores["r, another"] < 0
    assert scores["d, another"] < 0
    still = MotionClip(np.zeros_like(motions[0].values), 25.0, ARKIT)
    half = score_lips([motions[0], still], [clips[0]] * 2, head)
    assert half["d"] == pytest.approx(score_lips(motions[:1], clips[:1], head)["d"] / 2)
    assert (half["r"], half["closed"]) == (pytest.approx(0.5), 0.5)


def test_rest_is_the_gap_that_a_mouth_keeps_over_each_sound(head, monkeypatch):
    model = Knowing(held_out())
    rest = np.zeros((100, len(ARKIT)), np.float32)
    rest[-3:, JAW] = 0.5  # fewer than one frame in twenty
    monkeypatch.setattr(model, "motion_of", lambda features, style: MotionClip(rest, 25.0, ARKIT), raising=False)
    scores = score_rest(model, StillEncoder(), {"calm": np.zeros(STYLE, np.float32)}, head)
    assert scores == {"calm": dict.fromkeys(still_sounds(), 0.0)}


def test_a_rig_is_met_by_its_own_curve_and_its_style_is_the_mean_of_its_clips():
    items = [Item(recorded(), clip) for clip in recorded().clips if clip.features]
    model = Knowing(items)
    styles = [model.style_of(MotionClip(recorded().motion(i.clip).astype(np.float32), 25.0, ARKIT)) for i in items]
    assert rig_style(model, items) == pytest.approx(np.mean(styles, axis=0))
    by_clip = Knowing(items, heeds=False)
    by_clip.scripts = [0]
    made = [by_clip.motion_of(i.corpus.features(i.clip).astype(np.float32), np.zeros(STYLE, np.float32)) for i in items]
    assert score_rig(made, items) == pytest.approx(1.0, abs=1e-6)


def test_what_is_asked_for_and_not_there_or_does_not_fit_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(talking, "load_encoder", lambda name: StillEncoder())
    model = Knowing(held_out())
    assert list(measure_talking(model, None, [])) == list(measure_talking(model, None, [recorded()])) == []
    with pytest.raises(InputError, match="phones"):
        list(measure_talking(model, tmp_path, []))
    with pytest.raises(InputError, match="nobody"):
        list(measure_talking(model, None, [recorded()], ["nobody"]))
    other = TalkingModel(Shape("ARKIT", "whisper-tiny-en", "0" * 64, 2, 16))
    with pytest.raises(InputError, match=r"2 features of whisper-tiny-en.*still"):
        list(measure_talking(other, None, [performed()]))


def test_figures_of_exchange_are_those_of_voices_and_words_that_were_held_out(monkeypatch):
    kept = held_out()
    monkeypatch.setattr(talking, "held_out", lambda corpora: kept)
    figures = {figure.name: figure for figure in measure_talking(Knowing(kept, off=0.01), None, [performed()])}
    assert 0 < figures["exchanged style: EVE / distance of the styles"].value < 1
    assert figures["exchanged style: LVE / own style's"].value == pytest.approx(1.0, abs=1e-4)
    assert all(f"{len(kept)} clips of held-out voices" in figure.how for figure in figures.values())


# Scores of a prior


def test_asked_and_moved_units_are_scored_together_and_without_evidence_is_nan():
    score = score_asked(
        [({"brow_down": 0.9, "jaw_drop": 0.3}, {"brow_down": 0.8}), ({"funnel": 0.6}, {"funnel": 0.5, "pucker": 0.2})]
    )
    assert (score.precision, score.recall, score.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert score.rho == pytest.approx(1.0)
    assert score.missed == {"jaw_drop": 1} and score.false == {"pucker": 1}
    assert math.isnan(score_asked([({"brow_down": 0.5}, {"brow_down": 0.5})]).rho)
    assert math.isnan(score_asked([({}, {})]).f1)


def test_the_nearest_centroid_names_a_style():
    found = nearest_centroid(np.array([[0.0, 1], [5, 5]]), np.array([[0.0, 0], [4, 4]]), ["sad", "happy"])
    assert found == ["sad", "happy"]


# What is heard of people that training did not have


def test_recall_of_corpora_left_out_counts_the_emotions_that_all_know_and_intervals_are_by_speaker():
    clips = [BankClip(f"c{n}", "c", f"s{n % 3}", "train", ("angry", "sad", "bored")[n % 3], 2) for n in range(30)]
    logits = np.full((30, len(EMOTION_CLASSES)), -4.0)
    logits[:, EMOTION_CLASSES.index(EmotionClass("angry", 2))] = 2.0
    logits[:, EMOTION_CLASSES.index(EmotionClass("bored", 1))] = 4.0
    predicted, meant = cross_corpus.four(logits, clips)
    assert set(predicted) == {"angry"} and {clip.emotion for clip in meant} == {"angry", "sad"}
    score = cross_corpus.scored(predicted, meant)
    assert score(np.arange(len(meant))) == 0.5
    assert cross_corpus.interval(meant, score) == "0.00 to 1.00"
    assert all(set(changes) <= set(type(SETTINGS).model_fields) for changes, _ in cross_corpus.RECIPES.values())


def test_correlation_within_groups_takes_no_notice_of_the_groups():
    rng = np.random.default_rng(0)
    group = np.arange(200) % 4
    true = rng.normal(0, 1, (200, 2)) + 5 * group[:, None]
    found = np.stack([true[:, 0] - 9 * group, rng.normal(0, 1, 200) + 5 * group], axis=1)
    same, none = cross_corpus._correlation(found, true, group)
    assert same == pytest.approx(1) and abs(none) < 0.2


def test_quiet_parts_are_cut_and_a_silent_wave_is_left():
    loud = np.sin(np.arange(16000) / 5).astype(np.float32)
    quiet = np.zeros(8000, np.float32)
    np.testing.assert_array_equal(instructor._cut(np.concatenate([quiet, loud, quiet])), loud)
    assert len(instructor._cut(quiet)) == 8000


# Scores of phones and units; ablations


def test_the_score_of_phones_counts_bilabials_and_bias():
    reference = tidy([Phone("B", 0.1, 0.2), Phone("AY", 0.2, 0.4), Phone("M", 0.4, 0.5)], 0.6)
    found = tidy([Phone("B", 0.12, 0.22), Phone("AY", 0.22, 0.4), Phone("N", 0.4, 0.5)], 0.6)
    result = phones.score([(reference, found)])
    assert [pair[1].phone for pair in phones.match(reference, found)] == ["B", "AY"]
    assert result["bilabials_hit"] == 0.5
    assert result["bilabials_false"] == 0.0
    assert result["bias_ms"] == pytest.approx(20)
    assert result["frames"] == pytest.approx(46 / 60)


def test_scores_say_found_false_error_and_nearness() -> None:
    pairs = [
        ({"brow_down": 0.9}, {"brow_down": 0.5, "dimple": 0.2}),
        ({"brow_down": 0.3}, {}),
        ({}, {"brow_down": 0.2}),
    ]
    entry = units.score(pairs)["brow_down"]
    assert (entry.clips, entry.found, entry.false, entry.near) == (2, 0.5, 1.0, 0.0)
    assert entry.error == pytest.approx(0.35) and entry.rho == pytest.approx(1.0)


def test_the_ablations_command_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert ablations.main(["exchange", "--corpus", str(tmp_path), "--folder", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ablations: expected a prepared corpus") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# Real recordings


def test_lips_follow_real_talkers(real_data: Path):  # noqa: F811
    scores = {name: float(np.nanmean(values)) for name, values in phones.score_lips(real_data / "grid10").items()}
    assert scores["d recording"] >= 1.5
    assert scores["d text"] >= 1.8
    assert abs(scores["d another"]) < 0.4
    assert scores["r text"] >= 0.45
    assert scores["r another"] < scores["r text"] - 0.15


# Answers of people, and several trainings


def test_answers_count_for_the_system_that_stood_where_they_point_with_an_interval_over_people(tmp_path: Path):
    sides = [{"pair": n, "left": ("a", "b")[n % 2], "right": ("b", "a")[n % 2]} for n in range(10)]
    key = tmp_path / "study.key.json"
    key.write_text(json.dumps({"study": "x", "systems": ["a", "b"], "pairs": sides}))
    for person in range(6):  # all find the first more natural, and always click left for the other question
        answers = [{"pair": n, "natural": n % 2, "asked": 0} for n in range(10)]
        answered = {"study": "x", "person": str(person), "answers": answers}
        (tmp_path / f"{person}.json").write_text(json.dumps(answered))
    files = sorted(tmp_path.glob("?.json"))
    found = study.score(key, files)
    assert found["natural"].value == 1.0 and found["natural"].resampled == "people" and found["asked"].value == 0.5
    files[0].write_text(json.dumps({"study": "another", "person": "p", "answers": []}))
    with pytest.raises(InputError, match="answers to the study x"):
        study.score(key, files)


def test_figures_of_several_trainings_are_their_mean_with_an_interval_of_student():
    runs = [[Figure("f", value, "", ">= 0.5", "h")] for value in (0.4, 0.5, 0.6)]
    [found] = merged(runs)
    assert found.value == pytest.approx(0.5) and "0.25 to 0.75" in found.how and "3 trainings" in found.how
