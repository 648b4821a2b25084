"""Small random models of text, saved as transformers saves them: Llama, GPT-2, a BERT and CLIP's text tower."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from avi_lib.instruction.action_units import EMOTION_CLASSES
from avi_lib.instruction.grammar import OPENING, QUESTIONS, answer
from avi_lib.instruction.language_model import LanguageModel, load_language_model

WIDTH, DIM = 24, 16
WORDS = "a she he is furious happy calm sad brow down strongly person speaks with and . , the face".split()


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


def word_tokenizer(kind: str, longest: int) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that marks start and end."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*marks, *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    pad = {} if kind == "clip" else {"pad_token": "[PAD]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", eos_token="[SEP]", model_max_length=longest, **pad
    )


def save_bert(folder: Path, seed: int = 0) -> Path:
    """A BERT of two layers with 40 positions."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    model = BertModel(BertConfig(vocab_size=len(WORDS) + 4, max_position_embeddings=40, **sizes))
    return _save(model, word_tokenizer("bert", 512), folder)


def save_clip(folder: Path) -> Path:
    """CLIP's text tower of two layers with 12 positions."""
    torch.manual_seed(0)
    sizes = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = CLIPTextConfig(
        vocab_size=len(WORDS) + 4, max_position_embeddings=12, projection_dim=8, eos_token_id=3, **sizes
    )
    return _save(CLIPTextModel(config), word_tokenizer("clip", 12), folder)


def _save(model: torch.nn.Module, words: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
