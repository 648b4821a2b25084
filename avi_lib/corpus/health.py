r"""The health of a prepared corpus: what was kept, repaired and refused, and what there is of everything.

>>> health = examine(clips, scripts, refused)
>>> print("\n".join(health.lines()))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from avi_lib.corpus.recording import Refusal
from avi_lib.corpus.splits import SPLITS


@dataclass(frozen=True)
class Health:
    """Counts over a prepared corpus; minutes are of clips, counts by name are sorted by name.

    `recordings` were kept, wholly or in parts, as `clips`. `repaired` and `warned` count recordings by finding.
    `emotions` counts clips by label ("none" where there is none), `speakers` lists them by split, `motion` and `phones`
    count clips by origin, `scripts` by kind, `texts` counts sentences.
    """

    recordings: int
    clips: int
    minutes: float
    minutes_by_split: dict[str, float]
    speakers: dict[str, list[str]]
    emotions: dict[str, int]
    motion: dict[str, int]
    phones: dict[str, int]
    scripts: dict[str, int]
    texts: int
    motions: int
    repaired: dict[str, int]
    warned: dict[str, int]
    refused: list[Refusal]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def lines(self, most: int = 5) -> list[str]:
        """The report for a person; of the refused recordings the first `most` are named."""
        speakers = sum(map(len, self.speakers.values()))
        kept = f"{_some(self.recordings, 'recording')} as {_some(self.clips, 'clip')}"
        rows = [
            ("kept", f"{kept}, {self.minutes:.1f} minutes, {_some(speakers, 'speaker')}"),
            ("repaired", _counted(self.repaired)),
            ("noted", _counted(self.warned)),
            ("refused", _some(len(self.refused), "recording")),
            *(("", f"{refusal.name}: {refusal.reason}") for refusal in self.refused[:most]),
        ]
        if len(self.refused) > most:
            rows.append(("", f"and {len(self.refused) - most} more, see health.json"))
        for split in SPLITS:
            people = _some(len(self.speakers[split]), "speaker")
            rows.append((split, f"{people}, {self.minutes_by_split[split]:.1f} minutes"))
        rows += [
            ("emotions", _counted(self.emotions)),
            ("phones", _counted(self.phones)),
            ("motion", f"{_counted(self.motion)}; {self.motions} performances or takes in all"),
            ("scripts", f"{_counted(self.scripts)}; {self.texts} sentences"),
        ]
        if self.clips and not self.speakers["test"]:
            rows.append(("note", "no speakers are kept for a test: it takes three of them at least"))
        return [f"{label:11s}{text}" for label, text in rows]


def examine(clips: pa.Table, scripts: pa.Table, refused: Iterable[Refusal]) -> Health:
    """The health of tables of clips and scripts, and of refusals."""
    columns = ("recording", "duration_s", "speaker", "split", "emotion", "motion", "phones_from", "repairs", "warnings")
    of = {name: clips[name].to_pylist() for name in columns}
    found: dict[str, tuple[set[str], set[str]]] = {}
    for recording, repairs, warnings in zip(of["recording"], of["repairs"], of["warnings"], strict=True):
        mended, noted = found.setdefault(recording, (set(), set()))
        mended.update(repairs)
        noted.update(warnings)
    people = set(zip(of["split"], of["speaker"], strict=True))
    seconds = dict.fromkeys(SPLITS, 0.0)
    for split, duration_s in zip(of["split"], of["duration_s"], strict=True):
        seconds[split] += duration_s
    return Health(
        recordings=len(found),
        clips=len(clips),
        minutes=round(sum(seconds.values()) / 60, 3),
        minutes_by_split={split: round(total_s / 60, 3) for split, total_s in seconds.items()},
        speakers={split: sorted(speaker for kept, speaker in people if kept == split) for split in SPLITS},
        emotions=_count(emotion or "none" for emotion in of["emotion"]),
        motion=_count(of["motion"]),
        phones=_count(of["phones_from"]),
        scripts=_count(scripts["kind"].to_pylist()),
        texts=sum(pc.list_value_length(scripts["texts"]).to_pylist()),
        motions=sum(max(held, 1) for held in pc.list_value_length(clips["scripts"]).to_pylist()),
        repaired=_count(name for repairs, _ in found.values() for name in repairs),
        warned=_count(name for _, warnings in found.values() for name in warnings),
        refused=sorted(refused, key=lambda refusal: refusal.name),
    )


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
