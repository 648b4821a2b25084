"""How well a face could be followed through a video: counts, confidence, lag, and what a person should know.

>>> for line in track.report.lines():
...     print(line)
my.mp4: 250 pictures at 29.97 a second, face found in 246, confidence 0.95
interpolated: 1 gap, 4 pictures
sound: 0.02 s before the face (correlation 0.58)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

NOTICED_LAG_S = 0.08
"""A lag from here on is noted: twice the scatter of the measurement on videos that are in step."""


@dataclass(frozen=True)
class TrackReport:
    """How a video was tracked; pictures are those of the video, whatever the frame rate of the motion.

    Attributes:
        path: the video.
        frames: pictures that were looked at.
        video_fps: their median rate.
        found: pictures with the followed face.
        interpolated: pictures without it inside a piece, in `gaps` gaps.
        gaps: gaps that were interpolated, or held over at the video's ends.
        cut: pictures outside every piece, in `cuts` stretches.
        cuts: stretches that were cut out.
        cut_s: seconds of the video outside every piece.
        faces_seen: most faces that one picture shows.
        crowded: share 0-1 of the pictures that show more than one face.
        confidence: mean score 0-1 of the face detector over the pictures with the face, 0 where it missed what the
            landmarks followed. It says that there is a face, not how right the weights are: no such measure exists.
        lag_s: how much later than the face the sound comes; None where that cannot be told.
        lag_correlation: of the tracked mouth with the mouth expected from the sound at that lag.
        warnings: sentences for a person.
    """

    path: str
    frames: int
    video_fps: float
    found: int
    interpolated: int
    gaps: int
    cut: int
    cuts: int
    cut_s: float
    faces_seen: int
    crowded: float
    confidence: float
    lag_s: float | None
    lag_correlation: float | None
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def findings(self) -> tuple[str, ...]:
        """What a corpus notes of the recording, by name: gaps cut out, several faces, a lag that an eye notices."""
        late = self.lag_s is not None and abs(self.lag_s) >= NOTICED_LAG_S
        named = {"face_gaps": self.cuts > 0, "several_faces": self.crowded > 0, "face_lag": late}
        return tuple(name for name, found in named.items() if found)

    def lines(self) -> Iterator[str]:
        """The report for a person: the counts, the lag, then a line for each warning."""
        rate = f"{self.frames} pictures at {self.video_fps:.4g} a second"
        yield f"{self.path}: {rate}, face found in {self.found}, confidence {self.confidence:.2f}"
        if self.gaps:
            yield f"interpolated: {_count(self.gaps, 'gap')}, {_count(self.interpolated, 'picture')}"
        if self.cuts:
            yield f"cut: {_count(self.cuts, 'stretch', 'es')}, {_count(self.cut, 'picture')}, {self.cut_s:.2f} s"
        if self.lag_s is not None:
            side = "after" if self.lag_s > 0 else "before"
            place = f"{abs(self.lag_s):.2f} s {side} the face" if abs(self.lag_s) >= 0.005 else "in step with the face"
            yield f"sound: {place} (correlation {self.lag_correlation:.2f})"
        yield from (f"note: {warning}" for warning in self.warnings)


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural if number != 1 else ''}"
