"""The commands `avi talk` and `avi instruct`: speech in, a talking face or the sentence for one out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avi_lib.commands.pairs import number_pairs
from avi_lib.errors import InputError

if TYPE_CHECKING:
    from avi_lib.settings import Factors, RenderSettings


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add these commands to the parser of `avi`."""
    _add_talk(commands)
    _add_instruct(commands)


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


def _factors(options: argparse.Namespace) -> Factors:
    from avi_lib.settings import Factors, FactorSettings, validated

    strengths = number_pairs(options.strength, "--strength")
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
    if not all(side.isdecimal() and len(side) <= 4 for side in sides):
        raise InputError("a size in pixels as 512 or 1920x1080", repr(options.size), "write one of these")
    names = ("framing", "backdrop", "caption", "strip")
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
        identity=number_pairs(options.identity, "--identity"),
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
