"""Phones with times against labelled ones, and whether lips close when they must.

Labelled recordings are a folder with `CLIP.flac` (beside or in `flac/`), `phones.json` (clip -> [[word, phone, start_s,
end_s], ...]) and, to score alignment with the text too, an `index.csv` with the columns `clip` and `text`. Lip closure
is that of `metrics.lip_closure`; lip correlation is that of the gap with a real video's, at zero lag, silence included.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import correlation, lip_closure
from avi_lib.face.head import load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.performer import Performer
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import BILABIAL, SILENCE, Phone, PhoneTrack, align_phones, recognise_phones, tidy
from avi_lib.speech.prosody import prosody
from tools.benchmarks.measuring import Figure, Options, left_out, there
from tools.benchmarks.systems import read_clips

CLASSES = {
    "silence": {SILENCE},
    "bilabial": set(BILABIAL),
    "labiodental": {"F", "V"},
    "rounded": {"W", "UW", "UH", "OW", "AO", "OY"},
    "open": {"AA", "AE", "AY", "AW"},
}
HOP_S = 0.01
NEAR_S = 0.06


def mouth_class(phone: str) -> str:
    """The class of mouth shape of an ARPAbet phone: silence, bilabial, labiodental, rounded, open or other."""
    return next((name for name, phones in CLASSES.items() if phone in phones), "other")


def score(pairs: Iterable[tuple[Sequence[Phone], Sequence[Phone]]]) -> dict[str, float]:
    """Agreement of found with reference phones, over pairs (reference, found) of the same recordings.

    boundary_ms: median distance of starts of matching phones; boundary_p90_ms; bias_ms: median of found - reference.
    frames: share of 10-ms frames of the same mouth class. bilabials_hit: share of reference /m b p/ with a found one
    whose centre is within 60 ms; bilabials_false: found /m b p/ with none of the reference so near, per reference one;
    bilabial_bias_ms: median of found - reference centres of the hits. matched: share of reference phones found by name.
    """
    offsets: list[float] = []
    same = frames = hits = false = bilabials = sounds = 0
    centres: list[float] = []
    for reference, found in pairs:
        grid = np.arange(0, reference[-1].end_s, HOP_S) + HOP_S / 2
        same += sum(a == b for a, b in zip(_classes(reference, grid), _classes(found, grid), strict=True))
        frames += len(grid)
        offsets += [b.start_s - a.start_s for a, b in match(reference, found)]
        sounds += sum(phone.phone != SILENCE for phone in reference)
        wanted, given = _centres(reference), _centres(found)
        distance = given[None] - wanted[:, None]
        near = np.abs(distance) <= NEAR_S
        hits += int(near.any(axis=1).sum())
        false += int((~near.any(axis=0)).sum())
        bilabials += len(wanted)
        centres += [row[np.abs(row).argmin()] for row, hit in zip(distance, near.any(axis=1), strict=True) if hit]
    return {
        "matched": len(offsets) / max(sounds, 1),
        "boundary_ms": float(np.median(np.abs(offsets)) * 1000),
        "boundary_p90_ms": float(np.quantile(np.abs(offsets), 0.9) * 1000),
        "bias_ms": float(np.median(offsets) * 1000),
        "frames": same / max(frames, 1),
        "bilabials_hit": hits / max(bilabials, 1),
        "bilabials_false": false / max(bilabials, 1),
        "bilabial_bias_ms": float(np.median(centres) * 1000) if centres else float("nan"),
    }


def match(reference: Sequence[Phone], found: Sequence[Phone]) -> list[tuple[Phone, Phone]]:
    """Pairs of phones with the same name on the cheapest edit path, which prefers pairs close in time."""
    a = [phone for phone in reference if phone.phone != SILENCE]
    b = [phone for phone in found if phone.phone != SILENCE]
    cost = np.zeros((len(a) + 1, len(b) + 1))
    cost[:, 0], cost[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i, wanted in enumerate(a):
        for j, given in enumerate(b):
            replace = min(abs(wanted.start_s - given.start_s), 0.5) + (0.0 if wanted.phone == given.phone else 1.0)
            cost[i + 1, j + 1] = min(cost[i, j] + replace, cost[i, j + 1] + 1, cost[i + 1, j] + 1)
    pairs = []
    i, j = len(a), len(b)
    while i and j:
        if cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        elif cost[i, j] == cost[i, j - 1] + 1:
            j -= 1
        else:
            i, j = i - 1, j - 1
            if a[i].phone == b[j].phone:
                pairs.append((a[i], b[j]))
    return pairs[::-1]


def read_source(source: Path, clips: int | None = None) -> list[tuple[Path, str | None, tuple[Phone, ...]]]:
    """(recording, text or None, reference phones) of up to `clips` recordings, spread evenly over the folder's.

    Labelled clips without a recording are left out, and how many is said on stderr. Raises InputError when there is no
    phones.json, no clip is left, or fewer than one is asked for.
    """
    if clips is not None and clips < 1:
        raise InputError("one clip or more", str(clips), "ask for at least one")
    labels = source / "phones.json"
    if not labels.is_file():
        raise InputError("a folder with phones.json", str(source), "name a corpus with labelled phones")
    texts: dict[str, str] = {}
    if (source / "index.csv").is_file():
        with (source / "index.csv").open(newline="", encoding="utf-8") as file:
            texts = {row["clip"]: row["text"] for row in csv.DictReader(file) if row.get("text")}
    result = []
    labelled = json.loads(labels.read_text(encoding="utf-8"))
    for clip, rows in labelled.items():
        path = next((p for p in (source / f"{clip}.flac", source / "flac" / f"{clip}.flac") if p.is_file()), None)
        if path is not None:
            phones = (Phone(phone, start, end) for _, phone, start, end in rows)
            result.append((path, texts.get(clip), tidy(phones, max(end for *_, end in rows))))
    if absent := len(labelled) - len(result):
        left_out(f"{absent} of {len(labelled)} labelled clips", "no recording")
    if not result:
        raise InputError("a recording of a labelled clip", f"none in {source}", "put CLIP.flac beside phones.json")
    picks = np.linspace(0, len(result) - 1, min(clips or len(result), len(result))).round().astype(int)
    return [result[pick] for pick in picks]


def evaluate(source: Path, clips: int | None = None) -> dict[str, dict[str, float]]:
    """Scores of the phones from the recording alone ("audio") and, where texts exist, with them ("text").

    Raises InputError when the source or one of its recordings cannot be used.
    """
    pairs: dict[str, list[tuple[Sequence[Phone], Sequence[Phone]]]] = {"audio": [], "text": []}
    seconds = {"audio": 0.0, "text": 0.0}
    warned = {"audio": 0, "text": 0}
    lengths_s = {"audio": 0.0, "text": 0.0}
    for path, text, reference in read_source(source, clips):
        speech = load_voice(path)
        for mode in pairs:
            began = time.process_time()
            track: PhoneTrack
            if mode == "audio":
                track = recognise_phones(speech.wave)
            elif text is not None:
                track = align_phones(speech.wave, text)
            else:
                continue
            seconds[mode] += time.process_time() - began
            lengths_s[mode] += speech.duration_s
            warned[mode] += bool(track.warning)
            pairs[mode].append((reference, track.phones))
    return {
        mode: score(found)
        | {"clips": len(found), "warnings": warned[mode], "cpu_s_per_s": seconds[mode] / lengths_s[mode]}
        for mode, found in pairs.items()
        if found
    }


def _classes(phones: Sequence[Phone], times_s: np.ndarray) -> list[str]:
    starts = np.array([phone.start_s for phone in phones])
    index = np.clip(np.searchsorted(starts, times_s, side="right") - 1, 0, len(phones) - 1)
    return [mouth_class(phones[i].phone) for i in index]


def _centres(phones: Sequence[Phone]) -> np.ndarray:
    return np.array([(phone.start_s + phone.end_s) / 2 for phone in phones if phone.phone in BILABIAL])


def score_lips(source: Path) -> dict[str, list[float]]:
    """Scores of every clip: d of the real video, d and r of the performer with phones from three sources.

    "another" are the curves of every other clip: what the scores are worth when the phones are wrong.
    """
    head, clips = load_head(), read_clips(source)
    neutral = Instruction.parse("A person speaks calmly.")
    waves = [load_voice(clip.audio).wave for clip in clips]
    tracks = {
        "recording": [recognise_phones(wave).phones for wave in waves],
        "text": [align_phones(wave, clip.text).phones for wave, clip in zip(waves, clips, strict=True)],
        "reference": [clip.phones for clip in clips],
    }
    prosodies = [prosody(wave) for wave in waves]
    gaps = {
        name: [
            head.lip_gap(Performer(phones, spoken, len(wave) / RATE_HZ).perform(neutral, 0).values)
            for phones, spoken, wave in zip(track, prosodies, waves, strict=True)
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


def measure(options: Options) -> Iterator[Figure]:
    """Phones of the labelled recordings, then lips on real videos."""
    for mode, scores in evaluate(options.labelled, options.clips).items():
        given = "the recording alone" if mode == "audio" else "the text given"
        how = f"{scores.pop('clips'):.0f} clips of {options.labelled.name}"
        for name, value in scores.items():
            yield Figure(f"{given}: {name}", value, "", "-", how)
    folder = options.real / "grid10"
    if not there(folder, "lips"):
        return
    lips = {name: float(np.nanmean(values)) for name, values in score_lips(folder).items()}
    how = "GRID, mean over the clips with /m b p/"
    for given, must in (("recording", ">= 1.5"), ("text", ">= 1.8"), ("another", "about 0"), ("real", "-")):
        yield Figure(f"lip closure, phones from {given}", lips[f"d {given}"], "SD", must, how)
    how = "GRID, mean over ten clips, zero lag, silence included"
    for given, must in (("text", ">= 0.45"), ("recording", "-"), ("another", "-")):
        yield Figure(f"lip gap r, phones from {given}", lips[f"r {given}"], "", must, how)
