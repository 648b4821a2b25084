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
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import expression_targets
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Timeline
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.expression import (
    Dynamics,
    add_beats,
    add_blinks,
    add_gaze,
    add_head_rhythm,
    add_head_sway,
    dynamics,
    express,
)
from avi_lib.settings import PerformerSettings
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import Prosody

# Visemes: what the mouth aims at for every ARPAbet phone, in ARKit blendshapes.


@dataclass(frozen=True)
class Viseme:
    """An articulatory target and how strongly and how far it pulls on its neighbours.

    targets: ARKit channel -> weight; names without Left or Right mean both sides. dominance: pull relative to a
    vowel's 1. before_s, after_s: time constants of the pull outside the phone. closure: share of the lip opening that
    is shut, 0-1.
    """

    targets: Mapping[str, float]
    dominance: float = 1.0
    before_s: float = 0.05
    after_s: float = 0.05
    closure: float = 0.0
    both_sides: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        """Spell the two-sided names out once."""
        spelled: dict[str, float] = {}
        for name, weight in self.targets.items():
            sides = [name] if name in ARKIT.channels else [f"{name}Left", f"{name}Right"]
            spelled.update(dict.fromkeys(sides, weight))
        unknown = set(spelled) - set(ARKIT.channels)
        if unknown:
            raise KeyError(f"no ARKit channel {sorted(unknown)}")
        object.__setattr__(self, "both_sides", spelled)


def _vowel(jaw: float, dominance: float = 1.0, **targets: float) -> Viseme:
    return Viseme({"jawOpen": jaw, **targets}, dominance=dominance)


def _tongue(jaw: float, dominance: float = 0.35, **targets: float) -> Viseme:
    """A consonant made by the tongue: a jaw of its own, lips mostly left to its neighbours."""
    return Viseme({"jawOpen": jaw, **targets}, dominance=dominance, before_s=0.04, after_s=0.04)


_SPREAD = {"mouthStretch": 0.10, "mouthSmile": 0.14, "mouthLowerDown": 0.14, "mouthUpperUp": 0.06}
_OPEN = {"mouthLowerDown": 0.20, "mouthUpperUp": 0.08}
_ROUND = {"mouthPucker": 0.62, "mouthFunnel": 0.24}
_SIBILANT = {"mouthLowerDown": 0.16, "mouthUpperUp": 0.08, "mouthStretch": 0.06}
_HUSH = {"mouthFunnel": 0.34, "mouthPucker": 0.16, "mouthLowerDown": 0.08}
_LABIODENTAL = {"jawOpen": 0.10, "mouthRollLower": 0.40, "mouthUpperUp": 0.14, "mouthShrugLower": 0.06}

VISEMES: dict[str, Viseme] = {
    # vowels
    "AA": _vowel(0.33, **_OPEN),
    "AE": _vowel(0.33, **_OPEN, mouthStretch=0.08, mouthSmile=0.06),
    "AH": _vowel(0.24, dominance=0.8, mouthLowerDown=0.14, mouthUpperUp=0.05),
    "AO": _vowel(0.30, mouthFunnel=0.28, mouthPucker=0.14, mouthLowerDown=0.08),
    "AW": _vowel(0.32, mouthLowerDown=0.14, mouthUpperUp=0.05, mouthFunnel=0.12),
    "AY": _vowel(0.33, **_OPEN, mouthSmile=0.06),
    "EH": _vowel(0.26, mouthLowerDown=0.18, mouthUpperUp=0.07, mouthStretch=0.08),
    "ER": _vowel(0.18, mouthFunnel=0.20, mouthPucker=0.24, mouthLowerDown=0.06),
    "EY": _vowel(0.25, **_SPREAD),
    "IH": _vowel(0.20, dominance=0.8, mouthLowerDown=0.14, mouthUpperUp=0.05, mouthStretch=0.07),
    "IY": _vowel(0.16, **_SPREAD),
    "OW": _vowel(0.26, mouthPucker=0.46, mouthFunnel=0.30),
    "OY": _vowel(0.28, mouthPucker=0.34, mouthFunnel=0.26),
    "UH": _vowel(0.17, mouthPucker=0.34, mouthFunnel=0.20),
    "UW": Viseme({"jawOpen": 0.13, **_ROUND}, before_s=0.10, after_s=0.07),
    # lips
    "B": Viseme(
        {"jawOpen": 0.14, "mouthPress": 0.12, "mouthRollLower": 0.08, "mouthRollUpper": 0.06}, 1.2, 0.04, 0.04, 1.0
    ),
    "P": Viseme(
        {"jawOpen": 0.15, "mouthPress": 0.16, "mouthRollLower": 0.10, "mouthRollUpper": 0.08}, 1.2, 0.04, 0.04, 1.0
    ),
    "M": Viseme(
        {"jawOpen": 0.16, "mouthPress": 0.10, "mouthRollLower": 0.10, "mouthRollUpper": 0.08}, 1.2, 0.04, 0.04, 1.0
    ),
    "F": Viseme(_LABIODENTAL, 1.1, 0.05, 0.05, 0.45),
    "V": Viseme({**_LABIODENTAL, "mouthRollLower": 0.32}, 1.0, 0.05, 0.05, 0.40),
    "W": Viseme({"jawOpen": 0.12, "mouthPucker": 0.74, "mouthFunnel": 0.22}, 1.0, 0.10, 0.07, 0.25),
    # teeth and tongue
    "S": _tongue(0.09, 0.7, **_SIBILANT),
    "Z": _tongue(0.10, 0.7, **_SIBILANT),
    "SH": _tongue(0.10, 0.9, **_HUSH),
    "ZH": _tongue(0.11, 0.9, **_HUSH),
    "CH": _tongue(0.10, 0.9, **_HUSH),
    "JH": _tongue(0.11, 0.9, **_HUSH),
    "TH": _tongue(0.14, 0.7, tongueOut=0.12, mouthLowerDown=0.12, mouthUpperUp=0.05),
    "DH": _tongue(0.14, 0.5, tongueOut=0.08, mouthLowerDown=0.12, mouthUpperUp=0.05),
    "T": _tongue(0.13, 0.45, mouthLowerDown=0.10),
    "D": _tongue(0.13, 0.45, mouthLowerDown=0.10),
    "N": _tongue(0.15, 0.40, mouthLowerDown=0.10),
    "L": _tongue(0.20, 0.45, mouthLowerDown=0.12),
    "R": _tongue(0.15, 0.70, mouthFunnel=0.24, mouthPucker=0.22),
    "K": _tongue(0.19, 0.30, mouthLowerDown=0.10),
    "G": _tongue(0.18, 0.30, mouthLowerDown=0.10),
    "NG": _tongue(0.19, 0.30, mouthLowerDown=0.10),
    "HH": _tongue(0.24, 0.20),
    "Y": _tongue(0.15, 0.60, mouthStretch=0.08, mouthSmile=0.10),
}

REST = Viseme({"jawOpen": 0.0}, dominance=1.2, before_s=0.05, after_s=0.06)
"""Silence: lips together, jaw up."""

READY = Viseme({"jawOpen": 0.07, "mouthLowerDown": 0.05}, dominance=0.5, before_s=0.12, after_s=0.04)
"""The lips part before the first sound."""

READY_LEAD_S = 0.45
"""How long before a sound real lips part: the median over the GRID videos."""


# Phones with times to mouth curves: coarticulation by dominance functions.


STEP_S = 0.01
"""Spacing of the grid on which dominances are summed, before sampling at the frame rate."""

REACH_S = 0.40
"""Beyond this distance a phone's pull is dropped; its dominance there is below 2 %."""

CONTACT_S = 0.05
"""Shortest lip contact: longer than a video frame, so that one frame shows it."""

CLOSING_S, OPENING_S = 0.06, 0.05
"""Times the lips take to reach and to leave contact."""

BRIEF_PAUSE_S = 0.20
"""Pauses up to this length do not return the mouth to rest."""


@dataclass(frozen=True)
class MouthCurves:
    """ARKIT values (frames, 55) before closure, and closure (frames,): the share of the lip opening that is shut."""

    values: Float32[np.ndarray, "frames channels"]
    closure: Float32[np.ndarray, " frames"]


@dataclass(frozen=True)
class _Gesture:
    viseme: Viseme
    start_s: float
    end_s: float


def articulate(phones: Sequence[Phone], duration_s: float, fps: float) -> MouthCurves:
    """Mouth curves of a phone sequence, sampled at the middle of every frame.

    The number of frames is `duration_s * fps`, rounded up. Phones that are not in `VISEMES` count as silence.
    """
    gestures = _gestures(phones)
    grid_s = np.arange(0.0, duration_s + STEP_S, STEP_S)
    dense = _blend(gestures, grid_s)
    closure = _closure(gestures, grid_s)
    middles_s = (np.arange(frame_count(duration_s, fps)) + 0.5) / fps
    picks = np.minimum(np.round(middles_s / STEP_S).astype(int), len(grid_s) - 1)
    return MouthCurves(dense[picks], closure[picks])


def frame_count(duration_s: float, fps: float) -> int:
    """Frames that cover a duration: the last one may be partly silence."""
    return max(1, int(np.ceil(duration_s * fps - 1e-6)))


def _gestures(phones: Sequence[Phone]) -> list[_Gesture]:
    """Phones and what the mouth does in silences: rest, then part ahead of the next sound."""
    gestures: list[_Gesture] = []
    for i, (phone, start_s, end_s) in enumerate(phones):
        if phone in VISEMES:
            gestures.append(_Gesture(VISEMES[phone], start_s, end_s))
            continue
        sound_follows = i + 1 < len(phones)
        sound_precedes = i > 0
        pause_s = end_s - start_s
        if sound_follows and sound_precedes and pause_s <= BRIEF_PAUSE_S:
            gestures.append(_Gesture(READY, start_s, end_s))
            continue
        lead_s = min(READY_LEAD_S, 0.6 * pause_s) if sound_follows else 0.0
        gestures.append(_Gesture(REST, start_s, end_s - lead_s))
        if lead_s:
            gestures.append(_Gesture(READY, end_s - lead_s, end_s))
    return gestures


def _blend(gestures: Sequence[_Gesture], grid_s: Float[np.ndarray, " steps"]) -> Float32[np.ndarray, "steps channels"]:
    """Mean of the targets weighted by dominance, (steps, 55)."""
    pulled = np.zeros((len(grid_s), len(ARKIT)))
    total = np.zeros(len(grid_s))
    for gesture in gestures:
        viseme = gesture.viseme
        first = max(0, int((gesture.start_s - REACH_S) / STEP_S))
        last = min(len(grid_s), int((gesture.end_s + REACH_S) / STEP_S) + 1)
        times_s = grid_s[first:last]
        before = np.maximum(gesture.start_s - times_s, 0.0) / viseme.before_s
        after = np.maximum(times_s - gesture.end_s, 0.0) / viseme.after_s
        dominance = viseme.dominance * np.exp(-before - after)
        total[first:last] += dominance
        channels = [ARKIT.index(channel) for channel in viseme.both_sides]
        weights = np.fromiter(viseme.both_sides.values(), float)
        pulled[first:last, channels] += dominance[:, None] * weights
    return (pulled / np.maximum(total, 1e-9)[:, None]).astype(np.float32)


def _closure(gestures: Sequence[_Gesture], grid_s: Float[np.ndarray, " steps"]) -> Float32[np.ndarray, " steps"]:
    """Share of the lip opening that is shut at every step: raised-cosine ramps around each contact."""
    closure = np.zeros(len(grid_s))
    for gesture in gestures:
        if not gesture.viseme.closure:
            continue
        lacking_s = max(0.0, CONTACT_S - (gesture.end_s - gesture.start_s))
        start_s, end_s = gesture.start_s - lacking_s / 2, gesture.end_s + lacking_s / 2
        first = max(0, int((start_s - CLOSING_S) / STEP_S))
        last = min(len(grid_s), int((end_s + OPENING_S) / STEP_S) + 2)
        times_s = grid_s[first:last]
        away = np.maximum((start_s - times_s) / CLOSING_S, 0.0) + np.maximum((times_s - end_s) / OPENING_S, 0.0)
        shape = 0.5 + 0.5 * np.cos(np.pi * np.minimum(away, 1.0))
        closure[first:last] = np.maximum(closure[first:last], gesture.viseme.closure * shape)
    return closure.astype(np.float32)


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
        how = dynamics(instruction.emotion, instruction.level)
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
        how: Dynamics,
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
