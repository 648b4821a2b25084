"""Lips on real speech, measured on the head's mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import lip_closure
from avi_lib.evaluation.systems import read_clips
from avi_lib.face.head import load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.performer import Performer
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import align_phones
from avi_lib.speech.prosody import prosody
from tools.benchmarks.phones import score_lips

ROOT = Path(__file__).resolve().parents[1]
DASHWOOD = (
    "Mister John Dashwood had then leisure to consider how much there might be prudently in his power to do for them."
)
EMOTIONS = (
    "She speaks with a neutral face.",
    "He is furious.",
    "She is extremely happy.",
    "He is terrified.",
    "She is deeply disgusted.",
    "They are extremely surprised.",
)


def test_a_folder_without_clips_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"index\.csv"):
        read_clips(tmp_path)


@pytest.mark.parametrize("sentence", EMOTIONS)
def test_lips_meet_on_real_bilabials_whatever_the_face_expresses(sentence: str):
    speech = load_voice(ROOT / "data" / "samples" / "librivox.flac")
    phones = align_phones(speech.wave, DASHWOOD).phones
    motion = Performer(phones, prosody(speech.wave), speech.duration_s).perform(Instruction.parse(sentence), 1)
    gap_mm = 1000 * load_head().lip_gap(motion.values)
    closed = [phone for phone in phones if phone.phone in ("M", "B", "P")]
    assert len(closed) >= 6
    for _, start_s, end_s in closed:
        frames = slice(int(start_s * 25), int(np.ceil(end_s * 25)) + 1)
        assert gap_mm[frames].min() < 1.0
    assert np.percentile(gap_mm, 90) > 4.0
    assert lip_closure(gap_mm, phones, 25.0) > 1.5


def test_the_mouth_is_closed_before_and_after_real_speech():
    speech = load_voice(ROOT / "data" / "samples" / "arctic.flac")
    phones = align_phones(speech.wave, "And you always want to see it in the superlative degree.").phones
    instruction = Instruction.parse("She speaks with a neutral face.")
    motion = Performer(phones, prosody(speech.wave), speech.duration_s).perform(instruction, 1)
    gap_mm = 1000 * load_head().lip_gap(motion.values)
    assert gap_mm[0] < 1.0 and gap_mm[-3:].max() < 1.0


def test_lips_follow_real_talkers(real_data: Path):
    scores = {name: float(np.nanmean(values)) for name, values in score_lips(real_data / "grid10").items()}
    assert scores["d recording"] >= 1.5
    assert scores["d text"] >= 1.8
    assert abs(scores["d another"]) < 0.4
    assert scores["r text"] >= 0.45
    assert scores["r another"] < scores["r text"] - 0.15
