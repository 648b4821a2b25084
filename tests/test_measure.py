"""Action units measured in curves: made-up ones, performed ones and real ones."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from avi_lib.corpus.measure import measure_units, neutral_face
from avi_lib.corpus.rigs import load_rig
from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS, unit_channels
from avi_lib.instruction.grammar import describe, salient
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import prosody
from tools.benchmarks import units as evaluation

FPS = 25.0
ALL = np.ones(len(ARKIT), dtype=bool)
REST = np.zeros(len(ARKIT), np.float32)
SUSTAINED = [unit.name for unit in ACTION_UNITS.values() if not unit.rhythm]


def held(seconds: float = 4.0, **channels: float) -> np.ndarray:
    """Values (frames, 55) that hold these channels."""
    values = np.zeros((round(seconds * FPS), len(ARKIT)), np.float32)
    for channel, value in channels.items():
        values[:, ARKIT.index(channel)] = value
    return values


def measured(values: np.ndarray, neutral: np.ndarray = REST, present: np.ndarray = ALL) -> dict[str, float]:
    return measure_units(MotionClip(values.astype(np.float32), FPS, ARKIT, present), neutral)


@pytest.fixture(scope="module")
def performer() -> Performer:
    """Five seconds of made-up speech: syllables of every kind of mouth, and a voice that rises and falls."""
    sounds = ("M", "AA", "S", "IY", "P", "UW", "T", "EH", "F", "OW", "N", "AE", "W", "ER", "B", "AH", "L", "IH")
    spoken = [
        Phone(sound, 0.3 + 0.09 * i, 0.39 + 0.09 * i)
        for i, sound in enumerate(itertools.islice(itertools.cycle(sounds), 50))
    ]
    phones = [Phone("SIL", 0.0, 0.3), *spoken, Phone("SIL", spoken[-1].end_s, 5.2)]
    times_s = np.arange(int(5.2 * 16_000)) / 16_000
    wave = np.sin(2 * np.pi * 150 * times_s) * (0.3 + 0.2 * np.sin(2 * np.pi * 1.1 * times_s))
    wave[(times_s < 0.3) | (times_s > 4.8)] = 0.0
    return Performer(phones, prosody(wave.astype(np.float32)), 5.2)


@pytest.mark.parametrize("unit", SUSTAINED)
def test_a_unit_that_is_held_is_found_alone_and_at_its_strength(unit: str) -> None:
    strength = 0.8
    channels = unit_channels({unit: strength})
    if channels.get("jawOpen", 0.0) and unit == "jaw_drop":
        channels["jawOpen"] = 0.81 * channels["jawOpen"] + 0.10  # as speech would have it
    found = measured(held(**channels))
    if unit == "lips_part":
        assert set(found) <= {"lips_part", "upper_lip_raise", "lower_lip_down"} and found
    elif unit == "tongue_show":
        assert found[unit] == pytest.approx(strength, abs=0.1)
    else:
        assert set(found) == {unit} and found[unit] == pytest.approx(strength, abs=0.1)


def both(channel: str, value: float) -> dict[str, float]:
    return {channel + side: value for side in ("Left", "Right")}


@pytest.mark.parametrize(
    ("channels", "units"),
    [
        (unit_channels({"lip_corner_pull": 0.9, "cheek_raise": 0.6, "lid_tighten": 0.45}),
         {"lip_corner_pull": 0.9, "cheek_raise": 0.6, "lid_tighten": 0.45}),  # they share channels
        ({"browOuterUpLeft": 0.6, "browInnerUp": 0.15}, {"left_brow_raise"}),
        (both("browOuterUp", 0.6), {"outer_brow_raise"}),
        ({"mouthSmileRight": 0.6, "mouthDimpleRight": 0.26}, {"right_lip_corner_pull"}),
        (both("eyeBlink", 0.3), {"lid_droop": 0.6}),
        (both("eyeBlink", 0.8), {"eyes_closed": 0.8}),
        (both("mouthSmile", 0.7) | both("mouthFrown", 0.2), {"lip_corner_pull"}),  # the much weaker one gives way
    ],
)  # fmt: skip
def test_units_alike_are_separated(channels: dict[str, float], units: dict[str, float] | set[str]) -> None:
    found = measured(held(**channels))
    assert (found == pytest.approx(units, abs=0.05)) if isinstance(units, dict) else (set(found) == units)


def test_channels_that_are_missing_name_no_unit_and_do_not_weaken_others() -> None:
    present = ALL.copy()
    present[[ARKIT.index(channel) for channel in both("cheekSquint", 1.0)]] = False
    found = measured(held(**both("mouthSmile", 0.6)), present=present)
    assert found == {"lip_corner_pull": pytest.approx(0.6, abs=0.01)}
    assert "cheek_raise" not in measured(held(**both("cheekSquint", 0.9)), present=present)


def test_blinks_are_not_closed_eyes_and_many_of_them_are_blink_more() -> None:
    values = held(6.0)
    lids = [ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight")]
    for start_s in (1.0, 4.0):
        values[int(start_s * FPS) : int(start_s * FPS) + 5, lids] = 0.95
    assert measured(values) == {}
    for start_s in (2.0, 3.0, 5.0):
        values[int(start_s * FPS) : int(start_s * FPS) + 5, lids] = 0.95
    assert set(measured(values)) == {"blink_more"}


def test_nods_and_shakes_are_found_by_their_rhythm_and_not_in_the_briefest_clips() -> None:
    times_s = np.arange(150) / FPS
    nodding, turning = held(6.0), held(6.0)
    nodding[:, ARKIT.index("headPitch")] = 0.1 * np.sin(2 * np.pi * 1.3 * times_s)
    turning[:, ARKIT.index("headYaw")] = 0.1 * np.sin(2 * np.pi * 1.2 * times_s)
    assert set(measured(nodding)) == {"head_nod"} and set(measured(turning)) == {"head_shake"}
    assert measured(nodding[:40]) == {}
    slow = held(6.0)
    slow[:, ARKIT.index("headYaw")] = 0.05 * np.sin(2 * np.pi * 0.2 * times_s)
    assert measured(slow) == {}


def test_curves_of_another_space_are_an_error() -> None:
    clip = MotionClip(np.zeros((10, len(FLAME)), np.float32), FPS, FLAME)
    with pytest.raises(InputError, match="ARKIT"):
        measure_units(clip, REST)


def test_a_face_at_rest_shows_no_units_but_a_smile_that_never_ends_is_one() -> None:
    own = both("eyeSquint", 0.3) | {"headRoll": 0.2}
    resting = held(20.0, **own, **both("eyeLookDown", 0.25))
    neutral = neutral_face([(resting, ALL)])
    assert measured(resting, neutral) == {}
    assert set(measured(held(**own), neutral)) == {"gaze_up"}
    smiling = held(20.0, **both("mouthSmile", 0.6))
    assert measured(smiling, neutral_face([(smiling, ALL)]))["lip_corner_pull"] == pytest.approx(0.45, abs=0.05)


def test_recordings_labelled_neutral_decide_and_a_channel_counts_only_where_it_is() -> None:
    neutral_one, frowning = (held(seconds, **both("browDown", value)) for seconds, value in ((4.0, 0.1), (60.0, 0.5)))
    neutral = neutral_face([(frowning, ALL), (neutral_one, ALL)], ["angry", "neutral"])
    assert neutral[ARKIT.index("browDownLeft")] == pytest.approx(0.1)
    assert measured(frowning, neutral) == {"brow_down": pytest.approx(0.4, abs=0.01)}
    missing, roll = ALL.copy(), ARKIT.index("headRoll")
    missing[roll] = False
    assert neutral_face([(held(9.0), missing), (held(3.0, headRoll=0.2), ALL)])[roll] == pytest.approx(0.2)
    assert neutral_face([(held(3.0, headRoll=0.2), missing)])[roll] == 0.0
    with pytest.raises(InputError, match="recordings of one speaker"):
        neutral_face([])


def test_plain_talk_shows_next_to_nothing(performer: Performer) -> None:
    clips = [performer.perform(Instruction("she speaks"), seed) for seed in range(12)]
    neutral = neutral_face([(clip.values, ALL) for clip in clips])
    assert sum(len(measured(clip.values, neutral)) for clip in clips) <= 3


def test_what_is_performed_over_speech_is_measured_within_a_word_of_it(performer: Performer) -> None:
    rng = np.random.default_rng(3)
    scripts = [evaluation.draw_units(rng) for _ in range(40)]
    clips = [performer.perform(Instruction("a script", action_units=units), i) for i, units in enumerate(scripts)]
    neutral = neutral_face([(clip.values, ALL) for clip in clips])
    scores = evaluation.score([(u, measured(clip.values, neutral)) for u, clip in zip(scripts, clips, strict=True)])
    sustained = [entry for name, entry in scores.items() if not ACTION_UNITS[name].rhythm]
    counts = np.array([entry.clips for entry in sustained])
    assert np.average([entry.near for entry in sustained], weights=counts) > 0.93
    assert np.average([entry.found for entry in sustained], weights=counts) > 0.9
    assert np.mean([entry.false for entry in scores.values()]) < 0.01


def test_real_takes_are_measured_as_what_they_show(real_data: Path) -> None:
    folder = real_data / "arkit_iphone"
    emotions = {"fear": (161, 162, 163), "sneer": (164, 165, 166), "sad": (167, 168, 169)}
    takes = {name: [load_rig(folder / f"MySlate_{n}_iPhone_cal.npz") for n in ns] for name, ns in emotions.items()}
    idle = load_rig(folder / "neutral_idle.npz")
    every = [take for several in takes.values() for take in several]
    neutral = neutral_face([(take.values, take.present) for take in (*every, idle)], [None] * len(every) + ["neutral"])
    shown = {name: [u for take in several for u in _pieces(take, neutral)] for name, several in takes.items()}
    usual = {
        "fear": {"upper_lid_raise"},
        "sneer": {"lip_corner_pull", "lid_tighten", "cheek_raise"},
        "sad": {"inner_brow_raise", "lid_tighten"},
    }
    for name, units in usual.items():
        assert all(np.mean([unit in piece for piece in shown[name]]) > 0.6 for unit in units), name
    assert sum(map(len, _pieces(idle, neutral))) == 0
    text = describe(salient(shown["sad"][-1]), "sad", rng=np.random.default_rng(0))
    assert set(Instruction.parse(text).action_units) <= set(shown["sad"][-1])


def test_real_plain_speech_shows_few_units_and_no_pressed_or_rounded_lips(real_data: Path) -> None:
    talking = load_rig(real_data / "arkit_iphone" / "neurosync_testset.npz")
    pieces = _pieces(talking, neutral_face([(talking.values, talking.present)]))
    assert sum(map(len, pieces)) <= 8
    assert not {"lip_press", "lip_tighten", "lip_roll", "pucker", "jaw_drop"} & set().union(*pieces)


def _pieces(curves: MotionClip, neutral: np.ndarray, seconds: float = 6.0) -> list[dict[str, float]]:
    step = round(seconds * curves.fps)
    starts = range(0, len(curves) - step + 1, step)
    return [measure_units(curves.at(range(start, start + step)), neutral) for start in starts]
