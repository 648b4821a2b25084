"""Small random speech encoders of every kind, saved as their libraries save them, and a sound for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ctranslate2.converters.transformers import WhisperLoader
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
    WhisperModel,
)
from transformers.utils import logging

from avi_lib.speech.encoders import HOP, RATE_HZ, WindowedEncoder

NETWORK = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
WAVEFORM = NETWORK | {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
LARGE = WAVEFORM | {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "vocab_size": 20,
} | dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)


def tone(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise through a slowly moving envelope, float32 at 16 kHz with a peak below 1."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    envelope = 0.1 + 0.2 * (1 + np.sin(2 * np.pi * 1.3 * times_s))
    return (envelope * np.clip(0.3 * rng.standard_normal(len(times_s)), -1, 1)).astype(np.float32)


class Echo(WindowedEncoder):
    """Gives back the first sample of each frame, so that windows must agree."""

    name = reason = fingerprint = "echo"
    dim, layers, window, overlap = 1, 1, 40, 12

    def _prepare(self, wave: np.ndarray, frames: int) -> np.ndarray:
        return np.pad(wave, (0, frames * HOP - len(wave)))

    def _encode_window(self, prepared: np.ndarray, start: int, stop: int, every_layer: bool) -> np.ndarray:
        return prepared[start * HOP : stop * HOP : HOP].reshape(1, -1, 1)


def save_models(root: Path) -> Path:
    """Write a model of every kind into a folder of its name below `root`, and give `root`."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    Wav2Vec2ForCTC(Wav2Vec2Config(**LARGE, vocab_size=10)).save_pretrained(root / "wav2vec2")
    Wav2Vec2FeatureExtractor().save_pretrained(root / "wav2vec2")
    HubertModel(HubertConfig(**WAVEFORM)).save_pretrained(root / "hubert")
    WavLMModel(WavLMConfig(**WAVEFORM)).save_pretrained(root / "wavlm")
    whisper = WhisperForConditionalGeneration(WhisperConfig(**WHISPER, num_mel_bins=80))
    whisper.save_pretrained(root / "whisper")
    WhisperModel(WhisperConfig(**WHISPER, num_mel_bins=128)).save_pretrained(root / "whisper128")
    logging.enable_progress_bar()
    converted = WhisperLoader().get_model_spec(whisper)
    converted.register_vocabulary([f"token{index}" for index in range(20)])
    converted.validate()
    converted.optimize()
    (root / "ctranslate2").mkdir()
    converted.save(str(root / "ctranslate2"))
    return root
