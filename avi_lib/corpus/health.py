r"""The health of a prepared corpus: what was kept, repaired and refused, and what there is of everything.

>>> health = examine(clips, scripts, refused)
>>> print("\n".join(health.lines()))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from avi_lib.corpus.entries import ClipEntry, ScriptEntry
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
        lines = [
            f"kept      {self.recordings} recordings as {self.clips} clips, {self.minutes:.1f} minutes, "
            f"{speakers} speakers",
            f"repaired  {_counted(self.repaired)}",
            f"noted     {_counted(self.warned)}",
            f"refused   {len(self.refused)} recordings",
            *(f"          {refusal.name}: {refusal.reason}" for refusal in self.refused[:most]),
            *([f"          and {len(self.refused) - most} more, see health.json"] if len(self.refused) > most else []),
            *(
                f"{split:9s} {len(self.speakers[split])} speakers, {self.minutes_by_split[split]:.1f} minutes"
                for split in SPLITS
            ),
            f"emotions  {_counted(self.emotions)}",
            f"phones    {_counted(self.phones)}",
            f"motion    {_counted(self.motion)}; {self.motions} performances or takes in all",
            f"scripts   {_counted(self.scripts)}; {self.texts} sentences",
        ]
        if self.clips and not self.speakers["test"]:
            lines.append("note      no speakers are kept for a test: it takes three of them at least")
        return lines


def examine(clips: Sequence[ClipEntry], scripts: Sequence[ScriptEntry], refused: Iterable[Refusal]) -> Health:
    r"""The health of these clips, scripts and refusals."""
    first = {clip.recording: clip for clip in clips}
    minutes = {split: round(sum(clip.duration_s for clip in clips if clip.split == split) / 60, 3) for split in SPLITS}
    return Health(
        recordings=len(first),
        clips=len(clips),
        minutes=round(sum(clip.duration_s for clip in clips) / 60, 3),
        minutes_by_split=minutes,
        speakers={split: sorted({clip.speaker for clip in clips if clip.split == split}) for split in SPLITS},
        emotions=_count(clip.emotion or "none" for clip in clips),
        motion=_count(clip.motion for clip in clips),
        phones=_count(clip.phones_from for clip in clips),
        scripts=_count(script.kind for script in scripts),
        texts=sum(len(script.texts) for script in scripts),
        motions=sum(max(len(clip.scripts), 1) for clip in clips),
        repaired=_count(name for clip in first.values() for name in clip.repairs),
        warned=_count(name for clip in first.values() for name in clip.warnings),
        refused=sorted(refused, key=lambda refusal: refusal.name),
    )


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
