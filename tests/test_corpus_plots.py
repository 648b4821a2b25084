"""Plots and close-ups of a corpus: what their axes say, judged by numbers and labels, not by pictures."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from raw_corpora import RATE_HZ, StillEncoder, voice

from avi_lib.corpus.dataset import Batch, Corpus
from avi_lib.corpus.recording import Recording, Scan
from avi_lib.corpus.shards import ClipEntry, ScriptEntry
from avi_lib.errors import AssetError, InputError
from avi_lib.face.head import load_head
from avi_lib.motion.clip import ARKIT, Curves, MotionClip, Piece
from avi_lib.speech.loading import Speech, SpeechReport
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import prosody
from avi_lib.workbook import closeups, corpus_plots, motion_plots
from avi_lib.workbook.corpus_plots import SPLIT_COLOURS

PHONES = (Phone("SIL", 0.0, 0.2), Phone("M", 0.2, 0.3), Phone("AA", 0.3, 0.8), Phone("SIL", 0.8, 1.0))
LEVELS = ("peak", "rms", "speech", "noise")


def spoken(wave: np.ndarray) -> Speech:
    levels = {f"{name}_dbfs": 0.0 for name in LEVELS} | {"snr_db": 60.0, "silence_ratio": 0.0}
    source = {"path": "a.flac", "container": "flac", "codec": "flac", "channels": 1, "source_rate_hz": RATE_HZ}
    health = {"clipping_fraction": 0.0, "dc_offset": 0.0, "claimed_s": None, "duration_s": len(wave) / RATE_HZ}
    return Speech(wave.astype(np.float32), SpeechReport(**source, **levels, **health))


def moving(frames: int = 25, fps: float = 25.0, **curves: object) -> MotionClip:
    values = np.zeros((frames, len(ARKIT)), np.float32)
    for channel, curve in curves.items():
        values[:, ARKIT.index(channel)] = curve
    return MotionClip(values, fps, ARKIT)


def clip_entry(name: str, **changes: object) -> ClipEntry:
    numbers = {field.name: 0 for field in fields(ClipEntry) if str(field.type) == "int"}
    labels = {
        "clip": name, "recording": name, "speech": f"{name}.flac", "start_s": 0.0, "duration_s": 1.0, "speaker": "s",
        "gender": None, "split": "train", "emotion": "happy", "level": 2, "text": None, "language": "en",
        "motion": "performed",
        "phones_from": "corpus", "scripts": ("a/0", "b/0", "b/1"), "own": 1, "repairs": (), "warnings": (),
        "shard": "k", "frames": 25,
    }  # fmt: skip
    return ClipEntry(**(numbers | labels | changes))


def script(name: str, kind: str, **units: float) -> ScriptEntry:
    texts = (f"Text of | {name}.", "Another.")
    return ScriptEntry(name, name[0], "train", kind, "sad", 1, tuple(units), tuple(units.values()), 7, texts)


SMILES = {"a/0": 0.0, "b/0": 0.1, "b/1": 0.9}
"""How much the scripts of the made-up corpus smile."""


class MadeUp(Corpus):
    """Clips `a` and `b` exchange their scripts; clip `c` has real motion; the jaw opens at another time in each."""

    def __init__(self) -> None:
        self.description = {"fps": 25.0, "space": "ARKIT"}
        self.clips = [
            clip_entry("a"),
            clip_entry("c", motion="recorded", scripts=("c/0",), idle_at=-1),
            clip_entry("b", scripts=("b/0", "b/1", "a/0"), own=2),
        ]
        self.scripts = {name: script(name, "label", lip_corner_pull=smile) for name, smile in SMILES.items()}

    def motion(self, clip, script=0):
        jaw = np.zeros(clip.frames)
        jaw[10 if clip.clip == "a" else 18] = 0.5
        smile = SMILES.get(clip.scripts[script], 0.0)
        return moving(clip.frames, jawOpen=jaw, mouthSmileLeft=smile, mouthSmileRight=smile).values.astype(np.float16)

    def idle(self, clip, script=0):
        return moving(clip.frames, headYaw=0.25).values.astype(np.float16)

    def phones(self, clip):
        return PHONES if clip.clip == "a" else ()


@pytest.fixture
def speech() -> Speech:
    return spoken(voice(1.0))


def test_a_recording_is_shown_as_wave_spectrogram_and_prosody_over_its_duration(speech):
    figure = corpus_plots.plot_recording(speech, PHONES, prosody(speech.wave))
    top, middle, bottom, level = figure.axes
    assert [panel.get_ylabel() for panel in figure.axes] == ["wave", "frequency (kHz)", "F0 (Hz)", "level (dB)"]
    assert [text.get_text() for text in top.texts] == ["M", "AA"]
    assert bottom.get_xlabel() == "time (s)"
    assert all(panel.get_xlim() == (0, 1) for panel in (top, middle, bottom))
    assert middle.get_ylim() == (0, 8)
    f0_hz = bottom.lines[0].get_ydata()
    assert np.nanmedian(f0_hz) == pytest.approx(120, abs=3)
    assert np.isnan(f0_hz[0])
    lowest, highest = level.get_ylim()
    assert highest - lowest <= 66


def test_the_spectrogram_shows_a_tone_at_its_time_and_frequency():
    wave = np.zeros(RATE_HZ)
    wave[8000:12000] = np.sin(2 * np.pi * 3000 * np.arange(4000) / RATE_HZ)
    figure = corpus_plots.plot_features(spoken(wave), (), np.zeros((50, 4), np.float32))
    (image,) = figure.axes[0].images
    left_s, right_s, _, top_khz = image.get_extent()
    power = image.get_array()
    row = int(power.max(axis=1).argmax())
    assert (row + 0.5) / len(power) * top_khz == pytest.approx(3, abs=0.05)
    loud = np.flatnonzero(power[row] > power.max() - 3)
    times_s = left_s + (loud + 0.5) / power.shape[1] * (right_s - left_s)
    assert times_s[0] == pytest.approx(0.5, abs=0.02) and times_s[-1] == pytest.approx(0.75, abs=0.02)
    assert power.max() - power.min() > 70 and np.isfinite(power).all()


def test_features_are_shown_in_standard_deviations_from_their_mean(speech):
    rise = np.linspace(-1, 1, 50)
    features = np.stack([100 * rise, 5 + 2 * rise, -3 * rise], axis=1).astype(np.float16)
    image = corpus_plots.plot_features(speech, PHONES, features).axes[1].images[0]
    assert image.get_extent() == [0, 1, 0, 3]
    expected = np.outer([1, 1, -1], rise / rise.std())
    assert np.abs(image.get_array() - expected).max() < 0.01


def test_a_feature_that_never_changes_is_shown_as_zero(speech):
    features = StillEncoder().encode(speech.wave)
    rows = corpus_plots.plot_features(speech, PHONES, features).axes[1].images[0].get_array()
    assert rows.shape == (2, 50) and sorted(rows.std(axis=1).tolist()) == pytest.approx([0, 1], abs=1e-3)


def test_a_speakers_bar_has_the_colour_of_one_split_and_all_clips_are_counted():
    clips = [clip_entry(f"{i}", speaker=f"s{i % 3}", split=("train", "test", "validation")[i % 3]) for i in range(7)]
    clips.append(clip_entry("x", speaker="s0", emotion=None, level=None))
    emotions, speakers = corpus_plots.plot_split(clips).axes
    assert [label.get_text() for label in speakers.get_xticklabels()] == ["s0", "s2", "s1"]
    assert [label.get_text() for label in emotions.get_xticklabels()] == ["happy", "none"]
    heights = {
        split: [bar.get_height() for bar in bars]
        for split, bars in zip(SPLIT_COLOURS, speakers.containers, strict=True)
    }
    assert heights == {"train": [4, 0, 0], "validation": [0, 2, 0], "test": [0, 0, 2]}
    assert sum(bar.get_height() for bars in emotions.containers for bar in bars) == len(clips)


def test_many_speakers_are_counted_instead_of_named():
    clips = [clip_entry(f"{i}", speaker=f"s{i}") for i in range(60)]
    _, speakers = corpus_plots.plot_split(clips).axes
    assert speakers.get_xlabel() == "60 speakers" and not speakers.get_xticklabels()


def test_scripts_are_counted_by_action_unit_within_and_beyond_the_label():
    scripts = [
        script("a/0", "label", brow_down=0.5),
        script("a/1", "units", brow_down=0.2, pucker=0.3),
        script("b/1", "mix", brow_down=0.9),
    ]
    (panel,) = corpus_plots.plot_units(scripts).axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["brow down", "pucker"]
    assert [[bar.get_height() for bar in bars] for bars in panel.containers] == [[1, 0], [2, 1]]


def test_padding_of_a_batch_is_not_shown():
    motion = np.full((2, 50, 55), 0.25, np.float16)
    batch = Batch(
        features=np.zeros((2, 100, 3), np.float16),
        motion=motion,
        idle=motion,
        present=np.ones((2, 55), bool),
        heard=np.array([100, 40]),
        frames=np.array([50, 20]),
    )
    shown = corpus_plots.plot_batch(batch, ARKIT).axes[0].images[0]
    assert np.ma.count(shown.get_array(), axis=1).tolist() == [50, 20]
    assert shown.get_extent()[:2] == [0, 2]


def test_sides_that_do_the_same_are_one_curve_and_idle_behaviour_is_on_the_right_alone():
    wave = np.linspace(0, 0.5, 25)
    still = moving(browDownLeft=wave, browDownRight=wave, mouthSmileLeft=wave, mouthSmileRight=wave / 2)
    full = moving(browDownLeft=wave, browDownRight=wave, mouthSmileLeft=wave, mouthSmileRight=wave / 2, headYaw=wave)
    figure = motion_plots.plot_idle(still, full)
    labels = [[line.get_label() for line in panel.lines] for panel in figure.axes]
    pairs = [labels[i] for i in range(0, len(labels), 2)]
    assert pairs == [["mouthSmileLeft", "mouthSmileRight"], ["browDown"], ["headYaw"]]
    assert labels[0::2] == labels[1::2]
    assert figure.axes[-2].get_ylabel() == "head (rad)"
    assert [panel.lines[0].get_ydata().max() for panel in figure.axes[-2:]] == [0, 0.5]


def test_eyes_that_look_aside_together_keep_both_names():
    aside = moving(eyeLookInLeft=np.linspace(0, 0.5, 25), eyeLookOutRight=np.linspace(0, 0.5, 25))
    (line,) = motion_plots.plot_idle(aside, aside).axes[1].lines
    assert line.get_label() == "eyeLookInLeft = eyeLookOutRight"


def test_curves_under_speech_have_names_a_unit_and_shaded_bilabials(speech):
    curves = {"first": np.zeros(25), "second": np.ones(25)}
    figure = motion_plots.plot_under_speech(speech, PHONES, curves, 25.0, "lip gap (mm)")
    bottom = figure.axes[1]
    assert [text.get_text() for text in bottom.get_legend().get_texts()] == ["first", "second"]
    assert bottom.get_ylabel() == "lip gap (mm)"
    (shade,) = bottom.patches
    assert (shade.get_x(), shade.get_width()) == pytest.approx((0.2, 0.1))


def test_the_pairs_chosen_share_two_scripts_that_look_different():
    corpus = MadeUp()
    exchange = closeups.choose_exchange(corpus, corpus.clips[0])
    assert [clip.clip for clip in exchange.clips] == ["a", "b"]
    assert [entry.script for entry in exchange.scripts] == ["a/0", "b/1"]
    smiles = [[round(float(motion["mouthSmileLeft"][0]), 1) for motion in row] for row in exchange.motions]
    assert smiles == [[0.0, 0.0], [0.9, 0.9]]
    widest = [[int(motion["jawOpen"].argmax()) for motion in row] for row in exchange.motions]
    assert widest == [[10, 18], [10, 18]]
    assert exchange.moments == ((10, 6), (18, 0))
    faces = exchange.faces()
    assert faces["jawOpen"].round(1).tolist() == [0.5, 0, 0.5, 0] * 2
    assert faces["mouthSmileRight"].round(1).tolist() == pytest.approx([0] * 4 + [0.9] * 4)


def test_exchanged_pairs_lie_in_a_grid_of_scripts_by_clips():
    corpus = MadeUp()
    exchange = closeups.choose_exchange(corpus, corpus.clips[0])
    figure = motion_plots.plot_exchange(exchange.motions, ["one", "two"], ["a", "b"])
    assert [panel.get_title() for panel in figure.axes] == ["a", "b", "", ""]
    assert [panel.get_ylabel() for panel in figure.axes] == ["one\nweight", "", "two\nweight", ""]
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[3].lines}
    assert list(drawn) == ["jawOpen", "browDown", "browInnerUp", "mouthSmile"]
    assert drawn["jawOpen"].argmax() == 18 and drawn["mouthSmile"][0] == pytest.approx(0.9, abs=1e-3)


def test_a_clip_that_exchanges_nothing_is_an_error_that_says_what_to_do():
    corpus = MadeUp()
    with pytest.raises(InputError, match="samples=table:data/samples/corpus"):
        closeups.choose_exchange(corpus, corpus.clips[1])


def test_idle_behaviour_is_added_when_asked_for():
    corpus = MadeUp()
    assert closeups.performance(corpus, corpus.clips[0])["headYaw"].max() == 0
    assert closeups.performance(corpus, corpus.clips[0], idle=True)["headYaw"].min() == 0.25


def test_the_recording_shown_has_sound_and_is_to_be_performed(tmp_path):
    video = Recording("a", "s", speech=tmp_path / "a.mp4", video=tmp_path / "a.mp4")
    sound = Recording("b", "s", speech=tmp_path / "b.wav")
    assert closeups.choose_recording(Scan((video, sound), ())) is sound
    with pytest.raises(InputError, match="sound alone"):
        closeups.choose_recording(Scan((video,), ()))


def test_an_excerpt_is_the_part_asked_for(speech):
    part = closeups.excerpt(speech, 0.25, 0.5)
    assert np.array_equal(part.wave, speech.wave[4000:12000])


def test_tracked_curves_are_compared_at_their_own_time_and_still_ones_left_out():
    jaw = np.random.default_rng(0).uniform(size=40).astype(np.float32)
    performed = moving(40, jawOpen=jaw)
    late = Piece(0.4, Curves(moving(30, jawOpen=jaw[10:]), np.ones(55, bool)))
    measures = closeups.face_measures(load_head())
    found = closeups.correlations([late], performed, measures)
    assert set(found) == {"lip_gap_mm", "jawOpen"}
    assert found["jawOpen"] == pytest.approx(1, abs=1e-5) and found["lip_gap_mm"] == pytest.approx(1, abs=1e-3)
    longer = Piece(0.4, Curves(moving(60, jawOpen=np.append(jaw[10:], jaw[:30])), np.ones(55, bool)))
    assert closeups.correlations([longer], performed, measures)["jawOpen"] == pytest.approx(1, abs=1e-5)
    figure = motion_plots.plot_tracked([late], performed, measures)
    assert [panel.get_ylabel() for panel in figure.axes] == ["lip_gap_mm", "jawOpen", "eyeBlink", "mouthSmile"]
    assert figure.axes[3].get_ylim()[1] >= 0.1
    wanted, tracked = figure.axes[1].lines
    assert tracked.get_xdata()[0] == pytest.approx(0.42) and wanted.get_xdata()[0] == pytest.approx(0.02)
    assert len(motion_plots.plot_tracked([late, longer], None, measures).axes[0].lines) == 2


def test_a_machine_that_cannot_track_gives_its_reason(monkeypatch, tmp_path):
    def fail(path):
        raise AssetError("a library", "none", "install it")

    monkeypatch.setattr(closeups, "track_video", fail)
    track, reason = closeups.try_track(tmp_path / "a.mp4")
    assert track is None and "install it" in reason


def test_tables_keep_their_columns_whatever_a_cell_holds():
    corpus = MadeUp()
    rows = closeups.script_rows(corpus, corpus.clips[2])
    assert rows[1] == ["label", "sad 1", "lip_corner_pull 0.90", "Text of | b/1. / Another."]
    lines = closeups.markdown_table(("kind", "emotion", "units", "texts"), rows).splitlines()
    assert len(lines) == 2 + 2 and {line.count("|") for line in lines} == {5}
    assert closeups.unit_rows({"pucker": 0.5}, {"dimple": 0.25}) == [["pucker", "0.50", ""], ["dimple", "", "0.25"]]


def test_tables_show_tags_and_marks_as_they_are_written():
    row = closeups.markdown_table(
        ["text"], [["<script>alert(1)</script> **bold** [link](javascript:x) $x$ `code`"]]
    ).splitlines()[2]
    assert "<" not in row and "&lt;script&gt;" in row
    assert r"\*\*bold\*\*" in row and r"\[link\]" in row and r"\$x\$" in row and r"\`code\`" in row
