"""How far a talking face is from a true one: errors on the mesh, lips on /m b p/, jaw and sound, jitter.

In: ARKit motion (frames, 55) and a head, or a curve of the lip gap with phones. Out: one number a clip.

>>> lve_mm(clip.values, real.values, head), eve_mm(clip.values, real.values, head)
>>> gap_mm = 1000 * head.lip_gap(clip.values)
>>> lip_closure(gap_mm, phones, clip.fps), closed_fraction(gap_mm, phones, clip.fps)
>>> jitter_mm(clip.values, head)

Vertices are those of the face alone: the head's rotation is left out, so a turn of the head is no error. Two masks say
what counts. `frames` (frames,) bool: the others are not looked at. `present` (channels,) bool: the other channels rest
in both motions, so a rig without brows is neither blamed nor praised for them. Left out, a mask counts everything.

A measure without evidence is NaN, never 0: no frame that counts, no present channel that moves the region, no /m b p/.
Motion or a curve without a frame, with other channels, of another length than what it is compared with, or with NaN
where it counts raises InputError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64

from avi_lib.errors import InputError
from avi_lib.face.head import Head
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, HEAD_ROTATION, Curves
from avi_lib.speech.loading import RATE_HZ
from avi_lib.speech.phones import BILABIAL, SILENCE, Phone, recognise_phones
from avi_lib.speech.prosody import prosody

OPEN_VOWELS = frozenset({"AA", "AE", "AO", "AW", "AY", "EH", "EY", "OW"})
"""Vowels for which real lips part widest; scored by the gap, so that rounded ones count too."""

CLOSED_SHARE = 0.2
"""Lips are closed where the gap is at most this share of the clip's 90th percentile, in whatever unit it comes.

By this rule 12 of the 13 /m b p/ in ten real GRID videos are closed, and 26 % with the lips of another clip.
"""

_AT_ONCE = 256
"""Frames whose vertices are held together; 256 frames of the upper face are 7 MB."""

Motion = Float[np.ndarray, "frames channels"]
Other = Float[np.ndarray, "others channels_too"]
FrameMask = Bool[np.ndarray, " counted"]
ChannelMask = Bool[np.ndarray, " present"]


def lve_mm(
    motion: Motion,
    target: Other,
    head: Head,
    *,
    frames: FrameMask | None = None,
    present: ChannelMask | None = None,
) -> float:
    """Lip vertex error: the mean over frames of the largest distance of any lip vertex from its true place.

    Richard et al. 2021, "MeshTalk"; Fan et al. 2022, "FaceFormer". In millimetres: some public code squares the
    distances, and its figures do not compare with these.
    """
    return _vertex_error_mm(motion, target, head, "lips", frames, present)


def eve_mm(
    motion: Motion,
    target: Other,
    head: Head,
    *,
    frames: FrameMask | None = None,
    present: ChannelMask | None = None,
) -> float:
    """Emotional vertex error: what `lve_mm` is, over the region `upper_face` (eyes, forehead, nose, upper cheeks).

    Peng et al. 2023, "EmoTalk", where the region is the eyes and the forehead.
    """
    return _vertex_error_mm(motion, target, head, "upper_face", frames, present)


def fdd_mm(
    motion: Motion,
    target: Other,
    head: Head,
    *,
    frames: FrameMask | None = None,
    present: ChannelMask | None = None,
) -> float:
    """Upper-face dynamics deviation, signed: how much livelier the true upper face is than this one, in millimetres.

    The mean over vertices of std(target) - std(motion), where std is the standard deviation over time of a vertex's
    distance from its place at rest. 0 is best, > 0 is too still, < 0 is too lively; over many clips signs cancel, so
    report the mean of absolute values too. NaN with fewer than two frames that count. Xing et al. 2023, "CodeTalker";
    their public code takes the squared distance, the paper the distance.
    """
    (weights, counted), (others, _) = _pair(motion, target, frames, present)
    basis = _basis_mm(head, "upper_face", present)
    if basis is None or counted.sum() < 2:
        return float("nan")
    still, true = (_liveliness_mm(curves[counted], basis) for curves in (weights, others))
    return float((true - still).mean())


def jitter_mm(
    motion: Motion,
    head: Head,
    region: str = "lips",
    *,
    frames: FrameMask | None = None,
    present: ChannelMask | None = None,
) -> float:
    """Jitter: the mean length of the third difference over time of a region's vertices, in mm per frame cubed.

    A place, a speed or an acceleration that is constant has none. It depends on the frame rate: compare at one rate
    only. Counts every four frames in a row that all count; NaN without such. `region` is one of `head.regions`.
    """
    weights, counted = _checked(motion, frames, present)
    basis = _basis_mm(head, region, present)
    if basis is None:
        return float("nan")
    thirds = _third_differences(weights, counted)
    lengths = [np.linalg.norm(moved, axis=2).sum() for moved in _displacements(thirds, basis)]
    return float(sum(lengths) / (len(thirds) * basis.shape[1] / 3)) if len(thirds) else float("nan")


def lip_closure(
    gap: Float[np.ndarray, " frames"], phones: Sequence[Phone], fps: float, *, frames: FrameMask | None = None
) -> float:
    """Lip closure d: the mean lip gap on open vowels less that on /m b p/, in standard deviations of the gap.

    Any unit and any offset of the gap will do. NaN without an open vowel, without /m b p/, or for a gap that is
    constant.
    """
    counted = _checked_gap(gap, fps, frames)
    kinds = frame_phones(phones, len(gap), fps)[counted]
    curve = gap[counted]
    vowels, bilabials = np.isin(kinds, list(OPEN_VOWELS)), np.isin(kinds, list(BILABIAL))
    if not vowels.any() or not bilabials.any() or curve.std() == 0:
        return float("nan")
    return float((curve[vowels].mean() - curve[bilabials].mean()) / curve.std())


def closures(
    gap: Float[np.ndarray, " frames"],
    phones: Sequence[Phone],
    fps: float,
    *,
    threshold: float | None = None,
    slack_frames: int = 0,
    frames: FrameMask | None = None,
) -> Bool[np.ndarray, " instances"]:
    """Do the lips close on each /m b p/? One answer an instance, so that those of many clips can be put together.

    Yes where the gap comes down to `threshold`, in its own unit, in some frame that the phone touches or that is
    within `slack_frames` of those. Without a threshold it is CLOSED_SHARE of the gap's 90th percentile: that reads the
    same for a mesh (mm) and for landmarks of a video (eye distances), whatever the size of the mouth, and takes no
    credit for lips that hang open, since 0 stays the closed mouth. Real lips do not reach 0 there, because landmarks
    of closed lips keep some distance. Instances without a frame that counts are left out; so are all those of a clip
    whose mouth never opens (90th percentile not above 0), unless a threshold is given.
    """
    counted = _checked_gap(gap, fps, frames)
    if not counted.any():
        return np.zeros(0, bool)
    wide = float(np.percentile(gap[counted], 90))
    if threshold is None and wide <= 0:
        return np.zeros(0, bool)
    limit = CLOSED_SHARE * wide if threshold is None else threshold
    least = np.where(counted, gap, np.inf)
    spans = [
        least[max(int(np.floor(start_s * fps + 1e-6)) - slack_frames, 0) : _last(end_s, fps) + slack_frames]
        for phone, start_s, end_s in phones
        if phone in BILABIAL
    ]
    return np.array([span.min() <= limit for span in spans if np.isfinite(span).any()], bool)


def closed_fraction(
    gap: Float[np.ndarray, " frames"],
    phones: Sequence[Phone],
    fps: float,
    *,
    threshold: float | None = None,
    slack_frames: int = 0,
    frames: FrameMask | None = None,
) -> float:
    """Share of the /m b p/ on which the lips close, as `closures` finds it; NaN without such an instance."""
    closed = closures(gap, phones, fps, threshold=threshold, slack_frames=slack_frames, frames=frames)
    return float(closed.mean()) if len(closed) else float("nan")


def jaw_energy_correlation(
    jaw: Float[np.ndarray, " frames"], energy_db: Float[np.ndarray, " levels"], speech: FrameMask
) -> float:
    """Pearson correlation of the jaw's opening with the level of the sound, over the frames with speech.

    jaw is the curve `jawOpen`, energy_db that of `prosody(wave, fps)` at the motion's frame rate, speech says which
    frames to take, as in `frame_phones(phones, len(jaw), fps) != SILENCE`. NaN with fewer than two of those or where a
    curve is constant. Raises InputError when the lengths differ.
    """
    if len(jaw) != len(energy_db):
        raise _lengths_differ(len(jaw), len(energy_db))
    spoken = _mask(speech, len(jaw), "speech")
    return correlation(jaw[spoken], energy_db[spoken]) if spoken.any() else float("nan")


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
    shared = min(len(a), len(b))
    a, b = a[:shared], b[:shared]
    _require_finite(np.stack([a, b], axis=1))
    if shared < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _vertex_error_mm(
    motion: Motion, target: Other, head: Head, region: str, frames: FrameMask | None, present: ChannelMask | None
) -> float:
    (weights, counted), (others, _) = _pair(motion, target, frames, present)
    basis = _basis_mm(head, region, present)
    if basis is None or not counted.any():
        return float("nan")
    errors = (weights - others)[counted]
    worst = [np.linalg.norm(moved, axis=2).max(axis=1).sum() for moved in _displacements(errors, basis)]
    return float(sum(worst) / len(errors))


def _basis_mm(head: Head, region: str, present: ChannelMask | None) -> Float64[np.ndarray, "52 moved"] | None:
    """What each blendshape does to a region's vertices, flattened; None where no present channel moves them."""
    if region not in head.regions:
        raise InputError(f"a region of {', '.join(head.regions)}", region, "rename it")
    shapes = 1000.0 * head.shapes[:, head.regions[region]].astype(np.float64)
    basis = shapes.reshape(len(shapes), -1)
    seen = basis if present is None else basis[present[: len(basis)]]
    return basis if seen.any() else None


def _displacements(
    weights: Float64[np.ndarray, "frames 52"], basis: Float64[np.ndarray, "52 moved"]
) -> Iterator[Float64[np.ndarray, "some vertices 3"]]:
    """Displacements of the vertices, some frames at a time: they are linear in the weights, and so are differences."""
    for first in range(0, len(weights), _AT_ONCE):
        part = weights[first : first + _AT_ONCE]
        yield (part @ basis).reshape(len(part), -1, 3)


def _liveliness_mm(
    weights: Float64[np.ndarray, "frames 52"], basis: Float64[np.ndarray, "52 moved"]
) -> Float64[np.ndarray, " vertices"]:
    """Standard deviation over time of every vertex's distance from rest, gathered over parts (Chan et al. 1979)."""
    count, mean, squares = 0, np.zeros(basis.shape[1] // 3), np.zeros(basis.shape[1] // 3)
    for moved in _displacements(weights, basis):
        distances = np.linalg.norm(moved, axis=2)
        n, middle = len(distances), distances.mean(axis=0)
        squares += np.square(distances - middle).sum(axis=0) + np.square(middle - mean) * count * n / (count + n)
        mean += (middle - mean) * n / (count + n)
        count += n
    return np.sqrt(squares / count)


def _third_differences(
    curves: Float64[np.ndarray, "frames channels"], counted: FrameMask
) -> Float64[np.ndarray, "some channels"]:
    """Third differences of every four frames in a row that all count."""
    return np.diff(curves, 3, axis=0)[counted[:-3] & counted[1:-2] & counted[2:-1] & counted[3:]]


def _last(end_s: float, fps: float) -> int:
    return int(np.ceil(end_s * fps - 1e-6))


def _pair(
    motion: Motion, target: Other, frames: FrameMask | None, present: ChannelMask | None
) -> tuple[tuple[Float64[np.ndarray, "frames 52"], FrameMask], tuple[Float64[np.ndarray, "frames 52"], FrameMask]]:
    checked = _checked(motion, frames, present)
    if len(motion) != len(target):
        raise _lengths_differ(len(motion), len(target))
    return checked, _checked(target, frames, present)


def _checked(
    motion: Motion, frames: FrameMask | None, present: ChannelMask | None
) -> tuple[Float64[np.ndarray, "frames 52"], FrameMask]:
    """Blendshape weights, 0 where nothing counts, and which frames count."""
    if motion.ndim != 2 or motion.shape[1] != len(ARKIT):
        raise InputError(f"motion of shape (frames, {len(ARKIT)})", str(motion.shape), "convert it to the ARKit space")
    counted = _mask(frames, len(motion), "frames")
    channels = _mask(present, len(ARKIT), "present")
    values = np.where(counted[:, None] & channels, motion, 0.0)
    _require_finite(values)
    return values[:, : len(ARKIT_BLENDSHAPES)].astype(np.float64), counted


def _checked_gap(gap: Float[np.ndarray, " frames"], fps: float, frames: FrameMask | None) -> FrameMask:
    counted = _mask(frames, len(gap), "frames")
    _require_finite(gap[counted])
    if not (np.isfinite(fps) and fps > 0):
        raise InputError("a positive frame rate", f"{fps} frames per second", "pass the rate of the gap's curve")
    return counted


def _mask(mask: Bool[np.ndarray, " given"] | None, length: int, name: str) -> Bool[np.ndarray, " n"]:
    if not length:
        raise InputError("at least one frame", "none", "check the clip it came from")
    if mask is None:
        return np.ones(length, bool)
    if mask.shape != (length,) or mask.dtype != bool:
        raise InputError(f"a mask {name} of {length} bool", f"{mask.dtype} of shape {mask.shape}", "make one that fits")
    return mask


def _require_finite(curves: Float[np.ndarray, " frames"] | Motion) -> None:
    bad = ~np.isfinite(curves.reshape(len(curves), -1)).all(axis=1) if len(curves) else np.zeros(0, bool)
    if bad.any():
        raise InputError("finite curves", f"{bad.sum()} frames with NaN or infinity", "repair or mask those frames")


def _lengths_differ(one: int, other: int) -> InputError:
    return InputError("curves of one length", f"{one} and {other} frames", "cut both to the frames they share")


# Every measure of one motion over its speech: what it is, in which unit, what counts, and which way is better.


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
class SpeechTrack:
    """What a motion is held against: phones that cover the recording, and its level in dB at 25 frames a second."""

    phones: tuple[Phone, ...]
    level_db: Float[np.ndarray, " levels"]
    duration_s: float


def speech_track(wave: Float[np.ndarray, " samples"], phones: Sequence[Phone] | None = None) -> SpeechTrack:
    """Phones, recognised where they are not given, and level of a wave at 16 kHz; see `recognise_phones`."""
    level = prosody(np.asarray(wave, np.float32), fps=FPS).energy_db
    found = recognise_phones(np.asarray(wave, np.float32)).phones if phones is None else phones
    return SpeechTrack(tuple(found), level, len(wave) / RATE_HZ)


def measure_motion(
    curves: Curves,
    heard: SpeechTrack,
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
    heard: SpeechTrack,
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


def at_rest(heard: SpeechTrack, frames: int) -> Bool[np.ndarray, " frames"]:
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
