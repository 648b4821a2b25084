"""The instructor cross-validated by speaker, between corpora, and on what recordings suffer; needs --corpus.

Trainings are kept in the folder of --study and gone on with; a whole study takes hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.dataset import Corpus
from avi_lib.evaluation.instructor_scores import (
    BATCH,
    FOLDS,
    Predictions,
    Study,
    across,
    compare,
    cross_validate,
    folds,
    predict_bank,
)
from avi_lib.evaluation.report import Figure
from avi_lib.files import make_folder
from avi_lib.instruction.instructor import Instructor
from avi_lib.instruction.language_model import load_language_model
from avi_lib.instruction.text_encoder import load_text_encoder
from avi_lib.settings import PROFILES
from avi_lib.speech.augment import TELEPHONE_HZ, active_dbfs, band_limit, degrade, gain, room_tone
from avi_lib.speech.encoders import load_encoder
from avi_lib.speech.loading import RATE_HZ, load_speech
from avi_lib.speech.voice import acoustic_features
from avi_lib.training.instructor import FrozenModels, sound_features
from avi_lib.training.instructor_data import FeatureBank, make_feature_bank
from tools.benchmarks.measuring import Options, left_out

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
    plain = predict_bank(instructor, few).verdict()
    yield Figure("held-out clips as they are", plain.accuracy, "", "-", f"{len(few)} clips, likeliest emotion")
    waves = []
    for label in few.clips:
        corpus = by_name[label.corpus]
        clip = corpus.clip(label.name)
        start = round(clip.start_s * RATE_HZ)
        sound = corpus.sound(clip)
        assert sound is not None, "it was heard"
        waves.append(load_speech(sound).wave[start : start + round(clip.duration_s * RATE_HZ)])
    for name, change in CONDITIONS.items():
        classes, speech = [], []
        for first in range(0, len(waves), BATCH):
            hearings = [[acoustic_features(change(wave), instructor.encoder)] for wave in waves[first : first + BATCH]]
            classified = instructor.classify(hearings)
            classes.append(classified.log_probabilities)
            speech.append(classified.speech)
        verdict = Predictions(few, np.concatenate(classes), np.concatenate(speech)).verdict()
        fall = 100 * (plain.accuracy - verdict.accuracy)
        must = "-" if name == "telephone" else "<= 5"
        yield Figure(f"{name}: fall of accuracy", fall, "points", must, f"accuracy {verdict.accuracy:.3f}")
