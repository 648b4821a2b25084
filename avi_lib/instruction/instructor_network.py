"""The instructor's trained part: what is heard of speech, and the soft prompt that tells it to a language model.

>>> model = load_instructor_model(Path("instructor.safetensors"))
>>> heard = model.hear(stack([voice.acoustic_features(encoder)]))
>>> model.prompter(heard.logits).shape      # (clips, tokens, width of the language model)
torch.Size([1, 8, 576])

Emotion classes, action units and whether there is speech at all are linear in the means over time of the encoder's
early layers, strongly regularised: this travels to studios, languages and people that were never heard. Where a neutral
recording of the same person is known, a second linear map reads how a clip differs from it, and their logits are
averaged. A Q-Former may add what single moments tell: its embedding lies in a space that is shared with sentences, and
how well the sentence of a class fits it is added to the class's logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from avi_lib.instruction.action_units import ACTION_UNITS, EMOTION_CLASSES, EMOTIONS, levels
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.weights import WeightsFile

_BY_CODE = {unit.facs: name for name, unit in ACTION_UNITS.items()}
UNITS = {f"AU{n:02d}": _BY_CODE[f"AU{n}"] for n in (4, 5, 6, 7, 10, 12, 14)}
"""Action units that are heard, by their FACS codes as OpenFace writes them: those that a voice tells beyond the emotion
class, and the lowered brow."""
LEVELS = 3
_EMOTION_OF = torch.tensor([EMOTIONS.index(label.emotion) for label in EMOTION_CLASSES])
_LEVEL_OF = torch.tensor([label.level - 1 for label in EMOTION_CLASSES])
_GRADED = torch.tensor([len(levels(label.emotion)) > 1 for label in EMOTION_CLASSES])
BEYOND = 5.0
"""Deviations beyond which a mean counts no more."""
DOUBT = -8.0
"""Log probability below which a class is simply out of the question."""


class InstructorShape(BaseModel):
    """What an instructor is made for and how large it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    encoder_fingerprint: str
    states: int = Field(description="numbers in a state of the speech encoder")
    layers: int = Field(description="layers of the speech encoder that are read")
    text_encoder: str
    text_fingerprint: str
    text: int = Field(description="numbers in a state of the text encoder")
    language_model: str
    language_fingerprint: str
    width: int = Field(description="numbers in an embedding of the language model")
    aligned: int = Field(64, description="numbers of the space that speech and sentences share")
    features: int = Field(160, description="width of the Q-Former")
    queries: int = Field(0, description="queries of the Q-Former; 0 leaves it out")
    blocks: int = 2
    heads: int = 4
    tokens: int = Field(8, description="embeddings of the prompt")
    hidden: int = Field(192, description="features between the logits and the prompt")
    units: int = len(UNITS)
    classes: int = len(EMOTION_CLASSES)


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Acoustic features side by side, padded with zeros, and which steps are there."""

    states: Float[torch.Tensor, "clips layers steps dim"]
    there: Bool[torch.Tensor, "clips steps"]


def stack(clips: Sequence[AcousticFeatures]) -> FeatureBatch:
    """Acoustic features of clips side by side."""
    states = pad_sequence([torch.tensor(clip).float().transpose(0, 1) for clip in clips], batch_first=True)
    there = torch.arange(states.shape[1]) < torch.tensor([clip.shape[1] for clip in clips])[:, None]
    return FeatureBatch(states.transpose(1, 2).contiguous(), there)


def means(batch: FeatureBatch) -> Float[torch.Tensor, "clips numbers"]:
    """Means over time of the states of all layers that are read."""
    present = batch.there[:, None, :, None].float()
    return ((batch.states * present).sum(dim=2) / present.sum(dim=2).clamp(min=1)).flatten(1)


class Listener(nn.Module):
    """A linear map from the means of clips, standardised, to logits of emotions, levels and speech, and to units."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, numbers: int, units: int) -> None:
        super().__init__()
        self.sizes = [len(EMOTIONS), LEVELS, units, 1]
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("deviation", torch.ones(numbers))
        self.linear = nn.Linear(numbers, sum(self.sizes))

    def normal(self, numbers: Float[torch.Tensor, "clips numbers"]) -> Float[torch.Tensor, "clips numbers"]:
        """Numbers standardised, within `BEYOND` deviations."""
        return ((numbers - self.mean) / self.deviation).clamp(-BEYOND, BEYOND)

    def forward(
        self, numbers: Float[torch.Tensor, "clips numbers"]
    ) -> tuple[
        Float[torch.Tensor, "clips classes"], Float[torch.Tensor, "clips units"], Float[torch.Tensor, "clips 1"]
    ]:
        """Logits of classes, strengths of units above the speaker's neutral face, and the logit of speech.

        The logit of a class is that of its emotion and the log probability of its level.
        """
        emotions, graded, units, speech = self.linear(self.normal(numbers)).split(self.sizes, dim=1)
        level = graded.log_softmax(dim=1)[:, _LEVEL_OF.to(graded.device)] * _GRADED.to(graded.device)
        return emotions[:, _EMOTION_OF.to(graded.device)] + level, units, speech


class QFormer(nn.Module):
    """Learnable queries that gather what the states hold of the speaker (BLIP-2, Li et al., ICML 2023).

    States of several layers are mixed by weights that are learned.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, states: int, layers: int, width: int, queries: int, blocks: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(layers, 1, states))
        self.register_buffer("deviation", torch.ones(layers, 1, states))
        self.layers = nn.Parameter(torch.zeros(layers))
        self.states = nn.Linear(states, width)
        self.queries = nn.Parameter(torch.randn(1, queries, width).mul_(0.02))  # in place: see build_network
        self.dropout = nn.Dropout(dropout)
        config = Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=blocks,
            num_attention_heads=heads,
            intermediate_size=2 * width,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout / 2,
            encoder_hidden_size=width,
            cross_attention_frequency=1,
        )
        self.network = Blip2QFormerModel(config)

    def forward(
        self,
        states: Float[torch.Tensor, "clips layers steps dim"],
        there: Bool[torch.Tensor, "clips steps"],
    ) -> Float[torch.Tensor, "clips queries width"]:
        """What the queries gather from the steps that are there."""
        normal = (states - self.mean) / self.deviation
        mixed = torch.einsum("blsd,l->bsd", normal, self.layers.softmax(dim=0))
        keys = self.dropout(self.states(mixed))
        queries = self.queries.expand(len(states), -1, -1)
        gathered: torch.Tensor = self.network(
            query_embeds=queries, encoder_hidden_states=keys, encoder_attention_mask=there.long()
        ).last_hidden_state
        return gathered


class Prompter(nn.Module):
    """The projection: from the logits of the classes to the embeddings of a soft prompt."""

    def __init__(self, shape: InstructorShape) -> None:
        super().__init__()
        self.size = (shape.tokens, shape.width)
        self.belief = nn.Linear(shape.classes, shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.tokens * shape.width)
        self.loudness = nn.Parameter(torch.tensor(0.1))

    def forward(self, logits: Float[torch.Tensor, "clips classes"]) -> Float[torch.Tensor, "clips tokens width"]:
        """Embeddings of equal length, which is learned."""
        hidden = self.belief(logits.log_softmax(dim=1).clamp(min=DOUBT) / -DOUBT)
        tokens = self.out(functional.gelu(hidden)).unflatten(1, self.size)
        return functional.layer_norm(tokens, tokens.shape[-1:]) * self.loudness


@dataclass(frozen=True, eq=False)
class Heard:
    """What is heard of clips: logits of emotion classes, strengths of `UNITS`, the logit of there being speech."""

    logits: Float[torch.Tensor, "clips classes"]
    units: Float[torch.Tensor, "clips units"]
    speech: Float[torch.Tensor, " clips"]


class InstructorModel(nn.Module):
    """The instructor's trained part: two listeners, the Q-Former where there is one, and the projection.

    Buffers hold the `anchors` (where the sentences of all classes lie), and what makes probabilities what they claim to
    be, alone and beside a neutral recording: the `temperature`, and the probability below which an emotion is `lost`.
    `usual` is how far the means of all that a person says lie from those of their neutral speech, on average.
    """

    anchors: torch.Tensor
    usual: torch.Tensor
    temperature: torch.Tensor
    lost: torch.Tensor

    def __init__(self, shape: InstructorShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        sizes = (shape.layers * shape.states, shape.units)
        self.alone, self.beside = Listener(*sizes), Listener(*sizes)
        self.prompter = Prompter(shape)
        self.register_buffer("usual", torch.zeros(sizes[0]))
        self.register_buffer("temperature", torch.ones(2))
        self.register_buffer("lost", torch.zeros(2))
        if shape.queries:
            former = (shape.states, shape.layers, shape.features, shape.queries, shape.blocks, shape.heads)
            self.qformer = QFormer(*former, dropout)
            self.dropout = nn.Dropout(dropout)
            self.of_states = nn.Linear(shape.features, shape.aligned)
            self.of_text = nn.Linear(shape.text, shape.aligned)
            self.sharpness = nn.Parameter(torch.tensor(2.0))
            self.register_buffer("anchors", torch.zeros(shape.classes, shape.aligned))
            if not self.of_states.weight.is_meta:
                nn.init.zeros_(self.of_states.weight)

    def hear(self, batch: FeatureBatch, neutral: Float[torch.Tensor, "clips numbers"] | None = None) -> Heard:
        """What is heard of clips; neutral: `means` of calm recordings of the same people."""
        numbers = means(batch)
        logits, units, speech = self.alone(numbers)
        if neutral is not None:
            apart, units, _ = self.beside(numbers - neutral)
            logits = (logits + apart) / 2
        if self.shape.queries:
            logits = logits + self.likeness(self.align(batch), self.anchors)
        return Heard(logits, units, speech[:, 0])

    def align(self, batch: FeatureBatch) -> Float[torch.Tensor, "clips aligned"]:
        """Where clips lie among sentences, by the Q-Former."""
        gathered = self.qformer(batch.states, batch.there).mean(dim=1)
        aligned: torch.Tensor = self.of_states(self.dropout(gathered))
        return aligned

    def sentences(self, states: Float[torch.Tensor, "sentences text"]) -> Float[torch.Tensor, "sentences aligned"]:
        """Where sentences lie, from the means of the text encoder's states of their tokens."""
        normal = functional.layer_norm(states, states.shape[-1:])
        return functional.normalize(self.of_text(normal), dim=1)

    def likeness(
        self, aligned: Float[torch.Tensor, "clips aligned"], sentences: Float[torch.Tensor, "sentences aligned"]
    ) -> Float[torch.Tensor, "clips sentences"]:
        """How well sentences fit clips, as logits."""
        return self.sharpness.exp() * aligned @ sentences.T


def _of_shape(**fields: Any) -> InstructorModel:
    shape = InstructorShape(**fields)
    if (shape.classes, shape.units) != (len(EMOTION_CLASSES), len(UNITS)):
        raise ValueError(f"{shape.classes} emotion classes and {shape.units} units, not those of this version")
    return InstructorModel(shape)


INSTRUCTOR_FILE = WeightsFile("instructor", 3, _of_shape, "train them with notebook 02, or check the path")
save_instructor_model, load_instructor_model = INSTRUCTOR_FILE.save, INSTRUCTOR_FILE.load
read_instructor_about = INSTRUCTOR_FILE.about
