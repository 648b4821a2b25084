"""The diffusion prior on held-out voices: drawn styles against true ones, and what moves of what is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.measure import measure_units, neutral_face
from avi_lib.corpus.scripts import Draw
from avi_lib.evaluation.report import estimate
from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.generator import LearnedGenerator, load_generator
from avi_lib.motion.prior import PriorModel, PriorSampler, load_prior_sampler
from avi_lib.motion.style import style_of
from avi_lib.settings import SampleSettings
from avi_lib.speech.encoders import one_thread
from avi_lib.training.prior import StyleBank, make_bank
from tools.benchmarks.measuring import Figure, Options, corpora, in_turns_ms
from tools.benchmarks.scores import (
    PLAIN,
    SETS,
    TEXTS,
    Others,
    Spoken,
    Strengths,
    Styles,
    asked_and_moved,
    asked_units,
    draw_bank,
    f1,
    guidance_curve,
    held_out_bank,
    held_out_spoken,
    move,
    normal,
    raw,
    score_styles,
)

CLIPS = 24
"""Of held-out speech, over which faces move."""


def measure(options: Options) -> Iterator[Figure]:
    """Figures of the prior."""
    prior_sampler, generator = load_prior_sampler(options.prior, options.text_encoder), load_generator(options.talking)
    yield from measure_prior(prior_sampler, generator, corpora(options))


def measure_prior(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    corpora: Sequence[Corpus],
    scripts: int = 200,
    settings: SampleSettings | None = None,
    folder: Path | None = None,
) -> Iterator[Figure]:
    """The figures of a prior.

    Args:
        prior_sampler: with the prior that is measured.
        generator: that moves in the styles it draws.
        corpora: prepared ones with speakers held out.
        scripts: of every set; half as many ask for units in generated motion.
        settings: how styles are drawn.
        folder: where states of texts are kept.

    Raises:
        InputError: no held-out speaker.
    """
    how, prior, encoder = settings or SampleSettings(), prior_sampler.prior, prior_sampler.encoder
    clips = held_out_spoken(corpora)
    clips = clips[:: -(-len(clips) // CLIPS)]
    banks = {draw: held_out_bank(corpora, encoder, draw, scripts, i, folder=folder) for i, draw in enumerate(SETS)}
    for draw, bank in banks.items():
        true, alone = (
            normal(prior, bank.styles),
            score_styles(draw_bank(prior, bank, how, parsed=False), normal(prior, bank.styles)),
        )
        for what, found in score_styles(draw_bank(prior, bank, how), true).items():
            known = np.isfinite(found.low)
            said = f"95 % interval {found.low:.3f} to {found.high:.3f}" if known else "drawn against true styles"
            yield Figure(
                f"{SETS[draw]}: {what}", found.value, "", "-", f"{said}; from the text alone {alone[what].value:.3f}"
            )
    for draw in ("combination", "wording"):
        asked = held_out_bank(corpora, encoder, draw, scripts // 2, 5, "units", folder)
        yield from _unit_figures(prior_sampler, generator, clips, asked, how, SETS[draw])
    yield from _emotion_figures(prior_sampler, generator, corpora, clips, scripts, how, folder)
    plain = banks["train"]
    for guidance, (apart, cosine, length) in guidance_curve(prior, plain, how).items():
        said = f"ten samples of {min(TEXTS, len(plain))} texts; cosine {cosine:.2f}, length {length:.1f}"
        yield Figure(f"diversity at guidance {guidance:g}", apart, "", "> 0 at 1, falling", said)
    states, doubled = plain.first_states(1), how.model_copy(update={"guidance": 2.0})

    def one_style(one: SampleSettings) -> Styles:
        return prior.draw(prior.read(states, plain.asked[:1]), [0], one)

    for name, one in ((f"one style, {how.steps} steps", how), ("the same with guidance", doubled)):
        with one_thread():
            spent = in_turns_ms({"one": partial(one_style, one)}, 9)["one"]
        yield Figure(name, float(np.median(spent)), "CPU ms", "<= 60", "one thread")


def _unit_figures(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    clips: Sequence[Spoken],
    asked: StyleBank,
    settings: SampleSettings,
    what: str,
) -> Iterator[Figure]:
    """F1 and Spearman of units in generated motion: as used, from the text alone, and beside what bounds it."""
    prior = prior_sampler.prior
    own, alone = (raw(prior, draw_bank(prior, asked, settings, parsed=parsed)) for parsed in (True, False))
    rows = {
        "": own,
        ", from the text alone": alone,
        ", true styles": asked.styles,
        ", another script's": np.roll(own, 1, axis=0),
    }
    found = {name: asked_and_moved(prior_sampler, generator, clips, asked, styles) for name, styles in rows.items()}
    performed = [clips[i % len(clips)][1].perform(each, i) for i, each in enumerate(asked.asked)]
    rest = neutral_face([(clip[1].perform(PLAIN, 0).values, np.ones(len(ARKIT), bool)) for clip in clips])
    found[", performer with parser"] = [
        (asked_units(script), {n: v for n, v in measure_units(motion, rest).items() if not ACTION_UNITS[n].rhythm})
        for script, motion in zip(asked.scripts, performed, strict=True)
    ]
    for row, pairs in found.items():
        score, spread = score_asked(pairs), estimate(pairs, np.random.default_rng(0), statistic=f1, resamples=400)
        must = ("-", "-") if row else (">= 0.95", ">= 0.90")
        how = f"{spread.low:.3f} to {spread.high:.3f}; precision {score.precision:.2f}, recall {score.recall:.2f}"
        yield Figure(f"{what}: asked units are those that move, F1{row}", score.f1, "", must[0], how)
        missed = ", ".join(f"{name} {count}" for name, count in [*score.missed.items()][:3])
        wrong = ", ".join(f"{name} {count}" for name, count in [*score.false.items()][:3])
        said = f"{len(pairs)} scripts; most missed: {missed or 'none'}; most added: {wrong or 'none'}"
        yield Figure(f"{what}: adverb and amplitude, Spearman{row}", score.rho, "", must[1], said)


def _emotion_figures(
    prior_sampler: PriorSampler,
    generator: LearnedGenerator,
    corpora: Sequence[Corpus],
    clips: Sequence[Spoken],
    scripts: int,
    settings: SampleSettings,
    folder: Path | None,
) -> Iterator[Figure]:
    prior, encoder = prior_sampler.prior, prior_sampler.encoder
    shown = make_bank(corpora, encoder, scripts, 1, 77, kind="emotion", real=False, folder=folder)
    sets: tuple[tuple[Draw, str], ...] = (("train", ">= 0.85"), ("wording", "-"))
    for draw, must in sets:
        named = held_out_bank(corpora, encoder, draw, scripts, 6, "emotion", folder)
        styles = raw(prior, draw_bank(prior, named, settings))
        pairs, truths = (score_emotion(generator, prior, clips, named, each, shown) for each in (styles, named.styles))
        right, best = (float(np.mean([asked == found for asked, found in each])) for each in (pairs, truths))
        wrong = Counter(f"{asked} for {found}" for asked, found in pairs if asked != found).most_common(3)
        most = ", ".join(f"{name} {count}" for name, count in wrong) or "none"
        said = f"{SETS[draw]}, 10 emotions; in the true style {best:.2f}; most taken for another: {most}"
        yield Figure(f"named emotion found in the motion, {SETS[draw]}", right, "", must, said)


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


def score_asked(pairs: Sequence[tuple[Strengths, Strengths]]) -> AskedScore:
    """Scores over pairs (asked, measured)."""
    missed = Counter(name for asked, moved in pairs for name in asked.keys() - moved.keys())
    false = Counter(name for asked, moved in pairs for name in moved.keys() - asked.keys())
    hits = sum(len(asked.keys() & moved.keys()) for asked, moved in pairs)
    wanted, found = (sum(len(pair[i]) for pair in pairs) for i in (0, 1))
    said = np.array([strength for asked, _ in pairs for strength in asked.values()])
    shown = np.array([moved.get(name, 0.0) for asked, moved in pairs for name in asked])
    varied = len(said) > 1 and np.ptp(said) > 0 and np.ptp(shown) > 0
    return AskedScore(
        precision=_ratio(hits, found),
        recall=_ratio(hits, wanted),
        f1=f1(pairs),
        rho=float(spearmanr(said, shown).statistic) if varied else float("nan"),
        missed=dict(missed.most_common()),
        false=dict(false.most_common()),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def score_emotion(
    generator: LearnedGenerator,
    prior: PriorModel,
    clips: Sequence[Spoken],
    bank: StyleBank,
    styles: Styles,
    shown: StyleBank,
) -> list[tuple[str, str]]:
    """Named and recovered emotion of every script: the nearest centroid of performed styles to the motion's own style.

    Centroids are of every emotion at every level, over the scripts of `shown`.
    """
    members: dict[tuple[str, int], list[int]] = {}
    for i, script in enumerate(shown.scripts):
        members.setdefault((str(script.instruction.emotion), int(script.instruction.level or 1)), []).append(i)
    labels = sorted(members)
    centroids = normal(prior, np.stack([shown.styles[members[label]].mean(axis=0) for label in labels]))
    motions = move(generator, clips, list(styles))
    seen = normal(prior, np.stack([style_of(motion) for motion in motions]))
    found = nearest_centroid(seen, centroids, [emotion for emotion, _ in labels])
    return [(str(script.instruction.emotion), each) for script, each in zip(bank.scripts, found, strict=True)]


def nearest_centroid(styles: Styles, centroids: Others, labels: list[str]) -> list[str]:
    """The label of the centroid nearest to each style."""
    return [labels[int(i)] for i in cdist(styles, centroids).argmin(axis=1)]
