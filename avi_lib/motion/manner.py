"""Manner: how an emotion colours movement beyond the face's expression.

Arousal widens articulation and quickens head, gaze and lids; low arousal stills them (Busso et al. 2007, "Rigid head
motion in expressive speech animation"; Scherer 2003, "Vocal communication of emotion").

>>> manner("angry", 3).articulation > manner("sad", 3).articulation
True
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    """Factors on neutral behaviour, and blinks a minute."""

    articulation: float = 1.0
    sway: float = 1.0
    nod: float = 1.0
    brow: float = 1.0
    restlessness: float = 1.0
    blinks_per_minute: float = 18.0


_AT_FULL_LEVEL = {
    "calm": Manner(0.95, 0.8, 0.8, 0.8, 0.7, 14.0),
    "happy": Manner(1.15, 1.35, 1.2, 1.3, 1.1, 20.0),
    "sad": Manner(0.82, 0.7, 0.5, 0.5, 0.8, 22.0),
    "angry": Manner(1.22, 1.3, 1.5, 1.0, 0.7, 12.0),
    "fear": Manner(1.0, 1.2, 0.8, 0.9, 1.8, 32.0),
    "disgusted": Manner(0.95, 1.0, 0.9, 0.7, 1.0, 18.0),
    "surprised": Manner(1.12, 1.2, 1.1, 1.4, 0.9, 12.0),
    "contempt": Manner(0.92, 0.8, 0.7, 0.9, 0.8, 15.0),
    "bored": Manner(0.75, 0.6, 0.4, 0.3, 0.8, 24.0),
}
_SHARE_OF_LEVEL = {1: 0.45, 2: 0.75, 3: 1.0}


def manner(emotion: str | None, level: int | None) -> Manner:
    """Manner of an emotion at a level 1-3 (2 where none is given); neutral for None, "neutral" and unlisted names."""
    neutral = Manner()
    full = _AT_FULL_LEVEL.get(emotion or "neutral")
    if full is None:
        return neutral
    share = _SHARE_OF_LEVEL[level or 2]
    return Manner(
        **{name: value + share * (getattr(full, name) - value) for name, value in vars(neutral).items()},
    )
