"""Emotion prototypes, and the face an instruction asks for as ARKit channels.

In: an instruction (its emotion, level and action units). Out: channel to weight at the height of the expression.

>>> expression_targets(Instruction.parse("She is furious."))["browDownLeft"]
0.95

The mixes follow Ekman & Friesen, "Unmasking the Face" (1975) and the EMFACS tables in Matsumoto & Ekman, "Facial
expression analysis" (Scholarpedia 3(5), 2008); boredom follows Scherer & Ellgring, Emotion 7 (2007), contempt
Ekman & Heider, Motivation and Emotion 12 (1988). Lower-face strengths leave room for speech.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from avi_lib.instruction.action_units import ACTION_UNITS, opposites, unit_channels

if TYPE_CHECKING:
    from avi_lib.instruction.instruction import Instruction

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgusted", "surprised", "contempt", "bored")
"""The ten emotions; `neutral` and `calm` have one level, the others three."""

_PROTOTYPES: dict[str, dict[str, tuple[float, ...]]] = {
    "neutral": {},
    "calm": {"lip_corner_pull": (0.2,), "lid_droop": (0.2,)},
    "happy": {
        "lip_corner_pull": (0.4, 0.65, 0.9),
        "cheek_raise": (0.25, 0.55, 0.85),
        "lips_part": (0.0, 0.3, 0.6),
        "outer_brow_raise": (0.0, 0.1, 0.2),
    },
    "sad": {
        "inner_brow_raise": (0.4, 0.7, 0.95),
        "brow_down": (0.1, 0.25, 0.4),
        "lip_corner_down": (0.3, 0.55, 0.85),
        "chin_raise": (0.0, 0.2, 0.4),
        "lid_droop": (0.2, 0.35, 0.45),
        "gaze_down": (0.1, 0.25, 0.35),
        "head_down": (0.1, 0.25, 0.4),
    },
    "angry": {
        "brow_down": (0.4, 0.7, 0.95),
        "upper_lid_raise": (0.1, 0.3, 0.5),
        "lid_tighten": (0.2, 0.35, 0.45),
        "lip_tighten": (0.2, 0.4, 0.6),
        "nose_wrinkle": (0.0, 0.15, 0.4),
        "upper_lip_raise": (0.0, 0.1, 0.35),
        "head_down": (0.0, 0.1, 0.15),
    },
    "fear": {
        "inner_brow_raise": (0.4, 0.7, 0.95),
        "outer_brow_raise": (0.2, 0.4, 0.6),
        "brow_down": (0.1, 0.2, 0.3),
        "upper_lid_raise": (0.3, 0.65, 0.95),
        "lip_stretch": (0.25, 0.5, 0.8),
        "lips_part": (0.1, 0.3, 0.5),
        "jaw_drop": (0.0, 0.1, 0.25),
        "head_up": (0.0, 0.1, 0.2),
    },
    "disgusted": {
        "nose_wrinkle": (0.4, 0.7, 0.95),
        "upper_lip_raise": (0.25, 0.5, 0.8),
        "brow_down": (0.15, 0.3, 0.45),
        "lid_tighten": (0.15, 0.3, 0.45),
        "lip_corner_down": (0.1, 0.25, 0.45),
        "chin_raise": (0.0, 0.15, 0.3),
    },
    "surprised": {
        "inner_brow_raise": (0.4, 0.7, 0.95),
        "outer_brow_raise": (0.4, 0.7, 0.95),
        "upper_lid_raise": (0.3, 0.6, 0.95),
        "jaw_drop": (0.1, 0.3, 0.5),
        "head_up": (0.0, 0.1, 0.2),
    },
    "contempt": {
        "left_lip_corner_pull": (0.4, 0.7, 0.95),
        "dimple": (0.1, 0.25, 0.35),
        "right_brow_raise": (0.0, 0.2, 0.4),
        "lid_droop": (0.15, 0.25, 0.35),
        "head_up": (0.15, 0.3, 0.45),
    },
    "bored": {
        "lid_droop": (0.4, 0.65, 0.9),
        "lip_corner_down": (0.1, 0.2, 0.3),
        "dimple": (0.0, 0.1, 0.2),
        "gaze_away": (0.0, 0.25, 0.45),
        "head_tilt_left": (0.1, 0.25, 0.4),
        "head_down": (0.05, 0.15, 0.25),
    },
}


def levels(emotion: str) -> tuple[int, ...]:
    """The levels an emotion has: (1,) for neutral and calm, (1, 2, 3) for the others."""
    return (1,) if emotion in ("neutral", "calm") else (1, 2, 3)


def prototype(emotion: str, level: int) -> dict[str, float]:
    """Action units (name to strength 0-1) that show an emotion at a level.

    Raises:
        KeyError: no such emotion.
        ValueError: the emotion has no such level.
    """
    units = _PROTOTYPES[emotion]
    if level not in levels(emotion):
        raise ValueError(f"{emotion} has levels {levels(emotion)}; got {level}")
    return {name: strengths[level - 1] for name, strengths in units.items() if strengths[level - 1] > 0}


def expression_targets(instruction: Instruction) -> dict[str, float]:
    """ARKit channels of the expression an instruction asks for, at its apex.

    The emotion's prototype is the base. A unit the instruction names takes its main channels over at the named strength
    (0 switches them off), weakens the prototype's channels that oppose it (raised brows undo an angry face's lowered
    ones) and otherwise only adds. Two named units that oppose each other are both kept: the sentence asked for both.
    Jaw and mouth channels are meant as offsets to the speech movement; units with a rhythm (`ActionUnit.rhythm`) are
    not in here and are read from `instruction.action_units`.

    Returns:
        channel to target: blendshape weights in 0-1, head rotations in radians; absent channels rest at 0.
    """
    base = unit_channels(prototype(instruction.emotion, instruction.level or 1)) if instruction.emotion else {}
    return _overlay(base, instruction.action_units)


def _overlay(base: Mapping[str, float], named: Mapping[str, float]) -> dict[str, float]:
    asked = unit_channels(named)
    taken = {channel for name in named for channel in ACTION_UNITS[name].main_channels()}
    opposed = opposites()
    targets = dict(base)
    for channel in taken:
        for other in opposed.get(channel, frozenset()) - taken:
            if other in targets:
                targets[other] *= 1.0 - asked[channel]
    for channel, value in asked.items():
        head = channel.startswith("head")
        targets[channel] = value if channel in taken or head else max(targets.get(channel, 0.0), value)
    return {
        channel: round(float(value), 6) if channel.startswith("head") else round(min(max(value, 0.0), 1.0), 6)
        for channel, value in targets.items()
    }
