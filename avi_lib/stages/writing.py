"""Writing: the projection learns to tell a frozen language model where a clip lies, so that it writes the sentence.

>>> losses = WriteLosses(bank, model, language, settings)
>>> train(Voice(model.prompter), losses, items=len(losses.order), settings=settings.write, folder=folder, recipe=...)

The loss is the cross-entropy of the answer's tokens. It goes back through the language model, whose weights do not
change, to the prompt; what was learned by alignment stays as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from avi_lib.instruction.answers import QUESTIONS, Feeling, answer, worded
from avi_lib.instruction.dialogue import answer_tokens, dialogue
from avi_lib.instruction.instructor_model import UNFAMILIAR, InstructorModel, Prompter, stack
from avi_lib.instruction.language_model import LanguageModel, answer_loss
from avi_lib.settings import InstructorSettings
from avi_lib.stages.alignment import Sentences, balanced, varied
from avi_lib.stages.hearing_bank import HeardClip, HearingBank

ESTRANGED = 0.3
"""Share of clips whose states count as little as those of another world: their prompts come to be read too."""


class WriteLosses:
    """The losses of a batch, as the training loop asks for them.

    Attributes:
        order: number of the clip behind every item.
    """

    def __init__(
        self,
        bank: HearingBank,
        model: InstructorModel,
        language: LanguageModel,
        sentences: Sentences,
        settings: InstructorSettings,
    ) -> None:
        self.bank, self.model, self.language, self.settings = bank, model, language, settings
        self.sentences = sentences
        self.order = balanced(bank.clips)

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """The loss of the items of these numbers."""
        prompter = model.prompter if isinstance(model, Voice) else model
        assert isinstance(prompter, Prompter)
        clips = [self.bank.clips[number] for number in self.order[items]]
        meaning = self.meaning(self.order[items], rng)
        shown = [clip.text if clip.text and rng.random() < self.settings.words else None for clip in clips]
        asked = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        before, there = dialogue(self.language, prompter(meaning), asked, shown)
        told = [answer_tokens(self.language, self._answer(clip, rng)) for clip in clips]
        longest = max(len(tokens) for tokens, _ in told)
        ids = torch.tensor([[*tokens, *[self.language.end] * (longest - len(tokens))] for tokens, _ in told])
        weights = torch.zeros(ids.shape)
        for row, (tokens, level), clip in zip(weights, told, clips, strict=True):
            row[: len(tokens)] = 1
            if clip.level is None:
                row[level.start : level.stop] = 0  # the corpus does not tell
        whole = torch.cat([before, self.language.embed(ids[:, :-1])], dim=1)
        if there is not None:
            there = torch.cat([there, torch.ones(len(ids), longest - 1, dtype=torch.bool)], dim=1)
        scores = self.language.scores(whole, longest, there)
        loss = answer_loss(scores, ids, weights)
        return {"loss": loss}

    @torch.no_grad()
    def meaning(self, numbers: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Where varied views of clips lie, with features left out as in alignment."""
        self.model.train()
        hearings = [varied(self.bank.views[number], rng, self.settings) for number in numbers]
        ear = self.model.listen(stack(hearings))
        strange = torch.from_numpy(rng.random(len(numbers)) < ESTRANGED * self.settings.familiar)
        familiar = torch.where(strange, torch.full_like(ear.familiar, UNFAMILIAR), ear.familiar)
        self.model.eval()
        return self.model.sharpness.exp() * (familiar[:, None] * ear.states + ear.manner)

    def _answer(self, clip: HeardClip, rng: np.random.Generator) -> str:
        fitting = self.sentences.fitting(clip)
        feeling: Feeling = self.sentences.feelings[fitting[int(rng.integers(len(fitting)))]]
        return worded(feeling, dict(clip.units)) if clip.units else answer(*feeling)


class Voice(nn.Module):
    """What is trained for writing: the projection, and adapters in the language model where there are any."""

    def __init__(self, prompter: Prompter, adapters: nn.Module | None = None) -> None:
        super().__init__()
        self.prompter = prompter
        self.adapters = adapters
