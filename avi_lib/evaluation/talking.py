"""How well a talking model speaks: on real videos, in silence, under exchanged styles, against a real rig.

Figures of speech stand beside those of the performer, the
procedural baseline, and of the real thing where there is one; of exchanged styles the performer is the true answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.mixture import Item, held_out
from avi_lib.errors import InputError
from avi_lib.evaluation.figure import Figure
from avi_lib.evaluation.metrics import (
    closures,
    correlation,
    eve_mm,
    fdd_mm,
    frame_phones,
    jaw_energy_correlation,
    jitter_mm,
    lip_closure,
    lve_mm,
)
from avi_lib.evaluation.real_clips import Clip, read_clips, read_track
from avi_lib.face.head import Head, load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import ARKIT
from avi_lib.motion.talking_model import FPS, TalkingModel
from avi_lib.speech.audio import RATE_HZ, load_speech
from avi_lib.speech.augment import make_noise, room_tone
from avi_lib.speech.encoder import SpeechEncoder, load_encoder
from avi_lib.speech.phones import BILABIAL, SILENCE, Phone
from avi_lib.speech.prosody import prosody
from avi_lib.speech.recognise import recognise_phones

CALM = "A person speaks calmly."
RESTED = (CALM, "He is very sad.", "She is furious.")
"""Sentences under which a mouth must rest where nobody speaks."""
MM = 1000.0


@dataclass(frozen=True, eq=False)
class Spoken:
    """A GRID clip, its features, and what the performer makes of the recording alone, without idle behaviour."""

    clip: Clip
    features: Float32[np.ndarray, "steps dim"]
    performed: MotionClip


def read_spoken(source: Path, encoder: SpeechEncoder) -> list[Spoken]:
    """The clips of a folder as `evaluation.real_clips` reads them, listened to."""
    spoken, calm = [], Instruction.parse(CALM)
    for clip in read_clips(source):
        wave = load_speech(clip.audio).wave
        performer = Performer(recognise_phones(wave).phones, prosody(wave), len(wave) / RATE_HZ)
        spoken.append(Spoken(clip, encoder.encode(wave), performer.perform_with_still(calm, seed=0)[1]))
    return spoken


def score_lips(motions: Sequence[MotionClip], clips: Sequence[Clip], head: Head) -> dict[str, float]:
    """Lips against ten real videos: `d`, `closed`, `r` as means over clips, with the same for another clip's motion.

    Closed counts all /m b p/ together. `r spoken` is the correlation over the frames with speech. A mouth that does not
    move scores 0 throughout; a clip without an open vowel or without /m b p/ has no part in `d`.
    """
    gaps = [MM * head.lip_gap(motion.values) for motion in motions]
    scores: dict[str, list[float]] = {}
    closed: dict[str, list[bool]] = {"closed": [], "closed, another": []}
    for i, gap in enumerate(gaps):
        for j, clip in enumerate(clips):
            kind = "" if i == j else ", another"
            frames = min(len(gap), len(clip.gap))
            speech = frame_phones(clip.phones, frames, clip.fps) != SILENCE
            moves = bool(np.percentile(gap, 90) > 0 and np.ptp(gap[:frames][speech]) > 0)
            spoken = correlation(gap[:frames][speech], clip.gap[:frames][speech]) if moves else 0.0
            d = lip_closure(gap if moves else clip.gap, clip.phones, clip.fps)
            scores.setdefault(f"d{kind}", []).append(d if moves else 0.0 * d)
            scores.setdefault(f"r{kind}", []).append(correlation(gap, clip.gap) if moves else 0.0)
            scores.setdefault(f"r spoken{kind}", []).append(spoken)
            bilabials = sum(phone.phone in BILABIAL for phone in clip.phones)
            closed[f"closed{kind}"] += closures(gap, clip.phones, clip.fps).tolist() if moves else [False] * bilabials
    means = {name: float(np.nanmean(values)) for name, values in scores.items()}
    return means | {name: float(np.mean(values)) for name, values in closed.items() if values}


def score_exchange(model: TalkingModel, items: Sequence[Item], head: Head) -> dict[str, float]:
    """Performed clips under the style of another clip that performs another script, against the true performance.

    The style is taken from the partner's performance of its own script; errors in mm, means over pairs. `distance` is
    the error of the clip's own performance taken for the exchanged one: what ignoring the style would cost.
    """
    rows: dict[str, list[float]] = {}
    for corpus, clip in ((item.corpus, item.clip) for item in items):
        features, own = corpus.features(clip).astype(np.float32), corpus.motion(clip, 0).astype(np.float32)
        plain = model.motion_of(features, model.style_of(MotionClip(own, FPS, ARKIT))).values[: len(own)]
        for partner in corpus.partners(clip):
            shown = MotionClip(corpus.motion(partner, 0).astype(np.float32), FPS, ARKIT)
            true = corpus.motion(clip, corpus.number(clip, partner.scripts[0])).astype(np.float32)
            made = model.motion_of(features, model.style_of(shown)).values[: len(own)]
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


def score_rest(
    model: TalkingModel, encoder: SpeechEncoder, styles: Mapping[str, np.ndarray], head: Head
) -> dict[str, dict[str, float]]:
    """By style and sound without speech: the 95th percentile of the lip gap, in mm."""
    heard = {name: encoder.encode(wave) for name, wave in still_sounds().items()}
    return {
        said: {
            name: float(np.percentile(MM * head.lip_gap(model.motion_of(features, style).values), 95))
            for name, features in heard.items()
        }
        for said, style in styles.items()
    }


def score_rig(motions: Sequence[MotionClip], clips: Sequence[Item]) -> float:
    """Correlation of jawOpen with a real rig's over all frames of some clips together."""
    made = [motion["jawOpen"][: item.clip.frames] for motion, item in zip(motions, clips, strict=True)]
    real = [item.corpus.motion(item.clip)[:, ARKIT.index("jawOpen")].astype(np.float32) for item in clips]
    return correlation(np.concatenate(made), np.concatenate(real))


def rig_style(model: TalkingModel, clips: Sequence[Item]) -> Float32[np.ndarray, " style"]:
    """The mean style of some clips of real motion, each with its mask of channels."""
    styles = [
        model.style_of(MotionClip(corpus.motion(clip).astype(np.float32), FPS, ARKIT), corpus.present(clip))
        for corpus, clip in ((item.corpus, item.clip) for item in clips)
    ]
    return np.asarray(np.mean(styles, axis=0), np.float32)


def must_fit(model: TalkingModel, corpora: Sequence[Corpus]) -> None:
    """Raise InputError unless the corpora have the motion space and the speech features of the model."""
    for corpus in corpora:
        if corpus.space is not model.space:
            raise InputError(
                f"motion in the space {model.shape.space}", f"{corpus.space.name} in {corpus.folder}", "choose others"
            )
        heard = corpus.description["features"]
        if heard["name"] != model.shape.encoder or heard["dim"] != model.shape.features:
            expected = f"{model.shape.features} features of {model.shape.encoder}, which the model was trained with"
            got = f"{heard['dim']} of {heard['name']} in {corpus.folder}"
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
    clips, performed = [item.clip for item in spoken], [item.performed for item in spoken]
    # a style says nothing of what is spoken here: each clip is spoken in that of another
    styles = [model.style_of(motion) for motion in (*performed[1:], performed[0])]
    motions = [model.motion_of(item.features, style) for item, style in zip(spoken, styles, strict=True)]
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
    tracks = [_tracked(clip) for clip in clips]
    jitters = [float(np.mean([jitter_mm(each, head) for each in curves])) for curves in (
        [motion.values for motion in motions], [motion.values for motion in performed], tracks)]  # fmt: skip
    how = f"GRID, lips; performer {jitters[1] / jitters[2]:.2f}; real tracks {jitters[2]:.2f} mm per frame^3"
    yield Figure("jitter against real tracks", jitters[0] / jitters[2], "x", "<= 1.5", how)
    energies = [_jaw_energy(curves, clips) for curves in (
        [motion.values for motion in motions], [motion.values for motion in performed], tracks)]  # fmt: skip
    how = f"GRID, in speech; performer {energies[1]:.2f}; real tracks {energies[2]:.2f}"
    yield Figure("jaw against level of the sound, r", energies[0], "", "-", how)
    yield from _measure_rest(model, spoken[1], encoder, head)


def _tracked(clip: Clip) -> Float32[np.ndarray, "frames 55"]:
    weights = read_track(clip.audio.with_suffix(".npz"))[0]
    none = np.zeros(len(weights["jawOpen"]))
    return np.stack([weights.get(channel, none) for channel in ARKIT.channels], axis=1).astype(np.float32)


def _jaw_energy(curves: Sequence[np.ndarray], clips: Sequence[Clip]) -> float:
    scores = []
    for values, clip in zip(curves, clips, strict=True):
        level = prosody(load_speech(clip.audio).wave, fps=clip.fps).energy_db
        frames = min(len(values), len(level))
        speech = frame_phones(clip.phones, frames, clip.fps) != SILENCE
        jaw = values[:frames, ARKIT.index("jawOpen")]
        scores.append(jaw_energy_correlation(jaw, level[:frames], speech))
    return float(np.nanmean(scores))


def _measure_rest(model: TalkingModel, spoken: Spoken, encoder: SpeechEncoder, head: Head) -> Iterator[Figure]:
    wave = load_speech(spoken.clip.audio).wave
    speaking = Performer(recognise_phones(wave).phones, prosody(wave), len(wave) / RATE_HZ)
    styles, at_rest = {}, {}
    nobody = np.zeros(round(4 * RATE_HZ), np.float32)
    resting = Performer((Phone(SILENCE, 0.0, 4.0),), prosody(nobody), 4.0)
    for said in RESTED:
        instruction = Instruction.parse(said)
        styles[said] = model.style_of(speaking.perform_with_still(instruction, seed=0)[1])
        held = resting.perform_with_still(instruction, seed=0)[1]
        at_rest[said] = float(np.percentile(MM * head.lip_gap(held.values), 95))
    gaps = score_rest(model, encoder, styles, head)
    for said in RESTED:
        worst = max(gaps[said], key=lambda name: gaps[said][name])
        every = ", ".join(f"{name} {gap:.1f}" for name, gap in gaps[said].items())
        how = f"{said} 95th percentile, worst ({worst}) of: {every}; performer {at_rest[said]:.1f}"
        yield Figure(
            "lip gap without speech, beyond the performer's", gaps[said][worst] - at_rest[said], "mm", "<= 1", how
        )


def _measure_exchange(model: TalkingModel, items: Sequence[Item], head: Head) -> Iterator[Figure]:
    scores = score_exchange(model, items, head)
    how = f"{len(items)} clips of held-out voices and words; {{}}"
    eve = f"{scores['EVE exchanged']:.2f} mm of {scores['EVE distance']:.2f}; own style {scores['EVE own']:.2f} mm"
    ratio = scores["EVE exchanged"] / scores["EVE distance"]
    yield Figure("exchanged style: EVE / distance of the styles", ratio, "", "<= 0.35", how.format(eve))
    lve = f"{scores['LVE exchanged']:.2f} against {scores['LVE own']:.2f} mm"
    ratio = scores["LVE exchanged"] / scores["LVE own"]
    yield Figure("exchanged style: LVE / own style's", ratio, "", "<= 1.15", how.format(lve))
    how = how.format("mean of absolute values")
    yield Figure("exchanged style: FDD", scores["FDD exchanged"], "mm", "-", how)


def _measure_rig(model: TalkingModel, corpora: Sequence[Corpus], without: Sequence[str]) -> Iterator[Figure]:
    rigs = [Item(corpus, clip) for corpus in corpora for clip in corpus.select(motion="recorded") if clip.features]
    kept = [item for item in rigs if item.clip.recording in without]
    others = [item for item in rigs if item.clip.recording not in without and item.corpus in {k.corpus for k in kept}]
    if not kept or not others:
        got = f"{len(kept)} and {len(others)} clips"
        raise InputError("a recording of a rig with sound, and others that show its style", got, "check the names")
    style = rig_style(model, others)
    made = [model.motion_of(item.corpus.features(item.clip).astype(np.float32), style) for item in kept]
    calm = Instruction.parse(CALM)
    performed = [item.corpus.performer(item.clip).perform_with_still(calm, seed=0)[1] for item in kept]
    seconds = sum(item.clip.duration_s for item in kept)
    baseline = score_rig(performed, kept)
    how = f"{', '.join(without)}, {seconds:.0f} s; style from other recordings; performer {baseline:.2f}"
    yield Figure("jawOpen r with a real rig", score_rig(made, kept), "", ">= 0.75", how)
