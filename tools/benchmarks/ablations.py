"""Trains with and without a part, scores both, and writes tables as a report.

python -m tools.benchmarks.ablations exchange --corpus data/prepared/samples --profile full
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from avi_lib.corpus.dataset import Corpus, Mixture, held_out, shared_voices
from avi_lib.errors import AviError
from avi_lib.evaluation.ablations import ablate_alignment, ablate_diffusion, ablate_exchange, shortened
from avi_lib.evaluation.report import Estimate, Report, Table, markdown_table
from avi_lib.face.head import load_head
from avi_lib.files import make_folder
from avi_lib.instruction.language_model import load_language_model, load_text_encoder
from avi_lib.motion.generator import load_generator
from avi_lib.settings import PROFILES, Profile
from avi_lib.speech.encoders import load_encoder
from avi_lib.training.instructor import FrozenModels, sound_features
from avi_lib.training.instructor_data import make_feature_bank
from avi_lib.training.loop import choose_device

PARTS = ("alignment", "diffusion", "exchange")


def ablate(
    part: str, corpora: Sequence[Corpus], sizes: Profile, folder: Path, kept: Path, seed: int = 0, known: bool = False
) -> Table:
    """One of `PARTS` on prepared corpora; what a folder holds of its trainings is gone on with.

    kept: where acoustic features and states of texts are kept by content; known: also score the motion of held-out
    speakers where somebody says the same words in training.
    """
    device, _ = choose_device()
    if part == "alignment":
        models = FrozenModels(load_encoder(), load_text_encoder(), load_language_model())
        bank = make_feature_bank(corpora, models.encoder.name, sizes.instructor.views, seed, kept / "features")
        learned, held = (bank.select([(clip.split == "train") == own for clip in bank.clips]) for own in (True, False))
        sounds = sound_features(models.encoder, sizes.instructor.sounds, seed)
        return ablate_alignment(learned, held, sounds, models, sizes.instructor, folder / part, device, seed)
    if part == "diffusion":
        texts = kept / "texts"
        generator, encoder = load_generator(), load_text_encoder()
        return ablate_diffusion(corpora, generator, encoder, sizes.prior, folder / part, texts, device, seed)
    mixture = Mixture.of(corpora, "train", sizes.talking.frames, without=shared_voices(corpora))
    return ablate_exchange(mixture, held_out(corpora, known), sizes.talking, folder / part, load_head(), device, seed)


def markdown_of(table: Table) -> str:
    """The table in Markdown: a row a measure, a column a system, intervals in brackets."""

    def cell(found: Estimate | None) -> str:
        if found is None or not math.isfinite(found.value):
            return "-"
        between = f" ({found.low:.3f} to {found.high:.3f})" if math.isfinite(found.low) else ""
        return f"{found.value:.3f}{between}"

    rows = [
        (
            f"{each.title}{each.unit and f', {each.unit}'}",
            *(cell(table.estimates.get((name, s))) for s in table.systems),
        )
        for name, each in table.measures.items()
    ]
    return markdown_table((table.title, *table.systems), rows)


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
    parser.add_argument("--known-words", action="store_true", help="exchange: score clips of words of training too")
    parser.add_argument("--folder", type=Path, default=Path("outputs/ablations"), help="trainings and report.json")
    parser.add_argument("--cache", type=Path, default=Path("data/cache"), help="acoustic features and states of texts")
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
