"""The cast: how fast each is drawn, whether lips meet on every mesh, and how often the voice's pitch chooses well."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from avi_lib.evaluation.metrics import lip_closure
from avi_lib.face.camera import View
from avi_lib.face.head import HEADS, Head, load_head
from avi_lib.face.people import HIGH_HZ, cast, choose
from avi_lib.face.raster import Rasteriser
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT_BLENDSHAPES, MotionClip
from avi_lib.settings import TalkSettings
from avi_lib.speech.loading import load_voice
from avi_lib.talker import Talker
from tools.benchmarks.measuring import SAMPLES, Figure, Options, in_turns_ms, there

SIDE, FRAMES, TURNS = 512, 50, 5
SEXES = {"f": "woman", "m": "man"}


def measure(options: Options) -> Iterator[Figure]:
    """Every figure of this module."""
    with Talker(TalkSettings(generator="performer")) as talker:
        talk = talker.listen(SAMPLES / "arctic.flac", Instruction.parse("A person speaks."))
    heads = {name: load_head(name) for name in HEADS}
    yield Figure("people", len(heads), "", ">= 6", ", ".join(heads))
    size = sum(path.stat().st_size for path in HEADS.values()) / 1e6
    yield Figure("their files together", size, "MB", "<= 12", f"{len(heads)} heads")
    yield _speed(heads, talk.motion)
    d = {
        name: lip_closure(_gap_m(head, talk.motion), talk.phones.phones, talk.motion.fps)
        for name, head in heads.items()
    }
    off = {name: abs(each / d["open"] - 1.0) for name, each in d.items()}
    how = f"on the vertices, beside the open head's {d['open']:.2f}; furthest {max(off, key=lambda name: off[name])}"
    yield Figure("closure d off the open head's", 100.0 * max(off.values()), "%", "<= 10", how)
    for corpus, folder in (("RAVDESS", "ravdess"), ("EMO-DB", "emodb")):
        if there(options.real / folder, f"choices by pitch, {corpus}"):
            yield _choices(corpus, options.real / folder)


def _speed(heads: dict[str, Head], motion: MotionClip) -> Figure:
    """The slowest of all people, drawn in turns."""
    at = range(25, 25 + FRAMES)

    def draw(rasteriser: Rasteriser, vertices: np.ndarray) -> None:
        for _ in rasteriser.draw_all(vertices):
            pass

    rasterisers = {name: Rasteriser(head, View.square(SIDE)) for name, head in heads.items()}
    work = {name: partial(draw, each, heads[name].move(motion.at(at))) for name, each in rasterisers.items()}
    spent = in_turns_ms(work, TURNS, time.perf_counter)
    for each in rasterisers.values():
        each.close()
    fps = {name: 1000.0 * FRAMES / statistics.median(each) for name, each in spent.items()}
    how = ", ".join(f"{name} {each:.0f}" for name, each in fps.items())
    return Figure(f"pictures at {SIDE} x {SIDE}, the slowest of the cast", min(fps.values()), "fps", ">= 60", how)


def _gap_m(head: Head, motion: MotionClip) -> np.ndarray:
    """Vertical distance of the inner lips as the vertices have it, head turns left out."""
    upper, lower = head.regions["upper_lip_inner"], head.regions["lower_lip_inner"]
    still = replace(motion, values=motion.values * (np.arange(len(motion.space)) < len(ARKIT_BLENDSHAPES)))
    moved = head.move(still)
    gap: np.ndarray = moved[:, upper, 1].mean(axis=1) - moved[:, lower, 1].mean(axis=1)
    return gap


def _choices(corpus: str, folder: Path) -> Figure:
    """How often a voice chooses a woman for a woman and a man for a man."""
    sexes = {person.name: person.sex for person in cast()}
    files = {path.stem: path for path in sorted(folder.rglob("*.flac"), reverse=True)}
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        rows = [(row["clip"], row["gender"][0].lower()) for row in csv.DictReader(stream) if row["clip"] in files]
    right: dict[str, list[bool]] = {sex: [] for sex in SEXES}
    for clip, sex in rows:
        right[sex].append(sexes[choose(load_voice(files[clip])).name] == SEXES[sex])
    shares = {SEXES[sex]: float(np.mean(each)) for sex, each in right.items()}
    how = ", ".join(f"{len(right[sex])} of a {SEXES[sex]} {shares[SEXES[sex]]:.2f}" for sex in SEXES)
    what = f"who speaks is of the voice's sex, {corpus}"
    return Figure(what, float(np.mean(list(shares.values()))), "", "-", f"{how}; {HIGH_HZ:.0f} Hz; acted emotions")
