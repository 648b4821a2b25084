"""The cast: people with the open head's points, channels and regions, each with a face, a skin and hair of their own.

>>> head = load_person("anna")                       # a Head, as `load_head("anna")` gives it
>>> [person.hair for person in cast()]

A person's file holds what differs from the open head: which triangles are kept, how far points are moved, how much
blendshapes differ, cards with see-through hair, brows and lashes, and one texture.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image

from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import HEADS, Head, dense_displacements, load_head, with_gaze
from avi_lib.speech.voice import Voice

VOICE = "voice"
"""Named instead of a head: whoever of the cast suits the voice speaks."""

HIGH_HZ = 140.0
"""Low end of the pitch (its 10th percentile) from which on a woman speaks.

Excitement raises the middle of a voice's pitch more than its low end. How often it is right: docs/results.md, cast.
"""

BY_PITCH = {True: "anna", False: "ben"}


class Person(NamedTuple):
    """One of the cast, in words."""

    name: str
    sex: str
    age: str
    skin: str
    hair: str


class Chosen(NamedTuple):
    """Who speaks, and why."""

    name: str
    reason: str


def cast() -> list[Person]:
    """Everybody, by name."""
    about = {}
    for name, path in HEADS.items():
        with np.load(path, allow_pickle=False) as archive:
            about[name] = archive["about"].tolist()
    return [Person(name, *words) for name, words in about.items()]


def sliders() -> dict[str, tuple[float, float]]:
    """Least and most of every identity slider of the cast."""
    head = load_head()
    bounds = np.round(head.identity_bounds.astype(np.float64), 6).tolist()
    return {name: (least, most) for name, (least, most) in zip(head.identity_names, bounds, strict=True)}


def choose(voice: Voice) -> Chosen:
    """Who of the cast speaks with a voice: a woman where the low end of its pitch is at HIGH_HZ or above, else a man.

    The open head where nothing is voiced.
    """
    f0_hz = voice.track.f0_hz
    if not (f0_hz > 0.0).any():
        return Chosen("open", "nothing in the recording has a pitch")
    low_hz = float(np.percentile(f0_hz[f0_hz > 0.0], 10))
    high = low_hz >= HIGH_HZ
    reason = f"the low end of the voice's pitch, {low_hz:.0f} Hz, is {'above' if high else 'below'} {HIGH_HZ:.0f} Hz"
    return Chosen(BY_PITCH[high], f"{reason}; --head NAME fixes who speaks")


def read_person(path: Path, open_head: Head) -> Head:
    """The person of a file, over the open head; whatever numpy and Pillow raise for another file."""
    with np.load(path, allow_pickle=False) as archive:
        held = {name: archive[name] for name in archive.files}
    kept = np.unpackbits(held["kept"])[: len(open_head.triangles)].astype(bool)
    vertices, triangles = np.unique(open_head.triangles[kept], return_inverse=True)
    points, weld = np.unique(open_head.weld[vertices], return_inverse=True)
    card_weld, near = held["card_weld"].astype(np.int64), held["card_near"].astype(np.int64)
    shares = held["card_shares"].astype(np.float32)
    shares /= shares.sum(axis=1, keepdims=True)
    first = np.zeros(len(points), np.int64)
    first[weld[::-1]] = np.arange(len(weld))[::-1]

    def carried(values: Float32[np.ndarray, "V ..."]) -> Float32[np.ndarray, "C ..."]:
        """Values of the cards' vertices from those of the three points that carry each of their points."""
        of_points = np.einsum("pn,pn...->p...", shares, values[first[near]])
        result: np.ndarray = of_points[card_weld].astype(np.float32)
        return result

    def joined(values: np.ndarray, of_cards: np.ndarray) -> np.ndarray:
        return np.concatenate([values, of_cards]).astype(values.dtype)

    def number(members: np.ndarray) -> np.ndarray:
        return np.searchsorted(vertices, members).astype(np.int32)

    shapes = open_head.shapes[:, vertices] + dense_displacements(held, "shape", len(points))[:, weld]
    of_cards = np.stack([carried(shape) for shape in shapes])
    of_cards[:, card_weld < held["card_hair"]] = 0.0  # hair stays where the face moves
    of_cards += dense_displacements(held, "card_shape", len(near))[:, card_weld]
    identity = open_head.identity * held["identity_scale"][:, None, None]
    with Image.open(io.BytesIO(held["atlas"].tobytes()), formats=("WEBP",)) as picture:
        colours = np.asarray(picture.convert("RGBA"))
    place = open_head.uv[vertices] * np.array([1.0, open_head.atlas.shape[0] / colours.shape[0]], np.float32)
    card_triangles = held["card_triangles"].astype(np.int32)
    head = Head(
        name=path.stem.removeprefix("head_"),
        vertices=joined(
            open_head.vertices[vertices] + held["moved"].astype(np.float32)[weld], held["card_points"][card_weld]
        ),
        triangles=np.concatenate([triangles.reshape(-1, 3).astype(np.int32), card_triangles + len(vertices)]),
        uv=joined(place, held["card_uv"] / np.float32(np.iinfo(np.uint16).max)),
        weld=joined(weld.astype(np.int32), card_weld + len(points)),
        material=joined(held["material"], np.full(len(card_triangles), MATERIAL_NAMES.index("hair"))),
        occlusion=joined(
            held["occlusion"][weld] / np.float32(255), held["card_occlusion"][card_weld] / np.float32(255)
        ),
        atlas=np.ascontiguousarray(colours[..., :3]),
        alpha=np.ascontiguousarray(colours[..., 3]),
        shapes=np.concatenate([shapes, of_cards], axis=1),
        head_weight=joined(open_head.head_weight[vertices], carried(open_head.head_weight[vertices])),
        pivot=open_head.pivot,
        eyeballs=(number(open_head.eyeballs[0]), number(open_head.eyeballs[1])),
        eye_centres=held["eye_centres"],
        identity_names=open_head.identity_names,
        identity_bounds=open_head.identity_bounds,
        identity_dyes=held["identity_dyes"],
        dyed_tiles=held["dyed_tiles"],
        identity=np.stack([joined(each[vertices], carried(each[vertices])) for each in identity]),
        regions={name: number(members) for name, members in open_head.regions.items()},
    )
    return with_gaze(head)
