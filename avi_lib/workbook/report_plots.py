"""Plots of the evaluation report: estimates with intervals, lip gaps of systems, faces before the judge, confusions.

>>> picture = Picture("Held-out speakers", png_of(plot_estimates(table)))

Every function returns a matplotlib figure that is shown once, where it is displayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from avi_lib.evaluation.report import DIFFERENCE, Matrix, Table
from avi_lib.evaluation.systems import Scene
from avi_lib.face.head import Head
from avi_lib.workbook.motion_plots import CURVE_COLOURS
from avi_lib.workbook.plots import INK, WIDTH_IN, frame_times_s, panels, shade_bilabials

COLUMNS = 4


def png_of(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as the bytes of a PNG, the same ones whenever it is the same figure."""
    sink = BytesIO()
    figure.savefig(sink, format="png", dpi=dpi, metadata={"Software": None})
    return sink.getvalue()


def plot_estimates(table: Table) -> Figure:
    """A panel a measure: every system's mean with its interval. Differences are left out: their scale is another."""
    systems = [system for system in table.systems if system != DIFFERENCE]
    rows = -(-len(table.measures) // COLUMNS)
    height = 0.28 * len(systems) + 0.75
    figure, grid = panels(rows, COLUMNS, figsize=(WIDTH_IN, rows * height + 0.2), sharey=True, squeeze=False)
    for panel in grid.flat[len(table.measures) :]:
        panel.axis("off")
    for panel, (name, measure) in zip(grid.flat, table.measures.items(), strict=False):
        for row, system in enumerate(systems):
            found = table.estimates.get((name, system))
            if found is None or not np.isfinite(found.value):
                continue
            colour = CURVE_COLOURS[row % len(CURVE_COLOURS)]
            panel.plot(found.value, row, "o", color=colour, markersize=5)
            panel.plot([found.low, found.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        arrow = {"higher": "→", "lower": "←", "near": ""}[measure.better]
        panel.set_title(f"{measure.title}{f' ({measure.unit})' if measure.unit else ''} {arrow}", fontsize=8.5)
        panel.margins(0.12, 0.25)
        panel.grid(axis="x", linewidth=0.4, alpha=0.6)
        panel.tick_params(labelsize=8)
        panel.xaxis.set_major_locator(MaxNLocator(4))
    grid[0, 0].set_yticks(range(len(systems)), systems)
    grid[0, 0].invert_yaxis()
    return figure


def plot_scene_gaps(scene: Scene, head: Head) -> Figure:
    """The lip gap of every system over a scene; /m b p/ are shaded."""
    count = len(scene.motions)
    figure, grid = panels(count, 1, figsize=(WIDTH_IN, 1.15 * count + 0.6), sharex=True, sharey=True, squeeze=False)
    for row, (panel, (system, curves)) in enumerate(zip(grid[:, 0], scene.motions.items(), strict=True)):
        gap_mm = 1000 * head.lip_gap(curves.clip.values)
        colour = CURVE_COLOURS[row % len(CURVE_COLOURS)]
        panel.plot(frame_times_s(len(gap_mm), curves.clip.fps), gap_mm, color=colour, linewidth=1.2)
        panel.axhline(0, color=INK, linewidth=0.4)
        panel.set_ylabel("mm")
        panel.set_title(system, fontsize=9, loc="left")
        shade_bilabials(panel, scene.heard.phones)
    grid[-1, 0].set(xlabel="seconds", xlim=(0, scene.heard.duration_s))
    return figure


def plot_faces(faces: Mapping[str, Mapping[str, UInt8[np.ndarray, "height width 3"]]]) -> Figure:
    """A row a system, a column an emotion."""
    emotions = list(next(iter(faces.values())))
    side = WIDTH_IN / len(emotions)
    figure, grid = panels(len(faces), len(emotions), figsize=(WIDTH_IN, len(faces) * side * 1.25), squeeze=False)
    for row, (system, shown) in zip(grid, faces.items(), strict=True):
        for panel, emotion in zip(row, emotions, strict=True):
            side_px = len(shown[emotion])
            panel.imshow(shown[emotion][side_px // 10 : side_px * 8 // 10, side_px * 3 // 20 : side_px * 17 // 20])
            panel.set(xticks=[], yticks=[])
            panel.set_title(emotion, fontsize=8)
        row[0].set_ylabel(system, fontsize=9)
    return figure


def plot_confusions(matrices: Sequence[Matrix]) -> Figure:
    """What was asked for (rows) and seen (columns), side by side; the darker, the larger the share of a row."""
    figure, grid = panels(1, len(matrices), figsize=(WIDTH_IN, 4.4), sharey=True, squeeze=False)
    for panel, matrix in zip(grid[0], matrices, strict=True):
        shares = matrix.counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(matrix.counts):
            colour = "white" if shares[i, j] > 0.6 else INK
            panel.text(j, i, str(matrix.counts[i, j]), ha="center", va="center", fontsize=8, color=colour)
        panel.set_xticks(range(len(matrix.columns)), matrix.columns, rotation=45, ha="right", fontsize=8)
        panel.set_yticks(range(len(matrix.rows)), matrix.rows, fontsize=8)
        panel.set_title(matrix.title, fontsize=9)
    return figure
