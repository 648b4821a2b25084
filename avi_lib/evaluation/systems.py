"""Systems beside one another: the learned one, the performer, the learned one on another's speech, and real motion.

>>> scenes = held_out_scenes(corpora, generator, director, most=24, seed=0)
>>> table = score_scenes("held_out", "Held-out speakers", HELD_OUT, scenes, load_head())

`shuffled` is the learned system that hears the next scene's speech and is scored on this one's: what a score is worth
when the face does not listen. Blinks, gaze and sway are left out of generated motion: all systems take them from the
same seeded performer, so that they would tell nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.curves import Curves
from avi_lib.corpus.landmarker import UNMOVED
from avi_lib.corpus.mixture import Item, held_out
from avi_lib.errors import InputError
from avi_lib.evaluation.measures import FPS, MEASURES, Heard, Measure, hear_recording, measure_motion
from avi_lib.evaluation.real_clips import read_clips, read_track
from avi_lib.evaluation.report import Row, Table, tabulate
from avi_lib.face.head import Head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.director import Director
from avi_lib.motion.learned import LearnedGenerator
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import ARKIT
from avi_lib.speech.audio import RATE_HZ, load_speech
from avi_lib.speech.prosody import prosody
from avi_lib.speech.recognise import recognise_phones

CALM = "A person speaks calmly."
LEARNED, PERFORMER, SHUFFLED, REAL = "learned", "performer", "shuffled audio", "real"
IDLE = ("blinks_per_min", "head_sd_deg")
"""Measures of idle behaviour, which tell something of real motion and of whole systems only."""

HELD_OUT = (
    "Performed clips of speakers and words that training did not hear. The learned system is directed by the clip's "
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


@dataclass(frozen=True, eq=False)
class Scene:
    """A recording and what every system makes of it.

    Attributes:
        name, speaker: of the recording.
        heard: what motion is held against.
        motions: by system.
        reference: the true motion, where there is one; the system it is of is not compared with itself.
        gap: lip gap of the reference measured otherwise than on a mesh, at 25 frames a second, in any unit.
    """

    name: str
    speaker: str
    heard: Heard
    motions: Mapping[str, Curves]
    reference: Curves | None = None
    gap: Float[np.ndarray, " frames"] | None = None


@dataclass(frozen=True, eq=False)
class _Take:
    """What is known of a recording before any system speaks it."""

    name: str
    speaker: str
    heard: Heard
    features: Float32[np.ndarray, "steps dim"]
    style: Float32[np.ndarray, " style"]
    performed: MotionClip
    reference: Curves | None = None
    gap: Float[np.ndarray, " frames"] | None = None
    real: bool = False


def held_out_scenes(
    corpora: Sequence[Corpus], generator: LearnedGenerator, director: Director, most: int = 24, seed: int = 0
) -> list[Scene]:
    """Performed clips of held-out speakers and words, at most so many, spread evenly; InputError without two."""
    takes = []
    for number, item in enumerate(spread(held_out(corpora), most)):
        corpus, clip = item.corpus, item.clip
        motion = MotionClip(corpus.motion(clip).astype(np.float32), FPS, ARKIT)
        heard = Heard(corpus.phones(clip), corpus.prosody(clip).energy_db, clip.duration_s)
        style = director.style(corpus.texts(clip)[0], seed + number)
        features = corpus.features(clip).astype(np.float32)
        takes.append(_Take(clip.clip, clip.speaker, heard, features, style, motion, whole(motion)))
    return _spoken(takes, generator)


def grid_scenes(folder: Path, generator: LearnedGenerator, director: Director, seed: int = 0) -> list[Scene]:
    """Real videos with their tracks; InputError when something of them is missing."""
    takes, calm = [], Instruction.parse(CALM)
    style = director.style(CALM, seed)
    for clip in read_clips(folder):
        wave = load_speech(clip.audio).wave
        phones = recognise_phones(wave).phones
        performed = Performer(phones, prosody(wave), len(wave) / RATE_HZ).perform_with_still(calm, seed)[1]
        weights = read_track(clip.audio.with_suffix(".npz"))[0]
        values = np.zeros((len(clip.gap), len(ARKIT)), np.float32)
        present = np.zeros(len(ARKIT), bool)
        for channel, curve in weights.items():
            values[:, ARKIT.index(channel)] = curve
            present[ARKIT.index(channel)] = channel not in UNMOVED
        tracked = Curves(MotionClip(values, clip.fps, ARKIT), present)
        heard = hear_recording(wave, clip.phones)
        features = generator.listen(wave)
        takes.append(_Take(clip.name, clip.name, heard, features, style, performed, tracked, clip.gap, real=True))
    return _spoken(takes, generator)


def rig_scenes(
    corpora: Sequence[Corpus], recordings: Sequence[str], generator: LearnedGenerator, director: Director, seed: int = 0
) -> list[Scene]:
    """Clips of held-out recordings of real motion with sound; InputError when no corpus has one of them."""
    items = [Item(c, clip) for c in corpora for clip in c.clips if clip.motion == "recorded" and clip.features]
    kept = [item for item in items if item.clip.recording in recordings]
    if missing := set(recordings) - {item.clip.recording for item in kept}:
        raise InputError("recordings of real motion with sound", ", ".join(sorted(missing)), "check the names")
    takes, style, calm = [], director.style(CALM, seed), Instruction.parse(CALM)
    for corpus, clip in ((item.corpus, item.clip) for item in kept):
        real = Curves(MotionClip(corpus.motion(clip).astype(np.float32), FPS, ARKIT), corpus.present(clip))
        performed = corpus.performer(clip).perform_with_still(calm, seed)[1]
        heard = Heard(corpus.phones(clip), corpus.prosody(clip).energy_db, clip.duration_s)
        features = corpus.features(clip).astype(np.float32)
        takes.append(_Take(clip.clip, clip.speaker, heard, features, style, performed, real, real=True))
    return _spoken(takes, generator)


def score_scenes(
    name: str,
    title: str,
    how: str,
    scenes: Sequence[Scene],
    head: Head,
    measures: Mapping[str, Measure] = MEASURES,
    seed: int = 0,
) -> Table:
    """Every measure of every system over the scenes, with intervals over speakers."""
    rows = []
    for scene in scenes:
        for system, curves in scene.motions.items():
            own = curves is scene.reference
            scores = measure_motion(
                curves,
                scene.heard,
                head,
                reference=None if own else scene.reference,
                gap=scene.gap if own else None,
                reference_gap=scene.gap,
            )
            if system != REAL:
                scores |= dict.fromkeys(IDLE, float("nan"))
            rows.append(Row(system, scene.speaker, scores))
    return tabulate(name, title, how, rows, measures, seed)


def whole(motion: MotionClip) -> Curves:
    """Generated motion, all of whose channels are there."""
    return Curves(motion, np.ones(len(motion.space), bool))


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, spread evenly."""
    picks = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[i] for i in picks.tolist()]


def _spoken(takes: Sequence[_Take], generator: LearnedGenerator) -> list[Scene]:
    if len(takes) < 2:
        raise InputError("two recordings or more, so that speech can be shuffled", f"{len(takes)}", "add some")
    scenes = []
    for number, take in enumerate(takes):
        frames = len(take.heard.level_db)
        other = takes[(number + 1) % len(takes)].features
        motions = {
            LEARNED: whole(_speak(generator, take.features, take.style, frames)),
            PERFORMER: take.reference if take.reference is not None and not take.real else whole(take.performed),
            SHUFFLED: whole(_speak(generator, other, take.style, frames)),
        }
        if take.real and take.reference is not None:
            motions[REAL] = take.reference
        scenes.append(Scene(take.name, take.speaker, take.heard, motions, take.reference, take.gap))
    return scenes


def _speak(
    generator: LearnedGenerator,
    features: Float32[np.ndarray, "steps dim"],
    style: Float32[np.ndarray, " style"],
    frames: int,
) -> MotionClip:
    """Speech in a style, without idle behaviour; what is too short is heard again from its start."""
    steps = 2 * frames
    heard = np.tile(features, (-(-steps // len(features)), 1))[:steps]
    return MotionClip(ARKIT.limited(generator.model.motion_of(heard, style).values[:frames]), FPS, ARKIT)
