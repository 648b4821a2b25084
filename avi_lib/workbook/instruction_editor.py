"""The playground's editor: a timeline of sentences, and sliders that say the same; either rewrites the other.

>>> editor = InstructionEditor("She is furious.", changed, reporting)
>>> editor.units["brow_down"].value = 0.9            # as a person moves it
>>> editor.text.value
'She is furious with her brow strongly down.'
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from html import escape
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import numpy as np

from avi_lib.errors import AviError, InputError
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, levels, quantise
from avi_lib.instruction.grammar import describe, speakers_of
from avi_lib.instruction.instruction import FADE_S, Entry, Instruction, Timeline, understand
from avi_lib.workbook import studio
from avi_lib.workbook.studio import LEVELS, REGIONS, STRENGTHS

MOST_ROWS = 12  # rows of a timeline that a page still shows well; longer ones are files for `avi talk --timeline`
UNNAMED = -1.0  # value of a slider whose action unit the sentence does not name

Reporting = Callable[[], AbstractContextManager[None]]  # A context that shows errors in the page, each in one line
_FLEXIBLE = {"flex": "1 1 auto", "width": "auto"}


def line_of(kind: str, text: str) -> str:
    """A line of the page as HTML; whatever comes from outside is escaped."""
    return f'<div class="avi-{kind}">{escape(text)}</div>'


def hint(text: str) -> Any:
    """A widget with a line of small print."""
    return widgets.HTML(line_of("hint", text))


def connect(act: Callable[[], object], *controls: Any) -> None:
    """Call `act` when one of these buttons is pressed, or one of these values changes."""
    for control in controls:
        if isinstance(control, widgets.Button):
            control.on_click(lambda _: act())
        else:
            control.observe(lambda _: act(), "value")


class InstructionEditor:
    """Rows of a time, a sentence and a fade, and controls for the chosen row; sentence and controls rewrite each other.

    `changed` is called when a person has changed a row, or chosen another one; `show` updates the controls without it.
    `sentence_box` holds the chosen sentence and what is understood of it, `parts_box` its emotion, level and action
    units, `rows_box` the timeline. A sentence that is not valid stays in its box to be corrected.
    """

    def __init__(self, sentence: str, changed: Callable[[], None], reporting: Reporting) -> None:
        self._changed, self._reporting, self._showing, self._wordings = changed, reporting, False, 0
        self.text = widgets.Text(continuous_update=False, layout=_FLEXIBLE)
        self.text.add_class("avi-sentence")
        self.reword = widgets.Button(icon="random", tooltip="the same in other words", layout={"width": "40px"})
        self.reading = widgets.HTML()
        named = [("none", None), *((name, name) for name in EMOTIONS)]
        self.emotion = widgets.ToggleButtons(options=named, style={"button_width": "84px"})
        strengths = [(name, level) for level, name in LEVELS.items()]
        self.level = widgets.SelectionSlider(options=strengths, continuous_update=False, description="level")
        self.level.style.description_width = "50px"
        look: dict[str, Any] = {"layout": {"width": "48%", "min_width": "330px"}, "continuous_update": False}
        look |= {"options": [("·", UNNAMED), *STRENGTHS.items()], "style": {"description_width": "170px"}}
        regions = [{name: widgets.SelectionSlider(**look) for name in names} for names in REGIONS.values()]
        panels = [widgets.Box(list(sliders.values()), layout={"flex_flow": "row wrap"}) for sliders in regions]
        self.regions = widgets.Accordion(children=panels, selected_index=0)
        self.units = {name: slider for sliders in regions for name, slider in sliders.items()}
        self.plus = widgets.Button(description="Add an instruction", icon="plus", layout={"width": "190px"})
        self.write = widgets.Button(description="One for each breath", icon="magic", layout={"width": "190px"})
        self.write.tooltip = "the instructor writes an instruction for every breath group of the speech"
        self._list = widgets.VBox()
        small = hint("Sentence and sliders belong to the row with the lit pencil. At its time it is half faded in.")
        head = widgets.HTML('<div class="avi-hint" style="margin-left:42px">from (s) · sentence · fade (s)</div>')
        self.sentence_box = widgets.VBox([widgets.HBox([self.text, self.reword]), self.reading])
        self.parts_box = widgets.VBox([self.emotion, self.level, self.regions])
        self.rows_box = widgets.VBox([small, head, self._list, widgets.HBox([self.plus, self.write])])
        self.show_timeline(Timeline((Entry(0.0, Instruction.parse(sentence)),)))
        self._edits(lambda: self._take(self.text.value, self.chosen), self.text)
        self._edits(self._emotion_chosen, self.emotion, self.level)
        for name, slider in self.units.items():
            slider.description, slider.tooltip = name.replace("_", " "), f"{name}, {ACTION_UNITS[name].facs} of FACS"
            self._edits(partial(self._unit_moved, name), slider)
        self._edits(lambda: self._rewrite(1), self.reword)
        self._edits(self._added, self.plus)

    def _edits(self, act: Callable[[], None], *controls: Any) -> None:
        """Act on edits by a person; changes by `show` are none."""

        def edit() -> None:
            if not self._showing:
                with self._reporting():
                    act()

        connect(edit, *controls)

    @property
    def current(self) -> Instruction:
        """The instruction of the chosen row."""
        return self.chosen.instruction

    @property
    def timeline(self) -> Timeline:
        """The rows in order of time; InputError for times that are not valid."""
        entries = [Entry(row.at.value, row.instruction, row.fade.value) for row in self.rows]
        return Timeline(tuple(sorted(entries, key=lambda entry: entry.at_s)))

    def set_sentence(self, sentence: str) -> None:
        """Replace the chosen row's sentence without calling `changed`; InputError where it is not valid."""
        self.chosen.instruction = understand(sentence)
        self.show()

    def show_timeline(self, timeline: Timeline) -> None:
        """Show a timeline without calling `changed`; InputError for more rows than a page holds."""
        if len(timeline.entries) > MOST_ROWS:
            do = "use `avi talk --timeline` for longer ones"
            raise InputError(f"at most {MOST_ROWS} rows", str(len(timeline.entries)), do)
        self.rows = [self._row(entry) for entry in timeline.entries]
        self.chosen = self.rows[0]
        self.show()

    def show(self) -> None:
        """All controls from the rows; the first one begins at the start and stays."""
        self._showing = True
        for row in self.rows:
            row.sentence.value = row.instruction.text
            row.pick.button_style = "warning" if row is self.chosen else ""
            row.at.disabled = row.drop.disabled = row is self.rows[0]
        self.rows[0].at.value = 0.0
        self.plus.disabled = len(self.rows) >= MOST_ROWS
        self._list.children = [row.box for row in self.rows]
        chosen, units = self.current, self.current.folded().action_units
        self.text.value, self.reading.value, self.emotion.value = chosen.text, studio.reading(chosen), chosen.emotion
        self.level.disabled = chosen.emotion is None or len(levels(chosen.emotion)) == 1
        self.level.value = 2 if self.level.disabled or chosen.level is None else chosen.level
        for name, slider in self.units.items():
            # A strength between two words shows the nearer one; one too faint for any word is not named.
            strength = units.get(name, UNNAMED)
            slider.value = strength if strength <= 0 else quantise(strength) or UNNAMED
        counts = {region: sum(name in units for name in names) for region, names in REGIONS.items()}
        self.regions.titles = tuple(f"{region} · {named}" if named else region for region, named in counts.items())
        self._showing = False

    def _row(self, entry: Entry) -> SimpleNamespace:
        seconds = {"min": 0.0, "max": 36000.0, "step": 0.1, "layout": {"width": "72px"}}
        row = SimpleNamespace(
            instruction=entry.instruction,
            pick=widgets.Button(icon="pencil", tooltip="edit this one", layout={"width": "36px"}),
            at=widgets.BoundedFloatText(entry.at_s, **seconds),
            sentence=widgets.Text(continuous_update=False, layout=_FLEXIBLE),
            fade=widgets.BoundedFloatText(entry.fade_s, **seconds),
            drop=widgets.Button(icon="times", tooltip="remove", layout={"width": "36px"}),
        )
        row.box = widgets.HBox([row.pick, row.at, row.sentence, row.fade, row.drop])
        row.box.add_class("avi-row")
        self._edits(self._changed, row.at, row.fade)
        self._edits(lambda: self._take(row.sentence.value, row), row.sentence)
        self._edits(lambda: self._take(row.instruction.text, row), row.pick)
        self._edits(lambda: self._dropped(row), row.drop)
        return row

    def _added(self) -> None:
        """Add a row a second after the last one, with the sentence of the chosen one."""
        if len(self.rows) < MOST_ROWS:
            at_s = max(row.at.value for row in self.rows) + 1.0
            self.rows.append(self._row(Entry(at_s, self.current, FADE_S)))
            self._take(self.current.text, self.rows[-1])

    def _dropped(self, row: SimpleNamespace) -> None:
        if len(self.rows) > 1:
            self.rows.remove(row)
            chosen = self.rows[0] if row is self.chosen else self.chosen
            self._take(chosen.instruction.text, chosen)

    def _emotion_chosen(self) -> None:
        emotion = self.emotion.value
        self._rewrite(emotion=emotion, level=None if emotion is None else min(self.level.value, levels(emotion)[-1]))

    def _unit_moved(self, unit: str) -> None:
        units = {**self.current.folded().action_units, unit: self.units[unit].value}
        self._rewrite(action_units={name: value for name, value in units.items() if value != UNNAMED})

    def _rewrite(self, reworded: int = 0, **changed: Any) -> None:
        """Write the sentence of changed parts, about the same speaker; in other words where a person asked for some."""
        old, self._wordings = self.current.folded(), self._wordings + reworded
        parts: dict[str, Any] = {name: getattr(old, name) for name in ("action_units", "emotion", "level")} | changed
        speaker, rng = studio.speaker_of(old.text), np.random.default_rng(self._wordings)
        try:
            if self._wordings:
                self.set_sentence(describe(**parts, rng=rng, speakers=speakers_of(speaker.gender)))
            else:
                self.set_sentence(studio.plain_sentence(**parts, speaker=speaker))
        except AviError:
            self.show()
            raise
        self._changed()

    def _take(self, sentence: str, row: SimpleNamespace) -> None:
        """Take a sentence that a person wrote for a row, and choose that row."""
        row.instruction = understand(sentence)
        self.chosen, self._wordings = row, 0
        self.show()
        self._changed()
