"""The playground: a page of controls over one talking face, with a preview a second after every edit.

>>> playground = Playground(project_root(), Path("outputs/playground"), "data/samples/arctic.flac", "She is furious.")
>>> playground.listen()
>>> playground.instruction.text.value = "She is sad."     # every control can be set from code as well
>>> playground.wait()                                     # returns when what follows from it is made
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import numpy as np
from jaxtyping import UInt8

from avi_lib.errors import AviError, InputError
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, levels, quantise
from avi_lib.instruction.grammar import describe, speakers_of
from avi_lib.instruction.instruction import FADE_S, Entry, Instruction, Timeline, understand
from avi_lib.motion.clip import FACTORS
from avi_lib.settings import Factors, FactorSettings, SampleSettings, TalkSettings, validated
from avi_lib.talker import FILE, OFF, SEED, SPEECH, TEXT, Talk
from avi_lib.workbook import studio
from avi_lib.workbook.plots import browse_trajectories, plot_recording, plot_timeline, png_of, view_mesh
from avi_lib.workbook.studio import LEVELS, REGIONS, STRENGTHS, A, B, Recording, Request, Studio

PREVIEW_PX = 256
BOTH = f"{A} | {B}"
MOST_ROWS = 12  # rows of a timeline that a page still shows well; longer ones are files for `avi talk --timeline`
UNNAMED = -1.0  # value of a slider whose action unit the sentence does not name

Reporting = Callable[[], AbstractContextManager[None]]  # a context that shows errors in the page, each in one line
_SOURCES = {"the speech": SPEECH, "at rest": OFF, "another seed": SEED, "another sentence": TEXT, "a file": FILE}
_SOURCE_VALUES = {SEED: "a number", TEXT: "a sentence", FILE: "path of a motion or a video"}
_WIDE = {"width": "auto"}
_FLEXIBLE = {"flex": "1 1 auto", "width": "auto"}
_STYLE, _RECORD = (Path(__file__).with_name(name).read_text("utf-8") for name in ("playground.css", "recorder.js"))


def _div(kind: str, text: str) -> str:
    """A line of the page; whatever comes from outside is escaped."""
    return f'<div class="avi-{kind}">{escape(text)}</div>'


def _hint(text: str) -> Any:
    return widgets.HTML(_div("hint", text))


def _connect(act: Callable[[], object], *controls: Any) -> None:
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
        look: dict[str, Any] = {"layout": {"width": "48%", "min_width": "280px"}, "continuous_update": False}
        look |= {"options": [("·", UNNAMED), *STRENGTHS.items()], "style": {"description_width": "124px"}}
        regions = [{name: widgets.SelectionSlider(**look) for name in names} for names in REGIONS.values()]
        panels = [widgets.Box(list(sliders.values()), layout={"flex_flow": "row wrap"}) for sliders in regions]
        self.regions = widgets.Accordion(children=panels, selected_index=0)
        self.units = {name: slider for sliders in regions for name, slider in sliders.items()}
        self.plus = widgets.Button(description="Add an instruction", icon="plus", layout={"width": "190px"})
        self.write = widgets.Button(description="One for each breath", icon="magic", layout={"width": "190px"})
        self.write.tooltip = "the instructor writes an instruction for every breath group of the speech"
        self._list = widgets.VBox()
        hint = _hint("Sentence and sliders belong to the row with the lit pencil. At its time it is half faded in.")
        head = widgets.HTML('<div class="avi-hint" style="margin-left:42px">from (s) · sentence · fade (s)</div>')
        self.sentence_box = widgets.VBox([widgets.HBox([self.text, self.reword]), self.reading])
        self.parts_box = widgets.VBox([self.emotion, self.level, self.regions])
        self.rows_box = widgets.VBox([hint, head, self._list, widgets.HBox([self.plus, self.write])])
        self.show_timeline(Timeline((Entry(0.0, Instruction.parse(sentence)),)))
        self._edits(lambda: self._take(self.text.value, self.chosen), self.text)
        self._edits(self._emotion_chosen, self.emotion, self.level)
        for name, slider in self.units.items():
            slider.description, slider.tooltip = name.replace("_", " "), f"{name}, {ACTION_UNITS[name].facs} of FACS"
            self._edits(partial(self._unit_moved, name), slider)
        self._edits(self._reworded, self.reword)
        self._edits(self._added, self.plus)

    def _edits(self, act: Callable[[], None], *controls: Any) -> None:
        """Act on edits by a person; changes by `show` are none."""

        def edit() -> None:
            if not self._showing:
                with self._reporting():
                    act()

        _connect(edit, *controls)

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

    def _reworded(self) -> None:
        self._wordings += 1
        self._rewrite()

    def _rewrite(self, **changed: Any) -> None:
        """Write the sentence of changed parts, about the same speaker; in other words where a person asked for some."""
        old = self.current.folded()
        names = ("action_units", "emotion", "level")
        parts: dict[str, Any] = {name: getattr(old, name) for name in names} | changed
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


class SpeechPicker:
    """Controls for choosing the `recording`: a sample, a path, a file from the browser, or the microphone.

    Browsers give out the microphone on this machine's own address and over https only.
    `picked` is called when there is another one.
    """

    def __init__(self, stock: Studio, first: Recording, picked: Callable[[], None], reporting: Reporting) -> None:
        self._stock, self.recording, self._picked, self._reporting = stock, first, picked, reporting
        self._paths = {stock.root / path: path for path in stock.samples}
        names = [(f"{Path(path).stem}: {about}", path) for path, (_, about) in stock.samples.items()]
        narrow = {"layout": {"width": "126px"}}
        self.samples = widgets.Dropdown(options=[("samples …", ""), *names], **narrow)
        self.samples.value = self._paths.get(first.path, "")
        self.path = widgets.Text(placeholder="or a path", continuous_update=False, layout=_WIDE)
        self.upload = widgets.FileUpload(accept="audio/*,video/*", description="Upload", **narrow)
        button = widgets.HTML(f'<button type="button" onclick="{escape(_RECORD)}">● Record</button>')
        self.recorded = widgets.Textarea(continuous_update=False, layout={"display": "none"})
        recorder = widgets.VBox([button, self.recorded])
        recorder.add_class("avi-record")
        self.write = widgets.Button(description="Write it", icon="magic", **narrow)
        self.write.tooltip = "the instructor writes an instruction for the speech"
        self.words = widgets.Text(first.words, placeholder="what is said", continuous_update=False, layout=_WIDE)
        self.health = widgets.HTML()
        row = widgets.HBox([self.samples, self.upload, recorder, self.write], layout={"flex_flow": "wrap"})
        hint = _hint("Name the path of files above 10 MB, seen from the project. With its words the lips are sharper.")
        self.box = widgets.VBox([row, self.path, self.words, hint, self.health])
        _connect(lambda: self._named(self.samples.value), self.samples)
        _connect(lambda: self._named(self.path.value), self.path)
        _connect(self._worded, self.words)
        _connect(self._uploaded, self.upload)
        _connect(self._recorded, self.recorded)

    def _named(self, path: str) -> None:
        if path.strip() and self._stock.root / path.strip() != self.recording.path:
            self._take(self._stock.recording(path.strip()))

    def _worded(self) -> None:
        if self.words.value.strip() != self.recording.words:
            self._take(self.recording._replace(words=self.words.value.strip()))

    def _uploaded(self) -> None:
        for each in self.upload.value:
            self._take(self._stock.received(bytes(each["content"]), str(each["name"])))

    def _recorded(self) -> None:
        if sent := self.recorded.value:
            self.recorded.value = ""
            with self._reporting():
                self._take(self._stock.received(studio.decode_recording(sent), "the microphone"))

    def _take(self, recording: Recording) -> None:
        self.recording = recording
        self.words.value = recording.words
        self.samples.value = self._paths.get(recording.path, "")
        if recording.path != self._stock.root / self.path.value.strip():
            self.path.value = ""
        self._picked()


def sampling_controls(settings: TalkSettings) -> SimpleNamespace:
    """Controls of seed, samples and how the prior draws; those of the prior are off where it does not draw."""
    first, slides = settings.sample, {"continuous_update": False}
    controls = {
        "seed": widgets.BoundedIntText(settings.seed, min=0, max=2**31 - 1),
        "samples": widgets.IntSlider(1, min=1, max=4, **slides),
        "guidance": widgets.FloatSlider(first.guidance, min=0, max=10, step=0.25, **slides),
        "steps": widgets.IntSlider(first.steps, min=2, max=max(32, first.steps), **slides),
    }
    for name, control in controls.items():
        control.description, control.style.description_width = name, "90px"
        control.layout.width = "220px" if name == "seed" else "420px"
        control.disabled = name in SampleSettings.model_fields and "performer" in (settings.generator, settings.prior)
    seed, *others = controls.values()
    other = widgets.Button(description="Another", icon="refresh", layout={"width": "110px"})
    other.on_click(lambda _: seed.set_trait("value", (seed.value + 1) % seed.max))
    hint = _hint("Same seed, same face. Guidance above 1 exaggerates.")
    box = widgets.VBox([widgets.HBox([seed, other]), *others, hint])
    return SimpleNamespace(**controls, all=list(controls.values()), box=box)


def factor_row(factor: str, root: Path) -> SimpleNamespace:
    """Controls of one factor and `settings()` of it: from the speech while a source waits for its value."""
    source = widgets.Dropdown(options=list(_SOURCES.items()), description=factor, layout={"width": "240px"})
    source.style.description_width = "80px"
    value = widgets.Text(continuous_update=False, disabled=True, layout={"width": "190px"})
    strength = widgets.FloatSlider(1.0, min=0, max=3, step=0.05, continuous_update=False, layout={"width": "200px"})

    def ask() -> None:
        value.disabled = source.value not in _SOURCE_VALUES
        value.placeholder = _SOURCE_VALUES.get(source.value, "")

    def settings() -> FactorSettings:
        named, text = source.value, value.value.strip()
        if named in _SOURCE_VALUES:
            named = SPEECH if not text else str(root / text) if named == FILE else f"{named}:{text}"
        return validated(FactorSettings, source=named, strength=strength.value)

    _connect(ask, source)
    box = widgets.HBox([source, value, strength], layout={"flex_flow": "row wrap"})
    return SimpleNamespace(source=source, value=value, strength=strength, settings=settings, box=box)


def saving_controls(folder: Path) -> SimpleNamespace:
    """Controls of the name, the kinds of files and the size of the video."""
    about = {studio.VIDEO: "video, as it is shown", studio.REQUEST: "what was asked for"}
    ticked = (studio.VIDEO, ".csv", ".glb")
    labels = {kind: f"{kind[1:]}: {about.get(kind, 'motion')}" for kind in studio.KINDS}
    kinds = {kind: widgets.Checkbox(kind in ticked, description=labels[kind], indent=False) for kind in labels}
    name = widgets.Text("face", description="name", layout={"width": "330px"})
    sizes = [(f"{size} px", size) for size in (256, 512, 720, 1024)]
    size = widgets.Dropdown(options=sizes, value=512, description="video")
    save = widgets.Button(description="Save", icon="download", button_style="warning")
    saved = widgets.HTML()
    where = _hint(f"Files go to {folder}; those of the same name are replaced.")
    box = widgets.VBox([widgets.HBox([name, size]), *kinds.values(), save, where, saved])

    def chosen() -> tuple[str, list[str], int]:
        return name.value, [kind for kind, box in kinds.items() if box.value], size.value

    return SimpleNamespace(chosen=chosen, save=save, saved=saved, box=box)


class Playground:
    """All controls, the models behind them and what was made last.

    `talks` are those that are shown by their names, `requests` what they were made from, `kept` the request of A, and
    `errors` all errors that were shown. Models work in one thread: graphics memory belongs to the one that asked.

    Paths, such as that of the first `speech`, are seen from `root`, the project's folder. Files are saved in `folder`.
    `words` are what is said in the speech; they are looked up for samples where they are "".
    """

    def __init__(
        self, root: Path, folder: Path, speech: str, sentence: str, settings: TalkSettings, words: str = ""
    ) -> None:
        self._folder, self.studio = folder, studio.Studio(settings, root)
        self._thread, self._lock = futures.ThreadPoolExecutor(1, "playground"), Lock()
        self._newest: dict[str, futures.Future[None]] = {}
        self.talks: Mapping[str, Talk] = {}
        self.requests: Mapping[str, Request] = {}
        self.kept: Request | None = None
        self.errors: list[str] = []
        self._done, self._failure = "nothing is loaded yet", ""
        self._wanted: object = None
        self._drawn: dict[str, object] = {}
        first = self.studio.recording(speech, words)
        self.speech = SpeechPicker(self.studio, first, self.listen, self._reporting)
        self.instruction = InstructionEditor(sentence, self.refresh, self._reporting)
        self.sampling = sampling_controls(settings)
        self.factors = {factor: factor_row(factor, root) for factor in FACTORS}
        self.saving = saving_controls(folder.relative_to(root) if folder.is_relative_to(root) else folder)
        self.views = {name: widgets.Output() for name in ("Speech", "Timeline", "Curves", "3D")}
        self._lay_out()
        _connect(self.refresh, *self.sampling.all, self.shown, self.start)
        for row in self.factors.values():
            _connect(self.refresh, row.source, row.value, row.strength)
        for button, timeline in ((self.speech.write, False), (self.instruction.write, True)):
            _connect(partial(self._ask, "the instructor writes", partial(self._write, timeline)), button)
        _connect(self._keep, self.keep)
        _connect(lambda: self.save(*self.saving.chosen()), self.saving.save)
        self.tabs.observe(lambda _: self._look(), "selected_index")

    def _lay_out(self) -> None:
        self.video = widgets.Video(format="mp4", autoplay=True, loop=False, controls=True, layout={"width": "300px"})
        self.state = widgets.HTML(_div("state", self._done))
        self.start = widgets.FloatSlider(0, min=0, max=1, step=0.5, continuous_update=False, description="from (s)")
        self.keep = widgets.Button(description="Keep as A", icon="thumb-tack", layout={"width": "126px"})
        self.keep.tooltip = "edits are then compared with this face, from the same noise"
        self.shown = widgets.ToggleButtons(options=(B, A, BOTH), style={"button_width": "56px"})
        self.start.layout.display = self.shown.layout.display = "none"
        self.autoplay = widgets.Checkbox(True, description="play at once", indent=False, layout={"width": "110px"})
        self.loop = widgets.Checkbox(False, description="loop", indent=False, layout={"width": "80px"})
        widgets.link((self.autoplay, "value"), (self.video, "autoplay"))
        widgets.link((self.loop, "value"), (self.video, "loop"))
        rows = [self.video, widgets.HBox([self.keep, self.shown]), widgets.HBox([self.autoplay, self.loop]), self.start]
        left = widgets.VBox(rows, layout={"flex": "0 0 auto", "margin": "0 14px 0 0"})
        hint = _hint("Expression: brows, cheeks, nose, lids, mouth corners. A factor leaves all others as they are.")
        tabs = {
            "Expression": self.instruction.parts_box,
            "Speech": widgets.VBox([self.speech.box, self.views["Speech"]]),
            "Sampling": self.sampling.box,
            "Factors": widgets.VBox([*(row.box for row in self.factors.values()), hint]),
            "Timeline": widgets.VBox([self.instruction.rows_box, self.views["Timeline"]]),
            "Curves": self.views["Curves"],
            "3D": self.views["3D"],
            "Save": self.saving.box,
        }
        self.tabs = widgets.Tab(children=list(tabs.values()), titles=tuple(tabs), selected_index=0)
        self.tabs.layout.flex, self.tabs.layout.width, self.tabs.layout.min_width = "1 1 0", "auto", "0"
        body = widgets.HBox([left, self.tabs], layout={"margin": "4px 0 0 0"})
        self.page = widgets.VBox(
            [widgets.HTML(f"<style>{_STYLE}</style>"), self.instruction.sentence_box, self.state, body]
        )
        self.page.add_class("avi-page")

    def wait(self) -> None:
        """Return when everything that was asked for is made, or has failed."""
        while pending := [each for each in tuple(self._newest.values()) if not each.done()]:
            futures.wait(pending)

    def sheet(self, count: int = 8) -> UInt8[np.ndarray, "rows across 3"]:
        """Pictures spread over the talk that was made last, each under its time."""
        talk = list(self.talks.values())[-1]
        return self._thread.submit(lambda: self.studio.talker.contact_sheet(talk, count=count)).result()

    @property
    def request(self) -> Request:
        """The request of all controls together; InputError where one of them has a value that is not valid."""
        sample = {name: getattr(self.sampling, name).value for name in SampleSettings.model_fields}
        factors = Factors(**{factor: row.settings() for factor, row in self.factors.items()})
        numbers = self.sampling.seed.value, self.sampling.samples.value
        return Request(self.instruction.timeline, *numbers, validated(SampleSettings, **sample), factors)

    def listen(self) -> None:
        """Load the models and the recording that is picked, beside the page, then make its face."""
        recording = self.speech.recording

        def load() -> None:
            speech = self.studio.listen(recording).speech
            self.speech.health.value = _div("health", "\n".join(speech.report.lines()))
            longest_s = max(speech.duration_s - studio.PREVIEW_S, 0.0)
            self.start.value, self.start.max = 0.0, max(longest_s, 1.0)
            self.start.layout.display = "" if longest_s > 0 else "none"
            self._wanted = None
            self.refresh()

        self._ask("loading models and the recording", load)

    def refresh(self) -> None:
        """Make the preview of the request, unless it is made already; the last one stays until then."""
        with self._reporting():
            edited, requests, start_s = self.request, {}, self.start.value
            if self.instruction.text.value != self.instruction.current.text:
                self.instruction.show()
            if self.kept is not None and self.shown.value != B:
                requests[A] = replace(self.kept, seed=edited.seed, samples=1)
            if self.shown.value != A:
                requests[B] = edited
            if (requests, start_s) != self._wanted:
                self._wanted = requests, start_s
                self._ask("making the preview", lambda: self._make(requests, start_s))

    def _make(self, requests: Mapping[str, Request], start_s: float) -> None:
        begun = time.monotonic()
        talks = self.studio.talks(requests)
        video = self.studio.video(list(talks.values()), start_s)
        self.video.layout.width = f"{min(120 + 180 * len(talks), 560)}px"
        self.video.value = video
        self.talks, self.requests = talks, requests
        first = next(iter(talks.values()))
        notes = (f"made in {time.monotonic() - begun:.1f} s", *first.factors, *first.notes)
        self._done = f"{first.motion.duration_s:.1f} s, seed {first.seed}, {' · '.join(notes)}"
        self._look()

    def _look(self) -> None:
        """Have drawn what the tab that is seen shows of the talks."""
        name = self.tabs.titles[self.tabs.selected_index or 0]
        if name in self.views and self.talks:
            self._ask("drawing", lambda: self._draw(name), anew=False)

    def _draw(self, name: str) -> None:
        neutral, talk = self.studio.neutral, list(self.talks.values())[-1]
        subject = neutral if name == "Speech" else self.talks
        if self._drawn.get(name) is subject:
            return
        figures: dict[str, Callable[[], Any]] = {
            "Speech": lambda: plot_recording(neutral.speech, neutral.phones.phones, neutral.prosody),
            "Timeline": lambda: plot_timeline(talk.motion, talk.timeline),
            "Curves": lambda: browse_trajectories({label: each.motion for label, each in self.talks.items()}),
            "3D": lambda: view_mesh(self.studio.talker.head_of(talk), talk.motion),
        }
        figure = figures[name]()
        if hasattr(figure, "to_json"):  # of plotly, which JupyterLab draws itself
            data = {"application/vnd.plotly.v1+json": json.loads(figure.to_json())}
        else:
            data = {"image/png": b64encode(png_of(figure, dpi=90)).decode()}
        self.views[name].outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
        self._drawn[name] = subject

    def _write(self, timeline: bool) -> None:
        instructor, speech = self.studio.talker.instructor, self.studio.neutral.speech
        if timeline:
            self.instruction.show_timeline(instructor.timeline(speech)[0])
        else:
            self.instruction.set_sentence(instructor.instruct(speech).instruction.text)
        self.refresh()

    def _keep(self) -> None:
        """Keep the request as A; from then on both are shown."""
        with self._reporting():
            self.kept, self.keep.description, self.shown.layout.display = self.request, "Keep B as A", ""
            self.shown.value = BOTH
            self.refresh()

    def save(self, name: str, kinds: Sequence[str], size: int = 512) -> None:
        """Write files of what is shown: kinds among `studio.KINDS`, the video `size` pixels high."""

        def write() -> None:
            if not self.talks:
                raise InputError("a face to save", "none yet", "wait for the first preview")
            request = list(self.requests.values())[-1]
            paths = self.studio.save(self.talks, request, self._folder, name, kinds, size)
            lines = [f"{path.name}  {path.stat().st_size / 1000:,.0f} kB" for path in paths]
            self.saving.saved.value = _div("health", "\n".join(lines))

        self._ask("saving", write)

    def _ask(self, kind: str, work: Callable[[], None], anew: bool = True) -> None:
        """Have work done in the models' thread, of one kind only the newest that waits; `anew` clears errors."""
        self._failure = "" if anew else self._failure
        with self._lock:
            if kind in self._newest:
                self._newest[kind].cancel()
            self._newest[kind] = self._thread.submit(self._do, kind, work)

    def _do(self, kind: str, work: Callable[[], None]) -> None:
        self.state.value = f'<div class="avi-state"><span class="avi-spinner"></span>{kind} …</div>'
        with self._reporting():
            work()
        if all(each.done() or each.running() for each in tuple(self._newest.values())):
            self._show_state()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Show what fails as one line; the next request is made even if it is the same."""
        try:
            yield
        except Exception as error:
            line = str(error) if isinstance(error, AviError) else studio.one_line(error)
            self._failure, self._wanted = " ".join(line.split()), None
            self.errors.append(line)
            self._show_state()

    def _show_state(self) -> None:
        self.state.value = _div("state avi-error" if self._failure else "state", self._failure or self._done)

    def close(self) -> None:
        """Wait for what is being made, and give back the models' threads and temporary files."""
        self._thread.shutdown(cancel_futures=True)
        self.studio.close()
