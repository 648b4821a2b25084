"""The playground: a page of controls over one talking face, with a preview a second after every edit.

>>> playground = Playground(project_root(), Path("outputs/playground"), "data/samples/arctic.flac", "She is furious.")
>>> playground.listen()
>>> playground.instruction.text.value = "She is sad."     # every control can be set from code as well
>>> playground.wait()                                     # returns when what follows from it is made
"""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
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
from matplotlib.figure import Figure

from avi_lib.errors import AviError, InputError
from avi_lib.face.people import VOICE, cast
from avi_lib.face.portrait import PHOTO_SUFFIXES
from avi_lib.instruction.instruction import understand
from avi_lib.live import SOCKET, LiveSession
from avi_lib.motion.clip import FACTORS
from avi_lib.receivers import Page
from avi_lib.settings import Factors, FactorSettings, SampleSettings, TalkSettings, validated
from avi_lib.talker import FILE, OFF, SEED, SPEECH, TEXT, Talk
from avi_lib.workbook import studio
from avi_lib.workbook.instruction_editor import InstructionEditor, Reporting, connect, hint, line_of
from avi_lib.workbook.plots import browse_trajectories, plot_recording, plot_timeline, png_of, view_mesh
from avi_lib.workbook.studio import A, B, Recording, Request, Studio

PREVIEW_PX = 320
SHOWN_PX = 440  # width of the preview on the page
BOTH = f"{A} | {B}"
_SOURCES = {"the speech": SPEECH, "at rest": OFF, "another seed": SEED, "another sentence": TEXT, "a file": FILE}
_SOURCE_VALUES = {SEED: "a number", TEXT: "a sentence", FILE: "path of a motion or a video"}
_WIDE = {"width": "auto"}
_STYLE, _RECORD, _PLAYHEAD = (
    Path(__file__).with_name(name).read_text("utf-8") for name in ("playground.css", "recorder.js", "playhead.js")
)


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
        self.words = widgets.Text(first.words, placeholder="what is said", continuous_update=False, layout=_WIDE)
        self.health = widgets.HTML()
        row = widgets.HBox([self.samples, self.upload, recorder], layout={"flex_flow": "wrap"})
        small = hint("Name the path of files above 10 MB, seen from the project. With its words the lips are sharper.")
        self.box = widgets.VBox([row, self.path, self.words, small, self.health])
        connect(lambda: self._named(self.samples.value), self.samples)
        connect(lambda: self._named(self.path.value), self.path)
        connect(self._worded, self.words)
        connect(self._uploaded, self.upload)
        connect(self._recorded, self.recorded)

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


class PersonPicker:
    """Buttons with the faces of the cast, one for whoever suits the voice, and one for a photograph from the browser.

    `picked` is called with a name, or with the path of the photograph.
    """

    def __init__(self, stock: Studio, picked: Callable[[str], None], reporting: Reporting) -> None:
        self._stock, self._picked, self._reporting = stock, picked, reporting
        self.style = widgets.HTML()
        self.buttons = {VOICE: widgets.Button(description="by voice", tooltip="whoever suits the pitch of the voice")}
        for person in cast():
            about = f"{person.name}: {person.sex}, {person.age}, {person.skin}, {person.hair}"
            self.buttons[person.name] = widgets.Button(tooltip=about)
            self.buttons[person.name].add_class(f"avi-face-{person.name}")
        self.photo = widgets.FileUpload(accept=",".join(PHOTO_SUFFIXES), description="A photo", icon="camera")
        self.photo.tooltip = "of a person who agreed to it"
        for name, button in self.buttons.items():
            connect(partial(picked, name), button)
        connect(self._uploaded, self.photo)
        self.box = widgets.HBox([self.style, *self.buttons.values(), self.photo])
        self.box.add_class("avi-people")

    def _uploaded(self) -> None:
        for each in self.photo.value:
            with self._reporting():
                self._picked(str(self._stock.received(bytes(each["content"]), str(each["name"])).path))

    def show(self, name: str) -> None:
        """Mark who is shown."""
        for each, button in {**self.buttons, "": self.photo}.items():
            marked = each == name or (not each and name not in self.buttons)
            (button.add_class if marked else button.remove_class)("avi-chosen")

    def show_faces(self, pictures: Mapping[str, bytes]) -> None:
        """Put the pictures (PNG) on the buttons."""
        rules = (
            f".avi-face-{name} {{ background-image: url(data:image/png;base64,{b64encode(picture).decode()}); }}"
            for name, picture in pictures.items()
        )
        self.style.value = f"<style>{''.join(rules)}</style>"


class LiveTab:
    """A face that moves while somebody speaks into the browser's microphone: the page of `avi live`, in a frame.

    The session works beside the page until it is stopped. `talker` is loaded when it begins.
    """

    def __init__(self, stock: Studio, asked: Callable[[], str], reporting: Reporting) -> None:
        self._stock, self._asked, self._reporting = stock, asked, reporting
        self.session: LiveSession | None = None
        self._thread = futures.ThreadPoolExecutor(1, "live")
        self.start = widgets.Button(description="Start", icon="microphone", button_style="warning")
        self.stop = widgets.Button(description="Stop", icon="stop", disabled=True)
        self.frame, self.said = widgets.HTML(), widgets.HTML()
        small = hint(
            "The sentence above is where it begins. Browsers give out the microphone on this machine's address."
        )
        self.box = widgets.VBox([widgets.HBox([self.start, self.stop]), small, self.said, self.frame])
        connect(self._begun, self.start)
        connect(self.end, self.stop)

    def _begun(self) -> None:
        with self._reporting():
            page = Page(0)
            try:
                self.session = LiveSession(self._stock.talker, SOCKET, [page], understand(self._asked()))
            except AviError:
                page.close()
                raise
            self.start.disabled, self.stop.disabled, self.said.value = True, False, line_of("state", f"at {page.url}")
            self.frame.value = (
                f'<iframe class="avi-live" src="{escape(page.url)}" allow="microphone; autoplay"></iframe>'
            )
            self._thread.submit(self._run, self.session)

    def _run(self, session: LiveSession) -> None:
        with self._reporting():
            self.said.value = line_of("state", "; ".join(session.run().lines()))
        self.start.disabled, self.stop.disabled, self.session = False, True, None

    def end(self) -> None:
        """Stop the session, where there is one."""
        if self.session is not None:
            self.session.stop()

    def close(self) -> None:
        """Stop, and wait for it."""
        self.end()
        self._thread.shutdown()


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
    small = hint("Same seed, same face. Guidance above 1 exaggerates.")
    box = widgets.VBox([widgets.HBox([seed, other]), *others, small])
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

    connect(ask, source)
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
    saved = widgets.Output()
    where = hint(f"Files go to {folder}; those of the same name are replaced.")
    box = widgets.VBox([widgets.HBox([name, size]), *kinds.values(), save, where, saved])

    def chosen() -> tuple[str, list[str], int]:
        return name.value, [kind for kind, box in kinds.items() if box.value], size.value

    return SimpleNamespace(chosen=chosen, save=save, saved=saved, box=box)


def timed_picture(figure: Figure) -> str:
    """A figure over time as HTML, which says where in it the time runs."""
    picture = b64encode(png_of(figure, dpi=90)).decode()
    panel = figure.axes[0]
    place, (_, end_s) = panel.get_position(), panel.get_xlim()
    where = f'data-left="{place.x0:.4f}" data-right="{place.x1:.4f}" data-end="{end_s:.3f}"'
    return f'<div class="avi-timed" {where}><img src="data:image/png;base64,{picture}" alt="curves over time"></div>'


def download_links(paths: Sequence[Path], root: Path) -> dict[str, Any]:
    """What a notebook shows of saved files: their sizes, and links where the server reaches them."""
    rows = []
    for path in paths:
        size = f"{path.stat().st_size / 1000:,.0f} kB"
        link = os.path.relpath(path, root / "notebooks") if path.is_relative_to(root) else ""
        name = f'<a href="{escape(link)}" download>{escape(path.name)}</a>' if link else escape(path.name)
        rows.append(f"<div>{name} {size}</div>")
    html, plain = f'<div class="avi-health">{"".join(rows)}</div>', " ".join(path.name for path in paths)
    return {"output_type": "display_data", "data": {"text/html": html, "text/plain": plain}, "metadata": {}}


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
        self.views = {name: widgets.HTML() for name in ("Speech", "Timeline")}
        self.views |= {name: widgets.Output() for name in ("Curves", "3D")}
        self.people = PersonPicker(self.studio, self.show_person, self._reporting)
        self.live = LiveTab(self.studio, lambda: self.instruction.current.text, self._reporting)
        self._lay_out()
        connect(self.refresh, *self.sampling.all, self.shown, self.start)
        for row in self.factors.values():
            connect(self.refresh, row.source, row.value, row.strength)
        for button, timeline in ((self.write, False), (self.instruction.write, True)):
            connect(partial(self._ask, "the instructor writes", partial(self._write, timeline)), button)
        connect(self._keep, self.keep)
        connect(lambda: self.save(*self.saving.chosen()), self.saving.save)
        self.tabs.observe(lambda _: self._look(), "selected_index")

    def _lay_out(self) -> None:
        wide = {"layout": {"width": f"{SHOWN_PX}px"}}
        self.video = widgets.Video(format="mp4", autoplay=True, loop=False, controls=True, **wide)
        self.state, self.heard, self.clock = widgets.HTML(line_of("state", self._done)), widgets.HTML(), widgets.HTML()
        self.start = widgets.FloatSlider(0, min=0, max=1, step=0.5, continuous_update=False, description="from (s)")
        self.keep = widgets.Button(description="Keep as A", icon="thumb-tack", layout={"width": "126px"})
        self.keep.tooltip = "edits are then compared with this face, from the same noise"
        self.shown = widgets.ToggleButtons(options=(B, A, BOTH), style={"button_width": "56px"})
        self.start.layout.display = self.shown.layout.display = "none"
        self.autoplay = widgets.Checkbox(True, description="play at once", indent=False, layout={"width": "110px"})
        self.loop = widgets.Checkbox(False, description="loop", indent=False, layout={"width": "80px"})
        widgets.link((self.autoplay, "value"), (self.video, "autoplay"))
        widgets.link((self.loop, "value"), (self.video, "loop"))
        self.write = widgets.Button(description="Write it", icon="magic", layout={"width": "110px"})
        self.write.tooltip = "the instructor writes an instruction for the speech"
        self.instruction.sentence_box.children[0].children += (self.write,)
        self.people.box.layout.width = f"{SHOWN_PX}px"
        play = (widgets.HBox([self.keep, self.shown]), widgets.HBox([self.autoplay, self.loop]))
        left = widgets.VBox([self.video, self.people.box, *play, self.start])
        left.layout.flex, left.layout.margin = "0 0 auto", "0 14px 0 0"
        small = hint("Expression: brows, cheeks, nose, lids, mouth corners. A factor leaves all others as they are.")
        tabs = {
            "Expression": self.instruction.parts_box,
            "Speech": widgets.VBox([self.speech.box, self.views["Speech"]]),
            "Sampling": self.sampling.box,
            "Factors": widgets.VBox([*(row.box for row in self.factors.values()), small]),
            "Timeline": widgets.VBox([self.instruction.rows_box, self.views["Timeline"]]),
            "Curves": self.views["Curves"],
            "3D": self.views["3D"],
            "Live": self.live.box,
            "Save": self.saving.box,
        }
        self.tabs = widgets.Tab(children=list(tabs.values()), titles=tuple(tabs), selected_index=0)
        self.tabs.layout.flex, self.tabs.layout.width, self.tabs.layout.min_width = "1 1 0", "auto", "0"
        body = widgets.HBox([left, self.tabs], layout={"margin": "4px 0 0 0"})
        playhead = f'<style>{_STYLE}</style><img src="data:," alt="" onerror="{escape(_PLAYHEAD)}">'
        above = [widgets.HTML(playhead), self.clock, self.instruction.sentence_box, self.heard, self.state]
        self.page = widgets.VBox([*above, body])
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
            self.speech.health.value = line_of("health", "\n".join(speech.report.lines()))
            longest_s = max(speech.duration_s - studio.PREVIEW_S, 0.0)
            self.start.value, self.start.max = 0.0, max(longest_s, 1.0)
            self.start.layout.display = "" if longest_s > 0 else "none"
            self._wanted, self.heard.value = None, ""
            self.people.show(self.studio.talker.shown)
            self.refresh()
            if not self.people.style.value:
                self._ask("drawing the cast", lambda: self.people.show_faces(self.studio.faces()), anew=False)

        self._ask("loading models and the recording", load)

    def show_person(self, name: str) -> None:
        """Show another head: one of the cast, `people.VOICE`, or the path of a photograph."""

        def become() -> None:
            self.studio.talker.become(name)
            self._wanted = None
            self._drawn.pop("3D", None)
            self.people.show(name)
            self.refresh()

        self._ask("another face", become)

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
        self.clock.value = f'<i class="avi-clock" data-start="{start_s}" hidden></i>'
        self.video.value = video
        self.talks, self.requests = talks, requests
        first = next(iter(talks.values()))
        notes = (f"made in {time.monotonic() - begun:.1f} s", *first.factors, *first.notes, *first.deviations)
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
            self.views[name].outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
        else:
            self.views[name].value = timed_picture(figure)
        self._drawn[name] = subject

    def _write(self, timeline: bool) -> None:
        instructor, speech = self.studio.talker.instructor, self.studio.neutral.speech
        if timeline:
            self.instruction.show_timeline(instructor.timeline(speech)[0])
        else:
            written = instructor.instruct(speech)
            self.heard.value = line_of("hint", studio.heard(written))
            self.instruction.set_sentence(written.instruction.text)
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
            self.saving.saved.outputs = (download_links(paths, self.studio.root),)

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
        self.state.value = line_of("state avi-error" if self._failure else "state", self._failure or self._done)

    def close(self) -> None:
        """Wait for what is being made, and give back the models' threads and temporary files."""
        self.live.close()
        self._thread.shutdown(cancel_futures=True)
        self.studio.close()
