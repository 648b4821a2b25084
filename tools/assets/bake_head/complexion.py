"""The skin's colours: tone, redness, lids, lips, brows, the painted roots of the hair, and the dark of every hollow.

>>> colour = complexion(places, seed=7)  # (N, 3) sRGB 0-1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from tools.assets.bake_head.body import SKIN_RGB
from tools.assets.bake_head.brows import brow_cover
from tools.assets.bake_head.hair import CROWN_M, hairline_field
from tools.assets.bake_head.part import smoothstep
from tools.assets.bake_head.texels import noise

RED = np.array([0.947, 0.718, 0.739])
SOCKET = np.array([0.852, 0.641, 0.685])
"""Where blood shows, and the lining of the eye sockets: shares of the skin's colour."""

BROW_RGB = np.array([0.215, 0.145, 0.105])
MOUTH_RGB = np.array([0.42, 0.15, 0.145])


@dataclass(frozen=True)
class Look:
    """The colours of a person: lips, hair, irises and shirt, and the skin's `tone` at each place where it is not even.

    `roots` is how much of the scalp's hair is painted on the skin at each place; without it the open head's.
    """

    lip_rgb: tuple[float, float, float] = (0.690, 0.390, 0.365)
    hair_rgb: tuple[float, float, float] = (0.235, 0.155, 0.105)
    iris_rgb: tuple[float, float, float] = (0.30, 0.37, 0.36)
    cloth_rgb: tuple[float, float, float] = (0.205, 0.270, 0.345)
    beard: float = 1.0
    tone: Float64[np.ndarray, "N 3"] | None = None
    roots: Float64[np.ndarray, " N"] | None = None


@dataclass(frozen=True)
class Places:
    """Texels of the skin: where they are on the head, how open to the sky, and MakeHuman's painted regions there."""

    points: Float64[np.ndarray, "N 3"]
    openness: Float64[np.ndarray, " N"]
    lips: Float64[np.ndarray, " N"]
    inside_mouth: Float64[np.ndarray, " N"]
    ears: Float64[np.ndarray, " N"]
    eyelids: Float64[np.ndarray, " N"]
    socket: Float64[np.ndarray, " N"]
    lid_margin_m: Float64[np.ndarray, " N"]


def complexion(places: Places, seed: int, look: Look = Look()) -> Float64[np.ndarray, "N 3"]:
    """The colour of each place; brows are painted where the hair's roots are the open head's."""
    rng = np.random.default_rng(seed)
    tone = np.broadcast_to(SKIN_RGB, places.points.shape) if look.tone is None else look.tone
    points = places.points
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    mottle = noise(points, 0.012, rng)
    colour = (
        tone * (1.0 + 0.012 * noise(points, 0.0022, rng) + 0.010 * mottle + 0.010 * noise(points, 0.04, rng))[:, None]
    )

    front = smoothstep(z, -0.045, -0.005)
    red = 0.40 * _blob(x, y, 0.040, -0.036, 0.021, 0.016) * front
    red += 0.34 * _blob(x, y, 0.0, -0.036, 0.014, 0.011) * smoothstep(z, 0.02, 0.035)
    red += 0.16 * _blob(x, y, 0.0, -0.100, 0.018, 0.010) * front + 0.35 * places.ears
    red += 0.14 * _blob(x, y, 0.029, -0.004, 0.020, 0.011) * front
    colour = _blend(colour, tone * RED, np.clip(red * (1.0 + 0.18 * mottle), 0.0, 1.0))
    colour = _blend(colour, tone * np.array([1.03, 1.01, 0.95]), 0.5 * _blob(x, y, 0.0, 0.045, 0.035, 0.018) * front)
    beard = smoothstep(y, -0.052, -0.075) * smoothstep(y, -0.135, -0.112) * smoothstep(z, -0.06, -0.02)
    beard *= 1.0 - 0.6 * _blob(x, y, 0.045, -0.055, 0.016, 0.014)
    colour = colour * (1.0 - 0.10 * look.beard * np.clip(beard, 0.0, 1.0)[:, None] * np.array([1.0, 0.85, 0.65]))

    tired = _blob(x, y, 0.027, -0.0145, 0.011, 0.0042) * front
    colour = colour * (1.0 - 0.10 * tired[:, None] * np.array([0.7, 1.0, 0.9]))
    lid = np.clip(places.eyelids + _blob(x, y, 0.030, 0.0085, 0.016, 0.004) * front, 0.0, 1.0)
    colour = colour * (1.0 - 0.13 * lid[:, None] * np.array([0.75, 1.0, 1.0]))
    rim = smoothstep(places.lid_margin_m, 0.0024, 0.0006) * (1.0 - places.socket)
    upper = smoothstep(y, -0.003, 0.001)
    colour = _blend(colour, np.array([0.16, 0.10, 0.08]), rim * (0.25 + 0.5 * upper))
    colour = _blend(colour, tone * SOCKET, places.socket)

    lips = smoothstep(places.lips, 0.12, 0.88)
    grain = 1.0 + 0.035 * noise(points * np.array([1.0, 0.25, 0.25]), 0.0011, rng) + 0.02 * mottle
    lip_colour = np.array(look.lip_rgb) * grain[:, None] * np.where(points[:, 1] > -0.069, 0.93, 1.03)[:, None]
    colour = _blend(colour, lip_colour, 0.80 * lips)
    outline = smoothstep(places.lips, 0.02, 0.35) * smoothstep(places.lips, 0.85, 0.45)
    colour = colour * (1.0 - 0.05 * outline)[:, None]
    colour = _blend(colour, MOUTH_RGB, smoothstep(places.inside_mouth, 0.2, 0.8))

    hollow = smoothstep(places.openness, 0.34, 0.06) * (1.0 - places.socket) * (1.0 - places.inside_mouth)
    hollow *= smoothstep(hairline_field(points), -0.008, -0.022) * smoothstep(y, -0.13, -0.11)
    colour = _blend(colour, np.array([0.20, 0.08, 0.07]), 0.55 * hollow)
    if look.roots is None:
        colour = _blend(colour, BROW_RGB, 0.94 * brow_cover(points, seed))
    return _hair_roots(colour, points, look, rng)


def strand_noise(points: Float64[np.ndarray, "N 3"], rng: np.random.Generator) -> Float64[np.ndarray, " N"]:
    """Streaks that run from the crown outwards, standard deviation about 1."""
    arm = points - CROWN_M
    turn = np.arctan2(arm[:, 0], arm[:, 2])
    wave = np.column_stack([np.cos(turn), np.sin(turn), 0.12 * np.linalg.norm(arm, axis=1) / 0.1])
    result: np.ndarray = 0.7 * noise(wave, 0.05, rng) + 0.7 * noise(wave, 0.018, rng)
    return result


def _hair_roots(colour: np.ndarray, points: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    streak = strand_noise(points, rng)
    inside = hairline_field(points) + 0.0007 * streak + 0.0005 * noise(points, 0.003, rng)
    cover = 0.93 * smoothstep(inside, -0.0030, 0.0010) if look.roots is None else look.roots
    hair = np.array(look.hair_rgb) * (0.80 + 0.16 * streak)[:, None]
    return _blend(colour, np.clip(hair, 0.0, 1.0), np.clip(cover, 0.0, 1.0))


def _blend(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.asarray(colour * (1.0 - share[:, None]) + other * share[:, None])


def _blob(x: np.ndarray, y: np.ndarray, x0: float, y0: float, width: float, height: float) -> np.ndarray:
    result: np.ndarray = np.exp(-(((x - x0) / width) ** 2) - ((y - y0) / height) ** 2)
    return result
