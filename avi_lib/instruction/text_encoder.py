"""Frozen text encoders: sentences in, the states of their tokens out.

>>> encoder = load_text_encoder("minilm")          # or a folder with MiniLM, another BERT, or CLIP's text tower
>>> encoder.encode(["She is furious.", "He smiles faintly."])[0].shape
(6, 384)

The first and the last token stand for the sentence's start and end. Padding never reaches the caller, so that nothing
can be averaged over it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32, Int64, Shaped
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from tqdm import tqdm

from avi_lib.errors import InputError
from avi_lib.files import atomic_path, file_sha256, make_folder
from avi_lib.models import load_manifest, loading, resolve

MAX_TOKENS = 128
"""Tokens of a sentence that are read, fewer where the network has fewer positions; the rest is left out."""

KINDS = {"bert": "BertModel", "clip": "CLIPTextModel", "clip_text_model": "CLIPTextModel"}
"""Class of transformers by the `model_type` of config.json."""

States = Float32[np.ndarray, "_ dim"]
_BATCH = 64
_UNTOLD = 10**6
"""Tokenizers without a limit of their own say a number beyond this."""


class TextEncoder:
    """A network of transformers with its tokenizer, on the processor in float32.

    Attributes:
        name: what it is known by.
        reason: where it came from, and why.
        dim: numbers in a token's state.
        fingerprint: digest of weights and tokenizer: the same fingerprint gives the same states.
    """

    def __init__(self, model: Any, tokenizer: Any, folder: Path, name: str, reason: str, fingerprint: str) -> None:
        self._model, self._tokenizer = model, tokenizer
        self.name, self.reason, self.fingerprint = name, reason, fingerprint
        config = model.config.text_config if hasattr(model.config, "text_config") else model.config
        self.dim = int(config.hidden_size)
        own = tokenizer.model_max_length if tokenizer.model_max_length < _UNTOLD else MAX_TOKENS
        self.max_tokens = min(MAX_TOKENS, own, int(config.max_position_embeddings))

    def encode(self, texts: Sequence[str]) -> list[States]:
        """States (tokens, dim) of every text, in order; any text has some, an empty one those of start and end.

        Texts of like length are computed together; each alone gives the same but for the last digits. Raises InputError
        for something that is no string.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError("a list of texts", type(texts).__name__, "pass [text] for one")
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, States] = {}
        for first in range(0, len(order), _BATCH):
            part = order[first : first + _BATCH]
            for i, states in zip(part, self._encode([_encodable(texts[i]) for i in part]), strict=True):
                found[i] = states
        return [found[i] for i in range(len(texts))]

    def _encode(self, texts: list[str]) -> Iterator[States]:
        read = self._tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
        for row, mask in zip(states, read["attention_mask"].bool(), strict=True):
            yield np.ascontiguousarray(row[mask].float().numpy())


def load_text_encoder(name_or_path: str = "minilm") -> TextEncoder:
    """A text encoder by the name of a frozen model, or from a folder with weights as safetensors and a tokenizer.

    Nothing of the folder is run, and nothing is fetched but a frozen model by its name.

    Raises:
        AssetError: a named model is to be had nowhere.
        InputError: neither a name nor a folder, another kind of model, or one that is damaged or incomplete.
    """
    if name_or_path in _names():
        found = resolve(name_or_path)
        folder, reason = found.folder, f"{found.reason}; licence {found.licence}"
        name = name_or_path
    else:
        folder = _folder(name_or_path)
        name, reason = folder.resolve().name, f"given path {folder}; licence: that of your own copy"
    kind = _kind(folder)
    model, tokenizer = _load(folder, kind)
    encoder = TextEncoder(model, tokenizer, folder, name, reason, text_fingerprint(folder))
    if not all(np.isfinite(states).all() for states in encoder.encode(["a face"])):
        raise InputError("a text encoder", f"{folder}, whose states are not finite", "copy the model again")
    return encoder


def text_fingerprint(folder: Path) -> str:
    """Digest of the files that decide a text encoder's states."""
    names = ("config.json", "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer_config.json")
    files = [folder / name for name in names if (folder / name).is_file()] + sorted(folder.glob("*.safetensors"))
    digests = {path.name: file_sha256(path) for path in files}
    return hashlib.sha256(json.dumps([MAX_TOKENS, digests], sort_keys=True).encode()).hexdigest()


def _names() -> list[str]:
    return [model.name for model in load_manifest().models if model.purpose.startswith("text encoder")]


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    expected = f"a folder with a text encoder, or a name ({', '.join(_names())})"
    raise InputError(expected, repr(path), "correct the name or the path")


def _kind(folder: Path) -> str:
    try:
        kind = json.loads((folder / "config.json").read_bytes()).get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        got = f"{folder}: {error}"
        raise InputError("a model folder with config.json", got, "name the folder that holds it") from error
    if kind not in KINDS:
        raise InputError(f"a text encoder of the kind {', '.join(KINDS)}", f"{kind!r} in {folder}", "use one of these")
    if not any(folder.glob("*.safetensors")):
        do = "where you trust its weights, load it with transformers and save it again with save_pretrained"
        raise InputError("weights as safetensors", f"none in {folder}", do)
    return str(kind)


def _load(folder: Path, kind: str) -> tuple[Any, Any]:
    import transformers

    try:
        with loading():
            local = {"local_files_only": True, "trust_remote_code": False}
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
            options = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
            model, report = getattr(transformers, KINDS[kind]).from_pretrained(folder, **options, **local)
    except Exception as error:  # whatever a wrong config or damaged weights make transformers raise
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"a {kind} model with its tokenizer", f"{folder}: {words[:300]}", "copy it again") from error
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
        got = f"{folder} without {len(missing)} of them: {', '.join(missing[:3])}"
        raise InputError(f"all weights of a {kind} model", got, "copy the model again")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval().requires_grad_(False), tokenizer


def _encodable(text: str) -> str:
    """The text without lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


# States of many texts, kept by content: what was encoded once is not encoded again.


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
