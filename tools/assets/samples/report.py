"""How the emotions of a corpus differ and how sure its phones are, as Markdown tables: `report(folder, plain)`."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from emotional_prosody import EMOTIONS, LEVELS
from make_samples import measured
from timing import SILENCE, TimedPhone

BILABIAL = ("M", "B", "P")
VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
COLUMNS = ("F0 mean (st)", "F0 range (st)", "rate (%)", "level (dB)", "1-5 kHz (dB)")


def report(folder: Path, plain: Mapping[str, tuple[np.ndarray, Sequence[TimedPhone]]]) -> str:
    """Two tables: prosody by emotion and level against the same clips spoken plainly, and energy by phone.

    `plain` has for every clip its wave (samples,) at 16 kHz and its phones as the voice says it by itself.
    """
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    phones = json.loads((folder / "phones.json").read_text("utf-8"))
    differences: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    levels_db: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        wave, rate_hz = soundfile.read(folder / "flac" / f"{row['clip']}.flac", dtype="float32")
        spoken = [TimedPhone(*phone) for phone in phones[row["clip"]]]
        by_itself = _marks(plain[row["clip"]][0], rate_hz, plain[row["clip"]][1])
        differences[row["emotion"], int(row["level"])].append(_marks(wave, rate_hz, spoken) - by_itself)
        for phone, level_db in _energies(wave, rate_hz, spoken):
            levels_db[phone].append(level_db)
    return f"{_prosody_table(differences)}\n\n{_energy_table(levels_db)}"


def _marks(wave: np.ndarray, rate_hz: int, phones: Sequence[TimedPhone]) -> np.ndarray:
    found = measured(wave, rate_hz)
    spoken = [phone.end_s - phone.start_s for phone in phones if phone.phone != SILENCE]
    return np.array(
        [12 * np.log2(found["f0_mean_hz"]), found["f0_range_semitones"], 100 * np.log(len(spoken) / sum(spoken)),
         found["level_db"], found["high_frequency_db"]]
    )  # fmt: skip


def _prosody_table(differences: Mapping[tuple[str, int], list[np.ndarray]]) -> str:
    lines = [f"| | clips | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for emotion in EMOTIONS:
        for level in LEVELS:
            if clips := differences.get((emotion, level)):
                cells = " | ".join(f"{value:+.1f}" for value in np.mean(clips, axis=0))
                lines.append(f"| {emotion} {level} | {len(clips)} | {cells} |")
    return "\n".join(lines)


def _energies(wave: np.ndarray, rate_hz: int, phones: Sequence[TimedPhone]) -> list[tuple[str, float]]:
    """The level of each phone above 1 kHz in its middle third, in dB against the clip's loudest 5 %.

    Closed lips leave little of it, also in the voiced murmur of /m/, which is as loud as a vowel below 1 kHz.
    """
    spectrum = np.fft.rfft(wave.astype(np.float64))
    spectrum[np.fft.rfftfreq(len(wave), 1 / rate_hz) < 1000.0] = 0.0
    power = np.fft.irfft(spectrum, len(wave)) ** 2
    loudest = np.percentile(np.convolve(power, np.full(rate_hz // 50, 50 / rate_hz), "same"), 95)
    result = []
    for _, phone, start_s, end_s in phones:
        third_s = (end_s - start_s) / 3
        middle = power[int((start_s + third_s) * rate_hz) : int((end_s - third_s) * rate_hz)]
        result.append((phone, float(10 * np.log10(middle.mean() / loudest + 1e-9))))
    return result


def _energy_table(levels_db: Mapping[str, list[float]]) -> str:
    groups = {phone: (phone,) for phone in BILABIAL} | {"vowels": VOWELS}
    lines = ["| | phones | median level above 1 kHz (dB) |", "|---|---|---|"]
    for name, phones in groups.items():
        found = [level_db for phone in phones for level_db in levels_db[phone]]
        lines.append(f"| {name} | {len(found)} | {np.median(found):.1f} |")
    return "\n".join(lines)
