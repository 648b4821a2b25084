"""Trains with and without a part, scores both, and writes tables as a report.

python -m tools.benchmarks.ablations exchange --corpus data/prepared/samples --profile full
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from avi_lib.corpus.dataset import Corpus
from avi_lib.errors import AviError
from avi_lib.evaluation.ablations import PARTS, ablate, shortened
from avi_lib.evaluation.report import Report, markdown_of
from avi_lib.files import make_folder
from avi_lib.settings import PROFILES
from avi_lib.training.loop import choose_device


def main(arguments: Sequence[str] | None = None) -> int:
    """Print tables and write them as a report; the exit status is that of the error when they cannot be made."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmarks.ablations", description="Train with and without a part, and score both."
    )
    parser.add_argument("parts", nargs="+", choices=PARTS, metavar="PART", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, metavar="PREPARED", help="prepared corpora")
    parser.add_argument("--profile", choices=tuple(PROFILES), default="full", help="sizes of the trainings")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="of each training at most (default: all)")
    parser.add_argument("--align", type=int, metavar="N", help="steps of alignment, of which its absence gets as many")
    parser.add_argument("--known-words", action="store_true", help="exchange: score clips of words that were heard too")
    parser.add_argument("--folder", type=Path, default=Path("outputs/ablations"), help="trainings and report.json")
    parser.add_argument("--cache", type=Path, default=Path("data/cache"), help="hearings and states of texts")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of banks and intervals")
    options = parser.parse_args(arguments)
    sizes = PROFILES[options.profile]
    sizes = shortened(sizes, options.steps) if options.steps > 0 else sizes
    if options.align:
        align = sizes.instructor.align.model_copy(update={"steps": options.align})
        sizes = sizes.model_copy(update={"instructor": sizes.instructor.model_copy(update={"align": align})})
    try:
        corpora, tables = [Corpus(folder) for folder in options.corpus], []
        make_folder(options.folder)
        about = {
            "device": choose_device()[1],
            "corpora": ", ".join(corpus.folder.name for corpus in corpora),
            "profile": options.profile,
            "steps": options.steps,
            "align": options.align,
            "seed": options.seed,
        }
        for part in options.parts:
            place, kept, seed = options.folder, options.cache, options.seed
            tables.append(ablate(part, corpora, sizes, place, kept, seed, options.known_words))
            print(markdown_of(tables[-1]), flush=True)
            Report("Ablations", about, tuple(tables)).write(options.folder)
    except AviError as error:
        print(f"ablations: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
