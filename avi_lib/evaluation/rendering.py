"""How fast pictures, edits and exports are: `python -m avi_lib.evaluation.rendering`.

In: the shipped head and ten seconds of a performance of real speech. Out: figures of rendering with encoding,
of an edit up to its preview, of memory over length, of every export, and of pyrender on the same mesh.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avi_lib.evaluation.figure import Figure, markdown
from avi_lib.face.head import load_head
from avi_lib.formats import write_motion
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT
from avi_lib.pipeline import Talker
from avi_lib.screen import Screen
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.talk import Talk

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "samples" / "arctic.flac"
FPS, TURNS = 25, 5
PREVIEW = 256
INSTRUCTIONS = ("She is furious.", "She is very happy, brows raised.")
EXPORTS = {"npz": ".npz", "csv": ".csv", "glb": ".glb", "bvh": ".bvh", "usdc": ".usdc", "an OBJ a frame": ""}


def measure_rendering() -> Iterator[Figure]:
    """Every figure of this module."""
    with Talker(TalkSettings(render=RenderSettings(size=PREVIEW))) as talker:
        talk = talker.listen(SAMPLE, Instruction.parse(INSTRUCTIONS[0]))
        yield from _edits(talker, _lasting(talk, 5))
    yield from _videos(_lasting(talk, 10))
    yield from _memory()
    yield from _exports(_lasting(talk, 60).motion)


def _videos(talk: Talk) -> Iterator[Figure]:
    """Ten seconds rendered and encoded at 512 x 512."""
    spent = []
    with Screen("open", RenderSettings()) as screen, tempfile.TemporaryDirectory() as folder:
        for _ in range(TURNS + 1):
            begun = time.perf_counter()
            screen.write_video(talk, Path(folder) / "talk.mp4")
            spent.append(time.perf_counter() - begun)
    how = f"512 x 512, {_spread(spent[1:])}"
    yield Figure("10 s rendered and encoded", statistics.median(spent[1:]), "s wall", "<= 12", how)


def _edits(talker: Talker, talk: Talk) -> Iterator[Figure]:
    """From an edited sentence to the preview of five seconds, everything else being there."""
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(2 * TURNS + 1):
            edited = Instruction.parse(f"{INSTRUCTIONS[turn % 2]} Number {turn}.")
            begun = time.perf_counter()
            talker.write_video(_lasting(talker.direct(talk, edited), 5), Path(folder) / "preview.mp4")
            spent.append(time.perf_counter() - begun)
    yield Figure("edit to 256 preview of 5 s", statistics.median(spent[1:]), "s wall", "<= 2", _spread(spent[1:]))


def _memory() -> Iterator[Figure]:
    """Peak memory of a process that renders a minute and of one that renders ten seconds."""
    peaks = {seconds: _peak_mb(seconds) for seconds in (10, 60)}
    how = ", ".join(f"{seconds} s: {peak:.0f} MB" for seconds, peak in peaks.items())
    yield Figure("memory of rendering a minute beside 10 s", peaks[60] / peaks[10], "x", "about 1", how)


def _peak_mb(seconds: int) -> float:
    command = [sys.executable, "-m", "avi_lib.evaluation.rendering", "--render", str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _render(seconds: int) -> None:
    """Render a moving face for so long and print this process's peak memory in MB."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0.0, 0.3, (FPS * seconds, len(ARKIT))).astype(np.float32)
    with Screen("open", RenderSettings()) as screen, tempfile.TemporaryDirectory() as folder:
        from avi_lib.face.video import write_video

        motion = MotionClip(values, float(FPS), ARKIT)
        write_video(Path(folder) / "a.mp4", screen.frames(motion), FPS, np.zeros(16_000 * seconds, np.float32), 16_000)
    print(_peak_of_this_process_mb())


def _peak_of_this_process_mb() -> float:
    """From /proc: what getrusage says is at least the peak of the process that started this one."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _exports(motion: MotionClip) -> Iterator[Figure]:
    """A minute of motion in every format."""
    head = load_head()
    with tempfile.TemporaryDirectory() as folder:
        for kind, suffix in EXPORTS.items():
            spent, size = [], 0
            for turn in range(TURNS):
                target = Path(folder) / f"{turn}{suffix}"
                begun = time.perf_counter()
                write_motion(motion, target, head)
                spent.append(time.perf_counter() - begun)
                size = _take_away(target)
            how = f"{size / 1e6:.1f} MB, {_spread(spent)}, the first with what is loaded for it"
            yield Figure(f"60 s exported as {kind}", statistics.median(spent), "s wall", "<= 1", how)


def _take_away(path: Path) -> int:
    """Remove a file or a folder of files; the bytes it had."""
    if path.is_dir():
        size = sum(each.stat().st_size for each in path.iterdir())
        shutil.rmtree(path)
        return size
    size = path.stat().st_size
    path.unlink()
    return size


def _lasting(talk: Talk, seconds: int) -> Talk:
    """The talk repeated or cut to so many seconds."""
    from dataclasses import replace

    frames = np.arange(FPS * seconds) % len(talk.motion)
    wave = np.resize(talk.speech.wave, seconds * talk.speech.rate_hz)
    return replace(talk, motion=talk.motion.at(frames.tolist()), speech=replace(talk.speech, wave=wave))


def _spread(values: list[float]) -> str:
    return f"median of {len(values)}, {min(values):.2f} to {max(values):.2f}"


def main() -> None:
    """Print the figures; with --render SECONDS the memory of rendering so long."""
    if sys.argv[1:2] == ["--render"]:
        _render(int(sys.argv[2]))
    else:
        print(f"{os.cpu_count()} cores\n\n{markdown(list(measure_rendering()))}")


if __name__ == "__main__":
    main()
