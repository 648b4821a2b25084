"""How well the instructor listens and writes; `python -m tools.benchmarks --only folds --corpus ...` measures it.

Every number is of speakers that were not heard in training. What was trained is kept in the folder, so that a study
that is stopped goes on. The temperature of confidence is found for each fold on the other folds.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from avi_lib.evaluation.report import Figure
from avi_lib.files import atomic_path
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.instructor import Instructor, softened
from avi_lib.instruction.instructor_network import EMOTION_CLASSES, InstructorModel, stack
from avi_lib.settings import InstructorSettings
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.training.instructor import FrozenModels, align, train_instructor
from avi_lib.training.instructor_data import BankClip, FeatureBank
from avi_lib.weights import fingerprint

# Listening, measured: how often the feeling that is heard is the one that was meant, and how sure one may be of it.


BATCH_LISTENING = 64
BINS = 10
"""Of confidence, for the calibration error."""

Shares = Float[np.ndarray, "clips emotions"]


@dataclass(frozen=True, eq=False)
class Classification:
    """Probabilities of `EMOTIONS` for clips, and the emotion each was meant to have."""

    shares: Shares
    meant: tuple[str, ...]

    @property
    def heard(self) -> list[str]:
        """The likeliest emotion of each clip."""
        return [EMOTIONS[number] for number in self.shares.argmax(axis=1)]

    @property
    def right(self) -> list[bool]:
        """Whether it is the one that was meant."""
        return [a == b for a, b in zip(self.heard, self.meant, strict=True)]

    @property
    def accuracy(self) -> float:
        """Share of clips heard as they were meant."""
        return float(np.mean(self.right))

    @property
    def recall(self) -> float:
        """Mean over emotions of the share of their clips that are heard as they were meant (unweighted recall)."""
        return recall(self.heard, self.meant)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: how far confidence is from accuracy, in bins of equal width (Guo et al. 2017)."""
        sure, right = self.shares.max(axis=1), np.array(self.right, float)
        number = np.minimum((sure * BINS).astype(int), BINS - 1)
        gaps = [abs(sure[number == n].sum() - right[number == n].sum()) for n in range(BINS)]
        return float(np.sum(gaps) / len(sure))

    def confusion(self) -> Float[np.ndarray, "emotions emotions"]:
        """Share of each meant emotion (row) that is heard as another (column)."""
        counts = np.zeros((len(EMOTIONS), len(EMOTIONS)))
        for meant, heard in zip(self.meant, self.heard, strict=True):
            counts[EMOTIONS.index(meant), EMOTIONS.index(heard)] += 1
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def recall(heard: Sequence[str | None], meant: Sequence[str]) -> float:
    """Mean over the emotions that were meant of the share of their clips that are heard so."""
    shares = []
    for emotion in sorted(set(meant)):
        here = [a == emotion for a, b in zip(heard, meant, strict=True) if b == emotion]
        shares.append(np.mean(here))
    return float(np.mean(shares))


def folds(bank: FeatureBank, count: int) -> Iterator[tuple[FeatureBank, FeatureBank]]:
    """Banks for training and for measuring, by speaker: every corpus' speakers are dealt out in turn."""
    for number in range(count):
        held = {
            (corpus, speaker)
            for corpus in {clip.corpus for clip in bank.clips}
            for speaker in sorted({clip.speaker for clip in bank.clips if clip.corpus == corpus})[number::count]
        }
        out = [(clip.corpus, clip.speaker) in held for clip in bank.clips]
        yield bank.select([not each for each in out]), bank.select(out)


@torch.inference_mode()
def nearest(model: InstructorModel, hearings: Sequence[AcousticFeatures]) -> Float[np.ndarray, "clips classes"]:
    """Probabilities of `EMOTION_CLASSES` for clips, by where these lie among the sentences: nothing is written."""
    found = []
    for first in range(0, len(hearings), BATCH_LISTENING):
        embedding = model.embed_speech(stack(hearings[first : first + BATCH_LISTENING]))
        found.append(model.likeness(model.align(embedding), model.anchors).softmax(dim=1))
    return torch.cat(found).numpy().astype(np.float64)


def by_emotion(shares: Float[np.ndarray, "clips classes"], among: Sequence[str] = EMOTIONS) -> Shares:
    """Probabilities of emotions from those of feelings, of some emotions only where these are named."""
    summed = np.zeros((len(shares), len(EMOTIONS)))
    for number, label in enumerate(EMOTION_CLASSES):
        if label.emotion in among:
            summed[:, EMOTIONS.index(label.emotion)] += shares[:, number]
    return summed / np.maximum(summed.sum(axis=1, keepdims=True), 1e-12)


def level_agreement(heard: Sequence[tuple[str | None, int | None]], clips: Sequence[BankClip]) -> float:
    """Share of the clips of level 2 or 3 that are heard as strong or not as they are, whatever the emotion heard."""
    right = [
        (level == 3) == (clip.level == 3) for (_, level), clip in zip(heard, clips, strict=True) if clip.level in (2, 3)
    ]
    return float(np.mean(right)) if right else float("nan")


FOLDS = 4
SHARED = ("angry", "happy", "neutral", "sad")
"""Emotions that most corpora know, for going from one to another."""
BATCH = 16
TEMPERATURES = np.geomspace(0.5, 4.0, 37)
EVERY = 12
"""Every so many held-out clips one has its sentence written out to the end."""
MUST = {"ravdess": ">= 0.70", "emodb": ">= 0.75"}
CROSS = {"emodb": ">= 0.60", "ravdess": ">= 0.55"}
RECIPES: Mapping[str, Mapping[str, object]] = {
    "states alone, as recorded": {"manner": False, "familiar": False, "views": 1, "masked": 0.0},
    "states alone, also elsewhere": {"manner": False, "familiar": False},
    "+ manner": {"familiar": False},
    "+ manner, the unfamiliar counts less": {},
}
"""Ways to train that are compared by leaving a corpus out; the last is the one that is shipped."""
RECIPE_STEPS = 400
"""Steps of alignment of every recipe; nothing is written."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Opinions of clips before any temperature: log probabilities of `EMOTION_CLASSES`, and of there being speech."""

    bank: FeatureBank
    classes: Float32[np.ndarray, "clips classes"]
    speech: Float32[np.ndarray, " clips"]

    def verdict(self, temperature: float = 1.0, among: Sequence[str] = EMOTIONS) -> Classification:
        """What is heard, at a temperature of confidence."""
        return Classification(
            by_emotion(self.shares(temperature), among), tuple(clip.emotion for clip in self.bank.clips)
        )

    def shares(self, temperature: float = 1.0) -> Float[np.ndarray, "clips classes"]:
        """Probabilities of `EMOTION_CLASSES`."""
        scores = self.classes.astype(np.float64) / temperature
        scores -= scores.max(axis=1, keepdims=True)
        return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    def written(self, temperature: float) -> list[tuple[str | None, int | None]]:
        """Emotion and level that sentences name, unsure ones nearer to neutral."""
        rows = np.log(self.shares(temperature) + 1e-12).astype(np.float32)
        return [softened(row, float(speech))[0] for row, speech in zip(rows, self.speech, strict=True)]

    def of(self, corpus: str) -> Predictions:
        """The clips of one corpus."""
        keep = [clip.corpus == corpus for clip in self.bank.clips]
        return Predictions(self.bank.select(keep), self.classes[keep], self.speech[keep])


def predict_bank(instructor: Instructor, bank: FeatureBank, kept: Path | None = None) -> Predictions:
    """Opinions of every clip of a bank as it was recorded, from a file where the same weights heard them before."""
    known = f"{bank.digest} {fingerprint(instructor.model)}"
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as stored:
            if "known" in stored and str(stored["known"]) == known:
                return Predictions(bank, stored["classes"], stored["speech"])
    classes, speech = [], []
    for first in range(0, len(bank), BATCH):
        classified = instructor.classify([[views[0]] for views in bank.views[first : first + BATCH]])
        classes.append(classified.log_probabilities)
        speech.append(classified.speech)
    heard = Predictions(bank, np.concatenate(classes), np.concatenate(speech))
    if kept is not None:
        with atomic_path(kept) as temporary:
            np.savez(temporary, classes=heard.classes, speech=heard.speech, known=np.array(known))
    return heard


def best_temperature(heard: Sequence[Predictions]) -> float:
    """The temperature at which what was meant is likeliest (Guo et al. 2017)."""

    def likelihood(temperature: float) -> float:
        logs = []
        for each in heard:
            verdict = each.verdict(temperature)
            own = [EMOTIONS.index(emotion) for emotion in verdict.meant]
            logs.append(np.log(verdict.shares[np.arange(len(own)), own] + 1e-9))
        return float(np.concatenate(logs).mean())

    return float(max(TEMPERATURES, key=likelihood))


@dataclass(frozen=True, eq=False)
class Study:
    """What every part of the evaluation needs."""

    bank: FeatureBank
    sounds: Sequence[AcousticFeatures]
    models: FrozenModels
    settings: InstructorSettings
    folder: Path

    def train(self, bank: FeatureBank, name: str) -> Instructor:
        """An instructor of a bank's clips; its first words are learned once for all."""
        place = self.folder / name
        trained = train_instructor(
            bank, self.sounds, self.models, self.settings, place, progress=None, spoken=self.folder / "speak"
        )
        return Instructor(trained.model, self.models.encoder, self.models.language, name)

    def corpora(self) -> list[str]:
        """Names of the corpora with speakers enough to be parted."""
        speakers = {(clip.corpus, clip.speaker) for clip in self.bank.clips}
        counts = Counter(corpus for corpus, _ in speakers)
        return [corpus for corpus in dict.fromkeys(clip.corpus for clip in self.bank.clips) if counts[corpus] >= FOLDS]


def cross_validate(study: Study) -> tuple[list[Figure], float, list[Predictions]]:
    """Figures over folds by speaker; the temperature of all folds together, and what was heard in each."""
    parts = list(folds(study.bank, FOLDS))
    heard, said = [], []
    for number, (learned, out) in enumerate(parts):
        instructor = study.train(learned, f"fold{number}")
        heard.append(predict_bank(instructor, out, study.folder / f"fold{number}.npz"))
        said += write_out(instructor, out)
    figures: list[Figure] = []
    by_fold = [best_temperature([*heard[:n], *heard[n + 1 :]]) for n in range(len(heard))]
    for corpus in study.corpora():
        figures += _corpus_figures(corpus, [each.of(corpus) for each in heard], by_fold)
        figures += list(_beside(corpus, parts))
    figures += list(_text_figures(said))
    return figures, best_temperature(heard), heard


def _corpus_figures(corpus: str, heard: Sequence[Predictions], by_fold: Sequence[float]) -> Iterator[Figure]:
    pairs = list(zip(heard, by_fold, strict=True))
    right = []
    for each, temperature in pairs:
        meant = [clip.emotion for clip in each.bank.clips]
        named = [emotion for emotion, _ in each.written(temperature)]
        right.append(float(np.mean([a == b for a, b in zip(named, meant, strict=True)])))
    kinds = len({clip.emotion for each in heard for clip in each.bank.clips})
    how = f"{kinds} emotions, mean of {len(heard)} folds by speaker: " + ", ".join(f"{x:.3f}" for x in right)
    yield Figure(f"{corpus}: written emotion", float(np.mean(right)), "", MUST.get(corpus, "-"), how)
    verdicts = [each.verdict(temperature) for each, temperature in pairs]
    every = Classification(
        np.concatenate([v.shares for v in verdicts]), tuple(name for v in verdicts for name in v.meant)
    )
    yield Figure(
        f"{corpus}: unweighted recall of the likeliest", every.recall, "", "-", f"accuracy {every.accuracy:.3f}"
    )
    must = "<= 0.10" if corpus in MUST else "-"
    yield Figure(
        f"{corpus}: expected calibration error", every.calibration_error, "", must, "temperature of other folds"
    )
    levels = [level_agreement(each.written(temperature), each.bank.clips) for each, temperature in pairs]
    if not np.isnan(levels).any():
        how = "strong against normal, of clips of level 2 and 3"
        yield Figure(f"{corpus}: level agreement", float(np.mean(levels)), "", ">= 0.72", how)
    near = [_level_known(each) for each in heard]
    how = "top 1 and top 5 of the sentences of all feelings, level included where it is known: "
    first, fifth = (float(np.mean([row[n] for row in near])) for n in range(2))
    yield Figure(f"{corpus}: sentence found for a clip", first, "", "-", f"{how}{first:.2f}, {fifth:.2f}")
    found = [_found_for(each.verdict(t)) for each, t in pairs]
    yield Figure(f"{corpus}: clips found for a sentence", float(np.mean(found)), "", "-", "precision at 10 by emotion")


def _level_known(heard: Predictions) -> tuple[float, float]:
    order = np.argsort(-heard.classes, axis=1)
    fits = np.zeros((len(order), len(EMOTION_CLASSES)), bool)
    for row, clip in zip(fits, heard.bank.clips, strict=True):
        for number, label in enumerate(EMOTION_CLASSES):
            row[number] = label.emotion == clip.emotion and clip.level in (None, label.level)
    ranked = np.take_along_axis(fits, order, axis=1)
    return float(ranked[:, 0].mean()), float(ranked[:, :5].any(axis=1).mean())


def _found_for(verdict: Classification, most: int = 10) -> float:
    shares = []
    for emotion in sorted(set(verdict.meant)):
        order = np.argsort(-verdict.shares[:, EMOTIONS.index(emotion)])[:most]
        shares.append(np.mean([verdict.meant[number] == emotion for number in order]))
    return float(np.mean(shares))


def _beside(corpus: str, parts: Sequence[tuple[FeatureBank, FeatureBank]]) -> Iterator[Figure]:
    """Plain judges on the same folds, trained on the corpus alone."""
    judges = {
        "logistic regression on mean and deviation of the states": (_pooled, LogisticRegression(C=0.01, max_iter=3000)),
        "support vector machine on the numbers of the manner": (_manner, SVC(C=3.0)),
    }
    for name, (numbers, judge) in judges.items():
        right = []
        for learned, out in parts:
            here, there = (bank.select([clip.corpus == corpus for clip in bank.clips]) for bank in (learned, out))
            fitted = make_pipeline(StandardScaler(), judge).fit(numbers(here), [clip.emotion for clip in here.clips])
            right.append(float(fitted.score(numbers(there), [clip.emotion for clip in there.clips])))
        yield Figure(f"{corpus}: {name}", float(np.mean(right)), "", "-", ", ".join(f"{x:.3f}" for x in right))


def _pooled(bank: FeatureBank) -> Float[np.ndarray, "clips both"]:
    last = [views[0].states[-1].astype(np.float64) for views in bank.views]
    return np.stack([np.concatenate([states.mean(axis=0), states.std(axis=0)]) for states in last])


def _manner(bank: FeatureBank) -> Float[np.ndarray, "clips manner"]:
    return np.stack([views[0].functionals for views in bank.views]).astype(np.float64)


def write_out(instructor: Instructor, bank: FeatureBank, every: int = EVERY, free: bool = False) -> list[Instruction]:
    """Sentences of every so many clips."""
    said = []
    chosen = [[views[0]] for views in bank.views[::every]]
    for first in range(0, len(chosen), BATCH):
        written = instructor.write(instructor.classify(chosen[first : first + BATCH]), free=free)
        said += [each.instruction for each in written]
    return said


def _text_figures(said: Sequence[Instruction]) -> Iterator[Figure]:
    parsed = [bool(each.emotion) and not each.unknown for each in said]
    how = f"every word understood and an emotion named, of {len(said)} sentences"
    yield Figure("sentences that parse", float(np.mean(parsed)), "", "1", how)
    words = [each.text.split() for each in said]
    yield Figure("words of a sentence", float(np.mean([len(each) for each in words])), "", "-", "mean")
    again = [1 - len(set(itertools.pairwise(w))) / max(len(w) - 1, 1) for w in words]
    how = f"share of pairs of words that come again; {len({each.text for each in said})} different sentences"
    yield Figure("repetition", float(np.mean(again)), "", "0", how)


def across(study: Study, pairs: Sequence[tuple[str, str]]) -> Iterator[Figure]:
    """Trained on four emotions of one corpus, measured on those of another, of which nothing else is used."""
    for source, target in pairs:
        learned = study.bank.select([clip.corpus == source and clip.emotion in SHARED for clip in study.bank.clips])
        out = study.bank.select([clip.corpus == target and clip.emotion in SHARED for clip in study.bank.clips])
        instructor = study.train(learned, f"{source}-to-{target}")
        heard = predict_bank(instructor, out, study.folder / f"{source}-to-{target}.npz")
        named = [emotion for emotion, _ in heard.written(1.0)]
        meant = [clip.emotion for clip in out.clips]
        free = recall(named, meant)
        best = heard.verdict(1.0, SHARED)
        beside = nearest(instructor.model, [views[0] for views in out.views])
        near = Classification(by_emotion(beside, SHARED), tuple(meant)).recall
        must = CROSS.get(target.removesuffix("_full"), "-")
        how = f"unweighted recall, {len(meant)} clips; likeliest {best.recall:.3f}, nearest sentence {near:.3f}"
        yield Figure(f"{source} to {target}: written emotion", free, "", must, how)


def compare(study: Study, pairs: Sequence[tuple[str, str]]) -> Iterator[Figure]:
    """The recipes, each with a corpus left out: unweighted recall of the nearest sentence, four emotions."""
    for name, changes in RECIPES.items():
        steps = study.settings.align.model_copy(update={"steps": RECIPE_STEPS})
        settings = study.settings.model_copy(update={**changes, "align": steps})
        found = []
        for source, target in pairs:
            both = [clip.corpus in (source, "samples") and clip.emotion in SHARED for clip in study.bank.clips]
            learned = study.bank.select(both)
            if settings.views == 1:
                learned = FeatureBank(learned.clips, tuple(views[:1] for views in learned.views), learned.digest + "1")
            out = study.bank.select([clip.corpus == target and clip.emotion in SHARED for clip in study.bank.clips])
            words = "".join(char for char in name if char.isalnum())
            place = study.folder / "recipes" / f"{words}-{source}"
            model, _ = align(learned, study.sounds, study.models, settings, place)
            shares = by_emotion(nearest(model, [views[0] for views in out.views]), SHARED)
            found.append(Classification(shares, tuple(clip.emotion for clip in out.clips)).recall)
        legs = ", ".join(f"to {target} {x:.3f}" for (_, target), x in zip(pairs, found, strict=True))
        yield Figure(f"recipe: {name}", float(np.mean(found)), "", "-", f"corpus left out: {legs}")
