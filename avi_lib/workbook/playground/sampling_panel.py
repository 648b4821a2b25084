"""How a face is drawn: seed, samples, guidance, steps.

>>> panel = SamplingPanel(seed=7)
>>> panel.guidance.value = 2.5
>>> panel.settings.guidance, panel.seed.value, panel.samples.value
(2.5, 7, 1)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import ipywidgets as widgets

from avi_lib.settings import SampleSettings, validated
from avi_lib.workbook.playground import markup

MOST_SEED = 2**31 - 1
MOST_SAMPLES = 4
STEPS = (2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250)
"""Denoising steps that divide 1000, up to what a preview waits for."""
_HINT = (
    "A seed is where the noise comes from: the same one gives the same face. Guidance 1 follows the sentence, more "
    "exaggerates it. Of several candidates the one nearest to the sentence is taken; samples are shown side by side."
)


class SamplingPanel:
    """Controls of the diffusion prior; `box` is what is shown."""

    def __init__(self, seed: int, settings: SampleSettings | None = None) -> None:
        first = settings or SampleSettings()
        self.seed = widgets.BoundedIntText(seed, min=0, max=MOST_SEED, description="seed", **_look("220px"))
        self.other = widgets.Button(description="Another", icon="refresh", layout={"width": "110px"})
        self.samples = widgets.IntSlider(1, min=1, max=MOST_SAMPLES, description="samples", **_slides())
        self.guidance = widgets.FloatSlider(
            first.guidance, min=0, max=10, step=0.25, description="guidance", **_slides()
        )
        self.steps = widgets.SelectionSlider(
            options=sorted({*STEPS, first.steps}), value=first.steps, description="steps", **_slides()
        )
        self.candidates = widgets.IntSlider(first.candidates, min=1, max=16, description="candidates", **_slides())
        samplers = get_args(SampleSettings.model_fields["sampler"].annotation)
        self.sampler = widgets.Dropdown(options=samplers, value=first.sampler, description="sampler", **_look("220px"))
        sliders = [self.samples, self.guidance, self.steps, self.candidates, self.sampler]
        self.box = widgets.VBox([widgets.HBox([self.seed, self.other]), *sliders, widgets.HTML(markup.hint(_HINT))])
        self.other.on_click(lambda _: self._next())

    def leave_style(self) -> None:
        """Switch off what tells the prior how to draw, for faces that it does not draw."""
        for control in (self.guidance, self.steps, self.candidates, self.sampler):
            control.disabled = True

    @property
    def settings(self) -> SampleSettings:
        """What the controls say of the prior."""
        return validated(
            SampleSettings,
            sampler=self.sampler.value,
            steps=self.steps.value,
            guidance=self.guidance.value,
            candidates=self.candidates.value,
        )

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call whenever a control was moved."""
        for control in (self.seed, self.samples, self.guidance, self.steps, self.candidates, self.sampler):
            control.observe(lambda _: changed(), "value")

    def _next(self) -> None:
        self.seed.value = (self.seed.value + 1) % MOST_SEED


def _look(width: str) -> dict[str, Any]:
    return {"style": {"description_width": "90px"}, "layout": {"width": width}}


def _slides() -> dict[str, Any]:
    return {"continuous_update": False, **_look("420px")}
