"""How real faces move while they speak, and how the performer does: `measure_dynamics` over held-out recordings.

Real are the test clips of av_grid_s1 (neutral talk; MediaPipe moves neither cheeks nor nose, and brows but little) and
the clips of av_ravdess_au (brows, lids, cheeks, nose, mouth by emotion; OpenFace, whose noise is not known and stays
in). What MediaPipe makes of a face that does not move is measured on a photograph and a rendered head, as small as the
faces of GRID, with the noise of a sensor, encoded as video; it is taken off. The performer speaks the same sound, as
neutral or as the clip's emotion and level, and is measured on the channels that the real clip has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avi_lib.corpus.adapters import scan_source
from avi_lib.corpus.layouts import Recording
from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import DYNAMICS, PARTS, measure_dynamics
from avi_lib.evaluation.report import Row, Table, tabulate
from avi_lib.face.tracking import track_video
from avi_lib.face.video import write_video
from avi_lib.instruction.action_units import EmotionClass
from avi_lib.instruction.grammar import class_words
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.settings import PerformerSettings, RenderSettings
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import align_phones
from avi_lib.speech.prosody import prosody
from avi_lib.talker import Renderer
from tools.benchmarks.measuring import Figure, Options, there

FACE_PX, SENSOR_SD, NOISE_S = 320, 2.0, 6.0
"""Side of the pictures, whose faces are then some 130 pixels high as GRID's, levels of a sensor's noise, seconds."""
REAL, PERFORMED = "real", "performer"


def still_faces() -> Iterator[UInt8[np.ndarray, "side side 3"]]:
    """A photograph and a rendered head, square."""
    path = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    photograph = np.asarray(Image.open(path).convert("RGB"))
    side = min(photograph.shape[:2])
    yield cv2.resize(photograph[:side, :side], (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
    rest = MotionClip(np.zeros((1, len(ARKIT)), np.float32), 25.0, ARKIT)
    with Renderer("open", RenderSettings(size=FACE_PX)) as renderer:
        yield next(iter(renderer.frames(rest)))[..., :3]


def tracker_noise(work: Path) -> MotionClip:
    """What the tracker makes of faces that do not move: both one after the other, each less its mean."""
    rng, found = np.random.default_rng(0), []
    for number, face in enumerate(still_faces()):
        path, frames = work / f"still{number}.mp4", round(NOISE_S * 25)
        noisy = (face + rng.normal(0.0, SENSOR_SD, face.shape) for _ in range(frames))
        pictures = (np.clip(picture.round(), 0, 255).astype(np.uint8) for picture in noisy)
        write_video(path, pictures, 25.0, np.zeros(round(NOISE_S * 16_000), np.float32), 16_000)
        values = track_video(path).pieces[0].values
        found.append(values[: len(values) // 75 * 75] - values.mean(axis=0))
    return MotionClip(np.concatenate(found), 25.0, ARKIT)


def rows_of(recording: Recording, noise: MotionClip | None) -> list[Row]:
    """The real clip's scores and those of the performer over the same sound, on the same channels."""
    if recording.motion is None or recording.speech is None or recording.emotion is None or recording.level is None:
        raise InputError("a clip with sound, motion and label", recording.name, "leave it out")
    real = recording.motion.read(recording.motion.path)
    wave = load_voice(recording.speech).wave
    duration_s = min(len(wave) / 16_000, real.duration_s)
    phones = align_phones(wave, recording.text or "").phones
    performer = Performer(phones, prosody(wave, fps=25.0), duration_s, PerformerSettings(fps=25.0))
    words = class_words(EmotionClass(recording.emotion, recording.level))
    made = performer.perform(Instruction.parse(f"A person feels {words}."), seed=sum(recording.name.encode()))
    made = replace(made, values=np.where(real.present, made.values, np.float32(0)), present=real.present)
    group = recording.name if noise is not None else recording.speaker
    return [
        Row(REAL, group, measure_dynamics(real, noise)),
        Row(PERFORMED, group, measure_dynamics(made)),
    ]


def tables(options: Options) -> Iterator[Table]:
    """The tables of both corpora, of as many clips as asked for, evenly spread."""
    noise = tracker_noise(options.work)
    quiet = ", ".join(f"{part} {measure_dynamics(noise)[f'{part}_sd']:.3f}" for part in PARTS)
    for corpus in ("av_grid_s1", "av_ravdess_au"):
        if not there(options.real / corpus, corpus):
            continue
        takes = scan_source(corpus, options.real / corpus).recordings
        takes = tuple(take for take in takes if corpus != "av_grid_s1" or take.split == "test")
        chosen = [takes[i] for i in np.unique(np.linspace(0, len(takes) - 1, options.clips).astype(int))]
        own = noise if corpus == "av_grid_s1" else None
        rows = [row for take in chosen for row in rows_of(take, own)]
        about = f", same speaker as trained on; SD of the tracker's noise {quiet}" if own else ""
        how = f"{len(chosen)} clips{about}"
        yield tabulate(corpus, corpus, how, rows, DYNAMICS)


def measure(options: Options) -> Iterator[Figure]:
    """Real and performed values, side by side, with 95 % intervals."""
    for table in tables(options):
        for key, about in table.measures.items():
            real, made = table.estimates[key, REAL], table.estimates[key, PERFORMED]
            how = f"real {real.value:.3f} ({real.low:.3f} to {real.high:.3f}); {table.how}"
            interval = f"({made.low:.3f} to {made.high:.3f})"
            unit = about.unit or interval
            yield Figure(f"{table.name}: {about.title}", round(made.value, 3), unit, f"near {real.value:.3f}", how)
