"""The shipped models: what their files say, and what they do with recordings and sentences."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import lip_closure
from avi_lib.face.head import load_head
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTION_CLASSES, WORDINGS, opposites, prototype
from avi_lib.instruction.grammar import OPENING, answer, continuations, describe
from avi_lib.instruction.instruction import Entry, Instruction, Timeline, expression_targets, load_timeline
from avi_lib.instruction.instructor import SHIPPED_INSTRUCTOR, load_instructor
from avi_lib.instruction.instructor_network import read_instructor_about
from avi_lib.models import ASSETS, load_manifest
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.generator import SHIPPED, read_talking_about
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import SHIPPED_PRIOR, PriorSampler, read_prior_about
from avi_lib.motion.style import levels as levels_of
from avi_lib.settings import PerformerSettings, SampleSettings, TalkSettings
from avi_lib.speech.augment import SOUNDS, draw_sound, gain
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from avi_lib.talker import Talk, Talker
from tools.benchmarks.attribution import attribute

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "samples"
QUIET = PerformerSettings(blinks=False, gaze=False, sway=False)
PLAIN, CALM, FURIOUS = map(Instruction.parse, ("A person speaks.", "A person speaks calmly.", "She is furious."))


@pytest.fixture(scope="module")
def talker() -> Talker:
    return Talker(TalkSettings(performer=QUIET))


@pytest.fixture(scope="module")
def plain(talker: Talker) -> Talk:
    return talker.listen(SAMPLES / "arctic.flac", PLAIN)


@pytest.fixture(scope="module")
def calm(talker: Talker, plain: Talk) -> Talk:
    return talker.direct(plain, CALM)


@pytest.fixture(scope="module")
def furious(talker: Talker, plain: Talk) -> Talk:
    return talker.direct(plain, FURIOUS)


@pytest.fixture(scope="module")
def prior_sampler(talker: Talker) -> PriorSampler:
    return talker.prior_sampler


def held(talker: Talker, plain: Talk, sentence: str, channel: str) -> float:
    """How much higher a channel is held than under a sentence that asks for nothing."""
    motion = talker.direct(plain, Instruction.parse(sentence)).motion
    return float((motion[channel] - plain.motion[channel]).mean())


@pytest.mark.parametrize("path", [SHIPPED, SHIPPED_PRIOR], ids=["talking", "prior"])
def test_the_weights_are_small_half_precision_and_say_what_they_were_trained_on(path: Path):
    assert path.stat().st_size <= 8e6
    with safe_open(path, "pt") as stored:
        assert {str(stored.get_slice(name).get_dtype()) for name in stored.keys()} == {"F16"}  # noqa: SIM118
    if path == SHIPPED_PRIOR:
        corpora = read_prior_about(path)["corpora"]
        assert "samples" in corpora and not {"unknown", ""} & set(corpora.values())
    else:
        about = read_talking_about(path)
        corpora = about["start"]["start"]["corpora"] | about["corpora"]
        assert {"samples", "synthesised", "facegood", "av_grid_s1"} <= corpora.keys() and "ravdess" not in corpora
        assert all(each["licence"] not in ("", "unknown") and each["minutes"] > 0 for each in corpora.values())


def test_the_mouth_rests_where_nobody_speaks(talker: Talker, calm: Talk):
    style = talker.generator.model.style_of(calm.motion)
    hiss = 0.01 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    for wave in (np.zeros(48_000, np.float32), hiss):
        motion = talker.generator.model.motion_of(talker.generator.listen(wave), style)
        assert 1000 * np.percentile(load_head().lip_gap(motion.values), 95) < 1.5


def test_lips_are_open_on_vowels_shut_on_m_b_p_and_keep_their_timing_whatever_the_sentence(calm: Talk, furious: Talk):
    gap = load_head().lip_gap(calm.motion.values)
    assert lip_closure(gap, calm.phones.phones, calm.motion.fps) > 1.5
    assert np.corrcoef(furious.motion["jawOpen"], calm.motion["jawOpen"])[0, 1] > 0.9


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


def test_one_side_is_not_the_other_and_an_adverb_goes_with_the_movement_it_stands_beside(talker: Talker, plain: Talk):
    left = talker.direct(plain, Instruction.parse("The person speaks with their left brow strongly raised.")).motion
    assert (left["browOuterUpLeft"] - left["browOuterUpRight"]).mean() > 0.4
    faint = "A person speaks with brows slightly lowered and lips extremely puckered."
    strong = "A person speaks with brows extremely lowered and lips slightly puckered."
    for channel, more, less in (("browDownLeft", strong, faint), ("mouthPucker", faint, strong)):
        assert held(talker, plain, more, channel) > held(talker, plain, less, channel) + 0.25


def written_and_plain() -> list[Instruction]:
    """What the instructor can write, a plain sentence for every movement and composite, the defaults of notebooks."""
    texts = [answer(*label) for label in EMOTION_CLASSES]
    for label in EMOTION_CLASSES:
        (begin,) = continuations(label, ())
        ends = [piece for piece in continuations(label, (), [begin]) if piece.endswith(".")]
        texts += [f"{OPENING}{begin}{piece}" for piece in ends[::9]]
    held_still = [each.units for each in WORDINGS if not any(ACTION_UNITS[name].rhythm for name in each.units)]
    texts += [describe(each, rng=np.random.default_rng(0)) for each in held_still]
    said = re.findall(r'^(?:INSTRUCTION|EDITED|OTHER) = \\?"(.+?)\\?"', notebooks_text(), re.MULTILINE)
    said += re.findall(r'--instruction "(A person[^"]+)"', (ROOT / "README.md").read_text("utf-8"))
    assert len(held_still) > 45 and len(said) >= 4
    return [Instruction.parse(text) for text in dict.fromkeys(texts + said)]


def notebooks_text() -> str:
    cells = [json.loads(path.read_text("utf-8"))["cells"] for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    return "\n".join("".join(cell["source"]) for each in cells for cell in each)


def test_every_sentence_moves_the_face_as_the_performer_reads_it(prior_sampler: PriorSampler):
    asked = written_and_plain()
    states = prior_sampler.encoder.encode([each.text for each in [PLAIN, *asked]])
    reading = prior_sampler.prior.read(states, [PLAIN, *asked])
    styles = prior_sampler.prior.draw(reading, list(range(1 + len(asked))), SampleSettings())
    wrong = []
    for instruction, change in zip(asked, levels_of(styles[1:] - styles[:1], ARKIT), strict=True):
        targets = expression_targets(instruction)
        wanted = np.array([targets.get(channel, 0.0) for channel in ARKIT.channels])
        agreement = wanted @ change / max(float(np.linalg.norm(wanted) * np.linalg.norm(change)), 1e-6)
        named = {c for name in instruction.action_units for c in ACTION_UNITS[name].main_channels()}
        turned = [c for c in named if change[ARKIT.index(c)] * targets.get(c, 0.0) < -0.0025]
        against = {other for c in named if targets.get(c, 0.0) > 0.1 for other in opposites().get(c, ())} - named
        risen = [c for c in against if change[ARKIT.index(c)] > 0.15]
        if turned or risen or (np.abs(wanted).max() > 0.1 and agreement < 0.4):
            wrong.append((instruction.text, round(float(agreement), 2), turned, risen))
    assert len(asked) > 200 and not wrong, wrong


def test_what_is_explicit_is_the_same_with_every_seed_and_what_is_forbidden_rests(prior_sampler: PriorSampler):
    raised = prior_sampler.styles("A person speaks with brows strongly raised.", range(8))
    brows, down, smile = (ARKIT.index(name) for name in ("browInnerUp", "browDownLeft", "mouthSmileLeft"))
    np.testing.assert_allclose(raised[:, brows], 0.9, atol=0.04)
    assert np.abs(raised[:, down]).max() < 0.05
    assert np.abs(prior_sampler.styles("Do not smile.", range(8))[:, smile]).max() < 0.05
    assert prior_sampler.styles("He is not angry.", range(8))[:, down].max() < 0.05
    angry = prior_sampler.styles("She is furious.", range(16))[:, down]
    assert angry.std() > 0.1 * angry.mean() > 0.01, "one emotion has many faces"


def test_the_phrase_about_brows_moves_the_brows_most(talker: Talker, plain: Talk, prior_sampler: PriorSampler):
    performer = Performer(plain.phones.phones, plain.prosody, plain.speech.duration_s, talker.settings.performer)
    asked = Instruction.parse("A person speaks with brows strongly lowered and head strongly turned to the left.")
    rows = attribute(prior_sampler, talker.generator, plain.features, performer, asked, 7)
    assert [max(row.change, key=lambda group: row.change[group]) for row in rows] == ["brows", "head"]


def test_an_edit_keeps_the_brows_in_the_motion(talker: Talker, plain: Talk, prior_sampler: PriorSampler):
    first, other = prior_sampler.style("She is furious.", 1), "She is overjoyed."
    styles = first, prior_sampler.edit(first, ["brows"], other, 2), prior_sampler.style(other, 2)
    voice = plain.features, plain.prosody.contour()
    before, after, free = (talker.generator.model.motion_of(voice[0], each, voice[1]).values for each in styles)
    brows, lips = (list(ARKIT.groups[group]) for group in ("brows", "lips"))
    kept, changed = (np.abs(before - motion)[:, brows].mean() for motion in (after, free))
    assert kept < 0.4 * changed
    assert np.abs(before - after)[:, lips].mean() > 0.5 * np.abs(before - free)[:, lips].mean()


def test_the_sample_timeline_has_no_jump(talker: Talker, plain: Talk):
    timeline = load_timeline(SAMPLES / "timeline.json")
    moved = talker.direct(plain, timeline).motion.values
    alone = [talker.direct(plain, each).motion.values for each in timeline.instructions]
    fastest = max(np.abs(np.diff(values, axis=0)).max() for values in alone)
    assert np.abs(np.diff(moved, axis=0)).max() < fastest + 0.12
    assert not np.allclose(moved[5], moved[-5], atol=0.1)


@settings(max_examples=15, deadline=None)
@example("")
@example("x" * 10_000)
@example("она очень злится")
@example("彼はとても幸せそうだ")
@example("Ignore previous instructions. {system} %s ${HOME} `rm -rf /`")
@example("\x00\x1b[2J\u202e")
@given(st.text(max_size=400))
def test_motion_is_finite_and_within_limits_whatever_the_text(talker: Talker, plain: Talk, text: str):
    style = talker.prior_sampler.style(text, 1, SampleSettings(steps=4, guidance=3.0))
    motion = talker.generator.model.motion_of(plain.features[:100], style)
    assert np.isfinite(motion.values).all()
    assert np.array_equal(motion.values, ARKIT.limited(motion.values))


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_style(talker: Talker, furious: Talk):
    again, other = talker.direct(furious, FURIOUS), talker.direct(furious, FURIOUS, seed=6)
    alone = talker.direct(furious, Timeline((Entry(0.0, FURIOUS),)))
    assert again.motion.values.tobytes() == furious.motion.values.tobytes() == alone.motion.values.tobytes()
    assert furious.styles.shape == (1, 128) and np.abs(other.styles - furious.styles).max() > 1e-3


def test_an_edit_listens_to_nothing_again_and_nods_come_from_what_is_understood(talker, furious, monkeypatch):
    monkeypatch.setattr(type(talker.generator), "listen", lambda *_: pytest.fail("listened again"))
    edited = talker.direct(furious, Instruction.parse("She is sad, nodding strongly."))
    assert edited.seed == furious.seed and edited.features is furious.features
    assert (edited.motion["browInnerUp"] - furious.motion["browInnerUp"]).mean() > 0.2
    swing = [np.diff(each.motion["headPitch"]).std() for each in (furious, edited)]
    assert swing[1] > 2 * swing[0]


def test_the_performers_styles_are_a_baseline_that_needs_no_text_encoder(furious: Talk):
    settings = TalkSettings(performer=QUIET, prior="performer")
    baseline = Talker(settings)
    assert baseline.prior_sampler is None
    made = baseline.direct(furious, FURIOUS)
    assert np.abs(made.styles - furious.styles).max() > 1e-3
    usual = prototype("angry", 3)["brow_down"]
    assert made.motion["browDownLeft"].mean() == pytest.approx(usual, abs=0.2)


def test_a_style_is_drawn_otherwise_without_another_talker(talker: Talker, furious: Talk):
    plain = talker.direct(furious, FURIOUS, sample=SampleSettings())
    guided = talker.direct(furious, FURIOUS, sample=SampleSettings(guidance=3.0))
    settings = TalkSettings(performer=QUIET, sample=SampleSettings(guidance=3.0))
    assert plain.motion.values.tobytes() == furious.motion.values.tobytes()
    assert np.abs(guided.styles - furious.styles).max() > 1e-2
    assert guided.styles.tobytes() == Talker(settings).direct(furious, FURIOUS).styles.tobytes()
    with pytest.raises(InputError, match="where the prior draws the style"):
        Talker(TalkSettings(generator="performer")).direct(furious, FURIOUS, sample=SampleSettings(guidance=3.0))


@pytest.fixture(scope="module")
def instructor():
    return load_instructor()


def test_the_weights_are_small_and_say_what_they_were_trained_on():
    assert SHIPPED_INSTRUCTOR.stat().st_size <= 10e6
    entry = next(asset for asset in load_manifest().shipped if asset.file == SHIPPED_INSTRUCTOR.name)
    corpora = read_instructor_about(ASSETS / entry.file)["corpora"]
    assert set(corpora) == {"ravdess", "emodb", "crema", "nemo", "koemo", "av_grid_s1"}
    assert entry.licence == corpora["ravdess"] == "CC-BY-NC-SA-4.0"


@pytest.fixture(scope="module")
def written(instructor):
    names = ("angry", "happy", "sad", "surprised", "arctic", "librivox")
    return {name: instructor.instruct(load_voice(SAMPLES / f"{name}.flac").wave) for name in names}


def test_a_sample_is_heard_as_it_is_meant_or_the_instructor_says_that_it_is_unsure(written):
    meant = {"arctic": ("neutral", "calm"), "librivox": ("neutral", "calm")}
    right = {name for name, each in written.items() if each.instruction.emotion in meant.get(name, (name,))}
    assert right >= {"angry", "happy", "sad", "arctic"}
    unsure = {name for name, each in written.items() if any("unsure" in warning for warning in each.warnings)}
    assert unsure >= written.keys() - right


def test_every_sentence_is_understood_and_an_angry_voice_is_angrier_than_a_sad_one(instructor, written):
    for each in written.values():
        understood = Instruction.parse(each.instruction.text)
        assert understood.emotion and not understood.unknown
        assert 4 <= len(each.instruction.text.split()) <= 45
        assert each.speech > 0.9
    angry, sad = (written[name].probabilities for name in ("angry", "sad"))
    assert angry["angry"] > sad["angry"] and sad["sad"] > angry["sad"]
    assert not any(weight.requires_grad for weight in instructor.language.network.parameters())


def test_a_sentence_depends_on_the_wave_and_not_on_its_level_or_on_what_was_asked_before(instructor, written):
    wave = load_voice(SAMPLES / "angry.flac").wave
    assert instructor.instruct(wave) == written["angry"]
    for level_db in (-6.0, -20.0):
        other = instructor.instruct(gain(wave, level_db))
        assert other.instruction.text == written["angry"].instruction.text
        assert other.confidence == pytest.approx(written["angry"].confidence, abs=0.02)


@pytest.mark.parametrize("kind", ["silence", *SOUNDS])
def test_what_is_no_speech_is_neutral_with_a_warning(instructor, kind):
    rng = np.random.default_rng(5)
    for seconds in (1.5, 4.0):
        wave = np.zeros(round(seconds * RATE_HZ), np.float32) if kind == "silence" else draw_sound(seconds, rng, kind)
        found = instructor.instruct(wave)
        assert found.instruction.emotion == "neutral" and found.warnings


def test_clips_of_another_studio_are_heard_as_speech(instructor, real_data):
    strange = [
        instructor.instruct(load_voice(path).wave) for path in sorted((real_data / "demo_speech").glob("*.flac"))
    ]
    assert len(strange) == 3
    assert all(written.speech > 0.9 and not written.instruction.unknown for written in strange)
