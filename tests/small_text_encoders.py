"""Small random text encoders, saved as transformers saves them: a BERT and CLIP's text tower with their tokenizers."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

WORDS = "a she he is furious happy calm sad brow down strongly person speaks with and . , the face".split()
DIM = 16


def tokenizer(kind: str, longest: int) -> PreTrainedTokenizerFast:
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
    return _save(model, tokenizer("bert", 512), folder)


def save_clip(folder: Path) -> Path:
    """CLIP's text tower of two layers with 12 positions."""
    torch.manual_seed(0)
    sizes = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = CLIPTextConfig(
        vocab_size=len(WORDS) + 4, max_position_embeddings=12, projection_dim=8, eos_token_id=3, **sizes
    )
    return _save(CLIPTextModel(config), tokenizer("clip", 12), folder)


def _save(model: torch.nn.Module, words: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
