"""Sliders for every action unit, by the region of the face.

>>> sliders = UnitSliders()
>>> sliders.show({"brow_down": 0.9})
>>> sliders.values
{'brow_down': 0.9}

A slider stands at "·" for what the sentence does not name, at "without" for what it forbids, else at the word for how
much: the strengths are those that words can say, so a sentence and its sliders say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.instruction.vocabulary import quantise
from avi_lib.workbook.playground.wording import STRENGTHS

REGIONS: dict[str, tuple[str, ...]] = {
    "Brows": ("inner_brow_raise", "outer_brow_raise", "left_brow_raise", "right_brow_raise", "brow_down"),
    "Lids": (
        *("upper_lid_raise", "lid_tighten", "lid_droop", "eyes_closed", "left_wink", "right_wink"),
        *("blink_more", "blink_less"),
    ),
    "Gaze": ("gaze_left", "gaze_right", "gaze_up", "gaze_down", "gaze_away"),
    "Cheeks, nose": ("cheek_raise", "cheek_puff", "nose_wrinkle"),
    "Mouth corners": (
        *("lip_corner_pull", "left_lip_corner_pull", "right_lip_corner_pull"),
        *("lip_corner_down", "dimple", "lip_stretch"),
    ),
    "Lips": (
        *("upper_lip_raise", "lower_lip_down", "pucker", "funnel"),
        *("lip_tighten", "lip_press", "lips_part", "lip_roll"),
    ),
    "Jaw, chin, tongue": ("jaw_drop", "jaw_forward", "jaw_left", "jaw_right", "chin_raise", "tongue_show"),
    "Head": (
        *("head_turn_left", "head_turn_right", "head_up", "head_down", "head_tilt_left", "head_tilt_right"),
        *("head_nod", "head_shake"),
    ),
}
"""Every action unit, where a person looks for it."""

UNSAID = -1.0
"""Value of a slider whose unit the sentence does not name."""
_OPTIONS = [("·", UNSAID), *STRENGTHS.items()]


class UnitSliders:
    """A slider for each action unit; `box` is what is shown."""

    def __init__(self) -> None:
        self._sliders = {name: _slider(name) for names in REGIONS.values() for name in names}
        panels = [_panel([self._sliders[name] for name in names]) for names in REGIONS.values()]
        self.box = widgets.Accordion(children=panels, titles=tuple(REGIONS), selected_index=0)

    @property
    def values(self) -> dict[str, float]:
        """Strength of every unit that is said, 0 for those that are forbidden."""
        return {name: slider.value for name, slider in self._sliders.items() if slider.value != UNSAID}

    def show(self, units: Mapping[str, float]) -> None:
        """Move the sliders to strengths 0-1, each to the nearest that a word says; the others to unsaid."""
        for name, slider in self._sliders.items():
            slider.value = _nearest(units.get(name))
        self.box.titles = tuple(
            f"{region} · {said}" if (said := sum(name in units for name in names)) else region
            for region, names in REGIONS.items()
        )

    def on_move(self, moved: Callable[[str, float | None], None]) -> None:
        """Call with a unit and its strength, None for unsaid, when its slider was moved."""
        for name, slider in self._sliders.items():

            def told(change: Any, name: str = name) -> None:
                moved(name, None if change["new"] == UNSAID else change["new"])

            slider.observe(told, "value")

    def __getitem__(self, unit: str) -> widgets.SelectionSlider:
        return self._sliders[unit]


def _nearest(strength: float | None) -> float:
    """What a slider shows of a strength; one too faint for any word is not said."""
    if strength is None:
        return UNSAID
    return quantise(strength) or (UNSAID if strength else 0.0)


def _slider(name: str) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(
        options=_OPTIONS,
        value=UNSAID,
        continuous_update=False,
        description=name.replace("_", " "),
        tooltip=f"{name}, {ACTION_UNITS[name].facs} of FACS",
        style={"description_width": "124px"},
        layout={"width": "48%", "min_width": "280px"},
    )


def _panel(sliders: list[widgets.SelectionSlider]) -> widgets.Box:
    return widgets.Box(sliders, layout={"flex_flow": "row wrap"})
