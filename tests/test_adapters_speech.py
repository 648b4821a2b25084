"""RAVDESS, CREMA-D, EMO-DB and MEAD: trees made up of names alone, and the real recordings where they are."""

from __future__ import annotations

import gzip
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from name_trees import names, reason, tree, write

from avi_lib.corpus.adapters import scan_source
from avi_lib.corpus.layouts import load_lablaut, read_table
from avi_lib.errors import InputError
from avi_lib.speech.phones import ARPABET, SILENCE, Phone, contiguous, tidy

CLIP = "03-01-05-02-01-01-12"


# RAVDESS


def test_ravdess_reads_every_label_from_the_name_whatever_the_folder(tmp_path: Path) -> None:
    (recording,) = scan_source(
        "ravdess", tree(tmp_path, f"any/Actor_12/{CLIP}.WAV", ".DS_Store", "LICENSE.txt")
    ).recordings
    assert (recording.name, recording.speaker, recording.emotion, recording.level) == (CLIP, "12", "angry", 3)
    assert recording.text == "Kids are talking by the door" and recording.language == "en"
    assert recording.speech == tmp_path / f"any/Actor_12/{CLIP}.WAV" and recording.video is None


def test_ravdess_emotions_and_levels_follow_the_codes(tmp_path: Path) -> None:
    codes = [f"03-01-{emotion:02d}-01-02-01-01" for emotion in range(1, 9)]
    scan = scan_source("ravdess", tree(tmp_path, *(f"{code}.wav" for code in codes), "03-01-02-02-02-01-01.wav"))
    found = {(recording.name[6:8], recording.emotion, recording.level) for recording in scan.recordings}
    assert found == {
        *(("01", "neutral", 1), ("02", "calm", 1), ("03", "happy", 2), ("04", "sad", 2), ("05", "angry", 2)),
        *(("06", "fear", 2), ("07", "disgusted", 2), ("08", "surprised", 2)),
    }


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("03-01-09-01-01-01-12.wav", "emotion code 09 in the file name; known are 01, 02"),
        ("03-01-01-01-01-01-25.wav", "actor code 25 in the file name; known are 01 to 24"),
        ("03-01-01-02-01-01-12.wav", "neutral"),
        ("03-02-05-01-01-01-12.wav", "song"),
        ("02-01-05-01-01-01-12.mp4", "without sound"),
        ("03-01-05-01-01-12.wav", "seven codes"),
        ("take1.wav", "seven codes"),
        ("03-01-05-01-01-01-1٢.wav", "seven codes"),
    ],
)
def test_ravdess_refuses_a_name_that_breaks_a_rule_and_says_which(tmp_path: Path, name: str, rule: str) -> None:
    scan = scan_source("ravdess", tree(tmp_path, name, f"{CLIP}.wav"))
    assert names(scan) == [CLIP] and rule in reason(scan, name)


def test_ravdess_takes_the_video_instead_of_its_sound_and_keeps_one_of_two_copies(tmp_path: Path) -> None:
    film, other = "01" + CLIP[2:], "03-01-03-01-01-01-01"
    tree(tmp_path, f"Video/{film}.mp4", f"Actor_12/{CLIP}.wav", f"Actor_01/{other}.wav", f"copy/{other}.flac")
    scan = scan_source("ravdess", tmp_path)
    assert names(scan) == [film, other]
    assert scan.recordings[0].speech == scan.recordings[0].video == tmp_path / f"Video/{film}.mp4"
    assert reason(scan, f"copy/{other}.flac") == f"the same recording as Actor_01/{other}.wav, which is kept"


def test_ravdess_with_a_malformed_entry_of_phones_loses_that_clip_alone(tmp_path: Path) -> None:
    good = "03-01-03-01-01-01-01"
    tree(tmp_path, f"{CLIP}.wav", f"{good}.wav")
    write(tmp_path / "phones.json", {CLIP: [["kids", "K", 0.2]], good: [["kids", "K", -0.1, 0.2]]})
    scan = scan_source("ravdess", tmp_path)
    assert names(scan) == [good] and scan.recordings[0].phones == (Phone("K", 0.0, 0.2),)
    assert "not a list of [word, phone, start_s, end_s]" in reason(scan, f"{CLIP}.wav")


@pytest.mark.parametrize("content", ["[]", "{", '{"a": [], "a": []}', "[" * 100_000])
def test_ravdess_with_damaged_phones_says_so(tmp_path: Path, content: str) -> None:
    tree(tmp_path, f"{CLIP}.wav")
    write(tmp_path / "phones.json", content)
    with pytest.raises(InputError, match=r"phones\.json"):
        scan_source("ravdess", tmp_path)


def test_ravdess_real_clips_are_all_read_with_their_phones(real_data: Path) -> None:
    scan = scan_source("ravdess", real_data / "ravdess")
    assert len(scan.recordings) == 960 and scan.refused == ()
    assert sum(recording.phones is not None for recording in scan.recordings) == 952
    assert len({recording.speaker for recording in scan.recordings}) == 16
    counts = Counter(recording.emotion for recording in scan.recordings)
    assert counts.pop("neutral") == 64 and set(counts.values()) == {128} and len(counts) == 7
    assert Counter(recording.level for recording in scan.recordings) == {1: 192, 2: 384, 3: 384}
    assert min(recording.phones[0].start_s for recording in scan.recordings if recording.phones) == 0.0
    index = {row["clip"]: row for _, row in read_table(real_data / "ravdess" / "index.csv")}
    assert all(index[recording.name]["text"] == recording.text for recording in scan.recordings)


def test_ravdess_actors_with_even_numbers_are_women(tmp_path: Path) -> None:
    scan = scan_source(
        "ravdess", tree(tmp_path, *(f"03-01-05-02-01-01-{actor}.wav" for actor in ("01", "02", "23", "24")))
    )
    assert [recording.gender for recording in scan.recordings] == ["male", "female", "male", "female"]


# CREMA-D


def test_crema_d_reads_labels_and_leaves_copies_and_flash_video_aside(tmp_path: Path) -> None:
    tree(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioMP3/1001_DFA_ANG_XX.mp3", "VideoFlash/1001_DFA_ANG_XX.flv")
    tree(tmp_path, "AudioWAV/1002_IEO_SAD_LO.wav", "AudioWAV/1002_IEO_HAP_HI.wav", "AudioWAV/1040_ITH_SAD_X.wav")
    tree(tmp_path, "AudioMP3/1003_WSI_NEU_XX.mp3")
    scan = scan_source("crema-d", tmp_path)
    assert scan.refused == ()
    assert [(r.name, r.speaker, r.emotion, r.level) for r in scan.recordings] == [
        ("1001_DFA_ANG_XX", "1001", "angry", 2),
        ("1002_IEO_HAP_HI", "1002", "happy", 3),
        ("1002_IEO_SAD_LO", "1002", "sad", 1),
        ("1003_WSI_NEU_XX", "1003", "neutral", 1),
        ("1040_ITH_SAD_X", "1040", "sad", 2),
    ]
    assert scan.recordings[0].speech == tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav"
    assert scan.recordings[1].text == "It's eleven o'clock"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("1001_ABC_ANG_XX.wav", "sentence code ABC in the file name; known are DFA, IEO"),
        ("1001_DFA_SUR_XX.wav", "emotion code SUR"),
        ("1001_DFA_ANG_MED.wav", "intensity code MED"),
        ("1001_DFA_NEU_HI.wav", "neutral has XX only"),
        ("DFA_ANG_XX.wav", "as in 1001_DFA_ANG_XX"),
    ],
)
def test_crema_d_refuses_a_name_that_breaks_a_rule_and_says_which(tmp_path: Path, name: str, rule: str) -> None:
    scan = scan_source("crema-d", tree(tmp_path, name, "1001_DFA_ANG_XX.wav"))
    assert names(scan) == ["1001_DFA_ANG_XX"] and rule in reason(scan, name)


# EMO-DB


def test_emodb_reads_labels_and_the_neutral_level(tmp_path: Path) -> None:
    scan = scan_source(
        "emodb", tree(tmp_path, "wav/03a01Fa.wav", "wav/16b10Lb.wav", "wav/08a02Nc.wav", "erkennung.txt")
    )
    assert [(r.name, r.speaker, r.emotion, r.level) for r in scan.recordings] == [
        ("03a01Fa", "03", "happy", 2),
        ("08a02Nc", "08", "neutral", 1),
        ("16b10Lb", "16", "bored", 2),
    ]
    assert {(r.language, r.phones) for r in scan.recordings} == {("de", None)}
    assert scan.recordings[1].text == "Das will sie am Mittwoch abgeben."


def test_emodb_takes_one_folder_for_all_clips_and_the_other_only_when_it_is_the_source(tmp_path: Path) -> None:
    tree(tmp_path, "flac_2s/03a01Fa.flac", "flac_2s/03a01Aa.flac", "full/03a01Fa.wav", "noise.wav")
    write(tmp_path / "lablaut" / "03a01Fa.lablaut", "signal x\n#\n 0.1 -1 a\n 0.2 -1 .\n")
    scan = scan_source("emodb", tmp_path)
    assert {r.speech.parent.name for r in scan.recordings if r.speech} == {"flac_2s"} and len(scan.recordings) == 2
    (whole,) = scan_source("emodb", tmp_path / "full").recordings
    assert whole.speech == tmp_path / "full/03a01Fa.wav" and whole.phones == (Phone("AA", 0.1, 0.2),)


def test_emodb_finds_the_complete_folder_below_speakers_and_refuses_a_mixture(tmp_path: Path) -> None:
    tree(tmp_path, "db/cut/03/03a01Fa.flac", "db/cut/08/08a01Aa.flac", "db/a_full/03/03a01Fa.wav")
    assert {str(r.speech).split("/db/")[1][:3] for r in scan_source("emodb", tmp_path).recordings} == {"cut"}
    tree(tmp_path, "db/a_full/10/10a01Fa.wav")
    with pytest.raises(InputError, match="none with all"):
        scan_source("emodb", tmp_path)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("03a03Fa", "sentence code a03"), ("03a01Xa", "emotion code X"), ("3a01Fa", "as in 03a01Fa")],
)
def test_emodb_refuses_a_name_that_breaks_a_rule_and_says_which(tmp_path: Path, name: str, rule: str) -> None:
    scan = scan_source("emodb", tree(tmp_path, f"{name}.wav", "03a01Fa.wav"))
    assert names(scan) == ["03a01Fa"] and rule in reason(scan, f"{name}.wav")


def lablaut(folder: Path, *lines: str) -> Path:
    return write(folder / "x.lablaut", "\n".join(("signal x", "separator ;", "#", *lines)) + "\n")


def test_lablaut_joins_releases_and_marks_and_gives_a_glottal_stop_to_the_next_phone(tmp_path: Path) -> None:
    lines = ("0.1 -1 _t", "0.15 -1 !t\t+asp", "0.2 -1 E6\t\t2", "0.3 -1 \t+hoe", "0.4 -1 p", "0.45 -1 !p +na")
    lines += ("0.5 -1 pasp", "0.55 -1 ?", "0.6 -1 a\t+lar\t3", "0.7 -1 (gef", "0.8 -1 nn", "0.9 -1 .\t-eng]")
    assert load_lablaut(lablaut(tmp_path, *lines)) == (
        *(Phone("T", 0.1, 0.2), Phone("EH", 0.2, 0.30000000000000004), Phone("AH", 0.30000000000000004, 0.4)),
        *(Phone("P", 0.4, 0.55), Phone("AA", 0.55, 0.7), Phone(SILENCE, 0.7, 0.8), Phone("N", 0.8, 0.9)),
    )


def test_lablaut_without_a_label_has_no_phones(tmp_path: Path) -> None:
    assert load_lablaut(lablaut(tmp_path)) is None


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (("0.2 -1 a", "0.1 -1 ."), "times must rise"),
        (("0.1 -1 a", "zero -1 ."), "zero -1"),
        (("0.1 -1 qu", "0.2 -1 ."), "'qu', which stands for no known sound"),
        (("0.1 -1 a", "0.2 -1 m"), "ends with 'm'"),
    ],
)
def test_a_damaged_lablaut_refuses_its_clip_and_says_why(tmp_path: Path, lines: tuple[str, ...], rule: str) -> None:
    tree(tmp_path, "wav/03a01Fa.wav", "wav/03a01Aa.wav")
    lablaut(tmp_path / "lablaut", *lines).rename(tmp_path / "lablaut" / "03a01Fa.lablaut")
    scan = scan_source("emodb", tmp_path)
    assert names(scan) == ["03a01Aa"] and rule in reason(scan, "wav/03a01Fa.wav")


def test_emodb_real_clips_are_all_read_from_the_folder_that_has_every_emotion(real_data: Path) -> None:
    scan = scan_source("emodb", real_data / "emodb")
    assert len(scan.recordings) == 535 and scan.refused == ()
    assert {r.speech.parent.name for r in scan.recordings if r.speech} == {"flac_2s"}
    assert Counter(r.emotion for r in scan.recordings) == {
        **{"angry": 127, "bored": 81, "neutral": 79, "happy": 71, "fear": 69, "sad": 62, "disgusted": 46}
    }
    unlabelled = [r.name for r in scan.recordings if r.phones is None]
    assert unlabelled == ["08a01Ab", "08a01Wa", "14b09Ea"]  # label files with a header only
    for recording in scan.recordings:
        if recording.phones:
            assert {phone.phone for phone in recording.phones} <= ARPABET | {SILENCE}
            assert contiguous(tidy(recording.phones, 2.0), 2.0)
    index = {row["clip"]: row for _, row in read_table(real_data / "emodb" / "index.csv")}
    assert all(index[recording.name]["text"] == recording.text for recording in scan.recordings)


def test_emodb_genders_are_those_of_its_speakers_and_open_for_others(real_data: Path, tmp_path: Path) -> None:
    rows = {row["clip"]: row["gender"] for _, row in read_table(real_data / "emodb" / "index.csv")}
    found = {r.name: (r.gender or "")[:1] for r in scan_source("emodb", real_data / "emodb").recordings}
    assert found == rows
    assert scan_source("emodb", tree(tmp_path, "wav/99a01Fa.wav")).recordings[0].gender is None


def test_emodb_real_labels_begin_at_their_time(real_data: Path) -> None:
    """Where /s/ is labelled the sound hisses: its differences hold more energy than the sound itself."""
    soundfile = pytest.importorskip("soundfile")
    hiss = []
    for recording in scan_source("emodb", real_data / "emodb" / "flac_full").recordings[::10]:
        wave, rate_hz = soundfile.read(recording.speech)
        for phone, start_s, end_s in recording.phones or ():
            if phone == "S" and end_s - start_s > 0.04:
                part = wave[round(start_s * rate_hz) : round(end_s * rate_hz)]
                hiss.append(10 * np.log10(np.mean(np.diff(part) ** 2) / np.mean(part**2)))
    assert len(hiss) > 30 and np.median(hiss) > 2.0


# MEAD


def test_mead_joins_front_video_and_sound_and_ignores_the_other_cameras(tmp_path: Path) -> None:
    tree(tmp_path, "M003/video/front/happy/level_2/001.mp4", "M003/audio/happy/level_2/001.m4a")
    tree(tmp_path, "M003/video/left_30/happy/level_2/001.mp4", "M003/video/top/happy/level_2/009.mp4")
    tree(tmp_path, "W009/front/neutral/level_1/002.MP4", "W009/front/neutral/level_1/002.wav")
    tree(tmp_path, "W009/front/fear/level_3/003.mp4", "W009/audio/contempt/level_1/004.m4a", "M003/video.tar")
    scan = scan_source("mead", tmp_path)
    assert scan.refused == ()
    found = {r.name: (r.speech, r.video, r.emotion, r.level, r.speaker) for r in scan.recordings}
    front = tmp_path / "W009/front"
    film = front / "fear/level_3/003.mp4"
    assert found == {
        "M003/happy/level_2/001": (
            *(tmp_path / "M003/audio/happy/level_2/001.m4a", tmp_path / "M003/video/front/happy/level_2/001.mp4"),
            *("happy", 2, "M003"),
        ),
        "W009/contempt/level_1/004": (
            *(tmp_path / "W009/audio/contempt/level_1/004.m4a", None, "contempt", 1, "W009"),
        ),
        "W009/fear/level_3/003": (film, film, "fear", 3, "W009"),
        "W009/neutral/level_1/002": (
            *(front / "neutral/level_1/002.wav", front / "neutral/level_1/002.MP4", "neutral", 1, "W009"),
        ),
    }


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("M003/video/front/joyful/level_2/001.mp4", "emotion code joyful in the file name; known are angry"),
        ("M003/video/front/happy/level_4/001.mp4", "a number of three digits, as in M003/"),
        ("M003/video/front/neutral/level_2/001.mp4", "level 2 of neutral, which has 1"),
        ("M003/video/front/happy/level_2/one.mp4", "three digits"),
        ("M003/video/happy/level_2/001.mp4", "no camera's folder"),
        ("X/video/front/happy/level_2/001.mp4", "the name is not actor, emotion"),
        ("M003/front/happy/level_1/001.mov", "the same recording as M003/front/happy/level_1/001.mp4, which is kept"),
    ],
)
def test_mead_refuses_a_file_that_breaks_a_rule_and_says_which(tmp_path: Path, name: str, rule: str) -> None:
    scan = scan_source("mead", tree(tmp_path, name, "M003/front/happy/level_1/001.mp4"))
    assert names(scan) == ["M003/happy/level_1/001"] and rule in reason(scan, name)


def test_mead_reads_one_actor_and_the_texts_of_gzipped_transcripts(tmp_path: Path) -> None:
    source = tree(tmp_path / "M003", "video/front/sad/level_1/007.mp4", "video/front/sad/level_1/008.mp4")
    with gzip.open(source / "mead_transcripts.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write("clip,actor,level,emotion,sentence,text\nM003_level_1_sad_007,M003,1,sad,007,DO IT NOW\n")
    scan = scan_source("mead", source)
    assert [(r.name, r.text) for r in scan.recordings] == [
        ("M003/sad/level_1/007", "DO IT NOW"),
        ("M003/sad/level_1/008", None),
    ]
    (source / "mead_transcripts.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="mead_transcripts"):
        scan_source("mead", source)


def test_mead_actors_tell_their_gender_by_the_first_letter(tmp_path: Path) -> None:
    tree(tmp_path, "M003/audio/sad/level_1/001.m4a", "W009/audio/sad/level_1/001.m4a")
    assert [(r.speaker, r.gender) for r in scan_source("mead", tmp_path).recordings] == [
        ("M003", "male"),
        ("W009", "female"),
    ]


def test_mead_real_transcripts_name_the_clips_as_the_adapter_does(real_data: Path, tmp_path: Path) -> None:
    tree(tmp_path, "M003/audio/contempt/level_2/003.m4a")
    (tmp_path / "mead_transcripts.csv.gz").symlink_to(real_data / "mead_sentences" / "mead_transcripts.csv.gz")
    assert scan_source("mead", tmp_path).recordings[0].text == "WILL YOU TELL ME WHY"


# Any names

PIECE = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
ODD = st.one_of(
    PIECE, st.sampled_from([CLIP, "1001_DFA_ANG_XX", "03a01Fa", "M003", "front", "happy", "level_2", "001"])
)
SUFFIX = st.sampled_from([".wav", ".MP4", ".txt", ".flac", ""])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(ODD, min_size=1, max_size=4), SUFFIX), max_size=6))
def test_any_names_end_in_a_scan_or_an_error(paths: list[tuple[list[str], str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for pieces, suffix in paths:
            try:
                tree(Path(folder), "/".join(pieces) + suffix)
            except OSError:
                continue  # too long, or a file where a folder should be
        for adapter in ("ravdess", "crema-d", "emodb", "mead", "videos"):
            try:
                scan = scan_source(adapter, Path(folder))
            except InputError as error:
                assert "\n" not in str(error)
                continue
            assert names(scan) == sorted(set(names(scan)))
            assert all(name and not name.startswith("/") and folder not in name for name in names(scan))
            assert all(refusal.reason and refusal.name.isprintable() for refusal in scan.refused)
