"""The performer: phones, prosody and an instruction in, ARKit motion out, by rules.

It is the baseline and the source of training targets. It is a function: the same phones, instruction and seed give the
same motion, and another instruction changes only what the instruction is about, so every pairing of speech and
instruction has a true answer.

>>> clip = Performer(phones, prosody, duration_s=3.0).perform(Instruction.parse("She is furious."), seed=7)
>>> clip.values.shape
(75, 55)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Faces, Instruction, Timeline, expression_targets
from avi_lib.motion import expression
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.expression import dynamics, frame_times, raised_cosine
from avi_lib.settings import PerformerSettings
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import Prosody

Values = Float32[np.ndarray, "frames 55"]

# Visemes: what the mouth aims at for every ARPAbet phone, in ARKit blendshapes.


class Viseme(NamedTuple):
    """An articulatory target and how strongly and how far it pulls on its neighbours.

    channels, weights: of the target. dominance: pull relative to a vowel's 1. before_s, after_s: time constants of the
    pull outside the phone. closure: share of the lip opening that is shut, 0-1.
    """

    channels: list[int]
    weights: np.ndarray
    dominance: float
    before_s: float
    after_s: float
    closure: float


def _viseme(
    dominance: float = 1.0, before_s: float = 0.05, after_s: float = 0.05, closure: float = 0.0, **targets: float
) -> Viseme:
    weights = np.concatenate([np.full(len(ARKIT.columns(name)), weight) for name, weight in targets.items()])
    return Viseme(ARKIT.columns(*targets), weights, dominance, before_s, after_s, closure)


_VISEMES = yaml.load(Path(__file__).with_name("visemes.yaml").read_text("utf-8"), yaml.CSafeLoader)
VISEMES: dict[str, Viseme] = {phone: _viseme(**entry) for phone, entry in _VISEMES["phones"].items()}
REST, READY = _viseme(**_VISEMES["rest"]), _viseme(**_VISEMES["ready"])

# Phones with times to mouth curves: coarticulation by dominance functions (Cohen and Massaro 1993).

READY_LEAD_S = 0.45  # how long before a sound real lips part: the median over the GRID videos
BRIEF_PAUSE_S = 0.20  # pauses up to this length do not return the mouth to rest
STEP_S = 0.01  # spacing of the grid on which dominances are summed, before sampling at the frame rate
REACH_S = 0.40  # beyond this distance a phone's pull is dropped; its dominance there is below 2 %
CONTACT_S = 0.05  # shortest lip contact: longer than a video frame, so that one frame shows it
CLOSING_S, OPENING_S = 0.06, 0.05  # times the lips take to reach and to leave contact


class MouthCurves(NamedTuple):
    """ARKIT values (frames, 55) before closure, and closure (frames,): the share of the lip opening that is shut."""

    values: Values
    closure: Float32[np.ndarray, " frames"]


def articulate(phones: Sequence[Phone], duration_s: float, fps: float) -> MouthCurves:
    """Mouth curves of a phone sequence, sampled at the middle of every frame.

    The number of frames is `duration_s * fps`, rounded up. Phones that are not in `VISEMES` count as silence.
    """
    grid_s = np.arange(0.0, duration_s + STEP_S, STEP_S)
    pulled, total, closure = np.zeros((len(grid_s), len(ARKIT))), np.zeros(len(grid_s)), np.zeros(len(grid_s))

    def steps(first_s: float, last_s: float) -> slice:
        return slice(max(0, int(first_s / STEP_S)), min(len(grid_s), int(last_s / STEP_S) + 1))

    for viseme, start_s, end_s in _gestures(phones):
        near = steps(start_s - REACH_S, end_s + REACH_S)
        before = np.maximum(start_s - grid_s[near], 0.0) / viseme.before_s
        after = np.maximum(grid_s[near] - end_s, 0.0) / viseme.after_s
        dominance = viseme.dominance * np.exp(-before - after)
        total[near] += dominance
        pulled[near, viseme.channels] += dominance[:, None] * viseme.weights
        if viseme.closure:
            lacking_s = max(0.0, CONTACT_S - (end_s - start_s))
            first_s, last_s = start_s - lacking_s / 2, end_s + lacking_s / 2
            near = steps(first_s - CLOSING_S, last_s + OPENING_S)
            away = np.maximum((first_s - grid_s[near]) / CLOSING_S, 0.0)
            away += np.maximum((grid_s[near] - last_s) / OPENING_S, 0.0)
            closure[near] = np.maximum(closure[near], viseme.closure * raised_cosine(away))
    middles_s = frame_times(frame_count(duration_s, fps), fps)
    picks = np.minimum(np.round(middles_s / STEP_S).astype(int), len(grid_s) - 1)
    values = (pulled / np.maximum(total, 1e-9)[:, None]).astype(np.float32)
    return MouthCurves(values[picks], closure.astype(np.float32)[picks])


def frame_count(duration_s: float, fps: float) -> int:
    """Frames that cover a duration: the last one may be partly silence."""
    return max(1, int(np.ceil(duration_s * fps - 1e-6)))


def _gestures(phones: Sequence[Phone]) -> list[tuple[Viseme, float, float]]:
    """Visemes with start and end; in silences the mouth rests, then parts ahead of the next sound."""
    gestures = []
    for i, (phone, start_s, end_s) in enumerate(phones):
        pause_s, sound_follows = end_s - start_s, i + 1 < len(phones)
        if phone in VISEMES:
            gestures.append((VISEMES[phone], start_s, end_s))
        elif sound_follows and i > 0 and pause_s <= BRIEF_PAUSE_S:
            gestures.append((READY, start_s, end_s))
        else:
            lead_s = min(READY_LEAD_S, 0.6 * pause_s) if sound_follows else 0.0
            gestures.append((REST, start_s, end_s - lead_s))
            if lead_s:
                gestures.append((READY, end_s - lead_s, end_s))
    return gestures


# The performance: speech, expression and idle behaviour in one face.

IDLE_GROUPS = ("lids", "gaze", "head")  # groups of channels that idle behaviour moves
_BEATEN = {"nod": ("head_nod",), "brow": ("inner_brow_raise", "outer_brow_raise")}
"""What moves with stress, unless one of these units is forbidden."""
_STREAMS = ("expression", "rhythm", "sway", "gaze", "blinks")
_JAW, _FUNNEL = ARKIT.index("jawOpen"), ARKIT.index("mouthFunnel")
_OPENERS = ARKIT.columns("mouthLowerDown", "mouthUpperUp")
_PRESSERS = ARKIT.columns("mouthPress", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper")
_CORNERS = ARKIT.columns("mouthSmile", "mouthFrown", "mouthStretch", "mouthDimple")


class Performer:
    """A recording made ready to be performed under any number of instructions.

    phones cover the recording (at least one); prosody gives the beats and the loudness. Raises InputError when there
    are no phones.
    """

    def __init__(
        self, phones: Sequence[Phone], prosody: Prosody, duration_s: float, settings: PerformerSettings | None = None
    ) -> None:
        spoken = [phone for phone in phones if phone.phone in VISEMES] or list(phones)
        if not spoken:
            raise InputError("phones that cover the recording", "none", "pass one SIL for a silent recording")
        self.settings = settings or PerformerSettings()
        self._mouth = articulate(phones, duration_s, self.settings.fps)
        self.spoken_s, self.prosody = (spoken[0].start_s, spoken[-1].end_s), prosody
        self._beats = prosody.beats() if self.settings.beats else ()
        louder = np.zeros_like(prosody.energy_db)  # than its median: the mouth opens a little more
        if prosody.voiced.any():
            louder = np.clip((prosody.energy_db - np.median(prosody.energy_db[prosody.voiced])) / 20.0, -0.5, 0.5)
        gain, there_s = 1.0 + self.settings.loudness_widens * louder, frame_times(len(louder), prosody.fps)
        times_s = frame_times(len(self._mouth.values), self.settings.fps)
        self._gain = np.interp(times_s, there_s, gain).astype(np.float32)

    def __len__(self) -> int:
        """Frames of the recording."""
        return len(self._gain)

    def perform(self, instruction: Instruction, seed: int) -> MotionClip:
        """Motion (ceil(duration_s * fps), 55) in the ARKIT space at `settings.fps`.

        Every random choice comes from `seed`, each part of the behaviour from its own stream, so that switching one
        off leaves the others as they were.
        """
        return self.perform_with_still(instruction, seed)[0]

    def perform_with_still(
        self, instruction: Instruction, seed: int, faces: Faces | None = None
    ) -> tuple[MotionClip, MotionClip]:
        """The motion, and the same without blinks, gaze and sway; they differ in the channels of `IDLE_GROUPS` only.

        faces: of the emotions asked for, where these are not their prototypes.
        """
        settings, units, rng = self.settings, instruction.action_units, _streams(seed)
        fps, how = settings.fps, dynamics(instruction.emotion, instruction.level)
        targets = expression_targets(instruction, faces)
        face = expression.express(targets, self.spoken_s, self._beats, len(self), fps, rng["expression"])
        speech = self._mouth.values * (how.articulation * self._gain)[:, None]
        values = _join(speech, face, self._mouth.closure)
        self._add_rhythm(values, instruction, rng["rhythm"])
        if settings.beats:
            rests = {part: 0.0 in (units.get(each) for each in named) for part, named in _BEATEN.items()}
            expression.add_beats(
                values, self._beats, fps, nod=how.nod * (not rests["nod"]), brow=how.brow * (not rests["brow"])
            )
        still = MotionClip(ARKIT.limited(values), fps, ARKIT)
        if settings.sway:
            expression.add_head_sway(values, fps, rng["sway"], how.sway)
        if settings.gaze:
            expression.add_gaze(values, fps, rng["gaze"], how.restlessness)
        if settings.blinks:
            rate = expression.blink_rate(units) * how.blinks_per_minute
            expression.add_blinks(values, fps, rng["blinks"], rate)
        return MotionClip(ARKIT.limited(values), fps, ARKIT), still

    def perform_timeline(self, timeline: Timeline, seed: int) -> MotionClip:
        """Motion under a timeline: performances of its instructions that fade into one another."""
        values = np.zeros((len(self), len(ARKIT)), np.float32)
        weights = timeline.weights(len(self), self.settings.fps)
        for instruction in dict.fromkeys(timeline.instructions):
            same = [number for number, each in enumerate(timeline.instructions) if each == instruction]
            values += weights[:, same].sum(axis=1, keepdims=True) * self.perform(instruction, seed).values
        return MotionClip(values, self.settings.fps, ARKIT)

    def idle(self, instruction: Instruction, seed: int) -> Values:
        """What blinks, gaze and sway add to a face whoever moves it, in the channels of `IDLE_GROUPS` only."""
        full, still = self.perform_with_still(instruction, seed)
        return full.values - still.values

    def rhythm(self, instruction: Instruction, seed: int) -> Values:
        """What the nods and shakes that are asked for add to the head; speech does not say when they come."""
        added = np.zeros((len(self), len(ARKIT)), np.float32)
        self._add_rhythm(added, instruction, _streams(seed)["rhythm"])
        return added

    def _add_rhythm(self, values: Values, instruction: Instruction, rng: np.random.Generator) -> None:
        nod, shake = (instruction.action_units.get(f"head_{unit}", 0.0) for unit in ("nod", "shake"))
        expression.add_head_rhythm(values, self.settings.fps, rng, nod=nod, shake=shake)


def _streams(seed: int) -> dict[str, np.random.Generator]:
    spawned = np.random.SeedSequence(seed).spawn(len(_STREAMS))
    return dict(zip(_STREAMS, map(np.random.default_rng, spawned), strict=True))


def _join(speech: Values, face: Values, closure: Float32[np.ndarray, " frames"]) -> Values:
    """One face from speech and expression: each gives way where the other needs the lips."""
    rounded = np.clip(speech[:, ARKIT.index("mouthPucker")] / 0.5, 0.0, 1.0)
    ajar = np.clip(speech[:, _JAW] / 0.3, 0.0, 1.0)
    yielding = np.ones_like(face)
    yielding[:, _CORNERS] = (1.0 - 0.6 * np.maximum(rounded, 0.5 * closure))[:, None]
    yielding[:, _PRESSERS] = (1.0 - 0.8 * ajar)[:, None]
    yielding[:, _JAW] = 1.0 - 0.5 * ajar
    values = speech + face * yielding
    smiling = values[:, ARKIT.columns("mouthSmile")].mean(axis=1)
    values[:, ARKIT.columns("mouthPucker", "mouthFunnel")] *= (1.0 - 0.25 * np.clip(smiling, 0.0, 1.0))[:, None]
    values[:, _OPENERS] *= (1.0 - closure)[:, None]
    values[:, _FUNNEL] *= 1.0 - 0.8 * closure
    values[:, ARKIT.index("mouthClose")] += closure * values[:, _JAW]
    return values
