"""Whether what is asked is what moves: every unit and composite, negations, and how faces vary from seed to seed.

Sentences in wordings that training does not say are carried out by several systems; what moves is read from the levels
of each style, or of the style that generated motion shows, against those of a plain sentence.

>>> shown = by_prior(prior_sampler, sentences)              # styles (sentences, 128)
>>> np.mean([moves(style, plain, asked) for style, (_, asked) in zip(shown, sentences)])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from avi_lib.corpus.scripts import BUNDLES, is_held_wording
from avi_lib.evaluation.report import estimate
from avi_lib.instruction.action_units import (
    ACTION_UNITS,
    EMOTION_WORDS,
    EMOTIONS,
    STRENGTH_WORDS,
    WORDINGS,
    carriers,
    levels,
)
from avi_lib.instruction.grammar import Phrasing, describe
from avi_lib.instruction.instruction import Instruction, expression_targets
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.generator import LearnedGenerator, load_generator
from avi_lib.motion.prior import PriorSampler, load_prior_sampler
from avi_lib.motion.style import levels as levels_of
from avi_lib.motion.style import style_of
from avi_lib.settings import SampleSettings
from tools.benchmarks.measuring import Figure, Options, corpora
from tools.benchmarks.scores import PLAIN, Spoken, Styles, held_out_spoken

WORDED, SEEDS, NEGATIONS = 3, 12, 40
LEAST_SHARE, MOST_FORBIDDEN = 1 / 3, 0.05
_FORBIDDING = (
    *("Do not {act}.", "He does not {act}.", "She speaks and will not {act}.", "Never {act}."),
    *("She is happy but does not {act}.", "He is furious, yet he does not {act}."),
)
_NAMING = (
    "A person speaks with a {degree} {phrase}.",
    "She shows a {degree} {phrase}.",
    "He talks with {phrase}, {degree}.",
)

Sentences = Sequence[tuple[str, Mapping[str, float]]]
"""Texts with the action units, by strength, that they ask for or forbid (0)."""
System = Callable[[Sentences], Styles]
Seeded = Callable[[Instruction, range], Styles]
"""What one sentence shows, from several seeds."""


def vocabulary(seed: int = 0) -> list[tuple[str, dict[str, float]]]:
    """Every unit that is held, and every composite, in three held-out wordings at three strengths."""
    rng, found = np.random.default_rng(seed), []
    for bundle in BUNDLES:
        if any(ACTION_UNITS[name].rhythm for name in bundle):
            continue
        wording = next(each for each in WORDINGS if each.units == bundle)
        for number, bucket in enumerate(rng.choice(3, WORDED, replace=False)):
            word = STRENGTH_WORDS[(2, 3, 5)[int(bucket)]]
            asked = {name: min(factor * word.strength, 1.0) for name, factor in bundle.items()}
            if wording.states:
                text = describe(asked, rng=rng, phrasing=Phrasing(is_held_wording))
            else:
                phrase = Phrasing(is_held_wording).of(wording.phrases, rng)
                degree = word.adjectives[int(rng.integers(len(word.adjectives)))]
                text = " ".join(_NAMING[number].format(phrase=phrase, degree=degree).split())
            found.append((text, asked))
    return found


def negations(seed: int = 0) -> list[tuple[str, dict[str, float]]]:
    """Sentences that forbid a unit, in its held-out wordings, and some that deny an emotion."""
    rng, found = np.random.default_rng(seed), []
    said = [each for each in WORDINGS if each.acts and not any(ACTION_UNITS[name].rhythm for name in each.units)]
    felt = [emotion for emotion in EMOTIONS if len(levels(emotion)) > 1]
    for number, wording in enumerate(said[i] for i in rng.permutation(len(said))[: NEGATIONS - len(felt)]):
        act = (
            Phrasing(is_held_wording)
            .of(wording.acts, rng)
            .replace("*", "")
            .replace("@", "your" if number % 6 in (0, 3) else "their")
        )
        text = _FORBIDDING[number % len(_FORBIDDING)].format(act=" ".join(act.split()))
        found.append((text, dict.fromkeys(wording.units, 0.0)))
    for emotion in felt:
        text = f"He is not {Phrasing(is_held_wording).of(EMOTION_WORDS[emotion].adjectives[1], rng)}."
        found.append((text, dict.fromkeys(carriers(emotion), 0.0)))
    return found


def moves(style: np.ndarray, plain: np.ndarray, asked: Mapping[str, float]) -> bool:
    """Whether all main channels of the asked units move the right way, and what moves most is one of theirs."""
    change = levels_of(style - plain, ARKIT)
    targets = expression_targets(Instruction("x", action_units=asked))
    main = {channel for name in asked for channel in ACTION_UNITS[name].main_channels()}
    right = [change[ARKIT.index(c)] * np.sign(targets[c]) >= LEAST_SHARE * abs(targets[c]) for c in main]
    scaled = np.abs(change) / np.where(np.arange(len(ARKIT)) < ARKIT.groups["head"][0], 1.0, 0.4)
    return all(right) and ARKIT.channels[int(scaled.argmax())] in targets


def forbidden(style: np.ndarray, plain: np.ndarray, asked: Mapping[str, float]) -> float:
    """How far the main channels of forbidden units move their way beyond those of a plain sentence; 0 for less."""
    change, units = levels_of(style - plain, ARKIT), [ACTION_UNITS[name] for name in asked]
    ways = [np.sign(unit.channels[c]) * change[ARKIT.index(c)] for unit in units for c in unit.main_channels()]
    return float(max(0.0, *ways))


def by_prior(sampler: PriorSampler, sentences: Sentences, parsed: bool = True) -> Styles:
    """Drawn styles, each with a seed of its own; without the reading where it is not `parsed`."""
    states = sampler.encoder.encode([text for text, _ in sentences])
    asked = [Instruction.parse(text) for text, _ in sentences]
    reading = sampler.prior.read(states, asked if parsed else None)
    return sampler.prior.draw(reading, list(range(len(sentences))), SampleSettings())


def by_performer(clip: Spoken, sentences: Sentences) -> Styles:
    """Styles of performances of what is parsed."""
    return np.stack([style_of(clip[1].perform(Instruction.parse(text), i)) for i, (text, _) in enumerate(sentences)])


def by_generator(generator: LearnedGenerator, sampler: PriorSampler, clip: Spoken, sentences: Sentences) -> Styles:
    """Styles of generated motion in drawn styles."""
    drawn, shown = by_prior(sampler, sentences), []
    for i, (text, _) in enumerate(sentences):
        shown.append(style_of(generator.perform(*clip, Instruction.parse(text), i, drawn[i])))
    return np.stack(shown)


def measure(options: Options) -> Iterator[Figure]:
    """The figures of the section, for styles and for generated motion."""
    sampler, generator = load_prior_sampler(options.prior, options.text_encoder), load_generator(options.talking)
    clip = held_out_spoken(corpora(options))[0]
    yield from measure_asked(
        {
            "styles": partial(by_prior, sampler),
            "styles, without the parser's reading": partial(by_prior, sampler, parsed=False),
            "generated motion": partial(by_generator, generator, sampler, clip),
            "performer with parser": partial(by_performer, clip),
        }
    )
    yield from _varied("styles", lambda asked, seeds: sampler.styles(asked, seeds))

    def moved(asked: Instruction, seeds: range) -> Styles:
        styles = zip(seeds, sampler.styles(asked, seeds), strict=True)
        return np.stack([style_of(generator.perform(*clip, asked, seed, style)) for seed, style in styles])

    yield from _varied("generated motion", moved)


def measure_asked(systems: Mapping[str, System]) -> Iterator[Figure]:
    """Figures of each system."""
    named, denied = vocabulary(), negations()
    for system, carry_out in systems.items():
        (plain,) = carry_out([(PLAIN.text, {})])
        right = [moves(style, plain, asked) for style, (_, asked) in zip(carry_out(named), named, strict=True)]
        found = estimate(np.array(right, float), np.random.default_rng(0))
        how = f"{len(named)} sentences; 95 % interval {found.low:.3f} to {found.high:.3f}"
        yield Figure(f"{system}: units and composites move as asked", found.value, "", ">= 0.98", how)
        off = [forbidden(style, plain, asked) for style, (_, asked) in zip(carry_out(denied), denied, strict=True)]
        how = f"share of {len(denied)} negations up to {MOST_FORBIDDEN:g}; worst {max(off):.2f}"
        yield Figure(
            f"{system}: what is forbidden rests", float(np.mean(np.array(off) <= MOST_FORBIDDEN)), "", "1", how
        )


def _varied(what: str, show: Seeded) -> Iterator[Figure]:
    """Deviation over seeds as a share of the mean, over the channels that a sentence is about."""
    explicit, felt = [], []
    for text, asked in vocabulary()[::WORDED]:
        shown = levels_of(show(Instruction.parse(text), range(SEEDS)), ARKIT)
        main = [ARKIT.index(channel) for name in asked for channel in ACTION_UNITS[name].main_channels()]
        explicit.append(float(np.mean(shown[:, main].std(axis=0) / np.abs(shown[:, main].mean(axis=0)))))
    for emotion in EMOTIONS:
        for level in levels(emotion) if len(levels(emotion)) > 1 else ():
            asked = Instruction(f"A person feels {EMOTION_WORDS[emotion].adjectives[level - 1][0]}.", emotion, level)
            usual = expression_targets(asked)
            face = [ARKIT.index(c) for c, value in usual.items() if abs(value) >= 0.5 * max(map(abs, usual.values()))]
            shown = levels_of(show(asked, range(SEEDS)), ARKIT)[:, face]
            felt.append(float(np.mean(shown.std(axis=0) / np.maximum(np.abs(shown.mean(axis=0)), 0.02))))
    for kind, values, must in (("explicit strengths", explicit, "<= 0.05"), ("emotions", felt, ">= 0.15")):
        found = estimate(values, np.random.default_rng(0))
        how = f"{found.low:.3f} to {found.high:.3f}; {SEEDS} seeds of {len(values)} sentences, mean; "
        how += f"{min(values):.3f} to {max(values):.3f}"
        yield Figure(f"{what}: {kind} vary from seed to seed by, of their mean", found.value, "", must, how)
    spread = levels_of(show(PLAIN, range(SEEDS)), ARKIT).std(axis=0)
    upper = [i for group in ("brows", "lids", "cheeks_nose") for i in ARKIT.groups[group]]
    yield Figure(f"{what}: a plain sentence varies by, brows, lids, cheeks", float(spread[upper].mean()), "", "-", "")
