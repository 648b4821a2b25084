"""The `avi` command: arguments in, lines or JSON out; the work is done by the library.

    avi talk my.wav --instruction "She is furious." -o angry.mp4 · avi live my.wav --port 8000
    avi instruct my.wav · avi track my.mp4 -o motion.csv · avi export motion.npz motion.csv
    avi evaluate motion.csv --speech my.wav · avi prepare ravdess raw/ prepared/
    avi run 00 · avi verify outputs/RUN · avi heads · avi models · avi doctor

Exit 0 when done; 2 for a bad argument or input, with one line on stderr; 1 when something else stopped the work.
"""

from __future__ import annotations

import argparse
import codecs
import importlib.metadata
import io
import json
import logging
import os
import platform
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from dataclasses import asdict
from datetime import datetime
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, get_args

import yaml

from avi_lib import __version__, settings
from avi_lib.errors import AviError, InputError, expect
from avi_lib.files import check_writable, file_sha256
from avi_lib.models import Model, Shipped, cache_folder, inspect, load_manifest
from avi_lib.settings import Factors, Settings, TalkSettings, validated

if TYPE_CHECKING:
    from avi_lib.batch import Outcome


Options = argparse.Namespace
S = TypeVar("S", bound=Settings)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        commands = [each for some in self._actions if isinstance(some.choices, dict) for each in some.choices.values()]
        wrong = message.partition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
        meant = get_close_matches(wrong, [option for each in commands for option in each._option_string_actions], 1)
        self.exit(2, f"avi: {message}{f' (is {meant[0]} meant?)' if meant else ''}; see `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a mistyped command line raises SystemExit with code 2."""
    codecs.register_error("escaped", lambda error: (json.dumps(error.object[error.start : error.end])[1:-1], error.end))  # type: ignore[attr-defined]
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal cannot show is escaped as in JSON
        sys.stdout.reconfigure(errors="escaped")
    options = _parser().parse_args(arguments)
    stopped: list[int] = []

    def stop(number: int, frame: object) -> NoReturn:
        stopped.append(number)
        raise KeyboardInterrupt

    before = {}
    with suppress(ValueError):  # SIGTERM ends the work as Ctrl-C does and leaves no half files; in the main thread only
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        with _progress() if options.progress and not sys.stderr.isatty() else nullcontext():
            code: int = options.command(options)
        sys.stdout.flush()
        return code or options.unsaid
    except BaseException as problem:
        if stopped or isinstance(problem, KeyboardInterrupt):  # an import that is stopped may raise anything
            _say("stopped")
            exec("")  # clears Python's mark that an `exec` was stopped, for which it would end itself by the signal
            return 130
        if isinstance(problem, AviError):
            _say(str(problem))
            return problem.exit_code
        if not isinstance(problem, OSError):
            raise
        _say(f"{problem.strerror or problem}: {problem.filename or 'standard output'}")
        return 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    """A line on standard error, if anybody reads it."""
    with suppress(OSError):
        print(f"avi: {line}", file=sys.stderr, flush=True)


class _Said(logging.Handler):
    """Says what a run logs."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


EVERY_S = 10.0


class _Bars(io.TextIOBase):
    """A stream on which bars are drawn as on a terminal: the latest is kept, all else goes on to another stream."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._line_begins, self.bar = stream, True, ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text.startswith("\r"):
            self.bar = text.strip()
        elif text.strip("\n\x1b[A") or not self._line_begins:  # else a move between bars
            self._stream.write(text)
            self._line_begins = text.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def _progress() -> Iterator[None]:
    """Meanwhile a line every ten seconds on standard error, with the bar that a terminal would show."""
    bars, begun_s, ended = _Bars(sys.stderr), time.monotonic(), threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY_S):
            _say(f"{time.monotonic() - begun_s:.0f} s: {bars.bar or 'at work'}")

    with redirect_stderr(bars):
        threading.Thread(target=tell, daemon=True).start()
        try:
            yield
        finally:
            ended.set()


def _parser() -> argparse.ArgumentParser:
    """The commands and options of commands.yaml; the function of a command has its name."""
    parser = _Parser(prog="avi", description="Speech to instruction to expressive 3D talking face.")
    parser.add_argument("--version", action="version", version=f"avi {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    types: dict[str, Callable[[str], object]] = {"path": Path, "int": int, "float": float}
    kinds = {kind.__name__: kind for kind in Settings.__subclasses__()}
    tables = yaml.load(Path(__file__).with_name("commands.yaml").read_bytes(), yaml.CSafeLoader)
    for name, table in tables.items():
        command = commands.add_parser(name, help=table["what"])
        option, json_of = command.add_argument, table.get("json", "one JSON object")
        option("--json", action="store_true", help=f"print {json_of} and nothing else")
        option(
            "-v",
            "--verbose",
            action="store_true",
            help="say of every recording which models were used, and whence",
        )
        option("--progress", action="store_true", help="a line every 10 s on standard error, in a pipe too")
        command.set_defaults(command=globals()[f"_{name}"], unsaid=0, unread=False)
        for flags, how in table.get("options", {}).items():
            if flags not in kinds:
                given: dict[str, Any] = {key: types[value] if key == "type" else value for key, value in how.items()}
                given |= {"default": []} if how.get("action") == "append" else {}
                option(*flags.split(), **given)
                continue
            for field in kinds[flags].model_fields if how == "*" else how.split():  # whose texts settings read
                of, plain = kinds[flags].model_fields[field], field.removesuffix("_deg")
                given = {"dest": field, "help": of.description, "action": "store_true", "default": None}
                if of.annotation is not bool:
                    choices = [each for each in get_args(of.annotation) if isinstance(each, str)]
                    default = "" if of.default in (None, "") else f" (default {of.default})"
                    text = f"{of.description}{default}"
                    given = {"dest": field, "help": text, "metavar": "|".join(choices) or plain.upper()}
                option(f"--{plain.replace('_', '-')}", **given)
    return parser


def _print(options: Options, as_json: object, lines: Iterable[str], code: int = 0) -> int:
    """Print what was found and return the exit code; where nobody reads it, `options.unread`, the work goes on."""
    try:
        print(json.dumps(as_json, ensure_ascii=False) if options.json else "\n".join(lines), flush=True)
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be said goes nowhere
        options.unread = True
        if not isinstance(problem, BrokenPipeError):
            options.unsaid = 2
            _say(f"{problem.strerror}: standard output")
    return code


def _settings(kind: type[S], options: Options, base: Mapping[str, Any] | None = None, **others: Any) -> S:
    """Settings of the options that were given, over `base`."""
    given = {name: getattr(options, name, None) for name in kind.model_fields}
    return validated(kind, **{**(base or {}), **{k: v for k, v in given.items() if v is not None}, **others})


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE texts of an option that may be repeated."""
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _talk(options: Options) -> int:
    from avi_lib.batch import talk_all

    strengths = _pairs(options.strength)
    if wrong := [text for text in options.strength if text.partition("=")[0] not in Factors.model_fields]:
        expected = f"a strength as FACTOR=X, of {', '.join(Factors.model_fields)}"
        raise InputError(expected, wrong[0], "write for example --strength blink=0.5")
    drive = options.drive or "speech"
    factors = {
        factor: validated(
            settings.FactorSettings, source=getattr(options, factor) or drive, strength=strengths.get(factor, "1")
        )
        for factor in Factors.model_fields
    }
    size = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", options.size.lower(), re.ASCII)
    if not size:
        raise InputError("a size in pixels as 512 or 1920x1080", repr(options.size), "write one of these")
    if options.portrait is not None:
        from avi_lib.face.portrait import PHOTO_SUFFIXES, is_photo

        if options.head is not None or not is_photo(options.portrait):
            got = f"{options.portrait} beside the head {options.head}" if options.head else options.portrait
            raise InputError(f"one photograph ending in {', '.join(PHOTO_SUFFIXES)}", got, "name one of these")
        options.head = options.portrait
    chosen = _settings(
        TalkSettings,
        options,
        sample=_settings(settings.SampleSettings, options),
        identity=_pairs(options.identity),
        factors=Factors(**factors),
        render=_settings(settings.RenderSettings, options, size=int(size[2] or size[1]), width=int(size[1])),
    )
    places = {} if options.no_video else {"video": options.output}
    places |= {kind: place for kind, place in (("motion", options.motion), ("sheet", options.sheet)) if place}
    more = {
        name: getattr(options, name)
        for name in ("instruction", "text", "timeline", "samples", "beside", "track", "workers")
    }
    return _print_all(options, talk_all(options.speech, chosen, places, **more))


def _instruct(options: Options) -> int:
    from avi_lib.batch import instruct_all

    chosen = _settings(settings.InstructSettings, options)
    outcomes = instruct_all(options.speech, chosen, options.timeline, options.track, options.workers)
    return _print_all(options, outcomes, only=True)


MODEL_LINES = ("generator: ", "prior: ", "instructor: ")  # said once of all recordings, in short
PLACES = re.compile(r"[:;] (?:found in the cache|another process|fetched from the \w+) [^;]*; licence [^;]+")


def _print_all(options: Options, outcomes: Iterable[Outcome], only: bool = False) -> int:
    """Print what became of each recording as soon as it is known; a failed one is reported and the rest go on.

    Where what is printed is the `only` result, the work ends when nobody reads it.
    """
    begun_s, told, paths, failed = time.monotonic(), set[str](), dict[Path, None](), dict[Path, None]()
    for outcome in outcomes:
        paths[outcome.path] = None
        for note in outcome.notes:
            _say(note)
        lines = [line for line in outcome.lines if options.verbose or line not in told]
        told.update(line for line in lines if line.startswith(MODEL_LINES))
        if not options.verbose:
            lines = [PLACES.sub("", line) if line.startswith(MODEL_LINES) else line for line in lines]
        if outcome.error is None or options.json:
            _print(options, outcome.values, lines)
        if options.unread and only:
            return 141
        if outcome.error is not None:
            failed[outcome.path] = None
            _say(f"{outcome.path}: {outcome.error}")
            if outcome.alone:
                return outcome.error.exit_code
    if len(paths) > 1 and not options.json:
        left = f"; failed: {', '.join(map(str, failed))}" if failed else ""
        done = len(paths) - len(failed)
        _say(f"{done} of {len(paths)} recordings done in {time.monotonic() - begun_s:.0f} s{left}")
    return int(bool(failed))


def _live(options: Options) -> int:
    from avi_lib import live, receivers
    from avi_lib.instruction.instruction import understand
    from avi_lib.speech.loading import load_voice
    from avi_lib.talker import Talker

    source = {"microphone": live.MICROPHONE, "socket": live.SOCKET}.get(options.source)
    if source is None:
        piped = options.source == "-"
        source = live.piped(sys.stdin.buffer, options.rate) if piped else live.played(load_voice(options.source))
    port = 0 if options.port is None and source.from_page else options.port
    to: list[receivers.Receiver] = [receivers.LiveLink(*receivers.address(each)) for each in [options.livelink] if each]
    to += [receivers.Vmc(*receivers.address(each)) for each in [options.vmc] if each]
    to += [receivers.Recording(options.motion)] if options.motion else []
    to += [receivers.Page(port, options.host)] if port is not None else []
    expect(to, "somebody who gets the motion", "nobody", "name --livelink, --vmc, --port or --motion")
    asked = understand(options.instruction) if options.instruction else None
    with Talker(_settings(TalkSettings, options)) as talker:
        session = live.LiveSession(talker, source, to, asked)
        waits = source.recorded and not (options.livelink or options.vmc)
        for page in session.pages:
            _say(f"open {page.url}" + (" and the recording begins" if waits else ""))
        while waits and not all(page.opened.wait(0.2) for page in session.pages):
            pass  # in short pieces, so that Ctrl-C is heard
        report = session.run()
    lines = [*report.lines(), *([f"motion: {options.motion}"] if options.motion and report.frames else [])]
    return _print(options, report._asdict(), lines)


def _track(options: Options) -> int:
    from avi_lib.face.tracking import track_video
    from avi_lib.motion.formats import check_motion, save_motion

    output: Path = options.output
    check_motion(output)
    check_writable(output)
    track = track_video(options.video, track=options.track)
    written = []
    for number, piece in enumerate(track.pieces, 1):
        path = output if len(track.pieces) == 1 else output.with_stem(f"{output.stem}-{number}")
        save_motion(piece, path)
        written.append({"path": str(path), "start_s": piece.start_s, "frames": len(piece)})
    lines = [f"{row['path']}: {row['frames']} frames from {row['start_s']:.2f} s" for row in written]
    return _print(options, {**track.report.as_dict(), "pieces": written}, [*track.report.lines(), *lines])


def _export(options: Options) -> int:
    from avi_lib.face.head import load_any_head
    from avi_lib.files import keep_inputs
    from avi_lib.motion.formats import check_motion, converted, load_motion, save_motion, written_files

    keep_inputs([options.motion, Path(options.head)], written_files(options.output))
    if options.motion.suffix.lower() == ".pkl":
        from avi_lib.heads.flame import load_flame_file, save_flame_npz

        expect(options.output.suffix.lower() == ".npz", "an npz for a FLAME model", options.output, "change the suffix")
        save_flame_npz(load_flame_file(options.motion), options.output)
        return 0
    motion = load_motion(options.motion, options.animation).whole()
    head = load_any_head(options.head, validated(TalkSettings, identity=_pairs(options.identity)).identity)
    check_motion(options.output, head)
    notes = [*motion.lines(), *(f"head: {note}" for note in head.notes)]
    if options.space:
        motion, lost = converted(motion, options.space.upper(), head)
        notes += [f"converted: {lost}"] if lost else []
    save_motion(motion, options.output, head)
    made = f"motion: {', '.join(str(path) for path in written_files(options.output))}"
    return _print(options, {"path": str(options.output), "notes": notes}, [*notes, made])


def _evaluate(options: Options) -> int:
    from avi_lib.evaluation.report import rescore

    return _with_page(options, lambda: rescore(options.motion, options.speech, options.reference, options.text))


def _compare(options: Options) -> int:
    from avi_lib.workbook.comparison import compare_runs

    return _with_page(options, lambda: compare_runs(options.runs))


def _with_page(options: Options, find: Callable[[], Any]) -> int:
    """Print what is found, and write it as a page where one is asked for."""
    if options.report is not None:
        expect(options.report.suffix.lower() == ".html", "a page ending in .html", options.report, "change the suffix")
        check_writable(options.report)
    found = find()
    if options.report is not None:
        found.write_html(options.report)
    return _print(options, found.as_dict(), found.lines())


def _prepare(options: Options) -> int:
    from avi_lib.corpus.prepare import prepare

    base = settings.profile(options.profile).prepare.model_dump() if options.profile else {}
    chosen = _settings(settings.PrepareSettings, options, base)
    health = prepare(options.adapter, options.source, options.destination, chosen, workers=options.workers)
    return _print(options, asdict(health), health.lines())


def _run(options: Options) -> int:
    from avi_lib.workbook.comparison import compare_runs, sweep
    from avi_lib.workbook.run import LOG, describe, made_lines, project_root, resume_run, run_notebooks

    limits = {"cell_limit_s": options.cell_limit, "limit_s": options.limit}
    if not all(seconds > 0 for seconds in limits.values()):
        raise InputError("limits above 0 s", ", ".join(map(str, limits.values())), "change them")
    chosen = {"NN": options.numbers, "--profile": options.profile, "-p": options.parameters, "--output": options.output}
    if options.resume is not None and any(chosen.values()):
        got = ", ".join(name for name, value in chosen.items() if value)
        raise InputError("--resume RUN alone", f"{got} beside it", "a run goes on with what it began with")
    if wrong := [text for text in options.parameters if text.find("=") < 1]:
        raise InputError("a parameter as NAME=VALUE", wrong[0], "write for example -p SEED=7")
    LOG.handlers = [] if options.json else [_Said()]
    LOG.setLevel(logging.INFO)
    root, given, runs = options.resume or project_root(), _pairs(options.parameters), list[Path]()
    swept = [] if options.resume else sweep(root, options.numbers, given, options.profile)
    folder = options.output or root / "outputs" / f"{datetime.now():%Y%m%d-%H%M%S}-sweep"
    varied = [name for name in given if len({each[name] for each in swept}) > 1]
    try:
        if options.resume is not None:
            runs = [resume_run(options.resume, **limits)]
        for each in swept:
            output = options.output
            if varied:  # a run for each value below one folder, and a table of them
                name = re.sub(r"[^\w.=-]+", "_", "-".join(f"{key}={each[key][:40]}" for key in varied))
                output = folder / name
                _say(f"run {len(runs) + 1} of {len(swept)}: {name}")
            runs.append(run_notebooks(options.numbers, each, output, root, profile=options.profile, **limits))
    except AviError as error:
        if options.json and hasattr(error, "run") and not varied:
            _print(options, describe(error.run), ())
        raise
    if not varied:
        return _print(options, describe(runs[0]), made_lines(runs[0]))
    found = compare_runs(runs)
    found.write_html(folder / "comparison.html")
    return _print(options, found.as_dict(), [*found.lines(), f"page: {folder / 'comparison.html'}"])


def _verify(options: Options) -> int:
    from avi_lib.workbook.run import report_lines, verify_run

    found = verify_run(options.run)
    return _print(options, found, report_lines(found), code=not found["repeats"])


def _heads(options: Options) -> int:
    from avi_lib.face.people import cast, sliders

    people, bounds = cast(), sliders()
    rows = [("name", "sex", "age", "skin", "hair"), *people]
    lines = [f"{name:8s} {sex:6s} {age:12s} {skin:12s} {hair}" for name, sex, age, skin, hair in rows]
    lines += ["", "slider            from    to   (--identity SLIDER=X)"]
    lines += [f"{name:16s} {least:5g} {most:5g}" for name, (least, most) in bounds.items()]
    return _print(options, {"people": [person._asdict() for person in people], "sliders": bounds}, lines)


def _models(options: Options) -> int:
    from avi_lib.models import fetch_models

    rows = fetch_models(
        *(options.names, options.all, options.check),
        announce=lambda model: print(f"fetching {model.name} ({model.bytes / 1e6:.0f} MB)", file=sys.stderr),
    )
    lines = [f"{row['name']:20s} {row['state']:8s} {row['licence']:12s} {row['detail']}" for row in rows]
    return _print(options, {"models": rows}, lines, code=any(row["state"] == "failed" for row in rows))


def _doctor(options: Options) -> int:
    checks = doctor()
    lines = [f"{'ok ' if check.ok else 'BAD'} {check.name:22s} {check.detail}" for check in checks]
    return _print(options, {"checks": [each._asdict() for each in checks]}, lines, not all(each.ok for each in checks))


# What `avi doctor` says: what is installed, found and chosen on this machine, and why.

PACKAGES = "torch numpy av soxr librosa numba transformers safetensors papermill hama pocketsphinx".split()
FREE_DISK_BYTES = 2 * 10**9


class Check(NamedTuple):
    """One thing looked at: its name, whether it is as the product needs it, and what was found and why."""

    name: str
    ok: bool
    detail: str


def doctor(outputs: Path = Path("outputs")) -> list[Check]:
    """Look at this machine; `outputs` is where results are to be written. Changes and fetches nothing."""
    looks: dict[str, Callable[[], str]] = {
        "python": lambda: f"{platform.python_version()} at {sys.executable} on {platform.platform()}",
        "device": _device,
        "video and sound encoders": _codecs,
        "renderer": _renderer,
        "face tracking": _tracking,
        "outputs folder": partial(_folder, outputs),
        "cache folder": lambda: _folder(cache_folder()),
        **{f"package {name}": partial(importlib.metadata.version, name) for name in PACKAGES},
        "manifest": lambda: f"{len(load_manifest().models)} models, {len(load_manifest().shipped)} shipped assets",
    }
    checks = [_look(name, look) for name, look in looks.items()]
    if checks[-1].ok:
        checks += [_look(f"shipped {asset.name}", partial(_shipped, asset)) for asset in load_manifest().shipped]
        checks += [_look(f"model {model.name}", partial(_model, model)) for model in load_manifest().models]
    return checks


def _look(name: str, look: Callable[[], str]) -> Check:
    """What a look finds; whatever it raises is a finding too, so that the list is always whole."""
    try:
        return Check(name, True, look())
    except Exception as error:
        words = str(error) if isinstance(error, AviError) else f"{type(error).__name__}: {error}".removesuffix(": ")
        return Check(name, False, words)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}, because torch {torch.__version__} sees it"
    why = "torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"cpu with {torch.get_num_threads()} threads, because {why}; {usable} usable of {os.cpu_count()} cores"


def _codecs() -> str:
    import av

    for codec in ("libx264", "aac"):
        av.Codec(codec, "w")
    return f"H.264 (libx264) and AAC, PyAV {av.__version__}"


def _renderer() -> str:
    from avi_lib.face.camera import View
    from avi_lib.face.head import load_head
    from avi_lib.face.raster import Rasteriser

    head = load_head()
    with Rasteriser(head, View.square(64)) as rasteriser:
        rasteriser.draw(head.vertices)
    return "numba z-buffer: a test picture came out"


def _tracking() -> str:
    from avi_lib.face.tracking import check_mediapipe

    try:
        return f"MediaPipe {check_mediapipe()} starts, on the cpu"
    except AviError as error:
        return f"not to be had: {error}; `avi track` and adapters with videos need it, nothing else does"


def _folder(folder: Path) -> str:
    place = folder
    while not place.exists():
        place = place.parent
    check_writable(place / "probe")
    free = shutil.disk_usage(place).free
    if free < FREE_DISK_BYTES:
        raise AviError(f"{FREE_DISK_BYTES / 1e9:.0f} GB free in {folder}", f"{free / 1e9:.1f} GB", "free some space")
    return f"{folder.absolute()}, writable, {free / 1e9:.0f} GB free"


def _shipped(asset: Shipped) -> str:
    sha256 = file_sha256(asset.path) if asset.path.is_file() else "none"
    if sha256 != asset.sha256:
        raise AviError(f"the pinned {asset.path}", f"SHA-256 {sha256[:12]}", "install the package again")
    return f"{asset.path}, {asset.licence}, SHA-256 {sha256[:12]}…"


def _model(model: Model) -> str:
    state, detail = inspect(model, thorough=True)
    check = " --check" if state == "damaged" else ""
    fetch = f"`avi models {model.name}{check}` fetches {model.bytes / 1e6:.0f} MB"
    if state == "absent" and not model.set_up:
        detail += f"; {fetch}; not needed unless asked for"
    elif state in ("absent", "damaged", "wrong"):
        do = fetch if state != "wrong" else f"correct {model.environment_variable}"
        raise AviError(f"the model {model.name} ({model.licence})", f"{state}: {detail}", do)
    return f"{state}: {detail} ({model.licence})"
