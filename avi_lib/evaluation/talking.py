"""How well a talking model speaks: on real videos, in silence, under exchanged styles, against a real rig.

    python -m avi_lib.evaluation.talking [--model WEIGHTS] [--real FOLDER] [--corpus PREPARED ...]

FOLDER holds the real recordings (grid10/, facegood/); PREPARED are corpora with performed clips whose held-out speakers
exchange their styles. What is absent is left out, and said. Every figure stands beside that of the performer, which is
the procedural baseline, and of the real thing where there is one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.mixture import Item
from avi_lib.errors import AviError, InputError
from avi_lib.evaluation.figure import Figure, markdown
from avi_lib.evaluation.lips import Clip, read_clips
from avi_lib.evaluation.metrics import closures, correlation, eve_mm, frame_phones, jitter_mm, lip_closure, lve_mm
from avi_lib.evaluation.tracks import read_track
from avi_lib.face.head import Head, load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import ARKIT
from avi_lib.motion.talking_model import FPS, TalkingModel, load_talking_model
from avi_lib.speech.audio import RATE_HZ, load_speech
from avi_lib.speech.augment import make_noise, room_tone
from avi_lib.speech.encoder import SpeechEncoder, load_encoder
from avi_lib.speech.phones import SILENCE
from avi_lib.speech.prosody import prosody
from avi_lib.speech.recognise import recognise_phones

CALM = "A person speaks calmly."
MM = 1000.0


@dataclass(frozen=True, eq=False)
class Spoken:
    """A GRID clip, its features, and what the performer makes of the recording alone, without idle behaviour."""

    clip: Clip
    features: Float32[np.ndarray, "steps dim"]
    performed: MotionClip


def read_spoken(source: Path, encoder: SpeechEncoder) -> list[Spoken]:
    """The clips of a folder as `evaluation.lips` reads them, listened to."""
    spoken, calm = [], Instruction.parse(CALM)
    for clip in read_clips(source):
        wave = load_speech(clip.audio).wave
        performer = Performer(recognise_phones(wave).phones, prosody(wave), len(wave) / RATE_HZ)
        spoken.append(Spoken(clip, encoder.encode(wave), performer.perform_with_still(calm, seed=0)[1]))
    return spoken


def score_lips(motions: Sequence[MotionClip], clips: Sequence[Clip], head: Head) -> dict[str, float]:
    """Lips against ten real videos: `d`, `closed`, `r` as means over clips, with the same for another clip's motion.

    Closed counts all /m b p/ together. `r spoken` is the correlation over the frames with speech.
    """
    gaps = [MM * head.lip_gap(motion.values) for motion in motions]
    scores: dict[str, list[float]] = {}
    closed: dict[str, list[np.ndarray]] = {"closed": [], "closed, another": []}
    for i, gap in enumerate(gaps):
        for j, clip in enumerate(clips):
            kind = "" if i == j else ", another"
            frames = min(len(gap), len(clip.gap))
            speech = frame_phones(clip.phones, frames, clip.fps) != SILENCE
            scores.setdefault(f"d{kind}", []).append(lip_closure(gap, clip.phones, clip.fps))
            scores.setdefault(f"r{kind}", []).append(correlation(gap, clip.gap))
            spoken = correlation(gap[:frames][speech], clip.gap[:frames][speech])
            scores.setdefault(f"r spoken{kind}", []).append(spoken)
            closed[f"closed{kind}"].append(closures(gap, clip.phones, clip.fps))
    means = {name: float(np.nanmean(values)) for name, values in scores.items()}
    return means | {name: float(np.concatenate(values).mean()) for name, values in closed.items()}


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
                "LVE exchanged": lve_mm(made, true, head),
                "LVE own": lve_mm(plain, own, head),
            }.items():
                rows.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in rows.items()}


def still_sounds(seconds: float = 4.0) -> dict[str, Float32[np.ndarray, " samples"]]:
    """Sounds without speech, from fixed seeds: faint silence, room tones, breaths, hiss, knocks, keys."""
    samples = round(seconds * RATE_HZ)
    rng = np.random.default_rng(7)
    sounds = {
        "silence": np.zeros(samples, np.float32),
        "faint noise": room_tone(samples, -75.0, 3.0, rng),
        "room tone": room_tone(samples, -50.0, 5.0, rng, hum_hz=50.0),
        "loud noise": room_tone(samples, -25.0, 2.0, rng),
    }
    for kind in ("breath", "hiss", "knock", "keys"):
        wave = room_tone(samples, -60.0, 4.0, rng)
        for start_s in (0.8, 2.4):
            noise, start = make_noise(kind, 0.5, -30.0, rng), round(start_s * RATE_HZ)
            wave[start : start + len(noise)] += noise
        sounds[kind] = wave
    return sounds


def score_rest(model: TalkingModel, encoder: SpeechEncoder, style: np.ndarray, head: Head) -> dict[str, float]:
    """The 95th percentile of the lip gap, in mm, over each sound without speech."""
    sounds = still_sounds().items()
    gaps = {name: head.lip_gap(model.motion_of(encoder.encode(wave), style).values) for name, wave in sounds}
    return {name: float(np.percentile(MM * gap, 95)) for name, gap in gaps.items()}


def score_rig(model: TalkingModel, clips: Sequence[Item], style: np.ndarray) -> float:
    """Correlation of jawOpen with a real rig's over all frames of some clips together."""
    made, real = [], []
    for corpus, clip in ((item.corpus, item.clip) for item in clips):
        motion = model.motion_of(corpus.features(clip).astype(np.float32), style)
        made.append(motion["jawOpen"][: clip.frames])
        real.append(corpus.motion(clip)[:, ARKIT.index("jawOpen")].astype(np.float32))
    return correlation(np.concatenate(made), np.concatenate(real))


def rig_style(model: TalkingModel, clips: Sequence[Item]) -> Float32[np.ndarray, " style"]:
    """The mean style of some clips of real motion, each with its mask of channels."""
    styles = [
        model.style_of(MotionClip(corpus.motion(clip).astype(np.float32), FPS, ARKIT), corpus.present(clip))
        for corpus, clip in ((item.corpus, item.clip) for item in clips)
    ]
    return np.asarray(np.mean(styles, axis=0), np.float32)


def measure_talking(
    model: TalkingModel, real: Path | None, corpora: Sequence[Corpus], held_out: Sequence[str] = ()
) -> Iterator[Figure]:
    """The figures of a model.

    Args:
        model: what is measured.
        real: the folder that holds grid10/, None to leave these figures out.
        corpora: prepared ones; speakers held out exchange styles, recordings of real motion in `held_out` are compared.
        held_out: names of recordings of real motion that the model was not trained on.

    Raises:
        InputError: a recording to hold out that no corpus has, or files of grid10/ are missing.
    """
    head = load_head()
    if unknown := set(held_out) - {clip.recording for corpus in corpora for clip in corpus.clips}:
        raise InputError("held-out recordings of these corpora", ", ".join(sorted(unknown)), "check the names")
    if real is not None and (real / "grid10").is_dir():
        yield from _measure_grid(model, real / "grid10", load_encoder(model.shape.encoder), head)
    performed = [
        Item(corpus, clip)
        for corpus in corpora
        for clip in corpus.clips
        if clip.split != "train" and clip.motion == "performed" and corpus.partners(clip)
    ]
    if performed:
        yield from _measure_exchange(model, performed, head)
    recorded = [Item(corpus, clip) for corpus in corpora for clip in corpus.clips if clip.features]
    kept = [item for item in recorded if item.clip.recording in held_out]
    same = [item for item in recorded if item.clip.motion == "recorded" and item.clip.recording not in held_out]
    if kept and (same := [item for item in same if item.corpus is kept[0].corpus]):
        how = f"{', '.join(held_out)}, {sum(item.clip.duration_s for item in kept):.0f} s; style from other recordings"
        yield Figure("jawOpen r with a real rig", score_rig(model, kept, rig_style(model, same)), "", ">= 0.75", how)


def _measure_grid(model: TalkingModel, source: Path, encoder: SpeechEncoder, head: Head) -> Iterator[Figure]:
    spoken = read_spoken(source, encoder)
    clips = [item.clip for item in spoken]
    # a style says nothing of what is spoken here: each clip is spoken in that of another
    styles = [model.style_of(item.performed) for item in (*spoken[1:], spoken[0])]
    motions = [model.motion_of(item.features, style) for item, style in zip(spoken, styles, strict=True)]
    learned, baseline = (score_lips(made, clips, head) for made in (motions, [item.performed for item in spoken]))
    real_d = float(np.nanmean([lip_closure(clip.gap, clip.phones, clip.fps) for clip in clips]))
    real_closed = float(np.concatenate([closures(clip.gap, clip.phones, clip.fps) for clip in clips]).mean())
    pairs = [(a, b) for a in clips for b in clips if a is not b]
    real_r = float(np.mean([correlation(a.gap, b.gap) for a, b in pairs]))
    for name, score, unit, must, truth in (
        ("lip closure", "d", "SD", ">= 1.8", f"{real_d:.2f}"),
        ("lip closure, another's speech", "d, another", "SD", "<= 0.3", "-"),
        ("closed on /m b p/", "closed", "", ">= 0.90", f"{real_closed:.2f}"),
        ("closed on /m b p/, another's speech", "closed, another", "", "-", "-"),
        ("lip gap r", "r", "", ">= 0.50", "1"),
        ("lip gap r, another's speech", "r, another", "", "<= 0.25", f"{real_r:.2f} between real videos"),
        ("lip gap r in speech", "r spoken", "", "-", "1"),
        ("lip gap r in speech, another's", "r spoken, another", "", "-", "-"),
    ):
        how = f"GRID; performer {baseline[score]:.2f}; real {truth}"
        yield Figure(name, learned[score], unit, must, how)
    tracks = [read_track(clip.audio.with_suffix(".npz"))[0] for clip in clips]
    curves = [np.stack([t.get(c, np.zeros(len(t["jawOpen"]))) for c in ARKIT.channels], axis=1) for t in tracks]
    ratios = [np.mean([jitter_mm(m.values, head) for m in made]) for made in (motions, [s.performed for s in spoken])]
    jitter = float(np.mean([jitter_mm(curve.astype(np.float32), head) for curve in curves]))
    how = f"GRID, lips, against {jitter:.2f} mm per frame^3 of the real tracks; performer {ratios[1] / jitter:.2f}"
    yield Figure("jitter", float(ratios[0] / jitter), "x", "<= 1.5", how)
    rest = score_rest(model, encoder, styles[0], head)
    open_mm = float(np.mean([np.percentile(MM * head.lip_gap(motion.values), 90) for motion in motions]))
    worst = max(rest, key=lambda name: rest[name])
    how = "; ".join(f"{name} {value:.1f}" for name, value in rest.items()) + f"; in speech {open_mm:.1f} (90th)"
    yield Figure("lip gap without speech", rest[worst], "mm", "rests", f"95th percentile, worst of: {how}")


def _measure_exchange(model: TalkingModel, items: Sequence[Item], head: Head) -> Iterator[Figure]:
    scores = score_exchange(model, items, head)
    how = f"{len(items)} clips of held-out speakers; {{}}"
    eve = f"{scores['EVE exchanged']:.2f} mm of {scores['EVE distance']:.2f}; own style {scores['EVE own']:.2f} mm"
    ratio = scores["EVE exchanged"] / scores["EVE distance"]
    yield Figure("exchanged style: EVE / distance of the styles", ratio, "", "<= 0.35", how.format(eve))
    lve = f"{scores['LVE exchanged']:.2f} against {scores['LVE own']:.2f} mm"
    ratio = scores["LVE exchanged"] / scores["LVE own"]
    yield Figure("exchanged style: LVE / own style's", ratio, "", "<= 1.15", how.format(lve))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure a talking model.")
    parser.add_argument("--model", type=Path, required=True, metavar="WEIGHTS", help="safetensors of a talking model")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="folder that holds grid10/")
    parser.add_argument("--corpus", type=Path, nargs="*", default=[], metavar="PREPARED", help="prepared corpora")
    parser.add_argument("--held-out", nargs="*", default=[], metavar="NAME", help="recordings not trained on")
    options = parser.parse_args()
    try:
        model, corpora = load_talking_model(options.model), [Corpus(folder) for folder in options.corpus]
        print(markdown(measure_talking(model, options.real, corpora, options.held_out)))
    except AviError as error:
        sys.exit(f"talking: {error}")


if __name__ == "__main__":
    main()
