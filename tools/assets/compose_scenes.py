"""Scenes: sentences of a raw corpus with pauses, breaths and other noises between them, each scene in its own room.

    python -m tools.assets.compose_scenes data/samples/corpus data/raw/scenes --scenes 200 --seed 1
    avi prepare table data/raw/scenes data/prepared/scenes

In: a corpus in the layout of the adapter `table` with phones for every clip. Out: another one, `index.csv`,
`phones.json` and `flac/`, in which all that is not speech has the phone SIL; one scene in five holds no speech at
all. What was done to a scene stands in the column `applied` as JSON. Each scene has its own random streams, so the
same command makes the same bytes with any number of processes, and goes on after an interruption.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32

from avi_lib.corpus.adapters import scan_source
from avi_lib.corpus.layouts import Recording, read_json, read_table
from avi_lib.errors import AviError, InputError
from avi_lib.files import atomic_path, file_sha256, make_folder
from avi_lib.speech import augment
from avi_lib.speech.augment import Room, active_dbfs, at_level, draw_room, gain, put_in_room
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import SILENCE, Phone, shift, tidy
from avi_lib.workers import result_of, worker_pool
from tools.assets import noises as noises_module
from tools.assets.noises import make_noise

SPEECHLESS_SHARE = 0.2
GAP_S = (0.2, 2.5)
LEVEL_DB = 4.0
"""A sentence is louder or softer than it was by this much at most."""
MARGIN_S = (0.05, 0.08)
"""Sound kept before the first and after the last phone of a sentence."""
QUIETEST_DBFS = -60.0
"""Scenes are this loud at least: `load_voice` refuses what is silent throughout."""

_NOISY_GAP, _CUT_GAP, _LEAST_NOISY_S = 0.5, 0.12, 0.45
_KINDS = {"breath": 0.5, "exhale": 0.1, "click": 0.12, "knock": 0.07, "keys": 0.07, "hiss": 0.07, "tone": 0.07}
_LASTS_S = {"click": (0.04, 0.15), "knock": (0.2, 0.8), "keys": (0.2, 0.9), "tone": (0.1, 0.9)}
_LASTS_S |= dict.fromkeys(("breath", "exhale", "hiss"), (0.2, 0.6))
_FADE = RATE_HZ // 100
_PACKAGES = ("numpy", "scipy", "soundfile", "soxr")


@dataclass(frozen=True)
class Sentence:
    """A clip of the source: its sound and digest, the samples that are used, and its phones within them in seconds."""

    recording: Recording
    licence: str
    origin: str
    digest: str
    first: int
    last: int
    phones: tuple[Phone, ...]

    @property
    def samples(self) -> int:
        """How many samples of it are used."""
        return self.last - self.first


class Noise(NamedTuple):
    """A short noise in a scene: its level is relative to the speech, or in dBFS where there is none."""

    kind: str
    start_s: float
    duration_s: float
    level_db: float


@dataclass(frozen=True)
class Scene:
    """The plan of a scene of `samples` samples.

    `said` holds each sentence with the sample it begins at and its gain in dB; `cuts_s` are spans of digital silence.
    `host` gives the speaker, also where nothing is said.
    """

    name: str
    host: Sentence
    said: tuple[tuple[Sentence, int, float], ...]
    noises: tuple[Noise, ...]
    cuts_s: tuple[tuple[float, float], ...]
    room: Room
    samples: int

    def phones(self) -> tuple[Phone, ...]:
        """Phones from 0 to the end, silence in the gaps."""
        spoken = [phone for sentence, start, _ in self.said for phone in shift(sentence.phones, start / RATE_HZ)]
        return tidy(spoken, self.samples / RATE_HZ)

    def row(self, sha256: str) -> dict[str, str]:
        """The scene's row of `index.csv`; emotion and level are empty where the sentences differ in emotion."""
        clips = [sentence.recording for sentence, _, _ in self.said]
        emotions, levels = {clip.emotion for clip in clips}, [clip.level for clip in clips if clip.level]
        labelled = len(emotions) == 1 and bool(levels)
        used = [sentence for sentence, _, _ in self.said] or [self.host]
        applied = {
            "sentences": [(s.recording.name, round(start / RATE_HZ, 4), gain_db) for s, start, gain_db in self.said],
            "noises": [noise._asdict() for noise in self.noises],
            "cuts_s": self.cuts_s,
            "room": asdict(self.room),
        }
        return {
            "clip": self.name,
            "speaker": self.host.recording.speaker,
            "gender": self.host.recording.gender or "",
            "emotion": (emotions.pop() or "") if labelled else "",
            "level": str(round(float(np.mean(levels)))) if labelled else "",
            "text": " ".join(clip.text for clip in clips if clip.text),
            "language": self.host.recording.language,
            "duration_s": repr(self.samples / RATE_HZ),
            "source": "; ".join(dict.fromkeys(s.origin for s in used)) if self.said else "noise made by rule",
            "licence": " and ".join(dict.fromkeys(s.licence for s in used)),
            "applied": json.dumps(applied, separators=(",", ":")),
            "sha256": sha256,
        }


class Composed(NamedTuple):
    """How many scenes there are, how many without speech, how many this run made, and how long all are.

    `left_out` counts clips of the source that are too long for a scene.
    """

    scenes: int
    speechless: int
    made: int
    minutes: float
    left_out: int


def compose_scenes(
    source: Path, destination: Path, scenes: int, seed: int, longest_s: float = 10.0, *, workers: int = 1
) -> Composed:
    """Make a raw corpus of scenes, none longer than `longest_s`, from a raw corpus of sentences.

    The source is in the layout of the adapter `table`, with `phones.json`; nothing is written there. The result does
    not depend on the number of `workers`, processes that work at a time.

    Raises:
        InputError: the source does not fit the adapter, one of its rows cannot be used or has no phones, all its
            sentences are too long, or the destination holds something else.
    """
    if scenes < 1 or seed < 0 or workers < 1 or not 2 <= longest_s <= 25:
        got = f"{scenes} scenes, seed {seed}, {longest_s:g} s, {workers} workers"
        raise InputError("a scene, a seed from 0, 2 to 25 s and a worker at least", got, "mend the number")
    known = read_sentences(source)
    sentences = [s for s in known if s.samples <= (longest_s - 2 * GAP_S[0]) * RATE_HZ]
    if not sentences:
        got = f"{min(s.samples for s in known) / RATE_HZ:.1f} s as the shortest sentence of {source}"
        raise InputError(f"sentences that fit into scenes of {longest_s:g} s", got, "allow longer scenes")
    plans = [plan_scene(sentences, number, seed, longest_s) for number in range(scenes)]
    listed = _claim(source, destination, _address(sentences, scenes, seed, longest_s))
    jobs = [(plan, destination / "flac" / f"{plan.name}.flac", (seed, i, 1)) for i, plan in enumerate(plans)]
    kept = {plan.name: file_sha256(path) for plan, path, _ in jobs if path.is_file()}
    waiting = [job for job in jobs if (name := job[0].name) not in kept or listed.get(name, kept[name]) != kept[name]]
    if workers == 1:
        kept |= dict(_write(*job) for job in waiting)
    else:
        with worker_pool(workers) as pool:
            kept |= dict(map(result_of, [pool.submit(_write, *job) for job in waiting]))
    if waiting or len(listed) != scenes:
        _publish(destination, plans, kept)
    minutes = sum(plan.samples for plan in plans) / RATE_HZ / 60
    return Composed(scenes, sum(not plan.said for plan in plans), len(waiting), minutes, len(known) - len(sentences))


def read_sentences(source: Path) -> list[Sentence]:
    """Every clip of a raw corpus as a sentence, in order of names; InputError as `compose_scenes` says."""
    scan = scan_source("table", source)
    for refusal in scan.refused:
        raise InputError("rows that can all be used", f"{refusal.name} in {source}: {refusal.reason}", "mend that row")
    rows = {row["clip"]: row for _, row in read_table(source / "index.csv", "clip")}
    sentences = []
    for recording in scan.recordings:
        phones, row = recording.phones or (), rows[recording.name]
        spoken = [phone for phone in phones if phone.phone != SILENCE]
        if recording.speech is None or not spoken:
            got = f"{recording.name} in {source} without"
            raise InputError("sound and spoken phones in phones.json for every clip", got, "add them or remove its row")
        until_s = max(phone.end_s for phone in phones)
        first = round(max(spoken[0].start_s - MARGIN_S[0], 0.0) * RATE_HZ)
        last = round(min(spoken[-1].end_s + MARGIN_S[1], until_s) * RATE_HZ)
        used, digest = tuple(shift(spoken, -first / RATE_HZ)), file_sha256(recording.speech)
        licence, origin = row.get("licence", ""), row.get("source", "")
        sentences.append(Sentence(recording, licence, origin, digest, first, last, used))
    return sentences


def plan_scene(sentences: Sequence[Sentence], number: int, seed: int, longest_s: float) -> Scene:
    """What scene `number` of a seed holds; each of the sentences is host once before one is it twice."""
    rng = np.random.default_rng((seed, number))
    turn, place = divmod(number, len(sentences))
    host = sentences[int(np.random.default_rng((seed, turn, 2**32)).permutation(len(sentences))[place])]
    name = f"scene_{number:05d}"
    if int((number + 1) * SPEECHLESS_SHARE) > int(number * SPEECHLESS_SHARE):
        return _speechless(name, host, longest_s, rng)
    chosen = _companions(host, sentences, longest_s, rng)
    said, noises, cuts, at = [], [], [], 0
    for i, gap in enumerate(_gaps(chosen, longest_s, rng)):
        chance, start_s, gap_s = rng.random(), at / RATE_HZ, gap / RATE_HZ
        if chance < _NOISY_GAP and gap_s >= _LEAST_NOISY_S:
            noises.append(_noise_in(start_s, gap_s, rng, speech_follows=i < len(chosen)))
        elif chance > 1 - _CUT_GAP:
            cuts.append((round(start_s + min(0.25, 0.4 * gap_s), 4), round(start_s + gap_s - 0.02, 4)))
        at += gap
        if i < len(chosen):
            said.append((chosen[i], at, round(float(rng.uniform(-LEVEL_DB, LEVEL_DB)), 2)))
            at += chosen[i].samples
    return Scene(name, host, tuple(said), tuple(noises), tuple(cuts), draw_room(rng), at)


def _companions(
    host: Sentence, sentences: Sequence[Sentence], longest_s: float, rng: np.random.Generator
) -> list[Sentence]:
    """The host and up to two more sentences of the speaker, of the same emotion where there are any, as time allows."""
    count = int(rng.choice((1, 2, 3), p=(0.3, 0.45, 0.25)))
    who = (host.recording.speaker, host.recording.language)
    others = [s for s in sentences if s is not host and (s.recording.speaker, s.recording.language) == who]
    pool = [s for s in others if s.recording.emotion == host.recording.emotion] or others
    chosen = [host]
    for i in rng.permutation(len(pool)):
        spoken = sum(s.samples for s in chosen) + pool[i].samples
        if len(chosen) < count and spoken + GAP_S[0] * RATE_HZ * (len(chosen) + 2) <= longest_s * RATE_HZ:
            chosen.append(pool[i])
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _gaps(chosen: Sequence[Sentence], longest_s: float, rng: np.random.Generator) -> list[int]:
    """Samples before, between and after the sentences; shorter than drawn where the scene would be too long."""
    least, most = GAP_S
    spare_s = (most - least) * rng.beta(1.0, 1.6, len(chosen) + 1)
    left_s = longest_s - sum(s.samples for s in chosen) / RATE_HZ - least * (len(chosen) + 1)
    spare_s *= min(1.0, max(left_s, 0.0) / max(float(spare_s.sum()), 1e-9))
    return [int((least + spare) * RATE_HZ) for spare in spare_s]


def _noise_in(gap_start_s: float, gap_s: float, rng: np.random.Generator, speech_follows: bool) -> Noise:
    """A noise within a gap; breath is drawn in just before somebody speaks."""
    kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
    duration_s = min(float(rng.uniform(*_LASTS_S[kind])), gap_s - 0.1)
    late_s = gap_s - duration_s
    if kind == "breath" and speech_follows:
        after_s = max(late_s - float(rng.uniform(0.02, 0.2)), 0.0)
    else:
        after_s = float(rng.uniform(0.05, max(late_s - 0.05, 0.05)))
    level_db = float(rng.uniform(-36.0, -14.0) if kind in ("breath", "exhale", "click") else rng.uniform(-34.0, 0.0))
    return Noise(kind, round(gap_start_s + after_s, 4), round(duration_s, 4), round(level_db, 2))


def _speechless(name: str, host: Sentence, longest_s: float, rng: np.random.Generator) -> Scene:
    """A scene in which nobody speaks: room tone, often with noises of one or two kinds."""
    duration_s = float(rng.uniform(2.0, min(8.0, longest_s)))
    kinds, noises, at_s = rng.choice(list(_KINDS), int(rng.integers(0, 3))), [], 0.1
    while len(kinds) and (at_s := at_s + float(rng.uniform(0.0, 1.2))) < duration_s - 1.0:
        kind = str(rng.choice(kinds))
        lasts_s = float(rng.uniform(*_LASTS_S[kind]))
        noises.append(Noise(kind, round(at_s, 4), round(lasts_s, 4), round(float(rng.uniform(-50.0, -18.0)), 2)))
        at_s += lasts_s
    room = replace(draw_room(rng), level_dbfs=None, tone_dbfs=round(float(rng.uniform(-62.0, -28.0)), 2))
    return Scene(name, host, (), tuple(noises), (), room, round(duration_s * RATE_HZ))


def render(scene: Scene, rng: np.random.Generator) -> Float32[np.ndarray, " samples"]:
    """The sound of a scene (samples,) within full scale; InputError when a sentence's sound cannot be used."""
    wave = np.zeros(scene.samples, np.float32)
    for sentence, start, gain_db in scene.said:
        wave[start : start + sentence.samples] = gain(_spoken(sentence), gain_db)
    reference_dbfs = active_dbfs(wave) if scene.said else 0.0
    for noise in scene.noises:
        sound = make_noise(noise.kind, noise.duration_s, reference_dbfs + noise.level_db, rng)
        start = round(noise.start_s * RATE_HZ)
        wave[start : start + len(sound)] += sound[: len(wave) - start]
    wave = put_in_room(wave, scene.room, rng)
    if active_dbfs(wave) < QUIETEST_DBFS:
        wave = at_level(wave, QUIETEST_DBFS)
    for start_s, end_s in scene.cuts_s:
        wave[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)] = 0.0
    return wave


def _spoken(sentence: Sentence) -> Float32[np.ndarray, " samples"]:
    """The samples of a sentence that are used, faded in and out; what the labels have beyond the sound is silent."""
    whole = _sound(sentence.recording.speech, sentence.digest)
    lacking = sentence.last - len(whole)
    if lacking > RATE_HZ // 10:
        got = f"{lacking / RATE_HZ:.2f} s beyond it in {sentence.recording.name}"
        raise InputError("phones that end with the sound", got, "mend phones.json")
    wave = np.pad(whole, (0, max(lacking, 0)))[sentence.first : sentence.last]
    ramp = np.sin(np.linspace(0, np.pi / 2, min(_FADE, len(wave) // 2), dtype=np.float32)) ** 2
    wave[: len(ramp)] *= ramp
    wave[len(wave) - len(ramp) :] *= ramp[::-1]
    return wave


@lru_cache(maxsize=512)
def _sound(path: Path, digest: str) -> Float32[np.ndarray, " samples"]:
    """The wave of a file that has this digest: a sentence may be in several scenes."""
    return load_voice(path).wave


def _write(scene: Scene, path: Path, stream: tuple[int, int, int]) -> tuple[str, str]:
    """Make the sound of a scene; its name and the digest of the file."""
    wave = render(scene, np.random.default_rng(stream))
    with atomic_path(path) as temporary:
        samples = np.round(wave * 32767).astype(np.int16)
        soundfile.write(temporary, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
    return scene.name, file_sha256(path)


def _address(sentences: Sequence[Sentence], scenes: int, seed: int, longest_s: float) -> str:
    """Digest of all that decides the bytes: sounds, labels, settings, code, versions."""
    code = [file_sha256(Path(path)) for path in (__file__, str(augment.__file__), noises_module.__file__)]
    versions = [importlib.metadata.version(package) for package in _PACKAGES]
    said = [str(replace(s, recording=replace(s.recording, speech=Path(), phones=()))) for s in sentences]
    content = [scenes, seed, longest_s, code, versions, said]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _claim(source: Path, destination: Path, address: str) -> dict[str, str]:
    """Make the destination, or see that it is ours; the digests by name of the scenes that its index lists."""
    inner, outer = destination.resolve(), source.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        got = f"{destination}, which is the source, in it or around it"
        raise InputError("a destination of its own", got, "name another folder")
    manifest, index = destination / "scenes.json", destination / "index.csv"
    held = read_json(manifest) if manifest.exists() else None
    if (held != {"address": address}) if held else destination.is_dir() and any(destination.iterdir()):
        got = f"{destination} with {'scenes of other sentences, settings or code' if held else 'other files'}"
        raise InputError("an empty folder or the same scenes", got, "name another folder, or remove that one")
    make_folder(destination / "flac")
    if not held:
        with atomic_path(manifest) as temporary:
            temporary.write_text(json.dumps({"address": address}) + "\n", "utf-8")
    rows = read_table(index, "clip", "sha256") if index.is_file() and (destination / "phones.json").is_file() else []
    return {row["clip"]: row["sha256"] for _, row in rows}


def _publish(destination: Path, plans: Sequence[Scene], digests: Mapping[str, str]) -> None:
    """Write `phones.json`, then the index."""
    labels = {
        plan.name: [("", p.phone, round(p.start_s, 7), round(p.end_s, 7)) for p in plan.phones()] for plan in plans
    }
    lines = (f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in labels.items())
    with atomic_path(destination / "phones.json") as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    rows = [plan.row(digests[plan.name]) for plan in plans]
    index = destination / "index.csv"
    with atomic_path(index) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Compose scenes and say what came of it."""
    parser = argparse.ArgumentParser(description="Make a raw corpus of scenes from a raw corpus of sentences.")
    parser.add_argument("source", type=Path, metavar="SOURCE", help="raw corpus: index.csv, phones.json and sounds")
    parser.add_argument("destination", type=Path, metavar="DEST", help="folder of the scenes")
    parser.add_argument("--scenes", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed gives other scenes")
    parser.add_argument("--longest-s", type=float, default=10.0, metavar="S", help="no scene lasts longer")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes")
    try:
        made = compose_scenes(**vars(parser.parse_args()))
    except AviError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{made.scenes} scenes, {made.speechless} without speech, {made.minutes:.1f} minutes; {made.made} made anew")
    if made.left_out:
        print(f"{made.left_out} sentences left out, too long")


if __name__ == "__main__":
    main()
