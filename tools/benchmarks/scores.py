"""How well the prior draws styles for held-out sentences, and how well the instructor classifies and writes.

>>> bank = held_out_bank(corpora, encoder, "wording", scripts=600, seed=0)
>>> score_styles(draw_bank(prior, bank, SampleSettings()), normal(prior, bank.styles))["cosine to the true style"]
>>> f1(asked_and_moved(prior_sampler, generator, held_out_spoken(corpora), bank, raw(prior, drawn)))
>>> predict_bank(instructor, bank).classified(temperature=1.4).accuracy       # of clips whose emotions are labelled

Corpora are prepared ones, whose test and validation speakers perform and speak. Three sets of scripts, all of speakers
that training did not have: `combinations` of action units and strengths, `wordings`, and `speakers` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.spatial.distance import cdist, pdist
from scipy.special import softmax

from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.measure import measure_units, neutral_face
from avi_lib.corpus.scripts import Draw, Kind, StyleScript
from avi_lib.errors import InputError
from avi_lib.evaluation.report import Estimate, estimate
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTION_CLASSES, EMOTIONS
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.instructor import Instructor, softened
from avi_lib.instruction.instructor_network import InstructorModel, stack
from avi_lib.instruction.language_model import TextEncoder
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.generator import LearnedGenerator
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import PriorModel, PriorSampler
from avi_lib.settings import PerformerSettings, SampleSettings
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.training.instructor_data import BankClip, FeatureBank
from avi_lib.training.prior import StyleBank, make_bank

HELD_SPLITS = ("test", "validation")
SETS: Mapping[Draw, str] = {
    "combination": "held-out combinations",
    "wording": "held-out wordings",
    "train": "held-out speakers",
}
"""What is held out, in words; of `train` the speakers alone."""
Styles = Float[np.ndarray, "n style"]
Others = Float[np.ndarray, "m style"]
GUIDANCES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
TEXTS = 60
"""Texts whose diversity is taken."""
PLAIN = Instruction("A person speaks.")
_DROOP = ACTION_UNITS["lid_droop"].channels["eyeBlinkLeft"]


Strengths = Mapping[str, float]
Spoken = tuple[Float32[np.ndarray, "steps dim"], Performer]
"""Features of a held-out clip, and its performer without idle behaviour."""


# Drawn styles against true ones.


def cosines(drawn: Styles, true: Styles) -> Float[np.ndarray, " n"]:
    """Cosine between every drawn style and its true one; 0 where one of them is 0."""
    return np.einsum("ns,ns->n", _unit(drawn), _unit(true))


def similarity(drawn: Styles, true: Others) -> Float[np.ndarray, "n m"]:
    """Cosines of all with all."""
    return _unit(drawn) @ _unit(true).T


def retrieval(similar: Float[np.ndarray, "n columns"], k: int) -> Bool[np.ndarray, " n"]:
    """Whether the own column is among the k most similar of each row; a tie counts against it."""
    rows, columns = similar.shape
    if rows != columns or not 1 <= k <= columns:
        raise InputError("a square table and k within it", f"{similar.shape} and {k}", "pair every row with a column")
    return (similar >= np.diag(similar)[:, None]).sum(axis=1) - 1 < k


def energy_distance(drawn: Styles, true: Others) -> float:
    """Energy distance of two samples (Szekely and Rizzo 2013): 0 when they are of one distribution, in style units."""
    within = pdist(drawn).mean() + pdist(true).mean()
    return float(2 * cdist(drawn, true).mean() - within)


def diversity(samples: Float[np.ndarray, "texts samples style"]) -> Float[np.ndarray, " texts"]:
    """Mean distance of all pairs of samples of one text, as the public AVI-Talking code takes it over ten samples."""
    if samples.shape[1] < 2:
        raise InputError("at least two samples of every text", f"{samples.shape[1]}", "draw ten")
    return np.array([pdist(each).mean() for each in samples])


def _unit(styles: Styles) -> Styles:
    return np.asarray(styles / np.maximum(np.linalg.norm(styles, axis=1, keepdims=True), 1e-9))


def score_styles(drawn: Styles, true: Styles, seed: int = 0) -> dict[str, Estimate]:
    """Cosine, retrieval and energy distance of normalised styles, a drawn one for each true one, by their names."""
    rng, alike = np.random.default_rng(seed), similarity(drawn, true)
    found = {
        f"{way}, top {k}": estimate(retrieval(table, k), rng, resamples=2000)
        for way, table in (("text to style", alike), ("style to text", alike.T))
        for k in (1, 5)
    }
    cosine = estimate(cosines(drawn, true), rng, resamples=2000)
    energy = Estimate(energy_distance(drawn, true), np.nan, np.nan, len(drawn), "scripts")
    return {"cosine to the true style": cosine, **found, "energy distance": energy}


def held_out_bank(
    corpora: Sequence[Corpus],
    encoder: TextEncoder,
    draw: Draw,
    scripts: int,
    seed: int,
    kind: Kind | None = None,
    folder: Path | None = None,
) -> StyleBank:
    """Scripts of a set, one sentence each, performed by speakers that training did not have."""
    held = 10_000 + seed  # training's banks begin at 0
    return make_bank(corpora, encoder, scripts, 1, held, draw, kind, HELD_SPLITS, real=False, folder=folder)


def draw_bank(
    prior: PriorModel, bank: StyleBank, settings: SampleSettings, seed: int = 0, parsed: bool = True
) -> Styles:
    """A normalised style for the first sentence of every script; without its reading where it is not `parsed`."""
    reading = prior.read(bank.first_states(), bank.asked if parsed else None)
    return normal(prior, prior.draw(reading, [seed + i for i in range(len(bank))], settings))


def draw_samples(
    prior: PriorModel, bank: StyleBank, texts: int, settings: SampleSettings, samples: int = 10
) -> Float[np.ndarray, "texts samples style"]:
    """Normalised styles for each of the first sentences."""
    count = min(texts, len(bank))
    reading = prior.read(bank.first_states(count), bank.asked[:count])
    rows = reading.at(torch.arange(count).repeat_interleave(samples))
    styles = normal(prior, prior.draw(rows, list(range(count * samples)), settings))
    return styles.reshape(count, samples, -1)


def normal(prior: PriorModel, styles: Styles) -> Styles:
    """Styles as the prior sees them."""
    return np.asarray(prior.normal(torch.from_numpy(styles)).numpy())


def raw(prior: PriorModel, styles: Styles) -> Styles:
    """Styles as the talking model takes them, from those that the prior sees."""
    return np.asarray((torch.from_numpy(styles) * prior.scale + prior.mean).numpy())


# Whether a face does what it was asked: the action units of generated motion against those of the text.


def held_out_spoken(corpora: Sequence[Corpus]) -> list[Spoken]:
    """Clips with sound of speakers that are held out; InputError when there is none."""
    quiet = PerformerSettings(blinks=False, gaze=False, sway=False)
    found = [
        (
            corpus.features(clip).astype(np.float32),
            Performer(corpus.phones(clip), corpus.prosody(clip), clip.duration_s, quiet),
        )
        for corpus in corpora
        for clip in corpus.clips
        if clip.split in HELD_SPLITS and clip.features and clip.duration_s >= 2.5
    ]
    if not found:
        raise InputError("clips with sound of held-out speakers", "none", "add a corpus of three speakers or more")
    return found


def move(
    generator: LearnedGenerator, clips: Sequence[Spoken], styles: Sequence[Float32[np.ndarray, " style"]], seed: int = 0
) -> list[MotionClip]:
    """Every style over one of the clips in turn."""
    return [
        generator.perform(*clip, PLAIN, seed + i, style) for i, (style, clip) in enumerate(zip(styles, cycle(clips)))
    ]


def asked_and_moved(
    prior_sampler: PriorSampler, generator: LearnedGenerator, clips: Sequence[Spoken], bank: StyleBank, styles: Styles
) -> list[tuple[Strengths, Strengths]]:
    """Units asked for by every script of a bank, and those that move in its style (not normalised).

    What moves is measured above the face that the same generator makes in plain styles, another one for every clip: a
    single plain face looks a little aside or down, and would lend that to all others.
    """
    rest = [generator.perform(*clip, PLAIN, i, prior_sampler.style(PLAIN, i)) for i, clip in enumerate(clips)]
    neutral = neutral_face([(motion.values, motion.present) for motion in rest])
    moved = [measure_units(motion, neutral) for motion in move(generator, clips, list(styles))]
    steady = [{name: v for name, v in units.items() if not ACTION_UNITS[name].rhythm} for units in moved]
    return [(asked_units(script), units) for script, units in zip(bank.scripts, steady, strict=True)]


def asked_units(script: StyleScript) -> dict[str, float]:
    """The units that a script asks to be moved, by the names they are measured under.

    Eyes closed by half or less are the same channels as drooping lids.
    """
    asked = {n: s for n, s in script.instruction.action_units.items() if s > 0 and not ACTION_UNITS[n].rhythm}
    closed = asked.get("eyes_closed", 1.0)
    if closed <= 1.1 * _DROOP:
        del asked["eyes_closed"]
        asked["lid_droop"] = min(closed / _DROOP, 1.0)
    return asked


def f1(pairs: Sequence[tuple[Strengths, Strengths]]) -> float:
    """F1 of the units that move against those that are asked for, over all pairs; NaN without any."""
    hits = sum(len(asked.keys() & moved.keys()) for asked, moved in pairs)
    both = sum(len(asked) + len(moved) for asked, moved in pairs)
    return 2 * hits / both if both else float("nan")


def guidance_curve(
    prior: PriorModel, bank: StyleBank, settings: SampleSettings | None = None
) -> dict[float, tuple[float, float, float]]:
    """By guidance: diversity of ten samples, cosine to the true style, length of the styles; means over texts."""
    curve = {}
    for guidance in GUIDANCES:
        how = (settings or SampleSettings()).model_copy(update={"guidance": guidance})
        samples = draw_samples(prior, bank, TEXTS, how)
        styles = samples.reshape(-1, samples.shape[-1])
        true = normal(prior, bank.styles[: len(samples)]).repeat(samples.shape[1], axis=0)
        length = float(np.linalg.norm(styles, axis=1).mean())
        curve[guidance] = float(diversity(samples).mean()), float(cosines(styles, true).mean()), length
    return curve


# The instructor, on a feature bank of clips whose emotions are labelled.


BATCH = 16
NEAREST_BATCH = 64
BINS = 10
"""Of confidence, for the calibration error."""
EVERY = 12
"""Every so many clips one has its sentence written out to the end."""

Shares = Float[np.ndarray, "clips emotions"]


@dataclass(frozen=True, eq=False)
class Classification:
    """Probabilities of `EMOTIONS` for clips, and the emotion each was meant to have."""

    shares: Shares
    meant: tuple[str, ...]

    @property
    def predicted(self) -> list[str]:
        """The likeliest emotion of each clip."""
        return [EMOTIONS[number] for number in self.shares.argmax(axis=1)]

    @property
    def right(self) -> list[bool]:
        """Whether it is the one that was meant."""
        return [a == b for a, b in zip(self.predicted, self.meant, strict=True)]

    @property
    def accuracy(self) -> float:
        """Share of clips classified as they were meant."""
        return float(np.mean(self.right))

    @property
    def recall(self) -> float:
        """Unweighted recall of the likeliest emotions."""
        return recall(self.predicted, self.meant)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: how far confidence is from accuracy, in bins of equal width (Guo et al. 2017)."""
        sure, right = self.shares.max(axis=1), np.array(self.right, float)
        number = np.minimum((sure * BINS).astype(int), BINS - 1)
        gaps = [abs(sure[number == n].sum() - right[number == n].sum()) for n in range(BINS)]
        return float(np.sum(gaps) / len(sure))

    def confusion(self) -> Float[np.ndarray, "emotions emotions"]:
        """Share of each meant emotion (row) that is taken for another (column)."""
        counts = np.zeros((len(EMOTIONS), len(EMOTIONS)))
        np.add.at(counts, ([EMOTIONS.index(each) for each in self.meant], self.shares.argmax(axis=1)), 1)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def recall(predicted: Sequence[str | None], meant: Sequence[str]) -> float:
    """Unweighted recall: the mean over the emotions that were meant of the share of their clips that are found."""
    pairs = list(zip(predicted, meant, strict=True))
    return float(np.mean([np.mean([a == b for a, b in pairs if b == emotion]) for emotion in sorted(set(meant))]))


@torch.inference_mode()
def nearest(model: InstructorModel, clips: Sequence[AcousticFeatures]) -> Float[np.ndarray, "clips classes"]:
    """Probabilities of `EMOTION_CLASSES` as they are heard in clips, without the language model."""
    parts = [clips[first : first + NEAREST_BATCH] for first in range(0, len(clips), NEAREST_BATCH)]
    logits = torch.cat([model.hear(stack(part)).logits for part in parts]) / model.temperature[0]
    return logits.softmax(dim=1).numpy().astype(np.float64)


def by_emotion(shares: Float[np.ndarray, "clips classes"], among: Sequence[str] = EMOTIONS) -> Shares:
    """Probabilities of emotions from those of emotion classes, of some emotions only where these are named."""
    summed = np.zeros((len(shares), len(EMOTIONS)))
    for number, label in enumerate(EMOTION_CLASSES):
        if label.emotion in among:
            summed[:, EMOTIONS.index(label.emotion)] += shares[:, number]
    return summed / np.maximum(summed.sum(axis=1, keepdims=True), 1e-12)


def level_agreement(predicted: Sequence[tuple[str | None, int | None]], clips: Sequence[BankClip]) -> float:
    """Share of the clips of level 2 or 3 that are taken for strong or not as they are, whatever the emotion."""
    pairs = [(level, clip.level) for (_, level), clip in zip(predicted, clips, strict=True) if clip.level in (2, 3)]
    return float(np.mean([(level == 3) == (true == 3) for level, true in pairs])) if pairs else float("nan")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Log probabilities of `EMOTION_CLASSES` for clips before any temperature, and of there being speech."""

    bank: FeatureBank
    classes: Float32[np.ndarray, "clips classes"]
    speech: Float32[np.ndarray, " clips"]
    lost: float = 0.0

    def classified(self, temperature: float = 1.0, among: Sequence[str] = EMOTIONS) -> Classification:
        """The emotions, at a temperature of confidence."""
        shares = by_emotion(self.shares(temperature), among)
        return Classification(shares, tuple(clip.emotion for clip in self.bank.clips))

    def shares(self, temperature: float = 1.0) -> Float[np.ndarray, "clips classes"]:
        """Probabilities of `EMOTION_CLASSES`."""
        return np.asarray(softmax(self.classes.astype(np.float64) / temperature, axis=1))

    def written(self, temperature: float) -> list[tuple[str | None, int | None]]:
        """Emotion and level that sentences name, unsure ones nearer to neutral."""
        rows = np.log(self.shares(temperature) + 1e-12).astype(np.float32)
        return [softened(row, float(speech), self.lost)[0] for row, speech in zip(rows, self.speech, strict=True)]


def predict_bank(instructor: Instructor, bank: FeatureBank) -> Predictions:
    """Emotion classes of every clip of a bank as it was recorded."""
    chosen = [[views[0]] for views in bank.views]
    found = [instructor.classify(chosen[first : first + BATCH]) for first in range(0, len(bank), BATCH)]
    classes = np.concatenate([each.log_probabilities for each in found])
    return Predictions(bank, classes, np.concatenate([each.speech for each in found]), found[0].lost)


def write_out(instructor: Instructor, bank: FeatureBank, every: int = EVERY) -> list[Instruction]:
    """Sentences of every so many clips."""
    chosen = [[views[0]] for views in bank.views[::every]]
    batches = (chosen[first : first + BATCH] for first in range(0, len(chosen), BATCH))
    return [each.instruction for batch in batches for each in instructor.write(instructor.classify(batch))]
