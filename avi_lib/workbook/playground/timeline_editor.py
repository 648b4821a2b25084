"""The timeline: rows of a time, a sentence and a fade; the row that is chosen is the one the sliders speak of.

>>> editor = TimelineEditor("She is calm.")
>>> editor.add(at_s=2.4)
>>> editor.sentence = "She is furious."        # of the chosen row, which is the one added last
>>> [entry.at_s for entry in editor.timeline.entries]
[0.0, 2.4]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import FADE_S, Entry, Timeline
from avi_lib.workbook.playground import markup

STEP_S = 1.0
"""How long after the last row another one begins where nothing else is said."""
MOST_ROWS = 12
"""Rows that a page still shows well; longer timelines are files for `avi talk --timeline`."""

_HINT = (
    "The sentence above, its sliders and “reword” belong to the row whose pencil is lit. "
    "At its time half of an instruction has come on; the fade says how long that takes."
)


class _Row:
    """A time, a sentence and a fade, in seconds."""

    def __init__(self, at_s: float, sentence: str, fade_s: float) -> None:
        self.pick = widgets.ToggleButton(icon="pencil", tooltip="edit this one", layout={"width": "36px"})
        self.at = _seconds(at_s, "72px")
        self.sentence = widgets.Text(sentence, continuous_update=False, layout={"flex": "1 1 auto", "width": "auto"})
        self.fade = _seconds(fade_s, "72px")
        self.drop = widgets.Button(icon="times", tooltip="remove", layout={"width": "36px"})
        for button in (self.pick, self.drop):
            button.add_class("avi-icon")
        self.box = widgets.HBox([self.pick, self.at, self.sentence, self.fade, self.drop])

    @property
    def entry(self) -> Entry:
        """What the row says; InputError where it says nothing."""
        return Entry(self.at.value, Instruction.parse(self.sentence.value), self.fade.value)


class TimelineEditor:
    """Rows of instructions, one of them chosen; `box` is what is shown, `picture` is for a plot of it."""

    def __init__(self, sentence: str) -> None:
        self._changed: list[Callable[[], None]] = []
        self._quiet = False
        self._rows: list[_Row] = []
        self._chosen = 0
        self._list = widgets.VBox()
        self.plus = widgets.Button(description="Add an instruction", icon="plus", layout={"width": "190px"})
        self.hear = widgets.Button(description="One for each breath", icon="magic", layout={"width": "190px"})
        self.hear.tooltip = "the instructor writes an instruction for every breath group of the speech"
        self.picture = widgets.Image(format="png", layout={"width": "100%", "display": "none"})
        head = widgets.HTML('<div class="avi-hint" style="margin-left:42px">from (s) · sentence · fade (s)</div>')
        buttons = widgets.HBox([self.plus, self.hear])
        self.box = widgets.VBox([widgets.HTML(markup.hint(_HINT)), head, self._list, buttons, self.picture])
        self.plus.on_click(lambda _: self._added())
        self.show(Timeline((Entry(0.0, Instruction.parse(sentence)),)))

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call whenever a person has changed a row, or chosen another one."""
        self._changed.append(changed)

    @property
    def timeline(self) -> Timeline:
        """What the rows say in order of time; InputError names what cannot be."""
        return Timeline(tuple(sorted((row.entry for row in self._rows), key=lambda entry: entry.at_s)))

    def at(self, number: int) -> widgets.BoundedFloatText:
        """The time of a row, in seconds."""
        return self._rows[number].at

    @property
    def sentence(self) -> str:
        """The sentence of the row that is chosen."""
        return str(self._rows[self._chosen].sentence.value)

    @sentence.setter
    def sentence(self, text: str) -> None:
        """Set without telling anybody."""
        self._quiet, before = True, self._quiet
        self._rows[self._chosen].sentence.value = text
        self._quiet = before

    def show(self, timeline: Timeline) -> None:
        """Take a timeline over without telling anybody; InputError for more rows than a page holds."""
        if len(timeline.entries) > MOST_ROWS:
            got = f"{len(timeline.entries)}"
            raise InputError(f"at most {MOST_ROWS} rows", got, "use `avi talk --timeline` for longer ones")
        self._rows = [self._row(entry.at_s, entry.instruction.text, entry.fade_s) for entry in timeline.entries]
        self._choose(0)

    def add(self, at_s: float | None = None, fade_s: float = FADE_S) -> None:
        """Another row behind the last one, saying the same as the chosen one until it is edited; it is chosen.

        InputError where there are as many as a page holds.
        """
        if len(self._rows) >= MOST_ROWS:
            raise InputError(f"at most {MOST_ROWS} rows", "one more", "use `avi talk --timeline` for longer ones")
        latest_s = max(row.at.value for row in self._rows)
        self._rows.append(self._row(latest_s + STEP_S if at_s is None else at_s, self.sentence, fade_s))
        self._choose(len(self._rows) - 1)

    def _added(self) -> None:
        if len(self._rows) < MOST_ROWS:
            self.add()
            self._tell()

    def _row(self, at_s: float, sentence: str, fade_s: float) -> _Row:
        row = _Row(at_s, sentence, fade_s)
        for control in (row.at, row.sentence, row.fade):
            control.observe(lambda _: self._tell(), "value")
        row.pick.observe(lambda change: self._picked(row, change["new"]), "value")
        row.drop.on_click(lambda _: self._dropped(row))
        return row

    def _picked(self, row: _Row, lit: bool) -> None:
        if not self._quiet and row in self._rows:
            self._choose(self._rows.index(row) if lit else self._chosen)
            self._tell()

    def _dropped(self, row: _Row) -> None:
        if row in self._rows and len(self._rows) > 1:
            self._rows.remove(row)
            self._choose(min(self._chosen, len(self._rows) - 1))
            self._tell()

    def _choose(self, number: int) -> None:
        """Light the pencil of a row; the first row begins at the start, and the last one left cannot go."""
        self._quiet, before = True, self._quiet
        self._chosen = number
        for place, row in enumerate(self._rows):
            row.pick.value = place == number
            row.pick.button_style = "warning" if place == number else ""
            row.at.disabled = row.drop.disabled = place == 0
        self._rows[0].at.value = 0.0
        self.plus.disabled = len(self._rows) >= MOST_ROWS
        self._list.children = [row.box for row in self._rows]
        self._quiet = before

    def _tell(self) -> None:
        if not self._quiet:
            for changed in self._changed:
                changed()


def _seconds(value: float, width: str) -> Any:
    return widgets.BoundedFloatText(value, min=0.0, max=36000.0, step=0.1, layout={"width": width})
