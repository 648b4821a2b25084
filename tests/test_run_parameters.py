"""Parameters of notebooks: a text becomes a value of its default's kind, or an error that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_workbooks import write_workbook

from avi_lib.errors import InputError
from avi_lib.workbook.run import choose, find_stages, value_of

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = {"00_a": {"SEED": 0, "SIZE": 512, "PROFILE": "smoke", "NAME": "a", "OUT": "x"}, "01_b": {"NAME": "b"}}
TEXTS = ["007", "true", "1e3", "", "null", "a = 'b'", '"quoted"', "None|str", "ü\n"]
NUMBERS = [("7", 1, 7), ("-3", 1, -3), ("0.5", 1.0, 0.5), ("2", 1.0, 2.0), ("3", None, 3)]
OTHERS = [("true", False, True), ("False", True, False), ("[1, 2]", [], [1, 2]), ('{"a": "b"}', {}, {"a": "b"})]


@pytest.mark.parametrize(("text", "default", "value"), [*[(t, "a default", t) for t in TEXTS], *NUMBERS, *OTHERS])
def test_a_text_becomes_a_value_of_its_default_s_kind(text: str, default: object, value: object):
    found = value_of("NAME", text, default)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("default", "texts"),
    [
        (1, ["many", "1.5", "true", ""]),
        (1.0, ["nan", "1e999", "false", "9" * 400]),
        (True, ["1"]),
        ([], ["{}", "[" * 100000]),
        ({}, ["[]"]),
    ],
)
def test_a_value_of_another_kind_is_refused(default: object, texts: list[str]):
    for text in texts:
        with pytest.raises(InputError, match=f"expected a value of kind {type(default).__name__} .* for COUNT"):
            value_of("COUNT", text, default)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *[("SIZE", "6", "64"), ("SIZE", "65", "multiple of 2"), ("SEED", "-1", "0"), ("PROFILE", "smokey", "n smoke")],
        *[
            (name, "1", rf"got {name}; did you mean {meant}\?")
            for name, meant in {"NAMES": "NAME", "seed": "SEED"}.items()
        ],
        *[("SIEZ", "1", r"did you mean SIZE\?"), ("LEARNING_RATE", "1", r"known are NAME, PROFILE, SEED, SIZE$")],
    ],
)
def test_a_name_that_is_unknown_or_a_value_that_does_not_fit_is_answered_with_what_does(
    name: str, text: str, message: str
):
    with pytest.raises(InputError, match=message):
        choose(DEFAULTS, {name: text})


def test_the_profile_goes_to_the_notebooks_that_have_one():
    values = choose(DEFAULTS, {"NAME": "7"}, "full")
    assert values == {"00_a": DEFAULTS["00_a"] | {"PROFILE": "full", "NAME": "7"}, "01_b": {"NAME": "7"}}
    with pytest.raises(InputError, match="one profile"):
        choose(DEFAULTS, {"PROFILE": "smoke"}, "full")


def test_parameters_are_read_without_running_anything(tmp_path: Path):
    root = write_workbook(tmp_path, "A: int = 1  # one\nB = -2.5\nC = ['x', {'y': None}]", a00_a=["1 / 0"], a07_b=[])
    assert find_stages(root, ["00"]) == {"00_a": {"A": 1, "B": -2.5, "C": ["x", {"y": None}]}}
    with pytest.raises(InputError, match="did you mean 07"):
        find_stages(root, ["7"])
    for code in ("A = open('x')", "A = (", "A = " + "-" * 100000 + "1", "A = __import__('os')"):
        write_workbook(tmp_path, code, a00_a=[])
        with pytest.raises(InputError, match="NAME = literal"):
            find_stages(root)
    for text in ("", "{}", "[1]", '{"cells": [{"source": 3}]}', "[" * 100000, '{"cells": 1}'):
        (root / "notebooks" / "00_a.ipynb").write_text(text)
        with pytest.raises(InputError, match="a notebook"):
            find_stages(root)


def test_stages_take_over_only_what_stages_before_them_make():
    own = {"00_a": {"NAME": "a"}, "01_b": {"OTHER": ""}}
    with pytest.raises(InputError, match="a stage before 00_a"):
        choose(own, {"NAME": "run:01_b/x"})
    assert choose(own, {"OTHER": "run:00_a/x"})["01_b"]["OTHER"] == "run:00_a/x"


def test_every_notebook_declares_an_out_and_the_prior_is_trained_with_the_generator_of_its_run():
    stages = find_stages(ROOT)
    assert all(values["OUT"].startswith("outputs/") for values in stages.values())
    taken = "run:03_talking_generator/talking.safetensors"
    prior = {name: stages[name] for name in stages if name[:2] in ("03", "04")}
    name = [*prior][1]
    assert choose(prior, {})[name]["GENERATOR"] == taken
    assert choose(prior, {"GENERATOR": ""})[name]["GENERATOR"] == ""
    assert choose({name: prior[name]}, {})[name]["GENERATOR"] == ""
