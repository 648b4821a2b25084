"""Small random language models, saved as transformers saves them, and an instructor that hears and writes with them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from avi_lib.instruction.action_units import EMOTION_CLASSES
from avi_lib.instruction.grammar import OPENING, QUESTIONS, answer
from avi_lib.instruction.language_model import LanguageModel, load_language_model

WIDTH = 24


def tokenizer(start: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer that has every word of questions and answers, a space before it, and single characters."""
    splitting = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [OPENING, *(answer(*label) for label in EMOTION_CLASSES), *(f"\n{text}\n" for text in QUESTIONS)]
    words = {piece for text in texts for piece, _ in splitting.pre_tokenize_str(text)}
    pieces = ["<s>", "</s>", "<unk>", *sorted({*pre_tokenizers.ByteLevel.alphabet(), *words})]
    inner = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    inner.pre_tokenizer = splitting
    inner.decoder = decoders.ByteLevel()
    marks = {"bos_token": "<s>"} if start else {}
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>", **marks)


def save_llama(folder: Path, seed: int = 0, start: bool = True, width: int = WIDTH) -> Path:
    """A Llama of two layers with tied embeddings."""
    words = tokenizer(start)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=256,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def save_gpt2(folder: Path) -> Path:
    """A GPT-2, which keeps its layers under another name."""
    words = tokenizer()
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, n_positions=64)).save_pretrained(
        folder
    )
    words.save_pretrained(folder)
    return folder


def llama(folder: Path, seed: int = 0) -> LanguageModel:
    """A small language model, loaded from a folder it is saved in first."""
    return load_language_model(str(save_llama(folder, seed)))
