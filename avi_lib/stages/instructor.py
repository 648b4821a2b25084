"""Training the instructor: clips in, a network out that lets a frozen language model write what it hears.

>>> trained = train_instructor(bank, sounds, encoder, texts, language, settings, folder=run / "instructor")
>>> save_instructor_model(trained.model, run / "instructor.safetensors", about)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avi_lib.corpus.corpus import Corpus
from avi_lib.instruction.instructor_model import InstructorModel, InstructorShape, pooled, stack
from avi_lib.instruction.language_model import LanguageModel
from avi_lib.instruction.text_encoder import TextEncoder
from avi_lib.settings import InstructorSettings
from avi_lib.speech.encoder import SpeechEncoder
from avi_lib.speech.hearing import Hearing, hear
from avi_lib.speech.no_speech import draw_sound
from avi_lib.stages.alignment import AlignLosses, Judged, Sentences, feelings_of
from avi_lib.stages.hearing_bank import HearingBank
from avi_lib.stages.writing import Voice, WriteLosses
from avi_lib.training.loop import LogLine, train

USUAL_AT = 99.0
"""Percentile of the strangeness of training clips up to which states are familiar."""


@dataclass(frozen=True, eq=False)
class TrainedInstructor:
    """The network with averaged weights, and the lines of both logs."""

    model: InstructorModel
    aligned: list[LogLine]
    written: list[LogLine]


def train_instructor(
    bank: HearingBank,
    sounds: Sequence[Hearing],
    encoder: SpeechEncoder,
    texts: TextEncoder,
    language: LanguageModel,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: Callable[[str, LogLine], None] | None = None,
) -> TrainedInstructor:
    """Align, then learn to write, or go on with either, in a folder.

    Args:
        bank: the clips of training.
        sounds: what is no speech.
        encoder: what the bank was heard with.
        texts: encoder of the sentences that speech is aligned with.
        language: the frozen language model.
        settings: the recipe.
        folder: where checkpoints and logs are kept, `align` and `write`.
        device: where the alignment is computed; the processor when None.
        progress: as in `train`.
        on_log: called with "align" or "write" and every line of its log.

    Raises:
        AviError: a loss is not finite.
        InputError: the folder holds a checkpoint of something else.
    """
    model, aligned = align(bank, sounds, encoder, texts, language, settings, folder, device, progress, on_log)
    written = write(model, bank, texts, language, settings, folder, progress, on_log)
    return TrainedInstructor(model, aligned, written)


def align(
    bank: HearingBank,
    sounds: Sequence[Hearing],
    encoder: SpeechEncoder,
    texts: TextEncoder,
    language: LanguageModel,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: Callable[[str, LogLine], None] | None = None,
) -> tuple[InstructorModel, list[LogLine]]:
    """The first half of `train_instructor`: a model whose ears are trained, and the log's lines."""
    shape = InstructorShape(
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        states=encoder.dim,
        layers=encoder.layers,
        text_encoder=texts.name,
        text_fingerprint=texts.fingerprint,
        text=texts.dim,
        language_model=language.name,
        language_fingerprint=language.fingerprint,
        width=language.width,
        aligned=settings.aligned,
        features=settings.features,
        queries=settings.queries,
        blocks=settings.blocks,
        heads=settings.heads,
        tokens=settings.tokens,
        hidden=settings.hidden,
        manner=settings.manner,
        familiar=settings.familiar,
        words=settings.words > 0,
    )
    sentences = Sentences(feelings_of(bank), texts, settings.paraphrases, settings.align.seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.align.seed)
        model = InstructorModel(shape, settings.dropout)
        learner = Judged(model, len({clip.corpus for clip in bank.clips})) if settings.adversary else model
    _normalise(model, bank, language)
    losses = AlignLosses(bank, sounds, sentences, settings)
    trained = train(
        learner,
        losses,
        items=len(losses.order),
        settings=settings.align,
        folder=folder / "align",
        recipe=recipe("align", bank, settings, asdict_of(shape)),
        device=device,
        progress=progress,
        on_log=(lambda line: on_log("align", line)) if on_log else None,
    )
    learned = trained.model.learner if isinstance(trained.model, Judged) else trained.model
    assert isinstance(learned, InstructorModel)
    return learned.cpu().eval(), trained.log


def write(
    model: InstructorModel,
    bank: HearingBank,
    texts: TextEncoder,
    language: LanguageModel,
    settings: InstructorSettings,
    folder: Path,
    progress: bool | None = None,
    on_log: Callable[[str, LogLine], None] | None = None,
) -> list[LogLine]:
    """The second half: the projection of an aligned model is trained, in place; the log's lines."""
    sentences = Sentences(feelings_of(bank), texts, settings.paraphrases, settings.align.seed)
    losses = WriteLosses(bank, model.requires_grad_(False), language, sentences, settings)
    voice = Voice(model.prompter.requires_grad_(True))
    trained = train(
        voice,
        losses,
        items=len(losses.order),
        settings=settings.write,
        folder=folder / "write",
        recipe=recipe("write", bank, settings, asdict_of(model.shape)),
        progress=progress,
        on_log=(lambda line: on_log("write", line)) if on_log else None,
    )
    assert isinstance(trained.model, Voice)
    model.prompter = trained.model.prompter
    model.eval()
    return trained.log


def hear_sounds(encoder: SpeechEncoder, count: int, seed: int = 0) -> list[Hearing]:
    """Hearings of sounds that are no speech, of 1 to 4 seconds."""
    rng = np.random.default_rng([seed, count])
    return [hear(draw_sound(float(rng.uniform(1, 4)), rng), encoder) for _ in range(count)]


def about_instructor(
    corpora: Sequence[Corpus], settings: InstructorSettings, licences: Mapping[str, str], digest: str
) -> dict[str, object]:
    """What an instructor was trained on and how, for its header.

    licences: by the name of the corpus; digest: of the bank.
    """
    named = {corpus.folder.name: licences.get(corpus.folder.name, "unknown") for corpus in corpora}
    return {"corpora": named, "settings": settings.model_dump(), "bank": digest}


def recipe(part: str, bank: HearingBank, settings: InstructorSettings, shape: Mapping[str, object]) -> str:
    """What is trained on what: settings but those of the loop, shape, and the bank's content."""
    kept = settings.model_dump(exclude={"write"} if part == "align" else {"write": {"steps"}})
    return hashlib.sha256(json.dumps([part, bank.digest, kept, dict(shape)], sort_keys=True).encode()).hexdigest()


def asdict_of(shape: InstructorShape) -> dict[str, object]:
    """A shape's values by name."""
    return dict(vars(shape))


@torch.no_grad()
def _normalise(model: InstructorModel, bank: HearingBank, language: LanguageModel) -> None:
    """Set means and deviations, the directions and the range of what is usual, and the size of the prompt."""
    every = [hearing for views in bank.views for hearing in views]
    sums, squares, count = 0.0, 0.0, 0
    for hearing in every:
        states = hearing.states.astype(np.float64)
        sums, squares = sums + states.sum(axis=1), squares + np.square(states).sum(axis=1)
        count += states.shape[1]
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 1e-8))
    model.qformer.mean.copy_(torch.from_numpy(mean)[:, None])
    model.qformer.deviation.copy_(torch.from_numpy(deviation)[:, None])
    numbers = np.stack([hearing.manner for hearing in every]).astype(np.float64)
    model.manner_mean.copy_(torch.from_numpy(numbers.mean(axis=0)))
    model.manner_deviation.copy_(torch.from_numpy(numbers.std(axis=0) + 1e-4))
    summaries = torch.cat([pooled(stack(every[i : i + 64])) for i in range(0, len(every), 64)])
    model.usual_mean.copy_(summaries.mean(dim=0))
    model.usual_deviation.copy_(summaries.std(dim=0) + 1e-5)
    normal = (summaries - model.usual_mean) / model.usual_deviation
    axes = torch.linalg.svd(normal.double(), full_matrices=False).Vh[: model.shape.usual].float()
    model.usual_axes[: len(axes)].copy_(axes)
    strange = model.strangeness(summaries)
    model.usual_to.fill_(float(np.percentile(strange.numpy(), USUAL_AT)))
    model.prompter.loudness.data.fill_(language.scale)
