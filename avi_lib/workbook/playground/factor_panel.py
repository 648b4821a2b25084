"""Where each factor of the face comes from, and how strong it is.

>>> panel = FactorPanel(root)
>>> panel["gaze"].source.value, panel["gaze"].value.value = "seed", "3"
>>> panel.factors.gaze.source
'seed:3'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from avi_lib.driving import FILE, OFF, SEED, SPEECH, TEXT
from avi_lib.motion.factors import FACTORS
from avi_lib.settings import Factors, FactorSettings, validated
from avi_lib.workbook.playground import markup

_SOURCES = {
    "the speech": SPEECH,
    "at rest": OFF,
    "another seed": SEED,
    "another sentence": TEXT,
    "a file": FILE,
}
_ASKED = {SEED: "a number", TEXT: "a sentence", FILE: "path of a motion or a video"}
_HINT = (
    "Lips shape sounds; expression is brows, cheeks, nose, tense lids and mouth corners. "
    "A factor changed here leaves the channels of all others as they are."
)


class FactorRow:
    """Source, its value, and strength of one factor."""

    def __init__(self, factor: str) -> None:
        self.source = widgets.Dropdown(
            options=list(_SOURCES.items()),
            description=factor,
            style={"description_width": "80px"},
            layout={"width": "240px"},
        )
        self.value = widgets.Text(continuous_update=False, disabled=True, layout={"width": "190px"})
        self.strength = widgets.FloatSlider(1.0, min=0, max=3, step=0.05, continuous_update=False)
        self.strength.layout.width = "200px"
        self.box = widgets.HBox([self.source, self.value, self.strength], layout={"flex_flow": "row wrap"})
        self.source.observe(lambda _: self._sourced(), "value")

    def _sourced(self) -> None:
        asked = _ASKED.get(self.source.value)
        self.value.disabled, self.value.placeholder = asked is None, asked or ""

    @property
    def complete(self) -> bool:
        """Whether a source that needs a value has one."""
        return self.source.value not in _ASKED or bool(self.value.value.strip())

    def settings(self, root: Path) -> FactorSettings:
        """What the row says; a source that still waits for its value is the speech. Paths are seen from `root`."""
        kind, value = self.source.value, self.value.value.strip()
        source = SPEECH if not self.complete else kind
        if self.complete and kind in (SEED, TEXT):
            source = f"{kind}:{value}"
        elif self.complete and kind == FILE:
            source = str(root / value)
        return validated(FactorSettings, source=source, strength=self.strength.value)


class FactorPanel:
    """A row for each factor; `box` is what is shown."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rows = {factor: FactorRow(factor) for factor in FACTORS}
        self.box = widgets.VBox([row.box for row in self._rows.values()] + [widgets.HTML(markup.hint(_HINT))])

    @property
    def factors(self) -> Factors:
        """What the rows say."""
        return Factors(**{factor: row.settings(self._root) for factor, row in self._rows.items()})

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call whenever a row says something else; one that waits for its value says nothing yet."""
        for row in self._rows.values():

            def told(_: Any, row: FactorRow = row) -> None:
                if row.complete:
                    changed()

            for control in (row.source, row.value, row.strength):
                control.observe(told, "value")

    def __getitem__(self, factor: str) -> FactorRow:
        return self._rows[factor]
