"""Every measure of one motion over its speech: what it is, in which unit, what counts, and which way is better.

>>> heard = hear_recording(load_speech(path).wave)
>>> scores = measure_motion(curves, heard, load_head())
>>> scores["lip_closure_d"], MEASURES["lip_closure_d"].unit
(2.4, 'SD')

Motion of any frame rate is brought to 25 frames a second first, since jitter depends on the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from avi_lib.corpus.curves import Curves
from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import (
    closed_fraction,
    correlation,
    eve_mm,
    fdd_mm,
    frame_phones,
    jaw_energy_correlation,
    jitter_mm,
    lip_closure,
    lve_mm,
)
from avi_lib.face.head import Head
from avi_lib.motion.space import ARKIT, HEAD_ROTATION
from avi_lib.speech.audio import RATE_HZ
from avi_lib.speech.phones import SILENCE, Phone
from avi_lib.speech.prosody import prosody
from avi_lib.speech.recognise import recognise_phones

FPS = 25.0
SHUT, OPENED = 0.5, 0.3
"""A blink begins where the lids' weight rises to the first and is over when it falls below the second."""
REST_S = 0.2
"""Silence this far from any sound is rest; real lips part before the first sound and close as the last ends."""
MM = 1000.0


@dataclass(frozen=True)
class Measure:
    """What a number says.

    Attributes:
        title: its name for people.
        unit: "" for shares and correlations.
        better: which way is better; "near" where it is best near that of real people.
        counts: the mask: which frames and channels count.
        source: how it is defined, and by whom.
    """

    title: str
    unit: str
    better: Literal["higher", "lower", "near"]
    counts: str
    source: str


_SHARED = "frames that both have; channels that both have"
_NEEDS = "against the reference motion"

MEASURES: dict[str, Measure] = {
    "lip_closure_d": Measure(
        "lip closure d", "SD", "higher", "frames of open vowels and of /m b p/",
        "mean lip gap on open vowels less that on /m b p/, in standard deviations of the gap; real videos 2.0 to 2.2",
    ),
    "closed_share": Measure(
        "closed on /m b p/", "", "higher", "every /m b p/",
        "share on which the gap falls to a fifth of its 90th percentile; real videos 0.92",
    ),
    "lip_gap_r": Measure(
        "lip gap r", "", "higher", "frames with speech",
        f"Pearson correlation of the lip gap {_NEEDS}, frame by frame at zero lag",
    ),
    "jaw_energy_r": Measure(
        "jaw against level r", "", "near", "frames with speech",
        "Pearson correlation of jawOpen with the level of the sound; real tracks 0.28",
    ),
    "rest_gap_mm": Measure(
        "lip gap at rest", "mm", "lower", f"silence more than {REST_S:g} s from any sound",
        "95th percentile of the lip gap on the open head",
    ),
    "lve_mm": Measure(
        "LVE", "mm", "lower", _SHARED,
        f"largest distance of a lip vertex {_NEEDS}, mean over frames (MeshTalk, FaceFormer; not squared)",
    ),
    "eve_mm": Measure("EVE", "mm", "lower", _SHARED, f"the same over eyes, forehead, nose, upper cheeks {_NEEDS}"),
    "fdd_mm": Measure(
        "|FDD|", "mm", "lower", _SHARED, f"how much the liveliness of the upper face differs {_NEEDS} (CodeTalker)"
    ),
    "jitter_mm": Measure(
        "jitter of the lips", "mm/frame³", "near", "all frames, at 25 a second",
        "mean length of the third difference of the lip vertices",
    ),
    "blinks_per_min": Measure(
        "blinks", "1/min", "near", "all frames; NaN without eyelids",
        f"lids that rise to {SHUT:g} and fall below {OPENED:g}; four real speakers 10 to 44",
    ),
    "head_sd_deg": Measure(
        "head movement", "deg", "near", "all frames; NaN without head rotation",
        "standard deviation of pitch, yaw and roll, their mean; four real speakers 1.3 to 5.2",
    ),
}  # fmt: skip
"""By name, in the order of tables."""


@dataclass(frozen=True, eq=False)
class Heard:
    """What a motion is held against: phones that cover the recording, and its level in dB at 25 frames a second."""

    phones: tuple[Phone, ...]
    level_db: Float[np.ndarray, " levels"]
    duration_s: float


def hear_recording(wave: Float[np.ndarray, " samples"], phones: Sequence[Phone] | None = None) -> Heard:
    """Phones, recognised where they are not given, and level of a wave at 16 kHz; see `recognise_phones`."""
    level = prosody(np.asarray(wave, np.float32), fps=FPS).energy_db
    found = recognise_phones(np.asarray(wave, np.float32)).phones if phones is None else phones
    return Heard(tuple(found), level, len(wave) / RATE_HZ)


def measure_motion(
    curves: Curves,
    heard: Heard,
    head: Head,
    reference: Curves | None = None,
    gap: Float[np.ndarray, " own_gap"] | None = None,
    reference_gap: Float[np.ndarray, " other_gap"] | None = None,
) -> dict[str, float]:
    """All of `MEASURES` for one motion, NaN where there is no evidence.

    Args:
        curves: in the ARKIT space, with the mask of its channels.
        heard: what is said; frames beyond the shorter of motion and sound are not looked at.
        head: on whose mesh lips and face are measured.
        reference: the true motion of the same speech, where there is one.
        gap: lip gap of the motion at 25 frames a second where it is known better than from the mesh, in any unit.
        reference_gap: the same of the reference.

    Raises:
        InputError: another motion space.
    """
    motion = _at_rate(curves)
    frames = min(len(motion.clip), len(heard.level_db))
    values, kinds = motion.clip.values[:frames], frame_phones(heard.phones, frames, FPS)
    own_gap = MM * head.lip_gap(values)
    scores = dict.fromkeys(MEASURES, float("nan"))
    if _has(motion, ("jawOpen",)):
        seen = own_gap if gap is None else gap[:frames]
        moves = bool(np.ptp(seen) > 0)
        # a mouth that never moves tells nothing of what is said: 0, not unknown
        scores["lip_closure_d"] = lip_closure(seen, heard.phones, FPS) if moves else 0.0
        scores["closed_share"] = closed_fraction(seen, heard.phones, FPS) if moves else 0.0
        jaw = values[:, ARKIT.index("jawOpen")]
        scores["jaw_energy_r"] = jaw_energy_correlation(jaw, heard.level_db[:frames], kinds != SILENCE)
        scores["jitter_mm"] = jitter_mm(values, head, present=motion.present)
        rest = at_rest(heard, frames)
        if gap is None and rest.any():
            scores["rest_gap_mm"] = float(np.percentile(own_gap[rest], 95))
    if _has(motion, ("eyeBlinkLeft", "eyeBlinkRight")):
        scores["blinks_per_min"] = blink_rate(motion)
    if _has(motion, HEAD_ROTATION):
        turned = values[:, [ARKIT.index(name) for name in HEAD_ROTATION]]
        scores["head_sd_deg"] = float(np.degrees(turned.std(axis=0)).mean())
    if reference is None:
        return scores
    return scores | compare(motion, _at_rate(reference), heard, head, reference_gap)


def compare(
    motion: Curves,
    true: Curves,
    heard: Heard,
    head: Head,
    true_gap: Float[np.ndarray, " other_gap"] | None = None,
) -> dict[str, float]:
    """The measures that need a reference, over frames and channels that both have."""
    frames = min(len(motion.clip), len(true.clip), len(heard.level_db))
    made, real = motion.clip.values[:frames], true.clip.values[:frames]
    present = motion.present & true.present
    spoken = frame_phones(heard.phones, frames, FPS) != SILENCE
    gaps = [MM * head.lip_gap(made), MM * head.lip_gap(real) if true_gap is None else true_gap[:frames]]
    seen = present[ARKIT.index("jawOpen")]
    r = correlation(gaps[0][spoken], gaps[1][spoken]) if seen and spoken.any() else float("nan")
    return {
        "lip_gap_r": r,
        "lve_mm": lve_mm(made, real, head, present=present),
        "eve_mm": eve_mm(made, real, head, present=present),
        "fdd_mm": abs(fdd_mm(made, real, head, present=present)),
    }


def at_rest(heard: Heard, frames: int) -> Bool[np.ndarray, " frames"]:
    """Frames of silence further than `REST_S` from any sound."""
    silent = frame_phones(heard.phones, frames, FPS) == SILENCE
    reach = round(REST_S * FPS)
    near = np.convolve(~silent, np.ones(2 * reach + 1), "same") > 0
    return np.asarray(silent & ~near[:frames])


def blink_rate(curves: Curves) -> float:
    """Blinks a minute, of both lids together."""
    lids = (curves.clip["eyeBlinkLeft"] + curves.clip["eyeBlinkRight"]) / 2
    shut, blinks = False, 0
    for weight in lids.tolist():
        if not shut and weight >= SHUT:
            shut, blinks = True, blinks + 1
        elif shut and weight < OPENED:
            shut = False
    return 60 * blinks / curves.clip.duration_s


def _at_rate(curves: Curves) -> Curves:
    if curves.clip.space is not ARKIT:
        got = f"the space {curves.clip.space.name}"
        raise InputError("motion in the ARKIT space", got, "score motion with ARKit's 52 blendshapes")
    return curves.at_fps(FPS)


def _has(curves: Curves, channels: Sequence[str]) -> bool:
    return bool(curves.present[[ARKIT.index(name) for name in channels]].all())
