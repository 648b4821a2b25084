"""Scores of a talking model: what the real thing, a perfect model and a model that ignores styles get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raw_corpora import StillEncoder
from talking_corpora import performed, recorded

from avi_lib.corpus.dataset import Item
from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import MM
from avi_lib.evaluation.report import one_thread
from avi_lib.evaluation.systems import Clip, score_exchange, still_sounds
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import STYLE, Shape, TalkingModel
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.phones import Phone
from tools.benchmarks import talking
from tools.benchmarks.talking import measure_talking, rig_style, score_lips, score_rest, score_rig

JAW = ARKIT.index("jawOpen")


@pytest.fixture(autouse=True)
def alone():
    """Two threads that wait for each other on busy cores take many times as long."""
    with one_thread():
        yield


class Knowing(TalkingModel):
    """Knows all performances of a corpus: the clip is found by its features, the script by what is shown.

    `heeds` the style or speaks in the clip's own, and is `off` in every channel.
    """

    def __init__(self, items: list[Item], heeds: bool = True, off: float = 0.0) -> None:
        super().__init__(Shape("ARKIT", "still", "0" * 64, 2, 16, 16))
        self.heeds, self.off, self.shown, self.true = heeds, np.float32(off), {}, {}
        for corpus, clip in ((item.corpus, item.clip) for item in items):
            features = corpus.features(clip).astype(np.float32).tobytes()
            for number, script in enumerate(clip.scripts):
                motion = corpus.motion(clip, number).astype(np.float32)
                self.shown[motion.tobytes()] = script
                self.true[features, script if heeds else number] = motion
        self.scripts = sorted({script for item in items for script in item.clip.scripts})

    def style_of(self, motion, present=None):
        style = np.zeros(STYLE, np.float32)
        style[self.scripts.index(self.shown[motion.values.tobytes()])] = 1.0
        return style

    def motion_of(self, features, style):
        script = self.scripts[int(style.argmax())] if self.heeds else 0
        return MotionClip(self.true[features.tobytes(), script] + self.off, 25.0, ARKIT)


def held_out() -> list[Item]:
    return [Item(performed(), clip) for clip in performed().select(split="test")]


def spoken_clip(frames: int, seed: int) -> tuple[MotionClip, tuple[Phone, ...]]:
    """A mouth that is open on vowels and shut on /m/, each 0.2 s, as wide as a chance, after 0.2 s of silence."""
    wide = np.random.default_rng(seed).uniform(0.3, 0.7, frames // 5)
    phones = [Phone("SIL", 0.0, 0.2)]
    values = np.zeros((frames, len(ARKIT)), np.float32)
    for number in range(1, frames // 5):
        vowel = (number + seed) % 2 == 0
        phones.append(Phone("AA" if vowel else "M", number / 5, (number + 1) / 5))
        values[5 * number : 5 * number + 5, JAW] = wide[number] if vowel else 0.0
    return MotionClip(values, 25.0, ARKIT), tuple(phones)


def test_the_real_gap_itself_is_correlated_by_one_and_closes_and_anothers_or_a_still_one_does_not(head):
    motions, clips = [], []
    for seed, frames in enumerate((45, 50)):  # a motion may be longer than its video
        motion, phones = spoken_clip(50, seed)
        motions.append(motion)
        gap = 3.0 + 0.01 * MM * head.lip_gap(motion.values)[:frames]  # in a video's own unit
        clips.append(Clip(f"c{seed}", Path("none.flac"), "", phones, gap.astype(np.float64), 25.0))
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


def test_a_model_that_knows_every_performance_makes_no_error_and_one_without_style_their_distance(head):
    items = held_out()
    scores, same = (score_exchange(Knowing(items, heeds=heeds), items, head) for heeds in (True, False))
    assert {scores[name] for name in ("EVE exchanged", "EVE own", "LVE exchanged", "LVE own")} == {0.0}
    assert scores["EVE distance"] > 0.1
    assert same["EVE exchanged"] == pytest.approx(same["EVE distance"]) and same["EVE own"] == 0.0


def test_sounds_without_speech_are_the_same_every_time_and_of_known_levels():
    first, second = still_sounds(), still_sounds()
    assert first.keys() == second.keys() >= {"silence", "room tone", "breath", "hiss", "knock", "keys"}
    assert all((first[name] == second[name]).all() for name in first)
    assert {len(wave) for wave in first.values()} == {4 * RATE_HZ} and not first["silence"].any()
    level = {name: float(np.sqrt(np.mean(np.square(wave)))) for name, wave in first.items()}
    assert level["faint noise"] < level["room tone"] < level["loud noise"] < 1


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
    other = TalkingModel(Shape("ARKIT", "whisper-tiny-en", "0" * 64, 2, 16, 16))
    with pytest.raises(InputError, match=r"2 features of whisper-tiny-en.*still"):
        list(measure_talking(other, None, [performed()]))


def test_figures_of_exchange_are_those_of_voices_and_words_that_were_held_out(monkeypatch):
    kept = held_out()
    monkeypatch.setattr(talking, "held_out", lambda corpora: kept)
    figures = {figure.name: figure for figure in measure_talking(Knowing(kept, off=0.01), None, [performed()])}
    assert 0 < figures["exchanged style: EVE / distance of the styles"].value < 1
    assert figures["exchanged style: LVE / own style's"].value == pytest.approx(1.0, abs=1e-4)
    assert all(f"{len(kept)} clips of held-out voices" in figure.how for figure in figures.values())
