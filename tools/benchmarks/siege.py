"""A siege: damaged files, odd sentences, streams, kills, full disks and hostile paths, all drawn from one seed.

    python -m tools.benchmarks --only siege --siege 0.02

A reader may take what it is handed or refuse it by an error of ours in one line, within LIMIT_S, in bounded memory. A
writer leaves the whole new file, or the old one and nothing beside it. Whatever else happens counts as wrong and is
told on standard error. `--siege` scales all counts.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avi_lib.errors import AviError
from avi_lib.files import file_sha256, folder_files
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip
from tools.benchmarks import streams
from tools.benchmarks.damage import (
    CONTAINERS,
    JUNK,
    RATE_HZ,
    VIDEOS,
    encoded,
    fuzzed,
    mutated,
    mutated_archive,
    mutated_glb,
    mutated_json,
    mutated_text,
    picture_of,
    voice,
)
from tools.benchmarks.measuring import ROOT, SAMPLES, Figure, Options, own_peak_mb
from tools.benchmarks.runs import Killing

LIMIT_S, STUCK_S = 5.0, 60.0
"""Seconds that an attack may take, and after which it is broken off."""
GROWTH_MB = 1500.0
"""By which the largest resident set may grow in one part of the siege."""
MOST_LETTERS = 2000
PROGRAMMERS = re.compile(
    r"Traceback|Error\b|\[Errno|0x[0-9a-f]{6}|<class|NoneType|object has no|object is not|argument must be|subscript"
    r"|\bdtype\(|not enough values|unpack|codec can't|list index|pickle\b|literal for"
)
"""What a sentence for a person does not hold."""


def measure(options: Options) -> Iterator[Figure]:
    """Every part of the siege, one figure each."""

    def count(whole: int) -> int:
        return max(round(whole * options.siege), 1)

    folder = options.work / "siege"
    folder.mkdir()
    yield besiege("mutated sound files", sounds(count(2000), folder))
    yield besiege("mutated motion files", motions(count(1000), folder))
    yield besiege("mutated pictures and videos", pictures(count(500), folder))
    yield besiege("photographs and videos of a portrait", portraits(count(200), folder, options.work / "cache"))
    yield besiege("damaged files of weights", weights(count(300), folder))
    yield besiege("fuzzed instructions", sentences(count(10_000)))
    yield besiege("fuzzed instructions carried out", carried_out(count(300)))
    yield besiege("fuzzed timelines and parameters", parameters(count(2000), folder))
    yield besiege("live sources, clients and receivers", streams.attacks(count(600)))
    yield besiege("hostile paths", hostile_paths(count(200), folder))
    yield besiege("writers without room or permission", full_disks(folder))
    yield besiege("kills", kills(count(50), folder), stuck_s=600.0, limit_s=600.0)


Attack = tuple[str, Callable[[], object]]
"""What is tried, in words, and the trial; an AssertionError of the trial says what went wrong."""


class Stuck(BaseException):
    """Raised in an attack that does not end."""


def besiege(what: str, attacks: Iterable[Attack], stuck_s: float = STUCK_S, limit_s: float = LIMIT_S) -> Figure:
    """Carry out the attacks one by one; how many went wrong, and how the others ended.

    One that is slow is tried again: a machine may be busy with something else.
    """
    ends: Counter[str] = Counter()
    slowest_s, before_mb = 0.0, own_peak_mb()
    for name, attack in attacks:
        end, told, took_s = _tried(attack, stuck_s)
        if took_s > limit_s and end in ("taken", "refused"):
            end, told, took_s = _tried(attack, stuck_s)
        slowest_s = max(slowest_s, took_s)
        if took_s > limit_s and end in ("taken", "refused"):
            end, told = "slow", f"{took_s:.1f} s; {told}"
        ends[end] += 1
        if end not in ("taken", "refused"):
            print(f"{what}: {name}: {end}: {told!r:.600}", file=sys.stderr, flush=True)
    grown_mb = own_peak_mb() - before_mb
    wrong = sum(count for end, count in ends.items() if end not in ("taken", "refused")) + (grown_mb > GROWTH_MB)
    counts = ", ".join(f"{number} {end}" for end, number in sorted(ends.items()))
    how = f"of {sum(ends.values())}: {counts}; slowest {slowest_s:.1f} s, memory up by {grown_mb:.0f} MB"
    return Figure(f"{what} that go wrong", wrong, "", "<= 0", how)


def _tried(attack: Callable[[], object], stuck_s: float) -> tuple[str, str, float]:
    """How an attack ended, what was told, and the seconds that it took."""

    def stuck(*_: object) -> None:
        raise Stuck

    handler, begun = signal.signal(signal.SIGALRM, stuck), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, stuck_s)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            attack()
        end, told = "taken", ""
    except AviError as error:
        end, told = refusal(str(error)), str(error)
    except AssertionError as error:
        end, told = "broken promise", str(error)
    except (Exception, Stuck, SystemExit) as error:
        end, told = "foreign exception", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    return end, told, time.monotonic() - begun


def refusal(told: str) -> str:
    """Whether what an error says is one line for a person."""
    if len(told.splitlines()) != 1 or not told.isprintable():
        return "not one printable line"
    if len(told) > MOST_LETTERS:
        return "an endless line"
    return "a programmer's words" if PROGRAMMERS.search(told) else "refused"


# Files that are handed in.


def sounds(count: int, folder: Path) -> Iterator[Attack]:
    """Recordings in ten containers."""
    from avi_lib.speech.loading import load_voice

    whole = {suffix: encoded(*how, voice(0.6)) for suffix, how in CONTAINERS.items()}

    def load(path: Path) -> None:
        wave = load_voice(path).wave
        assert np.isfinite(wave).all() and np.abs(wave).max() <= 1, "a wave that is not within 1"

    yield from _files(count, folder, whole, {}, load, seed=1)


def _files(
    count: int,
    folder: Path,
    whole: Mapping[str, bytes],
    ways: Mapping[str, Callable[[bytes, np.random.Generator], bytes]],
    load: Callable[[Path], object],
    seed: int,
) -> Iterator[Attack]:
    """Files by turns of every kind, damaged in the way of their kind or byte by byte; one place for all of a kind."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        kind = list(whole)[number % len(whole)]
        way = ways.get(kind, mutated) if rng.random() < 0.7 else mutated
        path = folder / f"{seed}.{kind}"
        path.write_bytes(way(whole[kind], rng))

        def attack(path: Path = path) -> None:
            try:
                load(path)
            finally:
                left = [each.name for each in folder.iterdir() if each != path]
                assert not left, f"left {left}"

        yield f"{kind} number {number}", attack
        path.unlink()


def clips() -> dict[str, MotionClip]:
    """A second of motion in either space."""
    rng = np.random.default_rng(5)
    times = np.sin(np.linspace(0, 9, 30))[:, None] * 0.3 + 0.4
    return {
        space.name: MotionClip(np.float32(times * rng.uniform(0, 1, len(space))), 25.0, space)
        for space in (ARKIT, FLAME)
    }


def motions(count: int, folder: Path) -> Iterator[Attack]:
    """Motion in every format that is read; what is taken is resampled and written again."""
    from avi_lib.motion.formats import load_motion, save_motion

    made = clips()
    whole = {}
    for name, clip in {"npz": "ARKIT", "f.npz": "FLAME", "csv": "ARKIT", "glb": "ARKIT", "bvh": "ARKIT"}.items():
        save_motion(made[clip], path := folder / f"whole.{name}")
        whole[name] = path.read_bytes()
        path.unlink()
    size = int.from_bytes(whole["glb"][12:16], "little")
    document, rest = json.loads(whole["glb"][20 : 20 + size]), whole["glb"][28 + size :]
    import base64

    document["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(rest).decode()
    whole["gltf"] = json.dumps(document).encode()

    def load(path: Path) -> None:
        clip = load_motion(path)
        assert np.isfinite(clip.values).all() and len(clip), "motion that is not finite"
        try:
            for suffix in (".npz", ".csv", ".bvh"):
                save_motion(clip.at_fps(25.0), folder / f"again{suffix}")
        finally:
            for again in folder.glob("again.*"):
                unclear = again.suffix == ".csv" and clip.duration_s <= 1  # timecodes show no rate within a second
                with suppress(AviError) if unclear else nullcontext():
                    assert load_motion(again).space is clip.space
                again.unlink()

    ways = {"npz": mutated_archive, "f.npz": mutated_archive, "csv": mutated_text, "bvh": mutated_text}
    ways |= {"glb": mutated_glb, "gltf": lambda c, rng: json.dumps(mutated_json(json.loads(c), rng)).encode()}
    yield from _files(count, folder, whole, ways, load, seed=2)


def pictures(count: int, folder: Path) -> Iterator[Attack]:
    """Pictures, and videos of ten pictures."""
    from avi_lib.face.tracking import pictures_of
    from avi_lib.wall import behind_wall

    whole = {suffix: encoded(*how, None) for suffix, how in VIDEOS.items()}
    noise = np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8)
    for suffix in ("png", "jpeg", "webp"):
        Image.fromarray(noise).save(file := io.BytesIO(), suffix)
        whole |= {suffix: file.getvalue()}

    def load(path: Path) -> None:
        if path.suffix[1:] in VIDEOS:
            for _ in pictures_of(path):
                pass
            return
        terms = {"name": path.name, "expected": "a PNG, JPEG or WebP picture", "do": "save it again as PNG"}
        list(behind_wall(picture_of, str(path), **terms))

    yield from _files(count, folder, whole, {}, load, seed=3)


def weights(count: int, folder: Path) -> Iterator[Attack]:
    """Shipped weights, heads and a checkpoint; one half is damaged in the header."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    from avi_lib.face.head import load_head
    from avi_lib.instruction.instructor_network import load_instructor_model
    from avi_lib.motion.generator import load_talking_model
    from avi_lib.motion.prior import load_prior
    from avi_lib.training.loop import load_checkpoint, save_checkpoint
    from tools.benchmarks.judge import load_judge

    assets = ROOT / "avi_lib" / "assets"
    network = torch.nn.Linear(4, 4)
    average, optimizer = AveragedModel(network), torch.optim.AdamW(network.parameters(), fused=True)
    network(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    save_checkpoint(kept := folder / "c.ckpt", 3, "recipe", network, average, optimizer)
    whole = {f"{name}.safetensors": (assets / f"{name}.safetensors").read_bytes() for name in _WEIGHTS}
    whole |= {"head.npz": (assets / "head_open.npz").read_bytes(), "ckpt": kept.read_bytes()}
    kept.unlink()

    def checkpoint(path: Path) -> None:
        load_checkpoint(path, "recipe", network, average, optimizer)

    loaders = dict(zip(_WEIGHTS, (load_talking_model, load_prior, load_instructor_model, load_judge), strict=True))
    loaders |= {"head": load_head, "ckpt": checkpoint}

    def load(path: Path) -> None:
        loaders[path.name.split(".")[1]](path)

    ways = dict.fromkeys(whole, _renamed)
    yield from _files(count, folder, whole, {**ways, "head.npz": mutated_archive}, load, seed=4)


_WEIGHTS = ("talking", "prior", "instructor", "judge")


def _renamed(content: bytes, rng: np.random.Generator) -> bytes:
    """A file of weights with another header, or with other words of ours in it."""
    size = int.from_bytes(content[:8], "little")
    try:
        head = json.loads(content[8 : 8 + size])
        if rng.integers(0, 2):
            meta = head.setdefault("__metadata__", {})
            meta["avi"] = json.dumps(mutated_json(json.loads(meta.get("avi", "{}")), rng))
        else:
            head = mutated_json(head, rng)
        text = json.dumps(head).encode()
    except ValueError:
        text = content[8 : 8 + size]
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def portraits(count: int, folder: Path, cache: Path) -> Iterator[Attack]:
    """Photographs, neural renderers and videos of a face; what is taken is tracked, drawn, and drawn by networks."""
    import torch

    from avi_lib.face.portrait import load_photo, load_portrait, portrait_of
    from avi_lib.face.portrait_networks import SIZES, save_networks, untrained
    from avi_lib.models import cache_folder
    from avi_lib.settings import RenderSettings
    from avi_lib.training.portrait_data import parts_of
    from tools.benchmarks.portrait import photograph

    if (photo := photograph()) is None:
        return
    with Image.open(photo) as whole_photo:
        small = whole_photo.convert("RGB").resize((176, 208))
    rgb, small_size, whole = np.asarray(small), RenderSettings(size=64), {}
    for suffix in ("png", "jpeg", "webp"):
        small.save(file := io.BytesIO(), suffix)
        whole[suffix] = file.getvalue()
    networks = untrained(replace(SIZES["tiny"], photo=rgb.shape[:2])).eval()
    networks.photo.copy_(torch.from_numpy(rgb.copy()).float())
    save_networks(networks, path := folder / "me.safetensors", {})
    whole |= {"safetensors": path.read_bytes(), "mp4": encoded(*VIDEOS["mp4"], None, [rgb] * 30)}
    path.unlink()
    asked = clips()["ARKIT"].at([0, 20])

    def load(path: Path) -> None:
        if path.suffix == ".mp4":
            parts_of([path])
            return
        if path.suffix == ".safetensors":
            portrait = load_portrait(path, small_size)
        else:
            portrait = replace(portrait_of(load_photo(path), path, small_size, answered=False), networks=networks)
        with portrait.rasteriser() as rasteriser:
            drawn = list(portrait.refined(asked, rasteriser.draw_all(portrait.move(asked))))
        assert [each.shape for each in drawn] == [portrait.backdrop.shape] * 2, "pictures of another size"

    before = os.environ.get("AVI_CACHE")
    cache.mkdir()
    (cache / "models").symlink_to(cache_folder() / "models")
    os.environ["AVI_CACHE"] = str(cache)
    try:
        yield from _files(count, folder, whole, {"safetensors": _renamed}, load, seed=8)
    finally:
        os.environ.pop("AVI_CACHE") if before is None else os.environ.update(AVI_CACHE=before)


# Texts.


def sentences(count: int) -> Iterator[Attack]:
    """Instructions through the parser."""
    from avi_lib.instruction.instruction import Instruction, expression_targets

    def parse(text: str) -> None:
        found = Instruction.parse(text)
        targets = expression_targets(found)
        assert all(np.isfinite(value) for value in targets.values()), "targets that are not finite"
        assert Instruction.parse(found.text) == found, "another reading of the text as it was understood"

    for number in range(count):
        text = fuzzed(np.random.default_rng([6, number]))
        yield f"{text!r:.200}", partial(parse, text)


def carried_out(count: int) -> Iterator[Attack]:
    """Instructions to the motion of one recording."""
    from avi_lib.instruction.instruction import Instruction
    from avi_lib.talker import Talker

    with Talker() as talker:
        first = talker.listen(SAMPLES / "happy.flac", Instruction.parse("She is calm."))

        def carry_out(text: str) -> None:
            motion = talker.direct(first, Instruction.parse(text)).motion
            limited = ARKIT.limited(motion.values)
            assert np.isfinite(motion.values).all() and np.allclose(motion.values, limited), "motion beyond the limits"

        for number in range(count):
            text = fuzzed(np.random.default_rng([7, number]))
            yield f"{text!r:.200}", partial(carry_out, text)


def parameters(count: int, folder: Path) -> Iterator[Attack]:
    """Timelines, settings, parameters of runs and manifests."""
    from avi_lib.instruction.instruction import load_timeline
    from avi_lib.settings import SampleSettings, TalkSettings, TrainSettings, validated
    from avi_lib.talker import parse_source
    from avi_lib.workbook.run import MANIFEST, read_manifest, value_of

    timeline = json.loads((SAMPLES / "timeline.json").read_text("utf-8"))
    manifest = {"format": 2, "parameters": {"00_a": {"SEED": 0}}, "environment": {}, "stages": {}, "packages": {}}
    manifest |= {"library": "0", "failure": None}

    def read(path: Path) -> None:
        shares = load_timeline(path).weights(50, 25.0)
        assert np.allclose(shares.sum(axis=1), 1, atol=1e-5), "weights that do not add up to 1"

    def junk(rng: np.random.Generator) -> Any:
        return JUNK[rng.integers(0, len(JUNK))]

    for number in range(count):
        rng = np.random.default_rng([8, number])
        path = folder / "timeline.json"
        if number % 2:
            text = json.dumps(mutated_json(timeline, rng)).encode()
            path.write_bytes(text if rng.random() < 0.7 else mutated(text, rng))
            yield f"timeline number {number}", partial(read, path)
        elif number % 4:
            kind = (TalkSettings, SampleSettings, TrainSettings)[rng.integers(0, 3)]
            name = list(kind.model_fields)[rng.integers(0, len(kind.model_fields))]
            value = junk(rng)
            yield f"{name}={value!r:.80}", partial(validated, kind, **{name: value})
        elif number % 8:
            text, default = str(junk(rng)), (1, 0.5, True, "x", None, [1], {"a": 1})[rng.integers(0, 7)]
            name = ("SEED", "SIZE", "PROFILE", "X")[rng.integers(0, 4)]
            yield f"-p {name}={text!r:.80}", partial(value_of, name, text, default)
            yield f"--lips {text!r:.80}", partial(parse_source, text)
        else:
            (folder / MANIFEST).write_text(json.dumps(mutated_json(manifest, rng)), "utf-8")
            yield f"manifest number {number}", partial(read_manifest, folder)
            (folder / MANIFEST).unlink()
        path.unlink(missing_ok=True)


# Paths out of the folder.


class Watch:
    """What the system sees in a folder: files that are opened, made, changed or removed there; Linux only."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.events = libc.inotify_init1(os.O_NONBLOCK)
        opened, modified, created, deleted, moved = 0x20, 0x2, 0x100, 0x200, 0xC0
        number = libc.inotify_add_watch(self.events, os.fsencode(folder), opened | modified | created | deleted | moved)
        if self.events < 0 or number < 0:
            raise AviError("inotify, to watch a folder", os.strerror(ctypes.get_errno()), "run it on Linux")

    def seen(self) -> list[str]:
        """Names of files that were touched since the last call."""
        with suppress(BlockingIOError):
            names, data = [], os.read(self.events, 1 << 20)
            while data:
                size = int.from_bytes(data[12:16], sys.byteorder)
                names.append(data[16 : 16 + size].rstrip(b"\0").decode())
                data = data[16 + size :]
            return sorted({name for name in names if name})
        return []


def hostile_paths(count: int, folder: Path) -> Iterator[Attack]:
    """Names that lead out of a folder, wherever a stranger's file may name another one."""
    outside, inside = folder / "outside", folder / "inside"
    outside.mkdir()
    _treasure(outside)
    attacks = _hostile_attacks(outside, inside)
    watch = Watch(outside)
    for number in range(count):
        rng = np.random.default_rng([9, number])
        kind = list(attacks)[number % len(attacks)]
        while inside.exists():  # a kernel that ends may still write there
            shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir()
        treasure = sorted(outside.iterdir())
        before = folder_files(outside).keys()
        suited = [each for each in treasure if each.suffix in _SUITED.get(kind, each.suffix)]
        path = suited[rng.integers(0, len(suited))]
        named = _ways_out(path, inside, rng, kind not in ("table", "captions"))  # a corpus may be linked together
        watch.seen()

        def attack(kind: str = kind, path: Path = path, named: str = named, before: Any = before) -> None:
            try:
                attacks[kind](named, path.suffix)
            finally:
                assert not (touched := watch.seen()), f"touched {touched} outside"
                assert folder_files(outside).keys() == before, "files outside that were not there, or are gone"

        yield f"{kind}: {named!r:.200}", attack
    shutil.rmtree(outside)
    shutil.rmtree(inside)


_SUITED = {
    "obj": (".mtl", ".png"), "gltf": (".bin", ".png"), "table": (".wav", ".npz"), "captions": (".wav",),
    "archive": (".npz",), "playlist": (".wav",), "corpus": (".safetensors",),
}  # fmt: skip
"""Suffixes of what such a file may name."""


def _treasure(folder: Path) -> None:
    """Files of every kind that something could be made to read."""
    from avi_lib.motion.formats import save_motion

    Image.new("RGB", (8, 8), "red").save(folder / "secret.png")
    (folder / "secret.wav").write_bytes(encoded("wav", "pcm_s16le", voice(0.5)))
    (folder / "secret.mtl").write_text("newmtl face\nKd 1 0 0\nmap_Kd secret.png\n")
    (folder / "secret.bin").write_bytes(bytes(1 << 20))
    save_motion(clips()["ARKIT"], folder / "secret.npz")
    shutil.copy(ROOT / "avi_lib" / "assets" / "judge.safetensors", folder / "secret.safetensors")


def _ways_out(path: Path, inside: Path, rng: np.random.Generator, linked: bool) -> str:
    """One of the ways to name a file outside of a folder; over links only where they are laid."""
    name = path.name
    if linked:
        (inside / "way").symlink_to(path.parent)
        (inside / f"link{path.suffix}").symlink_to(path)
    ways = [
        f"../outside/{name}", f"../../outside/{name}", f"..//outside//{name}", f"..\\outside\\{name}", f"{path}",
        f"a/../../outside/{name}", f"%2e%2e/outside/{name}", f"..%2foutside%2f{name}", f"\u2025/outside/{name}",
        f"way/{name}", f"link{path.suffix}", f"./way/../outside/{name}", f"/proc/self/root{path}", f"file://{path}",
        f"../outside/{name}\0.png", f"{path}#x", f"~/../{path}", f"../outside/{name} ", f"|cat {path}", f"{path}",
    ]  # fmt: skip
    return ways[rng.integers(0, len(ways))]


def _hostile_attacks(outside: Path, inside: Path) -> dict[str, Callable[[str, str], object]]:
    """What names other files, by kind: each takes a name and the suffix of what it names."""
    from avi_lib.corpus.adapters import scan_source
    from avi_lib.corpus.dataset import FORMAT, ClipEntry, Corpus, Part, save_part
    from avi_lib.face.head import load_any_head, load_head
    from avi_lib.instruction.instruction import load_timeline
    from avi_lib.motion.formats import load_motion, save_motion
    from avi_lib.speech.loading import load_voice
    from avi_lib.workbook.run import MANIFEST, resume_run, verify_run
    from tools.benchmarks.runs import write_workbook

    triangle = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
    save_motion(clips()["ARKIT"], inside.with_suffix(".glb"))
    glb = inside.with_suffix(".glb").read_bytes()
    inside.with_suffix(".glb").unlink()
    size = int.from_bytes(glb[12:16], "little")
    document, rest = json.loads(glb[20 : 20 + size]), glb[28 + size :]

    def obj(named: str, suffix: str) -> None:
        library = named if suffix == ".mtl" else "face.mtl"
        (inside / "face.mtl").write_text(f"newmtl face\nmap_Kd {named}\n", "utf-8")
        for name in ("neutral", "jawOpen"):
            text = f"mtllib {library}\n{triangle}usemtl face\nf 1/1 2/2 3/3\n"
            (inside / f"{name}.obj").write_text(text.replace("v 1", "v 2") if name == "jawOpen" else text, "utf-8")
        load_any_head(str(inside))

    def gltf(named: str, suffix: str) -> None:
        changed = json.loads(json.dumps(document))
        changed["buffers"][0]["uri"] = "head.bin" if suffix == ".png" else named
        if suffix == ".png":
            (inside / "head.bin").write_bytes(rest)
            changed["images"] = [{"uri": named}]
            changed["buffers"][0]["byteLength"] = len(rest)
        (inside / "head.gltf").write_text(json.dumps(changed), "utf-8")
        if suffix == ".png":
            load_any_head(str(inside / "head.gltf"))
        load_motion(inside / "head.gltf")

    def table(named: str, suffix: str) -> None:
        import csv

        with (inside / "index.csv").open("w", newline="", encoding="utf-8") as stream:
            rows = [
                ["clip", "file", "motion", "text"],
                ["a", named, "", "x"],
                ["b", "", named, "x"],
                [named, "", "", "x"],
            ]
            csv.writer(stream).writerows(rows)
        scan_source("table", inside)

    def captions(named: str, suffix: str) -> None:
        (inside / "captions.json").write_text(json.dumps({named: "She is calm."}), "utf-8")
        scan_source("captioned", inside)

    def archive(named: str, suffix: str) -> None:
        for motion, name in ((True, "motion.npz"), (False, "head.npz")):
            with zipfile.ZipFile(inside / name, "w") as packed:
                for member in ("values", "fps", named.replace("\0", "")):
                    packed.writestr(f"{member}.npy" if member in ("values", "fps") else member, b"x" * 100)
            with suppress(AviError):
                (load_motion if motion else load_head)(inside / name)

    def playlist(named: str, suffix: str) -> None:
        lines = (
            "#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile '{}'\n",
            "[playlist]\nFile1={}\n",
        )
        for text in lines:
            (inside / "list.wav").write_text(text.format(named), "utf-8")
            with suppress(AviError):
                load_voice(inside / "list.wav")

    def manifest(named: str, suffix: str) -> None:
        root = write_workbook(inside / "root", 1, 1, 0.0)
        run = root / "run"
        run.mkdir()
        held = {"format": 2, "library": "0", "packages": {}, "environment": {}, "failure": None, "system": {}}
        stage = {"address": "0", "inputs": {}, "outputs": {named: "0" * 64}, "seconds": 1.0, "cells": []}
        held |= {"parameters": {"00_work": {"SEED": 0, "OUT": named}}, "stages": {"00_work": stage}}
        (run / MANIFEST).write_text(json.dumps(held), "utf-8")
        verify_run(run, root)

    def resumed(named: str, suffix: str) -> None:
        root = write_workbook(inside / "root", 1, 1, 0.0)
        run = root / "run"
        run.mkdir()
        held = {"format": 2, "library": "0", "packages": {}, "environment": {}, "failure": None, "system": {}}
        held |= {"parameters": {named: {"SEED": 0, "OUT": named}}, "stages": {}}
        (run / MANIFEST).write_text(json.dumps(held), "utf-8")
        resume_run(run, root)

    def corpus(named: str, suffix: str) -> None:
        plain = {"str": "x", "int": 0, "float": 1.0, "bool": True, "tuple[str, ...]": (), "tuple[int, ...]": ()}
        values = {each.name: plain.get(str(each.type)) for each in fields(ClipEntry)}
        values |= {"shard": named.removesuffix(suffix), "frames": 2, "features": 2, "scripts": ("x/0",)}
        entry = ClipEntry(**values)
        (inside / "index").mkdir(exist_ok=True)
        save_part(inside, "train", "x", Part((entry,), ()))
        described = {
            "format": FORMAT,
            "adapter": "table",
            "source": "x",
            "settings": {},
            "features": {},
            "space": "ARKIT",
        }
        (inside / "corpus.json").write_text(json.dumps(described), "utf-8")
        Corpus(inside).features(Corpus(inside).clips[0])

    def timeline(named: str, suffix: str) -> None:
        (inside / "timeline.json").write_text(json.dumps([{"at_s": 0, "instruction": named}]), "utf-8")
        load_timeline(inside / "timeline.json")

    each = (obj, gltf, table, captions, archive, playlist, manifest, resumed, corpus, timeline)
    return {attack.__name__: attack for attack in each}


# Writers.


def full_disks(folder: Path) -> Iterator[Attack]:
    """Every writer where files may have no byte, a half of theirs, or the folder may not be written."""
    for each in (folder.parent, folder):
        each.chmod(0o755)  # else nobody but root would get as far
    for name, suffix, write in _writers():
        whole = folder / f"whole{suffix}"
        write(whole)
        size = max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0)
        room = folder / "room"
        for left, state in (
            (0, "no byte left"),
            (size // 2, "half of its bytes left"),
            (None, "a folder to be read only"),
        ):
            for old in (False, True):
                _clear(room)
                room.mkdir()
                place = room / f"x{suffix}"
                if old and suffix:
                    place.write_bytes(b"old")
                yield f"{name}, {state}", partial(_denied, write, place, left)
        _clear(room)
        for path in folder.iterdir():
            _clear(path)


def _denied(write: Callable[[Path], object], place: Path, left: int | None) -> None:
    """The writer fails by an error of ours, and leaves what was there and nothing else."""
    before = {name: path.read_bytes() for name, path in folder_files(place.parent).items()}
    try:
        with _room_for(left, place.parent):
            write(place)
    finally:
        after = {name: path.read_bytes() for name, path in folder_files(place.parent).items()}
        others = sorted({str(path.relative_to(place.parent)) for path in place.parent.rglob("*")} - after.keys())
        assert after == before, f"{sorted(after)} of {[len(each) for each in after.values()]} bytes are left"
        assert not others, f"{others} are left"
    raise AssertionError("nothing was said")


@contextmanager
def _room_for(left: int | None, folder: Path) -> Iterator[None]:
    """Files of at most so many bytes, or a folder that may not be written where None."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    root = os.geteuid() == 0
    try:
        if left is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))
        else:
            folder.chmod(0o555)
            if root:  # may write everywhere
                os.seteuid(65_534)
        yield
    finally:
        if left is None and root:
            os.seteuid(0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        folder.chmod(0o755)


def _clear(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _writers() -> list[tuple[str, str, Callable[[Path], object]]]:
    """Name, suffix of the file (none for a folder) and the writer, for a path that it is given."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    from avi_lib.corpus.dataset import save_shard
    from avi_lib.evaluation.report import Report
    from avi_lib.face.head import load_head
    from avi_lib.face.video import save_picture, write_video
    from avi_lib.files import cached, write_file
    from avi_lib.heads.flame import save_flame_npz
    from avi_lib.motion.formats import save_motion, writable_here
    from avi_lib.training.loop import save_checkpoint
    from avi_lib.weights import save_weights
    from avi_lib.workbook.run import record

    head, made, network = load_head(), clips(), torch.nn.Linear(64, 64)
    short = made["ARKIT"].at(range(4))
    average, optimizer = AveragedModel(network), torch.optim.AdamW(network.parameters(), fused=True)
    shades = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
    arrays = {"x": np.zeros((100, 100), np.float32)}

    writers = [
        (f"motion {suffix}", suffix, lambda path: save_motion(made["ARKIT"], path, head)) for suffix in writable_here()
    ]
    writers += [
        ("motion as OBJ", "", lambda path: save_motion(short, path, head)),
        ("FLAME coefficients", ".npz", lambda path: save_motion(made["FLAME"], path)),
        ("FLAME model", ".npz", partial(save_flame_npz, arrays)),
        ("picture", ".png", partial(save_picture, shades[0])),
        ("mp4", ".mp4", lambda path: write_video(path, shades, 25.0, voice(0.4), RATE_HZ)),
        ("webm", ".webm", lambda path: write_video(path, shades, 25.0, voice(0.4), RATE_HZ)),
        ("weights", ".safetensors", lambda path: save_weights(network, path, {})),
        ("checkpoint", ".safetensors", lambda path: save_checkpoint(path, 1, "x", network, average, optimizer)),
        ("partition", ".parquet", lambda path: write_file(path, bytes(10_000))),
        ("shard", ".safetensors", lambda path: save_shard(path, arrays)),
        ("record", "", lambda path: record(path.parent, loss=1.0)),
        ("cache", "", lambda path: cached(path.parent, {}, lambda: arrays)),
        ("report", ".html", lambda path: Report("Scores", {}).write_html(path)),
    ]
    return writers


# Kills.


def kills(count: int, folder: Path) -> Iterator[Attack]:
    """SIGKILL at random instants of batches, preparations, trainings and runs of notebooks."""
    works: list[Any] = [_Work(name, folder / name) for name in ("talk", "prepare", "train")]
    running = Killing(folder, np.random.default_rng(10)) if count >= 4 else None
    for number in range(count):
        if running and number % 4 == 3:

            def attack(number: int = number) -> None:
                fine, story = running.kill(number, ("kernel", "run")[number // 4 % 2])
                assert fine, story

            yield f"run number {number}", attack
        else:
            work = works[number % 4 % 3]
            yield f"{work.name} number {number}", partial(work.kill, np.random.default_rng([11, number]))
    for path in folder.iterdir():
        _clear(path)


class _Work:
    """A command whose results repeat; it is measured undisturbed when it is first needed."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.turn = name, folder, 0
        (source := folder / "source").mkdir(parents=True)
        rows = (SAMPLES / "corpus" / "index.csv").read_text("utf-8").splitlines()[:4]
        (source / "index.csv").write_text("\n".join(rows) + "\n", "utf-8")
        for row in rows[1:]:
            shutil.copy(SAMPLES / "corpus" / "flac" / f"{row.split(',')[0]}.flac", source)
        self.expected: dict[str, object] = {}
        self.whole_s = 0.0

    def start(self, place: Path) -> subprocess.Popen:
        talk = "talk SOURCE -o PLACE --motion PLACE --size 64 --generator performer --instruction happy"
        prepare = "prepare table SOURCE PLACE --workers 1 --scripts 1 --texts 1"
        words = {"talk": talk, "prepare": prepare, "train": "PLACE"}[self.name].split()
        filled = [{"SOURCE": str(self.folder / "source"), "PLACE": str(place)}.get(word, word) for word in words]
        module = "tools.benchmarks.siege" if self.name == "train" else "avi_lib"
        streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-m", module, *filled], cwd=ROOT, **streams)

    def finish(self, place: Path) -> dict[str, object]:
        """Carry it out to its end; digests of what it leaves."""
        with self.start(place) as process:
            said = process.communicate()[1]
        assert process.returncode == 0, f"exit {process.returncode}: {said}"
        return self.digests(place)

    def digests(self, place: Path) -> dict[str, object]:
        """Files but those in the making, times and notes of what was read when."""
        held = folder_files(place) if place.is_dir() else {}
        passed = ("log.jsonl", "sources.json")
        return {n: file_sha256(p) for n, p in held.items() if p.name[0] != "." and p.name not in passed}

    def kill(self, rng: np.random.Generator) -> None:
        """Kill it, look at what is there, carry it out again."""
        if not self.expected:
            begun = time.monotonic()
            self.expected = self.finish(self.folder / "whole")
            self.whole_s = time.monotonic() - begun
        self.turn += 1
        place = self.folder / f"{self.turn}"
        with self.start(place) as process:
            time.sleep(float(rng.uniform(0.2, 1.0)) * self.whole_s)
            process.kill()
            process.communicate()
        half = self.digests(place)
        torn = [name for name, digest in half.items() if self.name == "talk" and self.expected.get(name) != digest]
        assert not torn, f"half-written {torn}"
        done = {name.split("-")[1] for name in half if name.startswith("index/")}
        shards = {name for name in half if name.startswith("shards/") and name[7:39] in done}
        assert all(self.expected.get(name) == half[name] for name in shards), "shards that differ"
        touched = {name: (place / name).stat().st_mtime_ns for name in shards}
        after = self.finish(place)
        assert after == self.expected, f"other than undisturbed: {sorted(after.items() ^ self.expected.items())}"
        redone = [name for name, then in touched.items() if (place / name).stat().st_mtime_ns != then]
        assert not redone, f"finished and lost: {redone}"
        shutil.rmtree(place)


def train_a_line(folder: Path) -> None:
    """A training of two seconds, in a process of its own."""
    import torch

    from avi_lib.settings import TrainSettings
    from avi_lib.training.loop import train

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def loss(model: torch.nn.Module, items: np.ndarray, rng: np.random.Generator, way: float) -> dict[str, Any]:
        time.sleep(0.005)
        x = torch.from_numpy(rng.normal(0, 1, (len(items), 1)).astype(np.float32))
        return {"loss": (model(x) - 2 * x).square().mean()}

    train(model, loss, 64, TrainSettings(steps=400, batch=4, warmup=5, save_every=20, log_every=10), folder, "a line")


if __name__ == "__main__":
    train_a_line(Path(sys.argv[1]))
