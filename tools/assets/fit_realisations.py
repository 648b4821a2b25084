"""How real people show an emotion: realisations found in RAVDESS, printed and written to `realisations.yaml`.

    python -m tools.assets.fit_realisations ../shared/data

Each clip of `static_means.csv` (sixteen actors, 960 clips) is the mean of its action units less its actor's neutral
mean. That is brought to an apex by how much higher the 90th percentile over speech lies, less the neutral one, in the
curves of actors 01, 04 and 05 (a line through 0 over clips that gain; a unit whose apex and mean hardly agree keeps
its mean), and to strengths by the divisors of `openface.json`. Strong clips of an emotion are grouped by k-means; a
group of one person joins the nearest. Level 3 is the group's mean, level 2 that of its people's normal clips in the
same shares, level 1 half of that, since RAVDESS has no weaker takes; `spread` is the standard deviation of the group's
clips at level 3, as a share of it. `told` is the share of the group's clips in which a logistic regression over units,
trained on the other actors, finds the emotion among eight. First comes the realisation that shows most, at levels 2 and
3, of the units by which observers know the emotion (Ekman, Friesen and Hager, "FACS Investigator's Guide", 2002); of
calm the commonest. No judge of pictures was asked of these.

Prototypes are printed too, for `words.yaml`: what an emotion's name alone asks for. A mean over people is no face that
anybody would read, so at level 3 each unit of `SHOWN` is what one strong take in twenty exceeds, at level 2 as much
less as normal takes have, all units together, and at level 1 half of that. `GAINS` are the least at which the judge of
`tools.benchmarks.amplitudes` reads the face.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import yaml
from jaxtyping import Bool, Float
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avi_lib.corpus.rigs import OPENFACE, load_rig_map
from avi_lib.files import atomic_path
from avi_lib.instruction.action_units import ACTION_UNITS, REALISATIONS
from tools.assets.fit_openface import FITTED_ON

UNITS = {
    "AU01": "inner_brow_raise", "AU02": "outer_brow_raise", "AU04": "brow_down", "AU05": "upper_lid_raise",
    "AU06": "cheek_raise", "AU07": "lid_tighten", "AU09": "nose_wrinkle", "AU10": "upper_lip_raise",
    "AU12": "lip_corner_pull", "AU14": "dimple", "AU15": "lip_corner_down", "AU17": "chin_raise", "AU20": "lip_stretch",
    "AU25": "lips_part", "AU26": "jaw_drop", "AU45": "lid_droop",
}  # fmt: skip
"""AU23 says nothing: means and apexes of its two models do not agree. AU45 held is a lid that droops."""
WHOLE = ("lips_part", "jaw_drop")
"""Units whose strength is a share of the action's range: loud speech opens lips and jaw, which is no expression."""
EMOTIONS = {
    "calm": "calm", "happy": "happy", "sad": "sad", "angry": "angry", "fearful": "fear", "disgust": "disgusted",
    "surprised": "surprised",
}  # fmt: skip
KNOWN_BY = {
    "happy": ("AU06", "AU12"),
    "sad": ("AU01", "AU04", "AU15", "AU17"),
    "angry": ("AU04", "AU05", "AU07"),
    "fearful": ("AU01", "AU02", "AU04", "AU05", "AU20", "AU26"),
    "disgust": ("AU09", "AU10", "AU15", "AU17"),
    "surprised": ("AU01", "AU02", "AU05", "AU26"),
}
SHOWN = {
    "happy": ("AU06", "AU10", "AU12", "AU25"),
    "sad": ("AU01", "AU15", "AU17"),
    "angry": ("AU04", "AU07", "AU09", "AU10"),
    "fearful": ("AU01", "AU05", "AU20", "AU25", "AU26"),
    "disgust": ("AU09", "AU10", "AU15", "AU17"),
    "surprised": ("AU01", "AU02", "AU05", "AU25", "AU26"),
}
"""Units of a prototype: those that belong together in one face; real anger narrows the eyes, or glares, never both."""
GAINS = {"sad": 1.6, "fearful": 1.25, "surprised": 1.4}
RARE = 95
"""Percentile of takes that a prototype is at."""
GROUPS, LEAST_PEOPLE = 4, 2
FAINTEST, AGREES = 0.06, 0.7
LOUD = 0.08
"""Share of a clip's highest level from which it speaks."""

Strengths = Float[np.ndarray, "clips units"]


class Clip(NamedTuple):
    """Whose clip, of which emotion and intensity."""

    actor: str
    emotion: str
    intensity: str


def speech_s(path: Path) -> tuple[float, float]:
    """When a recording's speech begins and ends."""
    wave, rate_hz = soundfile.read(path)
    hop = rate_hz // 50
    level = np.sqrt(np.square(wave[: len(wave) // hop * hop]).reshape(-1, hop).mean(axis=1))
    loud = np.flatnonzero(level > LOUD * np.percentile(level, 98))
    return float(loud[0]) / 50, float(loud[-1]) / 50


def read_means(folder: Path) -> tuple[list[Clip], list[str], Strengths]:
    """Clips by row, their names, and each clip's mean units less its actor's neutral ones."""
    with (folder / "static_means.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    clips = [Clip(row["speaker"], row["emotion"], row["intensity"]) for row in rows]
    means = np.array([[float(row[f"{unit}_mean"]) for unit in UNITS] for row in rows])
    return clips, [row["clip"] for row in rows], less_neutral(clips, means)


def less_neutral(clips: list[Clip], values: Strengths) -> Strengths:
    """Values less the mean of the same actor's neutral clips."""
    actors, plain = np.array([clip.actor for clip in clips]), np.array([clip.emotion == "neutral" for clip in clips])
    return np.stack(
        [v - values[plain & (actors == clip.actor)].mean(axis=0) for v, clip in zip(values, clips, strict=True)]
    )


def apex_gains(folder: Path, clips: list[Clip], names: list[str], means: Strengths) -> Float[np.ndarray, " units"]:
    """How much higher the apex lies than the mean, by unit, 1 where the two hardly agree."""
    rows = [row for row, clip in enumerate(clips) if clip.actor in FITTED_ON]
    apexes = []
    for row in rows:
        with np.load(folder / f"{names[row]}.npz") as arrays:
            units = arrays["au_restored"].astype(np.float64)[:, [arrays["au_names"].tolist().index(u) for u in UNITS]]
            times_s = np.arange(len(units)) / float(arrays["fps"]) + float(arrays["sound_delay_s"])
        first_s, last_s = speech_s(folder / f"{names[row]}.flac")
        apexes.append(np.percentile(units[(times_s >= first_s) & (times_s <= last_s)], 90, axis=0))
    apex = less_neutral([clips[row] for row in rows], np.array(apexes))
    gains = np.ones(len(UNITS))
    for unit, (high, mean) in enumerate(zip(apex.T, means[rows].T, strict=True)):
        gained = mean > 0
        if np.corrcoef(high[gained], mean[gained])[0, 1] >= AGREES:
            gains[unit] = (high[gained] @ mean[gained]) / (mean[gained] @ mean[gained])
    return gains


def to_strengths(units: Strengths) -> Strengths:
    """Strengths 0-1 of the action units that points of OpenFace are."""
    per_point = {unit: weight for feeds in load_rig_map(OPENFACE).channels.values() for unit, weight in feeds.items()}
    weights = {name: 1.0 if name in WHOLE else max(ACTION_UNITS[name].channels.values()) for name in UNITS.values()}
    scale = [per_point[unit] / weights[name] for unit, name in UNITS.items()]
    return np.clip(units * np.array(scale), 0.0, 1.0)


def groups(strengths: Strengths, actors: list[str]) -> Float[np.ndarray, " clips"]:
    """The number of each clip's group."""
    found = KMeans(GROUPS, n_init=50, random_state=0).fit(strengths)
    numbers, centres = found.labels_.copy(), found.cluster_centers_
    people = [len({actor for actor, number in zip(actors, numbers, strict=True) if number == k}) for k in range(GROUPS)]
    kept = [k for k in range(GROUPS) if people[k] >= LEAST_PEOPLE]
    for lonely in set(range(GROUPS)) - set(kept):
        own = numbers == lonely
        away = np.linalg.norm(strengths[own][:, None] - centres[kept][None], axis=2)
        numbers[own] = np.array(kept)[away.argmin(axis=1)]
    return np.asarray(numbers)


def recognised(clips: list[Clip], strengths: Strengths) -> Bool[np.ndarray, " clips"]:
    """Whether each clip's emotion is told from its units by what was trained on the other actors."""
    emotions, actors = [clip.emotion for clip in clips], [clip.actor for clip in clips]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))
    found = cross_val_predict(model, strengths, emotions, groups=actors, cv=LeaveOneGroupOut())
    return np.asarray(found == np.array(emotions))


def realisations(
    clips: list[Clip], strengths: Strengths, told: Bool[np.ndarray, " clips"], emotion: str
) -> list[dict[str, Any]]:
    """The realisations of an emotion, the clearest first."""

    def of(intensity: str) -> list[int]:
        return [row for row, clip in enumerate(clips) if clip.emotion == emotion and clip.intensity == intensity]

    strong = of("strong") + (of("normal") if emotion == "calm" else [])
    numbers = groups(strengths[strong], [clips[row].actor for row in strong])
    known = [list(UNITS).index(unit) for unit in KNOWN_BY.get(emotion, ())]
    found = []
    for number in sorted(set(numbers.tolist())):
        rows = [row for row, group in zip(strong, numbers, strict=True) if group == number]
        shares = Counter(clips[row].actor for row in rows)
        high = strengths[rows].mean(axis=0)
        own = {actor: [row for row in of("normal") if clips[row].actor == actor] for actor in shares}
        normal = [strengths[each].mean(axis=0) for each in own.values()]
        middle = np.minimum(np.average(normal, axis=0, weights=list(shares.values())), high)
        spread = strengths[rows].std(axis=0) / np.maximum(high, 1e-9)
        units = {}
        for unit in np.argsort(-high, kind="stable"):
            if high[unit] >= FAINTEST:
                levels = [high[unit]] if emotion == "calm" else [middle[unit] / 2, middle[unit], high[unit]]
                units[list(UNITS.values())[unit]] = ", ".join(f"{v:.2f}" for v in (*levels, spread[unit]))
        share, right = len(rows) / len(strong), float(told[rows].mean())
        clear = float((middle + high)[known].sum())
        entry = {"share": f"{share:.2f}", "people": f"{len(shares)}", "told": f"{right:.2f}", "units": units}
        found.append((share if emotion == "calm" else clear, entry))
    return [entry for _, entry in sorted(found, key=lambda each: each[0], reverse=True)]


def prototype(clips: list[Clip], strengths: Strengths, emotion: str) -> dict[str, str]:
    """Of each unit that is shown the strengths at levels 1, 2 and 3."""
    places = [list(UNITS).index(unit) for unit in SHOWN[emotion]]
    normal, strong = (
        strengths[[clip.emotion == emotion and clip.intensity == intensity for clip in clips]][:, places]
        for intensity in ("normal", "strong")
    )
    high = np.minimum(GAINS.get(emotion, 1.0) * np.percentile(strong, RARE, axis=0), 1.0)
    share = normal.sum() / strong.sum()
    levels = np.stack([high * share / 2, high * share, high], axis=1)
    return {
        UNITS[unit]: ", ".join(f"{value:.2f}" for value in row)
        for unit, row in zip(SHOWN[emotion], levels, strict=True)
    }


def main() -> None:
    """Print and write all realisations."""
    folder = Path(sys.argv[1]) / "av_ravdess_au"
    clips, names, means = read_means(folder)
    gains = apex_gains(folder, clips, names, means)
    print("gains", {name: round(float(gain), 2) for name, gain in zip(UNITS, gains, strict=True)})
    strengths = to_strengths(means * gains)
    print(yaml.dump({EMOTIONS[theirs]: prototype(clips, strengths, theirs) for theirs in SHOWN}).replace("'", ""))
    told = recognised(clips, strengths)
    print(f"told: {told.mean():.2f} of all clips")
    table = {ours: realisations(clips, strengths, told, theirs) for theirs, ours in EMOTIONS.items()}
    said = "".join(f"# {line}\n".replace("# \n", "#\n") for line in HEAD.strip().splitlines())
    text = said + yaml.dump(table, sort_keys=False, width=120).replace("'", "")
    print(text)
    with atomic_path(REALISATIONS) as temporary:
        temporary.write_text(text, "utf-8")


HEAD = """
Realisations of emotions by real people: written by python -m tools.assets.fit_realisations, which says how.

Statistics of action units of sixteen RAVDESS actors (Livingstone & Russo 2018, CC BY-NC-SA 4.0); no recording. `share`
of an emotion's strong clips, `people` that show it, `told`: in how many clips it is found among eight; of each unit the
strength at levels 1, 2 and 3 (calm has one), then the spread between takes as a share of it.
"""


if __name__ == "__main__":
    main()
