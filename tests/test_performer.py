"""The performer: lips that follow the phones, a face that follows the instruction, idle behaviour from the seed."""

from __future__ import annotations

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.expression import dynamics
from avi_lib.motion.performer import VISEMES, Performer, articulate, frame_count
from avi_lib.settings import PerformerSettings
from avi_lib.speech.phones import ARPABET, Phone
from avi_lib.speech.prosody import Beat, Prosody

WORDS = (
    Phone("SIL", 0.0, 0.8), Phone("B", 0.8, 0.88), Phone("AA", 0.88, 1.08), Phone("M", 1.08, 1.15),
    Phone("IY", 1.15, 1.3), Phone("F", 1.3, 1.4), Phone("UW", 1.4, 1.6), Phone("P", 1.6, 1.64), Phone("AE", 1.64, 1.9),
    Phone("SIL", 1.9, 3.0),
)  # fmt: skip
STILL = PerformerSettings(beats=False, blinks=False, gaze=False, sway=False)
NEUTRAL = Instruction.parse("A person speaks with a neutral face.")


def voice(duration_s: float, beats: tuple[Beat, ...] = (Beat(1.0, 0.9), Beat(1.75, 0.7))) -> Prosody:
    frames = frame_count(duration_s, 25.0)
    flat = np.full(frames, -20.0, np.float32)
    return Prosody(25.0, np.full(frames, 120.0, np.float32), np.ones(frames, bool), flat, beats)


def perform(
    phones, prosody: Prosody, instruction: Instruction, duration_s: float, seed=1, settings=STILL
) -> MotionClip:
    return Performer(phones, prosody, duration_s, settings).perform(instruction, seed)


def act(sentence: Instruction | str, seed: int = 1, settings: PerformerSettings = STILL) -> MotionClip:
    instruction = Instruction.parse(sentence) if isinstance(sentence, str) else sentence
    return perform(WORDS, voice(3.0), instruction, 3.0, seed, settings)


def at(clip: MotionClip, channel: str, time_s: float) -> float:
    return float(clip[channel][int(time_s * clip.fps)])


def open_share(clip: MotionClip) -> np.ndarray:
    return clip["jawOpen"] - clip["mouthClose"]


def test_every_phone_of_the_set_has_a_viseme():
    assert set(VISEMES) == set(ARPABET)


def test_lips_shut_on_each_bilabial_over_an_open_jaw_and_open_between_them():
    clip = act(NEUTRAL)
    opening, times_s = open_share(clip), (np.arange(len(clip)) + 0.5) / 25.0
    for start_s, end_s in ((0.8, 0.88), (1.08, 1.15), (1.6, 1.64)):
        near = (times_s > start_s - 0.03) & (times_s < end_s + 0.03)
        assert opening[near].min() < 0.01
    assert opening[int(0.98 * 25)] > 0.2 and opening[int(1.75 * 25)] > 0.2
    assert at(clip, "jawOpen", 1.12) > 0.1
    assert at(clip, "mouthClose", 1.12) == pytest.approx(at(clip, "jawOpen", 1.12), abs=0.02)


def test_the_mouth_rests_closed_in_silence_parts_before_the_first_sound_and_closes_after_the_last():
    opening = open_share(perform([*WORDS[:1], Phone("AA", 0.8, 1.9), WORDS[-1]], voice(3.0), NEUTRAL, 3.0))
    assert opening[:5].max() < 0.01
    assert 0.02 < opening[int(0.66 * 25)] < 0.2
    assert opening[int(2.2 * 25) :].max() < 0.01


def test_labiodentals_roll_the_lower_lip_and_rounded_vowels_pucker():
    clip = act(NEUTRAL)
    assert at(clip, "mouthRollLower", 1.35) > 0.2 > at(clip, "mouthRollLower", 1.0)
    assert at(clip, "mouthPucker", 1.5) > 0.3 > at(clip, "mouthPucker", 1.0)


def test_rounding_reaches_back_over_the_consonant_before_it():
    spread, rounded = (
        articulate([Phone("S", 0.0, 0.2), Phone(vowel, 0.2, 0.5)], 0.5, 100.0).values[15, ARKIT.index("mouthPucker")]
        for vowel in ("IY", "UW")
    )
    assert rounded > spread + 0.1


def test_a_contact_shorter_than_a_frame_still_shows():
    for start_s in np.arange(0.40, 0.44, 0.005).tolist():
        end_s = start_s + 0.02
        phones = [Phone("AA", 0.0, start_s), Phone("P", start_s, end_s), Phone("AA", end_s, 1.0)]
        assert articulate(phones, 1.0, 25.0).closure.max() > 0.9


@pytest.mark.parametrize(
    ("sentence", "channel"),
    [
        ("She is furious.", "browDownLeft"),
        ("He is extremely happy.", "mouthSmileRight"),
        ("A person feels extremely sad.", "mouthFrownLeft"),
        ("They are extremely surprised.", "eyeWideLeft"),
        ("Raise your eyebrows a lot.", "browOuterUpLeft"),
        ("Turn your head to the left.", "headYaw"),
    ],
)
def test_the_face_does_what_the_sentence_says(sentence: str, channel: str):
    assert act(sentence)[channel].mean() > act(NEUTRAL)[channel].mean() + 0.15


def test_stronger_words_move_more():
    moved = [act(f"Raise your eyebrows {word}.")["browOuterUpLeft"].max() for word in ("slightly", "strongly")]
    assert moved[0] < moved[1] - 0.2


@pytest.mark.parametrize("emotion", ["happy", "sad", "furious", "scared", "disgusted", "surprised", "contemptuous"])
def test_no_emotion_keeps_the_lips_from_meeting(emotion: str):
    clip = act(f"She is extremely {emotion}.")
    frame = int(1.12 * 25)
    assert open_share(clip)[frame] < 0.03
    assert max(at(clip, channel, 1.12) for channel in ("mouthLowerDownLeft", "mouthUpperUpLeft")) < 0.08


def test_another_instruction_leaves_the_lips_timing_alone():
    neutral, angry = open_share(act(NEUTRAL)), open_share(act("She is furious."))
    assert np.corrcoef(neutral, angry)[0, 1] > 0.95


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_idle_face():
    settings = PerformerSettings()
    first, again, other = (act(NEUTRAL, seed, settings).values for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 0.01
    lips = list(ARKIT.groups["lips"])
    np.testing.assert_array_equal(first[:, lips], other[:, lips])


@pytest.mark.parametrize(("switch", "group"), [("blinks", "blink"), ("gaze", "gaze"), ("sway", "head")])
def test_switching_one_part_off_leaves_the_others(switch: str, group: str):
    full = act(NEUTRAL, 5, PerformerSettings()).values
    less = act(NEUTRAL, 5, PerformerSettings(**{switch: False})).values
    for name, members in ARKIT.groups.items():
        same = np.array_equal(full[:, list(members)], less[:, list(members)])
        assert same == (name != group) or (switch == "gaze" and name == "blink")


def long_idle(sentence: str = "A person speaks with a neutral face.") -> MotionClip:
    phones = [Phone("SIL", 0.0, 240.0)]
    return perform(phones, voice(240.0, ()), Instruction.parse(sentence), 240.0, 2, None)


def test_blinks_heads_and_gaze_stay_within_what_real_people_do():
    clip = long_idle()
    shut = clip["eyeBlinkLeft"] > 0.6
    per_minute = (np.diff(shut.astype(int)) == 1).sum() / 4
    assert 10 <= per_minute <= 44
    spread_deg = np.degrees(clip.values[:, 52:].std(axis=0))
    assert 1.0 < spread_deg[0] < 2.8 and 2.0 < spread_deg[1] < 5.5 and 2.0 < spread_deg[2] < 5.0
    np.testing.assert_array_equal(clip["eyeLookOutLeft"], clip["eyeLookInRight"])
    assert open_share(clip).max() < 0.01


def test_rhythm_units_are_carried_out():
    nods = long_idle("She nods.")["headPitch"] - long_idle()["headPitch"]
    assert nods.std() > 0.02 and nods.max() > 0.06
    assert (long_idle("She blinks a lot.")["eyeBlinkLeft"] > 0.6).mean() > 1.3 * (
        long_idle()["eyeBlinkLeft"] > 0.6
    ).mean()


def test_beats_nod_the_head_and_lift_the_brows():
    still, moved = act(NEUTRAL), act(NEUTRAL, settings=PerformerSettings(blinks=False, gaze=False, sway=False))
    assert at(moved, "headPitch", 1.0) > at(still, "headPitch", 1.0) + 0.02
    assert at(moved, "browOuterUpLeft", 1.0) > at(still, "browOuterUpLeft", 1.0) + 0.05


def test_the_louder_voice_opens_wider():
    loud = voice(3.0)
    loud.energy_db[int(1.64 * 25) : int(1.9 * 25)] += 12
    louder = perform(WORDS, loud, NEUTRAL, 3.0)
    assert at(louder, "jawOpen", 1.78) > 1.15 * at(act(NEUTRAL), "jawOpen", 1.78)


def test_values_stay_within_limits_for_everything_at_once():
    clip = act("She is furious, grinning broadly, jaw dropped, eyes wide open, brows raised and head turned left.", 9)
    assert clip.values[:, :52].min() >= 0 and clip.values[:, :52].max() <= 1
    assert np.abs(clip.values[:, 52:]).max() <= 0.6


def test_arousal_widens_articulation():
    assert dynamics("angry", 3).articulation > dynamics("angry", 1).articulation > dynamics("sad", 3).articulation
    assert dynamics(None, None) == dynamics("neutral", 1)


@pytest.mark.parametrize("fps", [24.0, 30.0, 60.0])
def test_any_frame_rate_gives_the_same_movement(fps: float):
    reference = act(NEUTRAL)
    clip = act(NEUTRAL, settings=PerformerSettings(fps=fps, beats=False, blinks=False, gaze=False, sway=False))
    assert len(clip) == frame_count(3.0, fps)
    times_s = (np.arange(len(clip)) + 0.5) / fps
    there = np.interp(times_s, (np.arange(75) + 0.5) / 25, reference["jawOpen"])
    assert np.abs(there - clip["jawOpen"]).mean() < 0.01


def test_loudness_widens_at_its_own_time_whatever_the_frame_rates():
    loud = voice(3.0)
    loud.energy_db[40:] += 10
    still = {"beats": False, "blinks": False, "gaze": False, "sway": False}
    phones = [Phone("AA", 0.0, 3.0)]
    slow, fast = (perform(phones, loud, NEUTRAL, 3.0, 1, PerformerSettings(fps=fps, **still)) for fps in (25.0, 50.0))
    for time_s in (1.0, 1.5, 1.8, 2.5):
        assert at(fast, "jawOpen", time_s) == pytest.approx(at(slow, "jawOpen", time_s), abs=0.01)
    assert at(fast, "jawOpen", 2.5) > 1.2 * at(fast, "jawOpen", 1.0)


def test_no_phones_at_all_are_refused():
    with pytest.raises(InputError, match="phones"):
        perform([], voice(1.0), NEUTRAL, 1.0)
