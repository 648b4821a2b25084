"""Training the diffusion prior: a bank of sentences and styles in, a network that draws styles for sentences out.

>>> bank = make_bank(corpora, encoder, scripts=400, texts=2, seed=0)
>>> losses = PriorLosses(bank, settings, model)
>>> losses(model, np.arange(16), np.random.default_rng(0), way=0.0)["loss"].backward()
>>> model, log = train_prior(bank, encoder, settings, folder=run / "prior")
>>> save_prior(model, run / "prior.safetensors", about)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from jaxtyping import Bool, Float32
from tqdm import tqdm

from avi_lib.corpus.dataset import Corpus, shared_voices
from avi_lib.corpus.scripts import Draw, Kind, StyleScript, draw_style_script, said_in_training
from avi_lib.errors import InputError
from avi_lib.files import content_sha256
from avi_lib.instruction.action_units import draw_realisation, prototype
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.language_model import TextEncoder, TextStates, encode_texts
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import FPS
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import PriorModel, PriorShape, asked_style, asked_tokens
from avi_lib.motion.style import STYLE, Known, Style, enlivened, known, scale, style_of
from avi_lib.settings import PriorSettings
from avi_lib.training.loop import How, LogLine, Losses, train

UPPER = [number for number in range(len(ARKIT)) if number not in ARKIT.groups["lips"]]
OPENING = ("lips_part", "jaw_drop", "lower_lip_down")
FACE_SPREAD, REAL_SHARE, MOST_GAIN, LEAST_SCRIPTS = 0.2, (0.2, 0.6), 2.0, 12
"""Faces of one emotion: how much they differ in strength, which share of them is a real person's pattern, and what that
is multiplied by at most; scripts that ask for an entry, for a line through them."""


@dataclass(frozen=True, eq=False)
class StyleBank:
    """Scripts, their styles, and the states of their sentences: script i has the texts `texts_of[i]`.

    `known` are the entries of every style that its motion shows; others are 0. The first `performed` scripts are
    performed, the rest are real motion.
    """

    scripts: tuple[StyleScript, ...]
    styles: Float32[np.ndarray, "scripts style"]
    known: Bool[np.ndarray, "scripts style"]
    performed: int
    texts: TextStates
    texts_of: tuple[range, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.scripts)

    @property
    def asked(self) -> list[Instruction]:
        """What every script asks for."""
        return [script.instruction for script in self.scripts]

    def first_states(self, most: int | None = None) -> list[Float32[np.ndarray, "_ dim"]]:
        """States of the first sentence of every script, of the first `most` ones."""
        return [self.texts.of(texts[0]) for texts in self.texts_of[:most]]


def make_bank(
    corpora: Sequence[Corpus],
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

    A performance moves less than a face: where there is real motion, its dynamics are lent to the performed styles.

    corpora: prepared ones in the space ARKIT; encoder: of the sentences, `texts` of each of `scripts` at most; draw,
    kind: what is held out, and the kind of all scripts, see `draw_style_script`; splits: whose speakers perform, and a
    voice that one corpus holds out does not train through another; real: whether real motion of these splits goes in
    too, with what is known of its styles; folder: where states of texts are kept by content, nowhere when None. Raises
    InputError for no performed clip of a second or more.
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
    shown = _real_styles(corpora, splits)
    performers: dict[int, Performer] = {}
    styles, known = [], [np.ones(STYLE, bool)] * scripts
    for script in tqdm(drawn, "performing", leave=False, disable=None if progress is None else not progress):
        number = int(rng.integers(len(clips)))
        if number not in performers:
            corpus, clip = clips[number]
            performers[number] = corpus.performer(clip)
        asked = script.instruction
        faces = {emotion: draw_face(emotion, level, rng) for emotion, (level, _) in asked.emotions.items()}
        full, still = performers[number].perform_with_still(asked, int(rng.integers(2**62)), faces)
        lively = _lent(style_of(full), script, shown, rng)
        style = enlivened(style_of(still), lively)
        if asked.emotion in (None, "neutral") and not asked.action_units:  # held as real faces are at rest
            style[UPPER] = lively[UPPER]
        styles.append(style)
    for emotion, level, style, there in shown if real else ():
        parts = Instruction("A person speaks.", emotion, level)
        if words := said_in_training(parts, texts, rng):
            drawn.append(StyleScript("emotion", replace(parts, text=words[0]), words))
            styles.append(style)
            known.append(there)
    said = [text for script in drawn for text in script.texts]
    ends = np.cumsum([len(script.texts) for script in drawn]).tolist()
    texts_of = tuple(range(end - len(script.texts), end) for script, end in zip(drawn, ends, strict=True))
    played = ends[scripts - 1]  # their states are the same whatever real motion there is
    encoded = [encode_texts(part, encoder, folder, progress) for part in (said[:played], said[played:]) if part]
    rows = np.concatenate([part.rows for part in encoded])
    states = TextStates(rows, np.cumsum([0, *(count for part in encoded for count in np.diff(part.starts))]))
    stacked, there = np.stack(styles).astype(np.float32), np.stack(known)
    content = [encoder.fingerprint, *(hashlib.sha256(each.tobytes()).hexdigest() for each in (stacked, there))]
    return StyleBank(tuple(drawn), stacked, there, scripts, states, texts_of, content_sha256([*content, *said]))


Shown = tuple[str | None, int | None, Style, Known]
"""Emotion and level of a clip of real motion, its style, and what is known of it."""


def _real_styles(corpora: Sequence[Corpus], splits: Sequence[str]) -> list[Shown]:
    """What real motion shows; all but the lips as it is above the speaker's neutral face, since trackers rest high."""
    found: dict[tuple[int, str], list[Shown]] = {}
    for number, corpus in enumerate(corpora):
        for clip in corpus.clips:
            if clip.motion != "performed" and clip.split in splits and clip.frames >= 2 * FPS:
                motion = MotionClip(corpus.motion(clip).astype(np.float32), FPS, ARKIT, corpus.present(clip))
                shown = clip.emotion, clip.level, style_of(motion), known(ARKIT, motion.present)
                found.setdefault((number, clip.speaker), []).append(shown)
    for clips in found.values():
        neutral = [style for emotion, _, style, _ in clips if emotion in (None, "neutral")] or [
            each[2] for each in clips
        ]
        rest = np.median(neutral, axis=0)[UPPER]
        for _, _, style, _ in clips:
            style[UPPER] -= rest
    return [shown for clips in found.values() for shown in clips]


def draw_face(emotion: str, level: int, rng: np.random.Generator) -> dict[str, float]:
    """One person's way to show an emotion: the prototype, coloured by a real person's pattern, about as strong.

    People often hide what they feel, and a pattern that hardly moved is the tracker's noise: it is at most doubled, and
    the prototype stays in every face so that the emotion can be read. How far the mouth opens is left out, unless the
    prototype opens it: the people talked while they were measured.
    """
    usual, took = prototype(emotion, level), draw_realisation(emotion, level, rng)
    drawn = {name: strength for name, strength in took.items() if name not in OPENING or name in usual}
    if not usual:
        return drawn
    total, share = sum(usual.values()), float(rng.uniform(*REAL_SHARE))
    gain = min(MOST_GAIN, total / max(sum(drawn.values()), 0.01))
    face = {
        name: (1 - share) * usual.get(name, 0.0) + share * gain * drawn.get(name, 0.0)
        for name in sorted({*usual, *drawn})
    }
    strength = total / sum(face.values()) * float(np.exp(rng.normal(0.0, FACE_SPREAD)))
    return {name: min(1.0, value * strength) for name, value in face.items()}


def _lent(performed: Style, script: StyleScript, shown: Sequence[Shown], rng: np.random.Generator) -> Style:
    """The style of a performance with what is known of real motion, of the same emotion where there is some."""
    emotion = script.instruction.emotion or "neutral"
    lively = performed.copy()
    for fits in (lambda each: True, lambda each: (each or "neutral") == emotion):
        if some := [each for each in shown if fits(each[0])]:
            _, _, style, there = some[int(rng.integers(len(some)))]
            lively[there] = style[there]
    return lively


class PriorLosses:
    """The losses of a batch, as the training loop asks for them."""

    def __init__(self, bank: StyleBank, settings: PriorSettings, model: PriorModel) -> None:
        self.bank, self.settings = bank, settings
        self.styles = model.normal(torch.from_numpy(bank.styles))
        self.known = torch.from_numpy(bank.known)
        self.tokens = torch.from_numpy(np.stack([asked_tokens(each) for each in bank.asked]))
        self.fixed = torch.from_numpy(np.stack([asked_style(each)[1] for each in bank.asked])) & self.known
        self.groups = [model.kept(np.zeros(STYLE, np.float32), [group]) for group in model.space.groups]

    def __call__(self, model: PriorModel, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        """Named losses of the scripts of these numbers; "loss" is minimised."""
        settings, device, numbers = self.settings, model.mean.device, torch.from_numpy(items)
        texts = [int(rng.choice(self.bank.texts_of[int(item)])) for item in items]
        states, mask = (torch.from_numpy(array).to(device) for array in self.bank.texts.batch(texts))
        random = torch.Generator().manual_seed(int(rng.integers(2**62)))
        times = torch.rand(len(items), generator=random)
        styles, noise = self.styles[numbers], torch.randn(len(items), STYLE, generator=random)
        reads, parses, fixed = self.hidden(numbers, random)
        tokens = self.tokens[numbers] * parses[:, None, None]
        given = (each.to(device) for each in (tokens, styles, fixed))
        reading = model.network.read(states, mask & reads[:, None].to(device), *given)
        if settings.regression:
            times, noise = torch.zeros_like(times), torch.zeros_like(styles)
        noisy = (1 - times[:, None]) * noise + times[:, None] * styles
        predicted = model.network(noisy.to(device), times.to(device), reading).float()
        count = (self.known[numbers] & ~fixed).to(device)
        loss = ((predicted - styles.to(device)).square() * count).sum() / count.sum().clamp_min(1)
        return {"style": loss, "loss": loss}

    def hidden(
        self, numbers: torch.Tensor, random: torch.Generator
    ) -> tuple[Bool[torch.Tensor, " items"], Bool[torch.Tensor, " items"], Bool[torch.Tensor, "items style"]]:
        """Which items show their text, which their reading, and what is fixed of each style.

        So that each works alone, text or reading are hidden at random, and both where `dropped`. A reading fixes what
        it asks for; now and then some groups of channels are fixed, as an edit does.
        """
        settings, count = self.settings, len(numbers)
        choice = torch.rand(count, generator=random)
        neither, text_alone = choice < settings.dropped, choice < settings.dropped + settings.text_alone
        parse_alone = choice > 1 - settings.parse_alone
        parses = ~text_alone
        fixed = self.fixed[numbers] & parses[:, None]
        for group in self.groups:
            edits = torch.rand(count, generator=random) < settings.kept
            fixed |= edits[:, None] & group & self.known[numbers]
        return ~(neither | parse_alone), parses, fixed


def untrained(bank: StyleBank, encoder: TextEncoder, settings: PriorSettings) -> PriorModel:
    """A prior of random weights, the same for the same seed, normalised by the styles of a bank."""
    shape = PriorShape(
        text_encoder=encoder.name,
        text_fingerprint=encoder.fingerprint,
        text=encoder.dim,
        space=ARKIT.name,
        **{name: getattr(settings, name) for name in ("width", "blocks", "heads", "words", "regression")},
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.train.seed)
        model = PriorModel(shape, settings.dropout)
    model.mean.copy_(torch.from_numpy(bank.styles.sum(axis=0) / np.maximum(bank.known.sum(axis=0), 1)))
    model.scale.copy_(torch.from_numpy(scale(ARKIT)))
    values, fixed = (np.stack(each) for each in zip(*map(asked_style, bank.asked[: bank.performed]), strict=True))
    for entry in (*range(len(ARKIT)), *range(2 * len(ARKIT), STYLE)):
        asked, shown = values[fixed[:, entry], entry], bank.styles[: bank.performed][fixed[:, entry], entry]
        if len(asked) >= LEAST_SCRIPTS and np.ptp(asked) > 0.1:
            gain, rest = np.polyfit(asked, shown, 1)
            model.gain[entry], model.rest[entry] = float(gain), float(rest)
    return model


def train_prior(
    bank: StyleBank,
    encoder: TextEncoder,
    settings: PriorSettings,
    folder: Path,
    **how: Unpack[How],
) -> tuple[PriorModel, list[LogLine]]:
    """Train, or go on training, in a folder; the averaged model and the log's lines. `how`, and errors: see `train`."""
    model = untrained(bank, encoder, settings)
    losses = PriorLosses(bank, settings, model)
    model, log = train(model, losses, len(bank), settings.train, folder, recipe(bank, settings), **how)
    return model.eval(), log


def recipe(bank: StyleBank, settings: PriorSettings) -> str:
    """What is trained on what: settings but the loop's own, and the bank's content."""
    return content_sha256([bank.digest, settings.model_dump(exclude={"train"})])
