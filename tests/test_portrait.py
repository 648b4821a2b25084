"""A photograph that talks: the open head's own picture stands for the photograph, so that the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation
from test_tracking import tracker  # noqa: F401 (a fixture)

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.face import portrait as portraits
from avi_lib.face.camera import FRAMINGS, View
from avi_lib.face.head import Head
from avi_lib.face.portrait import Portrait, load_portrait
from avi_lib.face.portrait_layers import Creases, project
from avi_lib.face.portrait_networks import (
    RADIUS,
    SIZES,
    PortraitNetworks,
    _applied,
    load_networks,
    refined,
    save_networks,
    untrained,
    windows,
)  # fmt: skip
from avi_lib.face.raster import Rasteriser
from avi_lib.models import cache_folder
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.settings import PortraitSettings, RenderSettings, TrainSettings
from avi_lib.training import portrait as training
from avi_lib.training import portrait_data as data
from avi_lib.training.portrait_data import Examples

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
    moved = portrait.move(motion({}, {"eyeBlink": 1.0}, {"mouthPress": 0.6, "mouthRollLower": 0.3}, {"eyeBlink": 1.0}))
    moved[3, np.concatenate(portrait.eyeballs)] += 9.0
    with portrait.rasteriser() as rasteriser:
        rest, shut, pressed, blind = (rasteriser.draw(vertices).astype(int) for vertices in moved)
    assert np.abs(shut - blind).max() <= 16
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


def test_light_on_the_skin_follows_its_slopes_and_is_the_photographs_own_at_its_own_expression(portrait: Portrait):
    own = MotionClip(portrait.own[None], 25.0, ARKIT)
    asked = motion({"mouthSmile": 1.0}, {"browDown": 1.0, "noseSneer": 1.0}, {"browInnerUp": 1.0, "jawOpen": 0.5})
    (shown,), (smile, angry, wide) = portrait.move(own), portrait.move(asked)
    (turned,) = portrait.move(replace(own, values=own.values + motion({"headYaw": 0.2, "headPitch": 0.1}).values))
    creases = Creases(portrait, shown)
    assert not creases(shown).any() and not creases(turned).any()
    places = project(shown, portrait.view)
    beside = (np.linalg.norm(places - portrait.landmarks[[92]], axis=1) < 6) & (portrait.relit > 0.5)
    assert -0.3 <= creases(smile)[beside].mean() < -0.02
    between = (np.linalg.norm(places - portrait.landmarks[[9]], axis=1) < 6) & (portrait.relit > 0.5)
    assert -0.3 <= creases(angry)[between].mean() < -0.02
    for vertices in (smile, angry, wide):
        assert np.abs(creases(vertices)).max() <= 0.3 and not creases(vertices)[portrait.relit == 0].any()
    unlit = Rasteriser(portrait, portrait.view, portrait.backdrop, (portraits.PICTURED,))
    with portrait.rasteriser() as lit, unlit:
        assert np.array_equal(lit.draw(shown), unlit.draw(shown))
        assert np.abs(lit.draw(angry).astype(int) - unlit.draw(angry)).max() > 10


def test_the_same_photograph_gives_the_same_portrait_and_is_prepared_once(portrait, photo, kept, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("prepared again")

    arrays = portraits._prepare(portraits.load_photo(photo), str(photo), SMALL, portraits.load_head())
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


def changed(networks: PortraitNetworks, seed: int = 1) -> PortraitNetworks:
    """The same with last layers that are not zero, so that every part of it draws."""
    generator = torch.Generator().manual_seed(seed)
    for part in (networks.warping, networks.editing, networks.drawing):
        last = next(each for each in part.last if isinstance(each, torch.nn.Conv2d))
        last.weight.data = 0.05 * torch.randn(last.weight.shape, generator=generator)
    return networks.eval()


def test_an_untrained_renderer_draws_the_layers_to_the_bit_and_a_trained_one_the_face_alone(portrait: Portrait):
    asked, networks = motion({}, {"jawOpen": 0.5}, {"headYaw": 0.15, "mouthSmile": 0.6}), untrained(SIZES["tiny"])
    with portrait.rasteriser() as rasteriser:
        layers = [rasteriser.draw(vertices) for vertices in portrait.move(asked)]
    assert all(map(np.array_equal, refined(portrait, networks.eval(), asked, layers), layers))
    drawn = list(refined(portrait, changed(networks), asked, layers))
    for picture, layer, box in zip(drawn, layers, portrait.places(asked).boxes, strict=True):
        left, top, right, bottom = np.clip(np.rint(box), 0, SIDE).astype(int)
        apart = np.abs(picture.astype(int) - layer).max(axis=2)
        assert apart[top:bottom, left:right].max() > 8
        apart[top:bottom, left:right] = 0
        assert apart.max() == 0
    assert all(map(np.array_equal, refined(portrait, networks, asked, layers), drawn))


def test_fine_lines_of_the_layers_fade_where_the_mouth_is_drawn_anew():
    lines = np.tile(np.array([40, 200], np.uint8), 64)[None, :, None].repeat(128, 0).repeat(3, 2)
    mouth_edit = np.zeros((32, 48, 3), np.float32)
    mouth_edit[:, 16:32] = 0.05
    still, face, mouth = np.zeros((64, 64, 2), np.float32), np.array([0, 0, 128, 128]), np.array([16, 40, 112, 104])
    drawn = _applied(lines, face, mouth, still, np.zeros((64, 64, 3), np.float32), mouth_edit).astype(int)
    assert np.array_equal(drawn[:, :30], lines[:, :30])
    assert np.ptp(drawn[72, 56:72]) < 0.6 * 160 and drawn[72, 56:72].mean() == pytest.approx(120 + 0.05 * 255, abs=1)


def test_the_box_of_a_face_goes_with_eyes_and_nose_and_not_with_the_mouth(portrait: Portrait):
    rest, turned, spoken = portrait.places(motion({}, {"headRoll": 0.1, "headYaw": 0.15}, {"jawOpen": 0.9})).boxes
    assert np.allclose(rest, portrait.face_box, atol=1.0) and np.allclose(rest, spoken, atol=4.0)
    assert np.abs(turned - rest).max() > 5
    (x, y, wide, high), face = portrait.mouth_box, portrait.face_box
    lips = portrait.landmarks[[61, 291, 0, 17]]
    inner = (lips - face[:2]) / (face[2:] - face[:2]) * 2 - 1
    assert (np.abs(inner - (x, y)) < (wide, high)).all() and np.abs(inner).max() < 1


def test_windows_repeat_the_ends_and_hold_where_the_face_is(portrait: Portrait):
    asked = motion(*({"jawOpen": 0.1 * frame} for frame in range(5)))
    seen = windows(asked.values, portrait.places(asked))
    assert seen.shape == (5, 2 * RADIUS + 1, len(ARKIT) + 3)
    jaw = seen[2, :, ARKIT.index("jawOpen")]
    assert jaw[RADIUS] == asked.values[2, ARKIT.index("jawOpen")] and (jaw[:11] == 0).all()
    assert (jaw[-11:] == jaw.max()).all() and np.abs(seen[0, :, -3:]).max() < 0.02


def test_a_renderer_is_read_as_it_was_saved_and_another_file_is_refused(tmp_path: Path):
    path, small = tmp_path / "me.safetensors", replace(SIZES["tiny"], photo=(4, 6))
    networks = changed(untrained(small))
    networks.photo.copy_(torch.arange(72).reshape(4, 6, 3))
    save_networks(networks, path, {"corpora": {"me": "my own"}})
    again = load_networks(path)
    assert again.shape == small and torch.equal(again.photo, networks.photo)
    assert torch.equal(again.editing.last[0].weight, networks.editing.last[0].weight.half().float())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="portrait renderer"):
        load_networks(path)
    save_networks(untrained(SIZES["tiny"]), path, {})
    with pytest.raises(InputError, match="its person's photograph"):
        load_portrait(path, SMALL)


def made_up(items: int) -> Examples:
    """Examples of two photographs whose true faces are the layers' made darker."""
    rng, shape = np.random.default_rng(0), SIZES["tiny"]
    face, mouth = (shape.size, shape.size), shape.mouth[::-1]

    def pictures(count: int, size: tuple[int, int]) -> np.ndarray:
        coarse = rng.integers(60, 250, (count, 4, 4, 3), dtype=np.uint8)
        return np.stack(
            [np.asarray(Image.fromarray(each).resize(size[::-1], Image.Resampling.BICUBIC)) for each in coarse]
        )

    drawn, drawn_mouth = pictures(items, face), pictures(items, mouth)
    return Examples(
        pictures(2, face), pictures(2, mouth), np.array([[0, 0.35, 0.4, 0.27]] * 2, np.float32),
        np.arange(items) % 2, np.arange(items), rng.standard_normal((items, 27, 58), np.float32),
        drawn, drawn_mouth, drawn // 2, drawn_mouth // 2, pictures(1, (8, 10))[0],
    )  # fmt: skip


def test_training_lowers_the_loss_and_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    features = training.Perceptual().eval()
    monkeypatch.setattr(training, "load_perceptual", lambda: features)
    steps = TrainSettings(steps=8, batch=2, learning_rate=3e-3, warmup=1, average=0.0, log_every=1, save_every=3)
    asked = PortraitSettings(size="tiny", train=steps)
    whole, log = training.train_renderer(made_up(6), asked, tmp_path / "whole")
    assert log[-1]["loss"] < 0.9 * log[2]["loss"] and "face" not in log[0] and "mouth" in log[-1]

    def stop(line: dict) -> None:
        if line["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train_renderer(made_up(6), asked, tmp_path / "parts", on_log=stop)
    parts, _ = training.train_renderer(made_up(6), asked, tmp_path / "parts")
    assert all(map(torch.equal, whole.state_dict().values(), parts.state_dict().values()))
    assert whole.photo.shape == (8, 10, 3) and whole.photo.max() > 50
    one = asked.model_copy(update={"train": steps.model_copy(update={"steps": 1}), "learns": "mouth"})
    begun, _ = training.train_renderer(made_up(6), one, tmp_path / "begun", whole, own=False)
    assert begun.photo.numel() == 0
    kept, before = begun.state_dict(), whole.state_dict()
    assert all(torch.equal(kept[name], before[name]) != ("drawing.last" in name) for name in before if "last" in name)
    with pytest.raises(InputError, match="size small"):
        training.train_renderer(made_up(6), PortraitSettings(size="small"), tmp_path / "other", whole)


def test_rendered_heads_are_the_whole_casts_and_turn_no_further_than_a_portrait_follows():
    names = {data._somebody(np.random.default_rng(seed))[0].name for seed in range(3)}
    assert len(names) > 1
    loud = MotionClip(np.full((3, 55), 0.9, np.float32), 25.0, ARKIT)
    spoken = data._spoken(loud, np.random.default_rng(0))
    assert (np.abs(spoken.values[:, 52:]) < portraits.MOST_TURN_RAD).all() and spoken.values[:, :52].max() <= 1


def test_rendered_heads_are_seen_by_cameras_as_poor_as_a_videos():
    fine = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    seen = [data._photographed(fine, number, PortraitSettings()) for number in (0, 1, 0)]
    assert np.array_equal(seen[0], seen[2]) and not np.array_equal(seen[0], seen[1])
    assert seen[0].shape == fine.shape and np.abs(np.diff(seen[0].astype(float), axis=1)).mean() < 40


def test_at_the_size_of_the_paper_one_step_has_gradients_in_every_network():
    networks = changed(untrained(SIZES["paper"]))
    sizes = ((1, 27, 58), (1, 3, 64, 64), (1, 3, 64, 64), (1, 3, 24, 32), (1, 3, 24, 32))  # smaller, to be quick
    crops = training.Crops(*map(torch.rand, sizes), torch.tensor([[0, 0.35, 0.4, 0.3]]))
    made = networks.train()(crops)
    (made.edited.mean() + made.mouth.mean()).backward()
    counts = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in networks.named_children()}
    assert counts["warping"] == pytest.approx(12.71, abs=0.05) and counts["editing"] == pytest.approx(9.09, abs=0.05)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in networks.mapping.parameters())
