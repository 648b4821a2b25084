"""Timelines: files that are read or refused, and weights that fade without a jump."""

from __future__ import annotations

import json

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Entry, Instruction, Timeline, as_json, evenly, load_timeline

CALM, FURIOUS, SAD = (Instruction.parse(text) for text in ("She is calm.", "She is furious.", "She is sad."))


def write(tmp_path, content):
    path = tmp_path / "timeline.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_weights_add_up_and_half_of_an_entry_has_come_on_at_its_time():
    timeline = Timeline((Entry(0.0, CALM), Entry(2.0, FURIOUS, 0.8), Entry(3.0, SAD, 0.4)))
    weights = timeline.weights(125, 25.0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights[20].tolist() == [1, 0, 0] and weights[62].tolist() == [0, 1, 0] and weights[-1].tolist() == [0, 0, 1]
    assert weights[49:51, 1].mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(weights, axis=0)).max() < 0.16, "no jump"


def test_the_first_entry_holds_from_the_start_whatever_its_time():
    assert Timeline((Entry(1.5, CALM), Entry(2.0, SAD))).weights(25, 25.0)[0].tolist() == [1, 0]


def test_a_fade_of_no_time_takes_one_frame():
    weights = Timeline((Entry(0.0, CALM), Entry(1.0, SAD, 0.0))).weights(50, 25.0)
    assert set(np.round(weights[:, 1], 3)) <= {0.0, 0.5, 1.0}


def test_a_file_comes_back_as_it_was_written(tmp_path):
    timeline = evenly([CALM, FURIOUS, SAD], 6.0, 0.5)
    assert load_timeline(write(tmp_path, as_json(timeline))) == timeline


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ({"at_s": 0}, "with dict"),
        ([], "0"),
        ([{"at_s": 0}], "at_s in number 1"),
        ([{"at_s": 0, "instruction": "She is calm.", "speed": 2}], "speed"),
        ([{"at_s": "soon", "instruction": "She is calm."}], "'soon' in number 1"),
        ([{"at_s": True, "instruction": "She is calm."}], "True"),
        ([{"at_s": 0, "instruction": ""}], "an empty text in number 1"),
        ([{"at_s": 0, "instruction": 7}], "int in number 1"),
        ([{"at_s": -1, "instruction": "She is calm."}], "at_s -1"),
        ('[{"at_s": NaN, "instruction": "She is calm."}]', "at_s nan"),
        ([{"at_s": 0, "instruction": "She is calm.", "fade_s": -2}], "fade_s -2"),
        (f'[{{"at_s": 1{"0" * 400}, "instruction": "She is calm."}}]', "seconds as at_s"),
        ([{"at_s": 1, "instruction": "She is calm."}, {"at_s": 1, "instruction": "She is sad."}], "1 s after 1 s"),
        ([{"at_s": i, "instruction": "She is calm."} for i in range(1001)], "1001"),
    ],
)
def test_a_wrong_timeline_is_refused_with_the_place_of_the_error(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        load_timeline(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_timeline(tmp_path / "nowhere.json")
