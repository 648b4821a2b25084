"""Writing: the projection learns to tell a frozen language model what was heard, so that it writes the sentence.

>>> train(Voice(prompter), BeliefLosses(prompter, language, settings), items=..., settings=settings.speak, ...)
>>> train(Voice(model.prompter), WriteLosses(bank, model, language, settings), items=..., settings=settings.write, ...)

First without any sound: beliefs are drawn, how well the sentence of every feeling fits, and answers by their
probabilities. The language model comes to say what it is told as surely as it is told it. Then with clips and their own
answers. The loss is the cross-entropy of the answer's tokens; it goes back through the language model, whose weights do
not change, to the prompt. What was learned by alignment stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import nn

from avi_lib.instruction.adapters import Adapters
from avi_lib.instruction.answers import FEELINGS, OPENING, QUESTIONS, answer, worded
from avi_lib.instruction.dialogue import answer_tokens, dialogue, feeling_tokens
from avi_lib.instruction.familiarity import UNFAMILIAR
from avi_lib.instruction.instructor_model import InstructorModel, Prompter, stack
from avi_lib.instruction.language_model import LanguageModel, answer_loss
from avi_lib.settings import InstructorSettings
from avi_lib.stages.alignment import balanced, fitting, varied
from avi_lib.stages.hearing_bank import HeardClip, HearingBank

ESTRANGED = 0.3
"""Share of clips whose states count as little as those of another world: their prompts come to be read too."""
BELIEFS = 4096
"""Items of an epoch of drawn beliefs."""
CONSIDERED = 5
"""Feelings that a drawn belief considers, at most."""
APART = 3.0
"""How far these lie about the same logit; all others lie far below."""
FAR, SPREAD = -6.0, 1.5


class Voice(nn.Module):
    """What is trained for writing: the projection, adapters where there are any, and ears that were not aligned."""

    def __init__(
        self, prompter: Prompter, adapters: Adapters | None = None, ears: InstructorModel | None = None
    ) -> None:
        super().__init__()
        self.prompter = prompter
        self.adapters = adapters
        self.ears = ears


class BeliefLosses:
    """The losses of a batch of drawn beliefs, as the training loop asks for them."""

    def __init__(self, language: LanguageModel) -> None:
        self.language = language
        self.opening = language.tokens(OPENING)
        self.names = feeling_tokens(language)
        self.places = [range(len(self.opening), len(self.opening) + len(name)) for name in self.names]

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """The loss of as many beliefs as there are items."""
        assert isinstance(model, Voice)
        belief = drawn_beliefs(len(items), rng)
        shares = belief.softmax(dim=1)
        feelings = [int(rng.choice(len(FEELINGS), p=(row / row.sum()).numpy())) for row in shares.double()]
        answers = [answer_tokens(self.language, answer(*FEELINGS[number]))[0] for number in feelings]
        asked = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        before, _ = dialogue(self.language, model.prompter(belief), asked)
        ids, weights = _side_by_side(self.language, answers, [self.places[number] for number in feelings])
        scores = _scores(self.language, before, None, ids)
        return {"loss": answer_loss(scores, ids, weights) + self._named(scores.log_softmax(dim=2), shares, feelings)}

    def _named(
        self,
        logs: Float[torch.Tensor, "clips last vocabulary"],
        shares: Float[torch.Tensor, "clips feelings"],
        feelings: Sequence[int],
    ) -> torch.Tensor:
        """Cross-entropy with the belief at every place along the names of the feelings that are written.

        What may come next there are the next tokens of all names that begin alike.
        """
        losses = []
        for row, number in enumerate(feelings):
            own = self.names[number]
            for place in range(len(own)):
                may = [n for n, name in enumerate(self.names) if name[:place] == own[:place] and len(name) > place]
                told = shares[row, may] / shares[row, may].sum()
                next_tokens = [self.names[n][place] for n in may]
                losses.append(-(told * logs[row, len(self.opening) + place, next_tokens]).sum())
        return torch.stack(losses).mean()


def drawn_beliefs(count: int, rng: np.random.Generator) -> Float[torch.Tensor, "count feelings"]:
    """Logits of all feelings, of which a few are considered."""
    logits = rng.normal(FAR, SPREAD, (count, len(FEELINGS)))
    for row in logits:
        few = rng.permutation(len(FEELINGS))[: int(rng.integers(1, CONSIDERED + 1))]
        row[few] = rng.uniform(-APART, APART, len(few))
    return torch.from_numpy(logits.astype(np.float32))


class WriteLosses:
    """The losses of a batch of clips, as the training loop asks for them.

    Attributes:
        order: number of the clip behind every item.
    """

    def __init__(
        self, bank: HearingBank, model: InstructorModel, language: LanguageModel, settings: InstructorSettings
    ) -> None:
        self.bank, self.model, self.language, self.settings = bank, model, language, settings
        self.order = balanced(bank.clips)

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """The loss of the items of these numbers."""
        assert isinstance(model, Voice)
        clips = [self.bank.clips[number] for number in self.order[items]]
        if model.ears is None:
            meaning = self.meaning(self.order[items], rng)
        else:
            meaning = self._heard(model.ears, self.order[items], rng)
        shown = [clip.text if clip.text and rng.random() < self.settings.words else None for clip in clips]
        asked = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        prompts = model.prompter(self.model.likeness(meaning, self.model.anchors), meaning)
        before, there = dialogue(self.language, prompts, asked, shown)
        told = [answer_tokens(self.language, _answer(clip, rng)) for clip in clips]
        untold = [level if clip.level is None else range(0) for (_, level), clip in zip(told, clips, strict=True)]
        ids, weights = _side_by_side(self.language, [tokens for tokens, _ in told], untold)
        return {"loss": answer_loss(_scores(self.language, before, there, ids), ids, weights)}

    @torch.no_grad()
    def meaning(self, numbers: np.ndarray, rng: np.random.Generator) -> Float[torch.Tensor, "clips aligned"]:
        """Where varied views of clips lie, with features left out as in alignment."""
        self.model.train()
        meaning = self._heard(self.model, numbers, rng)
        self.model.eval()
        return meaning

    def _heard(
        self, ears: InstructorModel, numbers: np.ndarray, rng: np.random.Generator
    ) -> Float[torch.Tensor, "clips aligned"]:
        ear = ears.listen(stack([varied(self.bank.views[number], rng, self.settings) for number in numbers]))
        strange = torch.from_numpy(rng.random(len(numbers)) < ESTRANGED * self.settings.familiar)
        familiar = torch.where(strange, torch.full_like(ear.familiar, UNFAMILIAR), ear.familiar)
        return familiar[:, None] * ear.states + ear.manner


def _answer(clip: HeardClip, rng: np.random.Generator) -> str:
    """The sentence of a clip, with its own action units where they are known; a level that is not is drawn."""
    may = fitting(clip)
    feeling = FEELINGS[may[int(rng.integers(len(may)))]]
    return worded(feeling, dict(clip.units)) if clip.units else answer(*feeling)


def _side_by_side(
    language: LanguageModel, answers: Sequence[Sequence[int]], without: Sequence[Sequence[int]]
) -> tuple[Int64[torch.Tensor, "clips last"], Float[torch.Tensor, "clips last"]]:
    """Tokens of answers, filled up, and what each counts: nothing where it fills up or is one of those `without`."""
    longest = max(map(len, answers))
    ids = torch.tensor([[*tokens, *[language.end] * (longest - len(tokens))] for tokens in answers])
    weights = (torch.arange(longest) < torch.tensor([[len(tokens)] for tokens in answers])).float()
    for row, numbers in zip(weights, without, strict=True):
        row[list(numbers)] = 0
    return ids, weights


def _scores(
    language: LanguageModel,
    before: Float[torch.Tensor, "clips length width"],
    there: Bool[torch.Tensor, "clips length"] | None,
    ids: Int64[torch.Tensor, "clips last"],
) -> Float[torch.Tensor, "clips last vocabulary"]:
    """Scores of the answers' tokens behind what was read."""
    whole = torch.cat([before, language.embed(ids[:, :-1])], dim=1)
    if there is not None:
        there = torch.cat([there, torch.ones(len(ids), ids.shape[1] - 1, dtype=torch.bool)], dim=1)
    return language.scores(whole, ids.shape[1], there)
