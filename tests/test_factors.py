"""Factors of a face: channels of their own, sources of motion, strengths, and a talk with some of them changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.face import tracking
from avi_lib.face.head import load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import (
    ARKIT,
    FACTORS,
    FLAME,
    Curves,
    MotionClip,
    Piece,
    compose,
    fitted,
    save_curves,
    save_npz,
)
from avi_lib.motion.formats import save_livelink
from avi_lib.settings import Factors, FactorSettings, TalkSettings
from avi_lib.talker import Talker, load_factor, parse_source

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


def test_channels_that_nothing_is_asked_of_may_be_beyond_their_limits():
    wild = MotionClip(1.5 * np.ones((4, len(ARKIT)), np.float32), 25.0, ARKIT)
    assert compose(wild, {}, {"blink": 0.5})["jawOpen"].max() == 1.5


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


def test_a_short_source_is_played_to_and_fro_without_a_jump():
    ramp = MotionClip(np.linspace(0, 0.5, 6, dtype=np.float32)[:, None].repeat(len(ARKIT), 1), 25.0, ARKIT)
    longer = fitted(ramp, 23, "gaze")
    assert np.abs(np.diff(longer.values[:, 0])).max() == pytest.approx(0.1)
    assert np.array_equal(longer.values[:6], ramp.values) and np.array_equal(longer.values[10:16], ramp.values)
    assert np.array_equal(fitted(ramp, 4, "gaze").values, ramp.values[:4])
    assert np.array_equal(fitted(noise(1), 5, "pose").values, noise(1).values.repeat(5, 0))


def test_short_lips_come_to_rest_and_do_not_speak_backwards():
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


def test_what_a_tracked_file_lacks_is_named_and_a_factor_that_it_lacks_wholly_is_refused(tmp_path: Path):
    present = np.ones(len(ARKIT), bool)
    present[[ARKIT.index("tongueOut"), *FACTORS["pose"]]] = False
    save_curves(Curves(noise(), present), tmp_path / "track.npz")
    assert "without tongueOut" in load_factor(tmp_path / "track.npz", "lips", 40, 25.0)[1]
    with pytest.raises(InputError, match="channels of pose"):
        load_factor(tmp_path / "track.npz", "pose", 40, 25.0)


def test_a_face_seen_late_drives_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    late = Piece(2.0, Curves(noise(25), np.ones(len(ARKIT), bool)))
    monkeypatch.setattr(tracking, "track_video", lambda path, fps: SimpleNamespace(pieces=(late,)))
    (tmp_path / "late.mp4").touch()
    for factor, before in (("gaze", late.curves.clip.values[0]), ("lips", np.zeros(len(ARKIT), np.float32))):
        motion, words = load_factor(tmp_path / "late.mp4", factor, frames=80, fps=25.0)
        assert "from 2.00 s on" in words
        assert np.array_equal(motion.values[:50], np.tile(before, (50, 1)))
        assert np.array_equal(motion.values[50:75], late.curves.clip.values)


def test_flame_motion_drives_no_arkit_factor(tmp_path: Path):
    save_npz(MotionClip(np.zeros((9, len(FLAME)), np.float32), 25.0, FLAME), tmp_path / "flame.npz")
    with pytest.raises(InputError, match="ARKIT space"):
        load_factor(tmp_path / "flame.npz", "gaze", 40, 25.0)


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


def test_a_factor_from_the_same_sentence_is_what_it_was(talker: Talker, talk):
    same = talker.direct(talk, FURIOUS, factors=only("expression", f"text:{FURIOUS.text}"))
    assert same.motion.values.tobytes() == talk.motion.values.tobytes()


def test_a_motion_file_made_of_the_talk_gives_the_talk_again(talker: Talker, talk, tmp_path: Path):
    save_npz(talk.motion, tmp_path / "talk.npz")
    sourced = {factor: FactorSettings(source=str(tmp_path / "talk.npz")) for factor in FACTORS}
    again = talker.direct(talk, HAPPY, factors=Factors(**sourced))
    assert again.motion.values.tobytes() == talk.motion.values.tobytes()


def test_a_wrong_source_is_found_before_anything_is_loaded():
    with Talker(TalkSettings(factors=only("gaze", "seed:x"))) as talker, pytest.raises(InputError, match="seed"):
        talker.prepare(video=False)
