"""Runs: their status is what happened, they go on where they were stopped, and they repeat."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from tiny_workbooks import start, wait_until, write_workbook

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.workbook.manifest import Limits, locked, read_manifest, status_of
from avi_lib.workbook.runs import RunError, resume_run, run_notebooks
from avi_lib.workbook.verify import verify_run
from tools.benchmarks.runs import kernels_of

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at as Linux shows them"),
]

WRITE = "from pathlib import Path\nPath(OUT, 'told').write_text(repr((NAME, COUNT)))"
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
if NAME == 'noise':
    Path(OUT, 'noise').write_bytes(os.urandom(8))
    print(os.urandom(8))
print(OUT, f'{time.time():.2f} s')
Path(OUT, 'record.json').write_text('{}')"""


def repeating_digests(run: Path) -> dict[str, str]:
    stages = read_manifest(run).stages.values()
    return {name: output.repeats for stage in stages for name, output in stage.outputs.items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of a run of `TWO` that nobody stops."""
    root = write_workbook(tmp_path_factory.mktemp("whole"), **TWO)
    return repeating_digests(run_notebooks([], {}, root / "run", root))


def is_alive(process: int) -> bool:
    """Whether a process computes; one that ended and was not asked how does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def states(notebook: Path) -> list[str]:
    return [cell.metadata.papermill.status for cell in nbformat.read(notebook, as_version=4).cells]


def test_a_run_tells_what_decided_it_and_what_it_left(tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=[WRITE])
    given = '007 = "{x}"\n\\ true'
    run = run_notebooks([], {"NAME": given, "COUNT": "3"}, tmp_path / "run {a}", root)
    assert (run / "told").read_text() == repr((given, 3))
    manifest = read_manifest(run)
    stage = manifest.stages["00_a"]
    assert status_of(run) == "finished" and manifest.parameters["00_a"]["NAME"] == given
    assert (stage.cells, stage.device, stage.outputs.keys()) == (3, "cpu", {"00_a.ipynb", "told"})
    assert manifest.packages["papermill"] == "2.7.0" and set(stage.inputs) == {"notebook", "library"}
    assert {path.name for path in run.iterdir()} == {"00_a.ipynb", "told", "manifest.json", ".lock"}


def test_a_kernel_killed_by_a_signal_fails_the_run_at_once_and_the_run_goes_on(tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=[WRITE, KILL_ONCE, "print(1)"])
    with pytest.raises(RunError, match=r"00_a\.ipynb .* killed by SIGKILL in cell 4; .*--resume") as caught:
        run_notebooks([], {}, tmp_path / "run", root)
    assert time.time() - float((tmp_path / "once").read_text()) < 5
    assert status_of(tmp_path / "run") == "failed"
    failure = read_manifest(tmp_path / "run").failure
    assert failure == caught.value.failure and failure is not None
    assert (failure.kind, failure.stage, failure.cell, failure.signal) == ("killed", "00_a", 4, "SIGKILL")
    assert states(tmp_path / "run" / "00_a.ipynb") == ["completed"] * 3 + ["failed", "pending"]
    resume_run(tmp_path / "run", root)
    assert status_of(tmp_path / "run") == "finished" and read_manifest(tmp_path / "run").failure is None
    assert states(tmp_path / "run" / "00_a.ipynb") == ["completed"] * 5


@pytest.mark.parametrize(
    ("numbers", "parameters", "named"),
    [
        (["07"], {}, "07"),
        (["00"], {"NAMES": "b"}, "NAMES"),
        (["00"], {"COUNT": "many"}, "COUNT"),
        (["00"], {"OUT": "x"}, "--output"),
        (["00"], {"NAME": "run:01_b/x"}, "run:01_b/x"),
    ],
)
def test_unknown_numbers_and_parameters_are_refused_before_anything_runs(
    numbers: list[str], parameters: dict[str, str], named: str, tmp_path: Path
):
    root = write_workbook(tmp_path, a00_a=["1"])
    with pytest.raises(InputError, match=named):
        run_notebooks(numbers, parameters, tmp_path / "run", root)
    assert not (tmp_path / "run").exists()


def test_bad_input_inside_a_notebook_is_an_input_error_of_one_line_and_the_notebook_is_kept(tmp_path: Path):
    code = "from avi_lib.errors import InputError\nraise InputError('a', 'b\\nc', 'd')"
    with pytest.raises(InputError, match=r"InputError: expected a; got b in cell 3; open .*00_a\.ipynb") as caught:
        run_notebooks(["00"], {}, tmp_path / "run", write_workbook(tmp_path, a00_a=[code]))
    assert caught.value.exit_code == 2 and len(str(caught.value).splitlines()) == 1
    assert "An Exception was encountered" in (tmp_path / "run" / "00_a.ipynb").read_text()
    assert status_of(tmp_path / "run") == "failed"


def test_runs_started_in_the_same_second_have_folders_of_their_own(tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=["1 / 0"])
    for _ in range(2):
        with pytest.raises(RunError):
            run_notebooks(["00"], {}, None, root)
    assert len(list((root / "outputs").iterdir())) == 2


def test_a_run_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=["1"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder"):
        run_notebooks(["00"], {}, tmp_path / "file" / "run", root)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os._exit(3)", "its kernel ended with exit code 3 in cell 3"),
        ("import sys; sys.exit()", "SystemExit, with cells left to carry out in cell 3"),
        ("import ctypes; ctypes.string_at(0)", "its kernel killed by SIGSEGV in cell 3"),
    ],
)
def test_a_kernel_that_ends_by_itself_is_a_failure(code: str, message: str, tmp_path: Path):
    with pytest.raises(RunError, match=message):
        run_notebooks([], {}, tmp_path / "run", write_workbook(tmp_path, a00_a=[code, "1"]))
    assert status_of(tmp_path / "run") == "failed"


@pytest.mark.parametrize(
    ("limits", "message"),
    [(Limits(cell_s=0.7), "more than 0.7 s for a cell in cell 3"), (Limits(run_s=3.0), "more than 3 s for the run")],
)
def test_a_limit_of_time_ends_cell_and_kernel(limits: Limits, message: str, tmp_path: Path):
    code = "import os, time; open('../pid', 'w').write(str(os.getpid())); time.sleep(60)"
    root = write_workbook(tmp_path, a00_a=[code])
    with pytest.raises(RunError, match=message) as caught:
        run_notebooks([], {}, tmp_path / "run", root, limits=limits)
    assert caught.value.failure is not None and caught.value.failure.kind == "limit"
    assert not is_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_files(
    number: signal.Signals, uninterrupted: dict[str, str], tmp_path: Path
):
    root = write_workbook(tmp_path, **TWO)
    until = tmp_path / "run" / "01_b" / f"{int(number) % 7}.txt"
    with start(root, "--output", str(tmp_path / "run")) as process:
        wait_until(until.exists)
        kernels = kernels_of(process.pid)
        assert len(kernels) == 1
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == ((-9, "") if number == signal.SIGKILL else (130, "avi: stopped\n"))
    wait_until(lambda: not is_alive(kernels[0]), 2)
    assert status_of(tmp_path / "run") == "interrupted"
    stopped = read_manifest(tmp_path / "run")
    if number != signal.SIGKILL:
        assert stopped.failure is not None and (stopped.failure.stage, stopped.failure.cell) == ("01_b", 4)
    nbformat.read(tmp_path / "run" / "01_b.ipynb", as_version=4)
    resume_run(tmp_path / "run", root)
    resumed = read_manifest(tmp_path / "run")
    assert resumed.stages["00_a"] == stopped.stages["00_a"], "a finished stage is not carried out again"
    assert status_of(tmp_path / "run") == "finished"
    assert repeating_digests(tmp_path / "run") == uninterrupted


def test_only_what_depends_on_a_changed_input_is_carried_out_again(tmp_path: Path):
    """`a` reads one.txt, `b` two.txt, and `c` what `b` made."""
    root = write_workbook(tmp_path, 'FILE = "one.txt"\nOUT = ""', a00_a=[COPY])
    write_workbook(root, 'FILE = "two.txt"\nOUT = ""', a01_b=[COPY])
    write_workbook(root, 'MADE = ""\nOUT = ""', a02_c=[COPY.replace("FILE", "MADE")])
    for name in ("one.txt", "two.txt"):
        (root / name).write_text(name)
    run = run_notebooks([], {"MADE": "run:01_b/copy"}, tmp_path / "run", root)
    began = {name: stage.began for name, stage in read_manifest(run).stages.items()}

    def again() -> list[str]:
        resume_run(run, root)
        now = read_manifest(run)
        changed = [name for name in now.plan if now.stages[name].began != began[name]]
        began.update({name: stage.began for name, stage in now.stages.items()})
        return changed

    assert again() == []
    (root / "two.txt").write_text("changed")
    assert again() == ["01_b", "02_c"] and (run / "02_c" / "copy").read_text() == "changed"
    (run / "00_a" / "copy").write_text("damaged")
    assert again() == ["00_a"] and (run / "00_a" / "copy").read_text() == "one.txt"


def test_a_run_that_repeats_is_told_from_one_that_does_not(tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=[WRITE, NOISE])
    found = verify_run(run_notebooks([], {}, tmp_path / "quiet", root), root)
    assert found.repeats and found.files == 3 and list(found.lines()) == ["3 files repeat"]
    run = run_notebooks([], {"NAME": "noise"}, tmp_path / "loud", root)
    (run / "told").write_text("edited")
    found = verify_run(run, root)
    assert found.changed == ["told"]
    assert found.differs == {"00_a.ipynb": ["cell 3/printed"], "noise": ["8 bytes and 8, from byte 0"]}
    assert found.again is not None and Path(found.again, "noise").is_file()


def test_runs_that_prepare_in_one_place_take_turns_and_others_do_not_wait(tmp_path: Path):
    busy = "import time\nbegun = time.time()\ntime.sleep(0.5)\n"
    keep = "from pathlib import Path\nPath(OUT, 'when').write_text(f'{begun} {time.time()}')"
    root = write_workbook(tmp_path, 'PREPARED = "data/prepared"\nOUT = ""', a00_a=[busy + keep])
    runs = [start(root, "--output", f"run{number}") for number in range(2)]
    assert [run.communicate(timeout=60)[1] for run in runs] == ["", ""]
    assert [status_of(root / f"run{number}") for number in range(2)] == ["finished"] * 2
    times = sorted([float(s) for s in (root / f"run{n}" / "when").read_text().split()] for n in range(2))
    assert times[0][1] < times[1][0]


def test_a_run_that_is_being_worked_on_or_that_is_none_is_left_alone(tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=["1 / 0"])
    with pytest.raises(RunError):
        run_notebooks([], {}, tmp_path / "run", root)
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    holder = "import sys, time; from pathlib import Path; from avi_lib.workbook.manifest import locked\n"
    holder += "with locked(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "\n"
        assert status_of(tmp_path / "run") == "running"
        with pytest.raises(InputError, match="which is running"):
            resume_run(tmp_path / "run", root)
        process.kill()
    assert status_of(tmp_path / "run") == "failed"
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before
    with pytest.raises(InputError, match="an empty folder"):
        run_notebooks([], {}, tmp_path / "run", root)
    with pytest.raises(InputError, match="the folder of a run"):
        resume_run(tmp_path / "notebooks", root)
    with pytest.raises(InputError, match="a finished run"):
        verify_run(tmp_path / "run", root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": {"LD_PRELOAD": "x.so"}}, "LD_PRELOAD"),
        ({"plan": ["../x"]}, "notebook numbers among 00"),
        ({"parameters": {"00_a": {"NAME": 1, "COUNT": 1, "OUT": "x"}}}, "the parameters 00_a had"),
    ],
)
def test_a_stranger_s_manifest_decides_no_more_than_parameters(change: dict, message: str, tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=["1 / 0"])
    with pytest.raises(RunError):
        run_notebooks([], {}, tmp_path / "run", root)
    path = tmp_path / "run" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        resume_run(tmp_path / "run", root)


def test_a_run_without_its_notebooks_is_refused(tmp_path: Path):
    root = write_workbook(tmp_path, a00_a=["1 / 0"], a01_b=["1"])
    with pytest.raises(RunError):
        run_notebooks(["00"], {}, tmp_path / "run", root)
    write_workbook(root, "OTHER = 1", a00_a=["1"])
    with pytest.raises(InputError, match="the parameters 00_a had"):
        resume_run(tmp_path / "run", root)
    (root / "notebooks" / "00_a.ipynb").rename(root / "notebooks" / "00_b.ipynb")
    with pytest.raises(InputError, match="the notebooks 00_a"):
        resume_run(tmp_path / "run", root)


def test_the_command_prints_one_object_and_its_status_is_the_run_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(write_workbook(tmp_path, a00_a=["1 / COUNT", WRITE]))
    assert main(["run", "00", "-p", "COUNT=0", "--output", "bad", "--json"]) == 1
    told = capsys.readouterr()
    failed = json.loads(told.out)
    assert failed["status"] == "failed" and failed["failure"]["cell"] == 3
    assert "ZeroDivisionError" in told.err and len(told.err.splitlines()) == 1
    assert main(["run", "--output", "good", "--json", "--limit", "60", "--cell-limit", "30"]) == 0
    told = capsys.readouterr()
    assert told.err == "" and json.loads(told.out)["stages"]["00_a"]["outputs"] == ["00_a.ipynb", "told"]
    assert main(["verify", "good", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repeats"] is True
    assert main(["run", "--resume", "good"]) == 0
    assert capsys.readouterr().out == f"run: {tmp_path / 'good'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--resume", "x", "-p", "COUNT=1"], "--resume RUN alone"),
        (["run", "--resume", "x"], "the folder of a run"),
        (["run", "--cell-limit", "0"], "cell_s"),
        (["run", "--limit", "nan"], "run_s"),
        (["run", "--profile", "smokey"], "did you mean smoke?"),
        (["verify", "x"], "the folder of a run"),
    ],
)
def test_a_bad_argument_is_one_line_and_nothing_runs(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(write_workbook(tmp_path, a00_a=["1"]))
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert message in told.err and len(told.err.splitlines()) == 1 and told.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notebooks", "pyproject.toml"]


def test_a_run_holds_its_lock_only_while_it_lives(tmp_path: Path):
    with locked(tmp_path), pytest.raises(InputError, match="nobody works on"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
