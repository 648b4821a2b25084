"""Parameters of notebooks: a text becomes a value of its default's kind, or an error that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_workbooks import write_workbook

from avi_lib.errors import InputError
from avi_lib.workbook.parameters import choose, read_parameters, value_of
from avi_lib.workbook.stages import find_stages, hand_over

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = {"00_a": {"SEED": 0, "SIZE": 512, "PROFILE": "smoke", "NAME": "a", "OUT": "x"}, "01_b": {"NAME": "b"}}


@pytest.mark.parametrize("text", ["007", "true", "1e3", "", "null", "a = 'b'", '"quoted"', "None|str", "ü\n"])
def test_a_text_stays_the_text_it_is(text: str):
    assert value_of("NAME", text, "a default") == text


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        *[
            ("7", 1, 7),
            ("-3", 1, -3),
            ("0.5", 1.0, 0.5),
            ("2", 1.0, 2.0),
            ("true", False, True),
            ("False", True, False),
        ],
        *[("[1, 2]", [], [1, 2]), ('{"a": "b"}', {}, {"a": "b"}), ("3", None, 3)],
    ],
)
def test_other_values_keep_the_kind_of_their_default(text: str, default: object, value: object):
    found = value_of("NAME", text, default)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "default", "wanted"),
    [
        *[("many", 1, "whole number"), ("1.5", 1, "whole number"), ("true", 1, "whole number"), ("", 1, "whole")],
        *[("nan", 1.0, "a number"), ("1e999", 1.0, "a number"), ("false", 1.0, "a number"), ("9" * 400, 1.0, "number")],
        *[("1", True, "true or false"), ("{}", [], "list"), ("[" * 100000, [], "list"), ("[]", {}, "object")],
    ],
)
def test_a_value_of_another_kind_is_refused(text: str, default: object, wanted: str):
    with pytest.raises(InputError, match=f"expected .*{wanted}.* for COUNT"):
        value_of("COUNT", text, default)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("SIZE", "6", "64"), ("SIZE", "65", "multiple of 2"), ("SEED", "-1", "0"), ("PROFILE", "smokey", "mean smoke")],
)
def test_settings_say_which_values_fit(name: str, text: str, message: str):
    with pytest.raises(InputError, match=message):
        choose(DEFAULTS, {name: text})


@pytest.mark.parametrize(
    ("name", "meant"), [("NAMES", "NAME"), ("seed", "SEED"), ("SIEZ", "SIZE"), ("Profile", "PROFILE")]
)
def test_a_mistyped_name_is_answered_with_the_one_that_was_meant(name: str, meant: str):
    with pytest.raises(InputError, match=rf"got {name}; did you mean {meant}\?"):
        choose(DEFAULTS, {name: "1"})


def test_a_name_like_no_other_is_answered_with_those_there_are():
    with pytest.raises(InputError, match=r"known are NAME, PROFILE, SEED, SIZE$"):
        choose(DEFAULTS, {"LEARNING_RATE": "1"})


def test_the_profile_goes_to_the_notebooks_that_have_one():
    values = choose(DEFAULTS, {"NAME": "7"}, "full")
    assert values == {"00_a": DEFAULTS["00_a"] | {"PROFILE": "full", "NAME": "7"}, "01_b": {"NAME": "7"}}
    with pytest.raises(InputError, match="one profile"):
        choose(DEFAULTS, {"PROFILE": "smoke"}, "full")


def test_parameters_are_read_without_running_anything(tmp_path: Path):
    root = write_workbook(tmp_path, "A: int = 1  # one\nB = -2.5\nC = ['x', {'y': None}]\nD: str", a00_a=["1 / 0"])
    assert read_parameters(root / "notebooks" / "00_a.ipynb") == {"A": 1, "B": -2.5, "C": ["x", {"y": None}]}


@pytest.mark.parametrize("code", ["A = open('x')", "A = (", "A = " + "-" * 100000 + "1", "A = __import__('os')"])
def test_a_default_that_is_no_literal_is_refused(code: str, tmp_path: Path):
    root = write_workbook(tmp_path, code, a00_a=[])
    with pytest.raises(InputError, match="NAME = literal"):
        read_parameters(root / "notebooks" / "00_a.ipynb")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"cells": [{"source": 3}]}', "[" * 100000, '{"cells": 1}'])
def test_a_file_that_is_no_notebook_is_an_input_error(text: str, tmp_path: Path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_a.ipynb").write_text(text)
    with pytest.raises(InputError, match="a notebook"):
        find_stages(tmp_path)


def test_every_notebook_of_the_workbook_declares_literals_and_an_out():
    for stage in find_stages(ROOT):
        assert stage.defaults["OUT"].startswith("outputs/")


def test_a_number_of_one_digit_is_answered_with_two(tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=[], a07_b=[])
    with pytest.raises(InputError, match="did you mean 07"):
        find_stages(root, ["7"])


def test_stages_take_over_only_what_stages_before_them_make(tmp_path: Path):
    stages = find_stages(write_workbook(tmp_path, a00_a=[], a01_b=[]))
    chosen = {stage.name: stage.defaults for stage in stages}
    with pytest.raises(InputError, match="a stage before 00_a"):
        hand_over(stages, {**chosen, "00_a": {"NAME": "run:01_b/x"}}, {})
    handed = {**chosen, "01_b": {"NAME": "run:00_a/x"}}
    assert hand_over(stages, handed, {}) == handed


def test_the_prior_is_trained_with_the_generator_of_its_run():
    stages = find_stages(ROOT, ["03", "04"])
    chosen = {stage.name: stage.defaults for stage in stages}
    taken = "run:03_talking_generator/talking.safetensors"
    assert hand_over(stages, chosen, {})[stages[1].name]["GENERATOR"] == taken
    assert hand_over(stages, chosen, {"GENERATOR": ""})[stages[1].name]["GENERATOR"] == ""
    assert hand_over(stages[1:], chosen, {})[stages[1].name]["GENERATOR"] == ""
