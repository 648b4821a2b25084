"""How well the diffusion prior directs: styles and motion for sentences whose combinations or wordings are held out.

Corpora are prepared ones, whose test and validation speakers perform and speak. Three sets of scripts, all of speakers
that training did not hear: `combinations` of action units and strengths, `wordings`, and `speakers` alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Shaped

from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.measure import measure_units, neutral_face
from avi_lib.corpus.scripts import Draw, Kind, StyleScript
from avi_lib.corpus.shards import ClipEntry
from avi_lib.errors import InputError
from avi_lib.evaluation.report import Figure, in_turns_ms, one_thread
from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.parser import Phrase, phrases, without
from avi_lib.instruction.text_encoder import TextEncoder
from avi_lib.motion.clip import ARKIT, Curves, MotionClip
from avi_lib.motion.generator import Features, LearnedGenerator
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import PriorModel, PriorSampler
from avi_lib.settings import PerformerSettings, SampleSettings
from avi_lib.training.prior import StyleBank, make_bank

# Whether a face does what it was asked: the action units of generated motion against those of the text.


Style = Float32[np.ndarray, " style"]
Strengths = Mapping[str, float]

PLAIN = Instruction("A person speaks.")
_DROOP = ACTION_UNITS["lid_droop"].channels["eyeBlinkLeft"]


@dataclass(frozen=True)
class AskedScore:
    """How motion follows what was asked.

    Attributes:
        precision, recall, f1: of the units that move, all scripts together.
        rho: Spearman correlation of the word's strength with the measured one, over all asked units; one that does not
            move counts as 0. NaN when all are alike.
        missed, false: how often each unit was asked and did not move, or moved and was not asked.
    """

    precision: float
    recall: float
    f1: float
    rho: float
    missed: dict[str, int]
    false: dict[str, int]


@dataclass(frozen=True, eq=False)
class SpokenClip:
    """A held-out clip: its features, and its performer without idle behaviour."""

    features: Float32[np.ndarray, "steps dim"]
    performer: Performer

    @classmethod
    def of(cls, corpus: Corpus, clip: ClipEntry) -> SpokenClip:
        """The scene of a clip with sound."""
        quiet = PerformerSettings(blinks=False, gaze=False, sway=False)
        performer = Performer(corpus.phones(clip), corpus.prosody(clip), clip.duration_s, quiet)
        return cls(corpus.features(clip).astype(np.float32), performer)


def move(
    generator: LearnedGenerator,
    scenes: Sequence[SpokenClip],
    styles: Sequence[Style],
    seed: int = 0,
) -> list[MotionClip]:
    """Every style over one of the scenes in turn."""
    turns = (scenes[i % len(scenes)] for i in range(len(styles)))
    return [
        generator.perform(scene.features, scene.performer, PLAIN, seed + i, style)
        for i, (scene, style) in enumerate(zip(turns, styles, strict=True))
    ]


def measure(
    generator: LearnedGenerator, scenes: Sequence[SpokenClip], motions: Sequence[MotionClip], plain: Style
) -> list[dict[str, float]]:
    """Measured units of motions, above the face that the same generator makes in a plain style."""
    present = np.ones(len(ARKIT), bool)
    rests = [generator.perform(scene.features, scene.performer, PLAIN, 0, plain).values for scene in scenes]
    neutral = neutral_face([(values, present) for values in rests])
    found = [measure_units(Curves(motion, present), neutral) for motion in motions]
    return [{name: strength for name, strength in each.items() if not ACTION_UNITS[name].rhythm} for each in found]


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


def score_asked(pairs: Sequence[tuple[Strengths, Strengths]]) -> AskedScore:
    """Scores over pairs (asked, measured)."""
    from scipy.stats import spearmanr

    missed: dict[str, int] = {}
    false: dict[str, int] = {}
    for asked, moved in pairs:
        for counts, names in ((missed, asked.keys() - moved.keys()), (false, moved.keys() - asked.keys())):
            for name in names:
                counts[name] = counts.get(name, 0) + 1
    hits = sum(len(asked.keys() & moved.keys()) for asked, moved in pairs)
    wanted, found = (sum(len(pair[i]) for pair in pairs) for i in (0, 1))
    said = np.array([strength for asked, _ in pairs for strength in asked.values()])
    shown = np.array([moved.get(name, 0.0) for asked, moved in pairs for name in asked])
    varied = len(said) > 1 and np.ptp(said) > 0 and np.ptp(shown) > 0
    return AskedScore(
        precision=_ratio(hits, found),
        recall=_ratio(hits, wanted),
        f1=_ratio(2 * hits, wanted + found),
        rho=float(spearmanr(said, shown).statistic) if varied else float("nan"),
        missed=dict(sorted(missed.items(), key=lambda pair: -pair[1])),
        false=dict(sorted(false.items(), key=lambda pair: -pair[1])),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


# Measures of drawn styles against true ones: cosine, retrieval, energy distance, diversity, with intervals.


Styles = Float[np.ndarray, "n style"]
Others = Float[np.ndarray, "m style"]

RESAMPLES = 2000
"""Bootstrap resamples of an interval."""


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
    own = np.diag(similar)
    better = (similar >= own[:, None]).sum(axis=1) - 1
    return better < k


def energy_distance(drawn: Styles, true: Others) -> float:
    """Energy distance of two samples (Szekely and Rizzo 2013): 0 when they are of one distribution, in style units."""
    between = _distances(drawn, true).mean()
    within = [_distances(each, each).sum() / (len(each) * max(len(each) - 1, 1)) for each in (drawn, true)]
    return float(2 * between - within[0] - within[1])


def diversity(samples: Float[np.ndarray, "texts samples style"]) -> Float[np.ndarray, " texts"]:
    """Mean distance of all pairs of samples of one text, as the public AVI-Talking code takes it over ten samples.

    The sum over ordered pairs divided by their number: with K = 10 samples, sum_ij |s_i - s_j| / (10 * 9).
    """
    count = samples.shape[1]
    if count < 2:
        raise InputError("at least two samples of every text", f"{count}", "draw ten")
    apart = np.linalg.norm(samples[:, :, None] - samples[:, None], axis=-1)
    return np.asarray(apart.sum(axis=(1, 2)) / (count * (count - 1)))


def interval(
    values: Shaped[np.ndarray, " n"], rng: np.random.Generator, share: float = 0.95
) -> tuple[float, float, float]:
    """The mean of some values and its bootstrap interval (Efron and Tibshirani 1993, percentiles)."""
    numbers = np.asarray(values, float)
    if not len(numbers):
        raise InputError("at least one value", "none", "measure something")
    means = numbers[rng.integers(len(numbers), size=(RESAMPLES, len(numbers)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(numbers.mean()), float(low), float(high)


def nearest_centroid(styles: Styles, centroids: Others, labels: list[str]) -> list[str]:
    """The label of the centroid nearest to each style."""
    return [labels[int(i)] for i in _distances(styles, centroids).argmin(axis=1)]


def _distances(first: Styles, second: Others) -> Float[np.ndarray, "n m"]:
    squared = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squared, 0.0))


def _unit(styles: Styles) -> Styles:
    length = np.linalg.norm(styles, axis=1, keepdims=True)
    return np.asarray(styles / np.maximum(length, 1e-9))


HELD_SPLITS = ("test", "validation")
SETS: tuple[Draw, ...] = ("combination", "wording", "train")
"""What is held out; of `train` the speakers alone."""
SAID = {"combination": "held-out combinations", "wording": "held-out wordings", "train": "held-out speakers"}
GUIDANCES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
_SAMPLES = 10
_TEXTS = 60
"""Texts of which several samples are drawn."""


@dataclass(frozen=True)
class StyleScore:
    """Drawn styles against true ones: mean and 95 % interval of each, over scripts."""

    cosine: tuple[float, float, float]
    text_to_style_1: tuple[float, float, float]
    text_to_style_5: tuple[float, float, float]
    style_to_text_1: tuple[float, float, float]
    style_to_text_5: tuple[float, float, float]
    energy: float

    def rows(self) -> Iterator[tuple[str, tuple[float, float, float]]]:
        """Each in words, with its mean and interval."""
        yield "cosine to the true style", self.cosine
        yield "text to style, top 1", self.text_to_style_1
        yield "text to style, top 5", self.text_to_style_5
        yield "style to text, top 1", self.style_to_text_1
        yield "style to text, top 5", self.style_to_text_5


def score_styles(drawn: Styles, true: Styles, seed: int = 0) -> StyleScore:
    """Scores of normalised styles, a drawn one for each true one."""
    rng = np.random.default_rng(seed)
    alike = similarity(drawn, true)
    there_1, there_5, back_1, back_5 = (
        interval(retrieval(table, k), rng) for table in (alike, alike.T) for k in (1, 5)
    )
    cosine = interval(cosines(drawn, true), rng)
    return StyleScore(cosine, there_1, there_5, back_1, back_5, energy_distance(drawn, true))


def held_out_bank(
    corpora: Sequence[Corpus],
    generator: LearnedGenerator,
    encoder: TextEncoder,
    draw: Draw,
    scripts: int,
    seed: int,
    kind: Kind | None = None,
    folder: Path | None = None,
) -> StyleBank:
    """Scripts of a set, one sentence each, performed by speakers that training did not hear."""
    held = 10_000 + seed  # training's banks begin at 0
    return make_bank(
        corpora, generator.model, encoder, scripts, 1, held, draw, kind, HELD_SPLITS, real=False, folder=folder
    )


def draw_bank(prior: PriorModel, bank: StyleBank, settings: SampleSettings, seed: int = 0) -> Styles:
    """A normalised style for the first sentence of every script."""
    styles = prior.draw(prior.read(bank.first_states()), [seed + i for i in range(len(bank))], settings)
    return normal(prior, styles)


def normal(prior: PriorModel, styles: Styles) -> Styles:
    """Styles as the prior sees them."""
    return np.asarray(prior.normal(torch.from_numpy(styles)).numpy())


def score_motion(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    scenes: Sequence[SpokenClip],
    bank: StyleBank,
    styles: Styles,
) -> AskedScore:
    """Units asked for by the scripts of a bank against those that move in the given styles (not normalised)."""
    return score_asked(asked_and_moved(prior_sampler, generator, scenes, bank, styles))


def asked_and_moved(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    scenes: Sequence[SpokenClip],
    bank: StyleBank,
    styles: Styles,
) -> list[tuple[Strengths, Strengths]]:
    """Units asked for by every script of a bank, and those that move in its style (not normalised)."""
    plain = prior_sampler.style("A person speaks.", seed=0)
    motions = move(generator, scenes, list(styles))
    moved = measure(generator, scenes, motions, plain)
    return [(asked_units(script), found) for script, found in zip(bank.scripts, moved, strict=True)]


def score_emotion(
    generator: LearnedGenerator,
    prior: PriorModel,
    scenes: Sequence[SpokenClip],
    bank: StyleBank,
    styles: Styles,
    shown: StyleBank,
) -> list[tuple[str, str]]:
    """Named and recovered emotion of every script: the nearest centroid of performed styles to the motion's own style.

    Centroids are of every emotion at every level, over the scripts of `shown`.
    """
    labels = sorted({(str(s.instruction.emotion), int(s.instruction.level or 1)) for s in shown.scripts})
    members = {label: [] for label in labels}  # type: dict[tuple[str, int], list[int]]
    for i, script in enumerate(shown.scripts):
        members[str(script.instruction.emotion), int(script.instruction.level or 1)].append(i)
    centroids = normal(prior, np.stack([shown.styles[members[label]].mean(axis=0) for label in labels]))
    motions = move(generator, scenes, list(styles))
    seen = normal(prior, np.stack([generator.model.style_of(motion) for motion in motions]))
    found = nearest_centroid(seen, centroids, [emotion for emotion, _ in labels])
    return [(str(script.instruction.emotion), each) for script, each in zip(bank.scripts, found, strict=True)]


def guidance_curve(
    prior: PriorModel, bank: StyleBank, settings: SampleSettings | None = None
) -> dict[float, tuple[float, float, float]]:
    """By guidance: diversity of ten samples, cosine to the true style, length of the styles; means over texts."""
    count = min(_TEXTS, len(bank))
    embedding = prior.read(bank.first_states(count)).at(torch.arange(count).repeat_interleave(_SAMPLES))
    true = normal(prior, bank.styles[:count])
    curve = {}
    for guidance in GUIDANCES:
        how = (settings or SampleSettings()).model_copy(update={"guidance": guidance})
        styles = normal(prior, prior.draw(embedding, list(range(count * _SAMPLES)), how))
        grouped = styles.reshape(count, _SAMPLES, -1)
        curve[guidance] = (
            float(diversity(grouped).mean()),
            float(cosines(styles, true.repeat(_SAMPLES, axis=0)).mean()),
            float(np.linalg.norm(styles, axis=1).mean()),
        )
    return curve


def sampling_ms(prior: PriorModel, bank: StyleBank, settings: SampleSettings, turns: int = 9) -> float:
    """Median processor time of one style, one thread, the sentence encoded."""
    states = bank.first_states(1)
    with one_thread():
        spent = in_turns_ms({"one": lambda: prior.draw(prior.read(states), [0], settings)}, turns)
    return statistics.median(spent["one"])


def measure_prior(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    corpora: Sequence[Corpus],
    scripts: int = 600,
    settings: SampleSettings | None = None,
    folder: Path | None = None,
) -> Iterator[Figure]:
    """The figures of a prior.

    Args:
        prior_sampler: with the prior that is measured.
        generator: whose styles it draws.
        corpora: prepared ones with speakers held out.
        scripts: of every set.
        settings: how styles are drawn.
        folder: where states of texts are kept.

    Raises:
        InputError: styles of another generator, or no held-out speaker.
    """
    prior_sampler.check_fits(generator.model)
    how = settings or SampleSettings()
    prior = prior_sampler.prior
    scenes = held_out_spoken(corpora)
    banks: Mapping[Draw, StyleBank] = {
        draw: held_out_bank(corpora, generator, prior_sampler.encoder, draw, scripts, i, folder=folder)
        for i, draw in enumerate(SETS)
    }
    for draw, bank in banks.items():
        yield from _style_figures(SAID[draw], score_styles(draw_bank(prior, bank, how), normal(prior, bank.styles)))
    yield from _motion_figures(prior_sampler, generator, corpora, scenes, scripts, how, folder)
    curve = guidance_curve(prior, banks["train"], how)
    count = min(_TEXTS, len(banks["train"]))
    for guidance, (apart, cosine, length) in curve.items():
        said = f"ten samples of {count} texts; cosine {cosine:.2f}, length {length:.1f}"
        yield Figure(f"diversity at guidance {guidance:g}", apart, "", "> 0 at 1, falling", said)
    yield Figure(
        f"one style, {how.steps} steps", sampling_ms(prior, banks["train"], how), "CPU ms", "<= 60", "one thread"
    )
    doubled = how.model_copy(update={"guidance": 2.0})
    yield Figure("the same with guidance", sampling_ms(prior, banks["train"], doubled), "CPU ms", "<= 60", "one thread")


def held_out_spoken(corpora: Sequence[Corpus]) -> list[SpokenClip]:
    """Clips with sound of speakers that are held out; InputError when there is none."""
    clips = [(c, clip) for c in corpora for clip in c.clips if clip.split in HELD_SPLITS and clip.features]
    scenes = [SpokenClip.of(corpus, clip) for corpus, clip in clips if clip.duration_s >= 2.5]
    if not scenes:
        raise InputError("clips with sound of held-out speakers", "none", "add a corpus of three speakers or more")
    return scenes


def _style_figures(name: str, score: StyleScore) -> Iterator[Figure]:
    for what, (mean, low, high) in score.rows():
        yield Figure(f"{name}: {what}", mean, "", "-", f"95 % interval {low:.3f} to {high:.3f}")
    yield Figure(f"{name}: energy distance", score.energy, "", "-", "drawn against true styles")


_EMOTION_SETS: tuple[tuple[Draw, str], ...] = (("train", ">= 0.85"), ("wording", "-"))


def _motion_figures(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    corpora: Sequence[Corpus],
    scenes: Sequence[SpokenClip],
    scripts: int,
    settings: SampleSettings,
    folder: Path | None,
) -> Iterator[Figure]:
    prior, encoder = prior_sampler.prior, prior_sampler.encoder
    asked = held_out_bank(corpora, generator, encoder, "combination", scripts, 5, "units", folder)
    drawn = raw(prior, draw_bank(prior, asked, settings))
    own = score_motion(prior_sampler, generator, scenes, asked, drawn)
    true = score_motion(prior_sampler, generator, scenes, asked, asked.styles)
    other = score_motion(prior_sampler, generator, scenes, asked, np.roll(drawn, 1, axis=0))
    beside = "in the true style {:.2f}, in another script's {:.2f}"
    # the talking model has moved these combinations; that sentences ask for them is what the prior has not seen
    how = f"held-out combinations; precision {own.precision:.2f}, recall {own.recall:.2f}; "
    yield Figure("asked units are those that move, F1", own.f1, "", ">= 0.85", how + beside.format(true.f1, other.f1))
    yield Figure("adverb and amplitude, Spearman", own.rho, "", ">= 0.85", beside.format(true.rho, other.rho))
    shown = make_bank(corpora, generator.model, encoder, scripts, 1, 77, kind="emotion", real=False, folder=folder)
    for draw, must in _EMOTION_SETS:
        named = held_out_bank(corpora, generator, encoder, draw, scripts, 6, "emotion", folder)
        styles = raw(prior, draw_bank(prior, named, settings))
        pairs = score_emotion(generator, prior, scenes, styles=styles, bank=named, shown=shown)
        truths = score_emotion(generator, prior, scenes, styles=named.styles, bank=named, shown=shown)
        right, best = (float(np.mean([asked == found for asked, found in each])) for each in (pairs, truths))
        said = f"{SAID[draw]}, 10 emotions; in the true style {best:.2f}; most taken for another: {_confusions(pairs)}"
        yield Figure(f"named emotion found in the motion, {SAID[draw]}", right, "", must, said)


def _confusions(pairs: Sequence[tuple[str, str]], most: int = 3) -> str:
    counts: dict[str, int] = {}
    for asked, found in pairs:
        if asked != found:
            counts[f"{asked} for {found}"] = counts.get(f"{asked} for {found}", 0) + 1
    top = sorted(counts.items(), key=lambda pair: -pair[1])[:most]
    return ", ".join(f"{name} {count}" for name, count in top) or "none"


def raw(prior: PriorModel, styles: Styles) -> Styles:
    """Styles as the talking model takes them, from those that the prior sees."""
    return np.asarray((torch.from_numpy(styles) * prior.scale + prior.mean).numpy())


# Attribution: which phrase of a sentence moved what.


@dataclass(frozen=True, eq=False)
class Attributed:
    """A phrase, the sentence without it, the motion without it, and what it changed.

    `change` by group of channels: mean over frames and channels of the absolute difference, weights or radians.
    """

    phrase: str
    rest: str
    motion: MotionClip
    change: dict[str, float]


def attribute(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    features: Features,
    performer: Performer,
    instruction: Instruction,
    seed: int,
    settings: SampleSettings | None = None,
) -> list[Attributed]:
    """What every phrase of an instruction changes over a recording, in order of the sentence.

    A sentence that is one phrase, or in which there is none, is compared with a face of which nothing is asked.
    """
    how = settings or SampleSettings()
    whole = _motion(prior_sampler, generator, features, performer, instruction.text, seed, how)
    rows = []
    whole_text = Phrase(0, len(instruction.text), instruction.text)
    for phrase in phrases(instruction.text) or (whole_text,):
        rest = without(instruction.text, phrase)
        motion = _motion(prior_sampler, generator, features, performer, rest, seed, how)
        rows.append(Attributed(phrase.text, rest, motion, group_change(whole, motion)))
    return rows


def group_change(first: MotionClip, second: MotionClip) -> dict[str, float]:
    """Mean absolute difference of two motions by group of channels."""
    apart = np.abs(first.values - second.values)
    return {group: float(apart[:, list(members)].mean()) for group, members in first.space.groups.items()}


def _motion(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    features: Features,
    performer: Performer,
    text: str,
    seed: int,
    settings: SampleSettings,
) -> MotionClip:
    """The motion of a sentence; idle behaviour is the same whatever it says."""
    asked = Instruction.parse(text) if text else Instruction("")
    plain = Instruction(text, action_units={n: v for n, v in asked.action_units.items() if n.startswith("head_")})
    return generator.perform(features, performer, plain, seed, prior_sampler.style(text, seed, settings))
