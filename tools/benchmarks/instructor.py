"""The shipped instructor: its speed, and what it writes of samples, sounds, readings and changed recordings."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from scipy.stats import binomtest

from avi_lib.corpus.adapters import scan_source
from avi_lib.instruction.instructor import Instructor, load_instructor
from avi_lib.instruction.instructor_network import stack
from avi_lib.speech.augment import SOUNDS, active_dbfs, draw_sound, room_tone
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import Voice
from avi_lib.training.instructor import emotion_shares
from tools.benchmarks.cross_corpus import CORPORA
from tools.benchmarks.measuring import ROOT, SAMPLES, Figure, Options, there

Wave = Float32[np.ndarray, " samples"]
SOUNDS_EACH = 10
SNR_DB, QUIET_DB = 20.0, 35.0
EVERY = 8
"""One clip of so many is read speech of the test, one of four times as many is changed."""
WRITTEN = 200
"""Recordings whose sentences are compared."""


def measure(options: Options) -> Iterator[Figure]:
    """Times, the samples and what is no speech; with real recordings also readings, changed and many of them."""
    shipped = load_instructor()
    yield from time_it(shipped)
    yield from judge_samples(shipped)
    yield from judge_sounds(shipped)
    if not there(options.real, "the instructor on real recordings"):
        return
    yield from judge_demo(shipped, options.demo or options.real / "demo_speech")
    yield from read_speech(shipped, options.real)
    yield from changed(shipped, options.real)
    yield from sentences(shipped, options.real)


def judge_samples(instructor: Instructor) -> Iterator[Figure]:
    """How many of the shipped samples are written with the emotion that they were made with; calm is as neutral."""
    with (SAMPLES / "index.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    said = {row["name"]: instructor.instruct(load_voice(SAMPLES / row["file"])).instruction.emotion for row in rows}
    alike = {name: "neutral" if emotion == "calm" else emotion for name, emotion in said.items()}
    right = sum(alike[row["name"]] == row["emotion"] for row in rows)
    words = ", ".join(f"{name} {emotion}" for name, emotion in said.items())
    yield Figure("samples written as they are meant", float(right), "", f">= {len(rows)}", f"of {len(rows)}: {words}")


def judge_sounds(instructor: Instructor) -> Iterator[Figure]:
    """Share of sounds that are no speech whose sentence is neutral and has a warning."""
    rng = np.random.default_rng(99)
    for kind in ("silence", *SOUNDS):
        right = []
        for _ in range(SOUNDS_EACH):
            seconds = float(rng.uniform(1.5, 6))
            wave = (
                np.zeros(round(seconds * RATE_HZ), np.float32) if kind == "silence" else draw_sound(seconds, rng, kind)
            )
            written = instructor.instruct(wave)
            right.append(written.instruction.emotion == "neutral" and bool(written.warnings))
        yield Figure(f"{kind}: neutral with a warning", float(np.mean(right)), "", "1", f"{SOUNDS_EACH} of 1.5 to 6 s")


def judge_demo(instructor: Instructor, folder: Path) -> Iterator[Figure]:
    """What is written of demonstration clips, whose names tell what they are."""
    wanted = {"anger": "angry", "neutral": "neutral", "joy": "happy"}
    for path in sorted(folder.glob("*.flac")):
        meant = next((emotion for word, emotion in wanted.items() if word in path.stem), None)
        written = instructor.instruct(load_voice(path).wave)
        likely = sorted(written.probabilities.items(), key=lambda pair: -pair[1])[:3]
        said = ", ".join(f"{name} {share:.2f}" for name, share in likely)
        right = float(written.instruction.emotion == meant)
        yield Figure(f"{path.stem}: read as {meant}", right, "", "1", f"{written.instruction.text} ({said})")


def time_it(instructor: Instructor, turns: int = 7) -> Iterator[Figure]:
    """Seconds for a clip of 5 s once loaded, seconds and memory of a process that does nothing else."""
    wave = load_voice(SAMPLES / "librivox.flac").wave[: 5 * RATE_HZ]
    took = []
    for _ in range(turns):
        begun = time.perf_counter()
        instructor.instruct(wave)
        took.append(time.perf_counter() - begun)
    yield Figure(
        "5 s to its sentence, loaded", float(np.median(took)), "s", "<= 1.2", f"{min(took):.2f} to {max(took):.2f}"
    )
    code = (
        "import pathlib, sys, time; begun = time.perf_counter()\n"
        "from avi_lib.cli import main\n"
        "main(['instruct', 'data/samples/angry.flac', '--json'])\n"
        "took = time.perf_counter() - begun\n"
        "lines = pathlib.Path('/proc/self/status').read_text().splitlines()\n"  # getrusage knows the parent's peak
        "peak = next(line.split()[1] for line in lines if line.startswith('VmHWM'))\n"
        "print(took, int(peak) / 1e6, file=sys.stderr)"
    )
    cold, memory = [], []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, used = map(float, done.stderr.split()[-2:])
        cold.append(seconds)
        memory.append(used)
    yield Figure("`avi instruct`, a process of its own", float(np.median(cold)), "s", "<= 5", "models in the cache")
    yield Figure("its memory", float(max(memory)), "GB", "<= 2", "largest resident set")


def read_speech(instructor: Instructor, real: Path) -> Iterator[Figure]:
    """Neutral reading of people that training did not have, or of the half that it did not have."""
    folders = {"grid10": sorted((real / "grid10").glob("*.wav")) + sorted((real / "grid10").glob("*.flac"))}
    found = [each.speech for each in scan_source("av_grid_s1", real / "av_grid_s1").recordings]
    folders |= {"av_grid_s1": [path for path in found[1::EVERY] if path is not None]}
    folders |= {"samples": [SAMPLES / "arctic.flac", SAMPLES / "librivox.flac"]}
    mild, other = dict[str, list[bool]](), list[bool]()
    for name, paths in folders.items():
        own = [instructor.instruct(load_voice(path)) for path in paths]
        mild[name] = [each.instruction.emotion in ("neutral", "calm") for each in own]
        other += [any(v > 0.6 for k, v in each.probabilities.items() if k not in ("neutral", "calm")) for each in own]
    every = [each for own in mild.values() for each in own]
    how = ", ".join(f"{name} {sum(own)} of {len(own)}" for name, own in mild.items())
    yield Figure(
        "read speech: neutral or calm", float(np.mean(every)), "", ">= 0.85", f"{share_interval(every)}; {how}"
    )
    name = "read speech: above 0.6 for another emotion"
    yield Figure(name, float(np.mean(other)), "", "<= 0.03", f"{share_interval(other)}, {len(other)} clips")


def share_interval(right: Sequence[bool]) -> str:
    """The 95 % interval of a share of clips."""
    found = binomtest(int(sum(right)), len(right)).proportion_ci(method="wilson")
    return f"{found.low:.2f} to {found.high:.2f}"


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
    waves = [load_voice(path).wave[: 12 * RATE_HZ] for path in _recordings(real)[:: EVERY * 4]]

    def heard(change: Callable[[Wave], Wave]) -> list[int]:
        features = [Voice(change(wave)).acoustic_features(instructor.encoder) for wave in waves]
        with torch.inference_mode():
            logits = [instructor.model.hear(stack([each])).logits for each in features]
        return list(emotion_shares(torch.cat(logits).double().numpy()).argmax(axis=1))

    plain = heard(lambda wave: wave)
    for name, change in (("silence is cut", _cut), (f"{SNR_DB:g} dB of noise are added", _noisy)):
        moved = [a != b for a, b in zip(plain, heard(change), strict=True)]
        words = f"{share_interval(moved)}, {len(waves)} clips"
        yield Figure(f"emotion changes when {name}", float(np.mean(moved)), "", "<= 0.08", words)


def _recordings(real: Path) -> list[Path]:
    found = (each.speech for name, adapter in CORPORA.items() for each in scan_source(adapter, real / name).recordings)
    return [path for path in found if path]


def sentences(instructor: Instructor, real: Path) -> Iterator[Figure]:
    """Whether sentences of recordings, spread over all corpora, differ and are understood."""
    paths = _recordings(real)
    chosen = [paths[int(number)] for number in np.linspace(0, len(paths) - 1, WRITTEN)]
    found = [instructor.instruct(load_voice(path)).instruction for path in chosen]
    understood = float(np.mean([bool(each.emotion) and not each.unknown for each in found]))
    yield Figure("sentences that are understood in full", understood, "", ">= 1", f"{len(found)} recordings")
    distinct = len({each.text for each in found})
    meant = len({(each.emotion, each.level, *sorted(each.action_units.items())) for each in found})
    yield Figure("different sentences", distinct, "", ">= 100", f"of {len(found)}; {meant} differ in meaning")
