"""Curves: files that keep which channels are there, and rotations at another frame rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.motion.clip import (
    ARKIT,
    FLAME,
    Curves,
    MotionClip,
    MotionSpace,
    load_curves,
    load_motion,
    save_curves,
    save_motion,
)

PUFF = ARKIT.index("cheekPuff")


def random_clip(space: MotionSpace = ARKIT) -> MotionClip:
    return MotionClip(np.random.default_rng(0).random((5, len(space)), np.float32), 30.0, space)


def stored(path: Path, **changes: object) -> Path:
    """A motion npz with other arrays, or without those that are None."""
    clip = random_clip()
    arrays = {"values": clip.values, "fps": 30.0, "channels": np.array(ARKIT.channels)} | changes
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("space", [ARKIT, FLAME])
def test_curves_come_back_with_the_channels_that_are_missing(tmp_path: Path, space: MotionSpace) -> None:
    clip = random_clip(space)
    present = np.arange(len(space)) != 46
    clip.values[:, 46] = 0.0
    save_curves(Curves(clip, present), tmp_path / "a.npz")
    again = load_curves(tmp_path / "a.npz")
    assert np.array_equal(again.present, present) and np.array_equal(again.clip.values, clip.values)
    assert again.clip.fps == 30.0 and again.clip.space is space
    assert np.array_equal(load_motion(tmp_path / "a.npz").values, clip.values)


def test_a_motion_npz_without_a_mask_has_every_channel(tmp_path: Path) -> None:
    save_motion(random_clip(), tmp_path / "a.npz")
    again = load_curves(tmp_path / "a.npz")
    assert again.present.all() and np.array_equal(again.clip.values, random_clip().values)


def test_what_a_missing_channel_holds_is_read_as_0(tmp_path: Path) -> None:
    present = np.arange(len(ARKIT)) != PUFF
    clip = load_curves(stored(tmp_path / "a.npz", present=present)).clip
    assert not clip["cheekPuff"].any()
    assert np.array_equal(clip.values[:, present], random_clip().values[:, present])


@pytest.mark.parametrize(
    ("present", "rule"),
    [
        (np.ones(55, np.uint8), "present of the type uint8"),
        (np.ones(54, bool), r"present of the shape \(54,\)"),
        (np.ones((1, 55), bool), r"present of the shape \(1, 55\)"),
        (np.ones(1 << 17, bool), "more than 65536 bytes"),
        (np.zeros(55, bool), "present without a channel"),
        (np.array([None] * 55), "present of the type object"),
    ],
)
def test_a_mask_of_another_type_or_shape_or_of_nothing_is_refused(
    tmp_path: Path, present: np.ndarray, rule: str
) -> None:
    path = stored(tmp_path / "a.npz", present=present)
    with pytest.raises(InputError, match=rule) as caught:
        load_curves(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_curve_file_is_refused_by_name_and_never_crashes(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.npz", np.random.default_rng(1)
    save_curves(Curves(random_clip(), np.ones(55, bool)), path)
    whole = path.read_bytes()
    start = whole.index(b"present.npy")
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[rng.integers(start, len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert load_curves(path).present.shape == (55,)
        except InputError as error:
            assert str(path) in str(error)


# Rotations at another frame rate


def turning(axis: tuple[float, float, float], fps: float, group: str) -> Curves:
    """FLAME curves that turn at 2 rad/s from 2 to 8 rad about an axis, as rotation vectors of at most pi."""
    angles = 2.0 + 2.0 * (np.arange(round(3 * fps)) + 0.5) / fps
    values = np.zeros((len(angles), len(FLAME)), np.float32)
    turns = Rotation.from_rotvec(angles[:, None] * np.array(axis) / np.linalg.norm(axis))
    values[:, list(FLAME.groups[group])] = turns.as_rotvec()
    values[:, 0] = angles
    return Curves(MotionClip(values, fps, FLAME), np.ones(len(FLAME), bool))


@pytest.mark.parametrize("group", ["lips", "head"])
@pytest.mark.parametrize("fps", [30.0, 60.0, 24.0])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0.9, -0.3, 0.2)])
def test_a_steady_rotation_across_pi_keeps_its_speed(axis: tuple, fps: float, group: str) -> None:
    slow = turning(axis, fps, group).at_fps(25.0).clip.values
    turns = Rotation.from_rotvec(slow[:, list(FLAME.groups[group])])
    speeds = (turns[:-1].inv() * turns[1:]).magnitude() * 25.0
    assert speeds[1:-1].mean() == pytest.approx(2.0, rel=0.01)
    plain = np.diff(slow[:, 0]) * 25.0  # an expression that rises as the angle does, resampled in the same way
    assert speeds == pytest.approx(plain, abs=1e-3)


def test_a_rotation_that_jumps_from_pi_to_minus_pi_stays_where_it_is() -> None:
    values = np.zeros((30, len(FLAME)), np.float32)
    values[:, 53] = np.where(np.arange(30) % 2, -3.13, 3.13)
    values[:, 54] = 0.01
    slow = Curves(MotionClip(values, 30.0, FLAME), np.ones(len(FLAME), bool)).at_fps(25.0).clip.values
    away = Rotation.from_rotvec(slow[:, 53:]) * Rotation.from_rotvec([-np.pi, 0, 0])
    assert away.magnitude().max() < 0.03


def test_rotations_that_never_jump_are_resampled_as_other_channels_are() -> None:
    values = np.random.default_rng(4).uniform(-1, 1, (30, len(FLAME))).astype(np.float32)
    values[:, :3] = values[:, 53:]
    slow = Curves(MotionClip(values, 30.0, FLAME), np.ones(len(FLAME), bool)).at_fps(25.0).clip.values
    assert np.array_equal(slow[:, :3], slow[:, 53:])
