"""Systems beside one another: learned, performer, learned on another's speech, real motion; and before the judge.

>>> comparisons = held_out_comparisons(corpora, generator, prior_sampler, most=24, seed=0)
>>> table = score_comparisons("held_out", "Held-out speakers", HELD_OUT, comparisons, load_head())
>>> score_exchange(model, held_out(corpora), load_head())["EVE exchanged"]

`shuffled` is the learned system that is given the next recording's speech and is scored on this one's: what a score is
worth when the face does not follow speech. Blinks, gaze and sway are left out of generated motion: all systems take
them from the same seeded performer, so that they would tell nothing.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from avi_lib.corpus.dataset import Corpus, Item, held_out
from avi_lib.errors import InputError, cause
from avi_lib.evaluation.metrics import (
    MEASURES,
    SpeechTrack,
    eve_mm,
    fdd_mm,
    lve_mm,
    measure_motion,
    measures_of,
    speech_track,
)
from avi_lib.evaluation.report import Matrix, Row, Table, tabulate
from avi_lib.face.head import Head
from avi_lib.face.tracking import UNMOVED, FaceFollower, pictures_of
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.instruction.grammar import describe
from avi_lib.instruction.instruction import Instruction
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import FPS, LearnedGenerator, TalkingModel
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import PriorSampler
from avi_lib.speech.augment import room_tone
from avi_lib.speech.encoders import RATE_HZ, SpeechEncoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import Phone, recognise_phones
from avi_lib.speech.prosody import prosody
from tools.assets.noises import make_noise
from tools.benchmarks.judge import EXPRESSIONS, PUBLISHED, Judge, face_boxes

LIPS, EYES = (13, 14), (33, 263)
"""Face-mesh landmarks: middle of the inner upper and lower lip, outer corners of the eyes."""


@dataclass(frozen=True)
class Clip:
    """A real video that was tracked: its sound, what is said, reference phones, lip gap in eye distances, and motion.

    Channels that the tracker does not move are not there.
    """

    name: str
    audio: Path
    text: str
    phones: tuple[Phone, ...]
    gap: Float[np.ndarray, " frames"]
    fps: float
    tracked: MotionClip


def read_clips(source: Path) -> list[Clip]:
    """The tracked clips of a folder such as grid10/; InputError when a file of it is missing."""
    found = []
    try:
        references = json.loads((source / "phones.json").read_text("utf-8"))
        with (source / "index.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            with np.load(source / f"{row['clip']}.npz", allow_pickle=False) as track:
                marks, fps = track["landmarks"][..., :2], float(track["fps"])
                names, weights = track["arkit_names"].tolist(), track["arkit"]
            gap, eyes = (np.linalg.norm(marks[:, b] - marks[:, a], axis=1) for a, b in (LIPS, EYES))
            phones = tuple(Phone(phone, float(start), float(end)) for _, phone, start, end in references[row["clip"]])
            there = [name for name in ARKIT.channels if name in names]
            values = np.zeros((len(gap), len(ARKIT)), np.float32)
            values[:, [ARKIT.index(name) for name in there]] = weights[:, [names.index(name) for name in there]]
            present = np.array([name in there and name not in UNMOVED for name in ARKIT.channels])
            motion, sound = MotionClip(values, fps, ARKIT, present), source / f"{row['clip']}.flac"
            found.append(Clip(row["clip"], sound, row["text"], phones, gap / eyes, fps, motion))
    except (OSError, KeyError, ValueError) as error:
        expected = "a folder with index.csv, phones.json and an npz and a flac for every clip"
        raise InputError(expected, f"{source}: {cause(error)}", "check the path") from error
    return found


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


class Spoken(NamedTuple):
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


def motion_of(item: Item, script: int = 0) -> MotionClip:
    """A clip's own motion, or its performance of another script."""
    values = item.corpus.motion(item.clip, script).astype(np.float32)
    return MotionClip(values, FPS, ARKIT, item.corpus.present(item.clip))


@dataclass(frozen=True, eq=False)
class Comparison:
    """A recording, what its motion is held against, and what every system makes of it.

    `reference` is the true motion, where there is one; the system it is of is not compared with itself. `gap` is its
    lip gap measured otherwise than on a mesh, at 25 frames a second, in any unit.
    """

    name: str
    speaker: str
    speech: SpeechTrack
    motions: Mapping[str, MotionClip]
    reference: MotionClip | None = None
    gap: Float[np.ndarray, " frames"] | None = None


Asked = tuple[Comparison, Float32[np.ndarray, "steps dim"], Float32[np.ndarray, " style"]]
"""A comparison with its performer alone, features of its speech, and the style it is to be spoken in."""


def held_out_comparisons(
    corpora: Sequence[Corpus], generator: LearnedGenerator, prior_sampler: PriorSampler, most: int = 24, seed: int = 0
) -> list[Comparison]:
    """Performed clips of held-out speakers and words, at most so many, spread evenly; InputError without two."""
    asked = []
    for number, item in enumerate(spread(held_out(corpora), most)):
        style = prior_sampler.style(item.corpus.texts(item.clip)[0], seed + number)
        performed = motion_of(item)
        asked.append(_asked(item, style, performed, performed))
    return _spoken(asked, generator)


def grid_comparisons(
    folder: Path, generator: LearnedGenerator, prior_sampler: PriorSampler, seed: int = 0
) -> list[Comparison]:
    """Real videos with their tracks; InputError when something of them is missing."""
    asked, style = [], prior_sampler.style(CALM, seed)
    for clip, wave, features, performed in read_spoken(folder, generator.encoder):
        speech, motions = speech_track(wave, clip.phones), {PERFORMER: performed}
        asked.append((Comparison(clip.name, clip.name, speech, motions, clip.tracked, clip.gap), features, style))
    return _spoken(asked, generator)


def rig_comparisons(
    corpora: Sequence[Corpus],
    recordings: Sequence[str],
    generator: LearnedGenerator,
    prior_sampler: PriorSampler,
    seed: int = 0,
) -> list[Comparison]:
    """Clips of held-out recordings of real motion with sound; InputError when no corpus has one of them."""
    kept = [item for item in real_motion(corpora) if item.clip.recording in recordings]
    if missing := set(recordings) - {item.clip.recording for item in kept}:
        raise InputError("recordings of real motion with sound", ", ".join(sorted(missing)), "check the names")
    style, calm, asked = prior_sampler.style(CALM, seed), Instruction.parse(CALM), []
    for item in kept:
        performed = item.corpus.performer(item.clip).perform_with_still(calm, seed)[1]
        asked.append(_asked(item, style, performed, motion_of(item)))
    return _spoken(asked, generator)


def real_motion(corpora: Sequence[Corpus]) -> list[Item]:
    """Clips of recorded motion with sound."""
    return [Item(corpus, clip) for corpus in corpora for clip in corpus.select(motion="recorded") if clip.features]


def _asked(item: Item, style: Float32[np.ndarray, " style"], performed: MotionClip, reference: MotionClip) -> Asked:
    corpus, clip = item.corpus, item.clip
    speech = SpeechTrack(corpus.phones(clip), corpus.prosody(clip).energy_db, clip.duration_s)
    comparison = Comparison(clip.clip, clip.speaker, speech, {PERFORMER: performed}, reference)
    return comparison, corpus.features(clip).astype(np.float32), style


def _spoken(asked: Sequence[Asked], generator: LearnedGenerator) -> list[Comparison]:
    """The comparisons with the learned system, on its own and on the next one's speech, without idle behaviour."""
    if len(asked) < 2:
        raise InputError("two recordings or more, so that speech can be shuffled", f"{len(asked)}", "add some")
    found = []
    for number, (each, own, style) in enumerate(asked):
        frames, made = len(each.speech.level_db), []
        for features in (own, asked[(number + 1) % len(asked)][1]):
            speech = np.tile(features, (-(-2 * frames // len(features)), 1))[: 2 * frames]  # too short begins again
            values = ARKIT.limited(generator.model.motion_of(speech, style).values[:frames])
            made.append(MotionClip(values, FPS, ARKIT))
        motions = {LEARNED: made[0], **each.motions, SHUFFLED: made[1]}
        if each.reference is not None and each.reference is not each.motions[PERFORMER]:
            motions[REAL] = each.reference
        found.append(replace(each, motions=motions))
    return found


def score_comparisons(
    name: str, title: str, how: str, comparisons: Sequence[Comparison], head: Head, seed: int = 0
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
    return tabulate(name, title, how, rows, MEASURES, seed)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, spread evenly."""
    picks = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[i] for i in picks.tolist()]


# How well a talking model speaks: on real videos, in silence, under exchanged styles, against a real rig.


def score_exchange(model: TalkingModel, items: Sequence[Item], head: Head) -> dict[str, float]:
    """Performed clips under the style of another clip that performs another script, against the true performance.

    The style is taken from the partner's performance of its own script; errors in mm, means over pairs. `distance` is
    the error of the clip's own performance taken for the exchanged one: what ignoring the style would cost.
    """
    rows: dict[str, list[float]] = {}
    for item in items:
        corpus, clip = item.corpus, item.clip
        features, shown = corpus.features(clip).astype(np.float32), motion_of(item)
        contour, own = corpus.prosody(clip).contour(), shown.values
        plain = model.motion_of(features, model.style_of(shown), contour).values[: clip.frames]
        for partner in corpus.partners(clip):
            true = motion_of(item, corpus.number(clip, partner.scripts[0])).values
            style = model.style_of(motion_of(Item(corpus, partner)))
            made = model.motion_of(features, style, contour).values[: clip.frames]
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


def must_fit(model: TalkingModel, corpora: Sequence[Corpus]) -> None:
    """Raise InputError unless the corpora have the motion space and the speech features of the model."""
    said = "motion in the space {} and {} features of {}"
    expected = said.format(model.shape.space, model.shape.features, model.shape.encoder)
    for corpus in corpora:
        features = corpus.description["features"]
        got = said.format(corpus.space.name, features["dim"], features["name"])
        if got != expected:
            do = "choose another corpus, or prepare it with that encoder"
            raise InputError(f"{expected}, as the model was trained with", f"{got} in {corpus.folder}", do)


# Rendered faces of every system before the judge: does it see the emotion that was asked for?


OTHER = "another's label"
"""The learned system scored on the labels it was not asked for, their mean: what labels shuffled at random come to."""
PICTURES = 5
"""Pictures of a clip that are judged, evenly spread; their probabilities are averaged."""
JUDGED = measures_of("judge")

Pictures = Iterable[UInt8[np.ndarray, "size size 3"]]


class AskedFace(NamedTuple):
    """A face that was asked for an emotion at its highest level."""

    system: str
    emotion: str
    speaker: str
    motion: MotionClip


def show_emotions(
    corpora: Sequence[Corpus], generator: LearnedGenerator, prior_sampler: PriorSampler, clips: int = 2, seed: int = 0
) -> list[AskedFace]:
    """Held-out clips asked for all ten emotions, by the learned system and by the performer."""
    found = []
    for number, item in enumerate(spread(held_out(corpora), clips)):
        corpus, clip = item.corpus, item.clip
        features, performer = corpus.features(clip).astype(np.float32), corpus.performer(clip)
        for emotion in EMOTIONS:
            level = 1 if emotion in ("neutral", "calm") else 3
            rng = np.random.default_rng([seed + number, EMOTIONS.index(emotion)])
            asked = Instruction.parse(describe({}, emotion, level, rng=rng))
            style = prior_sampler.style(asked, seed + number)
            made = generator.perform(features, performer, asked, seed + number, style)
            found.append(AskedFace(LEARNED, emotion, clip.speaker, made))
            found.append(AskedFace(PERFORMER, emotion, clip.speaker, performer.perform(asked, seed + number)))
    return found


def judge_emotions(
    judge: Judge,
    shown: Sequence[AskedFace],
    head: Head,
    frames: Callable[[MotionClip], Pictures],
    size: int,
    seed: int = 0,
) -> tuple[Table, list[Matrix], dict[str, dict[str, UInt8[np.ndarray, "size size 3"]]]]:
    """How often the judge sees what was asked, its confusions by system, and by system and emotion a picture.

    `frames` renders a motion with the portrait camera in pictures of a size in pixels; faces of the learned system are
    also scored on the labels they were not asked for; the seed is that of the intervals.
    """
    rows: list[Row] = []
    faces: dict[str, dict[str, UInt8[np.ndarray, "size size 3"]]] = {}
    counts: dict[str, Int[np.ndarray, "emotions expressions"]] = {}
    for system, emotion, speaker, motion in shown:
        some = motion.at((np.linspace(0.1, 0.9, PICTURES) * len(motion)).astype(int).tolist())
        pictures = list(frames(some))
        shares = judge.judge(pictures, face_boxes(head, some.values, size)).mean(axis=0)
        likeliest = int(shares.argmax())
        own = counts.setdefault(system, np.zeros((len(EMOTIONS), len(EXPRESSIONS)), int))
        own[EMOTIONS.index(emotion), likeliest] += 1
        faces.setdefault(system, {}).setdefault(emotion, pictures[PICTURES // 2])
        scores = [{"judge_right": float(n == likeliest), "judge_share": float(v)} for n, v in enumerate(shares)]
        asked = scores.pop(EXPRESSIONS.index(emotion)) if emotion in EXPRESSIONS else {}
        rows.append(Row(system, speaker, asked))
        if system == LEARNED:
            rows.append(Row(OTHER, speaker, {name: float(np.mean([each[name] for each in scores])) for name in asked}))
    how = (
        f"Mini-Xception, which saw photographs of people only, judges {PICTURES} rendered pictures of each clip. "
        f"Sentences name an emotion at its highest level. Of the ten, calm, contempt and bored are no expressions of "
        f"the judge and do not count. Its own accuracy: {PUBLISHED}."
    )
    rows.sort(key=lambda row: (LEARNED, PERFORMER, OTHER).index(row.system))
    said = "Clips by the emotion asked for (rows) and seen (columns)."
    matrices = [
        Matrix(f"judge_{system}", f"What the judge sees: {system}", said, EMOTIONS, EXPRESSIONS, own)
        for system, own in counts.items()
    ]
    return tabulate("judge", "Independent judge of emotion", how, rows, JUDGED, seed), matrices, faces


def judge_video(judge: Judge, video: Path) -> Float32[np.ndarray, "pictures expressions"]:
    """Probabilities for every fifth picture of a real video in which a face is followed.

    Raises InputError when it is no video, AssetError when this machine cannot track faces.
    """
    pictures, boxes = [], []
    bundle = resolve("face-landmarker").files["face_landmarker.task"]
    with FaceFollower(bundle) as follower:
        for number, (start_s, rgb) in enumerate(pictures_of(video)):
            person, *_ = follower.follow(start_s, rgb)
            if number % 5 == 0 and person >= 0 and follower.box is not None:
                pictures.append(rgb)
                boxes.append(follower.box)
    return judge.judge(pictures, np.array(boxes, np.float64).reshape(-1, 4))


def neutral_share(shares: Float[np.ndarray, "pictures expressions"]) -> float:
    """Share of pictures that are taken for neutral, as those of people who read commands should be; NaN without one."""
    said = shares.argmax(axis=1) == EXPRESSIONS.index("neutral")
    return float(said.mean()) if len(said) else float("nan")
