"""Training the diffusion prior: a bank of sentences and styles in, a network that draws styles for sentences out.

>>> bank = make_bank(corpora, talking, encoder, scripts=400, texts=2, seed=0)
>>> losses = PriorLosses(bank, settings, model)
>>> losses(model, np.arange(16), np.random.default_rng(0), way=0.0)["loss"].backward()
>>> model, log = train_prior(bank, encoder, talking, settings, folder=run / "prior")
>>> save_prior(model, run / "prior.safetensors", about)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn import functional
from tqdm import tqdm

from avi_lib.corpus.dataset import Corpus, shared_voices
from avi_lib.corpus.scripts import Draw, Kind, StyleScript, draw_style_script, is_held_combination, said_in_training
from avi_lib.errors import InputError
from avi_lib.files import content_sha256
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.language_model import TextEncoder, TextStates, encode_texts
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import FPS, TalkingModel
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import TIMES, PriorModel, PriorShape, scheduler_of
from avi_lib.settings import PriorSettings
from avi_lib.training.loop import How, LogLine, Losses, train
from avi_lib.weights import fingerprint

SPREAD = 0.04
"""How far a performed strength may be from the one its word stands for."""
RIDGE = 1e-3
"""Weight of the size of the map from styles to channels, in units of the styles' variance."""


@dataclass(frozen=True, eq=False)
class StyleBank:
    """Scripts, their styles, and the states of their sentences: script i has the texts `texts_of[i]`.

    `levels` are means over time of every channel of the motion that a style was taken from.
    """

    scripts: tuple[StyleScript, ...]
    styles: Float32[np.ndarray, "scripts style"]
    levels: Float32[np.ndarray, "scripts channels"]
    texts: TextStates
    texts_of: tuple[range, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.scripts)

    def first_states(self, most: int | None = None) -> list[Float32[np.ndarray, "_ dim"]]:
        """States of the first sentence of every script, of the first `most` ones."""
        return [self.texts.of(texts[0]) for texts in self.texts_of[:most]]


def make_bank(
    corpora: Sequence[Corpus],
    talking: TalkingModel,
    encoder: TextEncoder,
    scripts: int,
    texts: int,
    seed: int,
    draw: Draw = "train",
    kind: Kind | None = None,
    splits: Sequence[str] = ("train",),
    real: bool = True,
    folder: Path | None = None,
    progress: bool | None = None,
) -> StyleBank:
    """Draw scripts, perform them, take their styles and encode their sentences.

    Args:
        corpora: prepared ones in the space ARKIT.
        talking: its style encoder looks at the performances.
        encoder: of the sentences.
        scripts: how many.
        texts: sentences a script, at most.
        seed: the source of every choice.
        draw: what is held out; see `draw_style_script`.
        kind: of all scripts, drawn when None.
        splits: whose speakers perform; a voice that one corpus holds out does not train through another.
        real: whether real motion of these splits goes in too, where every channel of it is true.
        folder: where states of texts are kept by content; nowhere when None.
        progress: as in `train`.

    Raises:
        InputError: no performed clip of a second or more.
    """
    without = shared_voices(corpora) if "train" in splits else frozenset()
    clips = [
        (corpus, clip)
        for corpus in corpora
        for clip in corpus.clips
        if clip.split in splits and clip.motion == "performed" and clip.frames >= FPS and clip.recording not in without
    ]
    if not clips or any(corpus.space is not ARKIT for corpus in corpora):
        got = f"none of the split {', '.join(splits)} in {', '.join(str(corpus.folder) for corpus in corpora)}"
        raise InputError("performed clips of a second and more, in the space ARKIT", got, "add such a corpus")
    rng = np.random.default_rng([seed, scripts, len(clips)])
    plain = sorted({clip.text for _, clip in clips if clip.text})
    drawn = [draw_style_script(rng, texts, plain, draw, kind) for _ in range(scripts)]
    performers: dict[int, Performer] = {}
    styles, levels = [], []
    for script in tqdm(drawn, "performing", leave=False, disable=None if progress is None else not progress):
        number = int(rng.integers(len(clips)))
        if number not in performers:
            corpus, clip = clips[number]
            performers[number] = corpus.performer(clip)
        motion = performers[number].perform_with_still(_varied(script.instruction, rng), int(rng.integers(2**62)))[1]
        styles.append(talking.style_of(motion))
        levels.append(motion.values.mean(axis=0))
    for script, motion in _real_motion(corpora, splits, texts, rng) if real else ():
        drawn.append(script)
        styles.append(talking.style_of(motion))
        levels.append(motion.values.mean(axis=0))
    said = [text for script in drawn for text in script.texts]
    ends = np.cumsum([len(script.texts) for script in drawn]).tolist()
    texts_of = tuple(range(end - len(script.texts), end) for script, end in zip(drawn, ends, strict=True))
    states = encode_texts(said, encoder, folder, progress)
    content = [encoder.fingerprint, fingerprint(talking), hashlib.sha256(np.stack(styles).tobytes()).hexdigest()]
    digest = content_sha256([*content, *said])
    return StyleBank(tuple(drawn), np.stack(styles), np.stack(levels), states, texts_of, digest)


def _varied(instruction: Instruction, rng: np.random.Generator) -> Instruction:
    """The same with strengths somewhere about those that the words stand for."""
    units = {
        name: float(np.clip(strength + rng.uniform(-SPREAD, SPREAD), 0.0, 1.0)) if strength else 0.0
        for name, strength in instruction.action_units.items()
    }
    return Instruction(instruction.text, instruction.emotion, instruction.level, units)


def _real_motion(
    corpora: Sequence[Corpus], splits: Sequence[str], texts: int, rng: np.random.Generator
) -> Iterator[tuple[StyleScript, MotionClip]]:
    """Clips of real motion whose channels are all true, with what was measured in them said in wordings of training."""
    for corpus in corpora:
        for clip in corpus.clips:
            if clip.motion == "performed" or clip.split not in splits or not corpus.present(clip).all():
                continue
            script = corpus.scripts[clip.scripts[0]]
            parts = Instruction(script.texts[0], script.emotion, script.level, script.action_units)
            if not is_held_combination(parts) and (said := said_in_training(parts, texts, rng)):
                motion = MotionClip(corpus.motion(clip).astype(np.float32), FPS, ARKIT)
                yield StyleScript("mix", parts, said), motion


class PriorLosses:
    """The losses of a batch, as the training loop asks for them."""

    def __init__(self, bank: StyleBank, settings: PriorSettings, model: PriorModel) -> None:
        self.bank, self.settings = bank, settings
        self.styles = model.normal(torch.from_numpy(bank.styles))
        self.scheduler = scheduler_of()

    def __call__(self, model: PriorModel, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        """Named losses of the scripts of these numbers; "loss" is their weighted sum."""
        settings, device = self.settings, model.mean.device
        texts = [int(rng.choice(self.bank.texts_of[int(item)])) for item in items]
        states, mask = (torch.from_numpy(array).to(device) for array in self.bank.texts.batch(texts))
        styles = self.styles[torch.from_numpy(items)].to(device)
        random = torch.Generator().manual_seed(int(rng.integers(2**62)))
        times = torch.randint(TIMES, (len(items),), generator=random)
        noise = torch.randn(styles.shape, generator=random).to(device)
        dropped = (torch.rand(len(items), generator=random) < settings.dropped).to(device)
        embedding = model.network.read(states, mask)
        if settings.regression:
            times, noisy = torch.full_like(times, TIMES - 1), torch.zeros_like(styles)
        else:
            noisy = self.scheduler.add_noise(styles, noise, times.to(device))
        predicted = model.network(noisy, times.to(device), model.network.drop_text(embedding, dropped)).float()
        diffusion = (predicted - styles).square().mean()
        contrast = soft_contrast(embedding.aligned, functional.normalize(styles, dim=1), self.temperature(way))
        loss = torch.zeros((), device=device) + settings.diffusion * diffusion + settings.contrast * contrast
        return {"diffusion": diffusion, "contrast": contrast, "loss": loss}

    def temperature(self, way: float) -> float:
        """Of the contrast, from cold to warm along half a cosine."""
        return self.settings.cold + (self.settings.warm - self.settings.cold) * (0.5 - 0.5 * math.cos(math.pi * way))


def soft_contrast(sentences: torch.Tensor, styles: torch.Tensor, temperature: float) -> torch.Tensor:
    """Contrast with soft labels, both ways: sentences should be as near to all styles as the own style is to them.

    sentences, styles: (batch, 128) of length 1. Labels are the styles' own similarities, so that two scripts that look
    alike are no opposites (Gao et al. 2023, SoftCLIP).
    """
    with torch.autocast(sentences.device.type, enabled=False):  # cosines near 1, divided by a small number
        labels = (styles @ styles.T / temperature).softmax(dim=1)
        alike = sentences @ styles.T / temperature
        there = -(labels * alike.log_softmax(dim=1)).sum(dim=1).mean()
        back = -(labels * alike.T.log_softmax(dim=1)).sum(dim=1).mean()
        return 0.5 * (there + back)


def untrained(bank: StyleBank, encoder: TextEncoder, talking: TalkingModel, settings: PriorSettings) -> PriorModel:
    """A prior of random weights, the same for the same seed, normalised by the styles of a bank."""
    shape = PriorShape(
        text_encoder=encoder.name,
        text_fingerprint=encoder.fingerprint,
        text=encoder.dim,
        space=talking.shape.space,
        styles=fingerprint(talking),
        **{name: getattr(settings, name) for name in ("width", "blocks", "heads", "words", "regression")},
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.train.seed)
        model = PriorModel(shape, settings.dropout)
    mean = bank.styles.mean(axis=0)
    centred = bank.styles - mean
    variance = np.linalg.eigvalsh(np.cov(centred.T))
    effective = variance.sum() ** 2 / np.square(variance).sum()  # participation ratio
    scale = float(np.sqrt(variance.sum() / effective))
    normal = centred / scale
    levels = bank.levels - bank.levels.mean(axis=0)
    gram = normal.T @ normal + RIDGE * len(normal) * np.eye(normal.shape[1], dtype=np.float32)
    model.mean.copy_(torch.from_numpy(mean))
    model.scale.fill_(scale)
    model.held.copy_(torch.from_numpy(np.linalg.solve(gram, normal.T @ levels).T.astype(np.float32)))
    return model


def train_prior(
    bank: StyleBank,
    encoder: TextEncoder,
    talking: TalkingModel,
    settings: PriorSettings,
    folder: Path,
    **how: Unpack[How],
) -> tuple[PriorModel, list[LogLine]]:
    """Train, or go on training, in a folder; the averaged model and the log's lines. `how`, and errors: see `train`."""
    model = untrained(bank, encoder, talking, settings)
    losses = PriorLosses(bank, settings, model)
    model, log = train(model, losses, len(bank), settings.train, folder, recipe(bank, settings), **how)
    return model.eval(), log


def recipe(bank: StyleBank, settings: PriorSettings) -> str:
    """What is trained on what: settings but the loop's own, and the bank's content."""
    return content_sha256([bank.digest, settings.model_dump(exclude={"train"})])
