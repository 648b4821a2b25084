"""How well a photograph obeys: what is asked of it is tracked in its pictures, beside real clips of the same people.

A GRID talker's first picture is the photograph, the clip's own track the motion, counted from that picture's. Errors
are shares of the distance between the irises, of each picture's landmarks against the clip's; shift, size and roll,
which no channel moves, are taken out by the eyes and the nose.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.ndimage import binary_dilation

from avi_lib.face.portrait import (
    FIRM,
    LIP_CORNERS,
    LOWER_LIP,
    UPPER_LIP,
    Portrait,
    crop_of,
    find_face,
    load_portrait,
    read_back,
)  # fmt: skip
from avi_lib.face.portrait_pages import person
from avi_lib.face.tracking import pictures_of
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.speech.decode import VIDEO_SUFFIXES
from avi_lib.talker import Talker
from tools.benchmarks.measuring import SAMPLES, Figure, Options, child, left_out, there
from tools.benchmarks.tracks import read_track

EVERY = 5  # pictures of a clip from one that is looked at to the next
OTHER = "sbwe5n"  # the clip of a talker whose portrait is asked beside the photographs
TRAINED_ON = "bbaf2n"  # the clip of the one talker whose videos may be trained on
STEPS = np.linspace(0.0, 1.0, 6)
ASKED = {
    "jaw": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "gaze": ("eyeLookOutLeft", "eyeLookInRight"),
}
CLOSED = 0.02  # gap of the inner lips, beyond that at rest, up to which they are closed
_LIPS = [*UPPER_LIP, *LOWER_LIP, *LIP_CORNERS]
_IRISES = [468, 473]
_FIRM = list(FIRM)


def photograph() -> Path | None:
    """The demonstration's photograph, of matplotlib's sample data; None where that is not installed."""
    found = find_spec("matplotlib")
    path = Path(str(found.origin)).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg" if found else None
    return path if path and path.is_file() else None


def measure(options: Options) -> Iterator[Figure]:
    """Time and memory, what is read back of what is asked, lips on closed sounds, and the clips of GRID."""
    if (photo := photograph()) is None:
        left_out("portrait", "no matplotlib with its sample photograph")
        return
    yield from _speed(photo, options.work / "portrait.mp4")
    yield from _read_back([photo, *_others(options)])
    yield from _closed_sounds(photo)
    if there(folder := options.real / "grid10", "portraits of GRID talkers"):
        yield from _clips(folder, options.work)


def _others(options: Options) -> Iterator[Path]:
    """The astronaut of scikit-image, where that is installed, and the first picture of a GRID talker."""
    if (found := find_spec("skimage")) and found.origin:
        yield Path(found.origin).parent / "data" / "astronaut.png"
    if there(folder := options.real / "grid10", "read-back of a GRID talker"):
        Image.fromarray(next(rgb for _, rgb in pictures_of(folder / f"{OTHER}.mpg"))).save(
            options.work / f"{OTHER}.png"
        )
        yield options.work / f"{OTHER}.png"


def _speed(photo: Path, output: Path) -> Iterator[Figure]:
    speech = SAMPLES / "librivox.flac"
    command = [sys.executable, "-m", "avi_lib", "talk", str(speech), "--portrait", str(photo), "-o", str(output)]
    child(command)
    wall_s, cpu_s, peak_mb = child(command)
    with Talker() as talker:
        seconds = talker.listen(speech, Instruction.parse("A person speaks.")).speech.duration_s
    how = f"{seconds:.1f} s of speech, prepared photograph, {cpu_s:.1f} s of processor"
    yield Figure("10 s at 512 x 512 to mp4", wall_s * 10 / seconds, "s wall", "<= 15", how)
    yield Figure("peak memory of that", peak_mb, "MB", "<= 1500", "largest process")


def _read_back(photos: Sequence[Path]) -> Iterator[Figure]:
    portraits = [load_portrait(photo, RenderSettings()) for photo in photos]
    names = ", ".join(photo.stem for photo in photos)
    for name, channels in ASKED.items():
        columns = [ARKIT.index(channel) for channel in channels]
        values = np.zeros((len(STEPS), len(ARKIT)), np.float32)
        values[:, columns] = (0.8 * STEPS)[:, None]
        read = [read_back(each, MotionClip(values, 25.0, ARKIT))[1][:, columns].mean(axis=1) for each in portraits]
        slopes = " ".join(f"{np.polyfit(0.8 * STEPS, got, 1)[0]:.2f}" for got in read)
        lowest = min(float(np.corrcoef(STEPS, got)[0, 1]) for got in read)
        how = f"slopes {slopes}, six strengths up to 0.8 on {names}"
        yield Figure(f"{name} asked and read back, lowest r", lowest, "", ">= 0.8", how)
    seen = [_stillness(each) for each in portraits]
    how = f"head turned by 11° to either side and down by 7°, away from the person; {names}"
    yield Figure("still background, largest difference", max(each[0] for each in seen), "of 255", "0", how)
    how = f"pixels of 512 x 512 that change by over 16 of 255 where shut eyes are taken away; {names}"
    yield Figure("eye seen through shut lids, most", max(each[1] for each in seen), "pixels", "0", how)


def _stillness(portrait: Portrait) -> tuple[float, float]:
    """How much the background changes as the head turns, and how many pixels show the eyes behind shut lids."""
    values = np.zeros((4, len(ARKIT)), np.float32)
    for row, channel, value in ((0, "headYaw", 0.2), (1, "headYaw", -0.2), (2, "headPitch", 0.13)):
        values[row, ARKIT.index(channel)] = value
    values[3, [ARKIT.index(f"eyeBlink{side}") for side in ("Left", "Right")]] = 1.0
    moved = portrait.move(MotionClip(values, 25.0, ARKIT))
    blind = moved[3].copy()
    blind[np.concatenate(portrait.eyeballs)] += 9.0
    with portrait.rasteriser() as rasteriser:
        *turned, shut, without = [rasteriser.draw(vertices).astype(int) for vertices in (*moved, blind)]
        rest = rasteriser.draw(portrait.vertices)
    far = ~binary_dilation(person(rest) > 0.05, iterations=round(0.08 * rest.shape[1]))
    apart = max(np.abs(each - rest).max(axis=2)[far].max() for each in turned)
    return float(apart), float((np.abs(shut - without).max(axis=2) > 16).sum())


def _gap(marks: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, " frames"]:
    """The inner lips' distance at the mouth's middle, of the distance between the irises."""
    irises = np.linalg.norm(marks[:, _IRISES[0], :2] - marks[:, _IRISES[1], :2], axis=1)
    gap: np.ndarray = np.linalg.norm(marks[:, 13, :2] - marks[:, 14, :2], axis=1) / irises
    return gap


def _closed_sounds(photo: Path) -> Iterator[Figure]:
    with Talker(TalkSettings(head=str(photo))) as talker:
        talk = talker.listen(SAMPLES / "librivox.flac", Instruction.parse("A person speaks."))
        portrait = talker.head
    assert isinstance(portrait, Portrait)
    sounds = [phone for phone in talk.phones.phones if phone.phone in ("M", "B", "P")]
    frames = [range(int(p.start_s * 25), min(int(np.ceil(p.end_s * 25)), len(talk.motion))) for p in sounds]
    picks = sorted({frame for span in frames for frame in span})
    marks = read_back(portrait, talk.motion.at(picks))[0]
    rest = _gap(read_back(portrait, MotionClip(np.zeros((1, len(ARKIT)), np.float32), 25.0, ARKIT))[0])[0]
    gaps = dict(zip(picks, _gap(marks) - rest, strict=True))
    shut = [min(gaps[frame] for frame in span) <= CLOSED for span in frames if len(span)]
    how = f"{len(shut)} sounds of a talk of grace_hopper, gap up to {CLOSED:g} of the irises' distance"
    yield Figure("closed on /m b p/", float(np.mean(shut)), "", ">= 0.9", how)


def _clips(folder: Path, work: Path) -> Iterator[Figure]:
    videos = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]
    rows = np.array([_errors(path, work) for path in videos if path.stem != TRAINED_ON])
    how = f"{len(rows)} talkers, from {rows[:, 0].min():.3f} to {rows[:, 0].max():.3f}"
    yield Figure("landmarks through the 52 channels, error", float(rows[:, 0].mean()), "", "<= 0.025", how)
    how = f"from {rows[:, 1].min():.3f} to {rows[:, 1].max():.3f}"
    yield Figure("lips of that, error", float(rows[:, 1].mean()), "", "<= 0.025", how)
    how = f"lip gap of the clip and of the portrait, lowest {rows[:, 2].min():.2f}"
    yield Figure("lip gap, r", float(rows[:, 2].mean()), "", ">= 0.8", how)
    how = f"highest {rows[:, 3].max():.3f}: the photograph without motion"
    yield Figure("landmarks of the still photograph, error", float(rows[:, 3].mean()), "", "-", how)


def _errors(video: Path, work: Path) -> Sequence[float]:
    """Errors of all landmarks and of the lips, r of the lip gap, and the error where nothing moves."""
    first: UInt8[np.ndarray, "H W 3"] = next(rgb for _, rgb in pictures_of(video))
    photo = work / f"{video.stem}.png"
    Image.fromarray(first).save(photo)
    portrait = load_portrait(photo, RenderSettings())
    weights, angles = read_track(video.with_suffix(".npz"))
    values = np.stack([weights.get(name, np.zeros(len(angles))) for name in ARKIT.channels[: -angles.shape[1]]], axis=1)
    values = np.concatenate([values, angles], axis=1)
    values = (values - values[:1] + portrait.own)[::EVERY].astype(np.float32)
    marks = read_back(portrait, MotionClip(values, 25.0, ARKIT))[0][:, :468, :2]
    size = (first.shape[1], first.shape[0])
    onto, _ = crop_of(find_face(first, video.name), size, RenderSettings())
    with np.load(video.with_suffix(".npz"), allow_pickle=False) as track:
        true = track["landmarks"][::EVERY].astype(np.float64)
    true = true[..., :2] * size * onto[0, 0] + onto[:, 2]
    still = np.repeat(true[:1], len(true), axis=0)
    return *landmark_errors(marks, true), landmark_errors(still, true)[0]


def landmark_errors(
    marks: Float[np.ndarray, "frames 468 2"], true: Float[np.ndarray, "frames 478 2"]
) -> tuple[float, float, float]:
    """Errors of all landmarks and of the lips, and r of the lip gap."""
    irises = np.linalg.norm(true[:, _IRISES[0]] - true[:, _IRISES[1]], axis=1)
    marks, true = marks[:, :468], true[:, :468]
    apart = np.linalg.norm(_laid(marks, true) - true, axis=2) / irises[:, None]
    gaps = [np.linalg.norm(each[:, 13] - each[:, 14], axis=1) for each in (marks, true)]
    with np.errstate(invalid="ignore"):  # of a still photograph
        return float(apart.mean()), float(apart[:, _LIPS].mean()), float(np.corrcoef(*gaps)[0, 1])


def _laid(marks: Float[np.ndarray, "frames 468 2"], onto: Float[np.ndarray, "frames 468 2"]) -> np.ndarray:
    """Landmarks shifted, scaled and rolled so that those of eyes and nose lie best on others."""
    ours, theirs = (each[..., 0] + 1j * each[..., 1] for each in (marks, onto))
    middle, aim = (each[:, _FIRM].mean(axis=1, keepdims=True) for each in (ours, theirs))
    a, b = ours - middle, theirs - aim
    turn = (np.conj(a[:, _FIRM]) * b[:, _FIRM]).sum(axis=1) / (np.abs(a[:, _FIRM]) ** 2).sum(axis=1)
    laid = a * turn[:, None] + aim
    return np.stack([laid.real, laid.imag], axis=-1)
