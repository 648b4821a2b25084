"""What the instructor hears of people it never heard: corpora left out, and speakers left out.

Linear maps are fitted anew for every part, by the library's own training; nothing of what is measured is used. They are
convex, so that no seed decides. Intervals are by speaker. Needs the folder of --real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from sklearn.linear_model import LogisticRegression

from avi_lib.corpus.adapters import RawCorpus, scan_source
from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS, EmotionClass
from avi_lib.instruction.grammar import OPENING, continuations
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.instructor import (
    LEAST_SHARE,
    WORDS,
    likeliest,
    to_write,
)
from avi_lib.instruction.instructor_network import UNITS, InstructorModel, InstructorShape
from avi_lib.instruction.reader import shipped_reader
from avi_lib.settings import InstructorSettings, profile
from avi_lib.speech.encoders import load_encoder
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

ENCODER = "whisper-tiny-en+whisper-base"
CORPORA = {"ravdess": "ravdess", "emodb": "emodb", "crema": "table", "nemo": "table", "koemo": "table"}
"""Folders of recordings and the adapters that read them."""
MOST = {"crema": 384, "nemo": 192}
"""Clips at most of corpora, as the shipped weights were trained."""
TINY = 384
"""Numbers of a state of the first of the encoders."""
SHARED = ("angry", "happy", "neutral", "sad")
"""Emotions that all of them know."""
FOLDS = 8
RESAMPLES = 400
CLEAN = ("av_grid_s1", "emodb", "crema")
"""Corpora whose licences allow weights to be shipped for any use."""
AUDIBLE = ("AU05", "AU06", "AU07", "AU10", "AU12", "AU14")
RECIPES: Mapping[str, tuple[Mapping[str, object], Callable[[FeatureBank], FeatureBank]]] = {
    "shipped": ({}, lambda bank: bank),
    "weights held a third as small": ({"penalty": 0.15}, lambda bank: bank),
    "weights held three times as small": ({"penalty": 1.5}, lambda bank: bank),
    "60 directions": ({"axes": 60}, lambda bank: bank),
    "200 directions": ({"axes": 200}, lambda bank: bank),
    "recordings only, none augmented": ({}, lambda bank: _viewed(bank, lambda views: views[:1])),
    "first of the layers alone": ({}, lambda bank: _viewed(bank, lambda views: tuple(v[:1] for v in views))),
    "middle layer alone": ({}, lambda bank: _viewed(bank, lambda views: tuple(v[1:2] for v in views))),
    "last of the layers alone": ({}, lambda bank: _viewed(bank, lambda views: tuple(v[2:] for v in views))),
    "Whisper-tiny.en alone": ({}, lambda bank: _viewed(bank, lambda views: tuple(v[..., :TINY] for v in views))),
    "Whisper-base alone": ({}, lambda bank: _viewed(bank, lambda views: tuple(v[..., TINY:] for v in views))),
}
"""Ways to listen that are compared by leaving corpora out: settings, and what is made of the features."""
Logits = Float64[np.ndarray, "_clips _classes"]
Held = Mapping[str, tuple[Logits, list[BankClip]]]
"""Of every corpus what is heard of its clips by what was fitted on the others."""


def measure(options: Options) -> Iterator[Figure]:
    """Corpora left out, then speakers, then words beside the voice."""
    if not there(options.real, "the instructor on corpora left out"):
        return
    bank, settings = read_bank(options), profile("full").instructor
    encoder = load_encoder(ENCODER)
    shape = InstructorShape(
        encoder=encoder.name, encoder_fingerprint=encoder.fingerprint, states=encoder.dim, layers=len(encoder.early),
        text_encoder="", text_fingerprint="", text=1, language_model="", language_fingerprint="", width=1,
    )  # fmt: skip
    real = bank.select([clip.corpus != "samples" for clip in bank.clips])
    yield from travel(real, shape, settings)
    with_samples = {corpus: leave_out(shape, bank, corpus, settings)[0] for corpus in CORPORA}
    yield from _left_out("with the sample corpus", with_samples)
    faces = read_faces(options.real / "av_ravdess_au" / "static_means.csv", real.clips)
    yield from speakers(real, faces, shape, settings)
    yield from words(bank, shape, settings)


def read_bank(options: Options) -> FeatureBank:
    """The sample corpus and what the shipped weights learned from; of their features the means, which are heard."""
    found = [RawCorpus("samples", "table", SAMPLES / "corpus"), RawCorpus("av_grid_s1", "av_grid_s1", Path())]
    found += [RawCorpus(name, adapter, Path()) for name, adapter in CORPORA.items()]
    chosen = [each if each.folder.parts else each._replace(folder=options.real / each.name) for each in found]
    views = profile("full").instructor.views
    bank = make_feature_bank(chosen, ENCODER, views, 0, options.cache, most=MOST)
    return _viewed(
        bank, lambda own: tuple(view.mean(axis=1, keepdims=True, dtype=np.float32).astype(np.float16) for view in own)
    )


def _viewed(bank: FeatureBank, change: Callable[[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]) -> FeatureBank:
    return FeatureBank(bank.clips, tuple(change(views) for views in bank.views), bank.digest)


def resampled(clips: Sequence[BankClip], score: Callable[[np.ndarray], float]) -> Float64[np.ndarray, " draws"]:
    """A score of numbers of clips, by drawing speakers."""
    rng, names = np.random.default_rng(0), np.array([f"{clip.corpus} {clip.speaker}" for clip in clips])
    own = {name: np.flatnonzero(names == name) for name in np.unique(names)}
    drawn = (np.concatenate([own[str(name)] for name in rng.choice(list(own), len(own))]) for _ in range(RESAMPLES))
    return np.array([score(numbers) for numbers in drawn])


def interval(clips: Sequence[BankClip], score: Callable[[np.ndarray], float]) -> str:
    """The 95 % interval of a score, by drawing speakers."""
    low, high = np.percentile(resampled(clips, score), (2.5, 97.5))
    return f"{low:.2f} to {high:.2f}"


def four(
    logits: Logits, clips: Sequence[BankClip], warm: float = 1.0, least: float = 0.0
) -> tuple[list[str], list[BankClip]]:
    """The likeliest of the shared emotions for the clips that mean one of them; neutral below the least probability."""
    kept = [number for number, clip in enumerate(clips) if clip.emotion in SHARED]
    every = emotion_shares(logits[kept] / warm)
    likely = every[:, [EMOTIONS.index(name) for name in SHARED]].argmax(axis=1)
    sure = every.max(axis=1) >= least
    predicted = [SHARED[number] if each else "neutral" for number, each in zip(likely, sure, strict=True)]
    return predicted, [clips[number] for number in kept]


def scored(predicted: Sequence[str], clips: Sequence[BankClip]) -> Callable[[np.ndarray], float]:
    """Unweighted recall of some of the clips."""
    return lambda some: recall([predicted[i] for i in some], [clips[i].emotion for i in some])


def travel(bank: FeatureBank, shape: InstructorShape, settings: InstructorSettings) -> Iterator[Figure]:
    """Every corpus heard by what was fitted on the others: recipes, a plain probe, a neutral recording, confidence."""
    for name, (changes, change) in RECIPES.items():
        own = change(bank)
        layers, _, states = own.views[0][0].shape
        read = shape.model_copy(update={"layers": layers, "states": states})
        how = settings.model_copy(update=dict(changes))
        held = {corpus: leave_out(read, own, corpus, how) for corpus in CORPORA}
        yield from _left_out(name, {corpus: found[0] for corpus, found in held.items()})
        if name != "shipped":
            continue
        yield from _left_out("beside two neutral recordings", {c: found[1] for c, found in held.items() if found[1][1]})
        yield from _left_out("beside the mean of all that the speaker says", {c: found[2] for c, found in held.items()})
        yield from _left_out("beside the mean of what the speaker said so far", {c: f[3] for c, f in held.items()})
        alone = {corpus: found[0] for corpus, found in held.items()}
        yield from _left_out("unsure ones as neutral", alone, {c: _threshold(alone, c) for c in alone})
        yield from _paired("more than a logistic regression on the same", "-", bank, alone)
        tiny = _viewed(bank, lambda views: tuple(view[..., :TINY] for view in views))
        yield from _paired("more than one on layers 1 to 3 of Whisper-tiny.en", ">= 0.03", tiny, alone)
        yield from _confidence(alone)
    clean = bank.select([clip.corpus in CLEAN for clip in bank.clips])
    among = {corpus: [clip.corpus in (*CLEAN, corpus) for clip in bank.clips] for corpus in CORPORA}
    held = {name: leave_out(shape, bank.select(kept), name, settings)[0] for name, kept in among.items()}
    yield from _left_out(f"trained on {', '.join(CLEAN)} alone, {len(clean)} clips", held)


def _threshold(held: Held, corpus: str) -> tuple[float, float]:
    """Temperature and threshold by all corpora but one."""
    others = [found for name, found in held.items() if name != corpus]
    logits, meant = np.concatenate([each for each, _ in others]), [c.emotion for _, own in others for c in own]
    warm = best_temperature(logits, meant)
    return warm, least_sure(emotion_shares(logits / warm), meant)


def _left_out(name: str, held: Held, least: Mapping[str, tuple[float, float]] | None = None) -> Iterator[Figure]:
    values, words = [], []
    for corpus, (logits, clips) in held.items():
        predicted, meant = four(logits, clips, *(least[corpus] if least else ()))
        score = scored(predicted, meant)
        values.append(score(np.arange(len(meant))))
        words.append(f"{corpus} {values[-1]:.2f} ({interval(meant, score)})")
    must = {"shipped": ">= 0.66", "beside two neutral recordings": ">= 0.70"}.get(name, "-")
    yield Figure(f"corpora left out, four emotions: {name}", float(np.mean(values)), "", must, ", ".join(words))


def _paired(name: str, must: str, bank: FeatureBank, held: Held) -> Iterator[Figure]:
    """The instructor minus a logistic regression of the four emotions on the recordings' means."""
    numbers = clip_means([views[0] for views in bank.views])
    every = np.array([clip.emotion in SHARED for clip in bank.clips])
    gains, drawn = list[float](), list[Float64[np.ndarray, " draws"]]()
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
        drawn.append(resampled(meant, lambda some, both=both: both[0](some) - both[1](some)))
    ends = [np.percentile(each, (2.5, 97.5)) for each in (*drawn, np.mean(drawn, axis=0))]
    words = ", ".join(f"{c} {g:+.2f} ({a:+.2f} to {b:+.2f})" for c, g, (a, b) in zip(held, gains, ends, strict=False))
    words = f"{ends[-1][0]:+.3f} to {ends[-1][1]:+.3f}; {words}"
    yield Figure(name, float(np.mean(gains)), "", must, words)


def _confidence(held: Held) -> Iterator[Figure]:
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
        words = f"{interval(clips, lambda some, right=right: float(right[some].mean()))}; {len(among)} emotions"
        words += f", unweighted recall {found.recall:.2f}"
        words += f"; calibration error {found.calibration_error:.2f}"
        yield Figure(f"speakers left out: {corpus}", found.accuracy, "", musts.get(corpus, "-"), words)
    yield from _levels(logits, bank.clips)
    yield from _units(logits, units, faces, bank.clips)


def _levels(logits: Logits, clips: Sequence[BankClip]) -> Iterator[Figure]:
    strong = [
        each for each in zip(logits, clips, strict=True) if each[1].level in (2, 3) and each[1].corpus == "ravdess"
    ]
    right = np.array([(likeliest(row).level == 3) == (clip.level == 3) for row, clip in strong], float)
    words = interval([clip for _, clip in strong], lambda some: float(right[some].mean()))
    yield Figure("speakers left out: strong against normal, RAVDESS", float(right.mean()), "", ">= 0.75", words)


def _units(logits: Logits, units: np.ndarray, faces: np.ndarray, clips: Sequence[BankClip]) -> Iterator[Figure]:
    """Partial correlation with what faces showed: of what sentences say, and of what is heard before it is written.

    Of a clip there are many sentences, all with the same units; one of them is read by the parser.
    """
    known = np.flatnonzero(np.isfinite(faces).all(axis=1))
    shares, columns = emotion_shares(logits[known]), list(UNITS.values())
    warm = best_temperature(logits[known], [clips[number].emotion for number in known])
    least = least_sure(shares, [clips[number].emotion for number in known])
    log = torch.from_numpy(logits[known] / warm).log_softmax(dim=1).numpy().astype(np.float32)
    written = np.zeros((len(known), len(columns)))
    right = 0.0
    for row, each, number in zip(written, log, known, strict=True):
        label, heard = to_write(each, 1.0, units[number].astype(np.float32), least)[:2]
        asked = Instruction.parse(plain_sentence(label, heard))
        row[:] = [asked.action_units.get(name, 0.0) for name in columns]
        right += (asked.emotion == clips[number].emotion) / len(known)
    rows, kept = [clips[number] for number in known], [list(UNITS).index(code) for code in AUDIBLE]
    for depth, must in (("actor and class", ">= 0.25"), ("actor, class and level", ">= 0.12")):
        groups = [f"{c.speaker} {c.emotion} {c.level if 'level' in depth else ''}" for c in rows]
        _, group = np.unique(groups, return_inverse=True)

        def score(some: np.ndarray, found: np.ndarray, group: np.ndarray = group) -> float:
            within = np.unique(group[some], return_inverse=True)[1]
            return float(_correlation(found[some], faces[known][some], within)[kept].mean())

        whole = np.arange(len(known))
        each = _correlation(written, faces[known], group)
        words = ", ".join(f"{code} {each[i]:.2f}" for code, i in zip(AUDIBLE, kept, strict=True))
        words = f"{interval(rows, partial(score, found=written))}; {words}"
        yield Figure(f"units in sentences, within {depth}", score(whole, written), "", must, words)
        words = interval(rows, partial(score, found=units[known]))
        yield Figure(f"units heard, not yet written, within {depth}", score(whole, units[known]), "", "-", words)
    yield Figure("emotion that these sentences name, 8 emotions", right, "", "-", "unsure ones as neutral")


def plain_sentence(label: EmotionClass, heard: Mapping[str, float]) -> str:
    """The first of the sentences that the language model may choose among."""
    said = list[str]()
    while may := continuations(label, tuple(heard.items()), said):
        said.append(next(iter(may)))
    return "".join([OPENING, *said])


def words(bank: FeatureBank, shape: InstructorShape, settings: InstructorSettings) -> Iterator[Figure]:
    """The voice with what is said beside it, on the sample corpus: the only one whose sentences fit their emotions."""
    alone, clips = leave_out(shape, bank, "samples", settings)[0]
    texts = {each.name: each.text or "" for each in scan_source("table", SAMPLES / "corpus").recordings}
    told = np.log(shipped_reader().shares([texts[clip.name] for clip in clips]).clip(LEAST_SHARE))
    spread = told[:, [EMOTIONS.index(label.emotion) for label in EMOTION_CLASSES]]
    for name, logits in (("voice", alone), ("words", spread), ("voice and words", alone + WORDS * spread)):
        found = Classification(emotion_shares(logits), tuple(clip.emotion for clip in clips))
        right = np.array(found.right, float)
        how = f"{interval(clips, lambda some, right=right: float(right[some].mean()))}, {len(clips)} clips, 10 emotions"
        yield Figure(f"samples left out, heard by {name}", found.accuracy, "", "-", how)


def _correlation(found: np.ndarray, true: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Correlation of columns within groups."""
    counts = np.bincount(group)[:, None]
    apart = []
    for values in (found, true):
        sums = np.stack([np.bincount(group, column) for column in values.T], axis=1)
        apart.append(values - (sums / counts)[group])
    return np.asarray((apart[0] * apart[1]).sum(0) / np.sqrt((apart[0] ** 2).sum(0) * (apart[1] ** 2).sum(0) + 1e-12))
