"""Plotly figures to turn and to look into: trajectories, and the head itself in 3D.

>>> figure = view_mesh(load_head(), talk.motion)       # drag to turn, slide through time
>>> figure = browse_trajectories({"angry": talk.motion, "happy": edited.motion})

A figure is shown by displaying it; headless it is kept in the notebook as data, without a browser.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float32, UInt8
from plotly.subplots import make_subplots

from avi_lib.face.head import DrivenHead
from avi_lib.motion.clip import MotionClip
from avi_lib.workbook.plots import frame_times_s, group_label, moving_groups

MOST_FRAMES = 16
"""Moments of a motion that the viewer can be slid to: each costs some 100 kB of the notebook."""
_DASHES = ("solid", "dash", "dot", "dashdot")
_CAMERA = {
    "eye": {"x": 0.0, "y": 0.3, "z": 1.25},
    "center": {"x": 0.0, "y": 0.24, "z": 0.0},
    "up": {"x": 0, "y": 1, "z": 0},
}


def browse_trajectories(motions: Mapping[str, MotionClip], most: int = 4, moved: float = 0.02) -> go.Figure:
    """The channels that move most in each group, hovered over for their values and clicked away in the legend.

    motions: by their names; all are drawn, those after the first one dashed.
    """
    first = next(iter(motions.values()))
    groups = moving_groups(first, most, moved)
    figure = make_subplots(rows=max(len(groups), 1), cols=1, shared_xaxes=True, vertical_spacing=0.03)
    for row, (group, members) in enumerate(groups.items(), 1):
        for (name, motion), dash in zip(motions.items(), _DASHES * len(motions), strict=False):
            times_s = frame_times_s(len(motion), motion.fps)
            for i in members:
                line = {"dash": dash, "width": 1.5}
                label = f"{motion.space.channels[i]}, {name}" if len(motions) > 1 else motion.space.channels[i]
                curve = go.Scatter(x=times_s, y=motion.values[:, i], name=label, line=line, legendgroup=group)
                figure.add_trace(curve, row=row, col=1)
        figure.update_yaxes(title_text=group_label(group), row=row, col=1)
    figure.update_xaxes(title_text="time (s)", row=max(len(groups), 1), col=1)
    figure.update_layout(height=170 * max(len(groups), 1) + 80, template="plotly_white", margin={"t": 30, "b": 40})
    return figure


def view_mesh(head: DrivenHead, motion: MotionClip, most: int = MOST_FRAMES) -> go.Figure:
    """The head in 3D at up to `most` moments spread over a motion, with a slider and a button to play them."""
    picks = np.unique(np.linspace(0, len(motion) - 1, min(most, len(motion))).astype(int)).tolist()
    positions = head.move(motion.at(picks))
    triangles, colours = head.triangles, _vertex_colours(head)
    names = [f"{pick / motion.fps:.2f}" for pick in picks]
    light = {"ambient": 0.7, "diffuse": 0.6, "specular": 0.1, "roughness": 0.7}
    mesh = go.Mesh3d(
        **_places(positions[0]),
        **dict(zip("ijk", triangles.T, strict=True)),
        vertexcolor=colours,
        lighting=light,
        lightposition={"x": -1, "y": 2, "z": 3},
        hoverinfo="skip",
    )
    moments = zip(positions, names, strict=True)
    frames = [go.Frame(data=[go.Mesh3d(**_places(each))], name=name) for each, name in moments]
    figure = go.Figure(data=[mesh], frames=frames)
    hidden, play = {"visible": False}, _play(1000 * motion.duration_s / len(picks))
    figure.update_layout(
        scene={
            **{f"{axis}axis": hidden for axis in "xyz"},
            "aspectmode": "data",
            "camera": _CAMERA,
        },
        height=480,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        sliders=[{"steps": [_step(name) for name in names], "currentvalue": {"suffix": " s"}}],
        updatemenus=[{"type": "buttons", "showactive": False, "buttons": [play]}],
    )
    return figure


def _places(vertices: Float32[np.ndarray, "V 3"]) -> dict[str, np.ndarray]:
    return {axis: np.ascontiguousarray(column) for axis, column in zip("xyz", vertices.T, strict=True)}


def _vertex_colours(head: DrivenHead) -> UInt8[np.ndarray, "V 3"]:
    """The texture's colour at each vertex, darkened where little light gets."""
    high, wide = head.atlas.shape[:2]
    columns = np.clip((head.uv[:, 0] * wide).astype(int), 0, wide - 1)
    rows = np.clip((head.uv[:, 1] * high).astype(int), 0, high - 1)
    return (head.atlas[rows, columns] * head.occlusion[:, None]).clip(0, 255).astype(np.uint8)


def _step(name: str) -> dict[str, object]:
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    return {"args": [[name], still], "label": name, "method": "animate"}


def _play(step_ms: float) -> dict[str, object]:
    moving = {"frame": {"duration": step_ms, "redraw": True}, "transition": {"duration": 0}, "fromcurrent": True}
    return {"label": "play", "method": "animate", "args": [None, moving]}
