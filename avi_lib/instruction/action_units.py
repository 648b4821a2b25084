"""Action units: what a face can be asked to do, its FACS code, and the ARKit channels that carry it out.

>>> ACTION_UNITS["brow_down"].channels
{'browDownLeft': 1.0, 'browDownRight': 1.0}
>>> unit_channels({"jaw_drop": 0.5})
{'jawOpen': 0.3}

Codes follow Ekman, Friesen & Hager, "Facial Action Coding System" (2002); left and right are the person's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ActionUnit:
    """One movement of the face, head or eyes.

    `channels` are ARKit weights (0-1) or head rotations (signed radians) at strength 1; strength scales them linearly.
    A unit with a `rhythm` unfolds over time instead (nods, blinks): it has no channels and its performer decides when.
    """

    name: str
    facs: str
    channels: Mapping[str, float] = field(default_factory=dict)
    rhythm: bool = False

    def main_channels(self) -> tuple[str, ...]:
        """The channels this unit is about; the others only accompany it."""
        peak = max((abs(weight) for weight in self.channels.values()), default=0.0)
        return tuple(channel for channel, weight in self.channels.items() if abs(weight) >= 0.5 * peak)


def _both(**weights: float) -> dict[str, float]:
    """The same weight on the left and on the right channel."""
    return {f"{stem}{side}": weight for stem, weight in weights.items() for side in ("Left", "Right")}


_UNITS = (
    ActionUnit("inner_brow_raise", "AU1", {"browInnerUp": 1.0}),
    ActionUnit("outer_brow_raise", "AU2", _both(browOuterUp=1.0)),
    ActionUnit("left_brow_raise", "L2", {"browOuterUpLeft": 1.0, "browInnerUp": 0.25}),
    ActionUnit("right_brow_raise", "R2", {"browOuterUpRight": 1.0, "browInnerUp": 0.25}),
    ActionUnit("brow_down", "AU4", _both(browDown=1.0)),
    ActionUnit("upper_lid_raise", "AU5", _both(eyeWide=1.0)),
    ActionUnit("cheek_raise", "AU6", _both(cheekSquint=1.0, eyeSquint=0.35)),
    ActionUnit("lid_tighten", "AU7", _both(eyeSquint=1.0)),
    ActionUnit("lid_droop", "AU41", _both(eyeBlink=0.5)),
    ActionUnit("eyes_closed", "AU43", _both(eyeBlink=1.0)),
    ActionUnit("left_wink", "L46", {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.4}),
    ActionUnit("right_wink", "R46", {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.4}),
    ActionUnit("nose_wrinkle", "AU9", _both(noseSneer=1.0, mouthUpperUp=0.2)),
    ActionUnit("upper_lip_raise", "AU10", _both(mouthUpperUp=0.8, noseSneer=0.25)),
    ActionUnit("lip_corner_pull", "AU12", _both(mouthSmile=1.0, cheekSquint=0.25)),
    ActionUnit("left_lip_corner_pull", "L12", {"mouthSmileLeft": 0.8, "mouthDimpleLeft": 0.35}),
    ActionUnit("right_lip_corner_pull", "R12", {"mouthSmileRight": 0.8, "mouthDimpleRight": 0.35}),
    ActionUnit("dimple", "AU14", _both(mouthDimple=1.0)),
    ActionUnit("lip_corner_down", "AU15", _both(mouthFrown=1.0)),
    ActionUnit("lower_lip_down", "AU16", _both(mouthLowerDown=0.8)),
    ActionUnit("chin_raise", "AU17", {"mouthShrugLower": 0.9, "mouthShrugUpper": 0.4}),
    ActionUnit("pucker", "AU18", {"mouthPucker": 0.9}),
    ActionUnit("tongue_show", "AU19", {"tongueOut": 1.0, "jawOpen": 0.25}),
    ActionUnit("lip_stretch", "AU20", _both(mouthStretch=1.0)),
    ActionUnit("funnel", "AU22", {"mouthFunnel": 0.9}),
    ActionUnit("lip_tighten", "AU23", {**_both(mouthPress=0.5), "mouthRollLower": 0.35, "mouthRollUpper": 0.35}),
    ActionUnit("lip_press", "AU24", {**_both(mouthPress=1.0), "mouthShrugLower": 0.2}),
    ActionUnit("lips_part", "AU25", {**_both(mouthLowerDown=0.3, mouthUpperUp=0.2), "jawOpen": 0.06}),
    ActionUnit("jaw_drop", "AU26", {"jawOpen": 0.6}),
    ActionUnit("lip_roll", "AU28", {"mouthRollLower": 0.9, "mouthRollUpper": 0.9}),
    ActionUnit("jaw_forward", "AU29", {"jawForward": 1.0}),
    ActionUnit("jaw_left", "AU30L", {"jawLeft": 1.0}),
    ActionUnit("jaw_right", "AU30R", {"jawRight": 1.0}),
    ActionUnit("cheek_puff", "AU34", {"cheekPuff": 1.0}),
    ActionUnit("head_turn_left", "M51", {"headYaw": 0.5}),
    ActionUnit("head_turn_right", "M52", {"headYaw": -0.5}),
    ActionUnit("head_up", "M53", {"headPitch": -0.3}),
    ActionUnit("head_down", "M54", {"headPitch": 0.35}),
    ActionUnit("head_tilt_left", "M55", {"headRoll": -0.3}),
    ActionUnit("head_tilt_right", "M56", {"headRoll": 0.3}),
    ActionUnit("gaze_left", "M61", {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8}),
    ActionUnit("gaze_right", "M62", {"eyeLookInLeft": 0.8, "eyeLookOutRight": 0.8}),
    ActionUnit("gaze_up", "M63", _both(eyeLookUp=0.8)),
    ActionUnit("gaze_down", "M64", _both(eyeLookDown=0.8)),
    ActionUnit("gaze_away", "M61+M64", {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6, **_both(eyeLookDown=0.35)}),
    ActionUnit("blink_more", "AU45", rhythm=True),
    ActionUnit("blink_less", "AU45", rhythm=True),
    ActionUnit("head_nod", "M59", rhythm=True),
    ActionUnit("head_shake", "M60", rhythm=True),
)

ACTION_UNITS: dict[str, ActionUnit] = {unit.name: unit for unit in _UNITS}
"""Every action unit by name."""

_OPPOSITE_STEMS = (
    ("browOuterUp", "browDown"),
    ("eyeWide", "eyeSquint"),
    ("eyeWide", "eyeBlink"),
    ("mouthSmile", "mouthFrown"),
    ("eyeLookUp", "eyeLookDown"),
    ("eyeLookIn", "eyeLookOut"),
)
_OPPOSITE_CHANNELS = (
    *((first + side, second + side) for first, second in _OPPOSITE_STEMS for side in ("Left", "Right")),
    *(("jawOpen", f"mouthPress{side}") for side in ("Left", "Right")),
    *((rounded, f"mouthStretch{side}") for rounded in ("mouthPucker", "mouthFunnel") for side in ("Left", "Right")),
    ("jawOpen", "mouthShrugLower"),
    ("jawLeft", "jawRight"),
)


def opposites() -> dict[str, frozenset[str]]:
    """For each channel, those that cannot be at full weight together with it (a raised brow cannot be down)."""
    found: dict[str, set[str]] = {}
    for first, second in _OPPOSITE_CHANNELS:
        found.setdefault(first, set()).add(second)
        found.setdefault(second, set()).add(first)
    return {channel: frozenset(others) for channel, others in found.items()}


def unit_channels(strengths: Mapping[str, float]) -> dict[str, float]:
    """ARKit channels of several action units together.

    Args:
        strengths: strength 0-1 of each action unit by name; a name without channels (a rhythm) adds nothing.

    Returns:
        channel to weight: the largest weight where units share a blendshape, the sum where they share a head rotation.

    Raises:
        KeyError: a name is no action unit.
    """
    channels: dict[str, float] = {}
    for name, strength in strengths.items():
        for channel, weight in ACTION_UNITS[name].channels.items():
            value = weight * strength
            if channel.startswith("head"):
                channels[channel] = channels.get(channel, 0.0) + value
            else:
                channels[channel] = max(channels.get(channel, 0.0), value)
    return channels
