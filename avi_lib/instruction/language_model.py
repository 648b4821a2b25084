"""Frozen models of text, read with transformers: encoders of sentences, and causal models that write.

>>> encoder = load_text_encoder("minilm")      # or a folder with MiniLM, another BERT, or CLIP's text tower
>>> encoder.encode(["She is furious.", "He smiles faintly."])[0].shape       # one state a token
(6, 384)
>>> model = load_language_model("smollm2")     # or a folder with any causal model of transformers, such as LLaMA
>>> cache = model.read(torch.cat([model.bos(), model.embed(model.tokens("A person feels"))])[None])
>>> model.text(model.go_on(cache, most=12)[0])
'...'

No weight is ever changed: gradients go through a network to what it reads, not into it. Nothing of a folder is run, and
nothing is fetched but a frozen model by its name.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Bool, Float, Float16, Float32, Int64
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from avi_lib.errors import InputError, OutputError
from avi_lib.files import atomic_folder, cached, file_sha256, make_folder
from avi_lib.models import Resolved, cache_folder, load_pretrained, loading, locate, read_config

MAX_TOKENS = 128
"""Tokens of a sentence that are encoded, fewer where the network has fewer positions; the rest is left out."""
KINDS = {"bert": "BertModel", "clip": "CLIPTextModel", "clip_text_model": "CLIPTextModel", "mpnet": "MPNetModel"}
"""Class of transformers that encodes text, by the `model_type` of config.json."""
FLOAT32_BYTES = 4_000_000_000
"""Bytes of weights up to which a language model is computed with as float32."""
SIZES = "sizes.json"
"""Names and sizes of the files of dequantised weights: a copy that was cut short is made again."""
RECIPE = 1
"""Part of the name of their folder; to be raised when the way from file to folder changes."""

_COPY = "copy the model again"
_BATCH = 64

States = Float32[np.ndarray, "_ dim"]


def _digests(folder: Path, *more: str) -> dict[str, str]:
    """Digests of weights, configuration and tokenizer."""
    names = ("config.json", "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", *more)
    files = [folder / name for name in names if (folder / name).is_file()] + list(folder.glob("*.safetensors"))
    return {path.name: file_sha256(path) for path in files}


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# Text encoders. The first and the last token stand for the sentence's start and end; padding never reaches the caller.


class TextEncoder:
    """A network of transformers with its tokenizer, on the processor in float32; loaded when it first encodes.

    Attributes:
        name: what it is known by.
        reason: where it came from, and why.
        dim: numbers in a token's state.
        fingerprint: digest of weights and tokenizer: the same fingerprint gives the same states.
        named: whether it is a frozen model of the manifest, not a person's own folder.
    """

    def __init__(self, found: Resolved) -> None:
        self.named = found.source != "path"
        config = read_config(found.folder / "config.json")
        self._folder, self._kind = found.folder, str(config.get("model_type"))
        self.name, self.reason = found.name, found.described
        if self._kind not in KINDS:
            got = f"{self._kind} in {self._folder}"
            raise InputError(f"a text encoder of the kind {', '.join(KINDS)}", got, "use one of these")
        self.fingerprint = _sha256([MAX_TOKENS, _digests(self._folder, "vocab.txt")])
        sizes = config.get("text_config", config)
        self.dim, self._positions = sizes.get("hidden_size"), sizes.get("max_position_embeddings")
        if not isinstance(self.dim, int) or not isinstance(self._positions, int):
            raise InputError("a config.json with hidden_size and max_position_embeddings", str(found.folder), _COPY)

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        what = f"{self._kind} model"
        network, tokenizer = load_pretrained(
            self._folder, KINDS[self._kind], what, spare=r"pooler\.", tokenizer=True, dtype="float32"
        )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return network, tokenizer

    @property
    def max_tokens(self) -> int:
        """Tokens of a sentence that are encoded; tokenizers without a limit of their own give a huge number."""
        return min(MAX_TOKENS, self._model[1].model_max_length, self._positions)

    def load(self) -> TextEncoder:
        """Load the network now and try it; InputError for one that is damaged or incomplete."""
        if not all(np.isfinite(states).all() for _, states in self.each(["a face"])):
            raise InputError("a text encoder", f"{self._folder}, whose states are not finite", _COPY)
        return self

    def encode(self, texts: Sequence[str]) -> list[States]:
        """States (tokens, dim) of every text, in order; any text has some, an empty one those of start and end.

        Texts of like length are computed together; each alone gives the same but for the last digits. The states of one
        text alone, of a model that was named, are kept in the user's cache where it can be written. Raises InputError
        for something that is no string.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError("a list of texts", type(texts).__name__, "pass [text] for one")
        if len(texts) != 1 or not self.named:
            found = dict(self.each(texts))
            return [found[i] for i in range(len(texts))]
        key = ["sentence", self.fingerprint, texts[0].encode("utf-8", "replace").decode("utf-8")]

        def states() -> dict[str, States]:
            return {"states": dict(self.each(texts))[0]}

        try:
            return [cached(cache_folder() / "sentences", key, states)["states"]]
        except OutputError:  # a full or protected cache is no reason not to answer
            return [states()["states"]]

    @property
    def network(self) -> nn.Module:
        """The frozen network, for training beside it."""
        network: nn.Module = self._model[0]
        return network

    def tokens(self, texts: Sequence[str]) -> Any:
        """Numbers of the tokens of texts side by side (`input_ids`) and which are there (`attention_mask`)."""
        padded = {"padding": True, "truncation": True, "max_length": self.max_tokens, "return_tensors": "pt"}
        plain = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # no lone surrogates
        return self._model[1](plain, **padded)

    def each(self, texts: Sequence[str]) -> Iterator[tuple[int, States]]:
        """The number of every text and its states, the shortest texts first."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for first in range(0, len(order), _BATCH):
            part = order[first : first + _BATCH]
            read = self.tokens([texts[i] for i in part])
            ids, mask = read["input_ids"], read["attention_mask"]
            with torch.inference_mode():
                states = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
            for i, row, there in zip(part, states, mask.bool(), strict=True):
                yield i, np.ascontiguousarray(row[there].float().numpy())


def load_text_encoder(name_or_path: str = "minilm") -> TextEncoder:
    """A text encoder by the name of a frozen model, or from a folder with weights as safetensors and a tokenizer.

    A folder's network is loaded and tried at once, a frozen model's when it first encodes.

    Raises:
        AssetError: a named model is to be had nowhere.
        InputError: neither a name nor a folder, another kind of model, or one that is damaged or incomplete.
    """
    found = locate(name_or_path, "text encoder")
    encoder = TextEncoder(found)
    return encoder if encoder.named else encoder.load()


@dataclass(frozen=True, eq=False)
class TextStates:
    """States of all tokens of all texts, one text after another: text i has the rows from `starts[i]` on."""

    rows: Float16[np.ndarray, "rows dim"]
    starts: Int64[np.ndarray, " texts_and_one"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batch(
        self, texts: Sequence[int]
    ) -> tuple[Float32[np.ndarray, "texts tokens dim"], Bool[np.ndarray, "texts tokens"]]:
        """States of some texts side by side, padded with zeros, and which of them are there."""
        first, last = self.starts[list(texts)], self.starts[[i + 1 for i in texts]]
        counts = last - first
        mask = np.arange(counts.max()) < counts[:, None]
        states = np.zeros((*mask.shape, self.rows.shape[1]), np.float32)
        states[mask] = self.rows[np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])]
        return states, mask

    def of(self, text: int) -> Float32[np.ndarray, "tokens dim"]:
        """States of one text."""
        return self.rows[self.starts[text] : self.starts[text + 1]].astype(np.float32)


def encode_texts(
    texts: Sequence[str], encoder: TextEncoder, folder: Path | None = None, progress: bool | None = None
) -> TextStates:
    """States of texts, from a file in `folder` where the same texts were encoded with the same encoder before.

    A file that is damaged is made again. `progress` as in `train`.
    """

    def encoded() -> dict[str, np.ndarray]:
        hidden = None if progress is None else not progress
        bar = tqdm(encoder.each(texts), "encoding texts", len(texts), leave=False, disable=hidden)
        found = {i: states.astype(np.float16) for i, states in bar}
        states = [found[i] for i in range(len(texts))]
        return {"rows": np.concatenate(states), "starts": np.cumsum([0, *map(len, states)])}

    kept = cached(folder, ["text states", encoder.fingerprint, *texts], encoded)
    return TextStates(kept["rows"], kept["starts"])


# Causal language models. Weights that come quantised, in a GGUF file, are written once as transformers saves them.


def dequantised(found: Resolved) -> Path:
    """The folder with the weights of a model's one GGUF file as float32, made where the cache does not have it.

    Raises:
        InputError: the file is no causal language model that transformers can read.
    """
    (name, source), *_ = found.files.items()
    digest = found.sha256.get(name) or file_sha256(source)
    folder = cache_folder() / "dequantised" / f"{found.name}-{digest[:12]}-{RECIPE}"
    if _whole(folder):
        return folder
    make_folder(folder.parent)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if not _whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            with atomic_folder(folder) as made:
                model, tokenizer = _read(source)
                with loading():
                    model.save_pretrained(made)
                    tokenizer.save_pretrained(made)
                sizes = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
                (made / SIZES).write_text(json.dumps(sizes, indent=1), "utf-8")
    return folder


def _whole(folder: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((folder / SIZES).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _read(source: Path) -> tuple[Any, Any]:
    what = f"GGUF file with a causal language model as {source.name}"
    quantised, tokenizer = load_pretrained(
        source.parent, "AutoModelForCausalLM", what, spare="", tokenizer=True, dtype="float32", gguf_file=source.name
    )
    config = quantised.config
    del config.quantization_config
    plain = type(quantised)(config)  # the same numbers in a model that may be saved
    plain.load_state_dict(quantised.state_dict())
    return plain, tokenizer


Embeddings = Float[torch.Tensor, "batch tokens width"]


@dataclass(frozen=True, eq=False)
class KVCache:
    """Keys and values of prompts that a model has read, and the scores of each one's next token."""

    cache: Any
    next: Float[torch.Tensor, "prompts vocabulary"]

    def row(self, number: int) -> KVCache:
        """A copy for one of the prompts."""
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(torch.tensor([number]))
        return KVCache(cache, self.next[number : number + 1])


class LanguageModel:
    """A causal network of transformers with its tokenizer, frozen.

    Attributes:
        network: the network, for training through it; its weights need no gradient.
        name: what it is known by.
        reason: where it came from, and why.
        width: numbers in the embedding of a token.
        fingerprint: digest of weights and tokenizer.
        scale: root mean square of the embeddings of its tokens.
    """

    def __init__(self, network: Any, tokenizer: Any, name: str, reason: str, fingerprint: str) -> None:
        self.network: Any = network.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self.name, self.reason, self.fingerprint = name, reason, fingerprint
        embeddings = network.get_input_embeddings().weight
        self.width = int(embeddings.shape[1])
        self.scale = float(embeddings.float().square().mean().sqrt())
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else network.config.eos_token_id
        if not isinstance(end, int):
            do = "set eos_token in its tokenizer_config.json"
            raise InputError("a language model with a mark of the end", "none", do)
        self.end = end

    def tokens(self, text: str) -> list[int]:
        """Numbers of a text's tokens, without marks of start and end."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without marks."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def embed(self, tokens: Sequence[int] | Int64[torch.Tensor, ...]) -> Float[torch.Tensor, "*shape width"]:
        """Embeddings of tokens, numbered in a list or in a tensor of any shape."""
        numbers = torch.as_tensor(tokens, dtype=torch.long, device=self.network.device)
        embedded: torch.Tensor = self.network.get_input_embeddings()(numbers)
        return embedded

    def bos(self) -> Float[torch.Tensor, "1 width"]:
        """The embedding of the mark of the start; of the end where there is none."""
        start = self._tokenizer.bos_token_id
        return self.embed([self.end if start is None else start])

    def scores(self, embeddings: Embeddings, last: int) -> Float[torch.Tensor, "batch last vocabulary"]:
        """Scores (logits, float32) of the token behind each of the `last` ones."""
        inner = self.network.model(inputs_embeds=embeddings.to(self.network.dtype), use_cache=False)
        scores: torch.Tensor = self.network.lm_head(inner.last_hidden_state[:, -last:]).float()
        return scores

    @torch.inference_mode()
    def read(self, embeddings: Embeddings) -> KVCache:
        """Read prompts of one length."""
        seen = self.network(inputs_embeds=embeddings.to(self.network.dtype), use_cache=True, logits_to_keep=1)
        return KVCache(seen.past_key_values, seen.logits[:, -1].float())

    @torch.inference_mode()
    def log_probabilities(
        self, kv_cache: KVCache, continuations: Sequence[Sequence[int]]
    ) -> Float[torch.Tensor, "prompts continuations"]:
        """Log probability of each continuation (one token at least) behind every prompt, read side by side."""
        prompts, many = len(kv_cache.next), len(continuations)
        longest = max(map(len, continuations))
        ids = torch.tensor([[*tokens, *[self.end] * (longest - len(tokens))] for tokens in continuations])
        ids = ids.repeat(prompts, 1)
        scores = kv_cache.next.repeat_interleave(many, dim=0)[:, None]
        if longest > 1:
            cache = copy.deepcopy(kv_cache.cache)
            cache.batch_repeat_interleave(many)
            seen = self.network(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True)
            scores = torch.cat([scores, seen.logits.float()], dim=1)
        found = scores.log_softmax(dim=-1).gather(2, ids[..., None])[..., 0].unflatten(0, (prompts, many))
        there = torch.arange(longest) < torch.tensor([[len(tokens)] for tokens in continuations])
        return (found * there).sum(dim=2)

    @torch.inference_mode()
    def go_on(
        self,
        kv_cache: KVCache,
        most: int,
        begin: Sequence[Sequence[int]] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """Tokens behind every prompt: what it `begin`s with, then the likeliest ones, or ones drawn by a seed.

        Each ends with the mark of the end, which is left out, a line's end, or after `most` tokens. Words are drawn
        where the temperature is above 0, for every prompt from the same stream.
        """
        begun: Sequence[Sequence[int]] = begin or [[]] * len(kv_cache.next)
        return [self._go_on(kv_cache.row(i), most, list(said), temperature, seed) for i, said in enumerate(begun)]

    @torch.inference_mode()
    def choose(
        self,
        kv_cache: KVCache,
        begun: str,
        follow: Callable[[Sequence[str]], Collection[str]],
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Pieces of text behind a prompt that ends with what is `begun`, each one of those that may `follow` these.

        Decoding walks down the trie of their tokens: where these part, the likeliest one goes on, or one drawn by a
        seed where the temperature is above 0. There must be an end from which nothing follows.
        """
        random, row = torch.Generator().manual_seed(seed), kv_cache.row(0)
        scores, pieces, unread = row.next[0], list[str](), list[int]()
        while may := follow(pieces):
            text = begun + "".join(pieces)
            first, place = len(self.tokens(text)), 0
            left = {piece: self.tokens(text + piece)[first:] for piece in may}
            while len(left) > 1 and (allowed := sorted({ids[place] for ids in left.values() if len(ids) > place})):
                if len(allowed) > 1 and unread:
                    read = torch.tensor([unread])
                    seen = self.network(input_ids=read, past_key_values=row.cache, use_cache=True, logits_to_keep=1)
                    scores, unread = seen.logits[0, -1].float(), []
                token = allowed[draw(scores[allowed], temperature, random) if len(allowed) > 1 else 0]
                left = {piece: ids for piece, ids in left.items() if ids[place : place + 1] == [token]}
                unread.append(token)
                place += 1
            piece, ids = next(iter(left.items()))
            pieces.append(piece)
            unread += ids[place:]
        return pieces

    def _go_on(self, kv_cache: KVCache, most: int, said: list[int], temperature: float, seed: int) -> list[int]:
        """As `go_on`, for one prompt; the cache is used up."""
        random, scores, feed = torch.Generator().manual_seed(seed), kv_cache.next, said
        while len(said) < most:
            if feed:
                seen = self.network(input_ids=torch.tensor([feed]), past_key_values=kv_cache.cache, use_cache=True)
                scores = seen.logits[:, -1].float()
            token = draw(scores[0], temperature, random)
            if token == self.end or "\n" in self._tokenizer.decode([token]):
                break
            said, feed = [*said, token], [token]
        return said


def draw(scores: Float[torch.Tensor, " n"], temperature: float, random: torch.Generator) -> int:
    """The number of the highest score, or one drawn at a temperature above 0."""
    if temperature <= 0:
        return int(scores.argmax())
    return int(torch.multinomial((scores / temperature).softmax(dim=0), 1, generator=random))


def load_language_model(name_or_path: str = "smollm2") -> LanguageModel:
    """A language model by the name of a frozen one, or from a folder with weights as safetensors and a tokenizer.

    Weights of up to `FLOAT32_BYTES` are computed with as float32, larger ones as they are stored.

    Raises:
        AssetError: a named model is to be had nowhere.
        InputError: neither a name nor a folder, no causal model, or one that is damaged or incomplete.
    """
    found = locate(name_or_path, "causal language model")
    folder, fingerprint = found.folder, _sha256([RECIPE, found.sha256])
    if not found.files:
        read_config(folder / "config.json")
        fingerprint = _sha256(_digests(folder, "tokenizer.model"))
    elif [path.suffix for path in found.files.values()] == [".gguf"]:
        folder = dequantised(found)  # whose own digest follows the version of transformers, which it names
    small = sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= FLOAT32_BYTES
    dtype = "float32" if small else "auto"
    network, tokenizer = load_pretrained(folder, "AutoModelForCausalLM", "language model", tokenizer=True, dtype=dtype)
    if not isinstance(getattr(network, "model", None), nn.Module) or not hasattr(network, "lm_head"):
        got = f"{type(network).__name__} in {folder}"
        raise InputError("a causal language model built as Llama is (`model` and `lm_head`)", got, "use such a one")
    model = LanguageModel(network, tokenizer, found.name, found.described, fingerprint)
    if not bool(model.read(model.bos()[None]).next.isfinite().all()):
        raise InputError("a language model", f"{folder}, whose scores are not finite", "copy the model again")
    return model


def answer_loss(
    scores: Float[torch.Tensor, "batch last vocabulary"],
    tokens: Int64[torch.Tensor, "batch last"],
    weights: Float[torch.Tensor, "batch last"],
    smoothing: float = 0.0,
) -> Float[torch.Tensor, ""]:
    """Weighted mean of the cross-entropy of the tokens of answers."""
    flat = functional.cross_entropy(scores.flatten(0, 1), tokens.flatten(), reduction="none", label_smoothing=smoothing)
    return (flat * weights.flatten()).sum() / weights.sum().clamp(min=1e-6)
