"""The instructor's trained part: what was heard becomes a point among sentences, and that a language model's prompt.

>>> model = load_instructor_model(Path("instructor.safetensors"))
>>> ear = model.listen(stack([hear(wave, encoder)]))
>>> model.prompt(model.meaning(ear)).shape      # (clips, tokens, width of the language model)
torch.Size([1, 8, 576])

Two ears hear a clip apart from each other, and their opinions add up in the space they share with the sentences, as
the logarithms of probabilities do. One is the Q-Former on the states of the encoder: it tells most, and knows the
studios and sentences it was trained on rather too well. The other knows only the numbers of the manner, which hold
anywhere. How much the first one counts depends on how familiar its states are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import nn
from torch.nn import functional
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTION_CLASSES
from avi_lib.speech.prosody import FUNCTIONALS
from avi_lib.speech.voice import CONTOUR, AcousticFeatures
from avi_lib.weights import UNREADABLE, check_weights, read_about, read_weights, save_weights

# The Q-Former: learnable queries that gather from any length of speech what is told of the speaker.


class QFormer(nn.Module):
    """Queries over states and melody; states of several layers are mixed by weights that are learned."""

    def __init__(
        self, states: int, layers: int, width: int, queries: int, blocks: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(layers, 1, states))
        self.register_buffer("deviation", torch.ones(layers, 1, states))
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.layers = nn.Parameter(torch.zeros(layers))
        self.states = nn.Linear(states, width)
        self.melody = nn.Linear(len(CONTOUR), width, bias=False)
        self.queries = nn.Parameter(0.02 * torch.randn(1, queries, width))
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
        heard = self.dropout(self.states(mixed) + self.melody(contour))
        queries = self.queries.expand(len(states), -1, -1)
        gathered: torch.Tensor = self.network(
            query_embeds=queries, encoder_hidden_states=heard, encoder_attention_mask=there.long()
        ).last_hidden_state
        return gathered


# Familiarity: how much what is heard resembles what was heard in training.


OUT_OF_DOMAIN = 0.1
"""How much is left of the states' opinion where they are of no world that is known."""
RAMP = 0.25
"""How much further away than the clips of a world, as a share of their reach, a clip is when it is of another."""
REACH = 99.0
"""Percentile of the distances of a world's own clips up to which it reaches."""


class OutOfDomain(nn.Module):
    """Means, deviations, directions and reach of some worlds."""

    mean: torch.Tensor
    deviation: torch.Tensor
    axes: torch.Tensor
    reach: torch.Tensor

    def __init__(self, worlds: int, numbers: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(worlds, numbers))
        self.register_buffer("deviation", torch.ones(worlds, numbers))
        self.register_buffer("axes", torch.zeros(worlds, axes, numbers))
        self.register_buffer("reach", torch.ones(worlds))

    @torch.no_grad()
    def learn(self, world: int, summaries: Float[torch.Tensor, "clips numbers"]) -> None:
        """Take a world from the summaries of its clips."""
        self.mean[world] = summaries.mean(dim=0)
        self.deviation[world] = summaries.std(dim=0) + 1e-5
        normal = (summaries - self.mean[world]) / self.deviation[world]
        found = torch.linalg.svd(normal.double(), full_matrices=False).Vh[: self.axes.shape[1]].float()
        self.axes[world, : len(found)] = found
        self.reach[world] = 1.0
        self.reach[world] = float(np.percentile(self.distance(summaries)[:, world].numpy(), REACH))

    def distance(self, summaries: Float[torch.Tensor, "clips numbers"]) -> Float[torch.Tensor, "clips worlds"]:
        """How far clips lie from each world's directions, in units of its reach."""
        normal = (summaries[:, None] - self.mean) / self.deviation
        within = torch.einsum("cwn,wan->cwa", normal, self.axes)
        rest = normal - torch.einsum("cwa,wan->cwn", within, self.axes)
        return rest.square().mean(dim=2).sqrt() / self.reach

    def forward(self, summaries: Float[torch.Tensor, "clips numbers"]) -> Float[torch.Tensor, " clips"]:
        """1 for clips of a known world, down to `UNFAMILIAR`."""
        beyond = self.distance(summaries).min(dim=1).values - 1
        return 1 - (1 - OUT_OF_DOMAIN) * (beyond / RAMP).clamp(0, 1)


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


FORMAT = 1
KIND = "instructor"
REMEDY = "train them with notebook 02, or check the path"
CLIP_MANNER = 4.0
"""Deviations beyond which a number of the manner counts no more."""
GONE = {"lora": "LoRA", "adapters": "LoRA weights", "words": "the transcript in the prompt"}
"""Fields of older headers, which may be there but ask for nothing, and what each would ask for."""
DOUBT = -8.0
"""Log probability below which a feeling is simply out of the question."""
MANNER_DROPOUT = 0.3
"""Share of the numbers of the manner that are left out in training."""


@dataclass(frozen=True)
class InstructorShape:
    """What an instructor is made for and how large it is.

    Attributes:
        encoder, encoder_fingerprint, states, layers: the speech encoder, digest of it, numbers in a state, its layers.
        text_encoder, text_fingerprint, text: the text encoder, digest of it, numbers in its states.
        language_model, language_fingerprint, width: the language model, digest of it, numbers in its embeddings.
        aligned: numbers of the space that speech and sentences share.
        features, queries, blocks, heads: size of the Q-Former.
        tokens: embeddings of the prompt.
        hidden: features between the aligned space and the prompt.
        worlds, usual: corpora of training, and directions in which the clips of each differ.
        manner: whether the manner is heard; familiar: whether strange states count less.
        feelings: how many the prompt tells of.
    """

    encoder: str
    encoder_fingerprint: str
    states: int
    layers: int
    text_encoder: str
    text_fingerprint: str
    text: int
    language_model: str
    language_fingerprint: str
    width: int
    aligned: int = 64
    features: int = 160
    queries: int = 8
    blocks: int = 2
    heads: int = 4
    tokens: int = 8
    hidden: int = 192
    worlds: int = 1
    usual: int = 24
    manner: bool = True
    familiar: bool = True
    feelings: int = len(EMOTION_CLASSES)


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Hearings side by side, padded with zeros, and which steps are there."""

    states: Float[torch.Tensor, "clips layers steps dim"]
    contour: Float[torch.Tensor, "clips steps 5"]
    functionals: Float[torch.Tensor, "clips functionals"]
    there: Bool[torch.Tensor, "clips steps"]


@dataclass(frozen=True, eq=False)
class SpeechEmbedding:
    """What both ears say of clips, in the space that is shared with sentences.

    `states` and `manner` are their opinions, `familiar` is how much the first counts, `speech` the logit of there being
    speech.
    """

    states: Float[torch.Tensor, "clips aligned"]
    functionals: Float[torch.Tensor, "clips aligned"]
    in_domain: Float[torch.Tensor, " clips"]
    speech: Float[torch.Tensor, " clips"]


class Prompter(nn.Module):
    """The projection: from where a clip lies among the sentences to the embeddings of a soft prompt.

    It reads how well the sentence of every feeling fits, which means the same whatever an ear was trained on, and the
    place itself, which may hold more than that.
    """

    def __init__(self, shape: InstructorShape) -> None:
        super().__init__()
        self.size = (shape.tokens, shape.width)
        self.belief = nn.Linear(shape.feelings, shape.hidden)
        self.place = nn.Linear(shape.aligned, shape.hidden, bias=False)
        self.out = nn.Linear(shape.hidden, shape.tokens * shape.width)
        self.loudness = nn.Parameter(torch.tensor(0.1))
        if not self.place.weight.is_meta:
            nn.init.zeros_(self.place.weight)

    def forward(
        self, belief: Float[torch.Tensor, "clips classes"], place: Float[torch.Tensor, "clips aligned"] | None = None
    ) -> Float[torch.Tensor, "clips tokens width"]:
        """Embeddings of equal length, which is learned; `belief` are logits of the feelings."""
        told = belief.log_softmax(dim=1).clamp(min=DOUBT) / -DOUBT
        hidden = self.belief(told) + (0 if place is None else self.place(place))
        tokens = self.out(functional.gelu(hidden)).unflatten(1, self.size)
        return functional.layer_norm(tokens, tokens.shape[-1:]) * self.loudness


class InstructorModel(nn.Module):
    """Q-Former, manner and projections.

    Buffers hold what is usual, the `anchors`, where the sentences of all feelings lie, and the temperature of
    confidence.
    """

    def __init__(self, shape: InstructorShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        sizes = (shape.states, shape.layers, shape.features, shape.queries, shape.blocks, shape.heads)
        self.qformer = QFormer(*sizes, dropout)
        self.dropout = nn.Dropout(dropout)
        self.manner_dropout = nn.Dropout(MANNER_DROPOUT)
        self.of_states = nn.Linear(shape.features, shape.aligned)
        self.of_manner = nn.Linear(len(FUNCTIONALS), shape.aligned)
        self.of_text = nn.Linear(shape.text, shape.aligned)
        self.usual = OutOfDomain(shape.worlds, 2 * shape.states, shape.usual)
        self.is_speech = nn.Linear(shape.features + len(FUNCTIONALS), 1)
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        self.prompter = Prompter(shape)
        for name, value in {
            "manner_mean": torch.zeros(len(FUNCTIONALS)),
            "manner_deviation": torch.ones(len(FUNCTIONALS)),
            "anchors": torch.zeros(shape.feelings, shape.aligned),
            "temperature": torch.ones(()),
        }.items():
            self.register_buffer(name, value)
        self.manner_mean: torch.Tensor
        self.manner_deviation: torch.Tensor
        self.anchors: torch.Tensor
        self.temperature: torch.Tensor

    def embed_speech(self, heard: FeatureBatch) -> SpeechEmbedding:
        """What both ears say of clips."""
        gathered = self.dropout(self.qformer(heard.states, heard.contour, heard.there).mean(dim=1))
        functionals = (heard.functionals - self.manner_mean) / self.manner_deviation
        functionals = self.manner_dropout(functionals.clamp(-CLIP_MANNER, CLIP_MANNER))
        opinion = self.of_states(gathered)
        in_domain = self.usual(pooled(heard.states, heard.there))
        return SpeechEmbedding(
            states=opinion,
            functionals=self.of_manner(functionals) if self.shape.manner else torch.zeros_like(opinion),
            in_domain=in_domain if self.shape.familiar else torch.ones_like(in_domain),
            speech=self.is_speech(torch.cat([gathered, functionals], dim=1))[:, 0],
        )

    def align(self, embedding: SpeechEmbedding) -> Float[torch.Tensor, "clips aligned"]:
        """Where clips lie among sentences: both opinions together. The further out, the surer."""
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


def stack(hearings: Sequence[AcousticFeatures]) -> FeatureBatch:
    """Hearings side by side."""
    steps = [len(hearing.contour) for hearing in hearings]
    layers, _, dim = hearings[0].states.shape
    states = np.zeros((len(hearings), layers, max(steps), dim), np.float32)
    contour = np.zeros((len(hearings), max(steps), hearings[0].contour.shape[1]), np.float32)
    for i, hearing in enumerate(hearings):
        states[i, :, : steps[i]] = hearing.states
        contour[i, : steps[i]] = hearing.contour
    there = torch.arange(max(steps)) < torch.tensor(steps)[:, None]
    functionals = torch.from_numpy(np.stack([hearing.functionals for hearing in hearings]))
    return FeatureBatch(torch.from_numpy(states), torch.from_numpy(contour), functionals, there)


def save_instructor_model(model: InstructorModel, path: Path, about: dict[str, object] | None = None) -> None:
    """Write weights as float16, atomically; `about` says what they were trained on, and under which licences."""
    save_weights(model, path, {"format": FORMAT, "kind": KIND, "shape": asdict(model.shape), "about": about or {}})


def load_instructor_model(path: Path) -> InstructorModel:
    """Read an instructor, ready to be used; InputError when the file is missing, damaged or something else."""
    try:
        header, tensors = read_weights(path, (FORMAT,), KIND)
        with torch.device("meta"):  # a header may ask for any size: no memory before the file is seen to hold it
            model = InstructorModel(_shape(header["shape"]))
            if model.shape.feelings != len(EMOTION_CLASSES):
                raise ValueError(f"{model.shape.feelings} feelings, not {len(EMOTION_CLASSES)}")
        check_weights(model, tensors)
    except UNREADABLE as error:
        raise InputError(f"weights of an {KIND}", f"{path}: {error}", REMEDY) from error
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _shape(stored: dict[str, Any]) -> InstructorShape:
    """The shape of a header, whose fields of old must be empty."""
    if asked := [what for field, what in GONE.items() if stored.get(field)]:
        raise ValueError(f"trained with {' and '.join(asked)}, which is supported no more")
    return InstructorShape(**{field: value for field, value in stored.items() if field not in GONE})


def read_instructor_about(path: Path) -> dict[str, object]:
    """What a file of weights says it was trained on; InputError when it says nothing."""
    try:
        return read_about(path, (FORMAT,), KIND)
    except UNREADABLE as error:
        raise InputError(f"weights of an {KIND}", f"{path}: {error}", REMEDY) from error
