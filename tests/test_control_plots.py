from __future__ import annotations

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.face.head import load_head
from avi_lib.motion.clip import ARKIT, FACTORS, MotionClip
from avi_lib.workbook.control_plots import plot_difference, plot_factors, plot_heat_map
from avi_lib.workbook.interactive import browse_trajectories, view_mesh


def waving(*channels: str, frames: int = 50) -> MotionClip:
    values = np.zeros((frames, len(ARKIT)), np.float32)
    for number, channel in enumerate(channels):
        values[:, ARKIT.index(channel)] = 0.3 + 0.2 * np.sin(np.arange(frames) / (3 + number))
    return MotionClip(values, 25.0, ARKIT)


def test_a_heat_map_has_a_row_for_every_channel_that_moves():
    figure = plot_heat_map(waving("jawOpen", "browInnerUp", "headYaw"))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["jawOpen", "browInnerUp", "headYaw"]
    assert figure.axes[0].images[0].get_array().max() == pytest.approx(1.0)


def test_a_heat_map_of_a_still_face_can_be_drawn():
    assert len(plot_heat_map(waving()).axes[0].get_yticklabels()) == 1


def test_a_difference_shows_what_differs_and_one_side_of_twins():
    first, second = waving("jawOpen"), waving("jawOpen", "mouthSmileLeft")
    second.values[:, ARKIT.index("mouthSmileRight")] = second["mouthSmileLeft"]
    figure = plot_difference(first, second, ("a", "b"))
    assert [panel.get_ylabel().splitlines()[1] for panel in figure.axes] == ["mouthSmileLeft"]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.5, abs=0.01) and band[:, 1].min() == 0


def test_equal_motions_have_a_difference_plot_too():
    assert len(plot_difference(waving("jawOpen"), waving("jawOpen"), ("a", "b")).axes) == 1


def test_motions_of_different_recordings_are_not_compared():
    with pytest.raises(InputError, match="one recording"):
        plot_difference(waving(frames=50), waving(frames=49), ("a", "b"))


def test_factors_are_rows_and_only_the_changed_one_leaves_zero():
    figure = plot_factors([waving("jawOpen"), waving("jawOpen", "eyeLookUpLeft")], ["gaze"])
    reach = {factor: panel.lines[0].get_ydata().max() for factor, panel in zip(FACTORS, figure.axes, strict=True)}
    assert reach.pop("gaze") > 0.05 and not any(reach.values())


def test_the_viewer_shows_the_head_as_it_moves():
    head, motion = load_head(), waving("jawOpen")
    figure = view_mesh(head, motion, most=4)
    assert [frame.name for frame in figure.frames] == ["0.00", "0.64", "1.28", "1.96"]
    assert len(figure.layout.sliders[0].steps) == 4
    shown = np.stack([figure.frames[2].data[0][axis] for axis in "xyz"], axis=1)
    assert np.array_equal(shown, head.move(motion.at([32]))[0])
    assert figure.data[0].vertexcolor.shape == (len(head.vertices), 3)


def test_trajectories_of_two_motions_are_told_apart_by_their_dashes():
    figure = browse_trajectories({"one": waving("jawOpen"), "two": waving("jawOpen")})
    assert [(curve.name, curve.line.dash) for curve in figure.data] == [
        ("jawOpen, one", "solid"),
        ("jawOpen, two", "dash"),
    ]
