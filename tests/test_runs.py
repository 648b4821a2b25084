"""Runs: parameters, status, resuming and repeating."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from tiny_workbooks import is_alive, kernels_of, start, wait_until, write_workbook

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.workbook import run as runs
from avi_lib.workbook.notebook import RunError

ROOT = Path(__file__).resolve().parents[1]
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at as Linux shows them")


def with_kernels(test: Callable[..., None]) -> Callable[..., None]:
    """A test that starts and watches kernels."""
    return needs_linux(pytest.mark.processes(test))


WRITE = "from pathlib import Path\nPath(OUT, 'made').write_text(repr((NAME, COUNT)))"
STEPS = """import time
for number in range(8):
    Path(OUT, f'{number}.txt').write_text(str(number))
    time.sleep(0.05)
print(OUT)"""
COPY = "from pathlib import Path\nPath(OUT, 'copy').write_bytes(Path('..', FILE).read_bytes())"
TWO = {"a00_a": [WRITE, "print('a')"], "a01_b": [WRITE, STEPS]}
KILL_ONCE = """import os, time
once = Path(OUT, '../once')
if not once.exists():
    once.write_text(str(time.time()))
    os.kill(os.getpid(), 9)"""
NOISE = """import os, time
from avi_lib.workbook.run import record
if NAME == 'noise':
    Path(OUT, 'noise').write_bytes(os.urandom(8))
    print(os.urandom(8))
print(OUT, f'{time.time():.2f} s')
record(OUT, loss=0.5)"""


def status(run: Path) -> str:
    return runs.describe(run)["status"]


def repeating_files(run: Path) -> dict[str, Any]:
    names = [name for stage in runs.read_manifest(run)["stages"].values() for name in stage["outputs"]]
    return {name: runs.repeating(run / name, {run: "RUN"}) for name in names}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of `TWO` leaves that nobody stops."""
    root = write_workbook(tmp_path_factory.mktemp("whole"), **TWO)
    return repeating_files(runs.run_notebooks([], {}, root / "run", root))


@with_kernels
def test_a_kernel_killed_by_a_signal_fails_the_run_at_once_and_the_run_goes_on(tmp_path: Path):
    root, run = write_workbook(tmp_path, a00_a=[WRITE, KILL_ONCE, "print(1)"]), tmp_path / "run {a}"
    given = '007 = "{x}"\n\\ true'
    with pytest.raises(RunError, match=r"00_a\.ipynb .* killed by SIGKILL .* in cell 4; .*--resume") as caught:
        runs.run_notebooks([], {"NAME": given, "COUNT": "3"}, run, root)
    assert time.time() - float((tmp_path / "once").read_text()) < 5
    assert status(run) == "failed" and runs.read_manifest(run)["failure"] == caught.value.failure
    failure = {"kind": "killed", "stage": "00_a", "cell": 4, "signal": "SIGKILL"}
    assert caught.value.failure | failure == caught.value.failure
    nbformat.read(run / "00_a.ipynb", as_version=4)
    runs.resume_run(run, root)
    manifest = runs.read_manifest(run)
    stage = manifest["stages"]["00_a"]
    assert status(run) == "finished" and manifest["failure"] is None
    assert (run / "made").read_text() == repr((given, 3)) and manifest["parameters"]["00_a"]["NAME"] == given
    assert stage["cells"] == 5 and stage["outputs"].keys() == {"00_a.ipynb", "made"}
    assert manifest["packages"]["papermill"] == "2.7.0" and stage["inputs"].keys() >= {"notebook", "library"}
    assert {path.name for path in run.iterdir()} == {"00_a.ipynb", "made", "manifest.json", ".lock"}


@with_kernels
@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("import os; os._exit(3)", "ended", "its kernel ended with exit code 3 in cell 3"),
        ("import sys; sys.exit()", "error", "SystemExit, with cells left to carry out in cell 3"),
        ("import ctypes; ctypes.string_at(0)", "killed", "its kernel killed by SIGSEGV in cell 3"),
        ("import time; time.sleep(60)", "limit", "more than 0.7 s for a cell in cell 3"),
        (
            "from avi_lib.errors import InputError\nraise InputError('a', 'b\\nc', 'd')",
            "error",
            "expected a; got b c; d in",
        ),
    ],
)
def test_a_cell_that_does_not_end_fails_the_run_and_leaves_its_notebook_and_no_kernel(code, kind, message, tmp_path):
    root = write_workbook(tmp_path, a00_a=[f"import os; open('../pid', 'w').write(str(os.getpid()))\n{code}", "1"])
    limit_s = 0.7 if kind == "limit" else 60.0
    with pytest.raises(RunError, match=message) as caught:
        runs.run_notebooks([], {}, None, root, cell_limit_s=limit_s)
    run = caught.value.run
    assert len(str(caught.value).splitlines()) == 1 and caught.value.failure["kind"] == kind
    assert caught.value.exit_code == (2 if "InputError" in code else 1)
    assert status(run) == "failed" and run.parent == root / "outputs"
    nbformat.read(run / "00_a.ipynb", as_version=4)
    assert not is_alive(int((tmp_path / "pid").read_text()))


@with_kernels
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_files(number, uninterrupted, tmp_path):
    root, run = write_workbook(tmp_path, **TWO), tmp_path / "run"
    with start(root, "--output", str(run)) as process:
        wait_until((run / "01_b" / f"{int(number) % 7}.txt").exists)
        kernels = kernels_of(process.pid)
        assert len(kernels) == 1 and status(run) == "running"
        with pytest.raises(InputError, match="which is running"):
            runs.resume_run(run, root)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    last = "01_b begins" if number == signal.SIGKILL else "stopped"
    assert process.returncode == (-9 if number == signal.SIGKILL else 130) and said.splitlines()[-1] == f"avi: {last}"
    wait_until(lambda: not is_alive(kernels[0]), 4)
    stopped = runs.read_manifest(run)
    assert status(run) == "interrupted"
    if number != signal.SIGKILL:
        assert (stopped["failure"]["stage"], stopped["failure"]["cell"]) == ("01_b", 4)
    nbformat.read(run / "01_b.ipynb", as_version=4)
    runs.resume_run(run, root)
    assert runs.read_manifest(run)["stages"]["00_a"] == stopped["stages"]["00_a"], "a finished stage is left as it is"
    assert status(run) == "finished" and repeating_files(run) == uninterrupted


@with_kernels
def test_only_what_depends_on_a_changed_input_is_carried_out_again(tmp_path: Path):
    """`a` reads one.txt, `b` two.txt, and `c` what `b` made."""
    root = write_workbook(tmp_path, 'FILE = "one.txt"\nOUT = ""', a00_a=[COPY])
    write_workbook(root, 'FILE = "two.txt"\nOUT = ""', a01_b=[COPY])
    write_workbook(root, 'MADE = ""\nOUT = ""', a02_c=[COPY.replace("FILE", "MADE")])
    for name in ("one.txt", "two.txt"):
        (root / name).write_text(name)
    run = runs.run_notebooks([], {"MADE": "run:01_b/copy"}, tmp_path / "run", root)

    def again() -> list[str]:
        before = runs.read_manifest(run)["stages"]
        runs.resume_run(run, root)
        return [
            name for name, stage in runs.read_manifest(run)["stages"].items() if stage["began"] != before[name]["began"]
        ]

    assert again() == []
    (root / "two.txt").write_text("changed")
    (run / "00_a" / "copy").write_text("damaged")
    assert again() == ["00_a", "01_b", "02_c"]
    assert (run / "02_c" / "copy").read_text() == "changed" and (run / "00_a" / "copy").read_text() == "one.txt"
    (root / "one.txt").write_text("changed")
    assert again() == ["00_a"]


@with_kernels
def test_runs_that_prepare_in_one_place_take_turns_and_wait_no_longer_than_their_limit(tmp_path: Path):
    busy = "import time\nbegun = time.time()\ntime.sleep(0.5)\n"
    keep = "from pathlib import Path\nPath(OUT, 'when').write_text(f'{begun} {time.time()}')"
    root = write_workbook(tmp_path, 'PREPARED = "data/prepared"\nOUT = ""', a00_a=[busy + keep])
    with start(root, "--output", "run0") as process:
        wait_until((root / "data" / ".turn.lock").exists)
        with pytest.raises(
            RunError, match=r"more than 0\.01 s for the run, in which it waited .* before its first cell"
        ):
            runs.run_notebooks([], {}, root / "late", root, limit_s=0.01)
        run = runs.run_notebooks([], {}, root / "run1", root)
        assert process.communicate(timeout=60)[1].splitlines()[0] == "avi: 00_a begins"
        assert status(root / "run0") == status(run) == "finished"
    times = sorted([float(s) for s in (root / f"run{n}" / "when").read_text().split()] for n in range(2))
    assert times[0][1] < times[1][0]


@with_kernels
def test_a_manifest_of_other_notebooks_or_damaged_is_refused_and_kept(tmp_path: Path):
    root, run = write_workbook(tmp_path, a00_a=["1 / 0"]), tmp_path / "run"
    with pytest.raises(RunError, match="more than the time of the run"):
        runs.run_notebooks([], {}, run, root, limit_s=0.01)
    whole = (run / "manifest.json").read_text()
    for change, message in (
        ({"environment": {"LD_PRELOAD": "x.so"}}, "LD_PRELOAD"),
        ({"parameters": {"../x": {}}}, "notebook numbers among 00"),
        ({"parameters": {"00_a": {"NAME": 1, "COUNT": 1, "OUT": "x"}}}, "with the parameters they had"),
        ({"parameters": {"00_b": {}}}, "the notebooks of the run"),
        ({"format": 1}, "a whole manifest"),
    ):
        (run / "manifest.json").write_text(json.dumps(json.loads(whole) | change))
        with pytest.raises(InputError, match=message):
            runs.resume_run(run, root)
    texts = ["", "{}", "[]", "null", '{"format": 2}', "[" * 100000]
    texts += [json.dumps(json.loads(whole) | {"stages": {"00_a": {"outputs": {"made": 1}}}})]
    for text in texts:
        (run / "manifest.json").write_text(text)
        with pytest.raises(InputError) as caught:
            runs.read_manifest(run)
        assert len(str(caught.value).splitlines()) == 1 and "Error" not in str(caught.value)
    (run / "manifest.json").write_text(whole)
    for folder, message in ((run, "an empty folder"), (run / "manifest.json" / "run", "folder")):
        with pytest.raises(InputError, match=message):
            runs.run_notebooks([], {}, folder, root)
    with pytest.raises(InputError, match="the folder of a run"):
        runs.resume_run(tmp_path / "notebooks", root)
    with pytest.raises(InputError, match="a finished run"):
        runs.verify_run(run, root)
    assert (run / "manifest.json").read_text() == whole


@with_kernels
def test_the_command_prints_one_object_and_its_status_is_the_run_s(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(write_workbook(tmp_path, a00_a=["1 / COUNT", WRITE, NOISE]))
    assert main(["run", "00", "-p", "COUNT=0", "--output", "bad", "--json"]) == 1
    printed = capsys.readouterr()
    failed = json.loads(printed.out)
    assert failed["status"] == "failed" and failed["failure"]["cell"] == 3
    assert "ZeroDivisionError" in printed.err and len(printed.err.splitlines()) == 1
    assert main(["run", "--output", "good", "--json", "--limit", "60", "--cell-limit", "30"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out)["stages"]["00_a"]["outputs"] == ["00_a.ipynb", "made", "record.json"]
    assert main(["verify", "good"]) == 0
    assert capsys.readouterr().out == "3 of 3 files repeat\n"
    assert main(["run", "--resume", "good"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("00_a: ") and printed[0].endswith("; made")
    assert printed[1] == f"run: {tmp_path / 'good'}"
    stage = runs.read_manifest(tmp_path / "good")["stages"]["00_a"]
    assert stage["device"].startswith("cpu") and stage["threads"] >= 1
    assert main(["run", "-p", "NAME=noise", "--output", "loud"]) == 0
    (tmp_path / "loud" / "made").write_text("edited")
    capsys.readouterr()
    assert main(["verify", "loud", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["changed"] == ["made"] and found["differs"].keys() == {"00_a.ipynb", "noise"}
    assert found["differs"]["noise"] == ["8 bytes and 8, from byte 0"]
    assert [place.partition(":")[0] for place in found["differs"]["00_a.ipynb"]] == ["4/printed"]
    assert Path(found["again"], "noise").is_file() and found["conditions"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *[(["run", "07"], "07"), (["run", "7"], "two digits"), (["run", "-p", "NAMES=b"], "did you mean NAME?")],
        *[(["run", "-p", "COUNT=many"], "COUNT"), (["run", "-p", "OUT=x"], "--output")],
        *[(["run", "-p", "NAME=run:01_b/x"], "run:01_b/x"), (["run", "--resume", "x"], "the folder of a run")],
        *[(["run", "--resume", "x", "-p", "COUNT=1"], "--resume RUN alone"), (["verify", "x"], "the folder of a run")],
        *[
            (["run", "--cell-limit", "0"], "above 0 s; got 0.0, inf"),
            (["run", "--limit", "nan"], "above 0 s; got inf, nan"),
        ],
        (["run", "--profile", "smokey"], "did you mean smoke?"),
    ],
)
@with_kernels
def test_a_bad_argument_is_one_line_and_nothing_runs(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(write_workbook(tmp_path, a00_a=["1"]))
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notebooks", "pyproject.toml"]


def cell(folder: Path, outputs: list[Any], source: str = "1", tags: tuple[str, ...] = ()) -> Any:
    """What of a notebook with these outputs must repeat."""
    file = write_workbook(folder, a00_a=[source]) / "notebooks" / "00_a.ipynb"
    made = nbformat.read(file, as_version=4)
    made.cells[1].outputs = outputs
    made.cells[1].metadata.tags = list(tags)
    nbformat.write(made, file)
    return runs.repeating(file, {folder: "RUN"})


def printed(*texts: str) -> list[Any]:
    return [nbformat.v4.new_output("stream", name="stdout", text=text) for text in texts]


def shown(number: str, text: str) -> list[Any]:
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": number}, "text/plain": text}
    return [nbformat.v4.new_output("display_data", data=data)]


def test_a_cell_differs_by_what_it_is_prints_or_shows_but_not_by_times_places_and_addresses(tmp_path: Path):
    one = cell(tmp_path / "a", printed("1.5 s, 20 CPU ms\n", f"{tmp_path / 'a'}/x <A at 0x7f0011aa>"))
    assert one == cell(tmp_path / "b", printed(f"12.25 s, 3 CPU ms\n{tmp_path / 'b'}/x <A at 0x7f22bb33>"))

    def places(one: list[Any], two: list[Any], source: str = "1", tags: tuple[str, ...] = ()) -> list[str]:
        pair = cell(tmp_path / "a", one, tags=tags), cell(tmp_path / "b", two, source, tags)
        return [place.partition(":")[0] for place in runs.differences(*pair)]

    assert places(printed("loss 0.25"), printed("loss 0.5")) == ["1/printed"]
    assert places(printed("loss 0.25"), printed("loss 0.25"), "2") == ["1/source"]
    assert places(shown("0f3e", "bar"), shown("91c2", "bar")) == []
    assert places(shown("0f3e", "bar"), shown("0f3e", "other")) == ["1/shown/0/text/plain/0"]
    assert places(printed("a"), printed("b"), tags=("varies",)) == []


def test_records_and_logs_repeat_without_their_times_and_other_files_as_they_are(tmp_path: Path):
    values = {"train_s": 1.5, "seconds": 2, "times_ms": {"a": 1}, "loss": 0.5, "lip_closure_sd": 2, "parts": [{"s": 1}]}
    (tmp_path / "record.json").write_text(json.dumps(values))
    assert runs.repeating(tmp_path / "record.json", {}) == [{"loss": 0.5, "lip_closure_sd": 2, "parts": [{}]}]
    (tmp_path / "log.jsonl").write_text('{"step": 10, "loss": 0.5, "s": 3.2}\n{"step": 20, "loss": 0.25, "s": 7}\n')
    assert runs.repeating(tmp_path / "log.jsonl", {}) == [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.25}]
    (tmp_path / "timeline.json").write_text('{"at_s": 1.5}')
    assert runs.repeating(tmp_path / "timeline.json", {}) == b'{"at_s": 1.5}'


def test_damaged_notebooks_are_compared_as_texts(tmp_path: Path):
    for text in ("", "{", "[1, 2]", '{"cells": 3}', "[" * 100000, "\xff"):
        (tmp_path / "a.ipynb").write_text(text, "utf-8")
        assert runs.repeating(tmp_path / "a.ipynb", {}) == text


def test_differences_name_the_places():
    before = {"losses": {"a": [1, 2, 3]}, "b": 1, "c": [1]}
    after = {"losses": {"a": [1, 9, 3]}, "b": 1, "c": [1, 2], "d": 4}
    expected = ["c: '[1]', now '[1, 2]'", "d: 'None', now '4'", "losses/a/1: '2', now '9'"]
    assert list(runs.differences(before, after)) == expected
    assert list(runs.differences(b"abc", b"abxy")) == ["3 bytes and 4, from byte 2"]


def test_records_add_up_and_say_what_they_were_computed_with(tmp_path: Path):
    runs.record(tmp_path, a=1)
    runs.record(tmp_path, b=2.5, a=3)
    found = json.loads((tmp_path / "record.json").read_text())
    assert (found.pop("device")[:3], found.pop("threads") >= 1, found) == ("cpu", True, {"a": 3, "b": 2.5})


# Parameters

DEFAULTS = {"00_a": {"SEED": 0, "SIZE": 512, "PROFILE": "smoke", "NAME": "a", "OUT": "x"}, "01_b": {"NAME": "b"}}
TEXTS = ["007", "true", "1e3", "", "nullify", "a = 'b'", '"quoted"', "None|str", "ü\n"]
NUMBERS = [("7", 1, 7), ("-3", 1, -3), ("0.5", 1.0, 0.5), ("2", 1.0, 2.0), ("3", None, 3), ("null", None, None)]
OTHERS = [("true", False, True), ("False", True, False), ("[1, 2]", [], [1, 2]), ('{"a": "b"}', {}, {"a": "b"})]


@pytest.mark.parametrize(("text", "default", "value"), [*[(t, "a default", t) for t in TEXTS], *NUMBERS, *OTHERS])
def test_a_text_becomes_a_value_of_its_default_s_kind(text: str, default: object, value: object):
    found = runs.value_of("NAME", text, default)
    assert found == value and type(found) is type(value)


def test_a_value_of_another_kind_is_refused():
    wrong: list[tuple[object, str]] = [(1, "many"), (1, "1.5"), (1, "true"), (1, ""), (1.0, "nan"), (1.0, "1e999")]
    wrong += [(1.0, "false"), (1.0, "9" * 400), (True, "1"), ([], "{}"), ([], "[" * 100000), ({}, "[]")]
    wrong += [(default, "null") for default in (1, 1.0, True, [], {}, "a text")] + [("a text", "None"), (None, "a")]
    kinds = {int: "whole number", float: "a number", bool: "true or false", list: "list", dict: "object", str: "text"}
    for default, text in wrong:
        with pytest.raises(InputError, match=f"expected .*{kinds.get(type(default), 'a value')}.* for COUNT"):
            runs.value_of("COUNT", text, default)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *[("SIZE", "6", "64"), ("SIZE", "65", "multiple of 2"), ("SEED", "-1", "0"), ("PROFILE", "smokey", "n smoke")],
        *[("NAMES", "1", r"got NAMES; did you mean NAME\?"), ("seed", "1", r"got seed; did you mean SEED\?")],
        *[("SIEZ", "1", r"did you mean SIZE\?"), ("LEARNING_RATE", "1", r"known are NAME, PROFILE, SEED, SIZE$")],
    ],
)
def test_a_name_that_is_unknown_or_a_value_that_does_not_fit_is_answered_with_what_does(name, text, message):
    with pytest.raises(InputError, match=message):
        runs.choose(DEFAULTS, {name: text})


def test_the_profile_goes_to_the_notebooks_that_have_one():
    values = runs.choose(DEFAULTS, {"NAME": "7"}, "full")
    assert values == {"00_a": DEFAULTS["00_a"] | {"PROFILE": "full", "NAME": "7"}, "01_b": {"NAME": "7"}}
    with pytest.raises(InputError, match="one profile"):
        runs.choose(DEFAULTS, {"PROFILE": "smoke"}, "full")


def test_parameters_are_read_without_running_anything(tmp_path: Path):
    root = write_workbook(tmp_path, "A: int = 1  # one\nB = -2.5\nC = ['x', {'y': None}]", a00_a=["1 / 0"], a07_b=[])
    assert runs.find_stages(root, ["00"]) == {"00_a": {"A": 1, "B": -2.5, "C": ["x", {"y": None}]}}
    with pytest.raises(InputError, match="did you mean 07"):
        runs.find_stages(root, ["7"])
    for code in ("A = open('x')", "A = (", "A = " + "-" * 100000 + "1", "A = __import__('os')"):
        write_workbook(tmp_path, code, a00_a=[])
        with pytest.raises(InputError, match="NAME = literal"):
            runs.find_stages(root)
    for text in ("", "{}", "[1]", '{"cells": [{"source": 3}]}', "[" * 100000, '{"cells": 1}'):
        (root / "notebooks" / "00_a.ipynb").write_text(text)
        with pytest.raises(InputError, match="a notebook"):
            runs.find_stages(root)


def test_stages_take_over_only_what_stages_before_them_make():
    own = {"00_a": {"NAME": "a"}, "01_b": {"OTHER": ""}}
    with pytest.raises(InputError, match="a stage before 00_a"):
        runs.choose(own, {"NAME": "run:01_b/x"})
    assert runs.choose(own, {"OTHER": "run:00_a/x"})["01_b"]["OTHER"] == "run:00_a/x"


def test_every_notebook_declares_an_out_and_the_prior_is_trained_with_the_generator_of_its_run():
    stages = runs.find_stages(ROOT)
    assert all(values["OUT"].startswith("outputs/") for values in stages.values())
    taken = "run:03_talking_generator/talking.safetensors"
    prior = {name: stages[name] for name in stages if name[:2] in ("03", "04")}
    name = [*prior][1]
    assert runs.choose(prior, {})[name]["GENERATOR"] == taken
    assert runs.choose(prior, {"GENERATOR": ""})[name]["GENERATOR"] == ""
    assert runs.choose({name: prior[name]}, {})[name]["GENERATOR"] == ""


FIGURES = """import json
from pathlib import Path
import matplotlib.pyplot as plt
from avi_lib.workbook.run import record
Path(OUT, 'train').mkdir()
lines = [json.dumps({'step': step, 'losses': {'all': COUNT / (step + 1)}}) for step in range(5)]
Path(OUT, 'train', 'log.jsonl').write_text('\\n'.join(lines))
figure, axes = plt.subplots(figsize=(2, 1))
axes.plot([0, COUNT])
display(figure)
plt.close(figure)
record(OUT, score=COUNT / 2, parts={'a': COUNT}, name=NAME)"""


@pytest.mark.processes
def test_a_parameter_with_several_values_is_a_run_each_and_runs_are_compared(tmp_path, monkeypatch, capsys):
    root = write_workbook(tmp_path, a00_a=[FIGURES])
    monkeypatch.chdir(root)
    assert main(["run", "00", "-p", "COUNT=1,3", "-p", "NAME=a, b", "--output", str(root / "swept"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(run).name for run in found["runs"]] == ["COUNT=1", "COUNT=3"]
    assert found["settings"]["COUNT"] == [1, 3] and "NAME" not in found["settings"]
    assert found["figures"]["score"] == [0.5, 1.5] and found["figures"]["parts a"] == [1, 3]
    page = (root / "swept" / "comparison.html").read_text("utf-8")
    assert page.count("data:image/png") == 3 and "losses all" in page  # a curve of the training, a picture of each run
    assert main(["compare", *found["runs"], "--report", str(root / "both.html")]) == 0
    printed = capsys.readouterr().out
    assert "COUNT=3" in printed and "score" in printed and (root / "both.html").read_text("utf-8") == page
    for wrong in (["compare", found["runs"][0]], ["run", "00", "-p", "COUNT=1,x"], ["compare", str(root), str(root)]):
        assert main(wrong) == 2
