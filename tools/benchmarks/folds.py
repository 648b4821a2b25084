"""The instructor cross-validated by speaker, between corpora, and on what recordings suffer; needs --corpus.

Every number is of speakers that training did not have. Trainings are kept in the folder of --study and gone on with; a
whole study takes hours. The temperature of confidence is found for each fold on the other folds.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from avi_lib.corpus.dataset import Corpus
from avi_lib.files import atomic_path, make_folder
from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.instructor import Instructor
from avi_lib.instruction.language_model import load_language_model, load_text_encoder
from avi_lib.settings import PROFILES, InstructorSettings
from avi_lib.speech.augment import TELEPHONE_HZ, active_dbfs, band_limit, degrade, gain, room_tone
from avi_lib.speech.encoders import RATE_HZ, load_encoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import AcousticFeatures, Voice
from avi_lib.training.instructor import FrozenModels, align, sound_features, train_instructor
from avi_lib.training.instructor_data import FeatureBank, make_feature_bank
from avi_lib.weights import fingerprint
from tools.benchmarks.measuring import Figure, Options, left_out
from tools.benchmarks.scores import (
    BATCH,
    Classification,
    Predictions,
    by_emotion,
    level_agreement,
    nearest,
    predict_bank,
    recall,
    write_out,
)

FOLDS = 4
SHARED = ("angry", "happy", "neutral", "sad")
"""Emotions that most corpora know, for going from one to another."""
TEMPERATURES = np.geomspace(0.5, 4.0, 37)
MUST = {"ravdess": ">= 0.70", "emodb": ">= 0.75"}
CROSS = {"emodb": ">= 0.60", "ravdess": ">= 0.55"}
RECIPES: Mapping[str, Mapping[str, object]] = {
    "states alone, as recorded": {"functionals": False, "out_of_domain": False, "views": 1, "masked": 0.0},
    "states alone, also augmented": {"functionals": False, "out_of_domain": False},
    "+ functionals": {"out_of_domain": False},
    "+ functionals, out-of-domain states count less": {},
}
"""Ways to train that are compared by leaving a corpus out; the last is the one that is shipped."""
RECIPE_STEPS = 400
"""Steps of alignment of every recipe; nothing is written."""
Wave = Float32[np.ndarray, " samples"]
SNR_DB = 20.0


def _noisy(wave: Wave) -> Wave:
    tone = room_tone(len(wave), active_dbfs(wave) - SNR_DB, 3.0, np.random.default_rng(len(wave)))
    return (wave + tone).astype(np.float32)


CONDITIONS: Mapping[str, Callable[[Wave], Wave]] = {
    "20 dB of noise": _noisy,
    "8 kHz": lambda wave: band_limit(wave, (20.0, 3900.0)),
    "+6 dB": lambda wave: np.clip(gain(wave, 6.0), -1, 1).astype(np.float32),
    "-6 dB": lambda wave: gain(wave, -6.0),
    "mu-law": lambda wave: degrade(wave, "mu-law"),
    "low-rate codec": lambda wave: degrade(wave, "low-rate"),
    "telephone": lambda wave: band_limit(wave, TELEPHONE_HZ),
}
"""What is done to clips; a recording at 8 kHz has nothing above 4 kHz."""


def measure(options: Options) -> Iterator[Figure]:
    """Between corpora and recipes for --across, then folds by speaker, then the first fold under every condition."""
    if not options.corpus:
        left_out("folds", "they train for hours on prepared corpora, which --corpus names")
        return
    settings = PROFILES["full"].instructor
    encoder, prepared = load_encoder(), [Corpus(folder) for folder in options.corpus]
    models = FrozenModels(encoder, load_text_encoder(), load_language_model())
    sounds = sound_features(encoder, settings.sounds)
    make_folder(options.study)
    if options.across:
        pairs = [(source, target) for source, _, target in (pair.partition(":") for pair in options.across)]
        bank = make_feature_bank(prepared, encoder.name, settings.views, 0, options.cache)
        study = Study(bank, sounds, models, settings, options.study)
        yield from across(study, pairs)
        yield from compare(study, pairs)
    names = [corpus.folder.name for corpus in prepared]
    whole = [corpus for corpus in prepared if not _part_of_another(corpus.folder.name, names)]
    bank = make_feature_bank(whole, encoder.name, settings.views, 0, options.cache)
    study = Study(bank, sounds, models, settings, options.study)
    figures, temperature, _ = cross_validate(study)
    yield from figures
    yield Figure("temperature of confidence", temperature, "", "-", "all folds together")
    learned, out = next(iter(folds(bank, FOLDS)))
    yield from harden(study.train(learned, "fold0"), whole, out)


def _part_of_another(name: str, names: Sequence[str]) -> bool:
    """Whether a corpus is another cut of one that is there, such as emodb_full beside emodb."""
    return any(name != other and name.startswith(f"{other}_") for other in names)


def harden(instructor: Instructor, corpora: Sequence[Corpus], out: FeatureBank, most: int = 120) -> Iterator[Figure]:
    """Accuracy of clips as they are and under each condition."""
    by_name = {corpus.folder.name: corpus for corpus in corpora}
    step = max(1, len(out) // most)
    few = out.select([number % step == 0 for number in range(len(out))])
    plain = predict_bank(instructor, few).classified()
    yield Figure("held-out clips as they are", plain.accuracy, "", "-", f"{len(few)} clips, likeliest emotion")
    waves = []
    for label in few.clips:
        corpus = by_name[label.corpus]
        clip = corpus.clip(label.name)
        start = round(clip.start_s * RATE_HZ)
        sound = corpus.sound(clip)
        assert sound is not None, "the bank has clips with sound"
        waves.append(load_voice(sound).wave[start : start + round(clip.duration_s * RATE_HZ)])
    for name, change in CONDITIONS.items():
        classes, speech = [], []
        for first in range(0, len(waves), BATCH):
            batch = [
                [Voice(change(wave)).acoustic_features(instructor.encoder)] for wave in waves[first : first + BATCH]
            ]
            classified = instructor.classify(batch)
            classes.append(classified.log_probabilities)
            speech.append(classified.speech)
        found = Predictions(few, np.concatenate(classes), np.concatenate(speech)).classified()
        fall = 100 * (plain.accuracy - found.accuracy)
        must = "-" if name == "telephone" else "<= 5"
        yield Figure(f"{name}: fall of accuracy", fall, "points", must, f"accuracy {found.accuracy:.3f}")


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


def kept_predictions(instructor: Instructor, bank: FeatureBank, path: Path) -> Predictions:
    """Predictions of a bank, from a file where the same weights made them before."""
    known = f"{bank.digest} {fingerprint(instructor.model)}"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if "known" in stored and str(stored["known"]) == known:
                return Predictions(bank, stored["classes"], stored["speech"])
    found = predict_bank(instructor, bank)
    with atomic_path(path) as temporary:
        np.savez(temporary, classes=found.classes, speech=found.speech, known=np.array(known))
    return found


def of_corpus(found: Predictions, corpus: str) -> Predictions:
    """Those of the clips of one corpus."""
    keep = [clip.corpus == corpus for clip in found.bank.clips]
    return Predictions(found.bank.select(keep), found.classes[keep], found.speech[keep])


def best_temperature(predictions: Sequence[Predictions]) -> float:
    """The temperature at which what was meant is likeliest (Guo et al. 2017)."""

    def likelihood(temperature: float) -> float:
        logs = []
        for each in predictions:
            found = each.classified(temperature)
            own = [EMOTIONS.index(emotion) for emotion in found.meant]
            logs.append(np.log(found.shares[np.arange(len(own)), own] + 1e-9))
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
    """Figures over folds by speaker; the temperature of all folds together, and the predictions of each."""
    parts = list(folds(study.bank, FOLDS))
    predictions, said = [], []
    for number, (learned, out) in enumerate(parts):
        instructor = study.train(learned, f"fold{number}")
        predictions.append(kept_predictions(instructor, out, study.folder / f"fold{number}.npz"))
        said += write_out(instructor, out)
    figures: list[Figure] = []
    by_fold = [best_temperature([*predictions[:n], *predictions[n + 1 :]]) for n in range(len(predictions))]
    for corpus in study.corpora():
        figures += _corpus_figures(corpus, [of_corpus(each, corpus) for each in predictions], by_fold)
        figures += list(_beside(corpus, parts))
    figures += list(_text_figures(said))
    return figures, best_temperature(predictions), predictions


def _corpus_figures(corpus: str, predictions: Sequence[Predictions], by_fold: Sequence[float]) -> Iterator[Figure]:
    pairs = list(zip(predictions, by_fold, strict=True))
    right = []
    for each, temperature in pairs:
        meant = [clip.emotion for clip in each.bank.clips]
        named = [emotion for emotion, _ in each.written(temperature)]
        right.append(float(np.mean([a == b for a, b in zip(named, meant, strict=True)])))
    kinds = len({clip.emotion for each in predictions for clip in each.bank.clips})
    how = f"{kinds} emotions, mean of {len(predictions)} folds by speaker: " + ", ".join(f"{x:.3f}" for x in right)
    yield Figure(f"{corpus}: written emotion", float(np.mean(right)), "", MUST.get(corpus, "-"), how)
    classified = [each.classified(temperature) for each, temperature in pairs]
    every = Classification(
        np.concatenate([v.shares for v in classified]), tuple(name for v in classified for name in v.meant)
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
    near = [_level_known(each) for each in predictions]
    how = "top 1 and top 5 of the sentences of all emotion classes, level included where it is known: "
    first, fifth = (float(np.mean([row[n] for row in near])) for n in range(2))
    yield Figure(f"{corpus}: sentence found for a clip", first, "", "-", f"{how}{first:.2f}, {fifth:.2f}")
    found = [_found_for(each.classified(t)) for each, t in pairs]
    yield Figure(f"{corpus}: clips found for a sentence", float(np.mean(found)), "", "-", "precision at 10 by emotion")


def _level_known(predictions: Predictions) -> tuple[float, float]:
    order = np.argsort(-predictions.classes, axis=1)
    fits = np.zeros((len(order), len(EMOTION_CLASSES)), bool)
    for row, clip in zip(fits, predictions.bank.clips, strict=True):
        for number, label in enumerate(EMOTION_CLASSES):
            row[number] = label.emotion == clip.emotion and clip.level in (None, label.level)
    ranked = np.take_along_axis(fits, order, axis=1)
    return float(ranked[:, 0].mean()), float(ranked[:, :5].any(axis=1).mean())


def _found_for(found: Classification, most: int = 10) -> float:
    shares = []
    for emotion in sorted(set(found.meant)):
        order = np.argsort(-found.shares[:, EMOTIONS.index(emotion)])[:most]
        shares.append(np.mean([found.meant[number] == emotion for number in order]))
    return float(np.mean(shares))


def _beside(corpus: str, parts: Sequence[tuple[FeatureBank, FeatureBank]]) -> Iterator[Figure]:
    """Plain judges on the same folds, trained on the corpus alone."""
    judges = {
        "logistic regression on mean and deviation of the states": (_pooled, LogisticRegression(C=0.01, max_iter=3000)),
        "support vector machine on the prosodic functionals": (_functionals, SVC(C=3.0)),
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


def _functionals(bank: FeatureBank) -> Float[np.ndarray, "clips functionals"]:
    return np.stack([views[0].functionals for views in bank.views]).astype(np.float64)


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
        predictions = kept_predictions(instructor, out, study.folder / f"{source}-to-{target}.npz")
        named = [emotion for emotion, _ in predictions.written(1.0)]
        meant = [clip.emotion for clip in out.clips]
        free = recall(named, meant)
        best = predictions.classified(1.0, SHARED)
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
