"""The performer: phones, prosody and an instruction in, ARKit motion out.

It is the procedural baseline and the source of training targets. It is a function: the same phones, instruction and
seed give the same motion, and another instruction changes only what the instruction is about, so every pairing of
speech and instruction has a true answer.

>>> clip = perform(phones, prosody, Instruction.parse("She is furious."), duration_s=3.0, seed=7)
>>> clip.values.shape
(75, 55)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import expression_targets
from avi_lib.instruction.timeline import Timeline
from avi_lib.motion.articulation import articulate
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.expression import add_beats, express
from avi_lib.motion.idle import add_blinks, add_gaze, add_head_rhythm, add_head_sway
from avi_lib.motion.manner import Manner, manner
from avi_lib.motion.space import ARKIT
from avi_lib.motion.visemes import VISEMES
from avi_lib.settings import PerformerSettings
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import Prosody


def _columns(*names: str) -> list[int]:
    """Channel positions of two-sided or single names."""
    wanted = {f"{name}{side}" for name in names for side in ("", "Left", "Right")}
    return [i for i, channel in enumerate(ARKIT.channels) if channel in wanted]


_OPENERS = _columns("mouthLowerDown", "mouthUpperUp")
_PRESSERS = _columns("mouthPress", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper")
_CORNERS = _columns("mouthSmile", "mouthFrown", "mouthStretch", "mouthDimple")
_SMILE = _columns("mouthSmile")
_ROUNDED = _columns("mouthPucker", "mouthFunnel")

IDLE_GROUPS = ("blink", "gaze", "head")
"""Groups of channels that idle behaviour moves."""


class Performer:
    """A recording made ready to be performed under any number of instructions.

    phones cover the recording (at least one); prosody gives the beats and the loudness. Raises InputError when there
    are no phones.
    """

    def __init__(
        self, phones: Sequence[Phone], prosody: Prosody, duration_s: float, settings: PerformerSettings | None = None
    ) -> None:
        self.settings = settings or PerformerSettings()
        self._mouth = articulate(phones, duration_s, self.settings.fps)
        self._sounds = _sounds(phones)
        self._beats = prosody.beats() if self.settings.beats else ()
        self._gain = _loudness_gain(prosody, len(self._mouth.values), self.settings)

    def __len__(self) -> int:
        """Frames of the recording."""
        return len(self._gain)

    def perform(self, instruction: Instruction, seed: int) -> MotionClip:
        """Motion (ceil(duration_s * fps), 55) in the ARKIT space at `settings.fps`.

        Every random choice comes from `seed`, each part of the behaviour from its own stream, so that switching one
        off leaves the others as they were.
        """
        return self.perform_with_still(instruction, seed)[0]

    def perform_with_still(self, instruction: Instruction, seed: int) -> tuple[MotionClip, MotionClip]:
        """The motion, and the same without blinks, gaze and sway; they differ in the channels of `IDLE_GROUPS` only."""
        fps = self.settings.fps
        rng = _streams(seed)
        how = manner(instruction.emotion, instruction.level)
        targets = expression_targets(instruction)
        face = express(targets, self._sounds, self._beats, len(self._gain), fps, rng["expression"])
        speech = self._mouth.values * (how.articulation * self._gain)[:, None]
        values = _join(speech, face, self._mouth.closure)
        nod, shake = (instruction.action_units.get(f"head_{unit}", 0.0) for unit in ("nod", "shake"))
        add_head_rhythm(values, fps, rng["rhythm"], nod=nod, shake=shake)
        if self.settings.beats:
            add_beats(values, self._beats, fps, nod=how.nod, brow=how.brow)
        still = MotionClip(ARKIT.limited(values), fps, ARKIT)
        self._add_idle(values, instruction, how, rng)
        return MotionClip(ARKIT.limited(values), fps, ARKIT), still

    def perform_timeline(self, timeline: Timeline, seed: int) -> MotionClip:
        """Motion under a timeline: performances of its instructions that fade into one another."""
        values = np.zeros((len(self), len(ARKIT)), np.float32)
        weights = timeline.weights(len(self), self.settings.fps)
        for weight, instruction in zip(weights.T, timeline.instructions, strict=True):
            values += weight[:, None] * self.perform(instruction, seed).values
        return MotionClip(values, self.settings.fps, ARKIT)

    def idle(self, instruction: Instruction, seed: int) -> Float32[np.ndarray, "frames 55"]:
        """What blinks, gaze and sway add to a face whoever moves it, in the channels of `IDLE_GROUPS` only."""
        full, still = self.perform_with_still(instruction, seed)
        return full.values - still.values

    def rhythm(self, instruction: Instruction, seed: int) -> Float32[np.ndarray, "frames 55"]:
        """What the nods and shakes that are asked for add to the head; when they come cannot be told from speech."""
        added = np.zeros((len(self._gain), len(ARKIT)), np.float32)
        nod, shake = (instruction.action_units.get(f"head_{unit}", 0.0) for unit in ("nod", "shake"))
        add_head_rhythm(added, self.settings.fps, _streams(seed)["rhythm"], nod=nod, shake=shake)
        return added

    def _add_idle(
        self,
        values: Float32[np.ndarray, "frames 55"],
        instruction: Instruction,
        how: Manner,
        rng: Mapping[str, np.random.Generator],
    ) -> None:
        fps, units = self.settings.fps, instruction.action_units
        if self.settings.sway:
            add_head_sway(values, fps, rng["sway"], how.sway)
        if self.settings.gaze:
            add_gaze(values, fps, rng["gaze"], how.restlessness)
        if self.settings.blinks:
            rate = (1.0 + 1.6 * units.get("blink_more", 0.0)) * (1.0 - 0.8 * units.get("blink_less", 0.0))
            add_blinks(values, fps, rng["blinks"], rate * how.blinks_per_minute)


def perform(
    phones: Sequence[Phone],
    prosody: Prosody,
    instruction: Instruction,
    duration_s: float,
    seed: int,
    settings: PerformerSettings | None = None,
) -> MotionClip:
    """Motion of one instruction over one recording: `Performer(...).perform(instruction, seed)`."""
    return Performer(phones, prosody, duration_s, settings).perform(instruction, seed)


def _streams(seed: int) -> dict[str, np.random.Generator]:
    spawned = np.random.SeedSequence(seed).spawn(len(_STREAMS))
    return {name: np.random.default_rng(stream) for name, stream in zip(_STREAMS, spawned, strict=True)}


_STREAMS = ("expression", "rhythm", "sway", "gaze", "blinks")


def _sounds(phones: Sequence[Phone]) -> tuple[float, float]:
    """Times of the first and the last sound; an unspeaking clip counts as sounding from its start to its end."""
    spoken = [phone for phone in phones if phone.phone in VISEMES] or list(phones)
    if not spoken:
        raise InputError("phones that cover the recording", "none", "pass one SIL for a silent recording")
    return spoken[0].start_s, spoken[-1].end_s


def _loudness_gain(prosody: Prosody, frames: int, settings: PerformerSettings) -> Float32[np.ndarray, " frames"]:
    """Factor on articulation (frames,): a little more where the voice is louder than its median."""
    relative_db = prosody.energy_db - np.median(prosody.energy_db[prosody.voiced]) if prosody.voiced.any() else 0.0
    louder = np.clip(np.broadcast_to(relative_db, prosody.energy_db.shape) / 20.0, -0.5, 0.5)
    gain = 1.0 + settings.loudness_widens * louder
    heard_s = (np.arange(len(gain)) + 0.5) / prosody.fps
    return np.interp((np.arange(frames) + 0.5) / settings.fps, heard_s, gain).astype(np.float32)


def _join(
    speech: Float32[np.ndarray, "frames 55"],
    face: Float32[np.ndarray, "frames 55"],
    closure: Float32[np.ndarray, " frames"],
) -> Float32[np.ndarray, "frames 55"]:
    """One face from speech and expression: each gives way where the other needs the lips."""
    values = speech.copy()
    rounded = np.clip(speech[:, ARKIT.index("mouthPucker")] / 0.5, 0.0, 1.0)
    ajar = np.clip(speech[:, ARKIT.index("jawOpen")] / 0.3, 0.0, 1.0)
    yielding = np.ones_like(face)
    yielding[:, _CORNERS] = (1.0 - 0.6 * np.maximum(rounded, 0.5 * closure))[:, None]
    yielding[:, _PRESSERS] = (1.0 - 0.8 * ajar)[:, None]
    yielding[:, ARKIT.index("jawOpen")] = 1.0 - 0.5 * ajar
    values += face * yielding
    smiling = values[:, _SMILE].mean(axis=1)
    values[:, _ROUNDED] *= (1.0 - 0.25 * np.clip(smiling, 0.0, 1.0))[:, None]
    values[:, _OPENERS] *= (1.0 - closure)[:, None]
    values[:, ARKIT.index("mouthFunnel")] *= 1.0 - 0.8 * closure
    values[:, ARKIT.index("mouthClose")] += closure * values[:, ARKIT.index("jawOpen")]
    return values
