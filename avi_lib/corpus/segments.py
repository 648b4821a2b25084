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
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32

from avi_lib.corpus.dataset import ClipEntry, tensor_name
from avi_lib.corpus.layouts import Recording
from avi_lib.corpus.measure import measure_units
from avi_lib.corpus.scripts import Script, ScriptWriter
from avi_lib.errors import InputError
from avi_lib.face import tracking
from avi_lib.files import Place, cached, file_sha256
from avi_lib.instruction.instruction import Instruction
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.performer import IDLE_GROUPS, Performer
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.decode import decode_sound
from avi_lib.speech.encoders import RATE_HZ, SpeechEncoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import ARPABET, SILENCE, Phone, align_phones, recognise_phones, shift, tidy
from avi_lib.speech.prosody import Prosody, prosody
from avi_lib.speech.voice import SAMPLES, VIDEO_FPS, Voice, cut_at_pauses, cut_evenly

# Real motion of a recording: read from its own file, or tracked in its video and kept.

Neutrals = Mapping[str, Float32[np.ndarray, " channels"]]
"""Neutral faces that real motion is measured against, by `Recording.face`."""


def motion_of(
    recording: Recording, tracks: Place, digests: Mapping[Path, str]
) -> tuple[tuple[MotionClip, ...], tuple[str, ...]]:
    """Real motion in pieces without a gap, none without a motion file or video, and names of what tracking noted.

    Tracked motion is kept in `tracks` by the SHA-256 of the files, `digests`, so that no video is tracked twice. Raises
    InputError for a file that cannot be used, AssetError where tracking is not possible on this machine.
    """
    if recording.motion is not None:
        return (recording.motion.read(recording.motion.path),), ()
    video = recording.video
    if video is None:
        return (), ()
    sound = recording.speech if recording.speech != video else None

    def track() -> dict[str, np.ndarray]:
        track = tracking.track_video(video, sound=sound)
        arrays = {f"values{i}": piece.values for i, piece in enumerate(track.pieces)}
        arrays |= {f"present{i}": piece.present for i, piece in enumerate(track.pieces)}
        arrays["times"] = np.array([[piece.start_s, piece.fps] for piece in track.pieces])
        return arrays | {"findings": np.frombuffer(json.dumps(track.report.findings()).encode(), np.uint8)}

    kept = cached(tracks, [digests[video], digests[sound] if sound else "", tracker_digest()], track)
    pieces = (
        MotionClip(kept[f"values{i}"], fps, ARKIT, kept[f"present{i}"], start_s)
        for i, (start_s, fps) in enumerate(kept["times"].tolist())
    )
    return tuple(pieces), tuple(json.loads(kept["findings"].tobytes()))


@cache
def tracker_digest() -> str:
    """SHA-256 of the tracker: its model and the code that runs it."""
    code = (Path(inspect.getfile(part)) for part in (tracking.track_video, tracking.read_pictures, decode_sound))
    files = (*sorted(resolve("face-landmarker").files.values()), *code)
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


# Segments: a recording cut into clips, with everything but the motion that is performed.

LONGEST_RECORDING_MIN = 30.0  # longer recordings are refused: a worker holds one of them in memory
LOOSE_END_S = 0.25
"""Sound that goes on this little longer than the motion does not make the clip a part of its recording."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A recording or a part of it before its motion is performed: `entry` lacks scripts, split and shard.

    `features` (frames50, dim) at 50 a second and `prosody` are None for motion without sound, `curves` at 25 a second
    for sound without motion.
    """

    entry: ClipEntry
    recording: Recording
    curves: MotionClip | None
    features: Float16[np.ndarray, "features dim"] | None = None
    phones: tuple[Phone, ...] = ()
    prosody: Prosody | None = None


def make_segments(
    recording: Recording,
    encoder: SpeechEncoder,
    settings: PrepareSettings,
    pieces: Sequence[MotionClip] = (),
    findings: Sequence[str] = (),
) -> list[Segment]:
    """The clips of a recording with its motion and findings, see `motion_of`; without motion they are to be performed.

    Raises InputError when the sound cannot be used or nothing long enough is left.
    """
    speech = load_voice(recording.speech, LONGEST_RECORDING_MIN) if recording.speech else None
    known, phones_from, doubts = None, "speech" if speech else "none", list[str]()  # recognised where not known
    if speech is not None and recording.phones is not None:
        known, phones_from = recording.phones, "corpus"
    elif speech is not None and recording.language != "en":
        doubts = ["phones_of_another_language"]
    elif speech is not None and recording.text is not None:
        track = align_phones(speech.wave, recording.text)
        known, phones_from, doubts = track.phones, "text", ["text_doubtful"] if track.warning else []
    report = speech.report if speech else None
    segments = []
    for first, last, length, curves in _parts(speech, pieces, settings):
        samples = min(last * SAMPLES, length) - first * SAMPLES
        start_s, duration_s = first / VIDEO_FPS, samples / RATE_HZ
        whole = first == 0 and length - samples < LOOSE_END_S * RATE_HZ
        features, spoken = None, None
        phones: tuple[Phone, ...] = ()
        if speech is not None:
            wave = speech.wave[first * SAMPLES : last * SAMPLES]
            features, spoken = encoder.encode(wave).astype(np.float16), prosody(wave, fps=float(VIDEO_FPS))
            phones = recognise_phones(wave).phones if known is None else tidy(shift(known, -start_s), duration_s)
        mended, noted = (curves.repairs, curves.warnings) if curves else ((), ())
        heard = [finding.name for finding in report.warnings] if report else []
        entry = ClipEntry(
            **{name: getattr(recording, name) for name in ("speaker", "gender", "emotion", "level", "language")},
            clip=recording.name if whole else f"{recording.name}@{start_s:.2f}",
            recording=recording.name,
            speech=recording.speech.as_posix() if recording.speech else None,
            start_s=start_s,
            duration_s=duration_s,
            split=recording.split or "",
            text=recording.text if whole else None,
            motion="performed" if curves is None else "recorded" if recording.motion else "tracked",
            phones_from=phones_from,
            scripts=(),
            own=0,
            repairs=tuple(finding.name for finding in (*(report.repairs if report else ()), *mended)),
            warnings=(*heard, *findings, *doubts, *dict.fromkeys(finding.name for finding in noted)),
            shard="",
            frames=last - first,
            features=0 if features is None else len(features),
        )
        segments.append(Segment(entry, recording, curves, features, phones, spoken))
    if not segments:
        got = "nothing so long in it" + (" with both sound and motion" if pieces and speech else "")
        raise InputError(f"at least {settings.shortest_s:g} s", got, "record a longer take")
    return segments


def _parts(
    speech: Voice | None, pieces: Sequence[MotionClip], settings: PrepareSettings
) -> list[tuple[int, int, int, MotionClip | None]]:
    """Of each clip that is long enough first and last frame, the samples of all it is cut from, and its curves."""
    spans: list[tuple[int, int, MotionClip | None]] = []
    for piece in pieces:
        start, moving = round(piece.start_s * VIDEO_FPS), piece.at_fps(float(VIDEO_FPS))
        spans.append((start, start + len(moving), moving))
    if speech is not None:
        frames = -(-len(speech.wave) // SAMPLES)
        spans = [(start, min(frames, end), curves) for start, end, curves in spans] or [(0, frames, None)]
    longest, shortest = int(settings.longest_s * VIDEO_FPS), settings.shortest_s * VIDEO_FPS
    parts = []
    for start, end, curves in spans:
        if end - start < shortest:
            continue
        if speech is None:
            length, cuts = end * SAMPLES, cut_evenly(end - start, longest)
        else:
            wave = speech.wave[start * SAMPLES : end * SAMPLES]
            length, cuts = len(speech.wave), cut_at_pauses(wave, end - start, longest)
        for first, last in cuts:
            if last - first >= shortest:
                parts.append((start + first, start + last, length, curves.at(range(first, last)) if curves else None))
    return parts


# A shard: segments become tensors and entries, each with its motion and the text that says it.

IDLE_CHANNELS = tuple(sorted(i for group in IDLE_GROUPS for i in ARKIT.groups[group]))
"""Channels of the tensor `idle`: those that blinks, gaze and sway move."""
PHONES = (SILENCE, *sorted(set(ARPABET) - {SILENCE}))  # names of the phones by the number under which they are stored


@dataclass(frozen=True)
class Plan:
    """What every job of a corpus needs to know: source, the corpus' folder, settings, motion space, neutral faces."""

    source: Path
    folder: Place
    settings: PrepareSettings
    space: str
    neutrals: Neutrals


def assemble(
    segments: Sequence[Segment], plan: Plan, split: str, shard: str
) -> tuple[dict[str, np.ndarray], tuple[ClipEntry, ...], tuple[Script, ...]]:
    """Tensors of a shard, see `tensor_name`, its clips and their own scripts."""
    own = {segment.entry.clip: _own_scripts(segment, plan, split) for segment in segments}
    performed = [segment.entry.clip for segment in segments if segment.curves is None]
    groups = max(len(performed) // plan.settings.group, 1)  # parts of one recording are put into different groups
    tensors: dict[str, np.ndarray] = {}
    clips = []
    for segment in segments:
        entry, curves, spoken = segment.entry, segment.curves, segment.prosody
        scripts: tuple[Script, ...] = own[entry.clip]
        made: dict[str, Any] = {}
        if spoken is not None:
            made = {
                "features": np.asarray(segment.features, np.float16),
                "prosody": np.stack([spoken.f0_hz, spoken.voiced, spoken.energy_db], axis=1).astype(np.float16),
                "phones": np.array([PHONES.index(phone.phone) for phone in segment.phones], np.int16),
                "phone_times": np.array([phone[1:] for phone in segment.phones], np.float32),
                "syllables": np.reshape(spoken.syllables, (-1, 2)).astype(np.float32),
            }
        if curves is not None:
            made |= {"motion": curves.values[None].astype(np.float16), "present": curves.present}
        elif spoken is not None:
            number = performed.index(entry.clip)
            others = (clip for clip in performed[number % groups :: groups] if clip != entry.clip)
            scripts += tuple(script for other in others for script in own[other])
            settings = PerformerSettings(fps=float(VIDEO_FPS))
            performer = Performer(segment.phones, spoken, entry.duration_s, settings)
            shown = [performer.perform_with_still(script.instruction(), script.seed) for script in scripts]
            idle = [(full.values - still.values)[:, IDLE_CHANNELS] for full, still in shown]
            made["motion"] = np.stack([still.values for _, still in shown]).astype(np.float16)
            made |= {"idle": np.stack(idle).astype(np.float16), "present": np.ones(len(ARKIT), bool)}
        tensors |= {tensor_name(entry.clip, what): array for what, array in made.items()}
        speech, names = entry.speech, tuple(script.script for script in scripts)
        if speech is not None and Path(speech).is_relative_to(plan.source):
            speech = Path(speech).relative_to(plan.source).as_posix()
        clips.append(replace(entry, speech=speech, split=split, scripts=names, own=len(own[entry.clip]), shard=shard))
    return tensors, tuple(clips), tuple(script for scripts in own.values() for script in scripts)


def _own_scripts(segment: Segment, plan: Plan, split: str) -> tuple[Script, ...]:
    entry, recording, settings = segment.entry, segment.recording, plan.settings
    digest = np.frombuffer(hashlib.sha256(entry.clip.encode()).digest(), np.uint32)
    rng = np.random.default_rng(np.random.SeedSequence([settings.seed, *map(int, digest)]))
    writer = ScriptWriter(entry.clip, split, entry.emotion, entry.level, entry.gender, settings.texts, rng)
    caption = Instruction.parse(recording.caption) if recording.caption else None
    if segment.curves is not None:
        arkit = plan.space == ARKIT.name
        units = measure_units(segment.curves, plan.neutrals[recording.face]) if arkit else {}
        return (writer.of_motion(units, caption),)
    drawn = writer.draw(settings.scripts)
    if caption is None or not (caption.emotion or caption.action_units):
        return drawn  # the performer cannot carry out a caption of which nothing is understood
    return (writer.of_caption(caption), *drawn[1:])
