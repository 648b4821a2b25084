"""Scores of a talking model: what the real thing, a perfect model and a model that ignores styles get."""

from __future__ import annotations

import numpy as np
import pytest
from talking_corpora import performed

from avi_lib.corpus.dataset import Item
from avi_lib.evaluation.report import one_thread
from avi_lib.evaluation.systems import score_exchange, still_sounds
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import STYLE, Shape, TalkingModel
from avi_lib.speech.encoders import RATE_HZ

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
