"""Views of what was made that take a moment to draw: curves, and the head in 3D. Only the one that is seen is drawn.

>>> curves = View(curves_of)
>>> curves.draw(face)
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure
from plotly.graph_objects import Figure as PlotlyFigure

from avi_lib.talk import Talk

PLOTLY = "application/vnd.plotly.v1+json"
_DPI = 90


class View:
    """A plotly figure of what was made, drawn when it is asked for; `box` is what is shown."""

    def __init__(self, figure_of: Callable[[Mapping[str, Talk]], PlotlyFigure]) -> None:
        self._figure_of = figure_of
        self._drawn: Mapping[str, Talk] | None = None
        self.box = widgets.Output()

    def draw(self, talks: Mapping[str, Talk]) -> None:
        """Show talks by their names, unless they are shown already."""
        if talks is self._drawn:
            return
        self.box.outputs = (as_output(self._figure_of(talks)),)
        self._drawn = talks


def as_output(figure: PlotlyFigure) -> dict[str, Any]:
    """A plotly figure as the output of a cell, which JupyterLab draws with what it has itself."""
    data = {PLOTLY: json.loads(figure.to_json()), "text/plain": "a plotly figure"}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def as_png(figure: Figure) -> bytes:
    """A matplotlib figure as a picture."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()
