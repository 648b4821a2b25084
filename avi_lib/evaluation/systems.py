"""Systems beside one another: the learned one, the performer, the learned one on another's speech, and real motion.

>>> comparisons = held_out_comparisons(corpora, generator, prior_sampler, most=24, seed=0)
>>> table = score_comparisons("held_out", "Held-out speakers", HELD_OUT, comparisons, load_head())
>>> figures = list(measure_talking(model, Path("real"), corpora))

`shuffled` is the learned system that is given the next recording's speech and is scored on this one's: what a score is
worth when the face does not follow speech. Blinks, gaze and sway are left out of generated motion: all systems take
them from the same seeded performer, so that they would tell nothing.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from avi_lib.corpus.dataset import Corpus, Item, held_out
from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import (
    MEASURES,
    MM,
    Measure,
    SpeechTrack,
    closures,
    correlation,
    eve_mm,
    fdd_mm,
    frame_phones,
    jitter_mm,
    lip_closure,
    lve_mm,
    measure_motion,
    speech_track,
)
from avi_lib.evaluation.report import Figure, Row, Table, tabulate
from avi_lib.face.head import Head, load_head
from avi_lib.face.tracking import UNMOVED, head_angles
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, Curves, MotionClip
from avi_lib.motion.generator import FPS, LearnedGenerator, TalkingModel
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import PriorSampler
from avi_lib.speech.augment import make_noise, room_tone
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.speech.loading import RATE_HZ, load_voice
from avi_lib.speech.phones import BILABIAL, SILENCE, Phone, recognise_phones
from avi_lib.speech.prosody import prosody

UPPER_LIP, LOWER_LIP, EYE_OUTER = 13, 14, (33, 263)
"""Face-mesh landmarks: middle of the inner upper and lower lip, outer corners of the eyes."""


@dataclass(frozen=True)
class Clip:
    """A tracked talking clip: its sound, what is said, reference phones and the real lip gap in eye distances."""

    name: str
    audio: Path
    text: str
    phones: tuple[Phone, ...]
    gap: Float[np.ndarray, " frames"]
    fps: float


def read_clips(source: Path) -> list[Clip]:
    """The tracked clips of a folder such as grid10/; InputError when a file of it is missing."""
    try:
        references = json.loads((source / "phones.json").read_text("utf-8"))
        with (source / "index.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return [_read_clip(source, row, references[row["clip"]]) for row in rows]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            "a folder with index.csv, phones.json and an npz and a flac for every clip",
            f"{source}: {error}",
            "check the path",
        ) from error


def _read_clip(source: Path, row: dict[str, str], reference: list[list]) -> Clip:
    with np.load(source / f"{row['clip']}.npz", allow_pickle=False) as track:
        marks, fps = track["landmarks"], float(track["fps"])
    eyes = np.linalg.norm(marks[:, EYE_OUTER[0], :2] - marks[:, EYE_OUTER[1], :2], axis=1)
    gap = np.linalg.norm(marks[:, LOWER_LIP, :2] - marks[:, UPPER_LIP, :2], axis=1) / eyes
    phones = tuple(Phone(phone, float(start), float(end)) for _, phone, start, end in reference)
    return Clip(row["clip"], source / f"{row['clip']}.flac", row["text"], phones, gap, fps)


def read_track(path: Path) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "frames 3"]]:
    """Weights (frames,) by channel and head angles of a given track."""
    try:
        with np.load(path, allow_pickle=False) as track:
            names, values = track["arkit_names"].tolist(), track["arkit"].astype(np.float64)
            angles = np.stack([head_angles(matrix[:3, :3].astype(np.float64)) for matrix in track["head"]])
        return {name: values[:, names.index(name)] for name in ARKIT.channels if name in names}, angles
    except (OSError, KeyError, ValueError) as error:
        raise InputError("an npz with arkit, arkit_names and head", f"{path}: {error}", "check the folder") from error


CALM = "A person speaks calmly."
LEARNED, PERFORMER, SHUFFLED, REAL = "learned", "performer", "shuffled audio", "real"
IDLE = ("blinks_per_min", "head_sd_deg")
"""Measures of idle behaviour, which tell something of real motion and of whole systems only."""

HELD_OUT = (
    "Performed clips of speakers and words that training did not have. The learned system is given the clip's "
    "sentence; the reference is the performer's own performance of the script, so it has no distance from itself."
)
GRID = (
    "Real videos that nothing was trained on, at zero lag. Generated faces speak calmly; the reference is the tracked "
    "face, and lip gaps of the real video are those of its landmarks. Reference phones. Channels that the tracker does "
    "not move (cheek puff and squint, nose sneer, tongue) rest in all."
)
RIG = (
    "Held-out recordings of a real rig. The reference is the rig's motion; channels that it does not have rest in all."
)
RESTED = (CALM, "He is very sad.", "She is furious.")
"""Sentences under which a mouth must rest where nobody speaks."""


@dataclass(frozen=True, eq=False)
class Spoken:
    """A GRID clip, its wave and features, and what the performer makes of it, calmly and without idle behaviour."""

    clip: Clip
    wave: Float32[np.ndarray, " samples"]
    features: Float32[np.ndarray, "steps dim"]
    performed: MotionClip


def read_spoken(source: Path, encoder: SpeechEncoder) -> list[Spoken]:
    """The clips of a folder as `read_clips` reads them, with the performer's motion for recognised phones."""
    found, calm = [], Instruction.parse(CALM)
    for clip in read_clips(source):
        wave = load_voice(clip.audio).wave
        performer = Performer(recognise_phones(wave).phones, prosody(wave), len(wave) / RATE_HZ)
        found.append(Spoken(clip, wave, encoder.encode(wave), performer.perform_with_still(calm, seed=0)[1]))
    return found


def tracked(clip: Clip) -> Curves:
    """The motion of a real video, with the channels that the tracker moves."""
    values, present = np.zeros((len(clip.gap), len(ARKIT)), np.float32), np.zeros(len(ARKIT), bool)
    for channel, curve in read_track(clip.audio.with_suffix(".npz"))[0].items():
        values[:, ARKIT.index(channel)] = curve
        present[ARKIT.index(channel)] = channel not in UNMOVED
    return Curves(MotionClip(values, clip.fps, ARKIT), present)


def features_of(item: Item) -> Float32[np.ndarray, "steps dim"]:
    """Features of a clip's speech."""
    return item.corpus.features(item.clip).astype(np.float32)


def motion_of(item: Item, script: int = 0) -> MotionClip:
    """A clip's own motion, or its performance of another script."""
    return MotionClip(item.corpus.motion(item.clip, script).astype(np.float32), FPS, ARKIT)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A recording and what every system makes of it.

    Attributes:
        name, speaker: of the recording.
        speech: what motion is held against.
        motions: by system.
        reference: the true motion, where there is one; the system it is of is not compared with itself.
        gap: lip gap of the reference measured otherwise than on a mesh, at 25 frames a second, in any unit.
    """

    name: str
    speaker: str
    speech: SpeechTrack
    motions: Mapping[str, Curves]
    reference: Curves | None = None
    gap: Float[np.ndarray, " frames"] | None = None


class _Take(NamedTuple):
    """What is known of a recording before any system speaks it."""

    name: str
    speaker: str
    speech: SpeechTrack
    features: Float32[np.ndarray, "steps dim"]
    style: Float32[np.ndarray, " style"]
    performed: Curves
    reference: Curves
    gap: Float[np.ndarray, " frames"] | None = None


def held_out_comparisons(
    corpora: Sequence[Corpus], generator: LearnedGenerator, prior_sampler: PriorSampler, most: int = 24, seed: int = 0
) -> list[Comparison]:
    """Performed clips of held-out speakers and words, at most so many, spread evenly; InputError without two."""
    takes = []
    for number, item in enumerate(spread(held_out(corpora), most)):
        style = prior_sampler.style(item.corpus.texts(item.clip)[0], seed + number)
        performed = whole(motion_of(item))
        takes.append(_take(item, style, performed, performed))
    return _compared(takes, generator)


def grid_comparisons(
    folder: Path, generator: LearnedGenerator, prior_sampler: PriorSampler, seed: int = 0
) -> list[Comparison]:
    """Real videos with their tracks; InputError when something of them is missing."""
    takes, style = [], prior_sampler.style(CALM, seed)
    for each in read_spoken(folder, generator.encoder):
        clip, speech = each.clip, speech_track(each.wave, each.clip.phones)
        performed = whole(each.performed)
        takes.append(_Take(clip.name, clip.name, speech, each.features, style, performed, tracked(clip), clip.gap))
    return _compared(takes, generator)


def rig_comparisons(
    corpora: Sequence[Corpus],
    recordings: Sequence[str],
    generator: LearnedGenerator,
    prior_sampler: PriorSampler,
    seed: int = 0,
) -> list[Comparison]:
    """Clips of held-out recordings of real motion with sound; InputError when no corpus has one of them."""
    kept = [item for item in _rigs(corpora) if item.clip.recording in recordings]
    if missing := set(recordings) - {item.clip.recording for item in kept}:
        raise InputError("recordings of real motion with sound", ", ".join(sorted(missing)), "check the names")
    style, calm, takes = prior_sampler.style(CALM, seed), Instruction.parse(CALM), []
    for item in kept:
        performed = whole(item.corpus.performer(item.clip).perform_with_still(calm, seed)[1])
        takes.append(_take(item, style, performed, Curves(motion_of(item), item.corpus.present(item.clip))))
    return _compared(takes, generator)


def _rigs(corpora: Sequence[Corpus]) -> list[Item]:
    return [Item(corpus, clip) for corpus in corpora for clip in corpus.select(motion="recorded") if clip.features]


def _take(item: Item, style: Float32[np.ndarray, " style"], performed: Curves, reference: Curves) -> _Take:
    corpus, clip = item.corpus, item.clip
    speech = SpeechTrack(corpus.phones(clip), corpus.prosody(clip).energy_db, clip.duration_s)
    return _Take(clip.clip, clip.speaker, speech, features_of(item), style, performed, reference)


def _compared(takes: Sequence[_Take], generator: LearnedGenerator) -> list[Comparison]:
    if len(takes) < 2:
        raise InputError("two recordings or more, so that speech can be shuffled", f"{len(takes)}", "add some")
    found = []
    for number, take in enumerate(takes):
        other = takes[(number + 1) % len(takes)].features
        own, shuffled = (_speak(generator, features, take) for features in (take.features, other))
        motions = {LEARNED: own, PERFORMER: take.performed, SHUFFLED: shuffled}
        if take.reference is not take.performed:
            motions[REAL] = take.reference
        found.append(Comparison(take.name, take.speaker, take.speech, motions, take.reference, take.gap))
    return found


def _speak(generator: LearnedGenerator, features: Float32[np.ndarray, "steps dim"], take: _Take) -> Curves:
    """Speech in a take's style, without idle behaviour; what is too short begins again."""
    frames = len(take.speech.level_db)
    speech = np.tile(features, (-(-2 * frames // len(features)), 1))[: 2 * frames]
    values = ARKIT.limited(generator.model.motion_of(speech, take.style).values[:frames])
    return whole(MotionClip(values, FPS, ARKIT))


def score_comparisons(
    name: str,
    title: str,
    how: str,
    comparisons: Sequence[Comparison],
    head: Head,
    measures: Mapping[str, Measure] = MEASURES,
    seed: int = 0,
) -> Table:
    """Every measure of every system over the recordings, with intervals over speakers."""
    rows = []
    for each in comparisons:
        for system, curves in each.motions.items():
            own = curves is each.reference
            reference, gap = (None, each.gap) if own else (each.reference, None)
            scores = measure_motion(curves, each.speech, head, reference, gap, each.gap)
            if system != REAL:
                scores |= dict.fromkeys(IDLE, float("nan"))
            rows.append(Row(system, each.speaker, scores))
    return tabulate(name, title, how, rows, measures, seed)


def whole(motion: MotionClip) -> Curves:
    """Generated motion, all of whose channels are there."""
    return Curves(motion, np.ones(len(motion.space), bool))


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, spread evenly."""
    picks = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[i] for i in picks.tolist()]


# How well a talking model speaks: on real videos, in silence, under exchanged styles, against a real rig.


def score_lips(motions: Sequence[MotionClip], clips: Sequence[Clip], head: Head) -> dict[str, float]:
    """Lips against ten real videos: `d`, `closed`, `r` as means over clips, with the same for another clip's motion.

    Closed counts all /m b p/ together. `r spoken` is the correlation over the frames with speech. A mouth that does not
    move scores 0 throughout; a clip without an open vowel or without /m b p/ has no part in `d`.
    """
    scores: dict[str, list[float]] = {}
    closed: dict[str, list[bool]] = {"closed": [], "closed, another": []}
    for i, gap in enumerate(MM * head.lip_gap(motion.values) for motion in motions):
        for j, clip in enumerate(clips):
            kind = "" if i == j else ", another"
            frames = min(len(gap), len(clip.gap))
            speech = frame_phones(clip.phones, frames, clip.fps) != SILENCE
            own, real = gap[:frames][speech], clip.gap[:frames][speech]
            if np.percentile(gap, 90) > 0 and np.ptp(own) > 0:
                found = lip_closure(gap, clip.phones, clip.fps), correlation(gap, clip.gap), correlation(own, real)
                shut = closures(gap, clip.phones, clip.fps).tolist()
            else:
                found = 0.0 * lip_closure(clip.gap, clip.phones, clip.fps), 0.0, 0.0
                shut = [False] * sum(phone.phone in BILABIAL for phone in clip.phones)
            for name, value in zip(("d", "r", "r spoken"), found, strict=True):
                scores.setdefault(f"{name}{kind}", []).append(value)
            closed[f"closed{kind}"] += shut
    means = {name: float(np.nanmean(values)) for name, values in scores.items()}
    return means | {name: float(np.mean(values)) for name, values in closed.items() if values}


def score_exchange(model: TalkingModel, items: Sequence[Item], head: Head) -> dict[str, float]:
    """Performed clips under the style of another clip that performs another script, against the true performance.

    The style is taken from the partner's performance of its own script; errors in mm, means over pairs. `distance` is
    the error of the clip's own performance taken for the exchanged one: what ignoring the style would cost.
    """
    rows: dict[str, list[float]] = {}
    for item in items:
        corpus, clip, features = item.corpus, item.clip, features_of(item)
        shown = motion_of(item)
        own, plain = shown.values, model.motion_of(features, model.style_of(shown)).values[: clip.frames]
        for partner in corpus.partners(clip):
            true = motion_of(item, corpus.number(clip, partner.scripts[0])).values
            made = model.motion_of(features, model.style_of(motion_of(Item(corpus, partner)))).values[: clip.frames]
            for name, value in {
                "EVE exchanged": eve_mm(made, true, head),
                "EVE distance": eve_mm(own, true, head),
                "EVE own": eve_mm(plain, own, head),
                "FDD exchanged": abs(fdd_mm(made, true, head)),
                "LVE exchanged": lve_mm(made, true, head),
                "LVE own": lve_mm(plain, own, head),
            }.items():
                rows.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in rows.items()}


def still_sounds(seconds: float = 4.0) -> dict[str, Float32[np.ndarray, " samples"]]:
    """Sounds without speech, from fixed seeds: silence, room tones and noises as scenes have them, and three others.

    Rain, an engine and a rising tone are in no scene.
    """
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    rng = np.random.default_rng(7)
    sounds = {
        "silence": np.zeros(len(times_s), np.float32),
        "faint noise": room_tone(len(times_s), -75.0, 3.0, rng),
        "room tone": room_tone(len(times_s), -50.0, 5.0, rng, hum_hz=50.0),
        "loud noise": room_tone(len(times_s), -25.0, 2.0, rng),
    }
    for kind in ("breath", "hiss", "knock", "keys"):
        wave = room_tone(len(times_s), -60.0, 4.0, rng)
        for start_s in (0.8, 2.4):
            noise, start = make_noise(kind, 0.5, -30.0, rng), round(start_s * RATE_HZ)
            wave[start : start + len(noise)] += noise
        sounds[kind] = wave
    drops = (rng.random(len(times_s)) < 0.003) * rng.standard_normal(len(times_s))
    sounds["rain"] = np.convolve(drops, np.exp(-np.arange(160) / 25), "same")
    sounds["engine"] = sum(np.sin(2 * np.pi * 31 * k * times_s) / k for k in range(1, 12)) * (
        1 + 0.3 * np.sin(2 * np.pi * 7 * times_s)
    )
    sounds["rising tone"] = np.sin(2 * np.pi * (150 * times_s + 300 * times_s**2))
    return {
        name: (wave * min(1.0, 0.3 / max(np.abs(wave).max(), 1e-9))).astype(np.float32) for name, wave in sounds.items()
    }


def rest_gap_mm(motion: MotionClip, head: Head) -> float:
    """The 95th percentile of the lip gap, in mm."""
    return float(np.percentile(MM * head.lip_gap(motion.values), 95))


def score_rest(
    model: TalkingModel, encoder: SpeechEncoder, styles: Mapping[str, np.ndarray], head: Head
) -> dict[str, dict[str, float]]:
    """By style and sound without speech: the 95th percentile of the lip gap, in mm."""
    features = {name: encoder.encode(wave) for name, wave in still_sounds().items()}
    return {
        said: {name: rest_gap_mm(model.motion_of(each, style), head) for name, each in features.items()}
        for said, style in styles.items()
    }


def score_rig(motions: Sequence[MotionClip], clips: Sequence[Item]) -> float:
    """Correlation of jawOpen with a real rig's over all frames of some clips together."""
    made = [motion["jawOpen"][: item.clip.frames] for motion, item in zip(motions, clips, strict=True)]
    return correlation(np.concatenate(made), np.concatenate([motion_of(item)["jawOpen"] for item in clips]))


def rig_style(model: TalkingModel, clips: Sequence[Item]) -> Float32[np.ndarray, " style"]:
    """The mean style of some clips of real motion, each with its mask of channels."""
    styles = [model.style_of(motion_of(item), item.corpus.present(item.clip)) for item in clips]
    return np.asarray(np.mean(styles, axis=0), np.float32)


def must_fit(model: TalkingModel, corpora: Sequence[Corpus]) -> None:
    """Raise InputError unless the corpora have the motion space and the speech features of the model."""
    for corpus in corpora:
        if corpus.space is not model.space:
            got = f"{corpus.space.name} in {corpus.folder}"
            raise InputError(f"motion in the space {model.shape.space}", got, "choose others")
        features = corpus.description["features"]
        if features["name"] != model.shape.encoder or features["dim"] != model.shape.features:
            expected = f"{model.shape.features} features of {model.shape.encoder}, which the model was trained with"
            got = f"{features['dim']} of {features['name']} in {corpus.folder}"
            raise InputError(expected, got, "prepare the corpus with that encoder")


def measure_talking(
    model: TalkingModel, real: Path | None, corpora: Sequence[Corpus], without: Sequence[str] = ()
) -> Iterator[Figure]:
    """The figures of a model.

    Args:
        model: what is measured.
        real: the folder that holds grid10/, None to leave these figures out.
        corpora: prepared ones; performed clips whose voice and words are held out exchange their styles.
        without: names of recordings of real motion that the model was not trained on, to be compared with.

    Raises:
        InputError: a recording that no corpus has, corpora that do not fit the model, a missing file of grid10/.
    """
    must_fit(model, corpora)
    if unknown := set(without) - {clip.recording for corpus in corpora for clip in corpus.clips}:
        raise InputError("held-out recordings of these corpora", ", ".join(sorted(unknown)), "check the names")
    head = load_head()
    if real is not None:
        yield from _measure_grid(model, real / "grid10", load_encoder(model.shape.encoder), head)
    if any(clip.motion == "performed" for corpus in corpora for clip in corpus.clips):
        yield from _measure_exchange(model, held_out(corpora), head)
    if without:
        yield from _measure_rig(model, corpora, without)


def _measure_grid(model: TalkingModel, source: Path, encoder: SpeechEncoder, head: Head) -> Iterator[Figure]:
    spoken = read_spoken(source, encoder)
    clips, performed = [each.clip for each in spoken], [each.performed for each in spoken]
    # a style says nothing of what is spoken here: each clip is spoken in that of another
    styles = [model.style_of(motion) for motion in (*performed[1:], performed[0])]
    motions = [model.motion_of(each.features, style) for each, style in zip(spoken, styles, strict=True)]
    learned, baseline = score_lips(motions, clips, head), score_lips(performed, clips, head)
    real_d = float(np.nanmean([lip_closure(clip.gap, clip.phones, clip.fps) for clip in clips]))
    real_closed = float(np.concatenate([closures(clip.gap, clip.phones, clip.fps) for clip in clips]).mean())
    between = float(np.mean([correlation(a.gap, b.gap) for a in clips for b in clips if a is not b]))
    for name, score, unit, must, truth in (
        ("lip closure", "d", "SD", ">= 1.8", f"{real_d:.2f}"),
        ("lip closure, another's speech", "d, another", "SD", "<= 0.3", "-"),
        ("closed on /m b p/", "closed", "", ">= 0.90", f"{real_closed:.2f}"),
        ("closed on /m b p/, another's speech", "closed, another", "", "-", "-"),
        ("lip gap r", "r", "", ">= 0.50", "1"),
        ("lip gap r, another's speech", "r, another", "", "<= 0.25", f"{between:.2f} between real videos"),
        ("lip gap r in speech", "r spoken", "", "-", "1"),
        ("lip gap r in speech, another's", "r spoken, another", "", "-", "-"),
    ):
        yield Figure(name, learned[score], unit, must, f"GRID; performer {baseline[score]:.2f}; real {truth}")
    every = [[motion.values for motion in motions], [motion.values for motion in performed]]
    every.append([tracked(clip).clip.values for clip in clips])
    jitters = [float(np.mean([jitter_mm(each, head) for each in curves])) for curves in every]
    how = f"GRID, lips; performer {jitters[1] / jitters[2]:.2f}; real tracks {jitters[2]:.2f} mm per frame^3"
    yield Figure("jitter against real tracks", jitters[0] / jitters[2], "x", "<= 1.5", how)
    energies = [_jaw_energy(curves, spoken) for curves in every]
    how = f"GRID, in speech; performer {energies[1]:.2f}; real tracks {energies[2]:.2f}"
    yield Figure("jaw against level of the sound, r", energies[0], "", "-", how)
    yield from _measure_rest(model, spoken[1].wave, encoder, head)


def _jaw_energy(curves: Sequence[np.ndarray], spoken: Sequence[Spoken]) -> float:
    scores = []
    for values, each in zip(curves, spoken, strict=True):
        level = prosody(each.wave, fps=each.clip.fps).energy_db
        frames = min(len(values), len(level))
        speech = frame_phones(each.clip.phones, frames, each.clip.fps) != SILENCE
        scores.append(correlation(values[:frames, ARKIT.index("jawOpen")][speech], level[:frames][speech]))
    return float(np.nanmean(scores))


def _measure_rest(
    model: TalkingModel, wave: Float32[np.ndarray, " samples"], encoder: SpeechEncoder, head: Head
) -> Iterator[Figure]:
    speaking = Performer(recognise_phones(wave).phones, prosody(wave), len(wave) / RATE_HZ)
    nobody = prosody(np.zeros(round(4 * RATE_HZ), np.float32))
    resting, styles, held_mm = Performer((Phone(SILENCE, 0.0, 4.0),), nobody, 4.0), {}, {}
    for said in RESTED:
        instruction = Instruction.parse(said)
        styles[said] = model.style_of(speaking.perform_with_still(instruction, seed=0)[1])
        held_mm[said] = rest_gap_mm(resting.perform_with_still(instruction, seed=0)[1], head)
    for said, gaps in score_rest(model, encoder, styles, head).items():
        worst = max(gaps, key=gaps.__getitem__)
        every = ", ".join(f"{name} {gap:.1f}" for name, gap in gaps.items())
        how = f"{said} 95th percentile, worst ({worst}) of: {every}; performer {held_mm[said]:.1f}"
        beyond = gaps[worst] - held_mm[said]
        yield Figure("lip gap without speech, beyond the performer's", beyond, "mm", "<= 1", how)


def _measure_exchange(model: TalkingModel, items: Sequence[Item], head: Head) -> Iterator[Figure]:
    scores, how = score_exchange(model, items, head), f"{len(items)} clips of held-out voices and words; "
    eve = f"{scores['EVE exchanged']:.2f} mm of {scores['EVE distance']:.2f}; own style {scores['EVE own']:.2f} mm"
    ratio = scores["EVE exchanged"] / scores["EVE distance"]
    yield Figure("exchanged style: EVE / distance of the styles", ratio, "", "<= 0.35", how + eve)
    lve = f"{scores['LVE exchanged']:.2f} against {scores['LVE own']:.2f} mm"
    ratio = scores["LVE exchanged"] / scores["LVE own"]
    yield Figure("exchanged style: LVE / own style's", ratio, "", "<= 1.15", how + lve)
    yield Figure("exchanged style: FDD", scores["FDD exchanged"], "mm", "-", how + "mean of absolute values")


def _measure_rig(model: TalkingModel, corpora: Sequence[Corpus], without: Sequence[str]) -> Iterator[Figure]:
    rigs = _rigs(corpora)
    kept = [item for item in rigs if item.clip.recording in without]
    others = [item for item in rigs if item.clip.recording not in without and item.corpus in {k.corpus for k in kept}]
    if not kept or not others:
        got = f"{len(kept)} and {len(others)} clips"
        raise InputError("a recording of a rig with sound, and others that show its style", got, "check the names")
    style, calm = rig_style(model, others), Instruction.parse(CALM)
    made = [model.motion_of(features_of(item), style) for item in kept]
    performed = [item.corpus.performer(item.clip).perform_with_still(calm, seed=0)[1] for item in kept]
    seconds, baseline = sum(item.clip.duration_s for item in kept), score_rig(performed, kept)
    how = f"{', '.join(without)}, {seconds:.0f} s; style from other recordings; performer {baseline:.2f}"
    yield Figure("jawOpen r with a real rig", score_rig(made, kept), "", ">= 0.75", how)
