"""Close-ups: what to show of a corpus, chosen so that there is something to see.

>>> recording = choose_recording(scan)
>>> exchange = choose_exchange(corpus, corpus.clips[0])
>>> exchange.motions[0][1]  # the first script over the second clip
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.recording import Recording, Scan
from avi_lib.corpus.shards import ClipEntry, ScriptEntry
from avi_lib.errors import AssetError, InputError
from avi_lib.face.head import Head
from avi_lib.face.tracking import Track, track_video
from avi_lib.motion.clip import MotionClip, Piece
from avi_lib.speech.loading import Speech
from avi_lib.speech.phones import BILABIAL
from avi_lib.workbook.motion_plots import EXPRESSIVE, Measure, side_mean

STILL = 1e-3
"""A curve whose range is smaller stands still."""

_FIRST = "put a corpus with performed clips, such as samples=table:data/samples/corpus, first"


@dataclass(frozen=True)
class Exchange:
    """Two clips and two scripts that both of them perform.

    `motions[script][clip]` is without idle behaviour, `moments[clip]` are the frames in which the mouth is widest and
    in which it is shut, the same under both scripts.
    """

    clips: tuple[ClipEntry, ClipEntry]
    scripts: tuple[ScriptEntry, ScriptEntry]
    motions: tuple[tuple[MotionClip, MotionClip], tuple[MotionClip, MotionClip]]
    moments: tuple[tuple[int, int], tuple[int, int]]

    def faces(self) -> MotionClip:
        """Both moments of both clips under the first script, then under the second: eight frames."""
        rows = [
            motion.values[frame]
            for row in self.motions
            for motion, frames in zip(row, self.moments, strict=True)
            for frame in frames
        ]
        motion = self.motions[0][0]
        return MotionClip(np.stack(rows), motion.fps, motion.space)


def choose_recording(scan: Scan) -> Recording:
    """The first recording that can be heard and that the performer is to give a face; InputError without one."""
    for recording in scan.recordings:
        if recording.speech is not None and recording.motion is None and recording.video is None:
            return recording
    raise InputError("a recording of sound alone to show", "a corpus without one", _FIRST)


def excerpt(speech: Speech, start_s: float, duration_s: float) -> Speech:
    """A part of a recording; the report stays that of the whole."""
    first = round(start_s * speech.rate_hz)
    return Speech(speech.wave[first : first + round(duration_s * speech.rate_hz)], speech.report)


def performance(corpus: Corpus, clip: ClipEntry, script: int = 0, idle: bool = False) -> MotionClip:
    """A clip's motion of that number, with idle behaviour or without it."""
    values = corpus.motion(clip, script).astype(np.float32)
    if idle:
        values += corpus.idle(clip, script)
    return MotionClip(values, float(corpus.description["fps"]), corpus.space)


def choose_exchange(corpus: Corpus, clip: ClipEntry) -> Exchange:
    """The clip, another that performs the same scripts, and the two scripts whose faces are farthest apart.

    Faces are compared by the means of EXPRESSIVE over the clip.
    Raises InputError when the clip exchanges its scripts with none.
    """
    shared = set(clip.scripts)
    partners = [other for other in corpus.clips if other.clip != clip.clip and set(other.scripts) == shared]
    if not partners or clip.motion != "performed":
        raise InputError("a performed clip that exchanges its scripts", f"{clip.clip}, which does not", _FIRST)
    partner = partners[0]
    means = [_expression(performance(corpus, clip, i)) for i in range(len(clip.scripts))]
    pairs = itertools.combinations(range(len(means)), 2)
    first, second = max(pairs, key=lambda pair: float(np.linalg.norm(means[pair[0]] - means[pair[1]])))
    names = clip.scripts[first], clip.scripts[second]
    motions = [[performance(corpus, other, other.scripts.index(name)) for other in (clip, partner)] for name in names]
    return Exchange(
        (clip, partner),
        (corpus.scripts[names[0]], corpus.scripts[names[1]]),
        ((motions[0][0], motions[0][1]), (motions[1][0], motions[1][1])),
        (_moments(corpus, clip, motions[0][0]), _moments(corpus, partner, motions[0][1])),
    )


def script_rows(corpus: Corpus, clip: ClipEntry) -> list[list[str]]:
    """A row for each of the clip's own scripts: kind, emotion with its level, action units, sentences."""
    return [_script_row(corpus.scripts[name]) for name in clip.scripts[: clip.own]]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; bars and line ends in cells are replaced, marks and tags are shown and not followed."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def try_track(video: Path) -> tuple[Track | None, str]:
    """The track of a video and a line on it; no track, and the reason, where this machine cannot track."""
    try:
        track = track_video(video)
    except AssetError as error:
        return None, f"faces cannot be tracked on this machine: {error}"
    return track, "\n".join(track.report.lines())


def face_measures(head: Head) -> dict[str, Measure]:
    """What a tracked face is compared by: the gap between the lips on a head's mesh, jaw, lids and smile."""

    def lip_gap_mm(motion: MotionClip) -> Float[np.ndarray, " frames"]:
        return 1000 * head.lip_gap(motion.values)

    channels = ("jawOpen", "eyeBlink", "mouthSmile")
    return {"lip_gap_mm": lip_gap_mm, **{name: partial(side_mean, channel=name) for name in channels}}


def correlations(pieces: Sequence[Piece], performed: MotionClip, measures: Mapping[str, Measure]) -> dict[str, float]:
    """Pearson correlation of tracked with performed motion by measure, over the frames that both have.

    Measures that stand still in either are left out.
    """
    found = {}
    for name, measure in measures.items():
        whole = measure(performed)
        starts = [round(piece.start_s * performed.fps) for piece in pieces]
        tracked = [
            measure(piece.curves.clip)[: len(whole) - start] for piece, start in zip(pieces, starts, strict=True)
        ]
        aims = [whole[start : start + len(curve)] for start, curve in zip(starts, tracked, strict=True)]
        pair = np.concatenate(tracked), np.concatenate(aims)
        if min(np.ptp(pair[0]), np.ptp(pair[1])) > STILL:
            found[name] = float(np.corrcoef(*pair)[0, 1])
    return found


def unit_rows(asked: Mapping[str, float], measured: Mapping[str, float]) -> list[list[str]]:
    """A row for each action unit that was asked for or measured, with both strengths."""
    return [
        [name, *(f"{units[name]:.2f}" if name in units else "" for units in (asked, measured))]
        for name in {**asked, **measured}
    ]


def _expression(motion: MotionClip) -> Float[np.ndarray, " channels"]:
    return np.array([side_mean(motion, channel).mean() for channel in EXPRESSIVE])


def _moments(corpus: Corpus, clip: ClipEntry, motion: MotionClip) -> tuple[int, int]:
    """The frame of the widest mouth; the one in the middle of the first /m b p/, or else of the narrowest mouth."""
    mouth = motion["jawOpen"] - motion["mouthClose"]
    middles_s = [(start_s + end_s) / 2 for phone, start_s, end_s in corpus.phones(clip) if phone in BILABIAL]
    shut = int(middles_s[0] * motion.fps) if middles_s else int(mouth.argmin())
    return int(mouth.argmax()), shut


def _script_row(script: ScriptEntry) -> list[str]:
    units = ", ".join(f"{name} {strength:.2f}" for name, strength in script.action_units.items())
    emotion = f"{script.emotion} {script.level}" if script.emotion else "none"
    return [script.kind, emotion, units or "none", " / ".join(script.texts)]


_SHOWN = str.maketrans({"|": "/", "&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\`*[]$"}})


def _cell(cell: object) -> str:
    return " ".join(str(cell).translate(_SHOWN).split())
