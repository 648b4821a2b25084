"""Options that are repeated as NAME=NUMBER.

>>> number_pairs(["old=0.8", "noseWidth=-0.5"], "--identity")
{'old': 0.8, 'noseWidth': -0.5}
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from avi_lib.errors import InputError


def number_pairs(texts: Sequence[str], option: str) -> dict[str, float]:
    """NAME=NUMBER texts of an option that may be repeated; InputError for one that is not so written or not finite."""
    pairs = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            pairs[name] = float(number)
        except ValueError:
            pairs[name] = math.nan
        if not math.isfinite(pairs[name]):
            raise InputError(f"{option} NAME=NUMBER", repr(text), f"write for example {option} {name}=0.5")
    return pairs
