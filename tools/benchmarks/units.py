"""Measured action units against performed ones.

Phones and prosody of labelled recordings are performed with random scripts of no to four action units, and what
`measure_units` finds is compared with the script.

>>> score([({"brow_down": 0.6}, {"brow_down": 0.55})])["brow_down"].found
1.0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avi_lib.corpus.measure import measure_units, neutral_face
from avi_lib.instruction.action_units import ACTION_UNITS, STRENGTH_WORDS, opposites, quantise
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.performer import Performer
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import prosody
from tools.benchmarks.measuring import Figure, Options
from tools.benchmarks.phones import read_source

SCRIPTS = 8
"""Scripts performed over every stretch of speech; the first has no action unit."""
JOINED = (1, 2, 3, 4)
"""Recordings that are joined into one stretch, in turn."""

_BUCKETS = (0.0, *(words.strength for words in STRENGTH_WORDS))
_Pair = tuple[Mapping[str, float], Mapping[str, float]]


@dataclass(frozen=True)
class UnitScore:
    """How one action unit was measured.

    Attributes:
        clips: clips that perform it.
        found: share of them in which it is found.
        false: share of the other clips in which it is found.
        rho: Spearman correlation of its strength with what is found, NaN when all are alike.
        error: median absolute error of its strength, 0 standing for not found.
        near: share of clips in which its word is right or a neighbour of the right one.
    """

    clips: int
    found: float
    false: float
    rho: float
    error: float
    near: float


def draw_units(rng: np.random.Generator) -> dict[str, float]:
    """One to four action units that neither share nor oppose main channels, each at one of the words' strengths.

    Eyes closed by half or less are the same channels as drooping lids and are not drawn.
    """
    opposed = opposites()
    while True:
        names = [str(name) for name in rng.choice(list(ACTION_UNITS), int(rng.integers(1, 5)), replace=False)]
        mains = [set(ACTION_UNITS[name].main_channels()) for name in names]
        blocked = [{other for channel in main for other in opposed.get(channel, ())} | main for main in mains]
        apart = all(not mains[i] & blocked[j] for i in range(len(names)) for j in range(len(names)) if i != j)
        if apart and not {"blink_more", "blink_less"} <= set(names):
            drawn = {name: float(rng.choice(_BUCKETS[1:])) for name in names}
            return {name: max(value, 0.6) if name == "eyes_closed" else value for name, value in drawn.items()}


def score(pairs: Sequence[_Pair]) -> dict[str, UnitScore]:
    """Scores of every unit that is performed, over pairs (performed, measured) of strengths by name."""
    return {unit: _score(unit, pairs) for unit in ACTION_UNITS if any(unit in performed for performed, _ in pairs)}


def _score(unit: str, pairs: Sequence[_Pair]) -> UnitScore:
    from scipy.stats import spearmanr

    asked = np.array([performed[unit] for performed, _ in pairs if unit in performed])
    found = np.array([measured.get(unit, 0.0) for performed, measured in pairs if unit in performed])
    others = [unit in measured for performed, measured in pairs if unit not in performed]
    varied = np.ptp(asked) > 0 and np.ptp(found) > 0
    steps = [abs(_bucket(a) - _bucket(b)) for a, b in zip(asked, found, strict=True)]
    return UnitScore(
        clips=len(asked),
        found=float((found > 0).mean()),
        false=float(np.mean(others)) if others else 0.0,
        rho=float(spearmanr(asked, found).statistic) if varied else float("nan"),
        error=float(np.median(np.abs(asked - found))),
        near=float(np.mean([step <= 1 for step in steps])),
    )


def _bucket(strength: float) -> int:
    return _BUCKETS.index(quantise(strength))


def perform_pairs(source: Path, clips: int | None = None, seed: int = 0) -> list[_Pair]:
    """Performed and measured units over stretches of up to `clips` recordings of a source; see `SCRIPTS`, `JOINED`.

    Raises InputError when the source or one of its recordings cannot be used.
    """
    stretches = _stretches([(path, phones) for path, _, phones in read_source(source, clips)])
    rng = np.random.default_rng(seed)
    performed = []
    for number, stretch in enumerate(stretches):
        performer = _performer(stretch)
        for i in range(SCRIPTS):
            units = draw_units(rng) if i else {}
            instruction = Instruction("a script", action_units=units)
            performed.append((units, performer.perform(instruction, seed=SCRIPTS * number + i)))
    neutral = neutral_face([(clip.values, clip.present) for _, clip in performed])
    return [(units, measure_units(clip, neutral)) for units, clip in performed]


def _stretches(recordings: Sequence[tuple[Path, tuple[Phone, ...]]]) -> list[Sequence[tuple[Path, tuple[Phone, ...]]]]:
    parts: list[Sequence[tuple[Path, tuple[Phone, ...]]]] = []
    first = 0
    while first < len(recordings):
        length = JOINED[len(parts) % len(JOINED)]
        parts.append(recordings[first : first + length])
        first += length
    return parts


def _performer(stretch: Sequence[tuple[Path, tuple[Phone, ...]]]) -> Performer:
    waves, phones, start_s = [], [], 0.0
    for path, spoken in stretch:
        waves.append(load_voice(path).wave)
        phones += [Phone(phone, start_s + begin_s, start_s + end_s) for phone, begin_s, end_s in spoken]
        start_s += len(waves[-1]) / RATE_HZ
    wave = np.concatenate(waves)
    return Performer(phones, prosody(wave), len(wave) / RATE_HZ)


def measure(options: Options) -> Iterator[Figure]:
    """Means over the units, weighted by clips, and the units that each is mistaken most in."""
    pairs = perform_pairs(options.labelled, options.clips)
    scores = score(pairs)
    weights = [entry.clips for entry in scores.values()]
    how = f"{len(pairs)} performed stretches, {len(scores)} units"
    found = np.average([entry.found for entry in scores.values()], weights=weights)
    rarest = min(scores, key=lambda name: scores[name].found)
    yield Figure("found", 100 * found, "%", "-", f"{how}; least: {rarest} {100 * scores[rarest].found:.0f} %")
    worst = max(scores, key=lambda name: scores[name].false)
    false = float(np.mean([entry.false for entry in scores.values()]))
    yield Figure("false alarms", 100 * false, "%", "-", f"most: {worst} {100 * scores[worst].false:.1f} %")
    rho = float(np.nanmedian([entry.rho for entry in scores.values()]))
    yield Figure("rank correlation of strengths", rho, "", "-", "median of the units")
    near = np.average([entry.near for entry in scores.values()], weights=weights)
    yield Figure("the word of a strength is right or next to it", 100 * near, "%", "-", how)
    plain = [len(measured) for performed, measured in pairs if not performed]
    yield Figure("units a clip of plain talk", float(np.mean(plain)), "", "-", f"{len(plain)} clips")
