"""What of a run's files must repeat, and where two of them differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from tiny_workbooks import write_workbook

from avi_lib.workbook.run import differences, record, repeating


def cell(folder: Path, outputs: list[Any], source: str = "1", tags: tuple[str, ...] = ()) -> Any:
    """What of a notebook with these outputs must repeat."""
    file = write_workbook(folder, a00_a=[source]) / "notebooks" / "00_a.ipynb"
    made = nbformat.read(file, as_version=4)
    made.cells[1].outputs = outputs
    made.cells[1].metadata.tags = list(tags)
    nbformat.write(made, file)
    return repeating(file, {folder: "RUN"})


def printed(*texts: str) -> list[Any]:
    return [nbformat.v4.new_output("stream", name="stdout", text=text) for text in texts]


def shown(number: str, text: str) -> list[Any]:
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": number}, "text/plain": text}
    return [nbformat.v4.new_output("display_data", data=data)]


def test_times_places_addresses_and_the_pieces_in_which_text_came_do_not_count_in_a_notebook(tmp_path: Path):
    one = cell(tmp_path / "a", printed("1.5 s, 20 CPU ms\n", f"{tmp_path / 'a'}/x <A at 0x7f0011aa>"))
    two = cell(tmp_path / "b", printed(f"12.25 s, 3 CPU ms\n{tmp_path / 'b'}/x <A at 0x7f22bb33>"))
    assert one == two


def test_what_a_cell_is_prints_or_shows_otherwise_counts_unless_it_says_that_it_varies(tmp_path: Path):
    def places(one: list[Any], two: list[Any], source: str = "1", tags: tuple[str, ...] = ()) -> list[str]:
        pair = cell(tmp_path / "a", one, tags=tags), cell(tmp_path / "b", two, source, tags)
        return [place.partition(":")[0] for place in differences(*pair)]

    assert places(printed("loss 0.25"), printed("loss 0.5")) == ["1/printed"]
    assert places(printed("loss 0.25"), printed("loss 0.25"), "2") == ["1/source"]
    assert places(shown("0f3e", "bar"), shown("91c2", "bar")) == []
    assert places(shown("0f3e", "bar"), shown("0f3e", "other")) == ["1/shown/0/text/plain/0"]
    assert places(printed("a"), printed("b"), tags=("varies",)) == []


def test_records_and_logs_repeat_without_their_times_and_other_files_as_they_are(tmp_path: Path):
    values = {"train_s": 1.5, "seconds": 2, "times_ms": {"a": 1}, "loss": 0.5, "lip_closure_sd": 2, "parts": [{"s": 1}]}
    (tmp_path / "record.json").write_text(json.dumps(values))
    assert repeating(tmp_path / "record.json", {}) == [{"loss": 0.5, "lip_closure_sd": 2, "parts": [{}]}]
    (tmp_path / "log.jsonl").write_text('{"step": 10, "loss": 0.5, "s": 3.2}\n{"step": 20, "loss": 0.25, "s": 7}\n')
    assert repeating(tmp_path / "log.jsonl", {}) == [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.25}]
    (tmp_path / "timeline.json").write_text('{"at_s": 1.5}')
    assert repeating(tmp_path / "timeline.json", {}) == b'{"at_s": 1.5}'


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"cells": 3}', "[" * 100000, "\xff"])
def test_damaged_notebooks_are_compared_as_texts(text: str, tmp_path: Path):
    (tmp_path / "a.ipynb").write_text(text, "utf-8")
    assert repeating(tmp_path / "a.ipynb", {}) == text


def test_differences_name_the_places():
    before = {"losses": {"a": [1, 2, 3]}, "b": 1, "c": [1]}
    after = {"losses": {"a": [1, 9, 3]}, "b": 1, "c": [1, 2], "d": 4}
    told = ["c: '[1]', now '[1, 2]'", "d: 'None', now '4'", "losses/a/1: '2', now '9'"]
    assert list(differences(before, after)) == told
    assert list(differences(b"abc", b"abxy")) == ["3 bytes and 4, from byte 2"]


def test_records_add_up_and_say_what_they_were_computed_with(tmp_path: Path):
    record(tmp_path, a=1)
    record(tmp_path, b=2.5, a=3)
    told = json.loads((tmp_path / "record.json").read_text())
    assert (told.pop("device")[:3], told.pop("threads") >= 1, told) == ("cpu", True, {"a": 3, "b": 2.5})
