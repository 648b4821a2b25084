"""Drafts: a recording heard and cut into clips, with everything but the motion it will be given.

>>> drafts = make_drafts(recording, encoder, settings, split="train", motion=Motion())
>>> drafts[0].features.shape, len(drafts[0].phones)
((96, 384), 21)
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from avi_lib.corpus.layouts import Recording
from avi_lib.corpus.measure import measure_units
from avi_lib.corpus.scripts import Script, Words, caption_script, draw_scripts, measured_script
from avi_lib.corpus.shards import ClipEntry, ScriptEntry
from avi_lib.errors import InputError
from avi_lib.face import tracking
from avi_lib.face import tracking as landmarker
from avi_lib.face import tracking as video
from avi_lib.files import atomic_path, file_sha256
from avi_lib.instruction.instruction import Instruction
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, Curves, MotionClip, MotionSpace, Piece
from avi_lib.motion.performer import IDLE_GROUPS, Performer
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.encoders import SpeechEncoder
from avi_lib.speech.loading import RATE_HZ, Speech, load_speech
from avi_lib.speech.phones import ARPABET, SILENCE, Phone, align_phones, recognise_phones, shift, tidy
from avi_lib.speech.prosody import Prosody, prosody
from avi_lib.speech.voice import SAMPLES, VIDEO_FPS, cut_at_pauses, cut_evenly

# Motion of a recording: read from its own file, or tracked in its video and kept, so that no video is tracked twice.


SAMPLED = 64
"""Frames of a recording that its speaker's neutral face is found from."""


@dataclass(frozen=True)
class Motion:
    """Real motion of a recording in pieces without a gap, and what was noted when it was tracked, by name."""

    pieces: tuple[Piece, ...] = ()
    findings: tuple[str, ...] = ()


def motion_of(recording: Recording, tracks: Path, digests: Mapping[Path, str]) -> Motion:
    """Real motion of a recording, none when it has neither a motion file nor a video.

    tracks: folder where what was tracked is kept under the video's digest, which `digests` holds.
    Raises InputError where the file cannot be used, AssetError where tracking is not possible on this machine.
    """
    if recording.motion is not None:
        return Motion((Piece(0.0, recording.motion.read(recording.motion.path)),))
    if recording.video is None:
        return Motion()
    sound = recording.speech if recording.speech != recording.video else None
    parts = (digests[recording.video], digests[sound] if sound else "", tracker_digest())
    address = hashlib.sha256("/".join(parts).encode()).hexdigest()
    kept = tracks / f"{address[:32]}.safetensors"
    motion = _load(kept)
    if motion is None:
        track = tracking.track_video(recording.video, sound=sound)
        motion = Motion(track.pieces, track.report.findings())
        _save(kept, motion)
    return motion


def sample_frames(motion: Motion) -> tuple[Float16[np.ndarray, "frames channels"], Bool[np.ndarray, " channels"]]:
    """Up to `SAMPLED` frames spread evenly over a recording's motion, and which channels it has."""
    values = np.concatenate([piece.curves.clip.values for piece in motion.pieces])
    picks = np.unique(np.linspace(0, len(values) - 1, SAMPLED).round().astype(int))
    return values[picks].astype(np.float16), np.all([piece.curves.present for piece in motion.pieces], axis=0)


@cache
def tracker_digest() -> str:
    """SHA-256 of the tracker: its model and the code that runs it."""
    code = (Path(inspect.getfile(module)) for module in (tracking, landmarker, video))
    files = (*sorted(resolve("face-landmarker").files.values()), *code)
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


def _save(path: Path, motion: Motion) -> None:
    arrays = {f"values{i}": piece.curves.clip.values for i, piece in enumerate(motion.pieces)}
    arrays |= {f"present{i}": piece.curves.present.astype(np.uint8) for i, piece in enumerate(motion.pieces)}
    pieces = [[piece.start_s, piece.curves.clip.fps] for piece in motion.pieces]
    header = json.dumps({"pieces": pieces, "findings": motion.findings})
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, metadata={"motion": header}))


def _load(path: Path) -> Motion | None:
    """What was kept, None when there is nothing whole."""
    try:
        with safe_open(path, "np") as stored:
            header = json.loads((stored.metadata() or {})["motion"])
            pieces = []
            for i, (start_s, fps) in enumerate(header["pieces"]):
                clip = MotionClip(stored.get_tensor(f"values{i}"), fps, ARKIT)
                pieces.append(Piece(start_s, Curves(clip, stored.get_tensor(f"present{i}").astype(bool))))
        return Motion(tuple(pieces), tuple(header["findings"]))
    except (OSError, SafetensorError, KeyError, ValueError, InputError):
        return None


LONGEST_RECORDING_MIN = 30.0
"""Longer recordings are refused: a worker holds one of them in memory."""
LOOSE_END_S = 0.25
"""Sound that goes on this little longer than the motion does not make the clip a part of its recording."""


@dataclass(frozen=True, eq=False)
class Draft:
    """A clip that waits for its motion.

    `features` (frames50, dim) at 50 a second and `prosody` are None for motion without sound, `curves` at 25 a second
    for sound without motion. The clip has `frames` video frames. `repairs` and `warnings` are names of findings.
    """

    clip: str
    recording: Recording
    split: str
    start_s: float
    duration_s: float
    frames: int
    features: Float16[np.ndarray, "features dim"] | None
    phones: tuple[Phone, ...]
    phones_from: str
    prosody: Prosody | None
    curves: Curves | None
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def make_drafts(
    recording: Recording, encoder: SpeechEncoder, settings: PrepareSettings, split: str, motion: Motion
) -> list[Draft]:
    """The clips of a recording; `motion` is empty for one that is to be performed.

    Raises InputError when the sound cannot be used or nothing long enough is left.
    """
    still = [Piece(piece.start_s, piece.curves.at_fps(float(VIDEO_FPS))) for piece in motion.pieces]
    if recording.speech is None:
        drafts = [draft for piece in still for draft in _silent(recording, piece, settings, split, motion.findings)]
    else:
        speech = load_speech(recording.speech, LONGEST_RECORDING_MIN)
        spoken = _spoken(recording, speech)
        drafts = [
            _heard(recording, speech, spoken, encoder, split, first, last, curves, motion.findings)
            for first, last, curves in _parts(speech, still, settings, performed=not motion.pieces)
        ]
    if not drafts:
        got = "nothing so long in it" + (" with both sound and motion" if motion.pieces and recording.speech else "")
        raise InputError(f"at least {settings.shortest_s:g} s", got, "record a longer take")
    return drafts


def _parts(
    speech: Speech, pieces: Sequence[Piece], settings: PrepareSettings, performed: bool
) -> list[tuple[int, int, Curves | None]]:
    """First and last frame of each clip, with the curves that belong to it; too short ones are left out."""
    frames = -(-len(speech.wave) // SAMPLES)
    spans: list[tuple[int, int, Curves | None]] = [(0, frames, None)]
    if not performed:
        starts = [round(piece.start_s * VIDEO_FPS) for piece in pieces]
        spans = [
            (start, min(frames, start + len(piece.curves.clip)), piece.curves)
            for start, piece in zip(starts, pieces, strict=True)
        ]
    longest, shortest = int(settings.longest_s * VIDEO_FPS), settings.shortest_s * VIDEO_FPS
    parts: list[tuple[int, int, Curves | None]] = []
    for start, end, curves in spans:
        if end - start < shortest:
            continue
        for first, last in cut_at_pauses(speech.wave[start * SAMPLES : end * SAMPLES], end - start, longest):
            if last - first >= shortest:
                parts.append((start + first, start + last, curves.between(first, last) if curves else None))
    return parts


def _silent(
    recording: Recording, piece: Piece, settings: PrepareSettings, split: str, findings: tuple[str, ...]
) -> list[Draft]:
    drafts = []
    for first, last in cut_evenly(len(piece.curves.clip), int(settings.longest_s * VIDEO_FPS)):
        if last - first >= settings.shortest_s * VIDEO_FPS:
            start_s = piece.start_s + first / VIDEO_FPS
            whole = piece.start_s == 0 and last - first == len(piece.curves.clip)
            curves = piece.curves.between(first, last)
            name = recording.name if whole else f"{recording.name}@{start_s:.2f}"
            drafts.append(
                Draft(
                    clip=name,
                    recording=recording,
                    split=split,
                    start_s=start_s,
                    duration_s=(last - first) / VIDEO_FPS,
                    frames=last - first,
                    features=None,
                    phones=(),
                    phones_from="none",
                    prosody=None,
                    curves=curves,
                    warnings=findings,
                )
            )
    return drafts


@dataclass(frozen=True)
class _Spoken:
    """Phones of a part of a recording or of the whole, where they come from, and doubts about them."""

    phones: tuple[Phone, ...]
    source: str
    doubts: tuple[str, ...] = ()

    def part(self, start_s: float, duration_s: float) -> _Spoken:
        return replace(self, phones=tidy(shift(self.phones, -start_s), duration_s))


def _spoken(recording: Recording, speech: Speech) -> _Spoken | None:
    """Phones of the whole recording where the corpus has them or a text to align; None where they are recognised."""
    if recording.phones is not None:
        return _Spoken(recording.phones, "corpus")
    if recording.text is not None and recording.language == "en":
        track = align_phones(speech.wave, recording.text)
        return _Spoken(track.phones, "text", ("text_doubtful",) if track.warning else ())
    return None


def _recognised(recording: Recording, wave: Float32[np.ndarray, " samples"]) -> _Spoken:
    doubts = () if recording.language == "en" else ("phones_of_another_language",)
    return _Spoken(recognise_phones(wave).phones, "speech", doubts)


def _heard(
    recording: Recording,
    speech: Speech,
    spoken: _Spoken | None,
    encoder: SpeechEncoder,
    split: str,
    first: int,
    last: int,
    curves: Curves | None,
    findings: tuple[str, ...],
) -> Draft:
    wave = speech.wave[first * SAMPLES : last * SAMPLES]
    whole = first == 0 and len(speech.wave) - len(wave) < LOOSE_END_S * RATE_HZ
    start_s, duration_s = first / VIDEO_FPS, len(wave) / RATE_HZ
    said = spoken.part(start_s, duration_s) if spoken else _recognised(recording, wave)
    return Draft(
        clip=recording.name if whole else f"{recording.name}@{start_s:.2f}",
        recording=recording if whole else replace(recording, text=None),
        split=split,
        start_s=start_s,
        duration_s=duration_s,
        frames=last - first,
        features=encoder.encode(wave).astype(np.float16),
        phones=said.phones,
        phones_from=said.source,
        prosody=prosody(wave, fps=float(VIDEO_FPS)),
        curves=curves,
        repairs=tuple(finding.name for finding in speech.report.repairs),
        warnings=(*(finding.name for finding in speech.report.warnings), *findings, *said.doubts),
    )


# Assembly: drafts become the tensors and entries of a shard, each with its motion and the text that says it.


IDLE_CHANNELS = tuple(sorted(i for group in IDLE_GROUPS for i in ARKIT.groups[group]))
"""Channels of the tensor `idle`: those that blinks, gaze and sway move."""

PHONES = (SILENCE, *sorted(set(ARPABET) - {SILENCE}))
"""Names of the phones by the number under which they are stored."""

_PHONE_NUMBER = {name: number for number, name in enumerate(PHONES)}


@dataclass(frozen=True)
class Place:
    """Where clips come from and where they go: the raw corpus' folder, its motion space, the shard's name."""

    source: Path
    space: MotionSpace
    shard: str


@dataclass
class _Tensors:
    """Rows that grow clip by clip."""

    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, array: np.ndarray) -> int:
        """Append rows and give the number of the first."""
        at = self.lengths.get(name, 0)
        self.rows.setdefault(name, []).append(array)
        self.lengths[name] = at + len(array)
        return at

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate(parts) for name, parts in self.rows.items()}


def assemble(
    drafts: Sequence[Draft],
    settings: PrepareSettings,
    neutrals: Mapping[str, Float32[np.ndarray, " channels"]],
    place: Place,
) -> tuple[dict[str, np.ndarray], tuple[ClipEntry, ...], tuple[ScriptEntry, ...]]:
    """Tensors, clips and their own scripts of a shard.

    neutrals: the neutral faces that real motion is measured against, ARKIT channels, by `Recording.face`.

    Tensors: features (rows, dim) and prosody (rows, 3: F0 in Hz or 0, voiced 0 or 1, level in dB), motion
    (rows, channels), idle (rows, IDLE_CHANNELS) as float16; phones (rows,) int16 with phone_times (rows, 2) float32 in
    seconds; syllables (rows, 2: time in seconds, strength) float32; present (clips, channels) uint8.
    """
    own = {draft.clip: _own_scripts(draft, settings, neutrals, place.space) for draft in drafts}
    shared = _shared_scripts(drafts, own, settings.group)
    tensors = _Tensors()
    clips = tuple(
        _store(tensors, draft, (*own[draft.clip], *shared[draft.clip]), len(own[draft.clip]), place, row)
        for row, draft in enumerate(drafts)
    )
    scripts = tuple(_script_entry(script, draft) for draft in drafts for script in own[draft.clip])
    return tensors.arrays(), clips, scripts


def clip_rng(seed: int, clip: str) -> np.random.Generator:
    """The random stream of a clip: the same whatever else is in the corpus."""
    words = np.frombuffer(hashlib.sha256(clip.encode()).digest(), np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *map(int, words)]))


def _own_scripts(
    draft: Draft,
    settings: PrepareSettings,
    neutrals: Mapping[str, Float32[np.ndarray, " channels"]],
    space: MotionSpace,
) -> tuple[Script, ...]:
    recording = draft.recording
    label, words = (recording.emotion, recording.level), Words(settings.texts, recording.gender)
    rng = clip_rng(settings.seed, draft.clip)
    caption = Instruction.parse(recording.caption) if recording.caption else None
    if draft.curves is not None:
        units = measure_units(draft.curves, neutrals[recording.face]) if space is ARKIT else {}
        return (measured_script(draft.clip, *label, units, caption, words, rng),)
    drawn = draw_scripts(draft.clip, *label, settings.scripts, words, rng)
    if caption is None or not (caption.emotion or caption.action_units):
        return drawn  # the performer cannot carry out a caption of which nothing is understood
    return (caption_script(draft.clip, caption, words, rng), *drawn[1:])


def _shared_scripts(
    drafts: Sequence[Draft], own: Mapping[str, tuple[Script, ...]], size: int
) -> dict[str, tuple[Script, ...]]:
    """For each clip the scripts of the others in its group; parts of one recording are put into different groups."""
    performed = [draft.clip for draft in drafts if draft.curves is None]
    groups = max(len(performed) // size, 1)
    shared: dict[str, tuple[Script, ...]] = {draft.clip: () for draft in drafts}
    for first in range(groups):
        members = performed[first::groups]
        for clip in members:
            shared[clip] = tuple(script for other in members if other != clip for script in own[other])
    return shared


def _store(tensors: _Tensors, draft: Draft, scripts: Iterable[Script], own: int, place: Place, row: int) -> ClipEntry:
    scripts = tuple(scripts)
    recording, curves = draft.recording, draft.curves
    motion_at, idle_at = tensors.lengths.get("motion", 0), -1
    if curves is not None:
        tensors.add("motion", curves.clip.values.astype(np.float16))
        tensors.add("present", curves.present[None].astype(np.uint8))
    else:
        idle_at = tensors.lengths.get("idle", 0)
        _perform(tensors, draft, scripts)
        tensors.add("present", np.ones((1, len(place.space)), np.uint8))
    return ClipEntry(
        clip=draft.clip,
        recording=recording.name,
        speech=_below(recording.speech, place.source) if recording.speech else None,
        start_s=draft.start_s,
        duration_s=draft.duration_s,
        speaker=recording.speaker,
        gender=recording.gender,
        split=draft.split,
        emotion=recording.emotion,
        level=recording.level,
        text=recording.text,
        language=recording.language,
        motion="performed" if curves is None else "recorded" if recording.motion else "tracked",
        phones_from=draft.phones_from,
        scripts=tuple(script.name for script in scripts),
        own=own,
        repairs=draft.repairs,
        warnings=draft.warnings,
        shard=place.shard,
        row=row,
        frames=draft.frames,
        features=0 if draft.features is None else len(draft.features),
        phones=len(draft.phones),
        syllables=len(draft.prosody.syllables) if draft.prosody else 0,
        motion_at=motion_at,
        idle_at=idle_at,
        **_heard_assembly(tensors, draft),
    )


def _perform(tensors: _Tensors, draft: Draft, scripts: Iterable[Script]) -> None:
    """Add the motion of every script, and what idle behaviour adds to it."""
    assert draft.prosody is not None, "a draft without motion has sound"
    settings = PerformerSettings(fps=float(VIDEO_FPS))
    performer = Performer(draft.phones, draft.prosody, draft.duration_s, settings)
    for script in scripts:
        full, still = performer.perform_with_still(script.instruction(), script.seed)
        tensors.add("motion", still.values.astype(np.float16))
        tensors.add("idle", (full.values - still.values)[:, IDLE_CHANNELS].astype(np.float16))


def _below(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.as_posix()


def _heard_assembly(tensors: _Tensors, draft: Draft) -> dict[str, int]:
    """Add features, prosody and phones, and say where they begin."""
    if draft.features is None or draft.prosody is None:
        return {"features_at": 0, "frames_at": 0, "phones_at": 0, "syllables_at": 0}
    heard = draft.prosody
    rows = np.stack([heard.f0_hz, heard.voiced, heard.energy_db], axis=1).astype(np.float16)
    numbers = np.array([_PHONE_NUMBER[phone.phone] for phone in draft.phones], np.int16)
    times_s = np.array([phone[1:] for phone in draft.phones], np.float32)
    syllables = np.array(heard.syllables, np.float32).reshape(-1, 2)
    tensors.add("phone_times", times_s)
    return {
        "features_at": tensors.add("features", draft.features),
        "frames_at": tensors.add("prosody", rows),
        "phones_at": tensors.add("phones", numbers),
        "syllables_at": tensors.add("syllables", syllables),
    }


def _script_entry(script: Script, draft: Draft) -> ScriptEntry:
    return ScriptEntry(
        script=script.name,
        clip=draft.clip,
        split=draft.split,
        kind=script.kind,
        emotion=script.emotion,
        level=script.level,
        units=tuple(script.action_units),
        strengths=tuple(map(float, script.action_units.values())),
        seed=script.seed,
        texts=script.texts,
    )
