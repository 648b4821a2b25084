"""The learned generator in the pipeline: motion over a recording, idle behaviour from the seed, weights by path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from raw_corpora import StillEncoder

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import LearnedGenerator, Shape, TalkingModel, load_generator, save_talking_model
from avi_lib.motion.performer import IDLE_GROUPS, Performer
from avi_lib.settings import PerformerSettings
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import prosody

ANGRY = Instruction.parse("She is furious.")
IDLE = sorted(channel for group in IDLE_GROUPS for channel in ARKIT.groups[group])
PHONES = (Phone("SIL", 0.0, 0.4), Phone("M", 0.4, 0.6), Phone("AA", 0.6, 1.1), Phone("SIL", 1.1, 2.02))


def small_model(space: str = "ARKIT", encoder: str = "still") -> TalkingModel:
    torch.manual_seed(0)
    model = TalkingModel(Shape(space, encoder, "0" * 64, 2, 16, 16)).eval()
    torch.nn.init.normal_(model.generator.say.weight, std=0.05)
    torch.nn.init.constant_(model.generator.say.bias, 0.2)
    for block in model.generator.blocks:  # they start at zero, where no style has a part in the motion
        torch.nn.init.normal_(block.film.weight, std=0.1)
    return model


@pytest.fixture
def generator() -> LearnedGenerator:
    return LearnedGenerator(small_model(), StillEncoder(), "made for the test")


def performer(**switches: bool) -> Performer:
    wave = np.zeros(32_320, np.float32)
    return Performer(PHONES, prosody(wave), 2.02, PerformerSettings(**switches))


FEATURES = np.random.default_rng(0).random((101, 2)).astype(np.float32)


def perform(generator: LearnedGenerator, seed: int = 3, **switches: bool) -> MotionClip:
    return generator.perform(FEATURES, performer(**switches), ANGRY, seed)


def test_motion_is_as_long_as_the_recording_and_within_limits(generator):
    motion = perform(generator)
    assert motion.values.shape == (51, 55) and motion.fps == 25.0
    assert np.array_equal(motion.values, ARKIT.limited(motion.values))


def test_the_same_seed_gives_the_same_bytes_and_another_other_idle_behaviour_and_hardly_other_speech(generator):
    again, other = perform(generator), perform(generator, seed=4)
    assert perform(generator).values.tobytes() == again.values.tobytes()
    apart = np.abs(other.values - again.values)
    assert apart[:, IDLE].max() > 0.05
    assert 0 < np.delete(apart, IDLE, axis=1).max() < 0.01  # by the performance that shows the style


@pytest.mark.parametrize(("factor", "groups"), [("blinks", ["blink"]), ("gaze", ["gaze", "blink"]), ("sway", ["head"])])
def test_a_factor_that_is_switched_off_leaves_all_other_channels_as_they_were(generator, factor, groups):
    """Lids follow the gaze, so it has a part in two groups."""
    changed: set[int] = set()
    for seed in range(4):
        on, off = perform(generator, seed).values, perform(generator, seed, **{factor: False}).values
        changed |= set(np.flatnonzero(np.abs(on - off).max(axis=0) > 0).tolist())
    assert changed and changed <= {channel for group in groups for channel in ARKIT.groups[group]}


def test_another_instruction_gives_other_motion_over_the_same_speech(generator):
    calm = generator.perform(FEATURES, performer(), Instruction.parse("A person speaks calmly."), 3)
    assert np.delete(np.abs(calm.values - perform(generator).values), IDLE, axis=1).max() > 0.02


def test_another_frame_rate_is_refused(generator):
    quick = Performer(PHONES, prosody(np.zeros(32_320, np.float32)), 2.02, PerformerSettings(fps=30.0))
    with pytest.raises(InputError, match="25 frames a second"):
        generator.perform(FEATURES, quick, ANGRY, 3)


def test_weights_of_another_space_are_refused_before_any_encoder_is_loaded(tmp_path: Path):
    save_talking_model(small_model("FLAME"), tmp_path / "flame.safetensors")
    with pytest.raises(InputError, match=r"ARKIT.*flame\.safetensors of FLAME"):
        load_generator(tmp_path / "flame.safetensors")


def test_an_encoder_of_another_width_is_refused(tmp_path: Path):
    save_talking_model(small_model(encoder="whisper-tiny-en"), tmp_path / "narrow.safetensors")
    with pytest.raises(InputError, match=r"2 features.*384"):
        load_generator(tmp_path / "narrow.safetensors")
