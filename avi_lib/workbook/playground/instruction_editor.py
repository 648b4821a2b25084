"""The instruction as a sentence and as sliders; each rewrites the other.

>>> editor = InstructionEditor("She is furious.", tell=print)
>>> editor.emotion.value, editor.level.value
('angry', 3)
>>> editor.units["brow_down"].value = 0.3
>>> editor.instruction.text
'She feels furious and speaks with brow slightly down.'
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets
import numpy as np

from avi_lib.errors import AviError
from avi_lib.instruction.grammar import describe, speakers_of
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import EMOTIONS, levels
from avi_lib.workbook.playground import markup
from avi_lib.workbook.playground.unit_sliders import UnitSliders
from avi_lib.workbook.playground.wording import plain_sentence, speaker_of

MIDDLE = 2
NONE = ""
"""Value of the buttons where no emotion is said."""


class InstructionEditor:
    """A sentence, what is understood of it, and controls for its parts.

    Args:
        sentence: the first one.
        tell: called with one line for a person where a sentence or a move of a slider cannot be.

    `sentence_box` holds the sentence, `parts_box` emotion, level and action units.
    """

    def __init__(self, sentence: str, tell: Callable[[str], None]) -> None:
        self.instruction = Instruction.parse(sentence)
        self._tell = tell
        self._changed: list[Callable[[], None]] = []
        self._linking, self._wordings = False, 0
        self.text = widgets.Text(continuous_update=False, layout={"flex": "1 1 auto", "width": "auto"})
        self.text.add_class("avi-sentence")
        self.reword = widgets.Button(icon="random", tooltip="the same in other words", layout={"width": "40px"})
        self.reading = widgets.HTML()
        self.emotion = widgets.ToggleButtons(
            options=[("none", NONE), *((name, name) for name in EMOTIONS)], style={"button_width": "84px"}
        )
        self.level = widgets.SelectionSlider(
            options=[(name, level) for level, name in markup.LEVELS.items()],
            continuous_update=False,
            description="level",
            style={"description_width": "50px"},
        )
        self.units = UnitSliders()
        self.sentence_box = widgets.VBox([widgets.HBox([self.text, self.reword]), self.reading])
        self.parts_box = widgets.VBox([self.emotion, self.level, self.units.box])
        self.say(sentence)
        self.text.observe(self._typed, "value")
        self.emotion.observe(self._felt, "value")
        self.level.observe(self._felt, "value")
        self.units.on_move(self._moved)
        self.reword.on_click(lambda _: self._reworded())

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call whenever a person has made it another instruction."""
        self._changed.append(changed)

    def say(self, sentence: str) -> None:
        """Take a sentence over without telling anybody; InputError where it is none."""
        self.instruction = Instruction.parse(sentence)
        self._show()

    def restore(self) -> None:
        """Put the sentence that holds back into the box, where something was left that is none."""
        if self.text.value != self.instruction.text:
            self._show()

    def _show(self) -> None:
        """Sentence, reading and sliders from the instruction."""
        told = self.instruction
        with self._quietly():
            self.text.value = told.text
            self.reading.value = markup.reading(told)
            self.emotion.value = told.emotion or NONE
            self.level.disabled = told.emotion is None or len(levels(told.emotion)) == 1
            self.level.value = MIDDLE if told.level is None or self.level.disabled else told.level
            self.units.show(told.action_units)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """What is changed here is not a person's doing."""
        self._linking, before = True, self._linking
        try:
            yield
        finally:
            self._linking = before

    def _typed(self, _: Any) -> None:
        if self._linking:
            return
        self._wordings = 0
        self._take(self.text.value)

    def _felt(self, _: Any) -> None:
        if self._linking:
            return
        emotion = self.emotion.value or None
        level = None if emotion is None else min(self.level.value, levels(emotion)[-1])
        self._rewrite(self.instruction.action_units, emotion, level)

    def _moved(self, unit: str, strength: float | None) -> None:
        if self._linking:
            return
        units = {name: value for name, value in self.instruction.action_units.items() if name != unit}
        if strength is not None:
            units[unit] = strength
        self._rewrite(units, self.instruction.emotion, self.instruction.level)

    def _reworded(self) -> None:
        self._wordings += 1
        told = self.instruction
        self._rewrite(told.action_units, told.emotion, told.level)

    def _rewrite(self, units: Mapping[str, float], emotion: str | None, level: int | None) -> None:
        """A sentence for other parts, about the same speaker."""
        speaker = speaker_of(self.instruction.text)
        try:
            if self._wordings:
                speakers, rng = speakers_of(speaker.gender), np.random.default_rng(self._wordings)
                sentence = describe(units, emotion, level, rng=rng, speakers=speakers)
            else:
                sentence = plain_sentence(units, emotion, level, speaker)
        except AviError as error:
            self._tell(str(error))
            self._show()
            return
        self._take(sentence)

    def _take(self, sentence: str) -> None:
        """A person's sentence; what cannot be one is told, and left in the box to be corrected."""
        try:
            self.say(sentence)
        except AviError as error:
            self._tell(str(error))
            return
        for changed in self._changed:
            changed()
