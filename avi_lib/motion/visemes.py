"""Visemes: what the mouth aims at for every ARPAbet phone, in ARKit blendshapes.

Amplitudes follow mean MediaPipe scores per phone over 98 s of four real speakers: jaws stay ajar at 0.15-0.22 even on
/m b p/, where `closure` seals the lips, and reach about 0.3 on open vowels. Classes and rules follow JALI (Edwards,
Landreth, Fiume and Singh 2016, "JALI: an animator-centric viseme model for expressive lip synchronization"): bilabials
shut the lips, labiodentals bring the lower lip to the upper teeth, sibilants narrow the jaw, rounding reaches over
its neighbours, and tongue-only phones leave the lips to them.

>>> VISEMES["M"].closure, VISEMES["AA"].targets["jawOpen"]
(1.0, 0.33)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from avi_lib.motion.space import ARKIT


@dataclass(frozen=True)
class Viseme:
    """An articulatory target and how strongly and how far it pulls on its neighbours.

    targets: ARKit channel -> weight; names without Left or Right mean both sides. dominance: pull relative to a
    vowel's 1. before_s, after_s: time constants of the pull outside the phone. closure: share of the lip opening that
    is shut, 0-1.
    """

    targets: Mapping[str, float]
    dominance: float = 1.0
    before_s: float = 0.05
    after_s: float = 0.05
    closure: float = 0.0
    both_sides: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        """Spell the two-sided names out once."""
        spelled: dict[str, float] = {}
        for name, weight in self.targets.items():
            sides = [name] if name in ARKIT.channels else [f"{name}Left", f"{name}Right"]
            spelled.update(dict.fromkeys(sides, weight))
        unknown = set(spelled) - set(ARKIT.channels)
        if unknown:
            raise KeyError(f"no ARKit channel {sorted(unknown)}")
        object.__setattr__(self, "both_sides", spelled)


def _vowel(jaw: float, dominance: float = 1.0, **targets: float) -> Viseme:
    return Viseme({"jawOpen": jaw, **targets}, dominance=dominance)


def _tongue(jaw: float, dominance: float = 0.35, **targets: float) -> Viseme:
    """A consonant made by the tongue: a jaw of its own, lips mostly left to its neighbours."""
    return Viseme({"jawOpen": jaw, **targets}, dominance=dominance, before_s=0.04, after_s=0.04)


_SPREAD = {"mouthStretch": 0.10, "mouthSmile": 0.14, "mouthLowerDown": 0.14, "mouthUpperUp": 0.06}
_OPEN = {"mouthLowerDown": 0.20, "mouthUpperUp": 0.08}
_ROUND = {"mouthPucker": 0.62, "mouthFunnel": 0.24}
_SIBILANT = {"mouthLowerDown": 0.16, "mouthUpperUp": 0.08, "mouthStretch": 0.06}
_HUSH = {"mouthFunnel": 0.34, "mouthPucker": 0.16, "mouthLowerDown": 0.08}
_LABIODENTAL = {"jawOpen": 0.10, "mouthRollLower": 0.40, "mouthUpperUp": 0.14, "mouthShrugLower": 0.06}

VISEMES: dict[str, Viseme] = {
    # vowels
    "AA": _vowel(0.33, **_OPEN),
    "AE": _vowel(0.33, **_OPEN, mouthStretch=0.08, mouthSmile=0.06),
    "AH": _vowel(0.24, dominance=0.8, mouthLowerDown=0.14, mouthUpperUp=0.05),
    "AO": _vowel(0.30, mouthFunnel=0.28, mouthPucker=0.14, mouthLowerDown=0.08),
    "AW": _vowel(0.32, mouthLowerDown=0.14, mouthUpperUp=0.05, mouthFunnel=0.12),
    "AY": _vowel(0.33, **_OPEN, mouthSmile=0.06),
    "EH": _vowel(0.26, mouthLowerDown=0.18, mouthUpperUp=0.07, mouthStretch=0.08),
    "ER": _vowel(0.18, mouthFunnel=0.20, mouthPucker=0.24, mouthLowerDown=0.06),
    "EY": _vowel(0.25, **_SPREAD),
    "IH": _vowel(0.20, dominance=0.8, mouthLowerDown=0.14, mouthUpperUp=0.05, mouthStretch=0.07),
    "IY": _vowel(0.16, **_SPREAD),
    "OW": _vowel(0.26, mouthPucker=0.46, mouthFunnel=0.30),
    "OY": _vowel(0.28, mouthPucker=0.34, mouthFunnel=0.26),
    "UH": _vowel(0.17, mouthPucker=0.34, mouthFunnel=0.20),
    "UW": Viseme({"jawOpen": 0.13, **_ROUND}, before_s=0.10, after_s=0.07),
    # lips
    "B": Viseme(
        {"jawOpen": 0.14, "mouthPress": 0.12, "mouthRollLower": 0.08, "mouthRollUpper": 0.06}, 1.2, 0.04, 0.04, 1.0
    ),
    "P": Viseme(
        {"jawOpen": 0.15, "mouthPress": 0.16, "mouthRollLower": 0.10, "mouthRollUpper": 0.08}, 1.2, 0.04, 0.04, 1.0
    ),
    "M": Viseme(
        {"jawOpen": 0.16, "mouthPress": 0.10, "mouthRollLower": 0.10, "mouthRollUpper": 0.08}, 1.2, 0.04, 0.04, 1.0
    ),
    "F": Viseme(_LABIODENTAL, 1.1, 0.05, 0.05, 0.45),
    "V": Viseme({**_LABIODENTAL, "mouthRollLower": 0.32}, 1.0, 0.05, 0.05, 0.40),
    "W": Viseme({"jawOpen": 0.12, "mouthPucker": 0.74, "mouthFunnel": 0.22}, 1.0, 0.10, 0.07, 0.25),
    # teeth and tongue
    "S": _tongue(0.09, 0.7, **_SIBILANT),
    "Z": _tongue(0.10, 0.7, **_SIBILANT),
    "SH": _tongue(0.10, 0.9, **_HUSH),
    "ZH": _tongue(0.11, 0.9, **_HUSH),
    "CH": _tongue(0.10, 0.9, **_HUSH),
    "JH": _tongue(0.11, 0.9, **_HUSH),
    "TH": _tongue(0.14, 0.7, tongueOut=0.12, mouthLowerDown=0.12, mouthUpperUp=0.05),
    "DH": _tongue(0.14, 0.5, tongueOut=0.08, mouthLowerDown=0.12, mouthUpperUp=0.05),
    "T": _tongue(0.13, 0.45, mouthLowerDown=0.10),
    "D": _tongue(0.13, 0.45, mouthLowerDown=0.10),
    "N": _tongue(0.15, 0.40, mouthLowerDown=0.10),
    "L": _tongue(0.20, 0.45, mouthLowerDown=0.12),
    "R": _tongue(0.15, 0.70, mouthFunnel=0.24, mouthPucker=0.22),
    "K": _tongue(0.19, 0.30, mouthLowerDown=0.10),
    "G": _tongue(0.18, 0.30, mouthLowerDown=0.10),
    "NG": _tongue(0.19, 0.30, mouthLowerDown=0.10),
    "HH": _tongue(0.24, 0.20),
    "Y": _tongue(0.15, 0.60, mouthStretch=0.08, mouthSmile=0.10),
}

REST = Viseme({"jawOpen": 0.0}, dominance=1.2, before_s=0.05, after_s=0.06)
"""Silence: lips together, jaw up."""

READY = Viseme({"jawOpen": 0.07, "mouthLowerDown": 0.05}, dominance=0.5, before_s=0.12, after_s=0.04)
"""The lips part before the first sound."""

READY_LEAD_S = 0.45
"""How long before a sound real lips part: the median over the GRID videos."""
