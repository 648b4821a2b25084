"""Segments: recordings cut into clips, with speech features, phones and motion, and made into the tensors of a shard.

>>> segments = make_segments(recording, encoder, settings)
>>> segments[0].features.shape, len(segments[0].phones)
((96, 384), 21)
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float16, Float32

from avi_lib.corpus.layouts import Recording
from avi_lib.corpus.measure import measure_units
from avi_lib.corpus.scripts import Script, Words, caption_script, draw_scripts, measured_script
from avi_lib.corpus.shards import ClipEntry, ScriptEntry
from avi_lib.errors import InputError
from avi_lib.face import tracking
from avi_lib.files import cached, file_sha256
from avi_lib.instruction.instruction import Instruction
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, SPACES, Curves, MotionClip, Piece
from avi_lib.motion.performer import IDLE_GROUPS, Performer
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.encoders import RATE_HZ, SpeechEncoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import ARPABET, SILENCE, Phone, align_phones, recognise_phones, shift, tidy
from avi_lib.speech.prosody import Prosody, prosody
from avi_lib.speech.voice import SAMPLES, VIDEO_FPS, Voice, cut_at_pauses, cut_evenly

# Real motion of a recording: read from its own file, or tracked in its video and kept.

SAMPLED = 64
"""Frames of a recording that its speaker's neutral face is found from."""

Neutrals = Mapping[str, Float32[np.ndarray, " channels"]]
"""Neutral faces that real motion is measured against, by `Recording.face`."""


class Motion(NamedTuple):
    """Real motion of a recording in pieces without a gap, and what was noted when it was tracked, by name."""

    pieces: tuple[Piece, ...] = ()
    findings: tuple[str, ...] = ()


def motion_of(recording: Recording, tracks: Path, digests: Mapping[Path, str]) -> Motion:
    """Real motion of a recording, none when it has neither a motion file nor a video.

    Args:
        recording: a recording.
        tracks: folder where tracked motion is kept, so that no video is tracked twice.
        digests: SHA-256 of the recording's files.

    Raises:
        InputError: the file cannot be used.
        AssetError: tracking is not possible on this machine.
    """
    if recording.motion is not None:
        return Motion((Piece(0.0, recording.motion.read(recording.motion.path)),))
    video = recording.video
    if video is None:
        return Motion()
    sound = recording.speech if recording.speech != video else None

    def track() -> dict[str, np.ndarray]:
        track = tracking.track_video(video, sound=sound)
        arrays = {f"values{i}": piece.curves.clip.values for i, piece in enumerate(track.pieces)}
        arrays |= {f"present{i}": piece.curves.present for i, piece in enumerate(track.pieces)}
        arrays["times"] = np.array([[piece.start_s, piece.curves.clip.fps] for piece in track.pieces])
        return arrays | {"findings": np.frombuffer(json.dumps(track.report.findings()).encode(), np.uint8)}

    kept = cached(tracks, [digests[video], digests[sound] if sound else "", tracker_digest()], track)
    pieces = [
        Piece(start_s, Curves(MotionClip(kept[f"values{i}"], fps, ARKIT), kept[f"present{i}"]))
        for i, (start_s, fps) in enumerate(kept["times"].tolist())
    ]
    return Motion(tuple(pieces), tuple(json.loads(kept["findings"].tobytes())))


@cache
def tracker_digest() -> str:
    """SHA-256 of the tracker: its model and the code that runs it."""
    code = (Path(inspect.getfile(part)) for part in (tracking.track_video, tracking.read_pictures))
    files = (*sorted(resolve("face-landmarker").files.values()), *code)
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


Sample = tuple[Float16[np.ndarray, "frames channels"], Bool[np.ndarray, " channels"]]


def sample_frames(motion: Motion) -> Sample:
    """Up to `SAMPLED` frames spread evenly over a recording's motion, and which channels it has."""
    values = np.concatenate([piece.curves.clip.values for piece in motion.pieces])
    picks = np.unique(np.linspace(0, len(values) - 1, SAMPLED).round().astype(int))
    return values[picks].astype(np.float16), np.all([piece.curves.present for piece in motion.pieces], axis=0)


# Segments: a recording cut into clips, with everything but the motion that is performed.

LONGEST_RECORDING_MIN = 30.0
"""Longer recordings are refused: a worker holds one of them in memory."""
LOOSE_END_S = 0.25
"""Sound that goes on this little longer than the motion does not make the clip a part of its recording."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A recording or a part of it, of `frames` video frames, before its motion is performed.

    `features` (frames50, dim) at 50 a second and `prosody` are None for motion without sound, `curves` at 25 a second
    for sound without motion. `repairs` and `warnings` are names of findings.
    """

    clip: str
    recording: Recording
    start_s: float
    duration_s: float
    frames: int
    curves: Curves | None
    features: Float16[np.ndarray, "features dim"] | None = None
    phones: tuple[Phone, ...] = ()
    phones_from: str = "none"
    prosody: Prosody | None = None
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def make_segments(
    recording: Recording, encoder: SpeechEncoder, settings: PrepareSettings, motion: Motion | None = None
) -> list[Segment]:
    """The clips of a recording; without `motion` they are to be performed.

    Raises InputError when the sound cannot be used or nothing long enough is left.
    """
    motion = motion or Motion()
    pieces = [Piece(piece.start_s, piece.curves.at_fps(float(VIDEO_FPS))) for piece in motion.pieces]
    if recording.speech is None:
        segments = _silent(recording, pieces, settings, motion.findings)
    else:
        speech = load_voice(recording.speech, LONGEST_RECORDING_MIN)
        segments = _spoken(recording, speech, pieces, encoder, settings, motion.findings)
    if not segments:
        got = "nothing so long in it" + (" with both sound and motion" if pieces and recording.speech else "")
        raise InputError(f"at least {settings.shortest_s:g} s", got, "record a longer take")
    return segments


def _silent(
    recording: Recording, pieces: Sequence[Piece], settings: PrepareSettings, findings: tuple[str, ...]
) -> list[Segment]:
    segments = []
    for piece in pieces:
        for first, last in cut_evenly(len(piece.curves.clip), int(settings.longest_s * VIDEO_FPS)):
            if last - first >= settings.shortest_s * VIDEO_FPS:
                start_s = piece.start_s + first / VIDEO_FPS
                whole = piece.start_s == 0 and last - first == len(piece.curves.clip)
                name = recording.name if whole else f"{recording.name}@{start_s:.2f}"
                curves, frames = piece.curves.between(first, last), last - first
                segments.append(
                    Segment(name, recording, start_s, frames / VIDEO_FPS, frames, curves, warnings=findings)
                )
    return segments


def _spoken(
    recording: Recording,
    speech: Voice,
    pieces: Sequence[Piece],
    encoder: SpeechEncoder,
    settings: PrepareSettings,
    findings: tuple[str, ...],
) -> list[Segment]:
    known, phones_from, doubts = recording.phones, "corpus", tuple[str, ...]()
    if known is None and recording.text is not None and recording.language == "en":
        track = align_phones(speech.wave, recording.text)
        known, phones_from, doubts = track.phones, "text", ("text_doubtful",) if track.warning else ()
    elif known is None:
        phones_from, doubts = "speech", () if recording.language == "en" else ("phones_of_another_language",)
    segments = []
    for first, last, curves in _parts(speech, pieces, settings):
        wave = speech.wave[first * SAMPLES : last * SAMPLES]
        whole = first == 0 and len(speech.wave) - len(wave) < LOOSE_END_S * RATE_HZ
        start_s, duration_s = first / VIDEO_FPS, len(wave) / RATE_HZ
        own = recognise_phones(wave).phones if known is None else tidy(shift(known, -start_s), duration_s)
        segments.append(
            Segment(
                clip=recording.name if whole else f"{recording.name}@{start_s:.2f}",
                recording=recording if whole else replace(recording, text=None),
                start_s=start_s,
                duration_s=duration_s,
                frames=last - first,
                curves=curves,
                features=encoder.encode(wave).astype(np.float16),
                phones=own,
                phones_from=phones_from,
                prosody=prosody(wave, fps=float(VIDEO_FPS)),
                repairs=tuple(finding.name for finding in speech.report.repairs),
                warnings=(*(finding.name for finding in speech.report.warnings), *findings, *doubts),
            )
        )
    return segments


def _parts(speech: Voice, pieces: Sequence[Piece], settings: PrepareSettings) -> list[tuple[int, int, Curves | None]]:
    """First and last frame of each clip, with the curves that belong to it; too short ones are left out."""
    frames = -(-len(speech.wave) // SAMPLES)
    spans: list[tuple[int, int, Curves | None]] = [] if pieces else [(0, frames, None)]
    for piece in pieces:
        start = round(piece.start_s * VIDEO_FPS)
        spans.append((start, min(frames, start + len(piece.curves.clip)), piece.curves))
    longest, shortest = int(settings.longest_s * VIDEO_FPS), settings.shortest_s * VIDEO_FPS
    return [
        (start + first, start + last, curves.between(first, last) if curves else None)
        for start, end, curves in spans
        if end - start >= shortest
        for first, last in cut_at_pauses(speech.wave[start * SAMPLES : end * SAMPLES], end - start, longest)
        if last - first >= shortest
    ]


# A shard: segments become tensors and entries, each with its motion and the text that says it.

IDLE_CHANNELS = tuple(sorted(i for group in IDLE_GROUPS for i in ARKIT.groups[group]))
"""Channels of the tensor `idle`: those that blinks, gaze and sway move."""
PHONES = (SILENCE, *sorted(set(ARPABET) - {SILENCE}))
"""Names of the phones by the number under which they are stored."""


@dataclass(frozen=True)
class Plan:
    """What every job of a corpus needs to know: folders, settings, the motion space, neutral faces."""

    source: Path
    shards: Path
    tracks: Path
    settings: PrepareSettings
    space: str
    neutrals: Neutrals


class _Tensors:
    """Rows that grow clip by clip."""

    def __init__(self) -> None:
        self.rows: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, array: np.ndarray) -> int:
        """Append rows and give the number of the first."""
        at = self.length(name)
        self.rows.setdefault(name, []).append(array)
        return at

    def length(self, name: str) -> int:
        return sum(map(len, self.rows.get(name, ())))


def assemble(
    segments: Sequence[Segment], plan: Plan, split: str, shard: str
) -> tuple[dict[str, np.ndarray], tuple[ClipEntry, ...], tuple[ScriptEntry, ...]]:
    """Tensors, clips and their own scripts of a shard.

    Tensors: features (rows, dim) and prosody (rows, 3: F0 in Hz or 0, voiced 0 or 1, level in dB), motion
    (rows, channels), idle (rows, IDLE_CHANNELS) as float16; phones (rows,) int16 with phone_times (rows, 2) float32 in
    seconds; syllables (rows, 2: time in seconds, strength) float32; present (clips, channels) uint8.
    """
    own = {segment.clip: _own_scripts(segment, plan) for segment in segments}
    performed = [segment.clip for segment in segments if segment.curves is None]
    groups = max(len(performed) // plan.settings.group, 1)  # parts of one recording are put into different groups
    tensors, clips, scripts = _Tensors(), [], []
    for row, segment in enumerate(segments):
        clip = segment.clip
        group = performed[performed.index(clip) % groups :: groups] if clip in performed else []
        shown = (*own[clip], *(script for other in group if other != clip for script in own[other]))
        clips.append(_store(tensors, segment, shown, len(own[clip]), plan, split, shard, row))
        for s in own[clip]:
            units, strengths = tuple(s.action_units), tuple(map(float, s.action_units.values()))
            labels = (s.kind, s.emotion, s.level, units, strengths, s.seed)
            scripts.append(ScriptEntry(s.name, clip, split, *labels, s.texts))
    return {name: np.concatenate(parts) for name, parts in tensors.rows.items()}, tuple(clips), tuple(scripts)


def _own_scripts(segment: Segment, plan: Plan) -> tuple[Script, ...]:
    recording, settings = segment.recording, plan.settings
    label, words = (recording.emotion, recording.level), Words(settings.texts, recording.gender)
    digest = np.frombuffer(hashlib.sha256(segment.clip.encode()).digest(), np.uint32)
    rng = np.random.default_rng(np.random.SeedSequence([settings.seed, *map(int, digest)]))
    caption = Instruction.parse(recording.caption) if recording.caption else None
    if segment.curves is not None:
        arkit = plan.space == ARKIT.name
        units = measure_units(segment.curves, plan.neutrals[recording.face]) if arkit else {}
        return (measured_script(segment.clip, *label, units, caption, words, rng),)
    drawn = draw_scripts(segment.clip, *label, settings.scripts, words, rng)
    if caption is None or not (caption.emotion or caption.action_units):
        return drawn  # the performer cannot carry out a caption of which nothing is understood
    return (caption_script(segment.clip, caption, words, rng), *drawn[1:])


def _store(
    tensors: _Tensors,
    segment: Segment,
    scripts: tuple[Script, ...],
    own: int,
    plan: Plan,
    split: str,
    shard: str,
    row: int,
) -> ClipEntry:
    """Add a segment's rows to the tensors and say where they lie."""
    recording, curves, spoken = segment.recording, segment.curves, segment.prosody
    motion_at, idle_at = tensors.length("motion"), -1
    if curves is not None:
        tensors.add("motion", curves.clip.values.astype(np.float16))
    elif spoken is not None:
        idle_at = tensors.length("idle")
        performer_settings = PerformerSettings(fps=float(VIDEO_FPS))
        performer = Performer(segment.phones, spoken, segment.duration_s, performer_settings)
        for script in scripts:
            full, still = performer.perform_with_still(script.instruction(), script.seed)
            tensors.add("motion", still.values.astype(np.float16))
            tensors.add("idle", (full.values - still.values)[:, IDLE_CHANNELS].astype(np.float16))
    present = np.ones(len(SPACES[plan.space]), bool) if curves is None else curves.present
    tensors.add("present", present[None].astype(np.uint8))
    at: dict[str, Any] = dict.fromkeys(("features_at", "frames_at", "phones_at", "syllables_at"), 0)
    if segment.features is not None and spoken is not None:
        curve_rows = np.stack([spoken.f0_hz, spoken.voiced, spoken.energy_db], axis=1).astype(np.float16)
        numbers = np.array([PHONES.index(phone.phone) for phone in segment.phones], np.int16)
        tensors.add("phone_times", np.array([phone[1:] for phone in segment.phones], np.float32))
        at = {
            "features_at": tensors.add("features", segment.features),
            "frames_at": tensors.add("prosody", curve_rows),
            "phones_at": tensors.add("phones", numbers),
            "syllables_at": tensors.add("syllables", np.array(spoken.syllables, np.float32).reshape(-1, 2)),
        }
    speech = recording.speech
    if speech is not None and speech.is_relative_to(plan.source):
        speech = speech.relative_to(plan.source)
    labels = ("speaker", "gender", "emotion", "level", "text", "language")
    own_fields = ("clip", "start_s", "duration_s", "frames", "phones_from", "repairs", "warnings")
    return ClipEntry(
        **{name: getattr(recording, name) for name in labels},
        **{name: getattr(segment, name) for name in own_fields},
        recording=recording.name,
        speech=speech.as_posix() if speech else None,
        split=split,
        motion="performed" if curves is None else "recorded" if recording.motion else "tracked",
        scripts=tuple(script.name for script in scripts),
        own=own,
        shard=shard,
        row=row,
        features=0 if segment.features is None else len(segment.features),
        phones=len(segment.phones),
        syllables=len(spoken.syllables) if spoken else 0,
        motion_at=motion_at,
        idle_at=idle_at,
        **at,
    )
