"""The README's pictures, made by the code they show.

    python -m tools.assets.gallery

Writes `docs/cast.webp`, everybody from three sides and under three sentences; `docs/talking.webp`, a shipped recording
under two sentences; `docs/faces.png`, a face at the height of one sentence for each emotion; `docs/control.png`,
one moment of a performance with one thing changed each; and `docs/portrait.webp`, a photograph of matplotlib's sample
data (public domain) and what it says under some sentences. Names of pictures after the command make these alone.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from avi_lib.face.people import cast
from avi_lib.face.portrait import Portrait
from avi_lib.face.video import save_picture, tiled
from avi_lib.files import atomic_path
from avi_lib.instruction.instruction import Instruction, expression_targets
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.settings import Factors, FactorSettings, RenderSettings, TalkSettings
from avi_lib.talker import Renderer, Talker
from avi_lib.workbook.plots import plot_pictures
from avi_lib.workbook.run import project_root
from tools.benchmarks.portrait import photograph

SENTENCES = (
    "A person speaks with a neutral face.",
    "She is very happy.",
    "He is deeply sad.",
    "She is furious.",
    "They are terrified.",
    "He is utterly disgusted.",
    "She is utterly amazed.",
    "He looks down on you with contempt.",
)
CAST_SENTENCES = (SENTENCES[0], SENTENCES[1], SENTENCES[2], SENTENCES[3])
TURNS_RAD = (0.0, 0.45)
PICTURES = ("cast", "faces", "talking", "control", "portrait")


def picture_faces(talker: Talker, sentences: tuple[str, ...] = SENTENCES) -> list[UInt8[np.ndarray, "size size 3"]]:
    """Each sentence's face at its height, silent, from the front and then turned."""
    moved = picture_values(sentences * len(TURNS_RAD))
    moved.values[:, ARKIT.index("headYaw")] += np.repeat(TURNS_RAD, len(sentences)).astype(np.float32)
    return list(talker.frames(moved))


def picture_cast(size: int = 232) -> UInt8[np.ndarray, "rows across 3"]:
    """A row for each of the cast: front, three quarters and side at rest, then three emotions at their height."""
    pictures, titles = [], []
    moved = picture_values(CAST_SENTENCES)
    for person in cast():
        if person.name == "open":
            continue
        for turn_deg in (0.0, 40.0, 85.0):
            with Renderer(person.name, RenderSettings(size=size, framing="face", turn_deg=turn_deg)) as renderer:
                pictures += list(renderer.frames(moved if turn_deg == 0.0 else moved.at([0])))
        pictures[-6:] = [pictures[-6], *pictures[-2:], *pictures[-5:-2]]
        titles += [f"{person.name}: {person.age}", *[""] * 5]
    return tiled(pictures, 6, titles)


def picture_values(sentences: tuple[str, ...]) -> MotionClip:
    """A frame for the height of each sentence."""
    values = np.zeros((len(sentences), len(ARKIT)), np.float32)
    for row, sentence in enumerate(sentences):
        for channel, weight in expression_targets(Instruction.parse(sentence)).items():
            values[row, ARKIT.index(channel)] = weight
    return MotionClip(values, 25.0, ARKIT)


def animate(talker: Talker, recording: Path, sentences: tuple[str, ...], path: Path) -> None:
    """Write a recording under each of the sentences, side by side under their titles, as an animated WebP."""
    first = talker.listen(recording, Instruction.parse(sentences[0]))
    talks = [first, *(talker.direct(first, Instruction.parse(sentence)) for sentence in sentences[1:])]
    rows = zip(*(talker.frames(talk.motion, talk) for talk in talks), strict=True)
    frames = [Image.fromarray(tiled(list(row), len(row), list(sentences))) for row in list(rows)[::2]]
    with atomic_path(path) as temporary:
        step_ms = round(2000 / first.motion.fps)
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=step_ms, loop=0, quality=60)


def picture_control(talker: Talker, recording: Path) -> UInt8[np.ndarray, "rows across 3"]:
    """One moment of a performance with one factor changed each, then of other people and from other places."""
    talk = talker.listen(recording, Instruction.parse("She is furious."))
    moment = [int(talk.motion["jawOpen"].argmax())]
    changed = {
        "as asked: furious": Factors(),
        "expression of joy": Factors(expression=FactorSettings(source="text:She is very happy.")),
        "another gaze": Factors(gaze=FactorSettings(source="seed:13", strength=3.0)),
        "another pose": Factors(pose=FactorSettings(source="seed:5", strength=2.0)),
        "half the lips": Factors(lips=FactorSettings(strength=0.5)),
    }
    motions = [talker.direct(talk, talk.timeline, factors=each).motion.at(moment) for each in changed.values()]
    pictures = [next(talker.frames(motion)) for motion in motions]
    plain = talker.settings.render
    looks: dict[str, tuple[dict[str, float], RenderSettings]] = {
        "older": ({"old": 0.9}, plain),
        "another person": ({"female": 1.0, "african": 0.9}, plain),
        "nearer": ({}, plain.model_copy(update={"framing": "eyes"})),
        "from the side": ({}, plain.model_copy(update={"turn_deg": 35.0, "backdrop": "#20242a"})),
        "captioned": ({}, plain.model_copy(update={"caption": True, "backdrop": "#3a4a3f"})),
    }
    for sliders, settings in looks.values():
        with Renderer("open", settings, sliders) as renderer:
            pictures.append(next(renderer.pictures(replace(talk, motion=talk.motion.at(moment)))))
    return tiled(pictures, len(changed), [*changed, *looks])


def picture_portrait(photo: Path, recording: Path, sentences: tuple[str, ...]) -> UInt8[np.ndarray, "rows across 3"]:
    """A photograph, and its widest open mouth in the recording under each sentence."""
    with Talker(TalkSettings(head=str(photo), render=RenderSettings(size=240, framing="face"))) as talker:
        assert isinstance(talker.head, Portrait)
        pictures, talk = [talker.head.photo], talker.listen(recording, Instruction.parse(sentences[0]))
        for sentence in sentences:
            motion = talker.direct(talk, Instruction.parse(sentence)).motion
            pictures.append(next(talker.frames(motion.at([int(motion["jawOpen"].argmax())]))))
    return tiled(pictures, 3, ["the photograph", *sentences])


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
    print(f"wrote {path}")


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(prog="python -m tools.assets.gallery", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=f"{', '.join(PICTURES)}; all without")
    root, chosen = project_root(), parser.parse_args().pictures or PICTURES
    (root / "docs").mkdir(exist_ok=True)
    if "cast" in chosen:
        with atomic_path(root / "docs" / "cast.webp") as temporary:
            Image.fromarray(picture_cast()).save(temporary, "WEBP", quality=82, method=6)
    if "faces" in chosen:
        _faces(root)
    sentences = ("She is furious.", "She is very happy.")
    angry = root / "data" / "samples" / "angry.flac"
    if "talking" in chosen:
        with Talker(TalkSettings(render=RenderSettings(size=240, framing="face"))) as talker:
            animate(talker, angry, sentences, root / "docs" / "talking.webp")
    if "control" in chosen:
        with Talker(TalkSettings(head="open", render=RenderSettings(size=200, framing="face"))) as talker:
            save_picture(picture_control(talker, angry), root / "docs" / "control.png")
    if "portrait" in chosen and (photo := photograph()):
        with atomic_path(root / "docs" / "portrait.webp") as temporary:
            Image.fromarray(picture_portrait(photo, angry, sentences[::-1])).save(
                temporary, "WEBP", quality=82, method=6
            )


def _faces(root: Path) -> None:
    with Talker(TalkSettings(head="anna", render=RenderSettings(size=320))) as talker:
        faces = picture_faces(talker)
        half = len(SENTENCES) // 2
        rows = [faces[start : start + half] for start in (0, 2 * half, half, 3 * half)]
        titles = [*SENTENCES[:half], *[""] * half, *SENTENCES[half:], *[""] * half]
        _save(plot_pictures([face for row in rows for face in row], titles, half), root / "docs" / "faces.png")


if __name__ == "__main__":
    main()
