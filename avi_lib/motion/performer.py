"""The performer: phones, prosody and an instruction in, ARKit motion out.

It is the procedural baseline and the source of training targets. It is a function: the same phones, instruction and
seed give the same motion, and another instruction changes only what the instruction is about, so every pairing of
speech and instruction has a true answer.

>>> clip = perform(phones, prosody, Instruction.parse("She is furious."), duration_s=3.0, seed=7)
>>> clip.values.shape
(75, 55)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import expression_targets
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

HEAD_LIMIT_RAD = 0.6

_OPENERS = ("mouthLowerDown", "mouthUpperUp")
_PRESSERS = ("mouthPress", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper")
_CORNERS = ("mouthSmile", "mouthFrown", "mouthStretch", "mouthDimple")


def perform(
    phones: Sequence[Phone],
    prosody: Prosody,
    instruction: Instruction,
    duration_s: float,
    seed: int,
    settings: PerformerSettings | None = None,
) -> MotionClip:
    """Motion (ceil(duration_s * fps), 55) in the ARKIT space at `settings.fps`.

    phones cover the recording (at least one); prosody gives the beats and the loudness. Every random choice comes from
    `seed`, each part of the behaviour from its own stream, so that switching one off leaves the others as they were.
    Raises InputError when there are no phones.
    """
    settings = settings or PerformerSettings()
    streams = dict(zip(_STREAMS, np.random.SeedSequence(seed).spawn(len(_STREAMS)), strict=True))
    rng = {name: np.random.default_rng(stream) for name, stream in streams.items()}
    how = manner(instruction.emotion, instruction.level)
    mouth = articulate(phones, duration_s, settings.fps)
    frames = len(mouth.values)
    beats = prosody.beats() if settings.beats else ()
    face = express(expression_targets(instruction), _sounds(phones), beats, frames, settings.fps, rng["expression"])
    speech = mouth.values * _loudness_gain(prosody, frames, settings, how)[:, None]
    values = _join(speech, face, mouth.closure)
    units = instruction.action_units
    add_head_rhythm(
        values, settings.fps, rng["rhythm"], nod=units.get("head_nod", 0.0), shake=units.get("head_shake", 0.0)
    )
    if settings.beats:
        add_beats(values, beats, settings.fps, nod=how.nod, brow=how.brow)
    if settings.sway:
        add_head_sway(values, settings.fps, rng["sway"], how.sway)
    if settings.gaze:
        add_gaze(values, settings.fps, rng["gaze"], how.restlessness)
    if settings.blinks:
        rate = (1.0 + 1.6 * units.get("blink_more", 0.0)) * (1.0 - 0.8 * units.get("blink_less", 0.0))
        add_blinks(values, settings.fps, rng["blinks"], rate * how.blinks_per_minute)
    return MotionClip(_within_limits(values), settings.fps, ARKIT)


_STREAMS = ("expression", "rhythm", "sway", "gaze", "blinks")


def _sounds(phones: Sequence[Phone]) -> tuple[float, float]:
    """Times of the first and the last sound; an unspeaking clip counts as sounding from its start to its end."""
    spoken = [phone for phone in phones if phone.phone in VISEMES] or list(phones)
    if not spoken:
        raise InputError("phones that cover the recording", "none", "pass one SIL for a silent recording")
    return spoken[0].start_s, spoken[-1].end_s


def _loudness_gain(
    prosody: Prosody, frames: int, settings: PerformerSettings, how: Manner
) -> Float32[np.ndarray, " frames"]:
    """Factor on articulation (frames,): the manner's, and a little more where the voice is louder than its median."""
    relative_db = prosody.energy_db - np.median(prosody.energy_db[prosody.voiced]) if prosody.voiced.any() else 0.0
    louder = np.clip(np.broadcast_to(relative_db, prosody.energy_db.shape) / 20.0, -0.5, 0.5)
    gain = how.articulation * (1.0 + settings.loudness_widens * louder)
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
    yielding[:, _columns(_CORNERS)] = (1.0 - 0.6 * np.maximum(rounded, 0.5 * closure))[:, None]
    yielding[:, _columns(_PRESSERS)] = (1.0 - 0.8 * ajar)[:, None]
    yielding[:, ARKIT.index("jawOpen")] = 1.0 - 0.5 * ajar
    values += face * yielding
    smiling = values[:, _columns(("mouthSmile",))].mean(axis=1)
    values[:, _columns(("mouthPucker", "mouthFunnel"))] *= (1.0 - 0.25 * np.clip(smiling, 0.0, 1.0))[:, None]
    values[:, _columns(_OPENERS)] *= (1.0 - closure)[:, None]
    values[:, ARKIT.index("mouthFunnel")] *= 1.0 - 0.8 * closure
    values[:, ARKIT.index("mouthClose")] += closure * values[:, ARKIT.index("jawOpen")]
    return values


def _columns(names: Sequence[str]) -> list[int]:
    """Channel positions of two-sided or single names."""
    return [i for i, channel in enumerate(ARKIT.channels) for name in names if channel in _spelled(name)]


def _spelled(name: str) -> tuple[str, str, str]:
    return name, f"{name}Left", f"{name}Right"


def _within_limits(values: Float32[np.ndarray, "frames 55"]) -> Float32[np.ndarray, "frames 55"]:
    head = list(ARKIT.groups["head"])
    limited = np.clip(values, 0.0, 1.0)
    limited[:, head] = np.clip(values[:, head], -HEAD_LIMIT_RAD, HEAD_LIMIT_RAD)
    return limited
