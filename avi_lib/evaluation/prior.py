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
from jaxtyping import Float32

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.style_scripts import Draw, Kind
from avi_lib.errors import InputError
from avi_lib.evaluation.asked import AskedScore, Scene, Strengths, asked_units, measure, move, score_asked
from avi_lib.evaluation.figure import Figure, in_turns_ms, one_thread
from avi_lib.evaluation.styles import (
    cosines,
    diversity,
    energy_distance,
    interval,
    nearest_centroid,
    retrieval,
    similarity,
)
from avi_lib.instruction.text_encoder import TextEncoder
from avi_lib.motion.director import Director
from avi_lib.motion.learned import LearnedGenerator
from avi_lib.motion.style_prior import PriorModel
from avi_lib.settings import SampleSettings
from avi_lib.stages.style_bank import StyleBank, make_bank

HELD_SPLITS = ("test", "validation")
SETS: tuple[Draw, ...] = ("combination", "wording", "train")
"""What is held out; of `train` the speakers alone."""
SAID = {"combination": "held-out combinations", "wording": "held-out wordings", "train": "held-out speakers"}
GUIDANCES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
_SAMPLES = 10
_TEXTS = 60
"""Texts of which several samples are drawn."""

Styles = Float32[np.ndarray, "n style"]


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
    director: Director, generator: LearnedGenerator, scenes: Sequence[Scene], bank: StyleBank, styles: Styles
) -> AskedScore:
    """Units asked for by the scripts of a bank against those that move in the given styles (not normalised)."""
    return score_asked(asked_and_moved(director, generator, scenes, bank, styles))


def asked_and_moved(
    director: Director, generator: LearnedGenerator, scenes: Sequence[Scene], bank: StyleBank, styles: Styles
) -> list[tuple[Strengths, Strengths]]:
    """Units asked for by every script of a bank, and those that move in its style (not normalised)."""
    plain = director.style("A person speaks.", seed=0)
    motions = move(generator, scenes, list(styles))
    moved = measure(generator, scenes, motions, plain)
    return [(asked_units(script), found) for script, found in zip(bank.scripts, moved, strict=True)]


def score_emotion(
    generator: LearnedGenerator,
    prior: PriorModel,
    scenes: Sequence[Scene],
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
    reading = prior.read(bank.first_states(count)).at(torch.arange(count).repeat_interleave(_SAMPLES))
    true = normal(prior, bank.styles[:count])
    curve = {}
    for guidance in GUIDANCES:
        how = (settings or SampleSettings()).model_copy(update={"guidance": guidance})
        styles = normal(prior, prior.draw(reading, list(range(count * _SAMPLES)), how))
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
    director: Director,
    generator: LearnedGenerator,
    corpora: Sequence[Corpus],
    scripts: int = 600,
    settings: SampleSettings | None = None,
    folder: Path | None = None,
) -> Iterator[Figure]:
    """The figures of a prior.

    Args:
        director: with the prior that is measured.
        generator: whose styles it draws.
        corpora: prepared ones with speakers held out.
        scripts: of every set.
        settings: how styles are drawn.
        folder: where states of texts are kept.

    Raises:
        InputError: styles of another generator, or no held-out speaker.
    """
    director.must_direct(generator.model)
    how = settings or SampleSettings()
    prior = director.prior
    scenes = held_out_scenes(corpora)
    banks: Mapping[Draw, StyleBank] = {
        draw: held_out_bank(corpora, generator, director.encoder, draw, scripts, i, folder=folder)
        for i, draw in enumerate(SETS)
    }
    for draw, bank in banks.items():
        yield from _style_figures(SAID[draw], score_styles(draw_bank(prior, bank, how), normal(prior, bank.styles)))
    yield from _motion_figures(director, generator, corpora, scenes, scripts, how, folder)
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


def held_out_scenes(corpora: Sequence[Corpus]) -> list[Scene]:
    """Clips with sound of speakers that are held out; InputError when there is none."""
    clips = [(c, clip) for c in corpora for clip in c.clips if clip.split in HELD_SPLITS and clip.features]
    scenes = [Scene.of(corpus, clip) for corpus, clip in clips if clip.duration_s >= 2.5]
    if not scenes:
        raise InputError("clips with sound of held-out speakers", "none", "add a corpus of three speakers or more")
    return scenes


def _style_figures(name: str, score: StyleScore) -> Iterator[Figure]:
    for what, (mean, low, high) in score.rows():
        yield Figure(f"{name}: {what}", mean, "", "-", f"95 % interval {low:.3f} to {high:.3f}")
    yield Figure(f"{name}: energy distance", score.energy, "", "-", "drawn against true styles")


_EMOTION_SETS: tuple[tuple[Draw, str], ...] = (("train", ">= 0.85"), ("wording", "-"))


def _motion_figures(
    director: Director,
    generator: LearnedGenerator,
    corpora: Sequence[Corpus],
    scenes: Sequence[Scene],
    scripts: int,
    settings: SampleSettings,
    folder: Path | None,
) -> Iterator[Figure]:
    prior, encoder = director.prior, director.encoder
    asked = held_out_bank(corpora, generator, encoder, "combination", scripts, 5, "units", folder)
    drawn = raw(prior, draw_bank(prior, asked, settings))
    own = score_motion(director, generator, scenes, asked, drawn)
    true = score_motion(director, generator, scenes, asked, asked.styles)
    other = score_motion(director, generator, scenes, asked, np.roll(drawn, 1, axis=0))
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
