from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from preparing import contiguous, read_quickly

from avi_lib.corpus.adapters import scan_source
from avi_lib.errors import InputError
from avi_lib.speech.augment import active_dbfs
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import SILENCE
from tools.assets import compose_scenes as module
from tools.assets.compose_scenes import compose_scenes
from tools.assets.noises import NOISES, make_noise

RATE_HZ = 16_000
SCENES = 23


def make_source(folder: Path, spoken_s: float = 1.0) -> Path:
    """Two speakers, two emotions, three clips of each: a vowel between silences of 0.3 s."""
    (folder / "flac").mkdir(parents=True)
    rows, phones = [], {}
    times_s = np.arange(round(spoken_s * RATE_HZ)) / RATE_HZ
    for i in range(12):
        name, speaker, emotion = f"c{i:02d}", "ab"[i % 2], ("angry", "sad")[i // 2 % 2]
        voice = sum(np.sin(2 * np.pi * (100 + 7 * i) * k * times_s) / k for k in range(1, 20))
        wave = np.pad(0.1 * voice, round(0.3 * RATE_HZ))
        soundfile.write(folder / "flac" / f"{name}.flac", wave, RATE_HZ, subtype="PCM_16")
        end_s = 0.3 + spoken_s
        phones[name] = [
            ["", "SIL", 0.0, 0.3],
            ["hm", "M", 0.3, 0.5],
            ["hm", "AA1", 0.5, end_s],
            ["", "SIL", end_s, end_s + 0.3],
        ]
        rows.append(
            {"clip": name, "speaker": speaker, "gender": "female", "emotion": emotion, "level": "2", "text": f"say {i}"}
            | {"language": "en", "source": f"studio {speaker}", "licence": "CC0 1.0"}
        )
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "phones.json").write_text(json.dumps(phones), "utf-8")
    return folder


@pytest.fixture(scope="module", autouse=True)
def read_without_checks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_voice", lambda path: read_quickly(path, 1.0))
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("sentences") / "raw")


@pytest.fixture(scope="module")
def composed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("composed") / "scenes"
    compose_scenes(source, folder, SCENES, 1, 6.0)
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_adapter_reads_the_scenes_with_phones_that_cover_them_and_one_in_five_is_silence(composed):
    scan = scan_source("table", composed)
    assert len(scan.recordings) == SCENES and not scan.refused
    for recording in scan.recordings:
        duration_s = soundfile.info(recording.speech).duration
        assert contiguous(recording.phones, duration_s), recording.name
        assert duration_s <= 6.0 and recording.speaker in "ab"
    silent = [each for each in scan.recordings if {phone.phone for phone in each.phones} == {SILENCE}]
    assert [(len(each.phones), each.text, each.emotion) for each in silent] == [(1, None, None)] * 4
    assert load_voice(silent[0].speech).report.rms_dbfs > -65


def test_sentences_lie_where_their_phones_say(composed):
    for row in rows_of(composed):
        applied = json.loads(row["applied"])
        phones = json.loads((composed / "phones.json").read_text("utf-8"))[row["clip"]]
        begins = [start_s for _, phone, start_s, _ in phones if phone == "M"]
        assert begins == pytest.approx([start_s + 0.05 for _, start_s, _ in applied["sentences"]], abs=1e-3)
        vowels = [end_s - start_s for _, phone, start_s, end_s in phones if phone == "AA"]
        assert vowels == pytest.approx([0.8] * len(begins), abs=1e-3)


def test_speech_stands_out_where_phones_are_and_gaps_are_within_bounds(composed):
    above_db = []
    for row in rows_of(composed):
        wave, _ = soundfile.read(composed / "flac" / f"{row['clip']}.flac")
        phones = json.loads((composed / "phones.json").read_text("utf-8"))[row["clip"]]
        inside = [wave[round(a * RATE_HZ) : round(b * RATE_HZ)] for _, phone, a, b in phones if phone == "AA"]
        before = [wave[: round(b * RATE_HZ)] for _, phone, _, b in phones[:1] if phone == SILENCE]
        if inside:
            above_db.append(10 * np.log10(np.mean(inside[0] ** 2) / (np.mean(before[0] ** 2) + 1e-10)))
        silences = [b - a for _, phone, a, b in phones if phone == SILENCE and inside]
        assert all(0.2 <= gap_s <= 2.5 + 0.2 for gap_s in silences)
    assert np.median(above_db) > 10 and min(above_db) > 0


def test_scenes_keep_speaker_emotion_licence_and_say_what_was_applied(composed, source):
    of = {row["clip"]: row for row in rows_of(source)}
    several, noises, cuts = 0, 0, 0
    for row in rows_of(composed):
        applied = json.loads(row["applied"])
        said = [of[clip] for clip, _, _ in applied["sentences"]]
        assert {clip["speaker"] for clip in said} <= {row["speaker"]}
        assert {clip["emotion"] for clip in said} <= {row["emotion"]}
        assert row["text"] == " ".join(clip["text"] for clip in said)
        assert row["licence"] == "CC0 1.0" and (not said or row["source"] == f"studio {row['speaker']}")
        assert all(abs(gain_db) <= 4 for _, _, gain_db in applied["sentences"])
        assert "rt60_s" in applied["room"]
        several += len(said) > 1
        noises += len(applied["noises"])
        wave, _ = soundfile.read(composed / "flac" / f"{row['clip']}.flac")
        for start_s, end_s in applied["cuts_s"]:
            assert not wave[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)].any(), "digital silence"
            cuts += 1
    assert several >= 5 and noises >= 8 and cuts >= 2


def test_the_same_seed_gives_the_same_bytes_however_many_scenes_there_are_and_another_one_others(
    composed, source, tmp_path
):
    compose_scenes(source, tmp_path / "again", SCENES, 1, 6.0)
    assert bytes_of(tmp_path / "again") == (whole := bytes_of(composed))
    compose_scenes(source, tmp_path / "few", 2, 1, 6.0)
    assert bytes_of(tmp_path / "few")["flac/scene_00001.flac"] == whole["flac/scene_00001.flac"]
    compose_scenes(source, tmp_path / "other", 3, 2, 6.0)
    assert bytes_of(tmp_path / "other")["flac/scene_00000.flac"] != whole["flac/scene_00000.flac"]


def test_again_makes_nothing_anew_and_what_is_missing_or_damaged_comes_back(composed, source, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(composed, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert compose_scenes(source, copy, SCENES, 1, 6.0).made == 0
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    (copy / "flac" / "scene_00003.flac").unlink()
    (copy / "flac" / "scene_00004.flac").write_bytes(b"torn")
    assert compose_scenes(source, copy, SCENES, 1, 6.0).made == 2
    (copy / "index.csv").unlink()  # as an interruption leaves it
    (copy / "flac" / "scene_00005.flac").unlink()
    assert compose_scenes(source, copy, SCENES, 1, 6.0).made == 1
    assert bytes_of(copy) == bytes_of(composed)


def test_a_destination_with_something_else_is_left_alone(composed, source, tmp_path):
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(InputError, match="with other files"):
        compose_scenes(source, tmp_path, 2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="scenes of other sentences, settings or code"):
        compose_scenes(source, composed, SCENES, 5, 6.0)
    with pytest.raises(InputError, match="the source, in it or around it"):
        compose_scenes(source, source / "scenes", 2, 1)


def test_a_source_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(InputError, match=r"without index\.csv"):
        compose_scenes(tmp_path, tmp_path.parent / "to", 2, 1)
    broken = make_source(tmp_path / "raw")
    (broken / "flac" / "c03.flac").unlink()
    with pytest.raises(InputError, match=r"c03.*no sound"):
        compose_scenes(broken, tmp_path / "to", 2, 1)
    whole = make_source(tmp_path / "whole")
    phones = json.loads((whole / "phones.json").read_text("utf-8"))
    del phones["c05"]
    (whole / "phones.json").write_text(json.dumps(phones), "utf-8")
    with pytest.raises(InputError, match="c05 in"):
        compose_scenes(whole, tmp_path / "to", 2, 1)
    assert not (tmp_path / "to").exists()


def test_sentences_longer_than_a_scene_and_numbers_out_of_bounds_are_refused(source, tmp_path):
    with pytest.raises(InputError, match="fit into scenes of 2 s"):
        compose_scenes(make_source(tmp_path / "long", spoken_s=3.0), tmp_path / "to", 2, 1, 2.0)
    assert compose_scenes(source, tmp_path / "fits", 1, 1, 2.0).left_out == 0
    for scenes, seed, longest_s in ((0, 1, 6.0), (2, -1, 6.0), (2, 1, 1.0), (2, 1, 60.0)):
        with pytest.raises(InputError, match="2 to 25 s"):
            compose_scenes(source, tmp_path / "to", scenes, seed, longest_s)


@pytest.mark.parametrize("kind", NOISES)
def test_every_noise_has_its_length_and_level_and_is_never_twice_the_same(kind: str) -> None:
    first, second = (make_noise(kind, 0.4, -30.0, np.random.default_rng(seed)) for seed in (1, 2))
    assert len(first) == 6400 and first.dtype == np.float32 and np.isfinite(first).all()
    assert active_dbfs(first) == pytest.approx(-30.0, abs=0.1)
    assert not np.allclose(first, second)
    assert np.abs(first[-16:]).max() < 0.2 * np.abs(first).max()
