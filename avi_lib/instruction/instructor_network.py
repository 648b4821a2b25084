"""The instructor's trained part: speech becomes a point among sentences, and that a language model's soft prompt.

>>> model = load_instructor_model(Path("instructor.safetensors"))
>>> embedding = model.embed_speech(stack([voice.acoustic_features(encoder)]))
>>> model.prompt(model.align(embedding)).shape      # (clips, tokens, width of the language model)
torch.Size([1, 8, 576])

Speech is embedded twice, and the embeddings add up, as logarithms of probabilities do, in a space that is shared with
sentences. One comes from a Q-Former on the states of the speech encoder: it knows most, and knows the studios and
sentences of training rather too well, so that it counts less outside of their domains. The other one comes from
prosodic functionals alone, which hold anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from avi_lib.instruction.action_units import EMOTION_CLASSES
from avi_lib.speech.prosody import CONTOUR, FUNCTIONALS
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.weights import build_network, read_about, read_weights, save_weights, weights_of

OUT_OF_DOMAIN = 0.1
"""How much is left of the states' embedding where they belong to no domain of training."""
RAMP = 0.25
"""How much further away than the clips of a domain, as a share of their reach, a clip is when it is out of it."""
REACH = 99.0
"""Percentile of the distances of a domain's own clips up to which it reaches."""
CLIP_FUNCTIONALS = 4.0
"""Deviations beyond which a functional counts no more."""
FUNCTIONALS_DROPOUT = 0.3
"""Share of the functionals that are left out in training."""
DOUBT = -8.0
"""Log probability below which a class is simply out of the question."""

_FORMAT = 1
_KIND = "instructor"
_REMEDY = "train them with notebook 02, or check the path"
_GONE = {"lora": "LoRA", "adapters": "LoRA weights", "words": "the transcript in the prompt"}
"""Fields of older headers, which may be there but ask for nothing, and what each would ask for."""


class InstructorShape(BaseModel):
    """What an instructor is made for and how large it is; aliases are the names in the headers of weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

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
    queries: int = 8
    blocks: int = 2
    heads: int = 4
    tokens: int = Field(8, description="embeddings of the prompt")
    hidden: int = Field(192, description="features between the aligned space and the prompt")
    domains: int = Field(1, alias="worlds", description="corpora of training")
    axes: int = Field(24, alias="usual", description="directions in which the clips of a domain differ")
    functionals: bool = Field(True, alias="manner", description="embed the prosodic functionals")
    out_of_domain: bool = Field(True, alias="familiar", description="count states of no domain of training less")
    classes: int = Field(len(EMOTION_CLASSES), alias="feelings")


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Acoustic features side by side, padded with zeros, and which steps are there."""

    states: Float[torch.Tensor, "clips layers steps dim"]
    contour: Float[torch.Tensor, "clips steps 5"]
    functionals: Float[torch.Tensor, "clips functionals"]
    there: Bool[torch.Tensor, "clips steps"]


def stack(clips: Sequence[AcousticFeatures]) -> FeatureBatch:
    """Acoustic features of clips side by side."""
    states = pad_sequence([torch.tensor(clip.states).float().transpose(0, 1) for clip in clips], batch_first=True)
    contour = pad_sequence([torch.tensor(clip.contour).float() for clip in clips], batch_first=True)
    functionals = torch.from_numpy(np.stack([clip.functionals for clip in clips]))
    there = torch.arange(contour.shape[1]) < torch.tensor([len(clip.contour) for clip in clips])[:, None]
    return FeatureBatch(states.transpose(1, 2).contiguous(), contour, functionals, there)


def pooled(
    states: Float[torch.Tensor, "clips layers steps dim"], there: Bool[torch.Tensor, "clips steps"]
) -> Float[torch.Tensor, "clips numbers"]:
    """Mean and deviation over time of the last layer's states."""
    present = there[..., None].float()
    count = present.sum(dim=1).clamp(min=1)
    last = states[:, -1]
    mean = (last * present).sum(dim=1) / count
    variance = ((last - mean[:, None]).square() * present).sum(dim=1) / count
    return torch.cat([mean, variance.sqrt()], dim=1)


class QFormer(nn.Module):
    """Learnable queries that gather what states and contour hold of the speaker (BLIP-2, Li et al., ICML 2023).

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
        self.melody = nn.Linear(len(CONTOUR), width, bias=False)
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
        contour: Float[torch.Tensor, "clips steps 5"],
        there: Bool[torch.Tensor, "clips steps"],
    ) -> Float[torch.Tensor, "clips queries width"]:
        """What the queries gather from the steps that are there."""
        normal = (states - self.mean) / self.deviation
        mixed = torch.einsum("blsd,l->bsd", normal, self.layers.softmax(dim=0))
        keys = self.dropout(self.states(mixed) + self.melody(contour))
        queries = self.queries.expand(len(states), -1, -1)
        gathered: torch.Tensor = self.network(
            query_embeds=queries, encoder_hidden_states=keys, encoder_attention_mask=there.long()
        ).last_hidden_state
        return gathered


class OutOfDomain(nn.Module):
    """Means, deviations, directions and reach of the domains of training: what clips of each usually sound like."""

    mean: torch.Tensor
    deviation: torch.Tensor
    axes: torch.Tensor
    reach: torch.Tensor

    def __init__(self, domains: int, numbers: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(domains, numbers))
        self.register_buffer("deviation", torch.ones(domains, numbers))
        self.register_buffer("axes", torch.zeros(domains, axes, numbers))
        self.register_buffer("reach", torch.ones(domains))

    @torch.no_grad()
    def learn(self, domain: int, summaries: Float[torch.Tensor, "clips numbers"]) -> None:
        """Take a domain from the `pooled` states of its clips."""
        self.mean[domain] = summaries.mean(dim=0)
        self.deviation[domain] = summaries.std(dim=0) + 1e-5
        normal = (summaries - self.mean[domain]) / self.deviation[domain]
        found = torch.linalg.svd(normal.double(), full_matrices=False).Vh[: self.axes.shape[1]].float()
        self.axes[domain, : len(found)] = found
        self.reach[domain] = 1.0
        self.reach[domain] = float(np.percentile(self.distance(summaries)[:, domain].numpy(), REACH))

    def distance(self, summaries: Float[torch.Tensor, "clips numbers"]) -> Float[torch.Tensor, "clips domains"]:
        """How far clips lie from each domain's directions, in units of its reach."""
        normal = (summaries[:, None] - self.mean) / self.deviation
        within = torch.einsum("cwn,wan->cwa", normal, self.axes)
        rest = normal - torch.einsum("cwa,wan->cwn", within, self.axes)
        return rest.square().mean(dim=2).sqrt() / self.reach

    def forward(self, summaries: Float[torch.Tensor, "clips numbers"]) -> Float[torch.Tensor, " clips"]:
        """1 for clips of a domain of training, down to `OUT_OF_DOMAIN`."""
        beyond = self.distance(summaries).min(dim=1).values - 1
        return 1 - (1 - OUT_OF_DOMAIN) * (beyond / RAMP).clamp(0, 1)


class Prompter(nn.Module):
    """The projection: from where a clip lies among the sentences to the embeddings of a soft prompt.

    It reads how well the sentence of every class fits, which means the same whatever the embedding was trained on, and
    the place itself, which may hold more than that.
    """

    def __init__(self, shape: InstructorShape) -> None:
        super().__init__()
        self.size = (shape.tokens, shape.width)
        self.belief = nn.Linear(shape.classes, shape.hidden)
        self.place = nn.Linear(shape.aligned, shape.hidden, bias=False)
        self.out = nn.Linear(shape.hidden, shape.tokens * shape.width)
        self.loudness = nn.Parameter(torch.tensor(0.1))
        if not self.place.weight.is_meta:
            nn.init.zeros_(self.place.weight)

    def forward(
        self, logits: Float[torch.Tensor, "clips classes"], place: Float[torch.Tensor, "clips aligned"] | None = None
    ) -> Float[torch.Tensor, "clips tokens width"]:
        """Embeddings of equal length, which is learned, from the logits of the classes."""
        hidden = self.belief(logits.log_softmax(dim=1).clamp(min=DOUBT) / -DOUBT)
        hidden = hidden + (0 if place is None else self.place(place))
        tokens = self.out(functional.gelu(hidden)).unflatten(1, self.size)
        return functional.layer_norm(tokens, tokens.shape[-1:]) * self.loudness


@dataclass(frozen=True, eq=False)
class SpeechEmbedding:
    """Both embeddings of clips in the space that is shared with sentences.

    `states` come from the encoder, `functionals` from prosody; `in_domain` is how much the first ones count, `speech`
    the logit of there being speech.
    """

    states: Float[torch.Tensor, "clips aligned"]
    functionals: Float[torch.Tensor, "clips aligned"]
    in_domain: Float[torch.Tensor, " clips"]
    speech: Float[torch.Tensor, " clips"]


class InstructorModel(nn.Module):
    """The instructor's trained part: Q-Former, functionals and projections.

    Buffers hold the domains of training, the `anchors` (where the sentences of all classes lie), and the temperature of
    confidence.
    """

    manner_mean: torch.Tensor
    manner_deviation: torch.Tensor
    anchors: torch.Tensor
    temperature: torch.Tensor

    def __init__(self, shape: InstructorShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        sizes = (shape.states, shape.layers, shape.features, shape.queries, shape.blocks, shape.heads)
        self.qformer = QFormer(*sizes, dropout)
        self.dropout = nn.Dropout(dropout)
        self.manner_dropout = nn.Dropout(FUNCTIONALS_DROPOUT)
        self.of_states = nn.Linear(shape.features, shape.aligned)
        self.of_manner = nn.Linear(len(FUNCTIONALS), shape.aligned)
        self.of_text = nn.Linear(shape.text, shape.aligned)
        self.usual = OutOfDomain(shape.domains, 2 * shape.states, shape.axes)
        self.is_speech = nn.Linear(shape.features + len(FUNCTIONALS), 1)
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        self.prompter = Prompter(shape)
        self.register_buffer("manner_mean", torch.zeros(len(FUNCTIONALS)))
        self.register_buffer("manner_deviation", torch.ones(len(FUNCTIONALS)))
        self.register_buffer("anchors", torch.zeros(shape.classes, shape.aligned))
        self.register_buffer("temperature", torch.ones(()))

    def embed_speech(self, batch: FeatureBatch) -> SpeechEmbedding:
        """Both embeddings of clips."""
        gathered = self.dropout(self.qformer(batch.states, batch.contour, batch.there).mean(dim=1))
        functionals = (batch.functionals - self.manner_mean) / self.manner_deviation
        functionals = self.manner_dropout(functionals.clamp(-CLIP_FUNCTIONALS, CLIP_FUNCTIONALS))
        states = self.of_states(gathered)
        in_domain = self.usual(pooled(batch.states, batch.there))
        return SpeechEmbedding(
            states=states,
            functionals=self.of_manner(functionals) if self.shape.functionals else torch.zeros_like(states),
            in_domain=in_domain if self.shape.out_of_domain else torch.ones_like(in_domain),
            speech=self.is_speech(torch.cat([gathered, functionals], dim=1))[:, 0],
        )

    def align(self, embedding: SpeechEmbedding) -> Float[torch.Tensor, "clips aligned"]:
        """Where clips lie among sentences: both embeddings together. The further out, the surer."""
        return embedding.in_domain[:, None] * embedding.states + embedding.functionals

    def sentences(self, states: Float[torch.Tensor, "sentences text"]) -> Float[torch.Tensor, "sentences aligned"]:
        """Where sentences lie, from the means of the text encoder's states of their tokens."""
        normal = functional.layer_norm(states, states.shape[-1:])
        return functional.normalize(self.of_text(normal), dim=1)

    def likeness(
        self, aligned: Float[torch.Tensor, "clips aligned"], sentences: Float[torch.Tensor, "sentences aligned"]
    ) -> Float[torch.Tensor, "clips sentences"]:
        """How well sentences fit clips, as logits."""
        return self.sharpness.exp() * aligned @ sentences.T

    def prompt(self, aligned: Float[torch.Tensor, "clips aligned"]) -> Float[torch.Tensor, "clips tokens width"]:
        """The soft prompt that tells a language model where clips lie."""
        prompt: torch.Tensor = self.prompter(self.likeness(aligned, self.anchors), aligned)
        return prompt


def save_instructor_model(model: InstructorModel, path: Path, about: dict[str, object] | None = None) -> None:
    """Write weights as float16, atomically; `about` says what they were trained on, and under which licences."""
    shape = model.shape.model_dump(by_alias=True)
    save_weights(model, path, {"format": _FORMAT, "kind": _KIND, "shape": shape, "about": about or {}})


def load_instructor_model(path: Path) -> InstructorModel:
    """Read an instructor, ready to be used; InputError when the file is missing, damaged or something else."""
    with weights_of(_KIND, path, _REMEDY):
        header, tensors = read_weights(path, (_FORMAT,), _KIND)
        stored = header["shape"]
        if asked := [what for name, what in _GONE.items() if stored.get(name)]:
            raise ValueError(f"trained with {' and '.join(asked)}, which is supported no more")
        shape = InstructorShape(**{name: value for name, value in stored.items() if name not in _GONE})
        if shape.classes != len(EMOTION_CLASSES):
            raise ValueError(f"{shape.classes} emotion classes, not {len(EMOTION_CLASSES)}")
        return build_network(lambda: InstructorModel(shape), tensors)


def read_instructor_about(path: Path) -> dict[str, object]:
    """What a file of weights says it was trained on; InputError when it says nothing."""
    with weights_of(_KIND, path, _REMEDY):
        return read_about(path, (_FORMAT,), _KIND)
