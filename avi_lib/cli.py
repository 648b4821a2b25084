"""The `avi` command: thin functions over the library.

    avi talk my.wav --instruction "She is furious." -o angry.mp4
    avi export motion.npz motion.csv
    avi instruct my.wav
    avi track my.mp4 -o motion.csv
    avi models · avi doctor · avi run 00 · avi verify outputs/RUN

Exit 0 when done; 2 for a bad argument or input, with one line on stderr; 1 when something else stopped the work.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from avi_lib import __version__
from avi_lib.corpus.adapters import ADAPTERS
from avi_lib.errors import AviError, InputError

if TYPE_CHECKING:
    from avi_lib.assets.manifest import Model


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"avi: {message}; see `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a mistyped command line raises SystemExit with code 2."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return _stoppable(command, options)
    except AviError as error:
        print(f"avi: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("avi: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; nothing is left to flush
        return 141
    except OSError as error:
        print(f"avi: {error.strerror or error}: {error.filename or 'standard output'}", file=sys.stderr)
        return 2


def _stoppable(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command so that SIGTERM ends it as Ctrl-C does: files in the making are removed."""
    if threading.current_thread() is not threading.main_thread():
        return command(options)

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = command(options)
        sys.stdout.flush()
        return code
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="avi", description="Speech to instruction to expressive 3D talking face.")
    parser.add_argument("--version", action="version", version=f"avi {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    makers = (_add_talk, _add_instruct, _add_track, _add_prepare, _add_export)
    for add in (*makers, _add_run, _add_verify, _add_models, _add_doctor):
        add(commands)
    return parser


def _add_talk(commands: argparse._SubParsersAction) -> None:
    talk = commands.add_parser("talk", help="make a talking face from a recording and an instruction")
    talk.add_argument("speech", nargs="+", type=Path, metavar="SPEECH", help="recordings, videos, or folders of them")
    talk.add_argument("-o", "--output", type=Path, metavar="OUT.mp4", help="the video; a folder for several recordings")
    talk.add_argument("--instruction", metavar="TEXT", help="what the face should do; else written from the speech")
    talk.add_argument("--text", metavar="TRANSCRIPT", help="what is said: aligned for sharper lips")
    talk.add_argument(
        "--generator",
        default="learned",
        metavar="learned|performer|PATH",
        help="what makes the motion: shipped weights (default), rules, or your own weights",
    )
    talk.add_argument("--encoder", metavar="NAME-or-PATH", help="speech encoder of the learned generator")
    talk.add_argument("--timeline", type=Path, metavar="FILE.json", help="instructions with times, instead of one")
    talk.add_argument(
        "--prior",
        default="learned",
        metavar="learned|performer|PATH",
        help="what makes a style of the sentence: shipped weights (default), the performer, or your own weights",
    )
    talk.add_argument("--text-encoder", metavar="NAME-or-PATH", help="text encoder of the prior")
    talk.add_argument(
        "--instructor", default="learned", metavar="learned|PATH", help="what writes where no instruction is given"
    )
    talk.add_argument("--language-model", metavar="NAME-or-PATH", help="language model of the instructor")
    talk.add_argument("--samples", type=int, default=1, metavar="N", help="so many faces, of the seeds that follow")
    talk.add_argument("--guidance", type=float, metavar="W", help="1 follows the sentence (default)")
    talk.add_argument("--steps", type=int, metavar="N", help="denoising steps (default 20)")
    talk.add_argument("--sampler", metavar="ddim|dpm++|ddpm", help="how the prior denoises (default ddim)")
    talk.add_argument("--candidates", type=int, metavar="N", help="styles drawn, of which the nearest is taken")
    talk.add_argument("--seed", type=int, default=0, metavar="N", help="source of every random choice (default 0)")
    talk.add_argument("--head", default="open", metavar="NAME-or-PATH", help="the head to drive (default open)")
    talk.add_argument("--motion", type=Path, metavar="OUT.{npz,csv}", help="also write the motion")
    talk.add_argument("--no-video", action="store_true", help="write no video")
    talk.add_argument("--size", type=int, default=512, metavar="PIXELS", help="width and height (default 512)")
    talk.add_argument("--renderer", choices=("auto", "moderngl", "numba"), default="auto", help="default auto")
    talk.add_argument("--json", action="store_true", help="print one JSON object a recording and nothing else")
    talk.set_defaults(command=_talk)


def _talk(options: argparse.Namespace) -> int:
    from avi_lib.batch import talk_all
    from avi_lib.settings import RenderSettings, SampleSettings, TalkSettings, validated

    drawn = {name: getattr(options, name) for name in ("sampler", "steps", "guidance", "candidates")}
    sample = validated(SampleSettings, **{name: value for name, value in drawn.items() if value is not None})
    render = validated(RenderSettings, size=options.size, renderer=options.renderer)
    settings = validated(
        TalkSettings,
        generator=options.generator,
        encoder=options.encoder,
        prior=options.prior,
        text_encoder=options.text_encoder,
        instructor=options.instructor,
        language_model=options.language_model,
        sample=sample,
        head=options.head,
        seed=options.seed,
        render=render,
    )
    failed = 0
    for outcome in talk_all(
        options.speech,
        settings,
        instruction=options.instruction,
        text=options.text,
        timeline=options.timeline,
        samples=options.samples,
        output=options.output,
        motion=options.motion,
        video=not options.no_video,
    ):
        failed += outcome.error is not None
        if options.json:
            print(json.dumps(outcome.as_json(), ensure_ascii=False), flush=True)
        elif outcome.error is None:
            print("\n".join(outcome.lines()), flush=True)
        if outcome.error is not None:
            print(f"avi: {outcome.path}: {outcome.error}", file=sys.stderr)
            if outcome.alone:
                return outcome.error.exit_code
    return 1 if failed else 0


def _add_instruct(commands: argparse._SubParsersAction) -> None:
    instruct = commands.add_parser("instruct", help="listen to a recording and write what the face should do")
    instruct.add_argument("speech", nargs="+", type=Path, metavar="SPEECH", help="recordings, or folders of them")
    instruct.add_argument("--timeline", action="store_true", help="an instruction for every breath group, as JSON")
    instruct.add_argument("--text", metavar="TRANSCRIPT", help="what is said, for weights trained to be told it")
    instruct.add_argument(
        "--instructor", default="learned", metavar="learned|PATH", help="shipped weights (default) or your own"
    )
    instruct.add_argument("--encoder", metavar="NAME-or-PATH", help="speech encoder")
    instruct.add_argument("--language-model", metavar="NAME-or-PATH", help="language model")
    instruct.add_argument("--temperature", type=float, default=0.0, metavar="T", help="above 0 words are drawn")
    instruct.add_argument("--seed", type=int, default=0, metavar="N", help="draws them (default 0)")
    instruct.add_argument("--free", action="store_true", help="write freely, also what is not understood")
    instruct.add_argument("--json", action="store_true", help="print one JSON object a recording and nothing else")
    instruct.set_defaults(command=_instruct)


def _instruct(options: argparse.Namespace) -> int:
    from avi_lib.dictation import dictate_all
    from avi_lib.instruction.timeline import as_json
    from avi_lib.settings import InstructSettings, validated

    names = ("instructor", "encoder", "language_model", "temperature", "seed", "free")
    settings = validated(InstructSettings, **{name: getattr(options, name) for name in names})
    failed = 0
    for dictated in dictate_all(options.speech, settings, options.timeline, options.text):
        failed += dictated.error is not None
        if options.json:
            print(json.dumps(dictated.as_json(), ensure_ascii=False), flush=True)
        elif dictated.error is None and dictated.timeline is not None and dictated.alone:
            print(json.dumps(as_json(dictated.timeline), ensure_ascii=False, indent=1), flush=True)
        elif dictated.error is None:
            print("\n".join(dictated.lines()), flush=True)
        if dictated.error is not None:
            print(f"avi: {dictated.path}: {dictated.error}", file=sys.stderr)
            if dictated.alone:
                return dictated.error.exit_code
    return 1 if failed else 0


def _add_track(commands: argparse._SubParsersAction) -> None:
    track = commands.add_parser("track", help="follow the face in a video: ARKit weights and head rotation")
    track.add_argument("video", type=Path, metavar="VIDEO")
    track.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="OUT.{csv,npz}",
        help="OUT-1, OUT-2, … where it is cut; CSV cannot say which channels are missing, npz does",
    )
    track.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    track.set_defaults(command=_track)


def _track(options: argparse.Namespace) -> int:
    from avi_lib.corpus.curve_files import save_curves
    from avi_lib.corpus.tracking import track_video
    from avi_lib.files import check_writable
    from avi_lib.pipeline import check_motion_suffix, write_motion

    output: Path = options.output
    check_motion_suffix(output)
    check_writable(output)
    track = track_video(options.video)
    written = []
    for number, piece in enumerate(track.pieces, 1):
        path = output if len(track.pieces) == 1 else output.with_stem(f"{output.stem}-{number}")
        if path.suffix.lower() == ".npz":
            save_curves(piece.curves, path)
        else:
            write_motion(piece.curves.clip, path)
        written.append({"path": str(path), "start_s": piece.start_s, "frames": len(piece.curves.clip)})
    if options.json:
        print(json.dumps({**track.report.as_dict(), "pieces": written}, ensure_ascii=False))
    else:
        print("\n".join(track.report.lines()))
        print("\n".join(f"{row['path']}: {row['frames']} frames from {row['start_s']:.2f} s" for row in written))
    return 0


def _add_export(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser("export", help="convert motion: npz <-> csv (Live Link Face)")
    export.add_argument("motion", type=Path, metavar="MOTION")
    export.add_argument("output", type=Path, metavar="OUT")
    export.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from avi_lib.pipeline import read_motion, write_motion

    write_motion(read_motion(options.motion), options.output)
    return 0


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


def _add_models(commands: argparse._SubParsersAction) -> None:
    models = commands.add_parser("models", help="fetch and check the frozen models")
    models.add_argument(
        "names", nargs="*", metavar="NAME", help="models to fetch; those that set-up needs when left out"
    )
    models.add_argument("--all", action="store_true", help="fetch every model")
    models.add_argument("--check", action="store_true", help="compare every digest; fetch only what is damaged")
    models.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    models.set_defaults(command=_models)


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    doctor = commands.add_parser("doctor", help="say what is installed, found and chosen, and why")
    doctor.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    doctor.set_defaults(command=_doctor)


def _models(options: argparse.Namespace) -> int:
    from avi_lib.assets.models import models_command

    def announce(model: Model) -> None:
        print(f"fetching {model.name} ({model.bytes / 1e6:.0f} MB)", file=sys.stderr)

    rows = models_command(options.names, options.all, options.check, announce=announce)
    if options.json:
        print(json.dumps({"models": rows}, ensure_ascii=False))
    else:
        for row in rows:
            print(f"{row['name']:20s} {row['state']:8s} {row['licence']:12s} {row['detail']}")
    return 1 if any(row["state"] == "failed" for row in rows) else 0


def _doctor(options: argparse.Namespace) -> int:
    from avi_lib.doctor import doctor

    checks = doctor()
    if options.json:
        print(json.dumps({"checks": [check.as_dict() for check in checks]}, ensure_ascii=False))
    else:
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'} {check.name:22s} {check.detail}")
    return 0 if all(check.ok for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
