"""Splits by speaker: no speaker is ever heard both in training and in a test.

>>> split_speakers(["01", "02", "03", "04", "05"], seed=0, validation_share=0.2, test_share=0.2)
{'01': 'train', '02': 'test', '03': 'train', '04': 'validation', '05': 'train'}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

SPLITS = ("train", "validation", "test")


def split_speakers(speakers: Iterable[str], seed: int, validation_share: float, test_share: float) -> dict[str, str]:
    """The split of each speaker, the same for the same speakers and seed.

    Speakers are put in an order that depends on the seed and their names only. The test takes its share of them,
    rounded, and at least one speaker when there are three or more and the share is above 0; then validation likewise;
    training takes the rest. One or two speakers are all for training.
    """
    order = sorted(set(speakers), key=lambda speaker: hashlib.sha256(f"{seed}/{speaker}".encode()).hexdigest())
    split = dict.fromkeys(sorted(order), "train")
    kept = 0
    for name, share in (("test", test_share), ("validation", validation_share)):
        count = max(round(share * len(order)), 1) if share and len(order) >= 3 else 0
        split |= dict.fromkeys(order[kept : kept + count], name)
        kept += count
    return split
