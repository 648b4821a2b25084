"""The performer: lips that follow the phones, a face that follows the instruction, idle behaviour from the seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.face import tracking
from avi_lib.face.head import load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion import expression
from avi_lib.motion.clip import ARKIT, FACTORS, FLAME, MotionClip, compose, fitted, save_npz
from avi_lib.motion.formats import save_livelink
from avi_lib.motion.performer import VISEMES, Performer, articulate, frame_count
from avi_lib.settings import Factors, FactorSettings, PerformerSettings, TalkSettings
from avi_lib.speech.phones import ARPABET, Phone
from avi_lib.speech.prosody import Beat, Prosody
from avi_lib.talker import Talker, load_factor, parse_source

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


def test_every_phone_has_a_viseme_and_no_phones_at_all_are_refused():
    assert set(VISEMES) == set(ARPABET)
    with pytest.raises(InputError, match="phones"):
        perform([], voice(1.0), NEUTRAL, 1.0)


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


def test_labiodentals_roll_the_lip_and_rounding_reaches_back_over_the_consonant_before_it():
    clip = act(NEUTRAL)
    assert at(clip, "mouthRollLower", 1.35) > 0.2 > at(clip, "mouthRollLower", 1.0)
    assert at(clip, "mouthPucker", 1.5) > 0.3 > at(clip, "mouthPucker", 1.0)
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


def test_another_instruction_leaves_the_lips_timing_alone_and_stronger_words_move_more():
    neutral, angry = open_share(act(NEUTRAL)), open_share(act("She is furious."))
    assert np.corrcoef(neutral, angry)[0, 1] > 0.95
    moved = [act(f"Raise your eyebrows {word}.")["browOuterUpLeft"].max() for word in ("slightly", "strongly")]
    assert moved[0] < moved[1] - 0.2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_idle_face():
    settings = PerformerSettings()
    first, again, other = (act(NEUTRAL, seed, settings).values for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 0.01
    lips = list(ARKIT.groups["lips"])
    np.testing.assert_array_equal(first[:, lips], other[:, lips])


@pytest.mark.parametrize(("switch", "group"), [("blinks", "lids"), ("gaze", "gaze"), ("sway", "head")])
def test_switching_one_part_off_leaves_the_others(switch: str, group: str):
    full = act(NEUTRAL, 5, PerformerSettings()).values
    less = act(NEUTRAL, 5, PerformerSettings(**{switch: False})).values
    for name, members in ARKIT.groups.items():
        same = np.array_equal(full[:, list(members)], less[:, list(members)])
        assert same == (name != group) or (switch == "gaze" and name == "lids")


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


def test_rhythm_units_are_carried_out_and_beats_nod_the_head_and_lift_the_brows():
    nods = long_idle("She nods.")["headPitch"] - long_idle()["headPitch"]
    assert nods.std() > 0.02 and nods.max() > 0.06
    assert (long_idle("She blinks a lot.")["eyeBlinkLeft"] > 0.6).mean() > 1.3 * (
        long_idle()["eyeBlinkLeft"] > 0.6
    ).mean()
    still, moved = act(NEUTRAL), act(NEUTRAL, settings=PerformerSettings(blinks=False, gaze=False, sway=False))
    assert at(moved, "headPitch", 1.0) > at(still, "headPitch", 1.0) + 0.02
    assert at(moved, "browOuterUpLeft", 1.0) > at(still, "browOuterUpLeft", 1.0) + 0.05


def test_values_stay_within_limits_for_everything_at_once():
    clip = act("She is furious, grinning broadly, jaw dropped, eyes wide open, brows raised and head turned left.", 9)
    assert clip.values[:, :52].min() >= 0 and clip.values[:, :52].max() <= 1
    assert np.abs(clip.values[:, 52:]).max() <= 0.6


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


# Factors of a face: sources of motion, strengths, and a talk with some of them changed

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "samples" / "angry.flac"
FURIOUS, HAPPY = Instruction.parse("She is furious."), Instruction.parse("She is very happy.")


def noise(frames: int = 40, seed: int = 0, fps: float = 25.0) -> MotionClip:
    values = np.random.default_rng(seed).uniform(0.0, 0.5, (frames, len(ARKIT))).astype(np.float32)
    return MotionClip(values, fps, ARKIT)


def others(factor: str) -> list[int]:
    return [i for i in range(len(ARKIT)) if i not in FACTORS[factor]]


def test_factors_part_every_channel_among_themselves():
    parts = [i for channels in FACTORS.values() for i in channels]
    assert sorted(parts) == list(range(len(ARKIT)))


@pytest.mark.parametrize("factor", FACTORS)
def test_a_source_and_a_strength_change_their_own_channels_and_no_other_to_the_bit(factor: str):
    base, other, mine = noise(seed=1), noise(seed=2), list(FACTORS[factor])
    for sources, strengths, expected in (
        ({factor: other}, {}, other.values),
        ({}, {factor: 3.0}, ARKIT.limited(3.0 * base.values)),
        ({}, {factor: 0.0}, np.zeros_like(base.values)),
    ):
        composed = compose(base, sources, strengths).values
        assert np.array_equal(composed[:, others(factor)], base.values[:, others(factor)])
        assert np.array_equal(composed[:, mine], expected[:, mine])


def test_what_does_not_match_is_refused():
    base = noise()
    flame = MotionClip(np.zeros((40, len(FLAME)), np.float32), 25.0, FLAME)
    for sources, strengths, words in (
        ({"nose": base}, {}, "a factor among"),
        ({}, {"nose": 1.0}, "a factor among"),
        ({"gaze": noise(39)}, {}, "40 frames"),
        ({"gaze": noise(fps=30.0)}, {}, "25"),
        ({"gaze": flame}, {}, "ARKIT"),
    ):
        with pytest.raises(InputError, match=words):
            compose(base, sources, strengths)


def test_a_short_source_is_played_to_and_fro_without_a_jump_but_lips_come_to_rest():
    ramp = MotionClip(np.linspace(0, 0.5, 6, dtype=np.float32)[:, None].repeat(len(ARKIT), 1), 25.0, ARKIT)
    longer = fitted(ramp, 23, "gaze")
    assert np.abs(np.diff(longer.values[:, 0])).max() == pytest.approx(0.1)
    assert np.array_equal(longer.values[:6], ramp.values) and np.array_equal(longer.values[10:16], ramp.values)
    assert np.array_equal(fitted(ramp, 4, "gaze").values, ramp.values[:4])
    assert np.array_equal(fitted(noise(1), 5, "pose").values, noise(1).values.repeat(5, 0))
    longer = fitted(noise(10), 30, "lips")
    assert np.array_equal(longer.values[:10], noise(10).values)
    assert not longer.values[16:].any() and longer.values[10].max() > 0.2


def test_sources_are_read_as_they_are_written():
    for text, source in (("speech", ""), ("off", ""), ("seed:7", "7"), ("text:So: sad", "So: sad")):
        assert tuple(parse_source(text)) == (text.split(":")[0], source)


@pytest.mark.parametrize(
    "text",
    ["", "seed:", "seed:-1", "seed:1.5", "seed:²", "seed:" + 5000 * "9", f"seed:{2**63}", "text: ", "x.npz", "x.gif"],
)
def test_sources_that_are_none_are_refused(text: str):
    with pytest.raises(InputError, match=r"source|seed|sentence"):
        parse_source(text)


def test_a_file_drives_at_the_rate_of_the_speech_and_says_what_it_is(tmp_path: Path):
    save_livelink(noise(90, fps=60.0), tmp_path / "take.csv")
    motion, words = load_factor(tmp_path / "take.csv", "gaze", frames=40, fps=25.0)
    assert len(motion) == 40 and motion.fps == 25.0
    assert "1.5 s, played to and fro" in words


def test_what_a_file_lacks_is_named_and_a_factor_or_space_that_it_lacks_is_refused(tmp_path: Path):
    present = np.ones(len(ARKIT), bool)
    present[[ARKIT.index("tongueOut"), *FACTORS["pose"]]] = False
    save_npz(replace(noise(), present=present), tmp_path / "track.npz")
    assert "without tongueOut" in load_factor(tmp_path / "track.npz", "lips", 40, 25.0)[1]
    with pytest.raises(InputError, match="channels of pose"):
        load_factor(tmp_path / "track.npz", "pose", 40, 25.0)
    save_npz(MotionClip(np.zeros((9, len(FLAME)), np.float32), 25.0, FLAME), tmp_path / "flame.npz")
    with pytest.raises(InputError, match="ARKIT space"):
        load_factor(tmp_path / "flame.npz", "gaze", 40, 25.0)


def test_a_face_seen_late_drives_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    late = replace(noise(25), start_s=2.0)
    monkeypatch.setattr(tracking, "track_video", lambda path, fps: SimpleNamespace(pieces=(late,)))
    (tmp_path / "late.mp4").touch()
    for factor, before in (("gaze", late.values[0]), ("lips", np.zeros(len(ARKIT), np.float32))):
        motion, words = load_factor(tmp_path / "late.mp4", factor, frames=80, fps=25.0)
        assert "from 2.00 s on" in words
        assert np.array_equal(motion.values[:50], np.tile(before, (50, 1)))
        assert np.array_equal(motion.values[50:75], late.values)


@pytest.fixture(scope="module")
def talker() -> Talker:
    return Talker(TalkSettings(seed=5))


@pytest.fixture(scope="module")
def talk(talker: Talker):
    return talker.listen(SAMPLE, FURIOUS)


def only(factor: str, source: str, strength: float = 1.0) -> Factors:
    return Factors(**{factor: FactorSettings(source=source, strength=strength)})


@pytest.mark.parametrize(
    ("factor", "source"),
    [
        ("expression", "text:She is very happy."),
        ("blink", "seed:9"),
        ("gaze", "seed:9"),
        ("pose", "seed:9"),
        ("pose", "off"),
    ],
)
def test_a_talk_with_one_factor_changed_keeps_the_others_to_the_bit(talker: Talker, talk, factor: str, source: str):
    changed = talker.direct(talk, FURIOUS, factors=only(factor, source))
    assert np.array_equal(changed.motion.values[:, others(factor)], talk.motion.values[:, others(factor)])
    mine = list(FACTORS[factor])
    assert np.abs(changed.motion.values[:, mine] - talk.motion.values[:, mine]).max() > 0.02
    assert changed.factors[0].startswith(f"{factor}: ")


def test_another_expression_smiles_and_the_lips_keep_their_timing(talker: Talker, talk):
    changed = talker.direct(talk, FURIOUS, factors=only("expression", f"text:{HAPPY.text}"))
    assert (changed.motion["mouthSmileLeft"] - talk.motion["mouthSmileLeft"]).mean() > 0.2
    openings = [load_head().lip_gap(each.motion.values) for each in (talk, changed)]  # a smile stretches the lips
    assert np.corrcoef(*openings)[0, 1] > 0.85
    lags = [np.corrcoef(openings[0][4:-4], np.roll(openings[1], lag)[4:-4])[0, 1] for lag in range(-4, 5)]
    assert int(np.argmax(lags)) == 4, "no lag fits better than none"


def test_factors_from_the_same_sentence_or_from_the_motion_give_the_talk_again(talker: Talker, talk, tmp_path: Path):
    same = talker.direct(talk, FURIOUS, factors=only("expression", f"text:{FURIOUS.text}"))
    assert same.motion.values.tobytes() == talk.motion.values.tobytes()
    save_npz(talk.motion, tmp_path / "talk.npz")
    sourced = {factor: FactorSettings(source=str(tmp_path / "talk.npz")) for factor in FACTORS}
    again = talker.direct(talk, HAPPY, factors=Factors(**sourced))
    assert again.motion.values.tobytes() == talk.motion.values.tobytes()


def test_eyes_do_not_blink_where_a_sentence_forbids_it():
    units = Instruction.parse("Don't blink.").action_units
    values = np.zeros((250, len(ARKIT)), np.float32)
    expression.add_blinks(values, 25.0, np.random.default_rng(0), expression.blink_rate(units) * 20.0)
    assert units == {"blink_more": 0.0} and not values.any()
    assert expression.blink_rate({}) == 1.0 < expression.blink_rate({"blink_more": 0.5})
