"""Real videos that come with their tracks, such as grid10/: what is said, the real lip gap, ARKit weights.

In: a folder with index.csv, phones.json, and for every clip its sound (flac) and its track (npz with landmarks, fps,
arkit (frames, names), arkit_names and head (frames, 4, 4)).
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avi_lib.corpus.landmarker import head_angles
from avi_lib.errors import InputError
from avi_lib.motion.space import ARKIT
from avi_lib.speech.phones import Phone

UPPER_LIP, LOWER_LIP, EYE_OUTER = 13, 14, (33, 263)
"""Face-mesh landmarks: middle of the inner upper and lower lip, outer corners of the eyes."""


@dataclass(frozen=True)
class Clip:
    """A tracked talking clip: its sound, what is said, reference phones and the real lip gap in eye distances."""

    name: str
    audio: Path
    text: str
    phones: tuple[Phone, ...]
    gap: Float[np.ndarray, " frames"]
    fps: float


def read_clips(source: Path) -> list[Clip]:
    """The tracked clips of a folder as described above; InputError when a file of it is missing."""
    try:
        references = json.loads((source / "phones.json").read_text("utf-8"))
        with (source / "index.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return [_read_clip(source, row, references[row["clip"]]) for row in rows]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            "a folder with index.csv, phones.json and an npz and a flac for every clip",
            f"{source}: {error}",
            "check the path",
        ) from error


def _read_clip(source: Path, row: dict[str, str], reference: list[list]) -> Clip:
    with np.load(source / f"{row['clip']}.npz", allow_pickle=False) as track:
        marks, fps = track["landmarks"], float(track["fps"])
    eyes = np.linalg.norm(marks[:, EYE_OUTER[0], :2] - marks[:, EYE_OUTER[1], :2], axis=1)
    gap = np.linalg.norm(marks[:, LOWER_LIP, :2] - marks[:, UPPER_LIP, :2], axis=1) / eyes
    phones = tuple(Phone(phone, float(start), float(end)) for _, phone, start, end in reference)
    return Clip(row["clip"], source / f"{row['clip']}.flac", row["text"], phones, gap, fps)


def read_track(path: Path) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "frames 3"]]:
    """Weights (frames,) by channel and head angles of a given track."""
    try:
        with np.load(path, allow_pickle=False) as track:
            names, values = track["arkit_names"].tolist(), track["arkit"].astype(np.float64)
            angles = np.stack([head_angles(matrix[:3, :3].astype(np.float64)) for matrix in track["head"]])
        return {name: values[:, names.index(name)] for name in ARKIT.channels if name in names}, angles
    except (OSError, KeyError, ValueError) as error:
        raise InputError("an npz with arkit, arkit_names and head", f"{path}: {error}", "check the folder") from error
