"""What each part is for: systems trained without it, beside whole ones of the same size, data and steps.

>>> ablate_alignment(bank, held, sounds, models, settings, folder)        # instructions without contrast
>>> ablate_diffusion(corpora, generator, encoder, settings, folder)       # styles by regression
>>> ablate_exchange(mixture, items, settings, folder, head)               # motion without exchanged pairs

The two tables follow the ablations of AVI-Talking's two stages (Sun et al. 2024, tables 3 and 4), whose numbers are of
other data and other measures and do not compare with these. Whole and part are scored on the same clips: the column
`DIFFERENCE` is the part less the whole, clip by clip, with an interval of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float

from avi_lib.corpus.dataset import Corpus, Item, Mixture, held_out, shared_voices
from avi_lib.evaluation.instructor_scores import predict_bank, recall
from avi_lib.evaluation.metrics import Measure
from avi_lib.evaluation.prior_scores import (
    Strengths,
    asked_and_moved,
    cosines,
    diversity,
    draw_bank,
    energy_distance,
    held_out_bank,
    held_out_spoken,
    normal,
    raw,
    retrieval,
    similarity,
)
from avi_lib.evaluation.report import DIFFERENCE, Estimate, Row, Table, differences, estimate_of, joined, tabulate
from avi_lib.evaluation.systems import score_exchange
from avi_lib.face.head import Head, load_head
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.instruction.instructor import Instructor
from avi_lib.instruction.language_model import load_language_model
from avi_lib.instruction.text_encoder import TextEncoder, load_text_encoder
from avi_lib.motion.generator import LearnedGenerator, load_generator
from avi_lib.motion.prior import PriorModel, PriorSampler
from avi_lib.settings import InstructorSettings, PriorSettings, Profile, SampleSettings, TalkingSettings, TrainSettings
from avi_lib.speech.encoders import load_encoder
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.training.generator import train_talking
from avi_lib.training.instructor import FrozenModels, sound_features, train_instructor
from avi_lib.training.instructor_data import FeatureBank, make_feature_bank
from avi_lib.training.loop import choose_device
from avi_lib.training.prior import StyleBank, make_bank, train_prior

PARTS = ("alignment", "diffusion", "exchange")
WHOLE = "whole"
_SAMPLES, _TEXTS = 10, 40
"""Samples of a sentence whose diversity is taken, and sentences."""
S = TypeVar("S")
T = TypeVar("T")
_SCRIPTS = "scripts whose combinations of action units and strengths training does not hold, held-out speakers"
_PAIRS = "pairs of held-out clips that perform each other's scripts"

INSTRUCTIONS: dict[str, Measure] = {
    "heard_right": Measure("emotion heard", "", "higher", "clips of held-out speakers", "accuracy of the likeliest"),
    "heard_share": Measure("probability of it", "", "higher", "the same clips", "given to the emotion that was meant"),
}
_RECALL = Measure("unweighted recall", "", "higher", "the same clips", "mean over emotions, whatever their number")

STYLES: dict[str, Measure] = {
    "cosine": Measure("cosine to the true style", "", "higher", _SCRIPTS, "of normalised styles"),
    "text_to_style": Measure("text to style, top 1", "", "higher", _SCRIPTS, "retrieval among all scripts"),
    "diversity": Measure(
        "diversity", "", "higher", "ten samples of each sentence", "mean distance, as AVI-Talking's code"
    ),
}
_ENERGY = Measure("energy distance", "", "lower", _SCRIPTS, "drawn against true styles: 0 when alike in distribution")
_F1 = Measure("asked units that move, F1", "", "higher", _SCRIPTS, "units measured in generated motion")

EXCHANGED: dict[str, Measure] = {
    "eve_exchanged": Measure("EVE, exchanged style", "mm", "lower", _PAIRS, "against the performance asked for"),
    "eve_share": Measure("EVE / distance of the styles", "", "lower", _PAIRS, "1 is a style that is not heeded"),
    "lve_exchanged": Measure("LVE, exchanged style", "mm", "lower", _PAIRS, "lips under another's style"),
    "lve_own": Measure("LVE, own style", "mm", "lower", "the same clips in their own style", "lips"),
}  # fmt: skip


def shortened(sizes: Profile, steps: int) -> Profile:
    """A profile whose trainings take at most so many steps, on data to match: to show that they run."""

    def few(train: TrainSettings, most: int = steps, batch: int = 1 << 16) -> TrainSettings:
        count = min(train.steps, most)
        kept = {"steps": count, "warmup": min(train.warmup, count), "batch": min(train.batch, batch)}
        return train.model_copy(update=kept)

    instructor, prior = sizes.instructor, sizes.prior
    heard = {"align": few(instructor.align), "speak": few(instructor.speak, 1, 2), "write": few(instructor.write, 1, 2)}
    drawn = {"scripts": min(prior.scripts, max(32, 8 * steps)), "held_out": min(prior.held_out, max(8, steps))}
    return sizes.model_copy(
        update={
            "instructor": instructor.model_copy(update={**heard, "views": 1, "sounds": min(instructor.sounds, 8)}),
            "talking": sizes.talking.model_copy(update={"train": few(sizes.talking.train, batch=8)}),
            "prior": prior.model_copy(update={**drawn, "train": few(prior.train)}),
        }
    )


def without_alignment(settings: InstructorSettings) -> InstructorSettings:
    """No contrast of speech with sentences: the Q-Former learns through the language model alone, for as many steps."""
    write = settings.write.model_copy(update={"steps": settings.align.steps + settings.write.steps})
    return settings.model_copy(update={"contrast": False, "write": write})


def without_diffusion(settings: PriorSettings) -> PriorSettings:
    """A regression from the sentence to the mean of the styles that fit."""
    return settings.model_copy(update={"regression": True})


def without_exchange(settings: TalkingSettings) -> TalkingSettings:
    """Every clip shows its own style, and no real style is exchanged."""
    return settings.model_copy(update={"exchanged": 0.0, "unlabelled": 0.0})


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
    rows, heard = [], {}
    for system, how in _both(settings, "without alignment", without_alignment).items():
        spoken = folder / "speak"
        trained = train_instructor(learned, sounds, models, how, _place(folder, system), device, False, spoken=spoken)
        instructor = Instructor(trained.model, models.encoder, models.language, system)
        verdict = predict_bank(instructor, held).verdict()
        for share, right, meant, clip in zip(verdict.shares, verdict.right, verdict.meant, held.clips, strict=True):
            scores = {"heard_right": float(right), "heard_share": float(share[EMOTIONS.index(meant)])}
            rows.append(Row(system, clip.speaker, scores))
        heard[system] = list(zip(verdict.heard, verdict.meant, strict=True))
    how_measured = (
        f"Instructors trained on {len(learned)} clips, measured on {len(held)}. Without alignment the contrastive "
        "stage is left out and its steps are given to writing, through which the Q-Former then learns."
    )
    rows += differences(rows)
    table = tabulate("alignment", "Ablation of stage 1: alignment", how_measured, rows, INSTRUCTIONS, seed)
    recalls = _estimates("recall", lambda some: recall(*zip(*some, strict=True)), heard, seed)
    return joined(table, {"recall": _RECALL}, recalls)


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
    bank = make_bank(
        corpora, generator.model, encoder, settings.scripts, settings.texts, seed, folder=kept, progress=False
    )
    asked = held_out_bank(corpora, generator, encoder, "combination", settings.held_out, 5, "units", kept)
    scenes, rows = held_out_spoken(corpora), []
    wholes: dict[tuple[str, str], Estimate] = {}
    varied, moved = {}, {}
    for system, how in _both(settings, "without diffusion", without_diffusion).items():
        prior, _ = train_prior(bank, encoder, generator.model, how, _place(folder, system), device, False)
        prior = prior.cpu()
        drawn, true = draw_bank(prior, asked, SampleSettings()), normal(prior, asked.styles)
        found = retrieval(similarity(drawn, true), 1)
        for number, (cosine, first) in enumerate(zip(cosines(drawn, true), found, strict=True)):
            rows.append(Row(system, str(number), {"cosine": float(cosine), "text_to_style": float(first)}))
        varied[system] = _diversity(prior, asked).tolist()
        wholes["energy", system] = Estimate(energy_distance(drawn, true), np.nan, np.nan, len(asked), "scripts")
        prior_sampler = PriorSampler(prior, encoder, system)
        moved[system] = asked_and_moved(prior_sampler, generator, scenes, asked, raw(prior, drawn))
    wholes |= _estimates("diversity", _mean, varied, seed) | _estimates("f1", f1, moved, seed)
    how_measured = (
        f"Priors trained on {len(bank)} scripts, measured on {len(asked)} held out. Without diffusion the same network "
        "is trained to tell the style at once, which is the mean of the styles that fit a sentence."
    )
    rows += differences(rows)
    table = tabulate("diffusion", "Ablation of stage 2: diffusion", how_measured, rows, STYLES, seed, "scripts")
    return joined(table, {"diversity": STYLES["diversity"], "energy": _ENERGY, "f1": _F1}, wholes)


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
    for system, how in _both(settings, "without exchange", without_exchange).items():
        model, _ = train_talking(mixture, how, _place(folder, system), device, False)
        model = model.cpu()
        for item in items:
            scores = score_exchange(model, [item], head)
            named = {
                "eve_exchanged": scores["EVE exchanged"],
                "eve_share": scores["EVE exchanged"] / scores["EVE distance"] if scores["EVE distance"] else np.nan,
                "lve_exchanged": scores["LVE exchanged"],
                "lve_own": scores["LVE own"],
            }
            rows.append(Row(system, item.clip.speaker, named))
    heard = {item.clip.text for item in mixture.items} - {None}
    known = sum(item.clip.text in heard for item in items)
    how_measured = (
        f"Talking models trained on {len(mixture.items)} items, measured on {len(items)} clips of held-out voices, of "
        f"which {known} say words of training. Without exchange every clip shows its own style in training."
    )
    rows += differences(rows)
    return tabulate("exchange", "Ablation of stage 2: exchange", how_measured, rows, EXCHANGED, seed)


def f1(pairs: Sequence[tuple[Strengths, Strengths]]) -> float:
    """F1 of the units that move against those that are asked for, over all pairs; see `score_asked`."""
    hits = sum(len(asked.keys() & moved.keys()) for asked, moved in pairs)
    both = sum(len(asked) + len(moved) for asked, moved in pairs)
    return 2 * hits / both if both else float("nan")


def _diversity(prior: PriorModel, bank: StyleBank) -> Float[np.ndarray, " texts"]:
    """Diversity of ten samples of each of the first sentences."""
    count = min(_TEXTS, len(bank))
    embedding = prior.read(bank.first_states(count)).at(torch.arange(count).repeat_interleave(_SAMPLES))
    styles = normal(prior, prior.draw(embedding, list(range(count * _SAMPLES)), SampleSettings()))
    return diversity(styles.reshape(count, _SAMPLES, -1))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _estimates(
    measure: str, statistic: Callable[[Sequence[T]], float], items: Mapping[str, Sequence[T]], seed: int
) -> dict[tuple[str, str], Estimate]:
    """A statistic of all items of each system, and the difference of the two with items drawn anew in pairs."""
    found = {
        (measure, system): estimate_of(statistic, own, np.random.default_rng(seed)) for system, own in items.items()
    }

    def apart(pairs: Sequence[tuple[T, T]]) -> float:
        whole, part = zip(*pairs, strict=True)
        return statistic(part) - statistic(whole)

    pairs = list(zip(*items.values(), strict=True))
    return {**found, (measure, DIFFERENCE): estimate_of(apart, pairs, np.random.default_rng(seed))}


def _both(settings: S, name: str, without: Callable[[S], S]) -> Mapping[str, S]:
    return {WHOLE: settings, name: without(settings)}


def _place(folder: Path, system: str) -> Path:
    return folder / system.replace(" ", "_")


def ablate(
    part: str,
    corpora: Sequence[Corpus],
    sizes: Profile,
    folder: Path,
    kept: Path,
    seed: int = 0,
    known_words: bool = False,
) -> Table:
    """One of `PARTS` on prepared corpora; what a folder holds of its trainings is gone on with.

    Args:
        part: what is left out.
        corpora: prepared ones with speakers held out, who are scored.
        sizes: of the trainings.
        folder: of their checkpoints.
        kept: where hearings and states of texts are kept by content.
        seed: the source of every choice but those of the trainings, which have their own.
        known_words: score the motion of all held-out speakers, also where somebody says the same words in training.
    """
    device, _ = choose_device()
    if part == "alignment":
        models = FrozenModels(load_encoder(), load_text_encoder(), load_language_model())
        bank = make_feature_bank(corpora, models.encoder.name, sizes.instructor.views, seed, kept / "hearing")
        learned, held = (bank.select([(clip.split == "train") == own for clip in bank.clips]) for own in (True, False))
        sounds = sound_features(models.encoder, sizes.instructor.sounds, seed)
        return ablate_alignment(learned, held, sounds, models, sizes.instructor, folder / part, device, seed)
    if part == "diffusion":
        texts = kept / "texts"
        generator, encoder = load_generator(), load_text_encoder()
        return ablate_diffusion(corpora, generator, encoder, sizes.prior, folder / part, texts, device, seed)
    mixture = Mixture.of(corpora, "train", sizes.talking.frames, without=shared_voices(corpora))
    items = held_out(corpora, known_words)
    return ablate_exchange(mixture, items, sizes.talking, folder / part, load_head(), device, seed)
