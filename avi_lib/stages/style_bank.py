"""The style bank: what the diffusion prior is trained on, sentences and the styles of motion that carries them out.

>>> bank = make_bank(corpora, talking, encoder, scripts=24000, texts=3, seed=0, folder=Path("data/cache/bank"))
>>> bank.styles.shape, bank.scripts[0].texts[0]
((24000, 128), 'He is indignant, lowering his brows clearly.')

A script is performed over a clip of the corpora and the style encoder looks at the performance, so targets come from
motion and never from labels. Which clip, and how strong within what its words allow, is chance: the spread of styles
for one sentence. Real motion whose action units were measured goes in as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.entries import ClipEntry
from avi_lib.corpus.mixture import shared_voices
from avi_lib.corpus.style_scripts import (
    Draw,
    Kind,
    StyleScript,
    draw_style_script,
    is_held_combination,
    said_in_training,
)
from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.text_encoder import TextEncoder
from avi_lib.instruction.text_states import TextStates, encode_texts
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import ARKIT
from avi_lib.motion.talking_model import FPS, TalkingModel
from avi_lib.training.weights import fingerprint

SPREAD = 0.04
"""How far a performed strength may be from the one its word stands for."""


@dataclass(frozen=True, eq=False)
class StyleBank:
    """Scripts, their styles, and the states of their sentences: script i has the texts `texts_of[i]`."""

    scripts: tuple[StyleScript, ...]
    styles: Float32[np.ndarray, "scripts style"]
    levels: Float32[np.ndarray, "scripts channels"]
    texts: TextStates
    texts_of: tuple[range, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.scripts)

    def first_states(self, most: int | None = None) -> list[Float32[np.ndarray, "_ dim"]]:
        """States of the first sentence of every script, of the first `most` ones."""
        return [self.texts.of(texts[0]) for texts in self.texts_of[:most]]


@dataclass(frozen=True, eq=False)
class Stage:
    """Clips that perform: those of a split of prepared corpora, with their performers."""

    clips: tuple[tuple[Corpus, ClipEntry], ...]

    @classmethod
    def of(cls, corpora: Sequence[Corpus], splits: Sequence[str] = ("train",)) -> Stage:
        """The clips of some splits that are performed, InputError when there is none.

        A voice that one corpus holds out is not heard in the training of another.
        """
        heard_elsewhere = shared_voices(corpora) if "train" in splits else frozenset()
        found = tuple(
            (corpus, clip)
            for corpus in corpora
            for clip in corpus.clips
            if clip.split in splits and clip.motion == "performed" and clip.frames >= FPS
            if clip.recording not in heard_elsewhere
        )
        if not found or any(corpus.space is not ARKIT for corpus in corpora):
            got = f"none of the split {', '.join(splits)} in {', '.join(str(corpus.folder) for corpus in corpora)}"
            raise InputError("performed clips of a second and more, in the space ARKIT", got, "add such a corpus")
        return cls(found)


def make_bank(
    corpora: Sequence[Corpus],
    talking: TalkingModel,
    encoder: TextEncoder,
    scripts: int,
    texts: int,
    seed: int,
    draw: Draw = "train",
    kind: Kind | None = None,
    splits: Sequence[str] = ("train",),
    real: bool = True,
    folder: Path | None = None,
    progress: bool | None = None,
) -> StyleBank:
    """Draw scripts, perform them, take their styles and encode their sentences.

    Args:
        corpora: prepared ones in the space ARKIT.
        talking: its style encoder looks at the performances.
        encoder: of the sentences.
        scripts: how many.
        texts: sentences a script, at most.
        seed: the source of every choice.
        draw: what is held out; see `draw_style_script`.
        kind: of all scripts, drawn when None.
        splits: whose speakers perform.
        real: whether real motion of these splits goes in too, where every channel of it is true.
        folder: where states of texts are kept by content; nowhere when None.
        progress: as in `train`.

    Raises:
        InputError: no performed clip.
    """
    stage = Stage.of(corpora, splits)
    rng = np.random.default_rng([seed, scripts, len(stage.clips)])
    plain = sorted({clip.text for _, clip in stage.clips if clip.text})
    drawn = [draw_style_script(rng, texts, plain, draw, kind) for _ in range(scripts)]
    performers: dict[int, Performer] = {}
    styles, levels = [], []
    hidden = None if progress is None else not progress
    for script in tqdm(drawn, "performing", leave=False, disable=hidden):
        number = int(rng.integers(len(stage.clips)))
        if number not in performers:
            corpus, clip = stage.clips[number]
            performers[number] = corpus.performer(clip)
        motion = performers[number].perform_with_still(_varied(script.instruction, rng), int(rng.integers(2**62)))[1]
        styles.append(talking.style_of(motion))
        levels.append(motion.values.mean(axis=0))
    for script, motion in _real_motion(corpora, splits, texts, rng) if real else ():
        drawn.append(script)
        styles.append(talking.style_of(motion))
        levels.append(motion.values.mean(axis=0))
    said = [text for script in drawn for text in script.texts]
    ends = np.cumsum([len(script.texts) for script in drawn]).tolist()
    texts_of = tuple(range(end - len(script.texts), end) for script, end in zip(drawn, ends, strict=True))
    states = encode_texts(said, encoder, folder, progress)
    content = [encoder.fingerprint, fingerprint(talking), hashlib.sha256(np.stack(styles).tobytes()).hexdigest()]
    digest = hashlib.sha256(json.dumps([*content, *said]).encode("utf-8", "replace")).hexdigest()
    return StyleBank(tuple(drawn), np.stack(styles), np.stack(levels), states, texts_of, digest)


def _varied(instruction: Instruction, rng: np.random.Generator) -> Instruction:
    """The same with strengths somewhere about those that the words stand for."""
    units = {
        name: float(np.clip(strength + rng.uniform(-SPREAD, SPREAD), 0.0, 1.0)) if strength else 0.0
        for name, strength in instruction.action_units.items()
    }
    return Instruction(instruction.text, instruction.emotion, instruction.level, units)


def _real_motion(
    corpora: Sequence[Corpus], splits: Sequence[str], texts: int, rng: np.random.Generator
) -> list[tuple[StyleScript, MotionClip]]:
    """Clips of real motion whose channels are all true, with what was measured in them said in wordings of training."""
    found = []
    for corpus in corpora:
        for clip in corpus.clips:
            if clip.motion == "performed" or clip.split not in splits or not corpus.present(clip).all():
                continue
            script = corpus.scripts[clip.scripts[0]]
            parts = Instruction(script.texts[0], script.emotion, script.level, script.action_units)
            if is_held_combination(parts):
                continue
            motion = MotionClip(corpus.motion(clip).astype(np.float32), FPS, ARKIT)
            if said := said_in_training(parts, texts, rng):
                found.append((StyleScript("mix", parts, said), motion))
    return found
