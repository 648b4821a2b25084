"""A photograph that talks: the open head's own picture stands for the photograph, so that the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from test_tracking import tracker  # noqa: F401 (a fixture)

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.face import portrait as portraits
from avi_lib.face.camera import FRAMINGS, View
from avi_lib.face.head import Head
from avi_lib.face.portrait import Portrait, load_portrait
from avi_lib.face.portrait_layers import project
from avi_lib.face.raster import Rasteriser
from avi_lib.models import cache_folder
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.settings import RenderSettings

SIDE, SMALL = 256, RenderSettings(size=256)
VIEW = View.square(SIDE, FRAMINGS["face"])


def motion(*frames: dict[str, float]) -> MotionClip:
    """A frame of each set of weights; a channel without its side means both."""
    values = np.zeros((len(frames), len(ARKIT)), np.float32)
    for row, weights in zip(values, frames, strict=True):
        for name, weight in weights.items():
            row[[i for i, channel in enumerate(ARKIT.channels) if channel.removesuffix("Left") == name]] = weight
            row[[i for i, channel in enumerate(ARKIT.channels) if channel.removesuffix("Right") == name]] = weight
    return MotionClip(values, 25.0, ARKIT)


def pictured(head: Head, clip: MotionClip) -> list[np.ndarray]:
    with Rasteriser(head, VIEW) as rasteriser:
        return [rasteriser.draw(vertices) for vertices in head.move(clip)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory):
    """A cache of this module's own beside the models that the machine has."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "models").symlink_to(cache_folder() / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVI_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def photo(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The open head at rest."""
    path = tmp_path_factory.mktemp("photo") / "person.png"
    Image.fromarray(pictured(head, motion({}))[0]).save(path)
    return path


@pytest.fixture(scope="module")
def portrait(tracker: None, kept: Path, photo: Path) -> Portrait:  # noqa: F811
    return load_portrait(photo, SMALL)


def test_a_portrait_at_rest_is_its_photograph(portrait: Portrait, photo: Path):
    with Image.open(photo) as picture:
        truth = np.asarray(picture).astype(int)
    with portrait.rasteriser() as rasteriser:
        apart = np.abs(rasteriser.draw(portrait.move(motion({}))[0]) - truth).max(axis=2)
    assert np.percentile(apart, 95) <= 5
    assert apart[:, :6].max() == apart[:, -6:].max() == apart[-6:].max() == 0


@pytest.mark.parametrize(
    ("weights", "landmarks", "most"),
    [
        ({"jawOpen": 0.5}, (0, 17, 152), 0.025),
        ({"mouthSmile": 0.7}, (61, 291, 0, 17), 0.025),
        ({"mouthFunnel": 0.8}, (0, 17, 61, 291), 0.025),
        ({"browInnerUp": 1.0}, (66, 107, 296, 336), 0.025),
        ({"headYaw": 0.1, "headPitch": 0.05}, (1, 61, 291, 33, 263), 0.025),
    ],
)
def test_a_moved_portrait_moves_as_the_head_in_the_photograph_does(portrait, head, weights, landmarks, most):
    portrait, clip = replace(portrait, answers=portraits.PLAIN), motion({}, weights)
    anchors = portraits.anchors_of(head).vertices[list(landmarks)]
    true = [project(head.move(clip)[frame, anchors], VIEW) for frame in range(2)]
    rest = project(portrait.vertices, portrait.view)
    away = np.linalg.norm(rest - true[0][:, None], axis=2)
    near = np.where(away < away.min(axis=1, keepdims=True) + 1.5, portrait.vertices[:, 2], -1.0).argmax(axis=1)
    ours = project(portrait.move(clip)[1, near], portrait.view) - rest[near]
    eyes = np.linalg.norm(np.diff(project(head.eye_centres, VIEW), axis=0))
    assert np.linalg.norm(ours - (true[1] - true[0]), axis=1).max() / eyes < 2 * most
    assert np.linalg.norm(true[1] - true[0], axis=1).max() / eyes > most


def test_lips_meet_and_lids_cover_the_eye(portrait: Portrait, head: Head):
    with portrait.rasteriser() as rasteriser:
        rest, shut, pressed = (
            rasteriser.draw(vertices).astype(int)
            for vertices in portrait.move(motion({}, {"eyeBlink": 1.0}, {"mouthPress": 0.6, "mouthRollLower": 0.3}))
        )
    for eye in portrait.eyeballs:
        column, row = project(portrait.vertices[eye], portrait.view).mean(axis=0).astype(int)
        skin = rest[row + 16, column]  # below the eye
        spot = np.s_[row - 1 : row + 2, column - 1 : column + 2]
        assert np.abs(shut[spot] - skin).max() < 60 < np.abs(rest[spot] - skin).max()
    mouth = project(np.array(head.vertices[head.regions["lower_lip_inner"]], np.float64), VIEW).mean(axis=0).astype(int)
    lips = np.s_[mouth[1] - 6 : mouth[1] + 7, mouth[0] - 12 : mouth[0] + 13]
    assert (pressed[lips].max(axis=2) > 60).all()  # neither teeth nor the dark between them


def test_the_tracker_reads_back_what_is_asked_and_weights_stay_within_their_bounds(portrait: Portrait):
    _, read, _ = portraits.read_back(portrait, motion({}, {"jawOpen": 0.6}, {"mouthSmile": 0.6}))
    for frame, channel in enumerate(("jawOpen", "mouthSmileLeft"), start=1):
        index = ARKIT.index(channel)
        assert 0.4 < read[frame, index] - read[0, index] < 0.8
    for answer in portraits.ANSWERED:
        gain, bend = portrait.answers[:, ARKIT.index(answer.channels[0])]
        assert answer.gain[0] - 1e-6 <= gain <= answer.gain[1] + 1e-6
        assert answer.bend[0] - 1e-6 <= bend <= answer.bend[1] + 1e-6


def test_nothing_but_the_person_moves(portrait: Portrait, head: Head):
    with portrait.rasteriser() as rasteriser:
        pictures = [rasteriser.draw(each).astype(int) for each in portrait.move(motion({}, {"headYaw": 0.2}))]
    heads = [picture.astype(int) for picture in pictured(head, motion({}, {"headYaw": 0.2}))]
    wall = pictured(replace(head, vertices=head.vertices + np.float32(9)), motion({}))[0].astype(int)
    shown = np.any([np.abs(each - wall).max(axis=2) > 3 for each in heads], axis=0)
    far = ~binary_dilation(shown, iterations=10)
    assert far.mean() > 0.2
    assert np.abs(pictures[0] - pictures[1]).max(axis=2)[far].max() == 0
    assert np.abs(pictures[0] - pictures[1]).max() > 50


def test_the_same_photograph_gives_the_same_portrait_and_is_prepared_once(portrait, photo, kept, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("prepared again")

    arrays = portraits._prepare(photo, SMALL, portraits.load_head())
    assert all(np.array_equal(arrays[name], getattr(portrait, name)) for name in ("vertices", "shapes", "atlas", "uv"))
    monkeypatch.setattr(portraits, "_prepare", refuse)
    assert np.array_equal(load_portrait(photo, SMALL).shapes, portrait.shapes)


def test_what_cannot_talk_is_refused_with_its_reason(tracker, kept, head, tmp_path: Path, capsys):  # noqa: F811
    empty, shut = tmp_path / "wall.png", tmp_path / "shut.png"
    Image.fromarray(np.full((96, 96, 3), 128, np.uint8)).save(empty)
    Image.fromarray(pictured(head, motion({"eyeBlink": 1.0}))[0]).save(shut)
    damaged = tmp_path / "cut.png"
    damaged.write_bytes(shut.read_bytes()[:2000])
    for path, words in ((empty, "none that is found"), (shut, "eyes shut"), (damaged, "could not be decoded")):
        with pytest.raises(InputError, match=words):
            load_portrait(path, SMALL)
    with pytest.raises(InputError, match="own backdrop"):
        load_portrait(shut, RenderSettings(backdrop="#000000"))
    assert main(["talk", "a.wav", "--portrait", "me.txt"]) == 2
    assert "one photograph ending in" in capsys.readouterr().err
