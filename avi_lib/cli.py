"""The `avi` command: thin functions over the library.

    avi talk my.wav --instruction "She is furious." -o angry.mp4
    avi export motion.npz motion.csv
    avi instruct my.wav
    avi track my.mp4 -o motion.csv
    avi evaluate motion.csv --speech my.wav
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
    from avi_lib.settings import Factors, RenderSettings


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
    for add in (*makers, _add_evaluate, _add_run, _add_verify, _add_models, _add_doctor):
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
    talk.add_argument("--motion", type=Path, metavar="OUT", help="also write the motion, in a format of `avi export`")
    talk.add_argument("--sheet", type=Path, metavar="OUT.png", help="also write a contact sheet")
    talk.add_argument("--no-video", action="store_true", help="write no video")
    talk.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="TEXT",
        help="another instruction, shown side by side from the same noise; may be repeated",
    )
    talk.add_argument("--json", action="store_true", help="print one JSON object a recording and nothing else")
    _add_factors(talk)
    _add_picture(talk)
    talk.set_defaults(command=_talk)


def _add_factors(talk: argparse.ArgumentParser) -> None:
    from avi_lib.settings import Factors

    group = talk.add_argument_group(
        "factors of the face",
        "SOURCE is speech (default), off, seed:7, text:SENTENCE, or a file of motion (npz, csv, glb, bvh) or video",
    )
    for factor in Factors.model_fields:
        group.add_argument(f"--{factor}", default="speech", metavar="SOURCE")
    group.add_argument(
        "--strength",
        action="append",
        default=[],
        metavar="FACTOR=X",
        help="0 is rest, 1 as it is, up to 3; may be repeated",
    )


def _add_picture(talk: argparse.ArgumentParser) -> None:
    group = talk.add_argument_group("picture")
    group.add_argument("--head", default="open", metavar="NAME-or-PATH", help="open (default), or a head of your own")
    group.add_argument(
        "--identity", action="append", default=[], metavar="SLIDER=X", help="of the open head; may be repeated"
    )
    group.add_argument("--size", default="512", metavar="PIXELS", help="side, or 1920x1080 (default 512)")
    group.add_argument("--framing", default="portrait", metavar="portrait|face|mouth|eyes", help="what is seen")
    group.add_argument("--turn", type=float, default=0.0, metavar="DEG", help="camera around the head")
    group.add_argument("--tilt", type=float, default=0.0, metavar="DEG", help="camera over the head")
    group.add_argument("--backdrop", default="studio", metavar="studio|transparent|#rrggbb", help="what is behind")
    group.add_argument("--caption", action="store_true", help="the instruction as a subtitle")
    group.add_argument("--strip", action="store_true", help="trajectories under the picture")
    group.add_argument("--renderer", choices=("auto", "moderngl", "numba"), default="auto", help="default auto")


def _pairs(texts: Sequence[str], option: str) -> dict[str, float]:
    """NAME=NUMBER texts of an option that may be repeated; InputError for one that is not so written."""
    pairs = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            pairs[name] = float(number)
        except ValueError:
            raise InputError(f"{option} NAME=NUMBER", repr(text), f"write for example {option} {name}=0.5") from None
    return pairs


def _factors(options: argparse.Namespace) -> Factors:
    from avi_lib.settings import Factors, FactorSettings, validated

    strengths = _pairs(options.strength, "--strength")
    unknown = sorted(set(strengths).difference(Factors.model_fields))
    if unknown:
        raise InputError(f"factors among {', '.join(Factors.model_fields)}", ", ".join(unknown), "rename them")
    chosen = {
        factor: validated(FactorSettings, source=getattr(options, factor), strength=strengths.get(factor, 1.0))
        for factor in Factors.model_fields
    }
    return Factors(**chosen)


def _picture(options: argparse.Namespace) -> RenderSettings:
    from avi_lib.settings import RenderSettings, validated

    width, cross, height = options.size.lower().partition("x")
    sides = (height, width) if cross else (width, width)
    if not all(side.isdecimal() for side in sides):
        raise InputError("a size in pixels as 512 or 1920x1080", repr(options.size), "write one of these")
    names = ("renderer", "framing", "backdrop", "caption", "strip")
    chosen = {name: getattr(options, name) for name in names}
    turned = {"turn_deg": options.turn, "tilt_deg": options.tilt}
    return validated(RenderSettings, size=int(sides[0]), width=int(sides[1]), **chosen, **turned)


def _talk(options: argparse.Namespace) -> int:
    from avi_lib.batch import talk_all
    from avi_lib.jobs import Wanted
    from avi_lib.settings import SampleSettings, TalkSettings, validated

    drawn = {name: getattr(options, name) for name in ("sampler", "steps", "guidance", "candidates")}
    sample = validated(SampleSettings, **{name: value for name, value in drawn.items() if value is not None})
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
        identity=_pairs(options.identity, "--identity"),
        factors=_factors(options),
        seed=options.seed,
        render=_picture(options),
    )
    failed = 0
    for outcome in talk_all(
        options.speech,
        settings,
        Wanted(options.output, options.motion, options.sheet, video=not options.no_video),
        instruction=options.instruction,
        text=options.text,
        timeline=options.timeline,
        samples=options.samples,
        beside=options.beside,
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
    from avi_lib.formats import check_motion, write_motion

    output: Path = options.output
    check_motion(output)
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
    export = commands.add_parser(
        "export", help="convert motion: npz, Live Link Face csv, glb, bvh, USD, OBJ a frame, FLAME coefficients"
    )
    export.add_argument("motion", type=Path, metavar="MOTION", help="npz, csv, glb or bvh; a FLAME .pkl becomes npz")
    export.add_argument(
        "output", type=Path, metavar="OUT", help="by its suffix; a name without one is a folder with one OBJ a frame"
    )
    export.add_argument(
        "--head",
        default="open",
        metavar="NAME-or-PATH",
        help="what glb, USD and OBJ show; FLAME for --space",
    )
    export.add_argument("--identity", action="append", default=[], metavar="SLIDER=X", help="of that head")
    export.add_argument("--space", metavar="ARKIT|FLAME", help="convert to this space through the FLAME head")
    export.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from avi_lib.face.heads import load_any_head
    from avi_lib.formats import check_motion, converted, read_motion, write_motion

    if options.motion.suffix.lower() == ".pkl":
        return _export_flame_model(options.motion, options.output)
    motion = read_motion(options.motion)
    head = load_any_head(options.head, _pairs(options.identity, "--identity"))
    check_motion(options.output, head)
    lost = ""
    if options.space:
        motion, lost = converted(motion, options.space.upper(), head)
    write_motion(motion, options.output, head)
    print(*(f"head: {note}" for note in head.notes), *([f"converted: {lost}"] if lost else []), sep="\n", end="")
    return 0


def _export_flame_model(model: Path, output: Path) -> int:
    from avi_lib.face.flame_file import load_flame_file, save_flame_npz

    if output.suffix.lower() != ".npz":
        raise InputError("an npz for a FLAME model", str(output), "change the suffix")
    save_flame_npz(load_flame_file(model), output)
    return 0


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser("evaluate", help="score anyone's motion against its speech, with intervals")
    evaluate.add_argument("motion", nargs="+", type=Path, metavar="MOTION", help="npz or Live Link Face CSV")
    evaluate.add_argument(
        "--speech", nargs="+", type=Path, required=True, metavar="WAV", help="one for all motions, or one for each"
    )
    evaluate.add_argument(
        "--reference", nargs="+", type=Path, default=[], metavar="MOTION", help="true motion, likewise"
    )
    evaluate.add_argument("--text", metavar="TRANSCRIPT", help="what is said: aligned for sharper phone times")
    evaluate.add_argument("--report", type=Path, metavar="OUT.html", help="also write a page with the scores")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from avi_lib.evaluation.rescore import rescore
    from avi_lib.files import check_writable

    if options.report is not None:
        if options.report.suffix.lower() != ".html":
            raise InputError("a report that ends in .html", str(options.report), "change the suffix")
        check_writable(options.report)
    scored = rescore(options.motion, options.speech, options.reference, options.text)
    if options.report is not None:
        scored.report("Scores of motion").write_html(options.report)
    if options.json:
        print(json.dumps(scored.as_dict(), ensure_ascii=False))
    else:
        print("\n".join(scored.lines()))
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
