"""States of many texts, kept by content: what was encoded once is not encoded again.

>>> states = encode_texts(texts, encoder, folder=Path("data/cache/texts"))
>>> tokens, mask = states.batch([0, 5, 7])
>>> tokens.shape, mask.shape
((3, 31, 384), (3, 31))
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int64, Shaped
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from tqdm import tqdm

from avi_lib.files import atomic_path, make_folder
from avi_lib.instruction.text_encoder import TextEncoder

CHUNK = 1024
"""Texts encoded between two steps of the progress bar."""


@dataclass(frozen=True, eq=False)
class TextStates:
    """States of all tokens of all texts, one text after another: text i has the rows from `starts[i]` on."""

    rows: Float16[np.ndarray, "rows dim"]
    starts: Int64[np.ndarray, " texts_and_one"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def dim(self) -> int:
        """Numbers in a state."""
        return int(self.rows.shape[1])

    def batch(
        self, texts: Sequence[int]
    ) -> tuple[Float32[np.ndarray, "texts tokens dim"], Bool[np.ndarray, "texts tokens"]]:
        """States of some texts side by side, padded with zeros, and which of them are there."""
        first, last = self.starts[list(texts)], self.starts[[i + 1 for i in texts]]
        counts = last - first
        mask = np.arange(counts.max()) < counts[:, None]
        states = np.zeros((*mask.shape, self.dim), np.float32)
        states[mask] = self.rows[np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])]
        return states, mask

    def of(self, text: int) -> Float32[np.ndarray, "tokens dim"]:
        """States of one text."""
        return self.rows[self.starts[text] : self.starts[text + 1]].astype(np.float32)


def pack(states: Sequence[Shaped[np.ndarray, "_ dim"]]) -> TextStates:
    """Texts' states as one array in float16."""
    starts = np.cumsum([0, *map(len, states)])
    return TextStates(np.concatenate(states).astype(np.float16, copy=False), starts.astype(np.int64))


def encode_texts(
    texts: Sequence[str], encoder: TextEncoder, folder: Path | None = None, progress: bool | None = None
) -> TextStates:
    """States of texts, from a file in `folder` where the same texts were encoded with the same encoder before.

    A file that is damaged is made again. `progress` as in `train`.
    """
    content = "\n".join(
        [encoder.fingerprint, *(hashlib.sha256(t.encode("utf-8", "replace")).hexdigest() for t in texts)]
    )
    kept = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.safetensors" if folder else None
    if kept is not None and kept.is_file() and (states := _read(kept, len(texts), encoder.dim)) is not None:
        return states
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found: list[Shaped[np.ndarray, "_ dim"] | None] = [None] * len(texts)
    hidden = None if progress is None else not progress
    with tqdm(desc="encoding texts", total=len(texts), leave=False, disable=hidden) as shown:
        for first in range(0, len(order), CHUNK):
            part = order[first : first + CHUNK]
            for i, state in zip(part, encoder.encode([texts[i] for i in part]), strict=True):
                found[i] = state.astype(np.float16)
            shown.update(len(part))
    states = pack([state for state in found if state is not None])
    if kept is not None:
        make_folder(kept.parent)
        with atomic_path(kept) as temporary:
            temporary.write_bytes(save({"rows": states.rows, "starts": states.starts}))
    return states


def _read(path: Path, texts: int, dim: int) -> TextStates | None:
    try:
        stored = load_file(path)
        states = TextStates(stored["rows"], stored["starts"])
    except (OSError, SafetensorError, KeyError):
        return None
    whole = len(states) == texts and states.rows.shape == (states.starts[-1], dim)
    return states if whole else None
