"""Plots: what their panels say, judged by numbers, labels and colours, not by pictures."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from raw_corpora import RATE_HZ, voice

from avi_lib.corpus.dataset import ClipEntry, Corpus, Part
from avi_lib.errors import InputError
from avi_lib.face.head import load_any_head, load_head
from avi_lib.instruction.instruction import Instruction, evenly
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip
from avi_lib.speech.phones import Phone, PhoneTrack
from avi_lib.speech.prosody import prosody
from avi_lib.speech.voice import SpeechReport, Voice
from avi_lib.workbook import plots

PHONES = (Phone("SIL", 0.0, 0.2), Phone("M", 0.2, 0.3), Phone("AA", 0.3, 0.8), Phone("SIL", 0.8, 1.0))
WAVE = np.linspace(0, 0.5, 25)
HARD = "cost $5 and $\\frac{ <b>" + "long " * 30


def spoken(wave: np.ndarray) -> Voice:
    levels = {f"{name}_dbfs": 0.0 for name in ("peak", "rms", "speech", "noise")} | {"snr_db": 60.0}
    source = {"path": "a.flac", "container": "flac", "codec": "flac", "channels": 1, "source_rate_hz": RATE_HZ}
    health = {"clipping_fraction": 0.0, "dc_offset": 0.0, "claimed_s": None, "silence_ratio": 0.0}
    report = SpeechReport(**source, **levels, **health, duration_s=len(wave) / RATE_HZ)
    return Voice(wave.astype(np.float32), report)


def moving(frames: int = 25, fps: float = 25.0, **curves: object) -> MotionClip:
    values = np.zeros((frames, len(ARKIT)), np.float32)
    for channel, curve in curves.items():
        values[:, ARKIT.index(channel)] = curve
    return MotionClip(values, fps, ARKIT)


def drawn(figure: Figure) -> list[Axes]:
    figure.canvas.draw()
    return figure.axes


def labels(panel: Axes) -> list[str]:
    return [line.get_label() for line in panel.lines if not line.get_label().startswith("_")]


def ticks(panel: Axes, axis: str = "x") -> list[str]:
    return [label.get_text() for label in getattr(panel, f"get_{axis}ticklabels")()]


def test_trajectories_have_a_panel_a_group_with_weights_from_0_to_1_over_seconds_and_phones():
    lips, head, phones = drawn(plots.plot_trajectories(moving(jawOpen=WAVE, headYaw=-WAVE), phones=PHONES))
    assert (lips.get_ylabel(), head.get_ylabel()) == ("lips\n(weight)", "head\n(rad)")
    assert labels(lips) == ["jawOpen"] and lips.get_legend() is not None
    assert lips.get_ylim() == (0, 1) and head.get_ylim() == pytest.approx((-0.55, 0.55))
    assert lips.lines[0].get_xdata()[[0, -1]] == pytest.approx([0.02, 0.98])
    assert phones.get_xlabel() == "time (s)" and phones.get_xlim() == (0, 1)
    assert [text.get_text() for text in phones.texts] == ["M", "AA"]
    assert [text.get_position()[0] for text in phones.texts] == pytest.approx([0.25, 0.55])


def test_wave_and_words_stand_above_the_trajectories_and_turns_of_the_head_are_never_one_curve():
    said = (Phone("M", 0.2, 0.3), Phone("AA", 0.3, 0.5), Phone("M", 0.5, 0.6), Phone("OW", 0.6, 0.8))
    track, speech = PhoneTrack(said, "pocketsphinx", "", "Mom, oh dear!"), spoken(voice(1.0))
    motion = moving(headYaw=WAVE, headPitch=WAVE)
    wave, head, phones = drawn(plots.plot_trajectories(motion, phones=track, speech=speech))
    assert wave.get_ylabel() == "wave" and labels(head) == ["headPitch", "headYaw"]
    assert [(text.get_text(), text.get_position()[0]) for text in wave.texts] == [("mom", 0.4), ("oh", 0.7)]
    assert [text.get_text() for text in phones.texts] == ["M", "AA", "M", "OW"]


@pytest.mark.parametrize("count", [30, 150])
def test_names_of_phones_never_overlap_however_many_there_are(count):
    step_s = 3.0 / count
    phones = [Phone("AA", i * step_s, (i + 1) * step_s) for i in range(count)]
    figure = plots.plot_trajectories(moving(75, jawOpen=0.5), phones=phones)
    panel = drawn(figure)[-1]
    boxes = [text.get_window_extent() for text in panel.texts]
    assert len(boxes) >= 20 and len(panel.patches) == count
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_of_two_motions_the_first_is_broad_in_the_same_colour_and_sides_alike_are_one_curve():
    target = moving(jawOpen=WAVE, mouthSmileLeft=0.8 * WAVE, mouthSmileRight=0.8 * WAVE, headYaw=-WAVE)
    lips, _ = drawn(plots.plot_trajectories({"target": target, "learned": moving(jawOpen=WAVE / 2)}))
    assert labels(lips) == ["jawOpen", "mouthSmile"] and lips.get_title("left") == "broad: target, thin: learned"
    assert [line.get_ydata()[-1] for line in lips.lines] == pytest.approx([0.5, 0.4, 0.25, 0.0])
    assert lips.lines[0].get_color() == lips.lines[2].get_color() != lips.lines[1].get_color()
    assert lips.lines[0].get_linewidth() > lips.lines[2].get_linewidth()


def test_named_channels_have_a_panel_each_and_a_colour_for_each_motion_and_still_faces_and_flame_can_be_drawn():
    motions = {f"{share:g}": moving(browDownLeft=share, browDownRight=share) for share in (0.0, 0.5, 1.0)}
    jaw, brow = drawn(plots.plot_trajectories(motions, ("jawOpen", "browDown")))
    assert [text.get_text() for text in jaw.get_legend().get_texts()] == ["0", "0.5", "1"]
    assert [line.get_ydata()[0] for line in brow.lines] == [0.0, 0.5, 1.0]
    assert len({line.get_color() for line in brow.lines}) == 3 and brow.get_ylabel() == "browDown\n(weight)"
    two = dict(list(motions.items())[::2])
    band = drawn(plots.plot_trajectories(two, ("browDown",)))[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0, 1)
    assert labels(drawn(plots.plot_trajectories(moving()))[0]) == ["eyeBlinkLeft"]
    flame = MotionClip(np.outer(WAVE, np.ones(56)).astype(np.float32) * 4, 25.0, FLAME)
    names = [panel.get_ylabel() for panel in drawn(plots.plot_trajectories(flame))]
    assert names == ["expression\n(coefficient)", "lips\n(rad)", "head\n(rad)"]
    drawn(plots.plot_trajectories({HARD: moving(jawOpen=WAVE), "b": moving()}, ("jawOpen",)))


def test_unlike_sides_are_two_curves_and_channels_that_differ_are_found():
    gaze = moving(eyeLookInLeft=WAVE, eyeLookOutRight=WAVE, mouthSmileLeft=WAVE, mouthSmileRight=WAVE / 2)
    assert plots.moving_groups([gaze]) == {
        "lips": ["mouthSmileLeft", "mouthSmileRight"],
        "gaze": ["eyeLookInLeft = eyeLookOutRight"],
    }
    first, second = moving(jawOpen=WAVE), moving(jawOpen=WAVE, mouthSmileLeft=WAVE, mouthSmileRight=WAVE)
    assert plots.differing_channels(first, second, most=2) == ["mouthSmile"]
    assert len(plots.differing_channels(first, first)) == 1
    with pytest.raises(InputError, match="one recording"):
        plots.differing_channels(first, moving(24))


def test_curves_lie_under_the_spectrogram_with_names_a_unit_and_bilabials_shaded():
    gaps_mm = {"target": np.zeros(25), "learned": np.ones(25)}
    figure = plots.plot_curves({"lip gap (mm)": gaps_mm}, 25.0, PHONES, spoken(voice(1.0)))
    top, middle, bottom = drawn(figure)
    assert top.get_ylabel() == "frequency (kHz)" and middle.get_ylabel() == "lip gap (mm)"
    assert labels(middle) == ["target", "learned"] and bottom.get_xlim() == (0, 1)
    (shade,) = middle.patches
    assert (shade.get_x(), shade.get_width()) == pytest.approx((0.2, 0.1))


def test_a_timeline_shows_shares_and_channels():
    timeline = evenly([Instruction.parse("She is calm."), Instruction(HARD)], 1.6)
    upper, lower = drawn(plots.plot_timeline(moving(40, mouthSmileLeft=0.4), timeline))
    shares = [line.get_ydata() for line in upper.lines if len(line.get_ydata()) == 40]
    assert shares[0][0] == 1 and shares[1][-1] == 1
    assert labels(lower) == ["browDown", "browInnerUp", "mouthSmile"]


def test_a_recording_is_shown_as_spectrogram_wave_prosody_and_phones_over_its_duration():
    speech = spoken(voice(1.0))
    shown = drawn(plots.plot_recording(speech, PHONES, prosody(speech.wave)))
    names = [panel.get_ylabel() for panel in shown]
    assert names == ["frequency (kHz)", "wave", "F0 (Hz)", "phones", "level (dB)"]
    assert all(panel.get_xlim() == (0, 1) for panel in shown) and shown[0].get_ylim() == (0, 8)
    f0_hz = shown[2].lines[0].get_ydata()
    assert np.nanmedian(f0_hz) == pytest.approx(120, abs=3) and np.isnan(f0_hz[0])
    assert np.ptp(shown[4].get_ylim()) <= 66


def test_the_spectrogram_shows_a_tone_at_its_time_and_frequency():
    wave = np.zeros(RATE_HZ)
    wave[8000:12000] = np.sin(2 * np.pi * 3000 * np.arange(4000) / RATE_HZ)
    (image,) = plots.plot_heat(np.zeros((4, 50)), 1.0, "value", speech=spoken(wave)).axes[0].images
    left_s, right_s, _, top_khz = image.get_extent()
    power = image.get_array()
    row = int(power.max(axis=1).argmax())
    assert (row + 0.5) / len(power) * top_khz == pytest.approx(3, abs=0.05)
    loud = np.flatnonzero(power[row] > power.max() - 3)
    times_s = left_s + (loud + 0.5) / power.shape[1] * (right_s - left_s)
    assert times_s[[0, -1]] == pytest.approx([0.5, 0.75], abs=0.02)
    assert power.max() - power.min() > 70 and np.isfinite(power).all()


def test_a_heat_map_has_a_row_for_every_channel_that_moves_and_padding_stays_white():
    panel = drawn(plots.plot_heat_map(moving(jawOpen=WAVE, browInnerUp=WAVE, headYaw=-WAVE)))[0]
    assert ticks(panel, "y") == ["jawOpen", "browInnerUp", "headYaw"]
    assert panel.images[0].get_array().max() == 1 and panel.images[0].get_array().min() == -1
    assert len(ticks(drawn(plots.plot_heat_map(moving()))[0], "y")) == 1
    rows = np.where(np.arange(50) < np.array([[50], [20]]), 0.25, np.nan)
    image = drawn(plots.plot_heat(rows, 2.0, "jawOpen (weight)", limits=(0.0, 1.0)))[0].images[0]
    assert np.ma.count(image.get_array(), axis=1).tolist() == [50, 20] and image.get_extent()[:2] == [0, 2]


class MadeUp(Corpus):
    """Clips `a` and `b` exchange scripts that smile differently; `c` has real motion."""

    def __init__(self) -> None:
        self.description = {"fps": 25.0, "space": "ARKIT"}
        self.smiles = {"a/0": 0.0, "b/0": 0.1, "b/1": 0.9}
        self.clips = [
            self.entry("a", scripts=("a/0", "b/0", "b/1")),
            self.entry("b", scripts=("b/0", "b/1", "a/0")),
            self.entry("c", scripts=("c/0",), motion="recorded"),
        ]
        self.index = SimpleNamespace(neighbours=lambda clip: Part(tuple(self.clips), ()))

    @staticmethod
    def entry(name: str, **labels: object) -> ClipEntry:
        zeros = {"int": 0, "float": 0.0, "str": "", "tuple[str, ...]": ()}
        empty = {field.name: zeros.get(str(field.type)) for field in fields(ClipEntry)}
        return ClipEntry(**(empty | {"clip": name, "motion": "performed", "frames": 25} | labels))

    def motion(self, clip, script=0):
        return moving(25, mouthSmileLeft=self.smiles.get(clip.scripts[script], 0.0)).values.astype(np.float16)

    def idle(self, clip, script=0):
        return moving(25, headYaw=0.25).values.astype(np.float16)


def test_the_pair_chosen_shares_two_scripts_that_look_different():
    corpus = MadeUp()
    partner, (one, two) = plots.choose_exchange(corpus, corpus.clips[0])
    assert partner.clip == "b" and sorted((one, two)) == [0, 2]
    with pytest.raises(InputError, match="samples=table:data/samples/corpus"):
        plots.choose_exchange(corpus, corpus.clips[2])
    assert corpus.performance(corpus.clips[0])["headYaw"].max() == 0
    assert corpus.performance(corpus.clips[0], 2, idle=True)["headYaw"].min() == 0.25


def test_telling_frames_are_the_widest_mouth_and_one_that_is_shut_and_nan_leaves_a_gap():
    widest = moving(jawOpen=0.5 * (np.arange(25) == 10))
    assert plots.mouth_moments(widest, PHONES) == (10, 6) and plots.mouth_moments(widest, ()) == (10, 0)
    curve = np.where(np.arange(20) // 5 % 2 == 0, np.nan, 0.5)
    assert len(drawn(plots.plot_curves({"jawOpen": {"tracked": curve}}, 25.0))) == 1


def lines(steps: int, **losses: float) -> list[dict[str, float]]:
    return [{"step": 10 * (i + 1), "epoch": 0.1, "s": float(i), "loss": 0.5, **losses} for i in range(steps)]


def test_losses_stand_at_their_steps_in_the_parts_asked_for_or_all_in_one():
    log = lines(4, lips=0.25, divergence=5.0)
    left, right = drawn(plots.plot_losses(log, {"error": ("lips", "gap"), "loss": ("loss",)}))
    assert (left.get_ylabel(), labels(left)) == ("error", ["lips"]) and labels(right) == ["loss"]
    assert left.lines[0].get_xdata().tolist() == [10, 20, 30, 40] and left.lines[0].get_marker() == "."
    (whole,) = drawn(plots.plot_losses(log))
    assert labels(whole) == ["loss", "lips", "divergence"] and whole.get_yscale() == "log"
    assert len({line.get_color() for line in whole.lines}) == 3


def test_a_long_log_is_shown_as_means_that_keep_its_end_an_empty_one_is_no_error_and_live_ones_are_drawn_in_time():
    log = lines(900)
    log[-1]["loss"] = 6.5
    (curve,) = plots.plot_losses(log).axes[0].lines
    assert len(curve.get_xdata()) == 150 and curve.get_xdata()[-1] == 9000
    assert curve.get_ydata()[-1] == pytest.approx((5 * 0.5 + 6.5) / 6)
    parts = drawn(plots.plot_losses({"align": lines(2, states=3.0), "write": []}))
    assert [(panel.get_ylabel(), len(panel.lines)) for panel in parts] == [("align", 2), ("write", 0)]
    for every_s, expected in ((1e6, [1]), (0.0, [1, 2, 3])):
        shown: list[Figure] = []
        take = plots.live_losses(shown.append, every_s=every_s)
        for line in lines(3):
            take(line)
        assert [len(figure.axes[0].lines[0].get_xdata()) for figure in shown] == expected


def test_a_matrix_writes_every_number_that_can_be_seen_and_cuts_sentences():
    first, second = drawn(plots.plot_matrix({"a": np.eye(3), "b": np.full((3, 3), 0.25)}, "xyz", "uvw", ("asked", "")))
    assert [text.get_text() for text in first.texts] == ["1.00"] * 3 and len(second.texts) == 9
    assert first.get_ylabel() == "asked" and ticks(first) == ["u", "v", "w"]
    panel = drawn(plots.plot_matrix({"cosine": np.eye(2)}, ["a", HARD], [], form="", highest=None))[0]
    assert not panel.texts and len(ticks(panel, "y")[1].replace("\\$", "$")) == 46


def test_dots_take_the_colour_of_their_emotion_and_strengths_their_order():
    points, values = np.random.default_rng(0).normal(size=(4, 2)), np.array([0.0, 0.2, 0.9, 0.1])
    shown = drawn(plots.plot_map(points, ["sad", None, "happy", "sad"], ("x", "y"), {"smile": values}))
    dots = {each.get_label(): each for each in shown[0].collections}
    assert list(dots) == ["none", "happy", "sad"] and np.allclose(dots["sad"].get_offsets(), points[[0, 3]])
    assert to_hex(dots["sad"].get_facecolor()[0]) == plots.EMOTION_COLOURS["sad"]
    (order,) = shown[1].collections
    assert order.get_array().tolist() == [0.0, 0.1, 0.2, 0.9] and np.allclose(order.get_offsets()[-1], points[2])
    assert (shown[1].get_title(), shown[2].get_xlabel()) == ("smile", "strength")


def test_bars_are_stacked_and_many_names_are_counted_instead():
    few = {"train": {"happy": 4, "a$b": 1}, "test": {"happy": 2}}
    many = {"train": {f"s{i}": 1 for i in range(60)}}
    left, right = drawn(plots.plot_bars({"emotion": few, "speaker": many}, "clips", {"train": "#123456"}))
    heights = [[(bar.get_y(), bar.get_height()) for bar in bars] for bars in left.containers]
    assert heights == [[(0, 4), (0, 1)], [(4, 2), (1, 0)]] and ticks(left)[0] == "happy"
    assert to_hex(left.containers[0][0].get_facecolor()) == "#123456"
    assert right.get_xlabel() == "60 speakers" and not ticks(right)


def test_tables_keep_their_columns_and_show_tags_and_marks_as_they_are_written():
    cell = "<script>alert(1)</script> **bold** | [link](javascript:x) $x$ `code`\nnext"
    table = plots.markdown_table(("a", "b"), [[cell, 1.5]]).splitlines()
    assert len(table) == 3 and {line.count("|") for line in table} == {3}
    assert "<" not in table[2] and "&lt;script&gt;" in table[2] and table[2].endswith("next | 1.5 |")
    assert all(shown in table[2] for shown in (r"\*\*bold\*\*", r"\[link\]", r"\$x\$", r"\`code\`"))


def test_the_viewer_shows_the_head_as_it_moves_and_the_browser_tells_motions_by_their_dashes():
    head, motion = load_head(), moving(50, jawOpen=np.linspace(0, 0.5, 50))
    figure = plots.view_mesh(head, motion, most=4)
    assert [frame.name for frame in figure.frames] == ["0.00", "0.64", "1.28", "1.96"]
    assert len(figure.layout.sliders[0].steps) == 4
    shown = np.stack([figure.frames[2].data[0][axis] for axis in "xyz"], axis=1)
    assert np.array_equal(shown, head.move(motion.at([32]))[0])
    assert figure.data[0].vertexcolor.shape == (len(head.vertices), 3)
    curves = plots.browse_trajectories({"one": motion, "two": motion}).data
    assert [(each.name, each.line.dash) for each in curves[:2]] == [("one", "solid"), ("two", "dash")]
    shown = [(each.hovertext, each.line.dash, each.showlegend) for each in curves[2:] if each.name == "jawOpen"]
    assert shown == [("one", "solid", True), ("two", "dash", False)], "a channel stands in the legend once"
    cast = load_any_head("anna", {})
    seen = plots.view_mesh(cast, motion, most=2).data[0]
    assert len(cast.triangles) / 2 < len(seen.i) < len(cast.triangles), "hair that is mostly seen through is not drawn"
