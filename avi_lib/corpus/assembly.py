"""Assembly: drafts become the tensors and entries of a shard, each with its motion and the text that says it.

Clips without real motion are performed. They are put into groups, and every clip of a group performs the scripts of
all: perform(speech i, script j) exists for every pair, so a model that is asked to exchange the styles of two clips
can be told the true answer (DESIGN, decision 2).

>>> arrays, clips, scripts = assemble(drafts, settings, neutrals={}, place=Place(source, ARKIT, "0a1b2c"))
>>> arrays["motion"].shape, clips[0].scripts
((18240, 55), ('a/0', 'a/1', 'a/2', 'b/0', ...))
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.drafts import Draft
from avi_lib.corpus.entries import ClipEntry, ScriptEntry
from avi_lib.corpus.measure import measure_units
from avi_lib.corpus.scripts import Script, Words, caption_script, draw_scripts, measured_script
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.performer import IDLE_GROUPS, Performer
from avi_lib.motion.space import ARKIT, MotionSpace
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.cutting import FPS
from avi_lib.speech.phones import ARPABET, SILENCE

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
        **_heard(tensors, draft),
    )


def _perform(tensors: _Tensors, draft: Draft, scripts: Iterable[Script]) -> None:
    """Add the motion of every script, and what idle behaviour adds to it."""
    assert draft.prosody is not None, "a draft without motion has sound"
    settings = PerformerSettings(fps=float(FPS))
    performer = Performer(draft.phones, draft.prosody, draft.duration_s, settings)
    for script in scripts:
        full, still = performer.perform_with_still(script.instruction(), script.seed)
        tensors.add("motion", still.values.astype(np.float16))
        tensors.add("idle", (full.values - still.values)[:, IDLE_CHANNELS].astype(np.float16))


def _below(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.as_posix()


def _heard(tensors: _Tensors, draft: Draft) -> dict[str, int]:
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
