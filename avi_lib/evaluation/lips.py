"""Do the lips close when they must, and move as a real mouth does? Measured on a head's mesh against reference phones.

    python -m avi_lib.evaluation.lips SOURCE        (SOURCE: clips with audio, phones.json, index.csv and tracked
    landmarks)

Lip closure d is that of `metrics.lip_closure`. Lip correlation r: Pearson correlation of the gap with that of the real
video, frame by frame at zero lag, silence included.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avi_lib.errors import AviError, InputError
from avi_lib.evaluation.metrics import correlation, lip_closure
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.performer import perform
from avi_lib.speech.align import align_phones
from avi_lib.speech.audio import RATE_HZ, load_speech
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import prosody
from avi_lib.speech.recognise import recognise_phones

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


def evaluate(source: Path) -> dict[str, list[float]]:
    """Scores of every clip: d of the real video, d and r of the performer with phones from three sources.

    "another" are the curves of every other clip: what the scores are worth when the phones are wrong.
    """
    from avi_lib.face.head import load_head

    head, clips = load_head(), read_clips(source)
    neutral = Instruction.parse("A person speaks calmly.")
    waves = [load_speech(clip.audio).wave for clip in clips]
    tracks = {
        "recording": [recognise_phones(wave).phones for wave in waves],
        "text": [align_phones(wave, clip.text).phones for wave, clip in zip(waves, clips, strict=True)],
        "reference": [clip.phones for clip in clips],
    }
    melodies = [prosody(wave) for wave in waves]
    gaps = {
        name: [
            head.lip_gap(perform(phones, melody, neutral, len(wave) / RATE_HZ, seed=0).values)
            for phones, melody, wave in zip(track, melodies, waves, strict=True)
        ]
        for name, track in tracks.items()
    }
    scores: dict[str, list[float]] = {"d real": [], "d another": [], "r another": []}
    for i, clip in enumerate(clips):
        scores["d real"].append(lip_closure(clip.gap, clip.phones, clip.fps))
        for name, curves in gaps.items():
            scores.setdefault(f"d {name}", []).append(lip_closure(curves[i], clip.phones, clip.fps))
            scores.setdefault(f"r {name}", []).append(correlation(curves[i], clip.gap))
        for other in (curve for j, curve in enumerate(gaps["text"]) if j != i):
            scores["d another"].append(lip_closure(other, clip.phones, clip.fps))
            scores["r another"].append(correlation(other, clip.gap))
    return scores


def main() -> None:
    """Print the table for the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m avi_lib.evaluation.lips SOURCE")
    try:
        scores = evaluate(Path(sys.argv[1]))
    except AviError as error:
        sys.exit(f"lips: {error}")
    closing = int(np.isfinite(scores["d real"]).sum())
    print(f"means over {len(scores['d real'])} clips, closure over the {closing} that have open vowels and /m b p/")
    print(f"{'phones from':12s} {'closure d':>10s} {'r with the video':>18s}")
    print(f"{'real video':12s} {np.nanmean(scores['d real']):10.2f} {1:18.2f}")
    for name in ("reference", "text", "recording", "another"):
        print(f"{name:12s} {np.nanmean(scores[f'd {name}']):10.2f} {np.mean(scores[f'r {name}']):18.2f}")


if __name__ == "__main__":
    main()
