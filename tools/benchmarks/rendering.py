"""How fast pictures, videos, edits and exports are, and how fast pyrender draws the same mesh."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from avi_lib.face.camera import View
from avi_lib.face.head import load_head
from avi_lib.face.raster import Rasteriser
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.formats import save_motion
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.speech.voice import Voice
from avi_lib.talker import Renderer, Talk, Talker
from tools.benchmarks import peer_render
from tools.benchmarks.measuring import ROOT, SAMPLES, Figure, Options, in_turns_ms, left_out, own_peak_mb, spread

FPS, TURNS, SIDE, PREVIEW = 25, 5, 512, 256
INSTRUCTIONS = ("She is furious.", "She is very happy, brows raised.")
EXPORTS = {"npz": ".npz", "csv": ".csv", "glb": ".glb", "bvh": ".bvh", "usdc": ".usdc", "an OBJ a frame": ""}


def measure(options: Options) -> Iterator[Figure]:
    """Every figure of this module, over a performance of real speech."""
    with Talker(TalkSettings(render=RenderSettings(size=PREVIEW))) as talker:
        talk = talker.listen(SAMPLES / "arctic.flac", Instruction.parse(INSTRUCTIONS[0]))
        yield from _edits(talker, _lasting(talk, 5), options.work / "preview.mp4")
    yield from _pictures(talk.motion)
    with Renderer("open", RenderSettings()) as renderer:
        task = partial(renderer.write_video, _lasting(talk, 10), options.work / "talk.mp4")
        spent = _seconds(in_turns_ms({"ours": task}, TURNS, time.perf_counter)["ours"])
    how = f"{SIDE} x {SIDE}, {spread(spent, 2)}"
    yield Figure("10 s rendered and encoded", statistics.median(spent), "s wall", "<= 4", how)
    peaks = {seconds: _peak_mb(seconds) for seconds in (10, 60)}
    how = ", ".join(f"{seconds} s: {peak:.0f} MB" for seconds, peak in peaks.items())
    yield Figure("memory of rendering a minute beside 10 s", peaks[60] / peaks[10], "x", "about 1", how)
    yield from _exports(_lasting(talk, 60).motion, options.work / "exports")


def _pictures(motion: MotionClip) -> Iterator[Figure]:
    """Two seconds drawn, in turns with pyrender where it is installed."""
    head = load_head()
    vertices = list(head.deform(motion.values[25:75]))
    with Rasteriser(head, View.square(SIDE)) as rasteriser, tempfile.TemporaryDirectory() as folder:
        work = {"ours": partial(_draw, rasteriser, vertices)}
        peer = None
        if peer_render.PLACE.is_dir():
            peer = peer_render.start(Path(folder) / "mesh.npz", head, vertices)
            work["pyrender"] = partial(peer_render.ask, peer)
        else:
            left_out("pyrender", peer_render.MISSING)
        spent = {name: _seconds(each) for name, each in in_turns_ms(work, 2 * TURNS, time.perf_counter).items()}
        if peer is not None:
            peer_render.stop(peer)
    fps = {name: [len(vertices) / seconds for seconds in each] for name, each in spent.items()}
    median = {name: statistics.median(each) for name, each in fps.items()}
    yield Figure(f"pictures at {SIDE} x {SIDE}", median["ours"], "fps", ">= 60", spread(fps["ours"], 0))
    if "pyrender" in spent:
        ratios = [theirs / own for theirs, own in zip(spent["pyrender"], spent["ours"], strict=True)]
        how = f"same mesh, in turns, pyrender {median['pyrender']:.0f} fps; ratio {spread(ratios)}"
        yield Figure("faster than pyrender", statistics.median(ratios), "x", ">= 3", how)


def _draw(rasteriser: Rasteriser, vertices: list[np.ndarray]) -> None:
    for _ in rasteriser.draw_all(vertices):
        pass


def _edits(talker: Talker, talk: Talk, video: Path) -> Iterator[Figure]:
    """From an edited sentence to the preview of five seconds, everything else being there."""
    spent = []
    for turn in range(2 * TURNS + 1):
        edited = Instruction.parse(f"{INSTRUCTIONS[turn % 2]} Number {turn}.")
        begun = time.perf_counter()
        talker.write_video(_lasting(talker.direct(talk, edited), 5), video)
        spent.append(time.perf_counter() - begun)
    yield Figure("edit to 256 preview of 5 s", statistics.median(spent[1:]), "s wall", "<= 2", spread(spent[1:], 2))


def _peak_mb(seconds: int) -> float:
    """Peak memory of a process that renders a moving face for so long."""
    code = f"from tools.benchmarks.rendering import render; render({seconds})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def render(seconds: int) -> None:
    """Render a moving face for so long and print this process's peak memory in MB."""
    from avi_lib.face.video import write_video

    values = np.random.default_rng(0).uniform(0.0, 0.3, (FPS * seconds, len(ARKIT))).astype(np.float32)
    with Renderer("open", RenderSettings()) as renderer, tempfile.TemporaryDirectory() as folder:
        frames = renderer.frames(MotionClip(values, float(FPS), ARKIT))
        write_video(Path(folder) / "a.mp4", frames, FPS, np.zeros(16_000 * seconds, np.float32), 16_000)
    print(own_peak_mb())


def _exports(motion: MotionClip, folder: Path) -> Iterator[Figure]:
    """A minute of motion in every format."""
    head = load_head()
    folder.mkdir()
    for kind, suffix in EXPORTS.items():
        spent, size = [], 0
        for turn in range(TURNS):
            target = folder / f"{turn}{suffix}"
            begun = time.perf_counter()
            save_motion(motion, target, head)
            spent.append(time.perf_counter() - begun)
            size = sum(each.stat().st_size for each in (target.iterdir() if target.is_dir() else [target]))
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        how = f"{size / 1e6:.1f} MB, {spread(spent, 2)}, the first with what is loaded for it"
        yield Figure(f"60 s exported as {kind}", statistics.median(spent), "s wall", "<= 1", how)


def _lasting(talk: Talk, seconds: int) -> Talk:
    """The talk repeated or cut to so many seconds."""
    frames = np.arange(FPS * seconds) % len(talk.motion)
    wave = np.resize(talk.speech.wave, seconds * talk.speech.rate_hz)
    return replace(talk, motion=talk.motion.at(frames.tolist()), speech=Voice(wave, talk.speech.report))


def _seconds(spent_ms: list[float]) -> list[float]:
    return [each / 1000 for each in spent_ms]
