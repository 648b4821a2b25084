"""How far a talking face is from a true one: errors on the mesh, lips on /m b p/, jaw and sound, jitter.

In: ARKit motion (frames, 55) and a head, or a curve of the lip gap with phones. Out: one number a clip.

>>> lve_mm(clip.values, real.values, head), jitter_mm(clip.values, head)
>>> lip_closure(1000 * head.lip_gap(clip.values), phones, clip.fps)
>>> measure_motion(curves, speech_track(wave), head, reference)        # all of MEASURES

Vertices are those of the face alone: the head's rotation is left out, so a turn of the head is no error. `present`
(channels,) bool says which channels count: the others rest in both motions, so a rig without brows is neither blamed
nor praised for them. A measure without evidence is NaN, never 0: no present channel that moves the region, no /m b p/.
Motion or a curve without a frame, with other channels, of another length than what it is compared with, or with NaN
where it counts raises InputError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from jaxtyping import Bool, Float, Float64

from avi_lib.errors import InputError
from avi_lib.face.head import Head
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, HEAD_ROTATION, MotionClip
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.phones import BILABIAL, SILENCE, Phone, recognise_phones
from avi_lib.speech.prosody import prosody

OPEN_VOWELS = frozenset({"AA", "AE", "AO", "AW", "AY", "EH", "EY", "OW"})
"""Vowels for which real lips part widest; scored by the gap, so that rounded ones count too."""
CLOSED_SHARE = 0.2
"""Lips are closed where the gap is at most this share of the clip's 90th percentile, in whatever unit it comes.

By this rule 12 of the 13 /m b p/ in ten real GRID videos are closed, and 26 % with the lips of another clip.
"""
_AT_ONCE = 1 << 18  # vertices of all frames that are held together, 6 MB: an hour of motion must fit in memory

Motion = Float[np.ndarray, "frames channels"]
Other = Float[np.ndarray, "others channels_too"]
ChannelMask = Bool[np.ndarray, " present"]
Gap = Float[np.ndarray, " frames"]
Weights = Float64[np.ndarray, "frames 52"]
Basis = Float64[np.ndarray, "52 vertices 3"]


def lve_mm(motion: Motion, target: Other, head: Head, present: ChannelMask | None = None) -> float:
    """Lip vertex error: the mean over frames of the largest distance of any lip vertex from its true place.

    Richard et al. 2021, "MeshTalk"; Fan et al. 2022, "FaceFormer". Some public code squares the distances, and its
    figures do not compare with these.
    """
    return _vertex_error_mm(motion, target, head, "lips", present)


def eve_mm(motion: Motion, target: Other, head: Head, present: ChannelMask | None = None) -> float:
    """Emotional vertex error: `lve_mm` over eyes, forehead, nose and upper cheeks (Peng et al. 2023, "EmoTalk")."""
    return _vertex_error_mm(motion, target, head, "upper_face", present)


def fdd_mm(motion: Motion, target: Other, head: Head, present: ChannelMask | None = None) -> float:
    """Upper-face dynamics deviation, signed: how much livelier the true upper face is than this one, in millimetres.

    The mean over vertices of std(target) - std(motion), where std is the standard deviation over time of a vertex's
    distance from its place at rest. > 0 is too still, < 0 too lively; over many clips signs cancel, so report the mean
    of absolute values too. NaN with fewer than two frames. Xing et al. 2023, "CodeTalker", as the paper has it.
    """
    weights, others = _pair(motion, target, present)
    basis = _basis_mm(head, "upper_face", present)
    if basis is None or len(weights) < 2:
        return float("nan")
    own, true = (np.concatenate([part.std(axis=0) for part in _lengths(each, basis)]) for each in (weights, others))
    return float((true - own).mean())


def jitter_mm(motion: Motion, head: Head, present: ChannelMask | None = None) -> float:
    """Jitter: the mean length of the third difference over time of the lips' vertices, in mm per frame cubed.

    Compare at one frame rate only. NaN with fewer than four frames.
    """
    thirds, basis = np.diff(_weights(motion, present), 3, axis=0), _basis_mm(head, "lips", present)
    if basis is None or not len(thirds):
        return float("nan")
    return float(np.concatenate([part.mean(axis=0) for part in _lengths(thirds, basis)]).mean())


def lip_closure(gap: Gap, phones: Sequence[Phone], fps: float) -> float:
    """Lip closure d: the mean lip gap on open vowels less that on /m b p/, in standard deviations of the gap.

    The gap may have any unit and offset. NaN without an open vowel, without /m b p/, or for a gap that is constant.
    """
    _check_curve(gap, fps)
    kinds = frame_phones(phones, len(gap), fps)
    vowels, bilabials = np.isin(kinds, list(OPEN_VOWELS)), np.isin(kinds, list(BILABIAL))
    if not vowels.any() or not bilabials.any() or gap.std() == 0:
        return float("nan")
    return float((gap[vowels].mean() - gap[bilabials].mean()) / gap.std())


def closures(gap: Gap, phones: Sequence[Phone], fps: float) -> Bool[np.ndarray, " instances"]:
    """Do the lips close on each /m b p/? One answer an instance, so that those of many clips can be put together.

    Yes where the gap comes down to CLOSED_SHARE of its 90th percentile in some frame that the phone touches: that
    reads the same for a mesh and for landmarks of a video, whatever the size of the mouth, and takes no credit for lips
    that hang open. Instances beyond the gap's end are left out; so are all of a clip whose mouth never opens.
    """
    _check_curve(gap, fps)
    wide = float(np.percentile(gap, 90))
    touched = [
        gap[int(np.floor(start_s * fps + 1e-6)) : int(np.ceil(end_s * fps - 1e-6))]
        for phone, start_s, end_s in phones
        if phone in BILABIAL and wide > 0
    ]
    return np.array([span.min() <= CLOSED_SHARE * wide for span in touched if len(span)], bool)


def frame_phones(phones: Sequence[Phone], frames: int, fps: float) -> np.ndarray:
    """The phone spoken at the middle of every frame, (frames,) of strings; InputError without a phone."""
    if not phones:
        raise InputError("phones that cover the recording", "none", "align or recognise them first")
    ends_s = np.array([phone.end_s for phone in phones])
    labels = np.array([phone.phone for phone in phones])
    middles_s = (np.arange(frames) + 0.5) / fps
    return labels[np.minimum(np.searchsorted(ends_s, middles_s, side="right"), len(labels) - 1)]


def correlation(a: Float[np.ndarray, " frames"], b: Float[np.ndarray, " others"]) -> float:
    """Pearson correlation over the frames both curves have; NaN with fewer than two or where a curve is constant."""
    shared = np.stack([curve[: min(len(a), len(b))] for curve in (a, b)])
    if shared.shape[1] < 2:
        return float("nan")
    _check_finite(shared.T)
    return float(np.corrcoef(shared)[0, 1]) if np.ptp(shared, axis=1).all() else float("nan")


def _vertex_error_mm(motion: Motion, target: Other, head: Head, region: str, present: ChannelMask | None) -> float:
    weights, others = _pair(motion, target, present)
    basis = _basis_mm(head, region, present)
    if basis is None:
        return float("nan")
    return float(np.max([part.max(axis=1) for part in _lengths(weights - others, basis)], axis=0).mean())


def _basis_mm(head: Head, region: str, present: ChannelMask | None) -> Basis | None:
    """What the blendshapes do to the vertices of a region; None where no present channel moves them."""
    basis = MM * head.shapes[:, head.regions[region]].astype(np.float64)
    seen = basis if present is None else basis[present[: len(basis)]]
    return basis if seen.any() else None


def _lengths(weights: Weights, basis: Basis) -> Iterator[Float64[np.ndarray, "frames some"]]:
    """How far some vertices at a time are moved in every frame, in mm."""
    for part in np.array_split(basis, len(weights) * basis.shape[1] // _AT_ONCE + 1, axis=1):
        moved = weights @ part.reshape(len(part), -1)
        yield np.linalg.norm(moved.reshape(len(weights), -1, 3), axis=2)


def _pair(motion: Motion, target: Other, present: ChannelMask | None) -> tuple[Weights, Weights]:
    if len(motion) != len(target):
        raise InputError("motion of one length", f"{len(motion)} and {len(target)} frames", "cut to the shared frames")
    return _weights(motion, present), _weights(target, present)


def _weights(motion: Motion, present: ChannelMask | None) -> Weights:
    """Blendshape weights, 0 in channels that do not count."""
    if motion.ndim != 2 or motion.shape[1] != len(ARKIT):
        raise InputError(f"motion of shape (frames, {len(ARKIT)})", str(motion.shape), "convert it to the ARKit space")
    values = motion if present is None else np.where(present, motion, 0.0)
    _check_finite(values)
    return values[:, : len(ARKIT_BLENDSHAPES)].astype(np.float64)


def _check_curve(gap: Gap, fps: float) -> None:
    _check_finite(gap)
    if not (np.isfinite(fps) and fps > 0):
        raise InputError("a positive frame rate", f"{fps} frames per second", "pass the rate of the gap's curve")


def _check_finite(curves: np.ndarray) -> None:
    if not len(curves):
        raise InputError("at least one frame", "none", "check the clip it came from")
    bad = ~np.isfinite(curves.reshape(len(curves), -1)).all(axis=1)
    if bad.any():
        raise InputError("finite curves", f"{bad.sum()} frames with NaN or infinity", "repair those frames")


# Every measure of one motion over its speech: what it is, in which unit, what counts, and which way is better.

FPS = 25.0
SHUT, OPENED = 0.5, 0.3
"""A blink begins where the lids' weight rises to the first and is over when it falls below the second."""
REST_S = 0.2
"""Silence this far from any sound is rest; real lips part before the first sound and close as the last ends."""
MM = 1000.0


@dataclass(frozen=True)
class Measure:
    """What a number says: its name, unit ("" for shares), which way is better, what counts, and its definition.

    `better` is "near" where it is best near that of real people; `counts` are the frames and channels that count.
    """

    title: str
    unit: str
    better: Literal["higher", "lower", "near"]
    counts: str
    source: str


_TABLES = yaml.load(Path(__file__).with_name("measures.yaml").read_text("utf-8"), yaml.CBaseLoader)


def measures_of(table: str) -> dict[str, Measure]:
    """The measures of a table of measures.yaml by name, in its order."""
    return {name: Measure(*words) for name, words in _TABLES[table].items()}


MEASURES = measures_of("motion")  # what `measure_motion` finds


@dataclass(frozen=True, eq=False)
class SpeechTrack:
    """What a motion is held against: phones that cover the recording, and its level in dB at 25 frames a second."""

    phones: tuple[Phone, ...]
    level_db: Float[np.ndarray, " levels"]
    duration_s: float

    def spoken(self, frames: int) -> Bool[np.ndarray, " frames"]:
        """Which frames have speech."""
        return np.asarray(frame_phones(self.phones, frames, FPS) != SILENCE)

    def at_rest(self, frames: int) -> Bool[np.ndarray, " frames"]:
        """Frames of silence further than `REST_S` from any sound."""
        near = np.convolve(self.spoken(frames), np.ones(2 * round(REST_S * FPS) + 1), "same") > 0
        return ~near[:frames]


def speech_track(wave: Float[np.ndarray, " samples"], phones: Sequence[Phone] | None = None) -> SpeechTrack:
    """Phones, recognised where they are not given, and level of a wave at 16 kHz; see `recognise_phones`."""
    wave = np.asarray(wave, np.float32)
    level = prosody(wave, fps=FPS).energy_db
    return SpeechTrack(tuple(phones or recognise_phones(wave).phones), level, len(wave) / RATE_HZ)


def measure_motion(
    curves: MotionClip,
    speech: SpeechTrack,
    head: Head,
    reference: MotionClip | None = None,
    gap: Float[np.ndarray, " own_gap"] | None = None,
    reference_gap: Float[np.ndarray, " other_gap"] | None = None,
) -> dict[str, float]:
    """All of `MEASURES` for one motion, NaN where there is no evidence; InputError for another space than ARKIT.

    Frames beyond the shortest of motion, sound and reference, the true motion of the same speech, are not looked at.
    `gap` and `reference_gap` are lip gaps at 25 frames a second that are known better than from the head's mesh, in
    any unit.
    """
    motion = at_rate(curves)
    frames = min(len(motion), len(speech.level_db))
    values = motion.values[:frames]
    own_gap = MM * head.lip_gap(values)
    scores = dict.fromkeys(MEASURES, float("nan"))
    if has_channels(motion, ("jawOpen",)):
        seen = own_gap if gap is None else gap[:frames]
        # a mouth that never moves tells nothing of what is said: 0, not unknown
        scores |= {"lip_closure_d": 0.0, "closed_share": 0.0}
        if np.ptp(seen) > 0:
            closed = closures(seen, speech.phones, FPS)
            scores["lip_closure_d"] = lip_closure(seen, speech.phones, FPS)
            scores["closed_share"] = float(closed.mean()) if len(closed) else float("nan")
        spoken = speech.spoken(frames)
        jaw = values[:, ARKIT.index("jawOpen")]
        scores["jaw_energy_r"] = correlation(jaw[spoken], speech.level_db[:frames][spoken])
        scores["jitter_mm"] = jitter_mm(values, head, motion.present)
        rest = speech.at_rest(frames)
        if gap is None and rest.any():
            scores["rest_gap_mm"] = float(np.percentile(own_gap[rest], 95))
    if has_channels(motion, ("eyeBlinkLeft", "eyeBlinkRight")):
        scores["blinks_per_min"] = blink_rate(motion)
    if has_channels(motion, HEAD_ROTATION):
        turned = values[:, [ARKIT.index(name) for name in HEAD_ROTATION]]
        scores["head_sd_deg"] = float(np.degrees(turned.std(axis=0)).mean())
    if reference is None:
        return scores
    true = at_rate(reference)
    frames = min(frames, len(true))
    made, real = values[:frames], true.values[:frames]
    present, spoken = motion.present & true.present, speech.spoken(frames)
    real_gap = MM * head.lip_gap(real) if reference_gap is None else reference_gap[:frames]
    both = (made, real, head, present)
    if present[ARKIT.index("jawOpen")]:
        scores["lip_gap_r"] = correlation((MM * head.lip_gap(made))[spoken], real_gap[spoken])
    return scores | {"lve_mm": lve_mm(*both), "eve_mm": eve_mm(*both), "fdd_mm": abs(fdd_mm(*both))}


def blink_rate(curves: MotionClip) -> float:
    """Blinks a minute, of both lids together."""
    lids = (curves["eyeBlinkLeft"] + curves["eyeBlinkRight"]) / 2
    told = lids[(lids >= SHUT) | (lids < OPENED)] >= SHUT
    return 60 * int(np.count_nonzero(np.diff(told, prepend=False) & told)) / curves.duration_s


def at_rate(curves: MotionClip) -> MotionClip:
    """ARKIT motion at the rate of the measures, 25 frames a second; InputError for another space."""
    if curves.space is not ARKIT:
        got = f"the space {curves.space.name}"
        raise InputError("motion in the ARKIT space", got, "score motion with ARKit's 52 blendshapes")
    return curves.at_fps(FPS)


def has_channels(curves: MotionClip, channels: Sequence[str]) -> bool:
    """Whether all of these channels are present."""
    return bool(curves.present[[ARKIT.index(name) for name in channels]].all())
