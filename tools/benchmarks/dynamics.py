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
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image
from scipy.signal import find_peaks

from avi_lib.corpus.adapters import scan_source
from avi_lib.corpus.layouts import Recording
from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import FPS, Measure, at_rate, has_channels
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

# Dynamics: how much, how fast and at which rates the parts of a face move; real faces are the measure.

PARTS = {
    name: tuple(ARKIT.groups[group])
    for name, group in {
        "brows": "brows", "lids": "lids", "gaze": "gaze", "cheeks": "cheeks_nose", "head": "head", "mouth": "lips",
    }.items()
}  # fmt: skip
WINDOW_S, SHORTEST_S = 3.0, 2.0
BANDS_HZ = (0.2, 0.7, 2.0, 5.0, 12.6)
"""Edges of the bands of power; what lies above the first band is fast."""
STILL, STILL_S = 0.02, 0.2
"""Brows are still where no brow channel's range over so many seconds is larger."""
BLINK_RISE, LONGEST_BLINK_S = 0.2, 0.6
_ABOUT = {
    "sd": ("movement", "standard deviation in windows of 3 s, root mean square over channels; head in degrees"),
    "speed": ("speed", "root mean square of the change, a second"),
    "jitter": ("jitter", "root mean square of the third difference, a frame cubed"),
    "fast": ("fast share", f"share of the power that lies above {BANDS_HZ[1]:g} Hz"),
}
DYNAMICS = {
    **{
        f"{part}_{kind}": Measure(f"{part}: {title}", "", "near", "channels that are there, real or made", what)
        for part in PARTS
        for kind, (title, what) in _ABOUT.items()
    },
    "brows_still": Measure(
        "brows: still share", "", "near", "all frames", f"no brow channel moves by {STILL:g} within {STILL_S:g} s"
    ),
    "blink_rate": Measure("blinks", "1/min", "near", "all frames", f"lids that rise by {BLINK_RISE:g} and fall again"),
    "blink_width_s": Measure("width of a blink", "s", "near", "clips with a blink", "time above half of its height"),
}
"""What `measure_dynamics` finds, in the order of tables; near is near to real faces."""


def measure_dynamics(curves: MotionClip, noise: MotionClip | None = None) -> dict[str, float]:
    """All of `DYNAMICS` for one motion of 2 s or more, and by part the power in each band of `BANDS_HZ`.

    Bands are named such as "brows_0.7_hz" after their lower edge, in squares of the channels' units. `noise` is what
    the tracker makes of a face that does not move: its squares are taken off. A part of which no
    channel is present is NaN. Gaze is joined straight over blinks, in which trackers see none. InputError for another
    space.
    """
    motion = at_rate(curves)
    scores = dict.fromkeys(DYNAMICS, float("nan"))
    if motion.duration_s < SHORTEST_S:
        return scores
    own, values = _moments(motion), motion.values
    floor = _moments(at_rate(noise)) if noise is not None else {}
    for part, members in PARTS.items():
        there = [channel for channel in members if motion.present[channel]]
        if not there:
            continue
        unit = np.degrees(1.0) if part == "head" else 1.0
        left = {k: np.maximum((v - floor.get(k, 0.0))[..., there].mean(axis=-1), 0.0) for k, v in own.items()}
        bands = unit**2 * left.pop("bands")
        scores |= {f"{part}_{kind}": float(unit * np.sqrt(square)) for kind, square in left.items()}
        scores |= {f"{part}_{low:g}_hz": float(power) for low, power in zip(BANDS_HZ, bands, strict=False)}
        scores[f"{part}_fast"] = float(bands[1:].sum() / bands.sum()) if bands.sum() > 0 else float("nan")
    brows = [channel for channel in PARTS["brows"] if motion.present[channel]]
    if brows:
        reach = np.lib.stride_tricks.sliding_window_view(values[:, brows], round(STILL_S * FPS) + 1, axis=0)
        scores["brows_still"] = float((np.ptp(reach, axis=-1).max(axis=1) < STILL).mean())
    if has_channels(motion, ("eyeBlinkLeft", "eyeBlinkRight")):
        spans = find_blinks(motion)
        scores["blink_rate"] = 60.0 * len(spans) / motion.duration_s
        widths_s = [(last - first) / FPS for first, last in spans]
        scores["blink_width_s"] = float(np.mean(widths_s)) if spans else float("nan")
    return scores


def find_blinks(curves: MotionClip) -> list[tuple[float, float]]:
    """First and last frame, between frames where half of its height lies there, of every blink of both lids.

    A blink rises by `BLINK_RISE` above where the lids rest and lasts up to `LONGEST_BLINK_S`.
    """
    lids = (curves["eyeBlinkLeft"] + curves["eyeBlinkRight"]) / 2
    rest = float(np.median(lids))
    found: list[tuple[float, float]] = []
    for peak in find_peaks(lids, height=rest + BLINK_RISE, prominence=BLINK_RISE)[0]:
        half = rest + (lids[peak] - rest) / 2
        first, last = int(peak), int(peak)
        while first > 0 and lids[first - 1] >= half:
            first -= 1
        while last < len(lids) - 1 and lids[last + 1] >= half:
            last += 1
        whole = first > 0 and last < len(lids) - 1
        if whole and last - first <= LONGEST_BLINK_S * curves.fps and (not found or first > found[-1][1]):
            rise, fall = lids[first] - lids[first - 1], lids[last] - lids[last + 1]
            found.append((first - float((lids[first] - half) / rise), last + float((lids[last] - half) / fall)))
    return found


def _moments(motion: MotionClip) -> dict[str, Float64[np.ndarray, "*bands channels"]]:
    """Squares of each channel: variance, speed, third difference and power by band, means over windows."""
    values = motion.values.astype(np.float64)
    if has_channels(motion, ("eyeBlinkLeft", "eyeBlinkRight")):
        closed = np.zeros(len(values), bool)
        for first, last in find_blinks(motion):
            closed[max(int(first) - 2, 0) : int(last) + 4] = True
        open_eyes = np.flatnonzero(~closed)
        for channel in PARTS["gaze"] if len(open_eyes) else ():
            values[:, channel] = np.interp(np.arange(len(values)), open_eyes, values[open_eyes, channel])
    size = min(round(WINDOW_S * FPS), len(values))
    windows = values[: len(values) // size * size].reshape(-1, size, values.shape[1])
    taper = np.hanning(size + 2)[1:-1, None]
    spectra = np.abs(np.fft.rfft((windows - windows.mean(axis=1, keepdims=True)) * taper, axis=1)) ** 2
    spectra *= 2.0 / (size * (taper**2).sum())
    rates_hz = np.fft.rfftfreq(size, 1.0 / FPS)
    bands = [spectra[:, (rates_hz >= low) & (rates_hz < high)].sum(axis=1) for low, high in pairwise(BANDS_HZ)]
    return {
        "sd": windows.var(axis=1).mean(axis=0),
        "speed": (np.diff(windows, axis=1) ** 2).mean(axis=(0, 1)) * FPS**2,
        "jitter": (np.diff(windows, 3, axis=1) ** 2).mean(axis=(0, 1)),
        "bands": np.stack(bands).mean(axis=1),
    }


# Real faces and the performer.

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
