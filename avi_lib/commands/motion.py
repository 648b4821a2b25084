"""The commands `avi track`, `avi export` and `avi evaluate`: motion from videos, into other formats, and scored."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from avi_lib.commands.pairs import number_pairs
from avi_lib.errors import InputError


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add these commands to the parser of `avi`."""
    _add_track(commands)
    _add_export(commands)
    _add_evaluate(commands)


def _add_track(commands: argparse._SubParsersAction) -> None:
    track = commands.add_parser("track", help="follow the face in a video: ARKit weights and head rotation")
    track.add_argument("video", type=Path, metavar="VIDEO")
    track.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="OUT",
        help="as in `avi export`; OUT-1, OUT-2, … where it is cut. Only npz says which channels are missing",
    )
    track.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    track.set_defaults(command=_track)


def _track(options: argparse.Namespace) -> int:
    from avi_lib.face.tracking import track_video
    from avi_lib.files import check_writable
    from avi_lib.motion.clip import save_curves
    from avi_lib.motion.formats import check_motion, write_motion

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
    from avi_lib.face.head import load_any_head
    from avi_lib.files import keep_inputs
    from avi_lib.motion.formats import check_motion, converted, read_motion, write_motion, written_files

    keep_inputs([options.motion, Path(options.head)], written_files(options.output))
    if options.motion.suffix.lower() == ".pkl":
        return _export_flame_model(options.motion, options.output)
    motion = read_motion(options.motion)
    head = load_any_head(options.head, number_pairs(options.identity, "--identity"))
    check_motion(options.output, head)
    lost = ""
    if options.space:
        motion, lost = converted(motion, options.space.upper(), head)
    write_motion(motion, options.output, head)
    for line in (*(f"head: {note}" for note in head.notes), *([f"converted: {lost}"] if lost else [])):
        print(line)
    return 0


def _export_flame_model(model: Path, output: Path) -> int:
    from avi_lib.heads.flame import load_flame_file, save_flame_npz

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
    from avi_lib.evaluation.report import rescore
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
