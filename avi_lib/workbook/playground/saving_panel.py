"""What is saved of a face, and as what.

>>> panel = SavingPanel(Path("outputs/playground"))
>>> panel.kinds
('.mp4', '.csv')
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets

from avi_lib.workbook.playground import markup
from avi_lib.workbook.playground.studio import KINDS, VIDEO, WISH

SIZES = (256, 512, 720, 1024)
_TOLD = {VIDEO: "video, as it is shown", WISH: "what was asked for"}
_TICKED = (VIDEO, ".csv", ".glb")


class SavingPanel:
    """A name, kinds of files and the size of the video; `box` is what is shown."""

    def __init__(self, folder: Path) -> None:
        self.name = widgets.Text("face", description="name", layout={"width": "330px"})
        self.size = widgets.Dropdown(options=[(f"{s} px", s) for s in SIZES], value=512, description="video")
        self._boxes = {
            kind: widgets.Checkbox(
                kind in _TICKED, description=f"{kind[1:]}: {_TOLD.get(kind, 'motion')}", indent=False
            )
            for kind in KINDS
        }
        self.save = widgets.Button(description="Save", icon="download", button_style="warning")
        self.saved = widgets.HTML()
        where = widgets.HTML(markup.hint(f"Files go to {folder}; those of the same name are replaced."))
        row = widgets.HBox([self.name, self.size])
        self.box = widgets.VBox([row, *self._boxes.values(), self.save, where, self.saved])

    @property
    def kinds(self) -> tuple[str, ...]:
        """Suffixes of the files that are ticked."""
        return tuple(kind for kind, box in self._boxes.items() if box.value)

    def tick(self, kinds: Sequence[str]) -> None:
        """Tick these kinds and no others."""
        for kind, box in self._boxes.items():
            box.value = kind in kinds

    def report(self, paths: Sequence[Path]) -> None:
        """Name the files that were written, with their sizes."""
        lines = [f"{path.name}  {path.stat().st_size / 1000:,.0f} kB" for path in paths]
        self.saved.value = markup.health(lines)
