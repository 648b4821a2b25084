"""Training the instructor: clips in, a network out that lets a frozen language model write what it hears.

>>> trained = train_instructor(bank, sounds, models, settings, folder=run / "instructor")
>>> save_instructor_model(trained.model, run / "instructor.safetensors", about)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avi_lib.instruction.adapters import add_adapters, sizes_of
from avi_lib.instruction.answers import FEELINGS, QUESTIONS, answer
from avi_lib.instruction.familiarity import pooled
from avi_lib.instruction.instructor_model import InstructorModel, InstructorShape, Prompter, stack
from avi_lib.instruction.language_model import LanguageModel
from avi_lib.instruction.text_encoder import TextEncoder
from avi_lib.settings import InstructorSettings
from avi_lib.speech.encoder import SpeechEncoder
from avi_lib.speech.hearing import Hearing, hear
from avi_lib.speech.no_speech import draw_sound
from avi_lib.stages.alignment import AlignLosses, Judged, Sentences
from avi_lib.stages.hearing_bank import HearingBank
from avi_lib.stages.writing import BELIEFS, BeliefLosses, Voice, WriteLosses
from avi_lib.training.loop import LogLine, train
from avi_lib.training.weights import fingerprint

USUAL = 24
"""Directions in which the clips of a corpus differ, at most half of all."""
SUMMARISED = 64
"""Hearings that are summarised at once."""


OnLog = Callable[[str, LogLine], None]


@dataclass(frozen=True, eq=False)
class FrozenModels:
    """The models an instructor is trained for; none of their weights changes."""

    encoder: SpeechEncoder
    texts: TextEncoder
    language: LanguageModel


@dataclass(frozen=True, eq=False)
class TrainedInstructor:
    """The network with averaged weights, and the lines of the three logs."""

    model: InstructorModel
    aligned: list[LogLine]
    spoken: list[LogLine]
    written: list[LogLine]


def train_instructor(
    bank: HearingBank,
    sounds: Sequence[Hearing],
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: OnLog | None = None,
    spoken: Path | None = None,
) -> TrainedInstructor:
    """Align, then learn to write, or go on with either, in a folder.

    Args:
        bank: the clips of training, heard with the models' speech encoder.
        sounds: what is no speech.
        models: speech encoder, text encoder and language model.
        settings: the recipe.
        folder: where checkpoints and logs are kept, in `align`, `speak` and `write`.
        device: where the alignment is computed; the processor when None.
        progress: as in `train`.
        on_log: called with "align", "speak" or "write" and every line of its log.
        spoken: where the checkpoint of `speak` is kept, below `folder` when None; it depends on no clip, so that
            several trainings may share it.

    Raises:
        AviError: a loss is not finite.
        InputError: the folder holds a checkpoint of something else.
    """
    model, aligned = align(bank, sounds, models, settings, folder, device, progress, on_log)
    model.prompter, said = speak(models.language, model.shape, settings, spoken or folder / "speak", progress, on_log)
    written = write(model, bank, models.language, settings, folder, progress, on_log)
    return TrainedInstructor(model, aligned, said, written)


def align(
    bank: HearingBank,
    sounds: Sequence[Hearing],
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: OnLog | None = None,
) -> tuple[InstructorModel, list[LogLine]]:
    """The first part of `train_instructor`: a model whose ears are trained, and the log's lines.

    Without contrast the ears stay as chance made them, and are left to `write`.
    """
    encoder, texts, language = models.encoder, models.texts, models.language
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
        worlds=len(corpora_of(bank)),
        usual=min(USUAL, encoder.dim),
        manner=settings.manner,
        familiar=settings.familiar,
        words=settings.words > 0,
    )
    sentences = Sentences(texts, settings.paraphrases, settings.align.seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.align.seed)
        model = InstructorModel(shape, settings.dropout)
        learner = Judged(model, shape.worlds) if settings.adversary else model
    _normalise(model, bank)
    if not settings.contrast:
        model.anchors.copy_(sentences.places(model.eval()))
        return model, []
    losses = AlignLosses(bank, sounds, sentences, settings)
    trained = train(
        learner,
        losses,
        items=len(losses.order),
        settings=settings.align,
        folder=folder / "align",
        recipe=recipe("align", bank, settings, vars(shape)),
        device=device,
        progress=progress,
        on_log=(lambda line: on_log("align", line)) if on_log else None,
    )
    learned = trained.model.learner if isinstance(trained.model, Judged) else trained.model
    assert isinstance(learned, InstructorModel)
    learned = learned.cpu().eval()
    learned.anchors.copy_(sentences.places(learned))
    return learned, trained.log


def speak(
    language: LanguageModel,
    shape: InstructorShape,
    settings: InstructorSettings,
    folder: Path,
    progress: bool | None = None,
    on_log: OnLog | None = None,
) -> tuple[Prompter, list[LogLine]]:
    """The second part: a projection through which the language model says what it is told to believe."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.speak.seed)
        prompter = Prompter(shape)
    prompter.loudness.data.fill_(language.scale)
    kept = [language.fingerprint, *prompter.size, shape.hidden, shape.aligned, settings.speak.model_dump()]
    trained = train(
        Voice(prompter),
        BeliefLosses(language),
        items=BELIEFS,
        settings=settings.speak,
        folder=folder,
        recipe=hashlib.sha256(json.dumps([kept, [answer(*f) for f in FEELINGS], QUESTIONS]).encode()).hexdigest(),
        progress=progress,
        on_log=(lambda line: on_log("speak", line)) if on_log else None,
    )
    assert isinstance(trained.model, Voice)
    return trained.model.prompter, trained.log


def write(
    model: InstructorModel,
    bank: HearingBank,
    language: LanguageModel,
    settings: InstructorSettings,
    folder: Path,
    progress: bool | None = None,
    on_log: OnLog | None = None,
) -> list[LogLine]:
    """The third part: the projection of an aligned model is trained on clips, in place; the log's lines.

    Without contrast the ears are trained with it.
    """
    start = fingerprint(model)
    losses = WriteLosses(bank, model.requires_grad_(False), language, settings)
    adapters = add_adapters(language, settings.lora, settings.write.seed) if settings.lora else None
    ears = None if settings.contrast else _ears(model)
    trained = train(
        Voice(model.prompter.requires_grad_(True), adapters, ears),
        losses,
        items=len(losses.order),
        settings=settings.write,
        folder=folder / "write",
        recipe=recipe("write", bank, settings, {**vars(model.shape), "start": start}),
        progress=progress,
        on_log=(lambda line: on_log("write", line)) if on_log else None,
    )
    assert isinstance(trained.model, Voice)
    model.prompter = trained.model.prompter
    if trained.model.ears is not None:
        heard = trained.model.ears.state_dict()
        model.load_state_dict({**model.state_dict(), **heard})
    if adapters is not None and trained.model.adapters is not None:
        adapters.take(trained.model.adapters.named())
        language.network.requires_grad_(False)
        model.shape = replace(model.shape, lora=settings.lora, adapters=sizes_of(adapters))
        model.adapters = nn.ParameterList([nn.Parameter(w, requires_grad=False) for w in adapters.named().values()])
    model.eval()
    return trained.log


def _ears(model: InstructorModel) -> InstructorModel:
    """A copy of a model to be trained, without its projection."""
    ears = deepcopy(model).requires_grad_(True)
    ears.prompter = nn.Identity()  # type: ignore[assignment]
    return ears


def hear_sounds(encoder: SpeechEncoder, count: int, seed: int = 0) -> list[Hearing]:
    """Hearings of sounds that are no speech, of 1 to 4 seconds."""
    rng = np.random.default_rng([seed, count])
    return [hear(draw_sound(float(rng.uniform(1, 4)), rng), encoder) for _ in range(count)]


def recipe(part: str, bank: HearingBank, settings: InstructorSettings, shape: Mapping[str, object]) -> str:
    """What is trained on what: settings but those of the loops, shape, and the bank's content."""
    kept = settings.model_dump(exclude={"align", "speak", "write"})
    return hashlib.sha256(json.dumps([part, bank.digest, kept, dict(shape)], sort_keys=True).encode()).hexdigest()


@torch.no_grad()
def _normalise(model: InstructorModel, bank: HearingBank) -> None:
    """Set means and deviations, and the directions and the range of what is usual."""
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
    for world, corpus in enumerate(corpora_of(bank)):
        here = [clip.corpus == corpus for clip in bank.clips]
        own = [hearing for views in bank.select(here).views for hearing in views]
        parts = [stack(own[i : i + SUMMARISED]) for i in range(0, len(own), SUMMARISED)]
        model.usual.learn(world, torch.cat([pooled(part.states, part.there) for part in parts]))


def corpora_of(bank: HearingBank) -> list[str]:
    """Names of the corpora of a bank, each a world of its own."""
    return sorted({clip.corpus for clip in bank.clips})
