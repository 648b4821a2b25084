"""How many points of OpenFace's action units are a full ARKit channel: divisors fitted, printed and written.

    python -m tools.assets.fit_openface ../shared/data

Nobody was recorded with both, so that each divisor is the geometric mean of what several views say, over actors 01, 04
and 05 alone; others are kept for evaluation. A person's full range of a channel is the 99.5th percentile of the two
range-of-motion takes of `arkit_iphone`.

- scale: the scale's end, 5, is that full range. Regression shrinks towards the mean, so this divides by too much.
- strong: the 99th percentile of all strong clips is that full range. Actors stop before it: this divides by too little.
- acted: strong anger with disgust, fear and sadness against the iPhone's takes of the same, 90th percentile over time,
  as the ratio of means over the three. Left out where the three are ordered differently in the two, as then people
  showed other faces.
- talk: for jaw, lower lip and lids, neutral and calm speech against tracked speech, 90th percentile over time, of lids
  the 99th.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avi_lib.corpus.adapters import scan_source
from avi_lib.corpus.rigs import OPENFACE, load_rig
from avi_lib.files import atomic_path
from avi_lib.motion.clip import ARKIT, load_npz

FITTED_ON = ("RAVDESS_01", "RAVDESS_04", "RAVDESS_05")
FULL_SCALE = 5.0
CHANNELS = {
    "AU01": "browInnerUp", "AU02": "browOuterUp", "AU04": "browDown", "AU05": "eyeWide", "AU06": "cheekSquint",
    "AU07": "eyeSquint", "AU09": "noseSneer", "AU10": "mouthUpperUp", "AU12": "mouthSmile", "AU14": "mouthDimple",
    "AU15": "mouthFrown", "AU17": "mouthShrugLower", "AU20": "mouthStretch", "AU25": "mouthLowerDown",
    "AU26": "jawOpen", "AU45": "eyeBlink",
}  # fmt: skip
"""The channel that a unit is; AU23 tightens lips, which is no channel of ARKit, and is left out."""
VIEWS = ("scale", "strong", "acted", "talk")
ACTED = {"angry_or_disgusted": ("angry", "disgust"), "fearful": ("fearful",), "sad": ("sad",)}
TALK = {"AU25": 90.0, "AU26": 90.0, "AU45": 99.0}

Units = dict[tuple[str, str, str], list[Float[np.ndarray, "frames 17"]]]


def sided(channel: str) -> list[str]:
    """The channel, or its left and its right one."""
    return [channel] if channel in ARKIT.channels else [f"{channel}Left", f"{channel}Right"]


def level(values: Float[np.ndarray, "frames 55"], channel: str, percentile: float) -> float:
    """Percentile over time of a channel, the mean of both sides."""
    return float(np.percentile(values[:, [ARKIT.index(one) for one in sided(channel)]], percentile, axis=0).mean())


def read_units(folder: Path) -> tuple[Units, list[str]]:
    """Restored units of the actors' clips by actor, emotion and intensity, and the units' names."""
    clips: Units = {}
    names: list[str] = []
    with (folder / "index.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["speaker"] in FITTED_ON:
                with np.load(folder / f"{row['clip']}.npz") as arrays:
                    names = arrays["au_names"].tolist()
                    key = row["speaker"], row["emotion"], row["intensity"]
                    clips.setdefault(key, []).append(arrays["au_restored"].astype(np.float64))
    return clips, names


def views(data: Path) -> dict[str, dict[str, float]]:
    """What each view says of each unit's divisor."""
    clips, names = read_units(data / "av_ravdess_au")
    phone = data / "arkit_iphone"
    with (phone / "index.csv").open(encoding="utf-8") as stream:
        takes = [(row["label"], load_rig(phone / f"{row['clip']}.npz").values) for row in csv.DictReader(stream)]
    tracked_talk = scan_source("av_grid_s1", data / "av_grid_s1").recordings
    shown = [take.motion.path for take in tracked_talk if take.split == "train" and take.motion]
    talk = [np.concatenate([load_npz(path).values for path in shown])]
    talk += [values for label, values in takes if label == "speech"]
    # MediaPipe, the first of them, hardly moves the lower lip, FACEGOOD's lids never move
    facegood = np.concatenate([load_rig(path).values for path in sorted((data / "facegood").glob("*.npz"))])

    def acted(units: Iterable[str], unit: int) -> float:
        apexes = [
            float(np.percentile(np.concatenate(clips[actor, emotion, "strong"])[:, unit], 90))
            for actor in FITTED_ON
            for emotion in units
        ]
        return float(np.mean(apexes))

    found = {}
    for name, channel in CHANNELS.items():
        unit = names.index(name)
        full = np.mean([level(values, channel, 99.5) for label, values in takes if label == "range_of_motion"])
        strong = np.concatenate([each[:, unit] for key, own in clips.items() if key[2] == "strong" for each in own])
        said = {"scale": FULL_SCALE / float(full), "strong": float(np.percentile(strong, 99)) / float(full)}
        ours = np.array([acted(emotions, unit) for emotions in ACTED.values()])
        theirs = np.array([np.mean([level(v, channel, 90) for kind, v in takes if kind == label]) for label in ACTED])
        if name not in TALK and (ours.argsort() == theirs.argsort()).all():
            said["acted"] = float(ours.mean() / theirs.mean())
        if name in TALK:
            plain = [each[:, unit] for key, own in clips.items() if key[1] in ("neutral", "calm") for each in own]
            able = {"AU25": [*talk[1:], facegood], "AU45": talk}.get(name, [*talk, facegood])
            tracked = [level(values, channel, TALK[name]) for values in able]
            said["talk"] = float(np.percentile(np.concatenate(plain), TALK[name]) / np.mean(tracked))
        found[name] = said
    return found


def fit(said: Mapping[str, float]) -> float:
    """The geometric mean."""
    return round(float(np.exp(np.mean(np.log(list(said.values()))))), 2)


def main() -> None:
    """Print the table and write the map."""
    found = views(Path(sys.argv[1]))
    channels: dict[str, dict[str, float]] = {}
    print("unit  channel          divisor  " + "  ".join(f"{view:>6}" for view in VIEWS))
    for name, said in found.items():
        divisor = fit(said)
        cells = "  ".join(f"{said[view]:6.2f}" if view in said else " " * 6 for view in VIEWS)
        print(f"{name}  {CHANNELS[name]:15}  {divisor:7.2f}  {cells}")
        channels |= {one: {name: round(1 / divisor, 4)} for one in sided(CHANNELS[name])}
    entry = {
        "name": "OpenFace",
        "source": "python -m tools.assets.fit_openface, which says how; RAVDESS actors 01, 04 and 05 and iPhone takes",
        "channels": channels,
        "ignored": ["AU23"],
        "animated": [*CHANNELS],
    }
    with atomic_path(OPENFACE) as temporary:
        temporary.write_text(json.dumps(entry, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
