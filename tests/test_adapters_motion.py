"""Recorded motion as corpora: Live Link Face takes, named rigs and FLAME coefficients."""

from __future__ import annotations

import itertools
import json
import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_adapters import names, reason, tree

from avi_lib.corpus.adapters import scan_source
from avi_lib.corpus.rigs import RIG_MAPS, load_action_units, load_rig, load_take, map_for
from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip
from avi_lib.motion.formats import load_flame, save_livelink

FRAMES = 40


def take(path: Path, **channels: float) -> None:
    """A Live Link take whose named channels rise to these values; everything else rests."""
    values = np.zeros((FRAMES, len(ARKIT)), np.float32)
    for channel, peak in channels.items():
        values[:, ARKIT.index(channel)] = np.linspace(0.0, peak, FRAMES)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_livelink(MotionClip(values, 30.0, ARKIT), path)


def rig_file(path: Path, names: list[str], weights: np.ndarray, fps: float = 30.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, weights=weights, fps=np.float64(fps), names=np.array(names))
    return path


def facegood_file(path: Path, **peaks: float) -> Path:
    rig_map = json.loads((RIG_MAPS / "facegood.json").read_text("utf-8"))
    fed = {name for feeds in rig_map["channels"].values() for name in feeds}
    names = sorted(fed | set(rig_map["ignored"]))
    weights = np.zeros((FRAMES, len(names)), np.float16)
    for name, peak in peaks.items():
        weights[:, names.index(name)] = np.linspace(0.0, peak, FRAMES)
    return rig_file(path, names, weights)


def test_a_take_finds_its_sound_by_name_or_as_the_only_one_of_its_folder(tmp_path: Path) -> None:
    take(tmp_path / "a" / "one.csv", jawOpen=0.5)
    take(tmp_path / "b" / "two.csv", jawOpen=0.5)
    take(tmp_path / "c" / "three.csv", jawOpen=0.5)
    take(tmp_path / "c" / "four.csv", jawOpen=0.5)
    tree(tmp_path, "a/one.mov", "a/one.wav", "b/other.mov", "c/other.mov")
    speech = {recording.name: recording.speech for recording in scan_source("livelink", tmp_path).recordings}
    assert speech["a/one"] == tmp_path / "a" / "one.wav" and speech["b/two"] == tmp_path / "b" / "other.mov"
    assert speech["c/three"] is None and speech["c/four"] is None


def test_of_the_files_of_one_take_the_calibrated_one_is_read_and_other_csv_files_are_left_alone(tmp_path: Path) -> None:
    for ending, peak in (("", 0.5), ("_cal", 0.4), ("_raw", 0.6)):
        take(tmp_path / f"MySlate_1_iPhone{ending}.csv", jawOpen=peak)
    tree(tmp_path, "MySlate_1_iPhone.mov")
    (tmp_path / "frame_log.csv").write_text("V,Frame,Time\n1,2,3\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    found = scan_source("livelink", tmp_path)
    (recording,) = found.recordings
    assert found.refused == ()
    assert recording.name == "MySlate_1_iPhone" and recording.speech == tmp_path / "MySlate_1_iPhone.mov"
    assert recording.motion and recording.motion.read(recording.motion.path)["jawOpen"][-1] == pytest.approx(0.4)


def test_takes_of_other_dialects_are_found_and_what_is_clipped_or_rescaled_is_a_repair(tmp_path: Path) -> None:
    take(tmp_path / "one.csv", jawOpen=0.5)
    (tmp_path / "two.csv").write_text((tmp_path / "one.csv").read_text().replace(",", ";"), "utf-16")
    take(tmp_path / "high.csv", jawOpen=1.4)
    take(tmp_path / "percent.csv", jawOpen=80.0, eyeBlinkLeft=90.0)
    found = {r.name: r.motion.read(r.motion.path) for r in scan_source("livelink", tmp_path).recordings if r.motion}
    assert np.array_equal(found["one"].values, found["two"].values) and not found["one"].repairs
    assert [f.name for f in found["high"].repairs] == ["weights_clipped"] and found["high"].values.max() == 1.0
    assert [f.name for f in found["percent"].repairs] == ["weights_in_percent"]
    assert found["percent"]["jawOpen"][-1] == pytest.approx(0.8)


def test_the_speaker_is_the_folder_above_the_apps_own(tmp_path: Path) -> None:
    take(tmp_path / "anna" / "20240101_MySlate_1" / "MySlate_1_iPhone.csv", jawOpen=0.5)
    take(tmp_path / "20240101_MySlate_2" / "MySlate_2_iPhone.csv", jawOpen=0.5)
    assert [recording.speaker for recording in scan_source("livelink", tmp_path).recordings] == ["unknown", "anna"]


def test_a_table_labels_takes_and_words_that_are_no_emotion_leave_it_open(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        take(tmp_path / f"{name}.csv", jawOpen=0.5)
    rows = ["clip,speaker,label,level,text", "one,bo,fearful,3,Help!", "two,bo,angry_or_disgusted,,", "three,bo,sad,7,"]
    (tmp_path / "index.csv").write_text("\n".join(rows))
    found = scan_source("livelink", tmp_path)
    one, two = found.recordings
    assert (one.speaker, one.emotion, one.level, one.text) == ("bo", "fear", 3, "Help!")
    assert two.emotion is None and "level '7'" in reason(found, "three")


def test_groups_that_never_move_are_missing_and_a_face_that_never_does_is_an_error(tmp_path: Path) -> None:
    take(tmp_path / "one.csv", jawOpen=0.5, browInnerUp=0.3)
    curves = load_take(tmp_path / "one.csv")
    present = dict(zip(ARKIT.channels, curves.present, strict=True))
    assert present["tongueOut"] and present["browDownLeft"]
    assert not present["headYaw"] and not present["eyeBlinkLeft"]
    take(tmp_path / "still.csv")
    with pytest.raises(InputError, match=r"still\.csv"):
        load_take(tmp_path / "still.csv")


def test_arkit_names_decide_whatever_their_order_and_case_and_weights_end_at_one(tmp_path: Path) -> None:
    listed = [channel[0].upper() + channel[1:] for channel in reversed(ARKIT.channels)] + ["LeftEyeYaw"]
    weights = np.tile(np.linspace(0, 1, FRAMES, dtype=np.float32)[:, None], (1, len(listed)))
    weights *= np.arange(len(listed), dtype=np.float32) / len(listed)
    curves = load_rig(rig_file(tmp_path / "a.npz", listed, weights, fps=60.0))
    assert curves["jawOpen"][-1] == pytest.approx(listed.index("JawOpen") / len(listed))
    assert curves["headYaw"][-1] == pytest.approx(listed.index("HeadYaw") / len(listed))
    assert curves.present.all() and curves.fps == 60.0
    sided = [name.replace("Left", "_L") if name != "JawLeft" and name != "MouthLeft" else name for name in listed]
    again = load_rig(rig_file(tmp_path / "c.npz", sided[:-1], 100.0 * weights[:, :-1] * (np.arange(54, -1, -1) < 52)))
    assert again["eyeBlinkLeft"][-1] == pytest.approx(curves["eyeBlinkLeft"][-1]) and again.repairs
    weights = np.array([[0.0, 0.0], [1.2, -1.3]], np.float32)
    curves = load_rig(rig_file(tmp_path / "b.npz", ["jawOpen", "headPitch"], weights))
    assert curves["jawOpen"][1] == 1.0 and curves["headPitch"][1] == pytest.approx(-1.3), "no rotation"
    assert curves.present[ARKIT.index("headPitch")] and not curves.present[ARKIT.index("headYaw")]


def test_facegood_names_feed_arkit_and_what_the_rig_leaves_still_is_missing(tmp_path: Path) -> None:
    peaks = {"mouth_stretch_c": 0.5, "mouth_oh_c": 0.5, "mouth_funnel_dl": 0.4, "nose_wrinkle_l": 0.02}
    curves = load_rig(facegood_file(tmp_path / "a.npz", **peaks))
    assert curves["jawOpen"][-1] == pytest.approx(0.5 + 0.12 * 0.5, abs=1e-3)
    assert curves["mouthFunnel"][-1] == pytest.approx(0.25 * 0.4 + 0.5 * 0.5, abs=1e-3)
    present = dict(zip(ARKIT.channels, curves.present, strict=True))
    assert present["mouthClose"] and present["mouthSmileLeft"]  # 0 here, animated in other recordings
    assert not any(present[name] for name in ("browInnerUp", "eyeBlinkLeft", "noseSneerLeft", "headYaw", "tongueOut"))


def test_a_rig_map_in_the_source_overrides_the_shipped_ones_and_travels_to_workers(tmp_path: Path) -> None:
    path = rig_file(tmp_path / "anna" / "a.npz", ["Grin", "Other"], np.array([[0, 0], [0.5, 1]], np.float32))
    with pytest.raises(InputError, match=r"Grin, Other .*rig_map\.json"):
        scan_source("rig", tmp_path)
    channels = {"mouthSmileLeft": {"grin": 0.5}, "mouthSmileRight": {"grin": 1.0}}
    (tmp_path / "rig_map.json").write_text(json.dumps({"name": "mine", "channels": channels}))
    (recording,) = scan_source("rig", tmp_path).recordings
    assert recording.speaker == "anna" and recording.motion
    curves = pickle.loads(pickle.dumps(recording.motion.read))(path)
    assert curves["mouthSmileLeft"][1] == 0.25 and curves["mouthSmileRight"][1] == 0.5
    assert curves.present.sum() == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "readable JSON"),
        ("[]", "another form"),
        ('{"channels": {}}', "another form"),
        ('{"channels": {"smile": {"grin": 1.0}}}', "smile"),
        ('{"channels": {"jawOpen": {"grin": "much"}}}', "jawOpen"),
        ('{"channels": {"jawOpen": {"grin": NaN}}}', "jawOpen"),
        ('{"channels": {"jawOpen": {"grin": 1}}, "ignored": "tooth"}', "ignored"),
        ('{"channels": {"jawOpen": {"gape": 1}}}', "gape, which the rig lacks"),
    ],
)
def test_a_bad_rig_map_is_an_error_that_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rig_map.json").write_text(text)
    with pytest.raises(InputError, match=said):
        map_for(["grin"], tmp_path / "rig_map.json")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"weights": np.zeros((3, 1)), "fps": 30.0}, "no names"),
        ({"weights": np.zeros((3, 2)), "fps": 30.0, "names": ["jawOpen"]}, r"weights \(frames, 1\)"),
        ({"weights": np.full((3, 1), np.nan), "fps": 30.0, "names": ["jawOpen"]}, "3 frames with NaN"),
        ({"weights": np.array([[0.0], [1.0]]), "fps": 0.0, "names": ["jawOpen"]}, "positive frame rate"),
        ({"weights": np.zeros((3, 1)), "fps": 30.0, "names": ["jawOpen"]}, "a rig that moves"),
        ({"weights": np.zeros((3, 2)), "fps": 30.0, "names": ["jawOpen", "JawOpen"]}, "jawopen twice"),
        ({"weights": np.array([[{}]]), "fps": 30.0, "names": ["jawOpen"]}, "weights of the type object"),
    ],
)
def test_a_bad_rig_file_is_an_error_that_names_it(tmp_path: Path, arrays: dict, said: str) -> None:
    np.savez(tmp_path / "a.npz", **{name: np.array(value) for name, value in arrays.items()})
    with pytest.raises(InputError, match=said):
        load_rig(tmp_path / "a.npz")


def test_npz_files_that_are_no_rig_or_no_flame_coefficients_are_refused_by_name(tmp_path: Path) -> None:
    facegood_file(tmp_path / "rigs" / "good.npz", mouth_stretch_c=0.5)
    (tmp_path / "flame").mkdir()
    np.savez(tmp_path / "flame" / "good.npz", **flame_arrays())
    np.savez(tmp_path / "rigs" / "track.npz", arkit=np.zeros((3, 52)))
    np.savez(tmp_path / "flame" / "no_jaw.npz", exp=np.zeros((3, 50)))
    np.savez(tmp_path / "flame" / "other.npz", values=np.zeros((3, 55)))
    for folder in ("rigs", "flame"):
        (tmp_path / folder / "broken.npz").write_bytes(b"PK")
    rigs, flame = scan_source("rig", tmp_path / "rigs"), scan_source("flame", tmp_path / "flame")
    assert names(rigs) == names(flame) == ["good"]
    assert "no weights" in reason(rigs, "track.npz") and "npz with weights" in reason(rigs, "broken.npz")
    assert "no jaw" in reason(flame, "no_jaw.npz") and "no expression" in reason(flame, "other.npz")
    assert "no npz" in reason(flame, "broken.npz")


def test_an_array_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999), }"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("weights.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        archive.writestr("fps.npy", b"")
        archive.writestr("names.npy", b"")
    with pytest.raises(InputError, match="more than 1073741824 bytes"):
        load_rig(tmp_path / "a.npz")


def flame_arrays(frames: int = FRAMES, expressions: int = 50) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"exp": rng.normal(size=(frames, expressions)), "jaw_pose": rng.normal(0.1, 0.01, (frames, 3))}


def test_flame_coefficients_are_read_under_the_names_of_the_fields_tools(tmp_path: Path) -> None:
    arrays = flame_arrays(expressions=100)
    pose = np.concatenate([np.full((FRAMES, 3), 0.2), arrays["jaw_pose"]], axis=1)
    variants = {
        "emote": {
            "expression": arrays["exp"][None],
            "jaw_pose": arrays["jaw_pose"],
            "global_pose": np.zeros((FRAMES, 3)),
        },
        "diffposetalk": {"exp": arrays["exp"], "pose": pose, "shape": np.zeros(100)},
        "vhap": {"expr": arrays["exp"], "jaw_pose": np.degrees(arrays["jaw_pose"]), "neck_pose": arrays["jaw_pose"]},
        "deca": {"expcode": arrays["exp"][:, None], "posecode": pose, "fps": np.float64(30.0)},
    }
    for name, stored in variants.items():
        np.savez(tmp_path / f"{name}.npz", **stored)
        curves = load_flame(tmp_path / f"{name}.npz")
        assert curves.space is FLAME and curves.fps == (30.0 if name == "deca" else 25.0)
        assert np.allclose(curves.values[:, :50], arrays["exp"][:, :50], atol=1e-6)
        assert np.allclose(curves.values[:, 50:53], arrays["jaw_pose"], atol=1e-6)
        assert curves.present[53:].all() == (name not in ("emote", "vhap")) and curves.present[:53].all()
        assert [f.text for f in curves.warnings] == (["not read: neck_pose"] if name == "vhap" else [])
        assert [f.name for f in curves.repairs] == (["rotations_in_degrees"] if name == "vhap" else [])


def test_flame_folders_of_npy_files_and_npz_files_find_their_sound_and_speaker(tmp_path: Path) -> None:
    arrays = flame_arrays()
    (tmp_path / "M003" / "two").mkdir(parents=True)
    np.savez(tmp_path / "M003" / "one.npz", **arrays)
    np.save(tmp_path / "M003" / "two" / "expression.npy", arrays["exp"])
    np.save(tmp_path / "M003" / "two" / "jaw.npy", arrays["jaw_pose"])
    tree(tmp_path, "M003/one.wav", "M003/two.wav")
    found = scan_source("flame", tmp_path)
    assert names(found) == ["M003/one", "M003/two"] and {r.speaker for r in found.recordings} == {"M003"}
    for recording in found.recordings:
        assert recording.speech == tmp_path / f"{recording.name}.wav" and recording.motion
        assert recording.motion.space == "FLAME"
        assert len(recording.motion.read(recording.motion.path)) == FRAMES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exp": np.zeros((FRAMES, 10))}, r"exp of the shape \(40, 10\)"),
        ({"jaw_pose": np.zeros((FRAMES, 6))}, r"jaw_pose of the shape \(40, 6\)"),
        ({"jaw_pose": np.zeros((7, 3))}, "40 frames of expression, 7 of jaw"),
        ({"exp": np.full((FRAMES, 50), np.inf)}, "NaN or infinity"),
        ({"exp": np.full((FRAMES, 50), 50.0)}, "expression coefficient of at most 20"),
        ({"exp": np.array([{}])}, "exp of the type object"),
        ({"fps": np.float64(-1.0)}, "positive frame rate"),
    ],
)
def test_bad_flame_coefficients_are_an_error_that_says_why(tmp_path: Path, change: dict, said: str) -> None:
    np.savez(tmp_path / "a.npz", **(flame_arrays() | change))
    with pytest.raises(InputError, match=said):
        load_flame(tmp_path / "a.npz")


def test_real_facegood_recordings_move_the_mouth_and_nothing_else(real_data: Path) -> None:
    found = scan_source("rig", real_data / "facegood")
    assert len(found.recordings) == 5 and found.refused == () and all(r.speech for r in found.recordings)
    (first, *_) = found.recordings
    assert first.motion
    curves = first.motion.read(first.motion.path)
    moving = {channel for channel, there in zip(ARKIT.channels, curves.present, strict=True) if there}
    assert len(moving) == 17 and all(channel.startswith(("jaw", "mouth")) for channel in moving)
    assert curves.fps == 30.0 and 0.3 < np.quantile(curves["jawOpen"], 0.95) < 0.5


def test_the_lips_of_a_real_facegood_recording_open_with_its_sound(real_data: Path) -> None:
    import soundfile

    from avi_lib.face.head import load_head

    curves = load_rig(real_data / "facegood" / "1114_2_01.npz")
    wave, rate_hz = soundfile.read(real_data / "facegood" / "1114_2_01.flac")
    gap = load_head().lip_gap(curves.values)
    frames = min(len(gap), int(len(wave) / rate_hz * 30))
    edges = (np.arange(frames + 1) * rate_hz / 30).astype(int)
    loudness = [np.log(1e-4 + np.sqrt(np.mean(wave[a:b] ** 2))) for a, b in itertools.pairwise(edges)]
    assert np.corrcoef(gap[:frames], loudness)[0, 1] > 0.7
    with np.load(real_data / "facegood" / "1114_2_01.npz", allow_pickle=False) as stored:
        pressed = stored["weights"][:, stored["names"].tolist().index("mouth_suck_ul")] > 0.2
    assert np.median(gap[pressed]) < 0.1 * np.quantile(gap, 0.9)


def test_real_iphone_takes_are_whole_faces_with_a_head_where_it_was_tracked(real_data: Path) -> None:
    found = {recording.name: recording for recording in scan_source("rig", real_data / "arkit_iphone").recordings}
    assert len(found) == 13 and found["MySlate_167_iPhone_cal"].emotion == "sad"
    assert found["MySlate_164_iPhone_cal"].emotion is None and found["neurosync_testset"].speech
    talking = load_rig(real_data / "arkit_iphone" / "neurosync_testset.npz")
    silent = load_rig(real_data / "arkit_iphone" / "MySlate_167_iPhone_cal.npz")
    assert talking.present.all() and silent.present[:52].all() and not silent.present[52:].any()
    assert 0.01 < talking["headPitch"].std() < 0.1  # radians


def indexed(folder: Path, rows: list[dict[str, str]], **arrays: object) -> Path:
    """A corpus of takes with the same arrays, half a second of silence each, and their labels in `index.csv`."""
    columns = list(rows[0])
    for row in rows:
        np.savez(folder / f"{row['clip']}.npz", **arrays)
        soundfile.write(folder / f"{row['clip']}.flac", np.zeros(8000), 16_000)
    lines = [",".join(row[column] for column in columns) for row in rows]
    (folder / "index.csv").write_text("\n".join([",".join(columns), *lines]), "utf-8")
    return folder


def test_clips_of_one_tracked_speaker_are_split_by_name_and_keep_their_mask(tmp_path: Path) -> None:
    rows = [
        {"clip": f"c{i}", "speaker": "S", "gender": "male", "language": "en-GB", "emotion": "neutral"}
        for i in range(64)
    ]
    arrays = {"values": np.full((5, 55), 0.25, np.float16), "fps": np.float32(25), "channels": np.array(ARKIT.channels)}
    present = np.arange(55) != ARKIT.index("cheekPuff")
    found = scan_source("av_grid_s1", indexed(tmp_path, rows, **arrays, present=present)).recordings
    splits = Counter(recording.split for recording in found)
    assert 8 <= splits["test"] <= 24 and 1 <= splits["validation"] <= 8 and splits["train"] >= 36
    first = found[0]
    assert (first.speaker, first.language, first.emotion, first.gender) == ("S", "en", "neutral", "male")
    assert first.speech == tmp_path / "c0.flac" and first.motion is not None
    clip = first.motion.read(first.motion.path)
    assert (clip.present == present).all() and clip["cheekPuff"].max() == 0 and clip["jawOpen"].max() == 0.25
    assert [again.split for again in scan_source("av_grid_s1", tmp_path).recordings] == [r.split for r in found]


def test_action_units_become_channels_later_by_the_delay_of_the_sound_and_the_rest_is_missing(tmp_path: Path) -> None:
    units = np.zeros((30, 2), np.float16)
    units[10:, 0] = 1.0
    arrays = {"au_restored": units, "au_names": np.array(["AU04", "AU12"]), "fps": np.float32(30)}
    labels = [("angry", "strong", 3), ("sad", "normal", 2), ("calm", "strong", 1), ("fearful", "strong", 3)]
    rows = [
        {"clip": f"c{i}", "speaker": f"RAVDESS_0{i}", "emotion": emotion, "intensity": intensity}
        for i, (emotion, intensity, _) in enumerate(labels)
    ]
    found = scan_source("av_ravdess_au", indexed(tmp_path, rows, **arrays, sound_delay_s=np.float32(0.1))).recordings
    assert [recording.level for recording in found] == [level for *_, level in labels]
    assert [recording.speaker for recording in found] == ["00", "01", "02", "03"] and found[3].emotion == "fear"
    clip = load_action_units(tmp_path / "c0.npz")
    brows = clip["browDownLeft"]
    assert clip.fps == 30 and 0.1 < brows[-1] < 1 and np.allclose(brows, np.repeat([0, brows[-1]], [13, 17]), atol=1e-4)
    assert {ARKIT.channels[i] for i in np.flatnonzero(clip.present)} == {
        f"{name}{side}" for name in ("browDown", "mouthSmile") for side in ("Left", "Right")
    }
    np.savez(tmp_path / "c0.npz", values=units)
    with pytest.raises(InputError, match="no au_restored"):
        load_action_units(tmp_path / "c0.npz")


def test_real_tracks_and_action_units_are_all_read(real_data: Path) -> None:
    talk = scan_source("av_grid_s1", real_data / "av_grid_s1")
    acted = scan_source("av_ravdess_au", real_data / "av_ravdess_au")
    assert len(talk.recordings) == 399 and talk.refused == acted.refused == () and len(acted.recordings) == 180
    assert sum(recording.split == "test" for recording in talk.recordings) >= 80
    assert Counter(recording.speaker for recording in acted.recordings) == {"01": 60, "04": 60, "05": 60}
