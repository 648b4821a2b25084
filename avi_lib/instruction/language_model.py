"""Frozen language models: the states of a prompt in, words out.

>>> model = load_language_model("smollm2")     # or a folder with any causal model of transformers, such as LLaMA
>>> reading = model.read(torch.cat([model.bos(), model.embed(model.tokens("A person feels"))])[None])
>>> model.text(model.go_on(reading, most=12)[0])
'...'

No weight is ever changed: gradients go through the network to what it reads, not into it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from jaxtyping import Float, Int64
from torch import nn
from torch.nn import functional

from avi_lib.errors import InputError
from avi_lib.files import atomic_folder, file_sha256, make_folder
from avi_lib.models import Resolved, cache_folder, load_manifest, loading, resolve

# Weights that come quantised, read once: a GGUF file in, a folder as transformers saves one out, kept in the cache.


SIZES = "sizes.json"
"""Names and sizes of the folder's files: a copy that was cut short is made again."""
RECIPE = 1
"""Part of the folder's name; to be raised when the way from file to folder changes."""


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
            _make(source, folder)
    return folder


def _whole(folder: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((folder / SIZES).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _make(source: Path, folder: Path) -> None:
    with atomic_folder(folder) as made:
        model, tokenizer = _read(source)
        with loading():
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
        sizes = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
        (made / SIZES).write_text(json.dumps(sizes, indent=1), "utf-8")


def _read(source: Path) -> tuple[Any, Any]:
    import transformers

    where = {"gguf_file": source.name, "local_files_only": True}
    try:
        with loading():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **where)
            quantised = transformers.AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
    except Exception as error:  # whatever a damaged or foreign file makes transformers and gguf raise
        words = " ".join(str(error).split()) or type(error).__name__
        expected = "a GGUF file with a causal language model"
        raise InputError(expected, f"{source}: {words[:300]}", "copy it again, or name a folder of weights") from error
    config = quantised.config
    del config.quantization_config
    plain = type(quantised)(config)  # the same numbers in a model that may be saved
    plain.load_state_dict(quantised.state_dict())
    return plain, tokenizer


Embeddings = Float[torch.Tensor, "batch tokens width"]


@dataclass(frozen=True, eq=False)
class KVCache:
    """What a model has read of prompts: its cache of keys and values, and the scores of each one's next token."""

    cache: Any
    next: Float[torch.Tensor, "prompts vocabulary"]

    def rows(self, numbers: Sequence[int]) -> KVCache:
        """The reading of some of the prompts."""
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(torch.tensor(numbers))
        return KVCache(cache, self.next[torch.tensor(numbers)])


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
        self.end = _end(network, tokenizer)

    def tokens(self, text: str) -> list[int]:
        """Numbers of a text's tokens, without marks of start and end."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without marks."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def embed(self, tokens: Sequence[int] | Int64[torch.Tensor, ...]) -> Float[torch.Tensor, "*shape width"]:
        """Embeddings of tokens, numbered in a list or in a tensor of any shape."""
        embedded: torch.Tensor = self.network.get_input_embeddings()(torch.as_tensor(tokens, dtype=torch.long))
        return embedded

    def bos(self) -> Float[torch.Tensor, "1 width"]:
        """The embedding of the mark of the start; of the end where there is none."""
        start = self._tokenizer.bos_token_id
        return self.embed([self.end if start is None else start])

    def scores(self, embeddings: Embeddings, last: int) -> Float[torch.Tensor, "batch last vocabulary"]:
        """Scores (logits, float32) of the token behind each of the `last` ones."""
        inner = self.network.model(inputs_embeds=embeddings.to(self._dtype), use_cache=False)
        scores: torch.Tensor = self.network.lm_head(inner.last_hidden_state[:, -last:]).float()
        return scores

    @torch.inference_mode()
    def read(self, embeddings: Embeddings) -> KVCache:
        """Read prompts of one length."""
        seen = self.network(inputs_embeds=embeddings.to(self._dtype), use_cache=True, logits_to_keep=1)
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
        begun = [list(tokens) for tokens in begin or [[]] * len(kv_cache.next)]
        said: dict[int, list[int]] = {}
        for length in sorted(set(map(len, begun))):
            rows = [number for number, tokens in enumerate(begun) if len(tokens) == length]
            chosen = kv_cache.rows(rows)
            for number, tokens in zip(
                rows, self._go_on(chosen, most, [begun[row] for row in rows], temperature, seed), strict=True
            ):
                said[number] = tokens
        return [said[number] for number in range(len(begun))]

    def _go_on(
        self, kv_cache: KVCache, most: int, said: list[list[int]], temperature: float, seed: int
    ) -> list[list[int]]:
        """As `go_on`, for prompts that begin with as many tokens; the reading is used up."""
        randoms = [torch.Generator().manual_seed(seed) for _ in said]
        cache, scores, going = kv_cache.cache, kv_cache.next, [True] * len(said)
        feed = torch.tensor(said, dtype=torch.long)
        while True:
            if feed.shape[1]:
                seen = self.network(input_ids=feed, past_key_values=cache, use_cache=True)
                scores = seen.logits[:, -1].float()
            chosen = [draw(row, temperature, random) for row, random in zip(scores, randoms, strict=True)]
            for number, token in enumerate(chosen):
                full = len(said[number]) >= most
                if full or token == self.end or "\n" in self._tokenizer.decode([token]):
                    going[number] = False
                if going[number]:
                    said[number].append(token)
            if not any(going):
                return said
            feed = torch.tensor(chosen)[:, None]

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.network.dtype
        return dtype


def draw(scores: Float[torch.Tensor, " n"], temperature: float, random: torch.Generator) -> int:
    """The number of the highest score, or one drawn at a temperature above 0."""
    if temperature <= 0:
        return int(scores.argmax())
    return int(torch.multinomial((scores / temperature).softmax(dim=0), 1, generator=random))


def load_language_model(name_or_path: str = "smollm2") -> LanguageModel:
    """A language model by the name of a frozen one, or from a folder with weights as safetensors and a tokenizer.

    Weights of up to `FLOAT32_BYTES` are computed with as float32, larger ones as they are stored. Nothing of the folder
    is run.

    Raises:
        AssetError: a named model is to be had nowhere.
        InputError: neither a name nor a folder, no causal model, or one that is damaged or incomplete.
    """
    if name_or_path in _names():
        found = resolve(name_or_path)
        name, reason = name_or_path, f"{found.reason}; licence {found.licence}"
        quantised = len(found.files) == 1 and next(iter(found.files.values())).suffix == ".gguf"
        folder = dequantised(found) if quantised else found.folder
        content = [RECIPE, found.sha256]  # not the folder's: transformers writes its own version into it
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    else:
        folder = _folder(name_or_path)
        name, reason = folder.resolve().name, f"given path {folder}; licence: that of your own copy"
        digest = language_fingerprint(folder)
    network, tokenizer = _load(folder)
    model = LanguageModel(network, tokenizer, name, reason, digest)
    seen = model.read(model.bos()[None])
    if not bool(seen.next.isfinite().all()):
        raise InputError("a language model", f"{folder}, whose scores are not finite", "copy the model again")
    return model


FLOAT32_BYTES = 4_000_000_000
"""Bytes of weights up to which they are computed with as float32."""


def language_fingerprint(folder: Path) -> str:
    """Digest of the files that decide what a language model says."""
    names = ("config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json")
    files = [folder / name for name in names if (folder / name).is_file()] + sorted(folder.glob("*.safetensors"))
    return hashlib.sha256(json.dumps({p.name: file_sha256(p) for p in files}, sort_keys=True).encode()).hexdigest()


def _names() -> list[str]:
    return [model.name for model in load_manifest().models if model.purpose.startswith("causal language model")]


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        expected = f"a folder with a language model, or a name ({', '.join(_names())})"
        raise InputError(expected, repr(path), "correct the name or the path")
    if not (folder / "config.json").is_file():
        raise InputError("a model folder with config.json", f"none in {folder}", "name the folder that holds it")
    if not any(folder.glob("*.safetensors")):
        do = "where you trust its weights, load it with transformers and save it again with save_pretrained"
        raise InputError("weights as safetensors", f"none in {folder}", do)
    return folder


def _load(folder: Path) -> tuple[Any, Any]:
    import transformers

    small = sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= FLOAT32_BYTES
    try:
        with loading():
            local = {"local_files_only": True, "trust_remote_code": False}
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
            options = {
                "use_safetensors": True,
                "dtype": torch.float32 if small else "auto",
                "output_loading_info": True,
            }
            kind: Any = transformers.AutoModelForCausalLM
            network, report = kind.from_pretrained(folder, **options, **local)
    except Exception as error:  # whatever a wrong config or damaged weights make transformers raise
        words = " ".join(str(error).split()) or type(error).__name__
        got = f"{folder}: {words[:300]}"
        raise InputError("a causal language model with its tokenizer", got, "copy it again") from error
    tied = bool(getattr(network.config, "tie_word_embeddings", False))
    if missing := sorted(key for key in report["missing_keys"] if not (tied and key == "lm_head.weight")):
        got = f"{folder} without {len(missing)} of them: {', '.join(missing[:3])}"
        raise InputError("all weights of a language model", got, "copy the model again")
    if not isinstance(getattr(network, "model", None), nn.Module) or not hasattr(network, "lm_head"):
        got = f"{type(network).__name__} in {folder}"
        raise InputError("a causal language model built as Llama is (`model` and `lm_head`)", got, "use such a one")
    return network, tokenizer


def _end(network: Any, tokenizer: Any) -> int:
    """The token that ends an answer."""
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else network.config.eos_token_id
    if not isinstance(end, int):
        raise InputError(
            "a language model with a mark of the end", "none", "set eos_token in its tokenizer_config.json"
        )
    return end


def answer_loss(
    scores: Float[torch.Tensor, "batch last vocabulary"],
    tokens: Int64[torch.Tensor, "batch last"],
    weights: Float[torch.Tensor, "batch last"],
    smoothing: float = 0.0,
) -> Float[torch.Tensor, ""]:
    """Weighted mean of the cross-entropy of the tokens of answers."""
    flat = functional.cross_entropy(scores.flatten(0, 1), tokens.flatten(), reduction="none", label_smoothing=smoothing)
    return (flat * weights.flatten()).sum() / weights.sum().clamp(min=1e-6)
