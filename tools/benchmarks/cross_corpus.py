"""What the instructor hears of people it never heard: corpora left out, speakers left out, and what recordings suffer.

Linear maps are fitted anew for every part, by the library's own training; nothing of what is measured is used. They are
convex, so that no seed decides. Intervals are by speaker. Needs the folder of --real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64
from sklearn.linear_model import LogisticRegression

from avi_lib.corpus.adapters import RawCorpus, scan_source
from avi_lib.instruction.action_units import EMOTIONS, quantise
from avi_lib.instruction.instructor import Instructor, heard_units, likeliest, load_instructor
from avi_lib.instruction.instructor_network import UNITS, InstructorModel, InstructorShape, stack
from avi_lib.settings import InstructorSettings, profile
from avi_lib.speech.augment import active_dbfs, room_tone
from avi_lib.speech.encoders import RATE_HZ, load_encoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import Voice
from avi_lib.training.instructor import (
    best_temperature,
    clip_means,
    clip_weights,
    emotion_shares,
    least_sure,
    leave_out,
    listen,
)
from avi_lib.training.instructor_data import BankClip, FeatureBank, make_feature_bank, read_faces
from tools.benchmarks.measuring import SAMPLES, Figure, Options, there
from tools.benchmarks.scores import Classification, recall

CORPORA = {"ravdess": "ravdess", "emodb": "emodb", "crema": "table", "nemo": "table", "koemo": "table"}
"""Folders of recordings and the adapters that read them."""
MOST = {"crema": 384, "nemo": 192}
"""Clips at most of corpora, as the shipped weights were trained."""
SHARED = ("angry", "happy", "neutral", "sad")
"""Emotions that all of them know."""
FOLDS = 8
RESAMPLES = 400
SNR_DB, QUIET_DB = 20.0, 35.0
EVERY = 8
"""One clip of so many is changed."""
AUDIBLE = ("AU05", "AU06", "AU07", "AU10", "AU12", "AU14")
RECIPES: Mapping[str, tuple[Mapping[str, object], Callable[[FeatureBank], FeatureBank]]] = {
    "shipped": ({}, lambda bank: bank),
    "weights held a third as small": ({"penalty": 0.15}, lambda bank: bank),
    "weights held three times as small": ({"penalty": 1.5}, lambda bank: bank),
    "60 directions": ({"axes": 60}, lambda bank: bank),
    "recordings only, none augmented": ({}, lambda bank: _viewed(bank, lambda views: views[:1])),
    "first of the layers alone": ({}, lambda bank: _viewed(bank, lambda views: tuple(v[:1] for v in views))),
    "middle layer alone": ({}, lambda bank: _viewed(bank, lambda views: tuple(v[1:2] for v in views))),
    "last of the layers alone": ({}, lambda bank: _viewed(bank, lambda views: tuple(v[2:] for v in views))),
}
"""Ways to listen that are compared by leaving corpora out: settings, and what is made of the features."""
Logits = Float64[np.ndarray, "_clips _classes"]
Wave = Float32[np.ndarray, " samples"]


def measure(options: Options) -> Iterator[Figure]:
    """Corpora left out, then speakers, then the shipped weights on changed, read and demonstration speech."""
    if not there(options.real, "the instructor on corpora left out"):
        return
    bank, settings = read_bank(options), profile("full").instructor
    encoder = load_encoder()
    shape = InstructorShape(
        encoder=encoder.name, encoder_fingerprint=encoder.fingerprint, states=encoder.dim, layers=len(encoder.early),
        text_encoder="", text_fingerprint="", text=1, language_model="", language_fingerprint="", width=1,
    )  # fmt: skip
    yield from travel(bank, shape, settings)
    yield from speakers(
        bank, read_faces(options.real / "av_ravdess_au" / "static_means.csv", bank.clips), shape, settings
    )
    instructor = load_instructor()
    yield from read_speech(instructor, options.real)
    yield from changed(instructor, options.real)


def read_bank(options: Options) -> FeatureBank:
    """The clips that the shipped weights were trained on; of their features the means, which is all that is heard."""
    found = [RawCorpus("samples", "table", SAMPLES / "corpus"), RawCorpus("av_grid_s1", "av_grid_s1", Path())]
    found += [RawCorpus(name, adapter, Path()) for name, adapter in CORPORA.items()]
    chosen = [each if each.folder.parts else each._replace(folder=options.real / each.name) for each in found]
    views = profile("full").instructor.views
    bank = make_feature_bank(chosen, "whisper-tiny-en", views, 0, options.cache, most=MOST)
    return _viewed(
        bank, lambda own: tuple(view.mean(axis=1, keepdims=True, dtype=np.float32).astype(np.float16) for view in own)
    )


def _viewed(bank: FeatureBank, change: Callable[[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]) -> FeatureBank:
    return FeatureBank(bank.clips, tuple(change(views) for views in bank.views), bank.digest)


def interval(clips: Sequence[BankClip], score: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """The 95 % interval of a score of numbers of clips, by drawing speakers."""
    rng, names = np.random.default_rng(0), np.array([f"{clip.corpus} {clip.speaker}" for clip in clips])
    own = {name: np.flatnonzero(names == name) for name in np.unique(names)}
    drawn = (np.concatenate([own[str(name)] for name in rng.choice(list(own), len(own))]) for _ in range(RESAMPLES))
    low, high = np.percentile([score(numbers) for numbers in drawn], (2.5, 97.5))
    return float(low), float(high)


def four(logits: Logits, clips: Sequence[BankClip]) -> tuple[list[str], list[BankClip]]:
    """The likeliest of the shared emotions for the clips that mean one of them."""
    kept = [number for number, clip in enumerate(clips) if clip.emotion in SHARED]
    shares = emotion_shares(logits[kept])[:, [EMOTIONS.index(name) for name in SHARED]]
    return [SHARED[number] for number in shares.argmax(axis=1)], [clips[number] for number in kept]


def scored(predicted: Sequence[str], clips: Sequence[BankClip]) -> Callable[[np.ndarray], float]:
    """Unweighted recall of some of the clips."""
    return lambda some: recall([predicted[i] for i in some], [clips[i].emotion for i in some])


def travel(bank: FeatureBank, shape: InstructorShape, settings: InstructorSettings) -> Iterator[Figure]:
    """Every corpus heard by what was fitted on the others: recipes, a plain probe, a neutral recording, confidence."""
    for name, (changes, change) in RECIPES.items():
        own = change(bank)
        layers = shape.model_copy(update={"layers": own.views[0][0].shape[0]})
        how = settings.model_copy(update=dict(changes))
        held = {corpus: leave_out(layers, own, corpus, how) for corpus in CORPORA}
        yield from _left_out(name, {corpus: found[0] for corpus, found in held.items()})
        if name != "shipped":
            continue
        yield from _left_out("beside two neutral recordings", {c: found[1] for c, found in held.items() if found[1][1]})
        yield from _paired(bank, {corpus: found[0] for corpus, found in held.items()})
        yield from _confidence({corpus: found[0] for corpus, found in held.items()})


def _left_out(name: str, held: Mapping[str, tuple[Logits, list[BankClip]]]) -> Iterator[Figure]:
    values, words = [], []
    for corpus, (logits, clips) in held.items():
        predicted, meant = four(logits, clips)
        score = scored(predicted, meant)
        low, high = interval(meant, score)
        values.append(score(np.arange(len(meant))))
        words.append(f"{corpus} {values[-1]:.2f} ({low:.2f} to {high:.2f})")
    must = {"shipped": ">= 0.66", "beside two neutral recordings": ">= 0.70"}.get(name, "-")
    yield Figure(f"corpora left out, four emotions: {name}", float(np.mean(values)), "", must, ", ".join(words))


def _paired(bank: FeatureBank, held: Mapping[str, tuple[Logits, list[BankClip]]]) -> Iterator[Figure]:
    """The instructor minus a logistic regression of the four emotions on the recordings' means."""
    numbers = clip_means([views[0] for views in bank.views])
    every = np.array([clip.emotion in SHARED for clip in bank.clips])
    gains, gained, clips = [], [], list[BankClip]()
    for corpus, (logits, own) in held.items():
        here = np.array([clip.corpus == corpus for clip in bank.clips])
        learned, out = every & ~here, every & here
        mean, deviation = numbers[learned].mean(axis=0), numbers[learned].std(axis=0) + 1e-5
        names = [clip for clip, kept in zip(bank.clips, learned, strict=True) if kept]
        probe = LogisticRegression(C=3e-4, max_iter=200)
        normal = np.clip((numbers - mean) / deviation, -5, 5)
        probe.fit(normal[learned], [clip.emotion for clip in names], sample_weight=clip_weights(names))
        plain, (predicted, meant) = list(probe.predict(normal[out])), four(logits, own)
        both = scored(predicted, meant), scored(plain, meant)
        whole = np.arange(len(meant))
        gains.append(both[0](whole) - both[1](whole))
        gained.append(interval(meant, lambda some, both=both: both[0](some) - both[1](some)))
        clips += meant
    words = ", ".join(f"{c} {g:+.2f} ({a:+.2f} to {b:+.2f})" for c, g, (a, b) in zip(held, gains, gained, strict=True))
    yield Figure("more than a logistic regression on the same", float(np.mean(gains)), "", ">= 0.03", words)


def _confidence(held: Mapping[str, tuple[Logits, list[BankClip]]]) -> Iterator[Figure]:
    """Calibration, with the temperature of the other corpora, and recall by coverage."""
    errors, shares, meant = {}, [], []
    for corpus, (logits, clips) in held.items():
        others = [held[name] for name in held if name != corpus]
        warm = best_temperature(
            np.concatenate([each for each, _ in others]), [c.emotion for _, own in others for c in own]
        )
        found = Classification(emotion_shares(logits / warm), tuple(clip.emotion for clip in clips))
        errors[corpus] = found.calibration_error
        shares.append(found.shares)
        meant += found.meant
    words = ", ".join(f"{corpus} {error:.2f}" for corpus, error in errors.items())
    yield Figure("calibration error, corpora left out", float(np.mean(list(errors.values()))), "", "<= 0.12", words)
    every = np.concatenate(shares)
    sure, right = every.max(axis=1), np.array(Classification(every, tuple(meant)).right)
    order = np.argsort(-sure)
    curve = [f"{share:.0%} {right[order[: round(share * len(order))]].mean():.2f}" for share in (1, 0.75, 0.5, 0.25)]
    yield Figure("threshold of neutral", least_sure(every, meant), "", "-", f"accuracy by coverage: {', '.join(curve)}")


def speakers(
    bank: FeatureBank, faces: np.ndarray, shape: InstructorShape, settings: InstructorSettings
) -> Iterator[Figure]:
    """Speakers dealt out to folds: emotions of every corpus, level, calibration, and units written against measured."""
    names = sorted({(clip.corpus, clip.speaker) for clip in bank.clips})
    fold = {name: number % FOLDS for number, name in enumerate(names)}
    logits, units = np.zeros((len(bank), shape.classes)), np.zeros((len(bank), shape.units))
    numbers = torch.from_numpy(clip_means([views[0] for views in bank.views])).float()
    for number in range(FOLDS):
        out = np.array([fold[clip.corpus, clip.speaker] == number for clip in bank.clips])
        model = InstructorModel(shape)
        listen(model, bank.select([not each for each in out]), (), faces[~out], settings)
        with torch.no_grad():
            heard, strengths, _ = model.alone(numbers[torch.from_numpy(out)])
        logits[out], units[out] = heard.numpy(), strengths.numpy()
    musts = {"ravdess": ">= 0.72", "emodb": ">= 0.78", "crema": ">= 0.42"}
    for corpus in CORPORA:
        here = np.array([clip.corpus == corpus for clip in bank.clips])
        clips = [clip for clip, kept in zip(bank.clips, here, strict=True) if kept]
        warm = best_temperature(logits[~here], [c.emotion for c, kept in zip(bank.clips, ~here, strict=True) if kept])
        shares = emotion_shares(logits[here] / warm)
        among = [number for number, name in enumerate(EMOTIONS) if name in {clip.emotion for clip in clips}]
        kept = np.zeros_like(shares)
        kept[:, among] = shares[:, among] / shares[:, among].sum(axis=1, keepdims=True)
        found = Classification(kept, tuple(clip.emotion for clip in clips))
        right = np.array(found.right, float)
        low, high = interval(clips, lambda some, right=right: float(right[some].mean()))
        words = f"{len(among)} emotions, {low:.2f} to {high:.2f}; unweighted recall {found.recall:.2f}"
        words += f"; calibration error {found.calibration_error:.2f}"
        yield Figure(f"speakers left out: {corpus}", found.accuracy, "", musts.get(corpus, "-"), words)
    yield from _levels(logits, bank.clips)
    yield from _units(units, faces, bank.clips)


def _levels(logits: Logits, clips: Sequence[BankClip]) -> Iterator[Figure]:
    known = [(likeliest(row), clip) for row, clip in zip(logits, clips, strict=True) if clip.level in (2, 3)]
    right = [(label.level == 3) == (clip.level == 3) for label, clip in known if clip.corpus == "ravdess"]
    yield Figure("speakers left out: strong against normal, RAVDESS", float(np.mean(right)), "", ">= 0.75", "")


def _units(units: np.ndarray, faces: np.ndarray, clips: Sequence[BankClip]) -> Iterator[Figure]:
    """Partial correlation of what is written, and of what is heard, with what faces showed."""
    known = np.isfinite(faces).all(axis=1)
    written = np.zeros_like(units)
    columns = list(UNITS.values())
    for row, strengths in zip(written, units, strict=True):
        for name, strength in heard_units(strengths.astype(np.float32)).items():
            row[columns.index(name)] = quantise(strength)
    rows = [clip for clip, kept in zip(clips, known, strict=True) if kept]
    for depth, must in (("actor and class", ">= 0.25"), ("actor, class and level", ">= 0.12")):
        groups = [f"{c.speaker} {c.emotion} {c.level if 'level' in depth else ''}" for c in rows]
        _, group = np.unique(groups, return_inverse=True)
        both = [_correlation(found[known], faces[known], group) for found in (written, units)]
        kept = [list(UNITS).index(code) for code in AUDIBLE]
        words = ", ".join(f"{code} {both[0][i]:.2f}" for code, i in zip(AUDIBLE, kept, strict=True))
        words += f"; heard before it is written {both[1][kept].mean():.2f}"
        yield Figure(f"units written, within {depth}", float(both[0][kept].mean()), "", must, words)
    distinct = len({row.tobytes() for row in written[known]})
    yield Figure("different sets of units", float(distinct), "", ">= 100", f"in {int(known.sum())} clips")


def _correlation(found: np.ndarray, true: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Correlation of columns within groups."""
    counts = np.bincount(group)[:, None]
    apart = []
    for values in (found, true):
        sums = np.stack([np.bincount(group, column) for column in values.T], axis=1)
        apart.append(values - (sums / counts)[group])
    return np.asarray((apart[0] * apart[1]).sum(0) / np.sqrt((apart[0] ** 2).sum(0) * (apart[1] ** 2).sum(0) + 1e-12))


def read_speech(instructor: Instructor, real: Path) -> Iterator[Figure]:
    """Neutral reading of people that training did not have, or of the half that it did not have."""
    folders = {"grid10": sorted((real / "grid10").glob("*.wav")) + sorted((real / "grid10").glob("*.flac"))}
    found = [each.speech for each in scan_source("av_grid_s1", real / "av_grid_s1").recordings]
    folders |= {"av_grid_s1": [path for path in found[1::EVERY] if path is not None]}
    folders |= {"samples": [SAMPLES / "arctic.flac", SAMPLES / "librivox.flac"]}
    calm, other, count = 0, 0, 0
    words = []
    for name, paths in folders.items():
        own = [instructor.instruct(load_voice(path)) for path in paths]
        mild = sum(each.instruction.emotion in ("neutral", "calm") for each in own)
        other += sum(
            max(v for k, v in each.probabilities.items() if k not in ("neutral", "calm")) > 0.6 for each in own
        )
        calm, count = calm + mild, count + len(own)
        words.append(f"{name} {mild} of {len(own)}")
    yield Figure("read speech: neutral or calm", calm / max(count, 1), "", ">= 0.85", ", ".join(words))
    yield Figure("read speech: above 0.6 for another emotion", other / max(count, 1), "", "<= 0.03", f"{count} clips")


def _cut(wave: Wave) -> Wave:
    """The wave without its quiet parts, of 20 ms each."""
    whole = wave[: len(wave) // 320 * 320].reshape(-1, 320)
    level_db = 10 * np.log10(np.square(whole).mean(axis=1) + 1e-10)
    kept: Wave = whole[level_db > level_db.max(initial=-100.0) - QUIET_DB].ravel()
    return kept if len(kept) else wave


def _noisy(wave: Wave) -> Wave:
    tone = room_tone(len(wave), active_dbfs(wave) - SNR_DB, 3.0, np.random.default_rng(len(wave)))
    return (wave + tone).astype(np.float32)


def changed(instructor: Instructor, real: Path) -> Iterator[Figure]:
    """Share of clips whose likeliest emotion changes when silence is cut, or noise is added."""
    paths = [
        r.speech for n, a in CORPORA.items() for r in scan_source(a, real / n).recordings[:: EVERY * 4] if r.speech
    ]
    waves = [load_voice(path).wave[: 12 * RATE_HZ] for path in paths]

    def heard(change: Callable[[Wave], Wave]) -> list[int]:
        features = [Voice(change(wave)).acoustic_features(instructor.encoder) for wave in waves]
        with torch.inference_mode():
            logits = [instructor.model.hear(stack([each])).logits for each in features]
        return list(emotion_shares(torch.cat(logits).double().numpy()).argmax(axis=1))

    plain = heard(lambda wave: wave)
    for name, change in (("silence is cut", _cut), (f"{SNR_DB:g} dB of noise are added", _noisy)):
        moved = float(np.mean([a != b for a, b in zip(plain, heard(change), strict=True)]))
        yield Figure(f"emotion changes when {name}", moved, "", "<= 0.08", f"{len(waves)} clips")
