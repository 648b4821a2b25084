"""Where the speech comes from: a sample, a path, a file from the browser, or the microphone.

>>> picker = SpeechPicker(root, "data/samples/arctic.flac", tell=print)
>>> picker.recording.name, picker.recording.words
('arctic.flac', 'And you always want to see it in the superlative degree.')

What is uploaded or recorded lies in a temporary folder of this process, under the plain letters of its name. Nothing is
believed of it: it goes through the checks of `load_speech` like any other file.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from avi_lib.speech.audio import Speech
from avi_lib.workbook.playground import markup
from avi_lib.workbook.playground.recorder import Recorder
from avi_lib.workbook.playground.studio import Recording

SAMPLES = Path("data", "samples")
_UNUSUAL, _LONGEST_NAME = re.compile(r"[^A-Za-z0-9_.-]"), 80
_HINT = (
    "Files of up to some 10 MB come through the browser; name the path of larger ones, seen from the project's folder. "
    "With the words that are said the lips are sharper; they may be left out."
)


class SpeechPicker:
    """Controls for choosing speech, and what was found in it; `box` is what is shown.

    Args:
        root: the project's folder; paths are seen from it.
        first: path of the recording to begin with.
        tell: called with one line for a person where a recording cannot be had.
        words: what is said in it; looked up for samples where it is "".
    """

    def __init__(self, root: Path, first: str, tell: Callable[[str], None], words: str = "") -> None:
        self._root, self._known = root, _known(root)
        self._picked: list[Callable[[], None]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="avi-playground-")
        self._numbers = count()
        self.recording = self._at(first, words)
        narrow = {"width": "126px"}
        names = [("samples …", ""), *((f"{Path(path).stem}: {told}", path) for path, (_, told) in self._known.items())]
        self.samples = widgets.Dropdown(options=names, value=first if first in self._known else "", layout=narrow)
        self.path = widgets.Text(placeholder="or a path", continuous_update=False, layout={"width": "auto"})
        self.upload = widgets.FileUpload(accept="audio/*,video/*", description="Upload", layout=narrow)
        self.recorder = Recorder(self._recorded, tell)
        self.words = widgets.Text(
            self.recording.words,
            placeholder="what is said (optional)",
            continuous_update=False,
            layout={"width": "auto"},
        )
        self.write = widgets.Button(description="Write it", icon="magic", layout=narrow)
        self.write.tooltip = "the instructor listens, and writes what the face should do"
        self.health = widgets.HTML()
        self.picture = widgets.Image(format="png", layout={"width": "100%", "display": "none"})
        self.box = widgets.VBox(
            [
                widgets.HBox([self.samples, self.upload, self.recorder.box, self.write], layout={"flex_flow": "wrap"}),
                self.path,
                self.words,
                widgets.HTML(markup.hint(_HINT)),
                self.health,
                self.picture,
            ]
        )
        self.samples.observe(self._chosen, "value")
        self.path.observe(self._chosen, "value")
        self.words.observe(self._told, "value")
        self.upload.observe(self._uploaded, "value")

    def on_pick(self, picked: Callable[[], None]) -> None:
        """Call when there is another `recording`."""
        self._picked.append(picked)

    def report(self, speech: Speech) -> None:
        """Show the health of what was loaded."""
        self.health.value = markup.health(speech.report.lines())

    def close(self) -> None:
        """Remove what was uploaded and recorded."""
        self._folder.cleanup()

    def _at(self, path: str, words: str = "") -> Recording:
        known, _ = self._known.get(path, ("", ""))
        return Recording(self._root / path, Path(path).name, words or known)

    def _chosen(self, change: Any) -> None:
        if change["new"].strip():
            self._take(self._at(change["new"].strip()))

    def _told(self, change: Any) -> None:
        if change["new"].strip() != self.recording.words:
            self._take(self.recording._replace(words=change["new"].strip()))

    def _uploaded(self, change: Any) -> None:
        for each in change["new"]:
            self._take(self._kept(bytes(each["content"]), str(each["name"])))

    def _recorded(self, sound: bytes) -> None:
        self._take(self._kept(sound, "the microphone"))

    def _kept(self, content: bytes, name: str) -> Recording:
        folder = Path(self._folder.name, str(next(self._numbers)))
        folder.mkdir()
        path = folder / (_UNUSUAL.sub("_", name)[-_LONGEST_NAME:].lstrip(".") or "speech")
        path.write_bytes(content)
        return Recording(path, name)

    def _take(self, recording: Recording) -> None:
        self.recording = recording
        self.words.value = recording.words
        seen = {str(self._root / path): path for path in self._known}.get(str(recording.path), "")
        self.samples.value = seen
        if seen or recording.path.is_relative_to(self._folder.name):
            self.path.value = ""
        for picked in self._picked:
            picked()


def _known(root: Path) -> dict[str, tuple[str, str]]:
    """Words and description of every sample by its path; none where the samples are absent."""
    index = root / SAMPLES / "index.csv"
    if not index.is_file():
        return {}
    with index.open(encoding="utf-8", newline="") as stream:
        return {
            (SAMPLES / row["file"]).as_posix(): (row["text"], f"{row['emotion']}, {row['duration_s']} s")
            for row in csv.DictReader(stream)
        }
