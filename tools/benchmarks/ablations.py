"""Trains with and without a part, scores both, and writes tables as a report: what each part is for.

python -m tools.benchmarks.ablations exchange --corpus data/prepared/samples --profile full

The tables follow the ablations of AVI-Talking's two stages (Sun et al. 2024, tables 3 and 4), whose numbers are of
other data and other measures and do not compare with these. Whole and part are scored on the same clips: the column
`DIFFERENCE` is the part less the whole, clip by clip, with an interval of its own.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from avi_lib.corpus.adapters import RawCorpus
from avi_lib.corpus.dataset import Corpus, Item, Mixture, held_out, shared_voices
from avi_lib.errors import AviError
from avi_lib.evaluation.metrics import measures_of
from avi_lib.evaluation.report import (
    DIFFERENCE,
    Estimate,
    Report,
    Row,
    Table,
    estimate,
    markdown_table,
    tabulate,
)
from avi_lib.face.head import Head, load_head
from avi_lib.files import make_folder
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.instruction.instructor import Instructor
from avi_lib.instruction.language_model import TextEncoder, load_language_model, load_text_encoder
from avi_lib.motion.generator import LearnedGenerator, load_generator
from avi_lib.motion.prior import PriorSampler
from avi_lib.settings import (
    PROFILES,
    InstructorSettings,
    PriorSettings,
    Profile,
    SampleSettings,
    TalkingSettings,
    TrainSettings,
)
from avi_lib.speech.encoders import load_encoder
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.training.generator import train_talking
from avi_lib.training.instructor import FrozenModels, train_instructor
from avi_lib.training.instructor_data import FeatureBank, make_feature_bank, read_faces, sound_features
from avi_lib.training.loop import choose_device
from avi_lib.training.prior import make_bank, train_prior
from tools.benchmarks.scores import (
    asked_and_moved,
    cosines,
    diversity,
    draw_bank,
    draw_samples,
    energy_distance,
    f1,
    held_out_bank,
    held_out_spoken,
    normal,
    predict_bank,
    raw,
    recall,
    retrieval,
    similarity,
)
from tools.benchmarks.systems import score_exchange

WHOLE = "whole"
_TEXTS, _RESAMPLES = 40, 200
"""Sentences whose samples' diversity is taken, and resamples of what only all clips together have."""
QUERIES = 8
"""Of the Q-Former, where the settings leave it out."""
S = TypeVar("S", InstructorSettings, PriorSettings, TalkingSettings)
INSTRUCTIONS, STYLES, EXCHANGED = map(measures_of, ("instructions", "styles", "exchanged"))


def differences(rows: Sequence[Row]) -> list[Row]:
    """The second of two systems less the first on every clip, as rows of `DIFFERENCE`; both have the same clips."""
    first, second = ([row for row in rows if row.system == system] for system in dict.fromkeys(r.system for r in rows))
    return [
        Row(DIFFERENCE, one.group, {name: other.scores[name] - value for name, value in one.scores.items()})
        for one, other in zip(first, second, strict=True)
    ]


def shortened(sizes: Profile, steps: int) -> Profile:
    """A profile whose trainings take at most so many steps, on data to match: to show that they run."""

    def few(train: TrainSettings, most: int = steps, batch: int = 1 << 16) -> TrainSettings:
        count = min(train.steps, most)
        kept = {"steps": count, "warmup": min(train.warmup, count), "batch": min(train.batch, batch)}
        return train.model_copy(update=kept)

    whole, prior = sizes.instructor, sizes.prior
    instructor = {"align": few(whole.align), "speak": few(whole.speak, 1, 2)}
    drawn = {"scripts": min(prior.scripts, max(32, 8 * steps)), "held_out": min(prior.held_out, max(8, steps))}
    return sizes.model_copy(
        update={
            "instructor": whole.model_copy(update={**instructor, "views": 1, "sounds": min(whole.sounds, 8)}),
            "talking": sizes.talking.model_copy(update={"train": few(sizes.talking.train, batch=8)}),
            "prior": prior.model_copy(update={**drawn, "train": few(prior.train)}),
        }
    )


def without(part: str, settings: S) -> S:
    """The settings of a training without a part; all else is as it was.

    "alignment": no Q-Former, so no contrast with sentences. "diffusion": a regression from the sentence to the
    mean of the styles that fit. "exchange": every clip shows its own style, and no real style is exchanged.
    """
    changes: dict[str, Any] = {"exchanged": 0.0, "unlabelled": 0.0} if part == "exchange" else {"regression": True}
    if isinstance(settings, InstructorSettings):
        changes = {"queries": 0}
    return settings.model_copy(update=changes)


def _both(part: str, settings: S, folder: Path) -> list[tuple[str, S, Path]]:
    """Name, settings and folder of the whole and of what is trained without a part."""
    less = f"without {part}"
    return [(WHOLE, settings, folder / WHOLE), (less, without(part, settings), folder / less.replace(" ", "_"))]


def ablate_alignment(
    learned: FeatureBank,
    held: FeatureBank,
    sounds: Sequence[AcousticFeatures],
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    seed: int = 0,
) -> Table:
    """Instructors with and without alignment, on clips of held-out speakers."""
    rows, named = [], {}
    settings = settings.model_copy(update={"queries": settings.queries or QUERIES})
    for system, how, place in _both("alignment", settings, folder):
        spoken = folder / "speak"  # the same for both
        faces = read_faces(None, learned.clips)
        trained = train_instructor(learned, sounds, faces, models, how, place, device, spoken, progress=False)
        found = predict_bank(Instructor(trained.model, models.encoder, models.language, system), held).classified()
        for share, right, meant, clip in zip(found.shares, found.right, found.meant, held.clips, strict=True):
            scores = {"predicted_right": float(right), "predicted_share": float(share[EMOTIONS.index(meant)])}
            rows.append(Row(system, clip.speaker, scores))
        named[system] = list(zip(found.predicted, found.meant, strict=True))
    how_measured = (
        f"Instructors trained on {len(learned)} clips, measured on {len(held)}. Without alignment the linear map is "
        "left alone; with it a Q-Former adds what it learned of the rest from contrast with sentences."
    )
    whole = _estimates("recall", lambda some: recall(*zip(*some, strict=True)), named, seed)
    title = "Ablation of stage 1: alignment"
    return tabulate("alignment", title, how_measured, rows + differences(rows), INSTRUCTIONS, seed, whole=whole)


def ablate_diffusion(
    corpora: Sequence[Corpus],
    generator: LearnedGenerator,
    encoder: TextEncoder,
    settings: PriorSettings,
    folder: Path,
    kept: Path | None = None,
    device: torch.device | None = None,
    seed: int = 0,
) -> Table:
    """Priors with and without diffusion, on held-out combinations of action units."""
    sizes = (settings.scripts, settings.texts, seed)
    bank = make_bank(corpora, encoder, *sizes, folder=kept, progress=False)
    asked = held_out_bank(corpora, encoder, "combination", settings.held_out, 5, "units", kept)
    clips, rows, whole, varied, moved = held_out_spoken(corpora), [], {}, {}, {}
    for system, how, place in _both("diffusion", settings, folder):
        prior = train_prior(bank, encoder, how, place, device=device, progress=False)[0].cpu()
        drawn, true = draw_bank(prior, asked, SampleSettings(), parsed=False), normal(prior, asked.styles)
        found = retrieval(similarity(drawn, true), 1)
        for number, (cosine, first) in enumerate(zip(cosines(drawn, true), found, strict=True)):
            rows.append(Row(system, str(number), {"cosine": float(cosine), "text_to_style": float(first)}))
        varied[system] = diversity(draw_samples(prior, asked, _TEXTS, SampleSettings())).tolist()
        whole["energy", system] = Estimate(energy_distance(drawn, true), np.nan, np.nan, len(asked), "scripts")
        sampler = PriorSampler(prior, encoder, system)
        moved[system] = asked_and_moved(sampler, generator, clips, asked, raw(prior, drawn))
    whole |= _estimates("diversity", lambda some: float(np.mean(some)), varied, seed)
    whole |= _estimates("f1", f1, moved, seed)
    how_measured = (
        f"Priors trained on {len(bank)} scripts, measured on {len(asked)} held out, from the text alone, since "
        "what a reading fixes needs no diffusion. Without diffusion the same network "
        "is trained to tell the style at once, which is the mean of the styles that fit a sentence."
    )
    title = "Ablation of stage 2: diffusion"
    return tabulate("diffusion", title, how_measured, rows + differences(rows), STYLES, seed, "scripts", whole)


def ablate_exchange(
    mixture: Mixture,
    items: Sequence[Item],
    settings: TalkingSettings,
    folder: Path,
    head: Head,
    device: torch.device | None = None,
    seed: int = 0,
) -> Table:
    """Talking models with and without exchanged pairs, on held-out clips in exchanged styles."""
    rows = []
    for system, how, place in _both("exchange", settings, folder):
        model = train_talking(mixture, how, place, device=device, progress=False)[0].cpu()
        for item in items:
            mm = score_exchange(model, [item], head)
            share = mm["EVE exchanged"] / mm["EVE distance"] if mm["EVE distance"] else np.nan
            values = (mm["EVE exchanged"], share, mm["LVE exchanged"], mm["LVE own"])
            rows.append(Row(system, item.clip.speaker, dict(zip(EXCHANGED, values, strict=True))))
    known_words = {item.clip.text for item in mixture.items} - {None}
    known = sum(item.clip.text in known_words for item in items)
    how_measured = (
        f"Talking models trained on {len(mixture.items)} items, measured on {len(items)} clips of held-out voices, of "
        f"which {known} say words of training. Without exchange every clip shows its own style in training."
    )
    title = "Ablation of stage 2: exchange"
    return tabulate("exchange", title, how_measured, rows + differences(rows), EXCHANGED, seed)


def _estimates(
    measure: str, statistic: Callable[[Sequence[Any]], float], items: Mapping[str, Sequence[Any]], seed: int
) -> dict[tuple[str, str], Estimate]:
    """A statistic of all items of each system, and the difference of the two with items drawn anew in pairs."""

    def apart(pairs: Sequence[tuple[Any, Any]]) -> float:
        whole, part = zip(*pairs, strict=True)
        return statistic(part) - statistic(whole)

    kinds = {system: (own, statistic) for system, own in items.items()}
    kinds[DIFFERENCE] = list(zip(*items.values(), strict=True)), apart
    return {
        (measure, system): estimate(own, np.random.default_rng(seed), statistic=each, resamples=_RESAMPLES)
        for system, (own, each) in kinds.items()
    }


# The command.

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
        told = [(corpus.folder.name, corpus.description) for corpus in corpora]
        chosen = [RawCorpus(name, each["adapter"], Path(each["source"])) for name, each in told]
        bank = make_feature_bank(chosen, models.encoder.name, sizes.instructor.views, seed, kept / "features")
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
