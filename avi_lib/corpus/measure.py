"""Action units of real motion: curves and the speaker's neutral face in, strengths of action units out.

>>> neutral = neutral_face([(curves.values, curves.present) for curves in recordings])
>>> measure_units(curves, neutral)
{'brow_down': 0.62, 'lid_tighten': 0.31}

A channel's level is a quantile over time of its curve above neutral, chosen so that articulation and blinks, which come
and go, stay below it. The levels are then explained by the fewest action units: non-negative least squares (Lawson and
Hanson 1974, "Solving least squares problems") with backward elimination, where units share a blendshape at their
larger weight as `unit_channels` does. Units with a rhythm come from spectra and from counts of blinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Bool, Float, Float32
from scipy.optimize import nnls

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS, ActionUnit, opposites
from avi_lib.motion.clip import ARKIT, MotionClip

_TABLES: dict[str, Any] = yaml.load(Path(__file__).with_name("measure.yaml").read_text("utf-8"), yaml.CSafeLoader)
FAINTEST: float = _TABLES["faintest"]
"""Strengths below this count as rest; a head sways and eyes blink anyway, and have their own thresholds."""
_FAINTEST_OF: dict[str, float] = _TABLES["faintest_of"]
NEUTRAL_QUANTILE, LABELLED_QUANTILE = 0.1, 0.3
"""Share of a speaker's frames that rest below their neutral: of all frames, and of frames labelled neutral."""
LEAST_NEUTRAL_FRAMES = 50  # frames labelled neutral that are worth more than all others together
_TALK = {channel: tuple(row) for channel, row in _TABLES["talk"].items()}
_STEADY = (0.5, 0.0, 1.0)  # quantile over time, its value in plain talk, and its growth with a unit's weight
_PRESSERS = ("mouthRoll", "mouthShrug", "mouthPress")
_YIELD, _AJAR, _TALKING_JAW, _LEAST_PRESSING = 0.8, 0.3, 0.16, 0.36
"""A mouth presses by `_YIELD` less with the jaw at `_AJAR`, as the performer has it, and by at least the last of these
shares of a unit's weight; the third is the median jaw in plain talk, for curves without a jaw."""
_SIGNED = tuple(
    (ARKIT.index(f"eyeLook{first}{side}"), ARKIT.index(f"eyeLook{second}{side}"))
    for first, second in (("Up", "Down"), ("In", "Out"))
    for side in ("Left", "Right")
)
_GIVES_WAY = 0.5  # a channel is taken for the tracker's shadow of its opposite when its level is below this share of it
_DROOP = ACTION_UNITS["lid_droop"].channels["eyeBlinkLeft"]
_SPARSITY = 0.05  # a unit stays when leaving it out adds more than this, as a root of summed squares over its channels

_RHYTHM_HZ = (1.0, 2.0)
_RHYTHM_LEAST_S, _BLINKS_LEAST_S = 2.5, 4.0
_BLINKS_PER_MINUTE, _MORE_BLINKS = 18.0, 1.6
"""Blinks of plain talk, and how many times as many come on top at strength 1, as the performer has them."""

_ALIKE = frozenset({"lid_droop", "gaze_away"})
"""Left out of the fit: a droop is the same channels as closed eyes, a gaze away is a gaze aside and down."""


def neutral_face(
    samples: Sequence[tuple[Float32[np.ndarray, "_ 55"], Bool[np.ndarray, " 55"]]],
    emotions: Sequence[str | None] | None = None,
) -> Float32[np.ndarray, " 55"]:
    """A speaker's neutral face (55,): how their curves rest in all of their recordings together.

    `samples` are ARKIT values (frames, 55) and which channels are present of each recording, `emotions` their labels,
    None where there is none. Gaze and head rest at their medians, a blendshape at a low quantile of its frames. Where
    the recordings that are labelled neutral have frames enough, theirs alone count. A channel counts in the samples
    that have it and is 0 when none has. Raises InputError for no sample, or not one emotion for each.
    """
    labels = list(emotions) if emotions is not None else [None] * len(samples)
    if not samples or len(labels) != len(samples):
        got = f"{len(samples)} and {len(labels)}"
        raise InputError("recordings of one speaker and a label for each", got, "pass both")
    neutral = np.zeros(len(ARKIT), np.float32)
    for i, channel in enumerate(ARKIT.channels):
        having = [(values[:, i], label) for (values, present), label in zip(samples, labels, strict=True) if present[i]]
        if not having:
            continue
        plain = [curve for curve, label in having if label == "neutral"]
        labelled = sum(map(len, plain)) >= LEAST_NEUTRAL_FRAMES
        frames = np.concatenate(plain if labelled else [curve for curve, _ in having])
        if channel.startswith(("eyeLook", "head")):
            neutral[i] = np.median(frames)
        else:
            group = next(name for name, members in ARKIT.groups.items() if i in members)
            rest = np.quantile(frames, LABELLED_QUANTILE if labelled else NEUTRAL_QUANTILE)
            neutral[i] = min(rest, _TABLES["neutral_caps"].get(group, _TABLES["neutral_caps"]["other"]))
    return neutral


def measure_units(curves: MotionClip, neutral: Float32[np.ndarray, " 55"]) -> dict[str, float]:
    """Strength 0-1 of every action unit that a clip of 1-12 s sustains, by name; absent ones are below FAINTEST.

    Ambiguous: eyes closed by half or less count as `lid_droop`, a gaze to the left and about half as much down is
    `gaze_away`. Nods and shakes need 2.5 s, `blink_more` 4 s and far more blinks than talk has; `blink_less` is never
    reported, since a clip is too short to miss blinks in. A unit is only reported when all its main channels are
    present. Raises InputError for curves that are not in the ARKIT space.
    """
    if curves.space is not ARKIT:
        raise InputError("curves in the ARKIT space", f"the space {curves.space.name}", "convert the motion first")
    levels = _levels(curves, neutral)
    strengths: dict[str, float] = {}
    for family in _families(levels, curves.present):
        strengths |= _explain(levels, curves.present, family)
    closed = strengths.pop("eyes_closed", 0.0)
    strengths |= {"eyes_closed": closed} if closed > 1.1 * _DROOP else {"lid_droop": closed / _DROOP}
    away, aside, down = (ACTION_UNITS[name].channels for name in ("gaze_away", "gaze_left", "gaze_down"))
    sideways = strengths.get("gaze_left", 0.0) * aside["eyeLookOutLeft"] / away["eyeLookOutLeft"]
    downward = strengths.get("gaze_down", 0.0) * down["eyeLookDownLeft"] / away["eyeLookDownLeft"]
    if FAINTEST <= sideways <= 1.1 and abs(sideways - downward) <= 0.3 * sideways:
        del strengths["gaze_left"], strengths["gaze_down"]
        strengths["gaze_away"] = sideways
    strengths |= _rhythms(curves)

    def faintest(unit: str) -> float:
        return next((least for start, least in _FAINTEST_OF.items() if unit.startswith(start)), FAINTEST)

    return {name: round(min(value, 1.0), 3) for name, value in strengths.items() if value >= faintest(name)}


def _levels(curves: MotionClip, neutral: Float32[np.ndarray, " 55"]) -> Float[np.ndarray, " 55"]:
    """What each channel sustains above neutral and beyond plain talk; one of an opposed pair gives way."""
    values = np.where(curves.present, curves.values - neutral, 0.0)
    for i, j in _SIGNED:
        turn = values[:, i] - values[:, j]
        values[:, i], values[:, j] = turn, -turn
    jaw = ARKIT.index("jawOpen")
    open_jaw = float(np.median(curves.values[:, jaw])) if curves.present[jaw] else _TALKING_JAW
    pressing = max(1.0 - _YIELD * open_jaw / _AJAR, _LEAST_PRESSING)
    shares = sorted({quantile for quantile, _, _ in (_STEADY, *_TALK.values())})
    held = dict(zip(shares, np.quantile(values, shares, axis=0), strict=True))
    levels = np.zeros(len(ARKIT))
    for i, channel in enumerate(ARKIT.channels):
        quantile, talk, gain = _TALK.get(channel, _STEADY)
        levels[i] = (held[quantile][i] - talk) / (pressing if channel.startswith(_PRESSERS) else gain)
    blendshapes = slice(0, ARKIT.groups["head"][0])
    levels[blendshapes] = np.clip(levels[blendshapes], 0.0, 1.0)
    strongest = {c: max(levels[ARKIT.index(other)] for other in others) for c, others in opposites().items()}
    weaker = [ARKIT.index(c) for c, most in strongest.items() if levels[ARKIT.index(c)] < _GIVES_WAY * most]
    levels[weaker] = 0.0
    return levels


def _families(levels: Float[np.ndarray, " 55"], present: Bool[np.ndarray, " 55"]) -> list[list[ActionUnit]]:
    """Units all of whose main channels are present and at a level that the faintest strength could have.

    They are parted so that those of one part share no channel with those of another.
    """

    def shows(unit: ActionUnit, channel: str) -> bool:
        i, weight = ARKIT.index(channel), unit.channels[channel]
        return bool(present[i] and levels[i] * np.sign(weight) >= 0.3 * FAINTEST * abs(weight))

    families: list[list[ActionUnit]] = []
    for unit in ACTION_UNITS.values():
        if unit.rhythm or unit.name in _ALIKE or not all(shows(unit, channel) for channel in unit.main_channels()):
            continue
        joined = [f for f in families if any(unit.channels.keys() & other.channels.keys() for other in f)]
        families = [family for family in families if family not in joined]
        families.append([*(other for family in reversed(joined) for other in family), unit])
    return families


def _explain(
    levels: Float[np.ndarray, " 55"], present: Bool[np.ndarray, " 55"], units: Sequence[ActionUnit]
) -> dict[str, float]:
    """The fewest units, and how strong, whose present channels add up to the levels."""
    channels = sorted({channel for unit in units for channel in unit.channels if present[ARKIT.index(channel)]})
    shared = np.array([not channel.startswith("head") for channel in channels])
    scale = np.where(shared, 1.0, 0.4)
    wanted = levels[[ARKIT.index(channel) for channel in channels]] / scale
    weights = np.array([[unit.channels.get(channel, 0.0) for unit in units] for channel in channels]) / scale[:, None]
    strengths, misfit = _fit(weights, wanted, shared)
    kept = [int(k) for k in np.flatnonzero(strengths > 0)]
    while kept:
        trials = [_fit(weights[:, [k for k in kept if k != leave]], wanted, shared)[1] for leave in kept]
        least = int(np.argmin(trials))
        if trials[least] > misfit + _SPARSITY**2:
            break
        misfit = max(misfit, trials[least])
        del kept[least]
    strengths, _ = _fit(weights[:, kept], wanted, shared)
    return {units[k].name: float(strength) for k, strength in zip(kept, strengths, strict=True)}


def _fit(
    weights: Float[np.ndarray, "channels units"], wanted: Float[np.ndarray, " channels"], shared: np.ndarray
) -> tuple[Float[np.ndarray, " units"], float]:
    """Strengths and the squared misfit; a shared channel takes the largest of its units' weights, others the sum."""

    def misfit(strengths: np.ndarray) -> float:
        carried = weights * strengths
        off = np.where(shared, carried.max(axis=1), carried.sum(axis=1)) - wanted
        return float(off @ off)

    if not weights.shape[1]:
        return np.zeros(0), float(wanted @ wanted)
    strengths, _ = nnls(weights, wanted)
    tried = [(strengths, misfit(strengths))]
    for _ in range(4):
        carried = weights * strengths
        leading = carried >= carried.max(axis=1, keepdims=True) - 1e-12
        strengths, _ = nnls(np.where(shared[:, None] & ~leading, 0.0, weights), wanted)
        tried.append((strengths, misfit(strengths)))
    return min(tried, key=lambda trial: trial[1])


def _rhythms(curves: MotionClip) -> dict[str, float]:
    """Strengths of nods, shakes and many blinks, in clips long enough to show them."""
    found = {}
    window, rates_hz = np.hanning(len(curves) + 2)[1:-1], np.fft.rfftfreq(len(curves), 1.0 / curves.fps)
    within = (rates_hz >= _RHYTHM_HZ[0]) & (rates_hz <= _RHYTHM_HZ[1])
    for name, (channel, plain_rad, growth_rad) in _TABLES["rhythms"].items():
        if curves.present[ARKIT.index(channel)] and curves.duration_s >= _RHYTHM_LEAST_S:
            spectrum = np.fft.rfft((curves[channel] - curves[channel].mean()) * window)
            swing = float(np.sqrt(2.0 * (np.abs(spectrum[within]) ** 2).sum() / (len(curves) * (window**2).sum())))
            found[name] = float(np.sqrt(max(swing**2 - plain_rad**2, 0.0)) / growth_rad)
    lids = ("eyeBlinkLeft", "eyeBlinkRight")
    if all(curves.present[ARKIT.index(lid)] for lid in lids) and curves.duration_s >= _BLINKS_LEAST_S:
        shut = np.minimum(*(curves[lid] for lid in lids))
        rest = np.median(shut)
        blinking = shut > rest + 0.5 * (1.0 - rest)
        per_minute = 60.0 * int((np.diff(blinking.astype(int)) == 1).sum()) / curves.duration_s
        found["blink_more"] = (per_minute / _BLINKS_PER_MINUTE - 1.0) / _MORE_BLINKS
    return found
