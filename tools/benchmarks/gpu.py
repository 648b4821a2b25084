"""How fast a card trains and draws beside the processor, and what repeats on it to the byte.

    python -m tools.benchmarks.gpu FOLDER --make            # where the models are: prepared features, under 30 MB
    python -m tools.benchmarks.gpu FOLDER                   # on the card's machine, ten minutes at most

All that the second command needs lies in FOLDER and in the repository: a part of the sample corpus, prepared, and the
states of the prior's sentences. Every stage trains with the settings of profile `full`, for so many seconds in place
of so many steps, on the processor and on the card. `results.json` is written after each measurement and what it holds
is not measured again, so a run that was broken off is gone on with by the same command; `gpu.md` is the table.

Repeating is measured twice: as training is, and with `torch.use_deterministic_algorithms(True)` and
`CUBLAS_WORKSPACE_CONFIG=:4096:8`. On a processor it is bound to the number of threads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA is first used

import numpy as np
import torch
from torch import nn

from avi_lib.corpus.dataset import Corpus, Mixture
from avi_lib.corpus.prepare import prepare
from avi_lib.errors import AviError, InputError
from avi_lib.face.camera import View
from avi_lib.face.head import load_head
from avi_lib.face.raster import Rasteriser
from avi_lib.files import atomic_path, folder_files
from avi_lib.instruction.instructor import load_instructor
from avi_lib.instruction.language_model import TextEncoder, load_text_encoder
from avi_lib.motion.generator import SHIPPED, load_talking_model
from avi_lib.motion.prior import SHIPPED_PRIOR, load_prior
from avi_lib.settings import SampleSettings, TrainSettings, profile
from avi_lib.training.flow import train_flow
from avi_lib.training.generator import train_talking
from avi_lib.training.instructor import speak
from avi_lib.training.loop import choose_device, computes_bfloat16
from avi_lib.training.prior import make_bank, train_prior
from tools.benchmarks.measuring import SAMPLES, left_out, own_peak_mb

RECORDINGS, SCRIPTS, MOST_MB = 48, 400, 30
SECONDS = {"cpu": 20.0, "cuda": 45.0}
"""Of every stage on each kind of device."""
WARM_UP, REPEATED = 10, 20
"""Steps that do not count for speed, and steps of the trainings that are compared."""
TURNS, SIDE, LONG_S = 5, 512, 10

OnLog = Callable[[dict[str, Any]], None]
Stage = Callable[[Path, dict[str, Any], torch.device, OnLog], nn.Module]


class EnoughError(Exception):
    """Raised when a stage has trained for its time."""


class KeptTexts(TextEncoder):
    """A text encoder whose states of the prior's sentences are kept, and who knows no others."""

    def __init__(self, said: dict[str, Any]) -> None:
        """Take name, fingerprint and width of the one that made them."""
        self.name, self.fingerprint, self.dim, self.reason = said["name"], said["fingerprint"], said["dim"], "kept"

    def each(self, texts: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
        """Nothing: all states are read from their file."""
        raise InputError("states of the prior's sentences", "none in texts/", "make them with --make, by this code")
        yield


def make(folder: Path, corpus: Path | None = None, encoder: TextEncoder | None = None, scripts: int = SCRIPTS) -> float:
    """Prepare features; the megabytes that they take. A corpus or an encoder may be given."""
    folder.mkdir(parents=True, exist_ok=True)
    if corpus is not None:
        shutil.copytree(corpus, folder / "corpus", dirs_exist_ok=True)
    else:
        chosen = profile("full").prepare.model_copy(update={"limit": RECORDINGS})
        prepare("table", SAMPLES / "corpus", folder / "corpus", chosen, workers=1)
    encoder = encoder or load_text_encoder()
    make_bank([Corpus(folder / "corpus")], encoder, scripts, 2, seed=0, folder=folder / "texts")
    said = {"name": encoder.name, "fingerprint": encoder.fingerprint, "dim": encoder.dim, "scripts": scripts}
    (folder / "made.json").write_text(json.dumps(said), "utf-8")
    return sum(path.stat().st_size for path in folder_files(folder).values()) / 1e6


def stages(folder: Path, size: str) -> dict[str, Stage]:
    """What can be trained with what is in a folder, in the settings of a profile; the rest is named."""
    said, parts = json.loads((folder / "made.json").read_text("utf-8")), profile(size)
    corpus, encoder = Corpus(folder / "corpus"), KeptTexts(said)
    mixture = Mixture.of([corpus], "train", parts.talking.frames)
    bank = make_bank([corpus], encoder, said["scripts"], 2, seed=0, folder=folder / "texts", progress=False)

    def with_train(settings: Any, changes: dict[str, Any], name: str = "train") -> Any:
        train: TrainSettings = getattr(settings, name)
        return settings.model_copy(update={name: train.model_copy(update={"log_every": 5, **changes})})

    def generator(place: Path, changes: dict[str, Any], device: torch.device, on_log: OnLog) -> nn.Module:
        talking = with_train(parts.talking, changes)
        return train_talking(mixture, talking, place, device=device, progress=False, on_log=on_log)[0]

    def flow(place: Path, changes: dict[str, Any], device: torch.device, on_log: OnLog) -> nn.Module:
        drawing = with_train(parts.flow, changes)
        return train_flow(mixture, drawing, place, device=device, progress=False, on_log=on_log)[0]

    def prior(place: Path, changes: dict[str, Any], device: torch.device, on_log: OnLog) -> nn.Module:
        recipe = with_train(parts.prior, changes)
        return train_prior(bank, encoder, recipe, place, device=device, progress=False, on_log=on_log)[0]

    found: dict[str, Stage] = {"generator": generator, "flow": flow, "prior": prior}
    try:
        heard = load_instructor()
    except AviError as error:
        left_out("the instructor", str(error))
        return found

    def instructor(place: Path, changes: dict[str, Any], device: torch.device, on_log: OnLog) -> nn.Module:
        recipe = with_train(parts.instructor, changes, "speak")
        language, shape = heard.language, heard.model.shape
        return speak(language, shape, recipe, place, device=device, progress=False, on_log=on_log)[0]

    return {**found, "instructor": instructor}


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Torch's algorithms that add in one order, where there are any."""
    torch.use_deterministic_algorithms(on, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def speed(stage: Stage, device: torch.device, seconds: float, place: Path) -> dict[str, Any]:
    """Train for so many seconds: steps a second behind the warm-up, peak memory, losses by step."""
    shutil.rmtree(place, ignore_errors=True)
    lines: list[dict[str, Any]] = []

    def on_log(line: dict[str, Any]) -> None:
        lines.append(line)
        if line["s"] > seconds and len(lines) > 1:
            raise EnoughError

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(EnoughError):
        stage(place, {"save_every": 1_000_000}, device, on_log)
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else own_peak_mb()
    first = next((line for line in lines[:-1] if line["step"] >= WARM_UP), lines[0])
    last, losses = lines[-1], {str(line["step"]): line["loss"] for line in lines}
    rate = (last["step"] - first["step"]) / max(last["s"] - first["s"], 1e-9)
    shutil.rmtree(place, ignore_errors=True)
    return {"steps": last["step"], "steps_per_s": rate, "peak_mb": peak, "losses": losses}


def repeats(stage: Stage, device: torch.device, place: Path) -> dict[str, bool]:
    """Whether two short trainings give the same bytes: as training is, and with deterministic algorithms."""
    same = {}
    for name, on in (("as it is", False), ("deterministic", True)):
        digests = []
        for _ in range(2):
            shutil.rmtree(place, ignore_errors=True)
            changes = {"steps": REPEATED, "warmup": 2, "save_every": 1_000_000}
            with deterministic(on):
                model = stage(place, changes, device, lambda line: None)
            digests.append(digest(*(value.detach().cpu().numpy() for value in model.state_dict().values())))
        same[name] = digests[0] == digests[1]
    shutil.rmtree(place, ignore_errors=True)
    return same


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 over arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def draws(folder: Path, device: torch.device) -> dict[str, Any]:
    """Milliseconds of drawing ten seconds of motion and eight styles with the shipped weights, and what is drawn."""
    corpus = Corpus(folder / "corpus")
    clip = max(corpus.clips, key=lambda each: each.frames)
    often = -(-LONG_S * 25 // clip.frames)
    features = np.tile(corpus.features(clip).astype(np.float32)[: 2 * clip.frames], (often, 1))[: 50 * LONG_S]
    contour = np.tile(corpus.prosody(clip).contour(), (often, 1))[: 25 * LONG_S]
    talking = load_talking_model(SHIPPED).to(device)
    if features.shape[1] != talking.shape.features:  # a stand-in for speech
        features = np.random.default_rng(0).normal(size=(len(features), talking.shape.features)).astype(np.float32)
    sampler = load_prior(SHIPPED_PRIOR).to(device)
    states = np.random.default_rng(1).normal(size=(12, sampler.shape.text)).astype(np.float32)
    style = talking.generator.style_mean.cpu().numpy()
    work: dict[str, Callable[[], np.ndarray]] = {
        "motion": lambda: talking.motion_of(features, style, contour, seed=1).values,
        "styles": lambda: sampler.draw(sampler.read([states]), list(range(8)), SampleSettings()),
    }
    found: dict[str, Any] = {}
    for name, task in work.items():
        made, spent = [task(), task()], []
        for _ in range(TURNS):
            begun = time.perf_counter()
            task()
            spent.append(1000 * (time.perf_counter() - begun))
        found[name] = {"ms": statistics.median(spent), "same": digest(made[0]) == digest(made[1])}
        found[name]["values"] = np.asarray(made[0], np.float64).ravel()[:: max(made[0].size // 400, 1)].tolist()
    return found


def render_fps() -> float:
    """Pictures of the open head a second, 512 x 512: they are drawn on the processor whatever card there is."""
    head, rng = load_head(), np.random.default_rng(0)
    vertices = list(head.deform(rng.uniform(0, 0.3, (25, 55)).astype(np.float32)))
    with Rasteriser(head, View.square(SIDE)) as rasteriser:
        rasteriser.draw(vertices[0])
        begun = time.perf_counter()
        for each in vertices:
            rasteriser.draw(each)
    return len(vertices) / (time.perf_counter() - begun)


def table(found: dict[str, Any]) -> str:
    """All results in Markdown: the card beside the processor."""
    lines = [f"Measured with torch {found['torch']} on {', '.join(found['devices'].values())}.", ""]
    lines += ["| stage | device | steps/s | peak MB | loss at the same step | same bytes | deterministic |"]
    lines += ["|---|---|---|---|---|---|---|"]
    devices = list(found["devices"])
    for stage in found["stages"]:
        runs = {device: found[f"{device}/{stage}"] for device in devices if f"{device}/{stage}" in found}
        common = set.intersection(*(set(run["losses"]) for run in runs.values())) if runs else set()
        step = max(common, key=int, default="")
        for device, run in runs.items():
            same = found.get(f"{device}/{stage}/repeats", {})
            loss = f"{run['losses'][step]:.4f} at {step}" if step else "-"
            told = (f"{run['steps_per_s']:.2f}", f"{run['peak_mb']:.0f}", loss, *map(str, same.values()))
            lines.append(f"| {stage} | {device} | {' | '.join(told)} |")
    lines += ["", "| drawn | device | ms | same bytes | furthest from the processor's |", "|---|---|---|---|---|"]
    for name in ("motion", "styles"):
        for device in devices:
            drawn, first = found[f"{device}/draws"][name], found[f"{devices[0]}/draws"][name]
            off = float(np.abs(np.subtract(drawn["values"], first["values"])).max())
            lines.append(f"| {name} | {device} | {drawn['ms']:.1f} | {drawn['same']} | {off:.2g} |")
    return (
        "\n".join([*lines, "", f"Pictures on the processor: {found['render']['fps']:.0f} a second at {SIDE}."]) + "\n"
    )


def measure(folder: Path, devices: Sequence[str], size: str, seconds: dict[str, float]) -> dict[str, Any]:
    """Everything that is not in `results.json` yet; what is measured is written at once."""
    kept = folder / "results.json"
    found: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}

    def once(key: str, work: Callable[[], Any]) -> None:
        if key not in found:
            begun = time.perf_counter()
            found[key] = work()
            with atomic_path(kept) as temporary:
                temporary.write_text(json.dumps(found, indent=1), "utf-8")
            print(f"{key}: {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)

    def named(device: torch.device) -> str:
        if device.type == "cpu":
            return f"{torch.get_num_threads()} threads"
        return f"{torch.cuda.get_device_name(device)}, bfloat16 {computes_bfloat16(device)}"

    chosen = {name: choose_device(name)[0] for name in devices}
    trained = stages(folder, size)
    found |= {"torch": torch.__version__, "stages": list(trained)}
    found["devices"] = {name: named(device) for name, device in chosen.items()}
    for name, device in chosen.items():
        for stage, train in trained.items():
            place = folder / f"training-{name}-{stage}"
            once(f"{name}/{stage}", lambda t=train, d=device, p=place: speed(t, d, seconds[d.type], p))
            once(f"{name}/{stage}/repeats", lambda t=train, d=device, p=place: repeats(t, d, p))
        once(f"{name}/draws", lambda d=device: draws(folder, d))
    once("render", lambda: {"fps": render_fps()})
    (folder / "gpu.md").write_text(table(found), "utf-8")
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Make features, or measure with them."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", action="store_true", help="prepare the features and measure nothing")
    every = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--devices", nargs="+", default=every, help=f"default: {' '.join(every)}")
    parser.add_argument("--profile", default="full")
    parser.add_argument("--seconds", type=float, help="of every stage on each device")
    given = parser.parse_args(words)
    if given.make:
        size_mb = make(given.folder)
        print(f"{size_mb:.1f} MB in {given.folder}")
        return int(size_mb > MOST_MB)
    seconds = SECONDS if given.seconds is None else dict.fromkeys(SECONDS, given.seconds)
    print(table(measure(given.folder, given.devices, given.profile, seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
