"""A button that records the microphone in the browser, without anything installed there.

>>> recorder = Recorder(recorded=lambda sound: print(len(sound)), failed=print)
>>> display(recorder.box)

The browser's MediaRecorder writes WebM or MP4; the page hands it to Python as a data URL through a hidden box of text.
Browsers give out the microphone on this machine's own address and over https only.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets

from avi_lib.errors import InputError

MOST_CHARACTERS = 12 << 20
"""Longest recording that is taken, as text: half an hour of speech."""

_LABELS = {"start": "● Record", "stop": "■ Stop"}
_FAILED = "failed:"

_PRESSED = """
const button = this;
if (button.recorder) { button.recorder.stop(); return; }
const box = button.closest('.avi-record').querySelector('textarea');
const tell = text => {
  box.value = text;
  for (const kind of ['input', 'change']) box.dispatchEvent(new Event(kind, {bubbles: true}));
};
(async () => {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({audio: true});
    const recorder = new MediaRecorder(stream), pieces = [];
    recorder.ondataavailable = event => pieces.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach(track => track.stop());
      button.recorder = null;
      button.textContent = 'START';
      button.classList.remove('avi-on');
      const reader = new FileReader();
      reader.onload = () => tell(reader.result);
      reader.readAsDataURL(new Blob(pieces, {type: recorder.mimeType}));
    };
    recorder.start();
    button.recorder = recorder;
    button.textContent = 'STOP';
    button.classList.add('avi-on');
  } catch (error) { tell('failed:' + Date.now() + ':' + error.message); }
})();
""".replace("START", _LABELS["start"]).replace("STOP", _LABELS["stop"])


class Recorder:
    """Records until it is pressed again; `box` is what is shown.

    Args:
        recorded: called with the bytes of a sound file.
        failed: called with one line for a person.
    """

    def __init__(self, recorded: Callable[[bytes], None], failed: Callable[[str], None]) -> None:
        self._recorded, self._failed = recorded, failed
        button = widgets.HTML(f'<button type="button" onclick="{escape(_PRESSED)}">{_LABELS["start"]}</button>')
        self.sent = widgets.Textarea(continuous_update=False, layout={"display": "none"})
        self.box = widgets.VBox([button, self.sent])
        self.box.add_class("avi-record")
        self.sent.observe(self._came, "value")

    def _came(self, change: Any) -> None:
        sent = change["new"]
        if not sent:
            return
        self.sent.value = ""
        try:
            self._recorded(sound_of(sent))
        except InputError as error:
            self._failed(str(error))


def sound_of(sent: str) -> bytes:
    """The bytes of a data URL of sound; InputError for anything else, and for what the browser could not do."""
    expected = "a recording from the browser"
    if sent.startswith(_FAILED):
        reason = sent.removeprefix(_FAILED).partition(":")[2]
        raise InputError("a microphone", f"{reason} from the browser", "allow it there, or choose a file")
    if len(sent) > MOST_CHARACTERS:
        raise InputError(expected, f"more than {MOST_CHARACTERS >> 20} MB", "name its path instead")
    head, comma, body = sent.partition(",")
    if not (comma and head.startswith(("data:audio/", "data:video/")) and head.endswith(";base64")):
        raise InputError(expected, f"{head[:40]!r}", "record it again")
    try:
        return b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(expected, f"damaged data: {error}", "record it again") from error
