"""The evaluation report: intervals, tables, systems beside one another, the page and its JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import MEASURES, Measure, SpeechTrack, blink_rate, measure_motion
from avi_lib.evaluation.report import Matrix, Picture, Report, Row, estimate, tabulate
from avi_lib.face.head import Head
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.speech.phones import SILENCE, Phone

MEASURE = {"score": Measure("a score", "mm", "lower", "what counts <b>", "as it is")}
PHONES = (
    Phone(SILENCE, 0.0, 0.6),
    Phone("AA", 0.6, 1.0),
    Phone("M", 1.0, 1.2),
    Phone("AA", 1.2, 1.6),
    Phone(SILENCE, 1.6, 2.4),
)


def track() -> SpeechTrack:
    level = np.full(60, -60.0, np.float32)
    level[15:40] = -20.0
    return SpeechTrack(PHONES, level, 2.4)


def talking(height: float = 0.4, late: int = 0) -> MotionClip:
    """A jaw that opens on the vowels and shuts on the M."""
    values = np.zeros((60, len(ARKIT)), np.float32)
    for first, last in ((15, 25), (30, 40)):
        values[first + late : last + late, ARKIT.index("jawOpen")] = height
    return MotionClip(values, 25.0, ARKIT)


def test_the_interval_is_over_speakers_when_there_are_enough_and_over_clips_when_there_are_few() -> None:
    values = np.repeat(np.arange(6.0), 20)
    groups = [str(number) for number in values.astype(int)]
    by_speaker = estimate(values, np.random.default_rng(0), groups)
    few = estimate(values, np.random.default_rng(0), ["a" if value < 3 else "b" for value in values])
    assert by_speaker.resampled == "speakers" and few.resampled == "clips"
    assert by_speaker.value == few.value == 2.5 and by_speaker.clips == 120
    assert by_speaker.high - by_speaker.low > 3 * (few.high - few.low)  # clips of one speaker tell the same thing


def test_an_interval_holds_its_mean_in_nineteen_of_twenty_samples() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        found = estimate(rng.normal(3.0, 1.0, 30), rng, ["one"] * 30, resamples=300)
        held += found.low <= 3.0 <= found.high
    assert 0.87 <= held / 200 <= 0.99


def test_what_has_no_evidence_is_left_out_of_the_mean_and_one_clip_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    found = estimate(np.array([1.0, np.nan, 3.0]), rng, ["a", "b", "c"])
    assert (found.value, found.clips) == (2.0, 2)
    lone = estimate(np.array([np.nan, 7.0]), rng, ["a", "b"])
    assert lone.value == 7.0 and np.isnan(lone.low) and np.isnan(lone.high)
    assert np.isnan(estimate(np.array([np.nan]), rng, ["a"]).value)


def test_a_mouth_that_fits_its_speech_scores_and_one_that_is_late_or_still_does_not(head: Head) -> None:
    fits, late = (measure_motion(motion, track(), head) for motion in (talking(), talking(late=5)))
    still = measure_motion(talking(0.0), track(), head)
    assert fits["lip_closure_d"] > 1.5 > 0.5 > late["lip_closure_d"] and fits["closed_share"] == 1.0
    assert still["lip_closure_d"] == 0.0 and still["closed_share"] == 0.0 and np.isnan(still["jaw_energy_r"])
    assert set(fits) == set(MEASURES) and np.isnan(fits["lve_mm"])
    same = measure_motion(talking(), track(), head, talking())
    assert same["lve_mm"] == same["eve_mm"] == same["fdd_mm"] == 0.0 and same["lip_gap_r"] == pytest.approx(1)
    fast = MotionClip(np.repeat(talking().values, 2, axis=0), 50.0, ARKIT)
    resampled = measure_motion(fast, track(), head)["jitter_mm"]
    assert resampled == pytest.approx(fits["jitter_mm"], rel=0.25)  # unresampled it would be an eighth


def test_rest_is_silence_away_from_sound_and_blinks_are_counted_once(head: Head) -> None:
    rest = track().at_rest(60)
    assert rest[:10].all() and not rest[10:45].any() and rest[45:].all()
    motion = talking()
    for first in (5, 40):
        for side in ("Left", "Right"):
            motion.values[first : first + 4, ARKIT.index(f"eyeBlink{side}")] = [0.6, 1.0, 0.4, 0.6]
    assert blink_rate(motion) == pytest.approx(60 * 2 / 2.4)


def report() -> Report:
    rows = [Row("<script>alert(1)</script>", "anna", {"score": -0.001}), Row("other", "anna", {"score": np.nan})]
    table = tabulate("a_table", "A & B", 'how "it" was <measured>', rows, MEASURE)
    matrix = Matrix("seen", "What is seen", "counts", ("happy",), ("happy", "sad"), np.array([[3, 1]]))
    picture = Picture("a <picture>", b"\x89PNG\r\n", "a_table")
    return Report("Report <1>", {"seed": 0, "of": "x & y"}, (table,), (matrix,), (picture,), ("a note</li>",))


def test_page_and_json_repeat_their_bytes_escape_all_text_and_need_nothing_from_the_network(tmp_path: Path) -> None:
    first, second = (report().write(tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    page = first[1].read_text("utf-8")
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "a note&lt;/li&gt;" in page
    assert not re.search(r"(src|href)=.(?!data:image/png;base64,)", page) and "http" not in page and "url(" not in page
    assert page.index("A &amp; B") < page.index("data:image/png;base64,") < page.index("What is seen")
    found = json.loads(first[0].read_text("utf-8"), parse_constant=lambda name: pytest.fail(name))
    score = found["tables"]["a_table"]["measures"]["score"]
    assert [system["value"] for system in score["systems"].values()] == [-0.001, None]
    assert found["matrices"]["seen"]["counts"] == [[3, 1]] and score["unit"] == "mm"
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError):
        report().write(tmp_path / "file")


def test_measures_of_the_whole_join_a_table_with_an_interval_about_their_statistic() -> None:
    found = estimate([0.0, 1.0] * 20, np.random.default_rng(0), statistic=lambda some: float(np.mean(some)))
    measures, rows = {**MEASURE, "f1": MEASURE["score"]}, [Row("a", "x", {"score": 1.0})]
    more = tabulate("t", "T", "how", rows, measures, whole={("f1", "a"): found})
    assert list(more.measures) == ["score", "f1"] and more.estimates["f1", "a"].value == 0.5
    assert 0.3 < found.low < 0.5 < found.high < 0.7
