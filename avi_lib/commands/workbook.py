"""The commands `avi prepare`, `avi run` and `avi verify`: corpora, runs of the notebooks, and their repetition."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from avi_lib.corpus.adapters import ADAPTERS
from avi_lib.errors import InputError


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add these commands to the parser of `avi`."""
    _add_prepare(commands)
    _add_run(commands)
    _add_verify(commands)


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    prepare = commands.add_parser("prepare", help="make a prepared corpus of raw recordings")
    prepare.add_argument("adapter", metavar="ADAPTER", help="layout of the source: " + ", ".join(ADAPTERS))
    prepare.add_argument("source", type=Path, metavar="SOURCE", help="folder of the raw corpus")
    prepare.add_argument("destination", type=Path, metavar="DEST", help="folder of the prepared corpus")
    prepare.add_argument("--profile", choices=("smoke", "full"), help="take scripts and texts from a profile")
    prepare.add_argument("--encoder", metavar="NAME-or-PATH", help="frozen speech encoder (default whisper-tiny-en)")
    prepare.add_argument("--scripts", type=int, metavar="N", help="scripts a clip, where no motion is real (default 3)")
    prepare.add_argument("--texts", type=int, metavar="N", help="sentences a script (default 4)")
    prepare.add_argument("--limit", type=int, metavar="N", help="prepare so many recordings only")
    prepare.add_argument("--seed", type=int, metavar="N", help="source of every random choice (default 0)")
    prepare.add_argument("--workers", type=int, metavar="N", help="processes at a time (default: every processor)")
    prepare.add_argument("--json", action="store_true", help="print the health report as JSON and nothing else")
    prepare.set_defaults(command=_prepare)


def _prepare(options: argparse.Namespace) -> int:
    from avi_lib.corpus.prepare import prepare
    from avi_lib.settings import PrepareSettings, profile, validated

    given = {name: getattr(options, name) for name in ("encoder", "scripts", "texts", "limit", "seed")}
    base = profile(options.profile).prepare.model_dump() if options.profile else {}
    settings = validated(PrepareSettings, **base | {name: value for name, value in given.items() if value is not None})
    health = prepare(options.adapter, options.source, options.destination, settings, workers=options.workers)
    print(json.dumps(health.as_dict(), ensure_ascii=False) if options.json else "\n".join(health.lines()))
    return 0


def _add_run(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser("run", help="execute numbered notebooks through papermill")
    run.add_argument("numbers", nargs="*", metavar="NN", help="numbers of the notebooks, such as 00; all when left out")
    run.add_argument("--profile", metavar="smoke|full", help="size of the run: PROFILE of all notebooks that have it")
    run.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="set a parameter")
    run.add_argument("--output", type=Path, metavar="FOLDER", help="the run's folder (default outputs/<time>)")
    run.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    run.add_argument("--cell-limit", type=float, metavar="S", help="seconds that a cell may take")
    run.add_argument("--limit", type=float, metavar="S", help="seconds that the whole run may take")
    run.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from avi_lib.settings import validated
    from avi_lib.workbook.manifest import Limits, describe
    from avi_lib.workbook.runs import RunError, resume_run, run_notebooks

    limits = validated(Limits, cell_s=options.cell_limit, run_s=options.limit)
    chosen = {"NN": options.numbers, "--profile": options.profile, "-p": options.parameters, "--output": options.output}
    if options.resume is not None and any(chosen.values()):
        got = ", ".join(name for name, value in chosen.items() if value)
        raise InputError("--resume RUN alone", f"{got} beside it", "a run goes on with what it began with")
    try:
        if options.resume is not None:
            run = resume_run(options.resume, limits=limits)
        else:
            parameters = dict(map(_assignment, options.parameters))
            run = run_notebooks(options.numbers, parameters, options.output, profile=options.profile, limits=limits)
    except RunError as error:
        if options.json and error.run is not None:
            print(json.dumps(describe(error.run), ensure_ascii=False))
        raise
    print(json.dumps(describe(run), ensure_ascii=False) if options.json else f"run: {run}")
    return 0


def _add_verify(commands: argparse._SubParsersAction) -> None:
    verify = commands.add_parser("verify", help="repeat a run and say what differs")
    verify.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    verify.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    verify.set_defaults(command=_verify)


def _verify(options: argparse.Namespace) -> int:
    from avi_lib.workbook.verify import verify_run

    found = verify_run(options.run)
    print(json.dumps(found.as_dict(), ensure_ascii=False) if options.json else "\n".join(found.lines()))
    return 0 if found.repeats else 1


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError("a parameter as NAME=VALUE", text, "write for example -p SEED=7")
    return name, value
