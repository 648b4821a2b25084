"""The playground without a browser: what follows from a control, what is shown and saved, errors in the page."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.instruction.grammar import MAX_LENGTH
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Entry, Timeline
from avi_lib.motion.clip import load_motion
from avi_lib.motion.factors import FACTORS
from avi_lib.settings import PerformerSettings, TalkSettings
from avi_lib.speech.audio import load_speech
from avi_lib.talk import Talk
from avi_lib.workbook.playground.front_end import front_end
from avi_lib.workbook.playground.page import Playground
from avi_lib.workbook.playground.recorder import Recorder, sound_of
from avi_lib.workbook.playground.studio import Recording, Studio, _part
from avi_lib.workbook.playground.views import PLOTLY
from avi_lib.workbook.playground.worker import Worker

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = "data/samples/arctic.flac"
QUIET = TalkSettings(generator="performer", seed=7, performer=PerformerSettings(blinks=False, gaze=False, sway=False))
ONE_ERROR = '<div class="avi-state avi-error">'


def uploaded(name: str, content: bytes) -> dict[str, object]:
    """A file as the browser sends it."""
    size, changed = len(content), datetime(2026, 1, 1, tzinfo=UTC)
    return {"name": name, "type": "", "size": size, "content": memoryview(content), "last_modified": changed}


class Stage(Studio):
    """A studio whose videos say what they would show; `gate` holds them up. What it has heard once it knows."""

    gate = threading.Event()
    videos: list[list[str]]
    known: ClassVar[dict[Recording, Talk]] = {}

    def hear(self, recording: Recording) -> Talk:
        self._heard = self.known[recording] if recording in self.known else super().hear(recording)
        return self.known.setdefault(recording, self._heard)

    def video(self, talks, start_s=0.0, most_s=12.0):
        self.gate.wait(20)
        shown = [" ".join((talk.instruction.text, str(talk.seed))) for talk in talks]
        self.videos.append(shown)
        return "\n".join(shown).encode()


@pytest.fixture
def playground(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Playground]:
    monkeypatch.setattr("avi_lib.workbook.playground.page.Studio", Stage)
    Stage.gate.set()
    with Playground(ROOT, tmp_path / "out", SAMPLE, "She is calm.", QUIET) as made:
        made.studio.videos = []
        made.open()
        made.wait()
        yield made


def test_the_page_opens_with_a_preview_and_the_health_of_the_speech(playground: Playground):
    assert playground.video.value == b"She is calm. 7"
    assert "arctic.flac: flac flac, 1 channel, 16000 Hz, 4.00 s" in playground.speech.health.value
    assert "4.0 s, seed 7" in playground.state.value and "spinner" not in playground.state.value
    assert len(playground.talks["B"].motion) == 100


def test_what_takes_a_moment_to_draw_is_drawn_where_it_is_seen(playground: Playground):
    assert not playground.speech.picture.value and not playground.curves.box.outputs
    playground.tabs.selected_index = list(playground.tabs.titles).index("Speech")
    playground.wait()
    assert bytes(playground.speech.picture.value).startswith(b"\x89PNG")
    playground.tabs.selected_index = list(playground.tabs.titles).index("Curves")
    playground.wait()
    drawn = playground.curves.box.outputs
    assert "jawOpen" in {line["name"] for line in drawn[0]["data"][PLOTLY]["data"]}
    playground.sentence.text.value = "She is furious."
    playground.wait()
    assert playground.curves.box.outputs != drawn and not playground.mesh.box.outputs


def test_edits_during_a_preview_are_one_more_preview_and_the_last_one_stays_until_then(playground: Playground):
    Stage.gate.clear()
    playground.sentence.text.value = "She is sad."
    for sentence in ("She is happy.", "She is bored.", "She is furious."):
        playground.sentence.text.value = sentence
    assert playground.video.value == b"She is calm. 7"
    Stage.gate.set()
    playground.wait()
    assert playground.video.value == b"She is furious. 7"
    assert len(playground.studio.videos) <= 3


def test_a_b_is_made_from_the_same_noise(playground: Playground):
    playground.keep.click()
    playground.sentence.text.value = "She is furious."
    playground.sampling.seed.value = 9
    playground.wait()
    assert playground.studio.videos[-1] == ["She is calm. 9", "She is furious. 9"]
    a, b = playground.talks["A"].motion.values, playground.talks["B"].motion.values
    alone = playground.studio.talker.direct(playground.studio.heard, Instruction.parse("She is calm."), 9)
    assert a.tobytes() == alone.motion.values.tobytes() != b.tobytes()
    playground.shown.value = "A"
    playground.wait()
    assert playground.studio.videos[-1] == ["She is calm. 9"]


def test_samples_are_of_the_seeds_that_follow(playground: Playground):
    playground.sampling.samples.value = 3
    playground.wait()
    assert playground.studio.videos[-1] == [f"She is calm. {seed}" for seed in (7, 8, 9)]


def test_a_factor_at_rest_moves_no_channel_of_its_own_and_leaves_the_others(playground: Playground):
    before = playground.talks["B"].motion.values
    playground.factors["lips"].source.value = "off"
    playground.wait()
    after, lips = playground.talks["B"].motion.values, list(FACTORS["lips"])
    others = np.setdiff1d(np.arange(before.shape[1]), lips)
    assert np.abs(before[:, lips]).max() > 0.2 and not after[:, lips].any()
    assert after[:, others].tobytes() == before[:, others].tobytes()
    assert "lips: off" in playground.state.value


def test_a_source_that_waits_for_its_value_changes_nothing(playground: Playground):
    made = len(playground.studio.videos)
    playground.factors["gaze"].source.value = "seed"
    playground.wait()
    assert len(playground.studio.videos) == made and not playground.factors["gaze"].value.disabled
    playground.factors["gaze"].value.value = "three"
    playground.wait()
    assert playground.state.value.startswith(ONE_ERROR) and "a seed as seed:7" in playground.state.value


def test_rows_of_the_timeline_and_the_sentence_say_the_same(playground: Playground):
    playground.timeline.plus.click()
    playground.timeline.at(1).value = 2.0
    playground.sentence.units["brow_down"].value = 0.9
    playground.wait()
    told = playground.talks["B"].timeline.entries
    assert [(entry.at_s, entry.instruction.emotion) for entry in told] == [(0.0, "calm"), (2.0, "calm")]
    assert told[0].instruction.action_units == {} and told[1].instruction.action_units == {"brow_down": 0.9}
    playground.timeline._rows[0].pick.value = True
    assert playground.sentence.text.value == "She is calm." and playground.sentence.units.values == {}
    playground.timeline._rows[0].sentence.value = "She is sad."
    assert playground.sentence.emotion.value == "sad"


@pytest.mark.parametrize("sentence", ["", " \n ", "x" * (MAX_LENGTH + 1)])
def test_a_sentence_that_is_none_is_one_line_in_the_page_and_the_face_stays(playground: Playground, sentence: str):
    face = playground.video.value
    playground.sentence.text.value = sentence or " "
    playground.wait()
    assert playground.state.value.startswith(ONE_ERROR) and len(playground.state.value.splitlines()) == 1
    assert playground.video.value == face
    playground.sampling.seed.value = 8
    assert playground.sentence.text.value == "She is calm."
    playground.sentence.text.value = "She is happy."
    playground.wait()
    assert "avi-error" not in playground.state.value


def test_a_file_that_is_no_speech_is_one_line_and_the_recording_before_stays(playground: Playground):
    heard = playground.studio.heard
    playground.speech.upload.value = [uploaded("../<img src=x>.wav", b"nope")]
    playground.wait()
    assert "img_src_x_.wav" in playground.state.value
    assert playground.state.value.startswith(ONE_ERROR) and "<img" not in playground.state.value
    assert playground.studio.heard is heard
    playground.speech.path.value = "data/samples/nobody.flac"
    playground.wait()
    assert "which is not there" in playground.state.value


def test_an_uploaded_recording_is_loaded_under_its_own_name(playground: Playground):
    content = (ROOT / "data" / "samples" / "happy.flac").read_bytes()
    playground.speech.upload.value = [uploaded("<b>.flac", content)]
    playground.wait()
    assert "&lt;b&gt;.flac: flac flac" in playground.speech.health.value
    assert playground.speech.samples.value == "" and playground.speech.words.value == ""
    assert len(playground.talks["B"].motion) == 102


def test_a_defect_of_the_program_is_one_line_too(playground: Playground, monkeypatch):
    monkeypatch.setattr(playground.studio, "video", lambda *_: {}["no\nvideo"])
    playground.refresh()
    playground.wait()
    assert "the program failed: KeyError" in playground.state.value and "line" in playground.state.value
    assert len(playground.state.value.splitlines()) == 1


def test_files_hold_what_is_shown(playground: Playground, tmp_path: Path):
    playground.sampling.samples.value = 2
    playground.wait()
    playground.save("two", (".npz", ".csv", ".json"))
    playground.wait()
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"two-7.npz", "two-8.npz", "two-7.csv", "two-8.csv", "two.json"}
    assert all(name in playground.saving.saved.value for name in made)
    stored = json.loads((tmp_path / "out" / "two.json").read_text("utf-8"))
    assert stored["seeds"] == [7, 8] and stored["timeline"][0]["instruction"] == "She is calm."
    talks = list(playground.talks.values())
    assert load_motion(tmp_path / "out" / "two-8.npz").values.tobytes() == talks[1].motion.values.tobytes()


@pytest.mark.parametrize(("name", "kinds"), [("", (".csv",)), ("../face", (".csv",)), (".x", (".csv",)), ("face", ())])
def test_a_name_with_a_folder_and_no_kind_of_file_are_refused(playground: Playground, tmp_path: Path, name, kinds):
    playground.save(name, kinds)
    playground.wait()
    assert playground.state.value.startswith(ONE_ERROR)
    assert not (tmp_path / "out").exists() and not (tmp_path / "face.csv").exists()


def test_a_part_of_a_talk_has_the_sound_and_the_instructions_of_its_time(playground: Playground):
    calm, sad, angry = (Instruction.parse(f"She is {feeling}.") for feeling in ("calm", "sad", "angry"))
    timeline = Timeline((Entry(0.0, calm), Entry(1.0, sad), Entry(3.0, angry)))
    talk = playground.studio.talker.direct(playground.studio.heard, timeline)
    part = _part(talk, start_s=2.0, most_s=1.6)
    assert len(part.motion) == 40 and part.speech.duration_s == 1.6
    assert part.motion.values.tobytes() == talk.motion.values[50:90].tobytes()
    assert part.speech.wave.tobytes() == talk.speech.wave[32_000:57_600].tobytes()
    assert [(entry.at_s, entry.instruction) for entry in part.timeline.entries] == [(0.0, sad), (1.0, angry)]
    assert _part(talk, 0.0, 12.0) is talk


def test_what_the_browser_recorded_is_loaded_like_any_file(tmp_path: Path):
    content = (ROOT / "data" / "samples" / "sad.flac").read_bytes()
    sounds: list[bytes] = []
    recorder = Recorder(sounds.append, pytest.fail)
    recorder.sent.value = f"data:audio/webm;codecs=opus;base64,{b64encode(content).decode()}"
    assert sounds == [content] and recorder.sent.value == ""
    path = tmp_path / "0.sound"
    path.write_bytes(sounds[0])
    assert round(load_speech(path).duration_s, 1) == 5.4


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ("failed:171:Permission denied", "Permission denied"),
        ("data:text/html;base64,PGI+", "data:text/html"),
        ("data:audio/webm;base64,!!", "damaged data"),
        ("hello", "hello"),
    ],
)
def test_what_is_no_recording_is_told(sent: str, named: str):
    with pytest.raises(InputError, match=named):
        sound_of(sent)
    told: list[str] = []
    Recorder(lambda _: pytest.fail("taken"), told.append).sent.value = sent
    assert len(told) == 1 and named in told[0]


def test_work_is_done_in_order_in_one_thread_and_what_waits_is_done_once():
    done: list[str] = []
    threads: set[int] = set()
    gate = threading.Event()

    def work(name: str):
        def act() -> None:
            gate.wait(10)
            threads.add(threading.get_ident())
            done.append(name)

        return act

    worker = Worker(lambda _: None, lambda: done.append("idle"), pytest.fail)
    worker.ask("save", work("save 1"))
    for number in range(5):
        worker.ask("preview", work(f"preview {number}"))
    worker.ask("view", work("view"))
    gate.set()
    worker.wait()
    assert done == ["save 1", "preview 4", "view", "idle"] and len(threads) == 1
    worker.close()


def test_outside_a_notebook_there_are_no_controls():
    assert front_end() == (False, "static: this is no notebook")
    assert front_end("live")[0] and not front_end("static")[0]
    with pytest.raises(InputError, match="PAGE"):
        front_end("maybe")
