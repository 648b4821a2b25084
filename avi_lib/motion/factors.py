"""Separate factors of a face: lips, expression, blink, gaze and pose, each of its own channels and its own source.

>>> FACTORS["gaze"]
(1, 2, 3, 4, 8, 9, 10, 11)
>>> motion = compose(spoken, {"gaze": tracked, "pose": other}, {"blink": 0.0})

The factors part the ARKit channels among themselves, so that changing one leaves the channels of all others as they
were, to the bit. PD-FGC (Wang et al., CVPR 2023) names the same factors, but keeps them as latent codes of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int

from avi_lib.errors import InputError
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT

_PREFIXES = {
    "lips": (
        *("jaw", "tongue", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight"),
        *("mouthRoll", "mouthShrug", "mouthPress", "mouthLowerDown", "mouthUpperUp"),
    ),
    "expression": (
        *("brow", "cheek", "nose", "eyeSquint", "eyeWide"),
        *("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch"),
    ),
    "blink": ("eyeBlink",),
    "gaze": ("eyeLook",),
    "pose": ("head",),
}

FACTORS: dict[str, tuple[int, ...]] = {
    factor: tuple(i for i, channel in enumerate(ARKIT.channels) if channel.startswith(prefixes))
    for factor, prefixes in _PREFIXES.items()
}
"""Channels of each factor: `lips` shape sounds, `expression` is brows, cheeks, nose, tense lids and mouth corners."""

REST_S = 0.2
"""Time in which lips come to rest after the end of a source that is too short."""


def compose(base: MotionClip, sources: Mapping[str, MotionClip], strengths: Mapping[str, float]) -> MotionClip:
    """The base's motion with some factors taken from sources as long as it, and some stronger or weaker.

    A strength multiplies the factor's channels: 0 is its rest, 1 (also where none is given) leaves it. Channels of
    factors with neither source nor strength are the base's to the bit; all others are kept within the space's limits.

    Raises:
        InputError: a factor that is none, motion of another space than ARKIT, of another length or frame rate.
    """
    for factor in (*sources, *strengths):
        if factor not in FACTORS:
            raise InputError(f"a factor among {', '.join(FACTORS)}", repr(factor), "rename it")
    values = base.values.copy()
    for factor, channels in FACTORS.items():
        source = sources.get(factor, base)
        _must_match(source, base, factor)
        strength = strengths.get(factor, 1.0)
        if source is not base or strength != 1.0:
            columns = list(channels)
            values[:, columns] = ARKIT.limited(np.float32(strength) * source.values)[:, columns]
    return MotionClip(values, base.fps, base.space)


def fitted(clip: MotionClip, frames: int, factor: str) -> MotionClip:
    """A clip cut or continued to a number of frames.

    What is too short is played to and fro, without a jump; lips would speak backwards, so they come to rest instead.
    """
    if factor == "lips":
        return MotionClip(_at_rest_after(clip.values, frames, clip.fps), clip.fps, clip.space)
    return MotionClip(clip.values[_to_and_fro(len(clip), frames)], clip.fps, clip.space)


def _to_and_fro(length: int, frames: int) -> Int[np.ndarray, " frames"]:
    period = max(2 * length - 2, 1)
    place = np.arange(frames) % period
    return np.minimum(place, period - place) if length > 1 else np.zeros(frames, np.int64)


def _at_rest_after(
    values: Float32[np.ndarray, "given channels"], frames: int, fps: float
) -> Float32[np.ndarray, "frames channels"]:
    result = np.zeros((frames, values.shape[1]), np.float32)
    known = min(len(values), frames)
    result[:known] = values[:known]
    fade = np.linspace(1.0, 0.0, max(round(REST_S * fps), 1) + 2, dtype=np.float32)[1:-1, None]
    tail = result[known : known + len(fade)]
    tail[:] = values[known - 1] * fade[: len(tail)]
    return result


def _must_match(source: MotionClip, base: MotionClip, factor: str) -> None:
    for clip in (source, base):
        if clip.space is not ARKIT:
            raise InputError("factors in the ARKIT space", f"{factor} in {clip.space.name}", "convert the motion first")
    if len(source) != len(base) or source.fps != base.fps:
        expected = f"{len(base)} frames at {base.fps:g} a second for {factor}"
        raise InputError(expected, f"{len(source)} at {source.fps:g}", "fit the source to the speech first")
