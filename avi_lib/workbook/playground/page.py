"""The page: speech and a sentence in; a preview, curves and files out.

>>> playground = Playground(project_root(), Path("outputs/playground"), "data/samples/arctic.flac", "She is furious.")
>>> playground.open()
>>> display(playground.page)

Every control can be set from code as well, `playground.sentence.text.value = "She is sad."`; `wait` returns when what
follows from it is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import ipywidgets as widgets
import numpy as np
from jaxtyping import UInt8
from plotly.graph_objects import Figure as PlotlyFigure

from avi_lib.errors import AviError, InputError
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.talk import Talk
from avi_lib.workbook.corpus_plots import plot_recording
from avi_lib.workbook.interactive import browse_trajectories, view_mesh
from avi_lib.workbook.playground import markup
from avi_lib.workbook.playground.factor_panel import FactorPanel
from avi_lib.workbook.playground.instruction_editor import InstructionEditor
from avi_lib.workbook.playground.sampling_panel import SamplingPanel
from avi_lib.workbook.playground.saving_panel import SavingPanel
from avi_lib.workbook.playground.speech_picker import SpeechPicker
from avi_lib.workbook.playground.studio import PREVIEW_S, Files, Studio
from avi_lib.workbook.playground.timeline_editor import TimelineEditor
from avi_lib.workbook.playground.views import View, as_png
from avi_lib.workbook.playground.wish import Wish
from avi_lib.workbook.playground.worker import Worker
from avi_lib.workbook.prior_plots import plot_timeline

PREVIEW_PX = 256
BOTH, ONLY_A, ONLY_B = "A | B", "A", "B"
_WIDTHS = {1: 300, 2: 480, 3: 560}
_BUSY = {
    "speech": "loading models, listening",
    "sentence": "the instructor listens",
    "preview": "making the preview",
    "view": "drawing",
    "save": "saving",
}


class Playground:
    """All controls, the models behind them and what was made last.

    `talks` are those that are shown, by their names, `asked` is what B asks for, `kept` what A does, and `errors` are
    all that a person was told of.

    Args:
        root: the project's folder; paths are seen from it.
        folder: where files are saved.
        speech: path of the first recording.
        sentence: the first instruction.
        settings: of the talking face; the preview is drawn at their size.
        words: what is said in the recording; looked up for samples where it is "".
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        speech: str,
        sentence: str,
        settings: TalkSettings | None = None,
        words: str = "",
    ) -> None:
        settings = settings or TalkSettings(render=RenderSettings(size=PREVIEW_PX))
        self._folder = folder
        self.studio = Studio(settings)
        self.worker = Worker(self._begun, self._ended, self._tell)
        self.talks: Mapping[str, Talk] = {}
        self.asked: Wish | None = None
        self.kept: Wish | None = None
        self.errors: list[str] = []
        self._done, self._failure = "", ""
        self._drawn: Talk | None = None
        self.speech = SpeechPicker(root, speech, self._tell, words)
        self.sentence = InstructionEditor(sentence, self._tell)
        self.timeline = TimelineEditor(self.sentence.instruction.text)
        self.sampling = SamplingPanel(settings.seed, settings.sample)
        if "performer" in (settings.generator, settings.prior):
            self.sampling.leave_style()
        self.factors = FactorPanel(root)
        self.saving = SavingPanel(folder.relative_to(root) if folder.is_relative_to(root) else folder)
        self._lay_out()
        self._join()

    def _lay_out(self) -> None:
        self.video = widgets.Video(format="mp4", autoplay=True, loop=False, controls=True)
        self.video.layout.width = f"{_WIDTHS[1]}px"
        self.state = widgets.HTML(markup.state("nothing is loaded yet"))
        self.start = widgets.FloatSlider(0, min=0, max=1, step=0.5, continuous_update=False, description="from (s)")
        self.start.layout.display = "none"
        self.keep = widgets.Button(description="Keep as A", icon="thumb-tack", layout={"width": "126px"})
        self.keep.tooltip = "edits are then compared with this face, from the same noise"
        self.shown = widgets.ToggleButtons(options=(ONLY_B, ONLY_A, BOTH), style={"button_width": "56px"})
        self.shown.layout.display = "none"
        self.autoplay = widgets.Checkbox(True, description="play at once", indent=False, layout={"width": "110px"})
        self.loop = widgets.Checkbox(False, description="loop", indent=False, layout={"width": "80px"})
        self.curves, self.mesh = View(_curves), View(self._turned)
        comparing = widgets.HBox([self.keep, self.shown])
        playing = widgets.HBox([self.autoplay, self.loop])
        left = widgets.VBox([self.video, comparing, playing, self.start])
        left.layout.flex = "0 0 auto"
        left.layout.margin = "0 14px 0 0"
        named = {
            "Expression": self.sentence.parts_box,
            "Speech": self.speech.box,
            "Sampling": self.sampling.box,
            "Factors": self.factors.box,
            "Timeline": self.timeline.box,
            "Curves": self.curves.box,
            "3D": self.mesh.box,
            "Save": self.saving.box,
        }
        self.tabs = widgets.Tab(children=list(named.values()), titles=tuple(named), selected_index=0)
        self.tabs.layout.flex, self.tabs.layout.width, self.tabs.layout.min_width = "1 1 0", "auto", "0"
        body = widgets.HBox([left, self.tabs], layout={"margin": "4px 0 0 0"})
        self.page = widgets.VBox([widgets.HTML(markup.STYLE), self.sentence.sentence_box, self.state, body])
        self.page.add_class("avi-page")

    def _join(self) -> None:
        """What follows from what."""
        self.sentence.on_change(self._sentence_changed)
        self.timeline.on_change(self._timeline_changed)
        self.sampling.on_change(self.refresh)
        self.factors.on_change(self.refresh)
        self.speech.on_pick(self.listen)
        self.speech.write.on_click(lambda _: self._ask("sentence", self._write))
        self.timeline.hear.on_click(lambda _: self._ask("sentence", self._write_timeline))
        self.keep.on_click(lambda _: self._keep())
        self.shown.observe(lambda _: self.refresh(), "value")
        self.start.observe(lambda _: self.refresh(), "value")
        self.autoplay.observe(lambda change: setattr(self.video, "autoplay", change["new"]), "value")
        self.loop.observe(lambda change: setattr(self.video, "loop", change["new"]), "value")
        self.tabs.observe(lambda _: self._look(), "selected_index")
        self.saving.save.on_click(lambda _: self._save())

    def open(self) -> None:
        """Load the models and listen to the first recording, beside the page."""
        self.listen()

    def wait(self) -> None:
        """Return when everything that was asked for is made, or has failed."""
        self.worker.wait()

    def sheet(self, count: int = 8, columns: int = 4) -> UInt8[np.ndarray, "rows across 3"]:
        """Pictures spread over the talk that was made last, each under its time."""
        talk = list(self.talks.values())[-1]
        return self.worker.call(lambda: self.studio.talker.screen.contact_sheet(talk, count, columns))

    @property
    def wish(self) -> Wish:
        """What all controls together ask for; InputError where one of them says what cannot be."""
        return Wish(
            self.timeline.timeline,
            self.sampling.seed.value,
            self.sampling.samples.value,
            self.sampling.settings,
            self.factors.factors,
        )

    def listen(self) -> None:
        """Load the recording that is picked, then make its face."""
        recording = self.speech.recording

        def heard() -> None:
            talk = self.studio.hear(recording)
            self.speech.report(talk.speech)
            longest_s = max(talk.speech.duration_s - PREVIEW_S, 0.0)
            self.start.value = 0.0
            self.start.max = max(longest_s, 1.0)
            self.start.layout.display = "" if longest_s > 0 else "none"
            self.refresh()

        self._ask("speech", heard)

    def refresh(self) -> None:
        """Make the preview of what the controls say; what was shown stays until then."""
        try:
            wish, kept = self.wish, self.kept
        except AviError as error:
            self._tell(str(error))
            return
        self.sentence.restore()
        shown, start_s = self.shown.value, self.start.value
        self._ask("preview", lambda: self._make(wish, kept, shown, start_s))

    def _make(self, wish: Wish, kept: Wish | None, shown: str, start_s: float) -> None:
        begun = time.monotonic()
        talks = {} if shown == ONLY_A else _named(self.studio.carry_out(wish))
        if kept is not None and shown != ONLY_B:
            talks = {ONLY_A: self.studio.carry_out(kept.from_noise_of(wish))[0]} | talks
        video = self.studio.video(list(talks.values()), start_s)
        self.video.layout.width = f"{_WIDTHS.get(len(talks), _WIDTHS[2])}px"
        self.video.value = video
        self.talks, self.asked = talks, kept if shown == ONLY_A else wish
        took_s = time.monotonic() - begun
        first = next(iter(talks.values()))
        notes = "".join(f" · {words}" for words in first.factors)
        self._done = f"{first.motion.duration_s:.1f} s, seed {wish.seed}, made in {took_s:.1f} s{notes}"
        self._look()

    def _look(self) -> None:
        """Have drawn what the tab that is seen shows of the talks."""
        views = {
            "Speech": self._draw_speech,
            "Curves": self.curves.draw,
            "3D": self.mesh.draw,
            "Timeline": self._draw_timeline,
        }
        draw = views.get(self.tabs.titles[self.tabs.selected_index or 0])
        if draw is not None and self.talks:
            self.worker.ask("view", lambda: draw(self.talks))

    def _draw_speech(self, _: Mapping[str, Talk]) -> None:
        heard = self.studio.heard
        if heard is not self._drawn:
            _show(self.speech.picture, as_png(plot_recording(heard.speech, heard.phones.phones, heard.prosody)))
            self._drawn = heard

    def _draw_timeline(self, talks: Mapping[str, Talk]) -> None:
        last = list(talks.values())[-1]
        _show(self.timeline.picture, as_png(plot_timeline(last.motion, last.timeline)))

    def _turned(self, talks: Mapping[str, Talk]) -> PlotlyFigure:
        return view_mesh(self.studio.talker.head, list(talks.values())[-1].motion)

    def _sentence_changed(self) -> None:
        self.timeline.sentence = self.sentence.instruction.text
        self.refresh()

    def _timeline_changed(self) -> None:
        try:
            if self.timeline.sentence != self.sentence.instruction.text:
                self.sentence.say(self.timeline.sentence)
        except AviError as error:
            self._tell(str(error))
            return
        self.refresh()

    def _write(self) -> None:
        self.sentence.say(self.studio.write().text)
        self._sentence_changed()

    def _write_timeline(self) -> None:
        self.timeline.show(self.studio.write_timeline())
        self._timeline_changed()

    def _keep(self) -> None:
        """What is asked for becomes A; from then on both are shown."""
        try:
            self.kept = self.wish
        except AviError as error:
            self._tell(str(error))
            return
        self.keep.description = "Keep B as A"
        self.shown.layout.display = ""
        if self.shown.value == BOTH:
            self.refresh()
        self.shown.value = BOTH

    def save(self, name: str, kinds: Sequence[str], size: int = 512) -> None:
        """Set the panel of files, and save."""
        self.saving.name.value, self.saving.size.value = name, size
        self.saving.tick(kinds)
        self._save()

    def _save(self) -> None:
        files = Files(self._folder, self.saving.name.value, self.saving.kinds, self.saving.size.value)

        def saved() -> None:
            if self.asked is None:
                raise InputError("a face to save", "none yet", "wait for the first preview")
            talks = self.talks
            made = [talk for label, talk in talks.items() if label != ONLY_A or len(talks) == 1]
            self.saving.report(self.studio.save(made, list(talks.values()), self.asked, files))

        self._ask("save", saved)

    def _ask(self, kind: str, work: Callable[[], None]) -> None:
        """Have work done that a person asked for: what they were told before is settled."""
        self._failure = ""
        self.worker.ask(kind, work)

    def _begun(self, kind: str) -> None:
        self.state.value = markup.busy(_BUSY[kind])

    def _ended(self) -> None:
        self.state.value = markup.notice(self._failure) if self._failure else markup.state(self._done)

    def _tell(self, error: str) -> None:
        self._failure = error
        self.errors.append(error)
        self.state.value = markup.notice(error)

    def close(self) -> None:
        """Wait for what is being made, and give back the models' threads and temporary files."""
        self.worker.close()
        self.studio.close()
        self.speech.close()

    def __enter__(self) -> Playground:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _named(talks: Sequence[Talk]) -> dict[str, Talk]:
    """Talks by a name: B alone, or one for every seed."""
    return {ONLY_B: talks[0]} if len(talks) == 1 else {f"{ONLY_B}, seed {talk.seed}": talk for talk in talks}


def _curves(talks: Mapping[str, Talk]) -> PlotlyFigure:
    return browse_trajectories({name: talk.motion for name, talk in talks.items()})


def _show(picture: widgets.Image, png: bytes) -> None:
    picture.value, picture.layout.display = png, ""
