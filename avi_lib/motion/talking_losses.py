"""How far generated motion is from the true one, and whether it keeps what must stay: the generator's losses.

>>> scale = Scale.of(error, motion, present, valid)
>>> losses = motion_losses(error, scale, generated, true, present, valid, closed=3.0)
>>> sorted(losses)
['eyes', 'face', 'gap', 'head', 'lips', 'upper_face', 'velocity']
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float

from avi_lib.face.mesh_error import MotionError

CLOSED_MM = 0.5
"""Lips less than this apart are closed."""

Motion = Float[torch.Tensor, "clips frames channels"]
Present = Bool[torch.Tensor, "clips channels"]
Valid = Bool[torch.Tensor, "clips frames"]


@dataclass(frozen=True, eq=False)
class Scale:
    """What errors are measured in.

    Mean squares of every region's movement about its mean, of its change from frame to frame, and of the lip gap.
    """

    position: dict[str, float]
    velocity: dict[str, float]
    gap: float

    @classmethod
    def of(cls, error: MotionError, motion: Motion, present: Present, valid: Valid) -> Scale:
        """The scale of some clips; a region that does not move counts as if it moved by a thousandth."""
        weights = (valid[:, :, None] & present[:, None]).float()
        mean = (motion * weights).sum(dim=(0, 1)) / weights.sum(dim=(0, 1)).clamp_min(1)
        spread, steps = (motion - mean) * present[:, None], motion.diff(dim=1) * present[:, None]
        pairs = valid[:, 1:] & valid[:, :-1]
        gap = 1.0 if error.gap is None else float(_mean((spread @ error.gap).square(), valid))
        return cls(
            {region: max(float(_mean(e, valid)), 1e-6) for region, e in error.squared(spread).items()},
            {region: max(float(_mean(e, pairs)), 1e-6) for region, e in error.squared(steps).items()},
            max(gap, 1e-6),
        )


def motion_losses(
    error: MotionError, scale: Scale, generated: Motion, true: Motion, present: Present, valid: Valid, closed: float
) -> dict[str, torch.Tensor]:
    """Errors of every region, of their velocity together and of the lip gap, each about 1 for a guess of the mean.

    Channels that are not present have no part; frames where the true lips are closed count `closed` times for the gap.
    Computed in float32 whatever the network is computed in.
    """
    with torch.autocast(generated.device.type, enabled=False):
        change = (generated.float() - true) * present[:, None]
        losses = {region: _mean(e, valid) / scale.position[region] for region, e in error.squared(change).items()}
        pairs = valid[:, 1:] & valid[:, :-1]
        faster = error.squared(change.diff(dim=1))
        losses["velocity"] = sum(
            (_mean(e, pairs) / scale.velocity[region] for region, e in faster.items()), torch.zeros(())
        ) / len(faster)
        if error.gap is not None:
            row = error.gap.to(true)
            shut = 1.0 + (closed - 1.0) * ((true @ row) < CLOSED_MM)
            losses["gap"] = _mean(shut * (change @ row).square(), valid) / scale.gap
        return losses


def content_loss(error: MotionError, generated: Motion, own: Motion, valid: Valid) -> torch.Tensor:
    """How much the lips' timing differs from that of the same speech's own motion: 1 less the gap's correlation.

    A style may widen or narrow the gap; when it opens and closes is the speech's affair. Needs a space with a mesh.
    """
    if error.gap is None:
        return torch.zeros((), device=generated.device)
    with torch.autocast(generated.device.type, enabled=False):
        row = error.gap.to(own)
        curves = [_standardised(motion.float() @ row, valid) for motion in (generated, own)]
        return 1 - (curves[0] * curves[1] * valid).sum(dim=1).div(valid.sum(dim=1)).mean()


def _standardised(curve: Float[torch.Tensor, "clips frames"], valid: Valid) -> Float[torch.Tensor, "clips frames"]:
    """Mean 0 and variance 1 over the valid frames of each clip; a millimetre's hundredth steadies flat ones."""
    count = valid.sum(dim=1, keepdim=True)
    curve = (curve - (curve * valid).sum(dim=1, keepdim=True) / count) * valid
    return curve / (curve.square().sum(dim=1, keepdim=True) / count + 1e-4).sqrt()


def _mean(values: Float[torch.Tensor, "clips frames"], valid: Valid) -> torch.Tensor:
    """The mean over clips of the mean over their valid frames, so that shares of a batch can be put together."""
    return ((values * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)).mean()
