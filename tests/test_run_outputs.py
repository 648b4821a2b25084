"""What of a run's files must repeat, and where two of them differ."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from tiny_workbooks import write_workbook

from avi_lib.errors import InputError
from avi_lib.workbook.manifest import read_manifest
from avi_lib.workbook.outputs import differences, digest_output, list_outputs, repeating
from avi_lib.workbook.progress import training_line


def notebook(path: Path, *printed: str, source: str = "1", tags: tuple[str, ...] = ()) -> Path:
    write_workbook(path, a00_a=[source])
    file = path / "notebooks" / "00_a.ipynb"
    made = nbformat.read(file, as_version=4)
    made.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in printed]
    made.cells[1].metadata.tags = list(tags)
    nbformat.write(made, file)
    return file


def test_times_places_and_the_pieces_in_which_text_came_do_not_count_in_a_notebook(tmp_path: Path):
    one = notebook(tmp_path / "a", "1.5 s, 20 CPU ms\n", f"{tmp_path / 'a'}/x <A at 0x7f0011aa>")
    two = notebook(tmp_path / "b", f"12.25 s, 3 CPU ms\n{tmp_path / 'b'}/x <A at 0x7f22bb33>")
    digests = [digest_output(one, {str(tmp_path / "a"): "RUN"}), digest_output(two, {str(tmp_path / "b"): "RUN"})]
    assert digests[0].repeats == digests[1].repeats
    assert digests[0].sha256 != digests[1].sha256


def test_the_numbers_of_live_widgets_do_not_count_and_what_is_shown_beside_them_does(tmp_path: Path):
    files = []
    for name, number, text in (("a", "0f3e", "bar"), ("b", "91c2", "bar"), ("c", "91c2", "other")):
        file = notebook(tmp_path / name)
        made = nbformat.read(file, as_version=4)
        data = {"application/vnd.jupyter.widget-view+json": {"model_id": number}, "text/plain": text}
        made.cells[1].outputs = [nbformat.v4.new_output("display_data", data=data)]
        nbformat.write(made, file)
        files.append(repeating(file, {}))
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize(
    ("printed", "source", "where"), [("loss 0.5", "1", "1/printed"), ("loss 0.25", "2", "1/source")]
)
def test_what_a_cell_says_otherwise_counts(printed: str, source: str, where: str, tmp_path: Path):
    one, two = notebook(tmp_path / "a", "loss 0.25"), notebook(tmp_path / "b", printed, source=source)
    assert list(differences(repeating(one, {}), repeating(two, {}))) == [where]


def test_a_cell_that_says_of_itself_that_it_varies_is_not_compared(tmp_path: Path):
    one, two = (notebook(tmp_path / name, name, tags=("varies",)) for name in "ab")
    assert repeating(one, {}) == repeating(two, {})


def test_records_and_logs_repeat_without_their_times(tmp_path: Path):
    values = {"train_s": 1.5, "seconds": 2, "times_ms": {"a": 1}, "loss": 0.5, "lip_closure_sd": 2, "parts": [{"s": 1}]}
    (tmp_path / "record.json").write_text(json.dumps(values))
    assert repeating(tmp_path / "record.json", {}) == {"loss": 0.5, "lip_closure_sd": 2, "parts": [{}]}
    (tmp_path / "log.jsonl").write_text('{"step": 10, "loss": 0.5, "s": 3.2}\n{"step": 20, "loss": 0.25, "s": 7}\n')
    assert repeating(tmp_path / "log.jsonl", {}) == [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.25}]


def test_times_in_other_files_count(tmp_path: Path):
    timeline = tmp_path / "timeline.json"
    timeline.write_text('{"at_s": 1.5}')
    before = digest_output(timeline, {})
    timeline.write_text('{"at_s": 2.5}')
    assert digest_output(timeline, {}).repeats != before.repeats and before.repeats == before.sha256


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"cells": 3}', "[" * 100000, "\xff"])
def test_damaged_notebooks_have_a_digest_too(text: str, tmp_path: Path):
    path = tmp_path / "a.ipynb"
    path.write_text(text, "latin-1")
    assert len(digest_output(path, {}).repeats) == 64


def test_differences_name_the_places():
    before = {"losses": {"a": [1, 2, 3]}, "b": 1, "c": [1]}
    after = {"losses": {"a": [1, 9, 3]}, "b": 1, "c": [1, 2], "d": 4}
    assert list(differences(before, after)) == ["c", "d", "losses/a/1"]


def test_files_in_the_making_and_links_are_no_outputs(tmp_path: Path):
    for name in ("a.npz", ".a.0123abcd.npz", ".b.x1y2/files/c", "sub/b", "manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert list(list_outputs(tmp_path, {"manifest.json"})) == ["a.npz", "sub/b"]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 2}', "[" * 100000, '{"plan": ["../x"]}'])
def test_a_damaged_manifest_is_an_input_error_of_one_line(text: str, tmp_path: Path):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_newest_line_of_a_training_is_told(tmp_path: Path):
    (tmp_path / "align").mkdir()
    log = tmp_path / "align" / "log.jsonl"
    assert training_line(tmp_path, 0.0) == ""
    log.write_text(
        '{"step": 10, "epoch": 1.25, "loss": 0.5, "s": 1}\n{"step": 20, "epoch": 2.5, "loss": 0.25, "s": 2}\n{"s'
    )
    assert training_line(tmp_path, 0.0) == "align: step 20, epoch 2.5, loss 0.25"
    assert training_line(tmp_path, log.stat().st_mtime + 1) == ""
