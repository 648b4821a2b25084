"""The prior within the pipeline: what it changes, what editing re-runs, baselines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.settings import PerformerSettings, SampleSettings, TalkSettings
from avi_lib.talker import Talker

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "samples" / "arctic.flac"
QUIET = PerformerSettings(blinks=False, gaze=False, sway=False)
FURIOUS = Instruction.parse("She is furious.")


@pytest.fixture(scope="module")
def talker() -> Talker:
    return Talker(TalkSettings(performer=QUIET, seed=5))


@pytest.fixture(scope="module")
def talk(talker: Talker):
    return talker.listen(SAMPLE, FURIOUS)


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_style(talker: Talker, talk):
    again, other = talker.direct(talk, FURIOUS), talker.direct(talk, FURIOUS, seed=6)
    assert again.motion.values.tobytes() == talk.motion.values.tobytes()
    assert np.abs(other.styles - talk.styles).max() > 1e-3


def test_an_edit_listens_to_nothing_again(talker: Talker, talk, monkeypatch):
    monkeypatch.setattr(type(talker.generator), "listen", lambda *_: pytest.fail("listened again"))
    edited = talker.direct(talk, Instruction.parse("She is sad."))
    assert edited.seed == talk.seed == 5 and edited.features is talk.features
    assert (edited.motion["browInnerUp"] - talk.motion["browInnerUp"]).mean() > 0.2


def test_an_instruction_is_a_timeline_of_one(talker: Talker, talk):
    alone = talker.direct(talk, Timeline((Entry(0.0, FURIOUS),)))
    assert alone.motion.values.tobytes() == talk.motion.values.tobytes()
    assert talk.styles.shape == (1, 128)


def test_nods_come_from_what_is_understood(talker: Talker, talk):
    nodding = talker.direct(talk, Instruction.parse("She is furious, nodding strongly."))
    swing = [np.diff(each.motion["headPitch"]).std() for each in (talk, nodding)]
    assert swing[1] > 2 * swing[0]


def test_the_performers_styles_are_a_baseline_that_needs_no_text_encoder(talk):
    settings = TalkSettings(performer=QUIET, seed=5, prior="performer")
    baseline = Talker(settings)
    assert baseline.prior_sampler is None
    made = baseline.direct(talk, FURIOUS)
    assert np.abs(made.styles - talk.styles).max() > 1e-3
    assert (made.motion["browDownLeft"] - talk.motion["browDownLeft"]).mean() == pytest.approx(0, abs=0.25)


def test_a_style_is_drawn_otherwise_without_another_talker(talker: Talker, talk):
    plain = talker.direct(talk, FURIOUS, sample=SampleSettings())
    guided = talker.direct(talk, FURIOUS, sample=SampleSettings(guidance=3.0))
    settings = TalkSettings(performer=QUIET, seed=5, sample=SampleSettings(guidance=3.0))
    assert plain.motion.values.tobytes() == talk.motion.values.tobytes()
    assert np.abs(guided.styles - talk.styles).max() > 1e-2
    assert guided.styles.tobytes() == Talker(settings).direct(talk, FURIOUS).styles.tobytes()
    with pytest.raises(InputError, match="where the prior draws the style"):
        Talker(TalkSettings(generator="performer")).direct(talk, FURIOUS, sample=SampleSettings(guidance=3.0))
