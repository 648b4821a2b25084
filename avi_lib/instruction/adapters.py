"""Adapters: low-rank additions to a language model's attention, for those who let it learn a little (LoRA).

>>> adapters = add_adapters(language, rank=8, seed=0)     # changes nothing before it is trained
>>> sizes_of(adapters)[0]
('model.layers.0.self_attn.q_proj.lora_A.default.weight', 8, 576)

Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", as `peft` implements it. The model's own weights
stay as they are; the adapters are kept with the instructor's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from avi_lib.errors import InputError
from avi_lib.instruction.language_model import LanguageModel

TARGETS = ("q_proj", "v_proj")
"""Linear maps of the attention that are added to."""

Size = tuple[str, int, int]


class Adapters(nn.Module):
    """The adapters' weights by their names in the network, the network's own tensors."""

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.names = tuple(weights)
        self.weights = nn.ParameterList(list(weights.values()))

    def named(self) -> dict[str, torch.Tensor]:
        """Weights by name."""
        return {name: weight.detach() for name, weight in zip(self.names, self.weights, strict=True)}

    @torch.no_grad()
    def take(self, others: Mapping[str, torch.Tensor]) -> None:
        """Take over the values of others, by name; InputError where they are not alike."""
        own = self.named()
        if {name: value.shape for name, value in others.items()} != {name: value.shape for name, value in own.items()}:
            got = f"{len(others)} for {len(own)} places"
            raise InputError("adapters for this language model", got, "name the one they were trained with")
        for name, value in others.items():
            own[name].copy_(value)


def add_adapters(language: LanguageModel, rank: int, seed: int = 0) -> Adapters:
    """Put adapters into a language model, in place; they add nothing until they are trained."""
    from peft import LoraConfig, inject_adapter_in_model

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS)), language.network)
    weights = {name: value for name, value in language.network.named_parameters() if ".lora_" in name}
    if not weights:
        got = f"none in {language.name}"
        raise InputError(f"attention with {' and '.join(TARGETS)}", got, "train without adapters")
    for name, value in language.network.named_parameters():
        value.requires_grad_(name in weights)
    return Adapters(weights)


def sizes_of(adapters: Adapters) -> tuple[Size, ...]:
    """Name, rows and columns of every weight."""
    return tuple((name, int(value.shape[0]), int(value.shape[1])) for name, value in adapters.named().items())


def wear(language: LanguageModel, rank: int, sizes: Sequence[Size], weights: Sequence[torch.Tensor]) -> None:
    """Put trained adapters into a language model, in place."""
    adapters = add_adapters(language, rank)
    adapters.take({name: weight for (name, _, _), weight in zip(sizes, weights, strict=True)})
    language.network.requires_grad_(False)
