"""What is asked, seen on rendered pictures alone: units by the tracker, emotions by the judge at equal displacement.

The tracker's answer to each channel of the head is measured first, one channel at a time; with it what the tracker says
of a picture is read back as weights (non-negative least squares). A channel that hardly answers cannot be seen, and
scripts that ask for a unit that needs one are left out: what it does shows as something else, a raised cheek as a
squint, a lowered gaze as a drooping lid. Emotions are judged beside the performer's, whose expression is made as much
larger or smaller as it takes to move the vertices of the face as far.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.optimize import nnls

from avi_lib.corpus.measure import measure_units, neutral_face
from avi_lib.evaluation.report import estimate
from avi_lib.face.head import load_head
from avi_lib.face.tracking import FaceFollower
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTION_WORDS
from avi_lib.instruction.instruction import Instruction
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import LearnedGenerator, load_generator
from avi_lib.motion.prior import PriorSampler, load_prior_sampler
from avi_lib.settings import RenderSettings, SampleSettings
from avi_lib.talker import Renderer
from tools.benchmarks.amplitudes import HEADS, SHAPED, SIZE_PX
from tools.benchmarks.judge import EXPRESSIONS, face_boxes, load_judge
from tools.benchmarks.measuring import Figure, Options, corpora
from tools.benchmarks.prior import score_asked
from tools.benchmarks.scores import (
    PLAIN,
    SETS,
    Spoken,
    Strengths,
    asked_units,
    draw_bank,
    f1,
    held_out_bank,
    held_out_spoken,
    raw,
)
from tools.benchmarks.systems import PICTURES

SCRIPTS, SEEN_PX, LOOKS = 40, 320, 7
LEAST_ANSWER, RIDGE = 0.25, 0.05
"""A channel is seen whose own answer is at least so large; of the squares of weights beside those of what is left."""
SPEAKERS = 2
"""Recordings over which emotions are judged, on each head."""
_FULL = 0.7
_WEIGHTS = 52


class Looker:
    """The open head, drawn and tracked: motion in, what pictures show of it out; a context manager.

    `seen` (55,) are the channels that the tracker can see on this head; a head's rotation always is.
    """

    seen: Bool[np.ndarray, " 55"]

    def __enter__(self) -> Looker:
        self._renderer = Renderer("open", RenderSettings(size=SEEN_PX)).__enter__()
        self._follower = FaceFollower(resolve("face-landmarker").files["face_landmarker.task"]).__enter__()
        self._shown = 0
        values = np.concatenate([np.zeros((1, len(ARKIT))), _FULL * np.eye(_WEIGHTS, len(ARKIT))]).astype(np.float32)
        found = self._track(MotionClip(values, 25.0, ARKIT))
        self._rest = found[0]
        answers = (found[1:, :_WEIGHTS] - found[0, :_WEIGHTS]) / _FULL
        self.seen = np.ones(len(ARKIT), bool)
        self.seen[:_WEIGHTS] = np.diag(answers) >= LEAST_ANSWER
        few = answers[self.seen[:_WEIGHTS]]
        self._answers = np.concatenate([few.T, np.sqrt(RIDGE) * np.eye(len(few))])
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.__exit__(None, None, None)
        self._renderer.close()

    def _track(self, motion: MotionClip) -> Float64[np.ndarray, "frames 55"]:
        found = []
        for picture in self._renderer.frames(motion):
            self._shown += 1  # a second apart, so that no face is smoothed over the one before
            found.append(self._follower.follow(float(self._shown), picture[..., :3])[1].astype(np.float64))
        return np.stack(found)

    def look(self, motion: MotionClip) -> MotionClip:
        """Some frames of a motion as pictures show them, with the channels that can be seen."""
        picks = np.linspace(0.15, 0.85, LOOKS) * len(motion)
        shown = self._track(motion.at(picks.astype(int).tolist())) - self._rest
        values = np.zeros((LOOKS, len(ARKIT)), np.float32)
        values[:, _WEIGHTS:] = shown[:, _WEIGHTS:]
        padding, places = np.zeros(self._answers.shape[1]), np.flatnonzero(self.seen[:_WEIGHTS])
        for row, each in zip(values, shown[:, :_WEIGHTS], strict=True):
            row[places] = nnls(self._answers, np.concatenate([each, padding]))[0]
        return MotionClip(ARKIT.limited(values), 25.0, ARKIT, self.seen)

    def can_see(self, unit: str) -> bool:
        """Whether all main channels of a unit are seen, which has no rhythm."""
        channels = ACTION_UNITS[unit].main_channels()
        return not ACTION_UNITS[unit].rhythm and all(self.seen[ARKIT.index(channel)] for channel in channels)


def measure(options: Options) -> Iterator[Figure]:
    """Units on both sets of scripts, then emotions."""
    sampler, generator = load_prior_sampler(options.prior, options.text_encoder), load_generator(options.talking)
    prepared = corpora(options)
    clips = held_out_spoken(prepared)
    with Looker() as looker:
        unseen = [name for name, unit in ACTION_UNITS.items() if not unit.rhythm and not looker.can_see(name)]
        for draw in ("combination", "wording"):
            bank = held_out_bank(prepared, sampler.encoder, draw, 6 * SCRIPTS, 5, "units")
            asked = [asked_units(script) for script in bank.scripts]
            seen = [i for i, units in enumerate(asked) if units and all(map(looker.can_see, units))][:SCRIPTS]
            drawn = raw(sampler.prior, draw_bank(sampler.prior, bank, SampleSettings()))
            styles, asked, wanted = drawn[seen], [asked[i] for i in seen], [bank.asked[i] for i in seen]
            spoken = [clips[i % len(clips)] for i in range(len(seen))]
            learned = [
                generator.perform(*clip, PLAIN, i, style)
                for i, (clip, style) in enumerate(zip(spoken, styles, strict=True))
            ]
            performed = [clip[1].perform(each, i) for i, (clip, each) in enumerate(zip(spoken, wanted, strict=True))]
            plain = [generator.perform(*clip, PLAIN, i, sampler.style(PLAIN, i)) for i, clip in enumerate(clips)]
            still = [clip[1].perform(PLAIN, i) for i, clip in enumerate(clips)]
            rows = {
                "": _seen(looker, learned, plain, asked),
                ", performer with parser": _seen(looker, performed, still, asked),
            }
            another = [one for one, _ in rows[""]], [found for _, found in rows[""]]
            rows[", another script's"] = list(zip(another[0], [*another[1][1:], another[1][0]], strict=True))
            for row, pairs in rows.items():
                yield from _unit_figures(f"{SETS[draw]}: ", row, pairs, unseen)
    yield from _emotion_figures(sampler, generator, clips[:SPEAKERS])


Pairs = list[tuple[Strengths, Strengths]]


def _seen(
    looker: Looker, motions: Sequence[MotionClip], plain: Sequence[MotionClip], asked: Sequence[Mapping[str, float]]
) -> Pairs:
    """What is asked and what pictures show, of the units that can be seen."""
    rest = neutral_face([(shown.values, shown.present) for shown in map(looker.look, plain)])
    found = [measure_units(looker.look(motion), rest) for motion in motions]

    def some(units: Mapping[str, float]) -> dict[str, float]:
        return {name: strength for name, strength in units.items() if looker.can_see(name)}

    return [(some(one), some(other)) for one, other in zip(asked, found, strict=True)]


def _unit_figures(where: str, row: str, pairs: Pairs, unseen: Sequence[str]) -> Iterator[Figure]:
    score = score_asked(pairs)
    found = estimate(pairs, np.random.default_rng(0), statistic=f1, resamples=400)
    ranks = estimate(pairs, np.random.default_rng(0), statistic=lambda some: score_asked(some).rho, resamples=200)
    missed, wrong = (
        ", ".join(f"{name} {n}" for name, n in [*each.items()][:4]) for each in (score.missed, score.false)
    )
    must = "-" if row else ">= 0.75"
    how = f"{found.low:.2f} to {found.high:.2f}; precision {score.precision:.2f}, recall {score.recall:.2f}"
    how += f"; most missed: {missed}; most added: {wrong}"
    yield Figure(f"{where}units seen on pictures, F1{row}", score.f1, "", must, how)
    how = f"{ranks.low:.2f} to {ranks.high:.2f}; {len(pairs)} scripts; cannot be seen: {', '.join(unseen)}"
    yield Figure(f"{where}strengths seen on pictures, Spearman{row}", score.rho, "", must, how)


def _emotion_figures(sampler: PriorSampler, generator: LearnedGenerator, clips: Sequence[Spoken]) -> Iterator[Figure]:
    """Recall of the judge for the learned system, and for the performer moved as far."""
    judge, mesh = load_judge(), load_head()
    named = [emotion for emotion in EXPRESSIONS if emotion != "neutral"]
    shown: list[tuple[str, MotionClip, MotionClip, float]] = []
    for seed, (features, performer) in enumerate(clips):
        own_plain = generator.perform(features, performer, PLAIN, seed, sampler.style(PLAIN, seed))
        plain = performer.perform(PLAIN, seed)
        for emotion in named:
            asked = Instruction.parse(f"A person feels {EMOTION_WORDS[emotion].adjectives[2][0]}.")
            made = generator.perform(features, performer, asked, seed, sampler.style(asked, seed))
            picks = (np.linspace(0.1, 0.9, PICTURES) * len(made)).astype(int).tolist()
            face, rest, acted, still = (
                clip.at(picks).values for clip in (made, own_plain, performer.perform(asked, seed), plain)
            )
            moved, played = (_moved(mesh.deform(a), mesh.deform(b)) for a, b in ((face, rest), (acted, still)))
            gain = moved / max(played, 1e-6)
            equal = ARKIT.limited((still + gain * (acted - still)).astype(np.float32))
            shown.append((emotion, MotionClip(face, 25.0, ARKIT), MotionClip(equal, 25.0, ARKIT), gain))
    right: dict[str, list[tuple[str, bool, bool]]] = {}
    for name in HEADS:
        head = load_head(name)
        with Renderer(name, RenderSettings(size=SIZE_PX)) as renderer:
            for emotion, made, equal, _ in shown:
                told = []
                for motion in (made, equal):
                    pictures = [picture[..., :3] for picture in renderer.frames(motion)]
                    shares = judge.judge(pictures, face_boxes(head, motion.values, SIZE_PX)).mean(axis=0)
                    told.append(EXPRESSIONS[int(shares.argmax())] == emotion)
                right.setdefault(name, []).append((emotion, *told))
    every = [each for rows in right.values() for each in rows]
    own, other = (np.array([each[i] for each in every], float) for i in (1, 2))
    learned, performed, apart = (estimate(each, np.random.default_rng(0)) for each in (own, other, own - other))
    gains = [gain for *_, gain in shown]
    how = f"{learned.low:.2f} to {learned.high:.2f} over {learned.clips} faces on {', '.join(HEADS)}; performer at "
    how += f"{np.median(gains):.2f} times its expression {performed.value:.2f} ({performed.low:.2f} to "
    how += f"{performed.high:.2f}); the flow less the performer {apart.value:.2f} ({apart.low:.2f} to {apart.high:.2f})"
    must = f">= {performed.value:.2f}"
    yield Figure("judge: emotions of rendered faces, recall", learned.value, "", must, f"{how}; {SHAPED}")
    for emotion in named:
        own, other = (np.mean([each[i] for each in every if each[0] == emotion]) for i in (1, 2))
        bound = "> 0" if emotion == "angry" else "-"
        yield Figure(f"judge: {emotion}", float(own), "", bound, f"performer moved as far {float(other):.2f}")


def _moved(vertices: Float32[np.ndarray, "frames V 3"], others: Float32[np.ndarray, "frames V 3"]) -> float:
    """Mean distance of vertices in metres."""
    return float(np.linalg.norm(vertices - others, axis=2).mean())
