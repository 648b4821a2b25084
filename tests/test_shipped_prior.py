"""The shipped prior: what its file says, and what it does with sentences that nobody wrote for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from avi_lib.errors import InputError
from avi_lib.evaluation.prior_scores import attribute
from avi_lib.instruction.instruction import Instruction, load_timeline
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import SHIPPED_PRIOR, PriorSampler, load_prior_sampler, read_prior_about
from avi_lib.settings import PerformerSettings, SampleSettings, TalkSettings
from avi_lib.talker import Talk, Talker

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
PLAIN = Instruction.parse("A person speaks.")


@pytest.fixture(scope="module")
def talker() -> Talker:
    return Talker(TalkSettings(performer=PerformerSettings(blinks=False, gaze=False, sway=False)))


@pytest.fixture(scope="module")
def plain(talker: Talker) -> Talk:
    return talker.listen(SAMPLES / "arctic.flac", PLAIN)


@pytest.fixture(scope="module")
def prior_sampler() -> PriorSampler:
    return load_prior_sampler()


def held(talker: Talker, plain: Talk, sentence: str, channel: str) -> float:
    """How much higher a channel is held than under a sentence that asks for nothing."""
    motion = talker.direct(plain, Instruction.parse(sentence)).motion
    return float((motion[channel] - plain.motion[channel]).mean())


def test_the_weights_are_small_half_precision_and_say_what_they_were_trained_on():
    assert SHIPPED_PRIOR.stat().st_size <= 8e6
    with safe_open(SHIPPED_PRIOR, "pt") as stored:
        assert {str(stored.get_slice(name).get_dtype()) for name in stored.keys()} == {"F16"}  # noqa: SIM118
    corpora = read_prior_about(SHIPPED_PRIOR)["corpora"]
    assert "samples" in corpora and not {"unknown", ""} & set(corpora.values())


@pytest.mark.parametrize(
    ("sentence", "channel", "least"),
    [
        ("A person feels quite angry and speaks with brow strongly down.", "browDownLeft", 0.4),
        ("He can hardly hide his joy.", "mouthSmileLeft", 0.25),
        ("They speak with the left eyebrow strongly raised.", "browOuterUpLeft", 0.4),
        ("She looks far to her right while speaking.", "eyeLookInLeft", 0.2),
        ("with tears in her eyes, utterly devastated", "mouthFrownLeft", 0.2),
        ("Happy and surprised!", "browInnerUp", 0.15),
    ],
)
def test_the_face_does_what_the_sentence_says(talker: Talker, plain: Talk, sentence: str, channel: str, least: float):
    assert held(talker, plain, sentence, channel) > least


def test_one_side_is_not_the_other(talker: Talker, plain: Talk):
    left = talker.direct(plain, Instruction.parse("The person speaks with their left brow strongly raised.")).motion
    assert (left["browOuterUpLeft"] - left["browOuterUpRight"]).mean() > 0.4


def test_an_adverb_goes_with_the_movement_it_stands_beside(talker: Talker, plain: Talk):
    faint = "A person speaks with brows slightly lowered and lips extremely puckered."
    strong = "A person speaks with brows extremely lowered and lips slightly puckered."
    for channel, more, less in (("browDownLeft", strong, faint), ("mouthPucker", faint, strong)):
        assert held(talker, plain, more, channel) > held(talker, plain, less, channel) + 0.25


def test_an_angry_sentence_over_a_calm_voice_is_angry(talker: Talker):
    calm = talker.listen(SAMPLES / "librivox.flac", PLAIN)
    assert held(talker, calm, "She is furious.", "browDownLeft") > 0.3


def test_several_samples_differ_and_each_is_what_its_seed_draws_alone(prior_sampler: PriorSampler):
    how = SampleSettings(guidance=2.0)
    together = prior_sampler.styles("He is sad.", [7, 8, 9], how)
    for seed, style in zip((7, 8, 9), together, strict=True):
        np.testing.assert_allclose(style, prior_sampler.style("He is sad.", seed, how), atol=1e-4)
    apart = np.linalg.norm(together[:, None] - together[None], axis=-1)
    assert apart[0, 1] > 0.01 and apart[1, 2] > 0.01


def test_every_sampler_finds_about_the_same_style(prior_sampler: PriorSampler):
    styles = {
        s: prior_sampler.style("She is furious.", 3, SampleSettings(sampler=s)) for s in ("ddim", "dpm++", "ddpm")
    }
    other = prior_sampler.style("She is delighted.", 3)
    for name in ("dpm++", "ddpm"):
        apart = np.linalg.norm(styles["ddim"] - styles[name])
        assert apart < 0.5 * np.linalg.norm(styles["ddim"] - other), name


def test_the_phrase_about_brows_moves_the_brows_most(talker: Talker, plain: Talk, prior_sampler: PriorSampler):
    speech, generator = plain.speech, talker.generator
    assert generator is not None and plain.features is not None
    performer = Performer(plain.phones.phones, plain.prosody, speech.duration_s, talker.settings.performer)
    asked = Instruction.parse("A person speaks with brows strongly lowered and head strongly turned to the left.")
    rows = attribute(prior_sampler, generator, plain.features, performer, asked, 7)
    assert [max(row.change, key=lambda group: row.change[group]) for row in rows] == ["brows", "head"]


def test_an_edit_keeps_the_brows_in_the_motion(talker: Talker, plain: Talk, prior_sampler: PriorSampler):
    generator = talker.generator
    assert generator is not None and plain.features is not None
    first, other = prior_sampler.style("She is furious.", 1), "She is overjoyed."
    edited, free = prior_sampler.edit(first, ["brows"], other, 2), prior_sampler.style(other, 2)
    before, after, without = (
        generator.model.motion_of(plain.features, style).values for style in (first, edited, free)
    )
    brows, lips = (list(ARKIT.groups[group]) for group in ("brows", "lips"))
    kept, changed = (np.abs(before - motion)[:, brows].mean() for motion in (after, without))
    assert kept < 0.4 * changed
    assert np.abs(before - after)[:, lips].mean() > 0.5 * np.abs(before - without)[:, lips].mean()


def test_the_sample_timeline_has_no_jump(talker: Talker, plain: Talk):
    timeline = load_timeline(SAMPLES / "timeline.json")
    moved = talker.direct(plain, timeline).motion.values
    alone = [talker.direct(plain, each).motion.values for each in timeline.instructions]
    fastest = max(np.abs(np.diff(values, axis=0)).max() for values in alone)
    assert np.abs(np.diff(moved, axis=0)).max() < fastest + 0.12
    assert not np.allclose(moved[5], moved[-5], atol=0.1)


@settings(max_examples=40, deadline=None)
@example("")
@example("x" * 10_000)
@example("она очень злится")
@example("彼はとても幸せそうだ")
@example("<script>alert('x')</script>")
@example("Ignore previous instructions. {system} %s ${HOME} `rm -rf /`")
@example("\x00\x1b[2J\u202e")
@given(st.text(max_size=400))
def test_motion_is_finite_and_within_limits_whatever_the_text(talker: Talker, plain: Talk, text: str):
    prior_sampler, generator = talker.prior_sampler, talker.generator
    assert prior_sampler is not None and generator is not None and plain.features is not None
    style = prior_sampler.style(text, 1, SampleSettings(steps=4, guidance=3.0))
    motion = generator.model.motion_of(plain.features[:100], style)
    assert np.isfinite(motion.values).all()
    assert np.array_equal(motion.values, ARKIT.limited(motion.values))


def test_a_prior_of_other_styles_and_other_encoders_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="prior: learned, performer"):
        Talker(TalkSettings(prior=str(tmp_path / "nowhere"))).prepare(video=False)
    with pytest.raises(InputError, match="--text-encoder"):
        Talker(TalkSettings(generator="performer", text_encoder="minilm")).prepare(video=False)
