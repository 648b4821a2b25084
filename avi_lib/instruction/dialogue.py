"""What a language model reads: its start, the soft prompt, the words that were said where they are told, the question.

>>> embeddings, there = dialogue(language, model.prompt(meaning), question(), words=[None])
>>> reading = language.read(embeddings)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float

from avi_lib.instruction.answers import FEELINGS, OPENING, Feeling, felt
from avi_lib.instruction.language_model import LanguageModel

MAX_WORDS = 40
"""Words of what was said that are told, the first ones."""


def dialogue(
    language: LanguageModel,
    prompts: Float[torch.Tensor, "clips tokens width"],
    question: str,
    words: Sequence[str | None] = (),
) -> tuple[Float[torch.Tensor, "clips length width"], Bool[torch.Tensor, "clips length"] | None]:
    """Embeddings of the dialogues of clips, up to where the answer begins, and which of them are there (None: all).

    `words` is what was said in each clip, None where it is not told; dialogues are filled up from the left.
    """
    clips = len(prompts)
    told = [language.tokens(_told(text)) if text else [] for text in words or [None] * clips]
    longest = max(map(len, told))
    start = language.bos().expand(clips, 1, -1)
    asked = language.embed(language.tokens(f"\n{question}\n")).expand(clips, -1, -1)
    if not longest:
        return torch.cat([start, prompts, asked], dim=1), None
    empty = torch.tensor([longest - len(tokens) for tokens in told])
    filled = [[language.end] * (longest - len(tokens)) + tokens for tokens in told]
    said = language.embed(torch.tensor(filled))
    whole = torch.cat([start, prompts, said, asked], dim=1)
    # what is empty goes to the left: positions are relative, so that it makes no difference where a dialogue begins
    before = 1 + prompts.shape[1]
    order = [
        [*range(before, before + gap), *range(before), *range(before + gap, whole.shape[1])] for gap in empty.tolist()
    ]
    moved = whole.gather(1, torch.tensor(order)[..., None].expand_as(whole))
    return moved, torch.arange(whole.shape[1]) >= empty[:, None]


def _told(text: str) -> str:
    return f'\nThe words are: "{" ".join(text.split()[:MAX_WORDS])}"'


def answer_tokens(language: LanguageModel, sentence: str) -> tuple[list[int], range]:
    """Tokens of an answer with the mark of its end, and which of them are the word for the level.

    The range is empty where the answer names no level.
    """
    tokens = language.tokens(sentence)
    first = len(language.tokens(OPENING))
    words = sentence.removeprefix(OPENING).split()
    degree = any(sentence.startswith(f"{OPENING} {felt(feeling)}") for feeling in FEELINGS if " " in felt(feeling))
    last = len(language.tokens(f"{OPENING} {words[0]}")) if degree else first
    return [*tokens, language.end], range(first, last)


def feeling_tokens(language: LanguageModel, feelings: Sequence[Feeling] = FEELINGS) -> list[list[int]]:
    """Tokens that name each feeling at its place in the answer, behind `OPENING`."""
    first = len(language.tokens(OPENING))
    return [language.tokens(f"{OPENING} {felt(feeling)}")[first:] for feeling in feelings]
