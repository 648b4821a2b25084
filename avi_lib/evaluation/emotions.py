"""Do people's judges see the emotion that was asked for? Rendered faces of every system before the independent judge.

>>> shown = show_emotions(corpora, generator, director, clips=2, seed=0)
>>> table, matrices, faces = judge_emotions(load_judge(), shown, talker.head, talker.frames, size=256)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.mixture import held_out
from avi_lib.evaluation.expression_network import EXPRESSIONS
from avi_lib.evaluation.judge import PUBLISHED, Judge, confusion, face_boxes, known
from avi_lib.evaluation.measures import Measure
from avi_lib.evaluation.report import Matrix, Row, Table, tabulate
from avi_lib.evaluation.systems import LEARNED, PERFORMER, spread
from avi_lib.face.head import Head
from avi_lib.instruction.grammar import describe
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import EMOTIONS
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.director import Director
from avi_lib.motion.learned import LearnedGenerator

OTHER = "another's label"
"""The learned system scored on the labels it was not asked for, their mean: what labels shuffled at random come to."""
PICTURES = 5
"""Pictures of a clip that are judged, evenly spread; their probabilities are averaged."""
CHANCE = 1 / len(EXPRESSIONS)

MEASURES = {
    "judge_right": Measure(
        "emotion recognised", "", "higher", "clips asked for one of the judge's seven expressions",
        f"share in which the judge's likeliest expression is the one asked for; chance {CHANCE:.2f}",
    ),
    "judge_share": Measure(
        "probability of it", "", "higher", "the same clips", f"what the judge gives it, mean; chance {CHANCE:.2f}"
    ),
}  # fmt: skip

Pictures = Iterable[UInt8[np.ndarray, "size size 3"]]


@dataclass(frozen=True, eq=False)
class Shown:
    """A face that was asked for an emotion at its highest level."""

    system: str
    emotion: str
    speaker: str
    motion: MotionClip


def show_emotions(
    corpora: Sequence[Corpus], generator: LearnedGenerator, director: Director, clips: int = 2, seed: int = 0
) -> list[Shown]:
    """Held-out clips asked for all ten emotions, by the learned system and by the performer."""
    found = []
    for number, item in enumerate(spread(held_out(corpora), clips)):
        corpus, clip = item.corpus, item.clip
        features, performer = corpus.features(clip).astype(np.float32), corpus.performer(clip)
        for emotion in EMOTIONS:
            asked = asked_for(emotion, seed + number)
            style = director.style(asked.text, seed + number)
            made = generator.perform(features, performer, asked, seed + number, style)
            found.append(Shown(LEARNED, emotion, clip.speaker, made))
            found.append(Shown(PERFORMER, emotion, clip.speaker, performer.perform(asked, seed + number)))
    return found


def asked_for(emotion: str, seed: int) -> Instruction:
    """A sentence that names an emotion at its highest level and no action unit."""
    level = 1 if emotion in ("neutral", "calm") else 3
    return Instruction.parse(describe({}, emotion, level, rng=np.random.default_rng([seed, EMOTIONS.index(emotion)])))


def judge_emotions(
    judge: Judge, shown: Sequence[Shown], head: Head, frames: Callable[[MotionClip], Pictures], size: int, seed: int = 0
) -> tuple[Table, list[Matrix], dict[str, dict[str, UInt8[np.ndarray, "size size 3"]]]]:
    """How often the judge sees what was asked, its confusions by system, and by system and emotion a picture.

    Args:
        judge: the network.
        shown: faces; those of the learned system are also scored on the labels they were not asked for.
        head: that is shown.
        frames: renders a motion with the portrait camera.
        size: of the pictures.
        seed: of the intervals.
    """
    rows: list[Row] = []
    faces: dict[str, dict[str, UInt8[np.ndarray, "size size 3"]]] = {}
    judged: list[Float[np.ndarray, " expressions"]] = []
    for each in shown:
        some = each.motion.at((np.linspace(0.1, 0.9, PICTURES) * len(each.motion)).astype(int).tolist())
        pictures = list(frames(some))
        shares = judge.judge(pictures, face_boxes(head, some.values, size)).mean(axis=0)
        judged.append(shares)
        faces.setdefault(each.system, {}).setdefault(each.emotion, pictures[PICTURES // 2])
        rows.append(_row(each.system, each.emotion, each.speaker, shares))
        if each.system == LEARNED:
            rows.append(_elsewhere(each.emotion, each.speaker, shares))
    how = (
        f"Mini-Xception, which saw photographs of people only, judges {PICTURES} rendered pictures of each clip. "
        f"Sentences name an emotion at its highest level. Of the ten, calm, contempt and bored are no expressions of "
        f"the judge and do not count. Its own accuracy: {PUBLISHED}."
    )
    rows.sort(key=lambda row: (LEARNED, PERFORMER, OTHER).index(row.system))
    table = tabulate("judge", "Independent judge of emotion", how, rows, MEASURES, seed)
    matrices = []
    for system in dict.fromkeys(each.system for each in shown):
        own = [i for i, each in enumerate(shown) if each.system == system]
        counts = confusion([shown[i].emotion for i in own], np.stack([judged[i] for i in own]), EMOTIONS)
        title, told = f"What the judge sees: {system}", "Clips by the emotion asked for (rows) and seen (columns)."
        matrices.append(Matrix(f"judge_{system}", title, told, EMOTIONS, EXPRESSIONS, counts))
    return table, matrices, faces


def _row(system: str, emotion: str, speaker: str, shares: Float[np.ndarray, " expressions"]) -> Row:
    if not known([emotion])[0]:
        return Row(system, speaker, {})
    asked = EXPRESSIONS.index(emotion)
    return Row(system, speaker, {"judge_right": float(shares.argmax() == asked), "judge_share": float(shares[asked])})


def _elsewhere(emotion: str, speaker: str, shares: Float[np.ndarray, " expressions"]) -> Row:
    wrong = [_row(OTHER, other, speaker, shares).scores for other in EXPRESSIONS if other != emotion]
    if not known([emotion])[0]:
        return Row(OTHER, speaker, {})
    return Row(OTHER, speaker, {name: float(np.mean([each[name] for each in wrong])) for name in MEASURES})
