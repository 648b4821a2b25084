"""Whether a face does what it was asked: the action units of generated motion against those of the text.

>>> score = score_asked([({"brow_down": 0.9}, {"brow_down": 0.8, "lid_tighten": 0.2})])
>>> score.f1, score.rho
(0.666..., nan)

Asked units are those that a script names with a strength; moved ones are what `measure_units` finds in the motion.
Nods, shakes and blinks are left out: they are not in a style but added by the performer, as the scanner understands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.curves import Curves
from avi_lib.corpus.entries import ClipEntry
from avi_lib.corpus.measure import measure_units, neutral_face
from avi_lib.corpus.style_scripts import StyleScript
from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.learned import LearnedGenerator
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import ARKIT
from avi_lib.settings import PerformerSettings

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
class Scene:
    """A held-out clip: its features, and its performer without idle behaviour."""

    features: Float32[np.ndarray, "steps dim"]
    performer: Performer

    @classmethod
    def of(cls, corpus: Corpus, clip: ClipEntry) -> Scene:
        """The scene of a clip with sound."""
        quiet = PerformerSettings(blinks=False, gaze=False, sway=False)
        performer = Performer(corpus.phones(clip), corpus.prosody(clip), clip.duration_s, quiet)
        return cls(corpus.features(clip).astype(np.float32), performer)


def move(
    generator: LearnedGenerator,
    scenes: Sequence[Scene],
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
    generator: LearnedGenerator, scenes: Sequence[Scene], motions: Sequence[MotionClip], plain: Style
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
