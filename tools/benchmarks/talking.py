"""How well a talking model speaks: on real videos, in silence, under exchanged styles, against a real rig."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.dataset import Corpus, Item, held_out
from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import MM, closures, correlation, frame_phones, jitter_mm, lip_closure
from avi_lib.face.head import Head, load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import TalkingModel
from avi_lib.motion.performer import Performer
from avi_lib.speech.encoders import RATE_HZ, SpeechEncoder, load_encoder
from avi_lib.speech.phones import BILABIAL, SILENCE, Phone, recognise_phones
from avi_lib.speech.prosody import prosody
from tools.benchmarks.measuring import Figure
from tools.benchmarks.systems import (
    CALM,
    Clip,
    Spoken,
    motion_of,
    must_fit,
    read_spoken,
    real_motion,
    score_exchange,
    still_sounds,
)

RESTED = (CALM, "He is very sad.", "She is furious.")
"""Sentences under which a mouth must rest where nobody speaks."""


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
    styles = [model.style_of(motion_of(item)) for item in clips]
    return np.asarray(np.mean(styles, axis=0), np.float32)


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
    every.append([clip.tracked.values for clip in clips])
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
        yield Figure("lip gap without speech, beyond the performer's", beyond, "mm", "<= 0.7", how)


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
    rigs = real_motion(corpora)
    kept = [item for item in rigs if item.clip.recording in without]
    others = [item for item in rigs if item.clip.recording not in without and item.corpus in {k.corpus for k in kept}]
    if not kept or not others:
        got = f"{len(kept)} and {len(others)} clips"
        raise InputError("a recording of a rig with sound, and others that show its style", got, "check the names")
    style, calm = rig_style(model, others), Instruction.parse(CALM)
    made = [model.motion_of(item.corpus.features(item.clip).astype(np.float32), style) for item in kept]
    performed = [item.corpus.performer(item.clip).perform_with_still(calm, seed=0)[1] for item in kept]
    seconds, baseline = sum(item.clip.duration_s for item in kept), score_rig(performed, kept)
    how = f"{', '.join(without)}, {seconds:.0f} s; style from other recordings; performer {baseline:.2f}"
    yield Figure("jawOpen r with a real rig", score_rig(made, kept), "", ">= 0.75", how)
