"""How well a photograph obeys: what is asked of it is tracked in its pictures, beside real clips of the same people.

A GRID talker's first picture is the photograph, the clip's own track the motion, counted from that picture's. Errors
are shares of the distance between the irises, of each picture's landmarks against the clip's; shift, size and roll,
which no channel moves, are taken out by the eyes and the nose. Told landmarks, the layers are pulled by a thin plate
until the tracker finds them there. With `--renderer` every photograph is drawn by these networks.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.interpolate import RBFInterpolator
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
    look_at,
    read_back,
)  # fmt: skip
from avi_lib.face.portrait_layers import project, unproject
from avi_lib.face.portrait_networks import load_networks
from avi_lib.face.portrait_pages import person
from avi_lib.face.tracking import pictures_of
from avi_lib.instruction.action_units import EMOTION_WORDS
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.speech.decode import VIDEO_SUFFIXES
from avi_lib.speech.phones import BILABIAL, Phone
from avi_lib.talker import Talker
from tools.benchmarks.identity import Identity, load_identity
from tools.benchmarks.judge import EXPRESSIONS, load_judge
from tools.benchmarks.measuring import SAMPLES, Figure, Options, child, left_out, spread, there
from tools.benchmarks.phones import read_source
from tools.benchmarks.systems import PICTURES
from tools.benchmarks.talk import INSTRUCTION, ten_seconds
from tools.benchmarks.tracks import read_track

EVERY = 5  # pictures of a clip from one that is looked at to the next
OTHERS = ("sbwe5n", "lbax4n")  # clips of talkers whose portraits are asked beside the photograph
PULLS = 2  # times that a picture is tracked and pulled to the landmarks that it is told
REACH, RIM = 1.15, 12  # where a thin plate is held, in sides of the face's box, and by how many points a side
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
    """Time and memory, what is read back of what is asked, lips on closed sounds, emotions, and the clips of GRID."""
    if (photo := photograph()) is None:
        left_out("portrait", "no matplotlib with its sample photograph")
        return
    load = partial(_drawn_by, options.renderer)
    yield from _speed(options.renderer or photo, options.work)
    portraits = [load(path) for path in (photo, *_others(options))]
    yield from _read_back(portraits)
    yield from _closed_sounds(portraits[0])
    yield from _emotions(portraits)
    if there(folder := options.real / "grid10", "portraits of GRID talkers"):
        yield from _clips(folder, options, load)


def _drawn_by(renderer: Path | None, photo: Path) -> Portrait:
    """The portrait of a photograph, drawn by the networks of a file where one is given."""
    portrait = load_portrait(photo, RenderSettings())
    return replace(portrait, networks=load_networks(renderer)) if renderer else portrait


def _others(options: Options) -> Iterator[Path]:
    """The astronaut of scikit-image, where that is installed, and the first pictures of GRID talkers."""
    if (found := find_spec("skimage")) and found.origin:
        yield Path(found.origin).parent / "data" / "astronaut.png"
    if there(folder := options.real / "grid10", "read-back of GRID talkers"):
        for name in OTHERS:
            first = next(rgb for _, rgb in pictures_of(folder / f"{name}.mpg"))
            Image.fromarray(first).save(options.work / f"{name}.png")
            yield options.work / f"{name}.png"


def _speed(photo: Path, work: Path) -> Iterator[Figure]:
    speech = ten_seconds(work)
    command = [sys.executable, "-m", "avi_lib", "talk", str(speech), "--portrait", str(photo), "-o"]
    command.append(str(work / "portrait.mp4"))
    child([*command, "--instruction", INSTRUCTION])  # which prepares the photograph
    for said, more, turns, must in (("given", ["--instruction", INSTRUCTION], 3, "<= "), ("written", [], 1, "- ")):
        wall_s, cpu_s, peaks_mb = zip(*(child([*command, *more]) for _ in range(turns)), strict=True)
        how = f"{spread(wall_s)}; {statistics.median(cpu_s):.1f} CPU s; photograph prepared; {photo.name}"
        name = f"10 s at 512 x 512 to mp4, the sentence {said}"
        yield Figure(name, statistics.median(wall_s), "s wall", f"{must}15", how)
        yield Figure("peak memory of that", max(peaks_mb), "MB", f"{must}1500", f"largest process, most of {turns}")


def _read_back(portraits: Sequence[Portrait]) -> Iterator[Figure]:
    names = ", ".join(portrait.name for portrait in portraits)
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
    yield Figure("still background, largest difference", max(each[0] for each in seen), "of 255", "<= 0", how)
    how = f"pixels of 512 x 512 that change by over 16 of 255 where shut eyes are taken away; {names}"
    yield Figure("eye seen through shut lids, most", max(each[1] for each in seen), "pixels", "<= 0", how)


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


def _gap(marks: Float[np.ndarray, "frames 478 _"]) -> Float[np.ndarray, " frames"]:
    """The inner lips' distance at the mouth's middle, of the distance between the irises."""
    irises = np.linalg.norm(marks[:, _IRISES[0], :2] - marks[:, _IRISES[1], :2], axis=1)
    gap: np.ndarray = np.linalg.norm(marks[:, 13, :2] - marks[:, 14, :2], axis=1) / irises
    return gap


def _spans(phones: Sequence[Phone], frames: int) -> list[range]:
    """Frames of each sound on which lips close."""
    spans = [range(int(p.start_s * 25), min(int(np.ceil(p.end_s * 25)), frames)) for p in phones if p.phone in BILABIAL]
    return [span for span in spans if len(span)]


def _shut(gaps: Float[np.ndarray, " frames"], frames: Sequence[int], spans: Sequence[range]) -> list[bool]:
    """Whether lips meet in each span, from their gaps in some frames, beyond that at rest."""
    seen = dict(zip(frames, gaps, strict=True))
    return [min(seen[frame] for frame in span) <= CLOSED for span in spans]


def _closed_sounds(portrait: Portrait) -> Iterator[Figure]:
    with Talker(TalkSettings()) as talker:
        talk = talker.listen(SAMPLES / "librivox.flac", Instruction.parse("A person speaks."))
    spans = _spans(talk.phones.phones, len(talk.motion))
    picks = sorted({frame for span in spans for frame in span})
    marks = read_back(portrait, talk.motion.at(picks))[0]
    rest = _gap(read_back(portrait, _still(1))[0])[0]
    shut = _shut(_gap(marks) - rest, picks, spans)
    how = f"{len(shut)} sounds of a talk of {portrait.name}, gap up to {CLOSED:g} of the irises' distance"
    yield Figure("closed on /m b p/", float(np.mean(shut)), "", ">= 0.9", how)


def _still(frames: int) -> MotionClip:
    return MotionClip(np.zeros((frames, len(ARKIT)), np.float32), 25.0, ARKIT)


def _emotions(portraits: Sequence[Portrait]) -> Iterator[Figure]:
    """What the judge says of portraits that are asked for an emotion, its strongest word, over one recording.

    And which of its shares grows most beside those of the same person's plain talk: it has its own mind of every face.
    """
    judge, right, grown_most = load_judge(), dict[str, list[bool]](), dict[str, list[bool]]()
    plain: list[np.ndarray] = []
    with Talker(TalkSettings()) as talker:
        talk = talker.listen(SAMPLES / "arctic.flac", Instruction.parse("A person speaks."))
        for emotion in ("neutral", *(name for name in EXPRESSIONS if name != "neutral")):
            words = "A person speaks."
            if emotion != "neutral":
                words = f"A person feels {EMOTION_WORDS[emotion].adjectives[2][0]}."
            motion = talker.direct(talk, Instruction.parse(words)).motion
            picks = (np.linspace(0.1, 0.9, PICTURES) * len(motion)).astype(int).tolist()
            for number, portrait in enumerate(portraits):
                marks, _, pictures = read_back(portrait, motion.at(picks))
                boxes = np.concatenate([marks[..., :2].min(axis=1), marks[..., :2].max(axis=1)], axis=1)
                said = judge.judge(pictures, boxes).mean(axis=0)
                if emotion == "neutral":
                    plain.append(said)
                    continue
                right.setdefault(emotion, []).append(EXPRESSIONS[int(said.argmax())] == emotion)
                more = EXPRESSIONS[int(np.log((said + 0.01) / (plain[number] + 0.01))[:-1].argmax())]
                grown_most.setdefault(emotion, []).append(more == emotion)
    people = f"; on {', '.join(portrait.name for portrait in portraits)}"
    for found, what, must in ((right, "", ">= 0.5"), (grown_most, ", share that grows most", "-")):
        each = {emotion: float(np.mean(hits)) for emotion, hits in found.items()}
        how = ", ".join(f"{emotion} {recall:.2f}" for emotion, recall in each.items()) + people
        yield Figure(f"judge: emotions of portraits{what}, recall", float(np.mean(list(each.values()))), "", must, how)
    yield Figure("judge: anger of portraits", float(np.mean(right["angry"])), "", ">= 0.01", "above 0")


def _clips(folder: Path, options: Options, load: Callable[[Path], Portrait]) -> Iterator[Figure]:
    videos = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]
    videos = [path for path in videos if path.stem != TRAINED_ON]
    phones = {path.stem: spoken for path, _, spoken in read_source(folder)}
    identity = load_identity(options.identity) if options.identity else None
    if identity is None:
        left_out("identity", "no weights given by --identity; see tools/benchmarks/identity.py")
    found = [_measured(path, phones[path.stem], options.work, load, identity) for path in videos]
    for name, must, what in MEASURED:
        values = np.array([each[name] for each in found if name in each])
        if len(values):
            how = f"{len(values)} talkers, from {values.min():.3f} to {values.max():.3f}{what}"
            yield Figure(name, float(values.mean()), "", must, how)
    sounds = [[shut for each in found for shut in each[kind]] for kind in ("shut", "truly shut")]
    how = f"{len(sounds[0])} sounds of {len(found)} talkers; of the clips themselves {np.mean(sounds[1]):.2f}"
    yield Figure("closed on /m b p/, clips", float(np.mean(sounds[0])), "", ">= 0.9", how)
    yield Figure("still background, clips", max(each["background"] for each in found), "of 255", "<= 0", "largest")
    yield Figure("eye seen through shut lids, clips", max(each["eye"] for each in found), "pixels", "<= 0", "most")


MEASURED = (
    ("landmarks through the 52 channels, error", "<= 0.025", ""),
    ("lips of that, error", "<= 0.025", ""),
    ("lip gap, r", ">= 0.8", ": of the clip and of the portrait"),
    ("told landmarks, error", "<= 0.015", ""),
    ("lips of that told landmarks, error", "<= 0.015", ""),
    ("landmarks of the still photograph, error", "-", ": without motion"),
    ("identity distance to the photograph", "<= 0.25", ""),
    ("identity distance of the clip's own pictures", "-", ": what the network says of the person itself"),
)
"""Means over talkers, what they must be, and what they are."""


def _measured(
    video: Path, phones: Sequence[Phone], work: Path, load: Callable[[Path], Portrait], identity: Identity | None
) -> dict[str, Any]:
    """Measures of a talker's clip by the portrait of its first picture."""
    shown = [rgb for _, rgb in pictures_of(video)]
    Image.fromarray(shown[0]).save(photo := work / f"{video.stem}.png")
    portrait = load(photo)
    weights, angles = read_track(video.with_suffix(".npz"))
    values = np.stack([weights.get(name, np.zeros(len(angles))) for name in ARKIT.channels[: -angles.shape[1]]], axis=1)
    values = np.concatenate([values, angles], axis=1)
    motion = MotionClip((values - values[:1] + portrait.own).astype(np.float32), 25.0, ARKIT)
    size = (shown[0].shape[1], shown[0].shape[0])
    onto, _ = crop_of(find_face(shown[0], video.name), size, RenderSettings())
    with np.load(video.with_suffix(".npz"), allow_pickle=False) as track:
        true = track["landmarks"].astype(np.float64)
    true = true[..., :2] * size * onto[0, 0] + onto[:, 2]
    spans, some = _spans(phones, len(motion)), list(range(0, len(motion), EVERY))
    picks = sorted({*some, *(frame for span in spans for frame in span)})
    marks, _, pictures = read_back(portrait, motion.at(picks))
    among = [picks.index(frame) for frame in some]
    pulled = look_at(following(portrait, motion.at(some), true[some]))[0]
    still = np.repeat(true[:1], len(some), axis=0)
    errors = [landmark_errors(each[..., :2], true[some]) for each in (marks[among], pulled, still)]
    told = (*errors[0], *errors[1][:2], errors[2][0])
    found: dict[str, Any] = dict(zip((name for name, *_ in MEASURED), told, strict=False))
    gaps = _gap(marks), _gap(true[picks])
    found["shut"], found["truly shut"] = (_shut(gap - gap.min(), picks, spans) for gap in gaps)
    found["background"], found["eye"] = _stillness(portrait)
    if identity is not None:
        of_photo = identity([portrait.photo], portrait.landmarks[None])
        drawn = identity([pictures[number] for number in among], marks[among][..., :2])
        clip = identity([shown[frame] for frame in some], (true[some] - onto[:, 2]) / onto[0, 0])
        for (name, *_), other in zip(MEASURED[-2:], (drawn, clip), strict=True):
            found[name] = float(np.linalg.norm(other - of_photo, axis=1).mean())
    return found


def following(
    portrait: Portrait, motion: MotionClip, aims: Float[np.ndarray, "frames 478 2"]
) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The layers' pictures of a motion, pulled until the tracker finds these landmarks."""
    moved = portrait.move(motion).astype(np.float64)
    with portrait.rasteriser() as rasteriser:
        for _ in range(PULLS):
            given = look_at(rasteriser.draw_all(moved.astype(np.float32)))[0][..., :2]
            for vertices, marks, aim in zip(moved, given, aims, strict=True):
                places = project(vertices, portrait.view)
                left, top, right, low = grown(portrait.face_box)
                near = ((places > (left, top)) & (places < (right, low))).all(axis=1)
                pulled = thin_plate(marks, aim, portrait.face_box)(places[near])
                vertices[near] = unproject(pulled, vertices[near, 2], portrait.view)
        return list(rasteriser.draw_all(moved.astype(np.float32)))


def grown(box: Float[np.ndarray, " 4"]) -> Float[np.ndarray, " 4"]:
    """A face's box with what is around it, at whose edge a thin plate is held."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * (2 * REACH - 1)
    return np.concatenate([middle - half, middle + half])


def thin_plate(
    marks: Float[np.ndarray, "478 2"], aims: Float[np.ndarray, "478 2"], box: Float[np.ndarray, " 4"]
) -> RBFInterpolator:
    """Carries places beside landmarks to where others are; around the face's box nothing moves."""
    side, (left, top, right, low) = np.linspace(0, 1, RIM), grown(box)
    rim = np.array([(x, y) for x in side for y in side if x in (0, 1) or y in (0, 1)])
    rim = (left, top) + rim * (right - left, low - top)
    return RBFInterpolator(np.concatenate([marks, rim]), np.concatenate([aims, rim]), smoothing=1.0)


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
