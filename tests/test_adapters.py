"""Raw corpora as their adapters find them: made-up folders, and the real recordings where they are."""

from __future__ import annotations

import errno
import gzip
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preparing import contiguous

from avi_lib.corpus.adapters import ADAPTERS, scan_source
from avi_lib.corpus.layouts import RuleError, Scan, find, load_lablaut, phones_of, read_table
from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip, MotionSpace, save_npz
from avi_lib.speech.decode import SPEECH_SUFFIXES
from avi_lib.speech.phones import ARPABET, SILENCE, Phone, tidy

CLIP = "03-01-05-02-01-01-12"
CREMA = "1001_DFA_ANG_XX"


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def names(scan: Scan) -> list[str]:
    return [recording.name for recording in scan.recordings]


def reason(scan: Scan, name: str) -> str:
    (found,) = [refusal.reason for refusal in scan.refused if refusal.name == name]
    return found


def test_files_are_found_at_any_depth_hidden_ones_are_not_and_links_are_followed_once(tmp_path: Path) -> None:
    tree(tmp_path / "one", "b/c/x.WAV", "a.flac", ".hidden/y.wav", "b/._x.wav", "README.md", "é/ü.wav")
    found, refused = find(tmp_path / "one", SPEECH_SUFFIXES)
    assert list(found) == ["b/c/x.WAV", "é/ü.wav", "a.flac"] and refused == []
    tree(tmp_path, "in/z/x.wav", "store/y.wav")
    (tmp_path / "in/z/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/a").symlink_to(tmp_path / "in/z")
    (tmp_path / "in/self").symlink_to(tmp_path / "in/self")
    (tmp_path / "in/anna").symlink_to(tmp_path / "store")
    assert list(find(tmp_path / "in", SPEECH_SUFFIXES)[0]) == ["anna/y.wav", "z/x.wav"]


def test_what_cannot_be_used_is_refused_by_a_printable_name_and_the_rest_is_found(tmp_path, monkeypatch):
    tree(tmp_path, "ok.wav", "two\nlines.wav", "locked/x.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")).touch()
    scandir = os.scandir

    def guarded(folder: Path) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    found, refused = find(tmp_path, SPEECH_SUFFIXES)
    assert list(found) == ["ok.wav"]
    assert sorted(r.name for r in refused) == ["\\udcff.wav", "gone.wav", "locked/", "pipe.wav", "two\\nlines.wav"]
    assert "the folder cannot be read: Permission denied" in [refusal.reason for refusal in refused]


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_a_source_where_nothing_fits_says_the_layout_and_a_missing_one_says_so(adapter, tmp_path: Path) -> None:
    tree(tmp_path, "readme.txt")
    with pytest.raises(InputError) as caught:
        scan_source(adapter, tmp_path)
    assert ADAPTERS[adapter].layout in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="which is missing"):
        scan_source(adapter, tmp_path / "absent")


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ([["hi", "ə", 0.0, 0.1]], "'ə'"),
        ([["hi", "AY", 0.3, 0.1]], "from 0.3 to 0.1"),
        ([["hi", "AY", 0.0, float("nan")]], "mend the times"),
        ([["hi", "AY", 0.0, 10**400]], "mend the times"),
        ([["hi", "AY", 0.0]], "not a list"),
        ({"phones": []}, "not a list"),
        ("AY", "not a list"),
        ([], "no phone"),
        ([["hi", "AY", -0.5, 0.0]], "no phone"),
    ],
)
def test_phones_before_zero_are_cut_and_a_malformed_entry_says_what_is_wrong(entry: object, rule: str) -> None:
    good = [["hi", "AY1", 0.1, 0.3], ["<sil>", "SIL", -0.63, -0.2], ["hi", "HH", -0.2, 0.1]]
    assert phones_of(good) == (Phone("HH", 0.0, 0.1), Phone("AY", 0.1, 0.3))
    with pytest.raises(RuleError, match=rule):
        phones_of(entry)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"clip,text\na,b,c\n", "3 in line 2"),
        (b"clip,clip\n", "a column twice"),
        (b"name\na\n", "without clip"),
        (b"", "without clip"),
        (b"clip\n\xff\n", "readable CSV"),
    ],
)
def test_a_damaged_table_says_which_line_is_wrong(tmp_path: Path, content: bytes, rule: str) -> None:
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(InputError, match=rule):
        read_table(tmp_path / "index.csv", "clip")


def test_a_table_keeps_separators_within_cells_fills_short_rows_and_skips_empty_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "index.csv", '\ufeffClip,text,x\na,"one, two\u2028three",\n\n,,\nb\n')
    assert read_table(path, "clip") == [
        (2, {"clip": "a", "text": "one, two\u2028three", "x": ""}),
        (5, {"clip": "b", "text": "", "x": ""}),
    ]


@pytest.mark.parametrize(
    ("adapter", "good", "name", "rule"),
    [
        ("ravdess", f"{CLIP}.wav", "03-01-09-01-01-01-12.wav", "emotion code 09 in the file name; known are 01, 02"),
        ("ravdess", f"{CLIP}.wav", "03-01-01-01-01-01-25.wav", "actor code 25 in the file name; known are 01 to 24"),
        ("ravdess", f"{CLIP}.wav", "03-01-01-02-01-01-12.wav", "neutral"),
        ("ravdess", f"{CLIP}.wav", "03-02-05-01-01-01-12.wav", "song"),
        ("ravdess", f"{CLIP}.wav", "02-01-05-01-01-01-12.mp4", "without sound"),
        ("ravdess", f"{CLIP}.wav", "03-01-05-01-01-12.wav", "seven codes"),
        ("ravdess", f"{CLIP}.wav", "03-01-05-01-01-01-1٢.wav", "seven codes"),
        ("crema-d", f"{CREMA}.wav", "1001_ABC_ANG_XX.wav", "sentence code ABC in the file name; known are DFA, IEO"),
        ("crema-d", f"{CREMA}.wav", "1001_DFA_SUR_XX.wav", "emotion code SUR"),
        ("crema-d", f"{CREMA}.wav", "1001_DFA_ANG_MED.wav", "intensity code MED"),
        ("crema-d", f"{CREMA}.wav", "1001_DFA_NEU_HI.wav", "neutral has XX only"),
        ("crema-d", f"{CREMA}.wav", "DFA_ANG_XX.wav", "as in 1001_DFA_ANG_XX"),
        ("emodb", "03a01Fa.wav", "03a03Fa.wav", "sentence code a03"),
        ("emodb", "03a01Fa.wav", "03a01Xa.wav", "emotion code X"),
        ("emodb", "03a01Fa.wav", "3a01Fa.wav", "as in 03a01Fa"),
        ("mead", "M003/front/happy/level_1/001.mp4", "M003/video/front/joyful/level_2/001.mp4", "emotion code joyful"),
        ("mead", "M003/front/happy/level_1/001.mp4", "M003/video/front/happy/level_4/001.mp4", "emotion, level and"),
        ("mead", "M003/front/happy/level_1/001.mp4", "M003/front/neutral/level_2/001.mp4", "level 2 of neutral, which"),
        ("mead", "M003/front/happy/level_1/001.mp4", "M003/video/front/happy/level_2/one.mp4", "three digits"),
        ("mead", "M003/front/happy/level_1/001.mp4", "M003/video/happy/level_2/001.mp4", "no camera's folder"),
        ("mead", "M003/front/happy/level_1/001.mp4", "X/video/front/happy/level_2/001.mp4", "the name is not actor"),
        ("mead", "M003/front/happy/level_1/001.mp4", "M003/front/happy/level_1/001.mov", "the same recording as M003/"),
    ],
)
def test_a_name_that_breaks_a_rule_is_refused_and_says_which(tmp_path, adapter, good, name, rule) -> None:
    scan = scan_source(adapter, tree(tmp_path, name, good))
    assert len(scan.recordings) == 1 and rule in reason(scan, name)


def test_ravdess_reads_every_label_from_the_name_whatever_the_folder(tmp_path: Path) -> None:
    codes = [f"03-01-{emotion:02d}-01-02-01-01.wav" for emotion in range(1, 9)]
    tree(tmp_path, f"any/Actor_12/{CLIP}.WAV", ".DS_Store", "LICENSE.txt", "03-01-02-02-02-01-01.wav", *codes)
    every = {recording.name: recording for recording in scan_source("ravdess", tmp_path).recordings}
    found, others = every.pop(CLIP), every.values()
    assert (found.name, found.speaker, found.emotion, found.level, found.gender) == (CLIP, "12", "angry", 3, "female")
    assert found.text == "Kids are talking by the door" and found.language == "en"
    assert found.speech == tmp_path / f"any/Actor_12/{CLIP}.WAV" and found.video is None
    assert {(recording.name[6:8], recording.emotion, recording.level) for recording in others} == {
        *(("01", "neutral", 1), ("02", "calm", 1), ("03", "happy", 2), ("04", "sad", 2), ("05", "angry", 2)),
        *(("06", "fear", 2), ("07", "disgusted", 2), ("08", "surprised", 2)),
    }
    assert {recording.gender for recording in others} == {"male"}


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
    for content in ("[]", "{", '{"a": [], "a": []}', "[" * 100_000):
        write(tmp_path / "phones.json", content)
        with pytest.raises(InputError, match=r"phones\.json"):
            scan_source("ravdess", tmp_path)


def test_crema_d_reads_labels_and_leaves_copies_and_flash_video_aside(tmp_path: Path) -> None:
    tree(tmp_path, f"AudioWAV/{CREMA}.wav", f"AudioMP3/{CREMA}.mp3", f"VideoFlash/{CREMA}.flv")
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
    assert scan.recordings[0].speech == tmp_path / f"AudioWAV/{CREMA}.wav"
    assert scan.recordings[1].text == "It's eleven o'clock"


def test_emodb_reads_labels_and_the_neutral_level(tmp_path: Path) -> None:
    tree(tmp_path, "wav/03a01Fa.wav", "wav/16b10Lb.wav", "wav/08a02Nc.wav", "wav/99a01Fa.wav", "erkennung.txt")
    scan = scan_source("emodb", tmp_path)
    assert [(r.name, r.speaker, r.emotion, r.level, r.gender) for r in scan.recordings] == [
        ("03a01Fa", "03", "happy", 2, "male"),
        ("08a02Nc", "08", "neutral", 1, "female"),
        ("16b10Lb", "16", "bored", 2, "female"),
        ("99a01Fa", "99", "happy", 2, None),
    ]
    assert {(r.language, r.phones) for r in scan.recordings} == {("de", None)}
    assert scan.recordings[1].text == "Das will sie am Mittwoch abgeben."


def test_emodb_takes_the_one_folder_that_holds_all_clips_and_refuses_a_mixture(tmp_path: Path) -> None:
    tree(tmp_path, "flac_2s/03/03a01Fa.flac", "flac_2s/08/03a01Aa.flac", "full/03a01Fa.wav", "noise.wav")
    write(tmp_path / "lablaut" / "03a01Fa.lablaut", "signal x\n#\n 0.1 -1 a\n 0.2 -1 .\n")
    scan = scan_source("emodb", tmp_path)
    assert {r.speech.parents[1].name for r in scan.recordings if r.speech} == {"flac_2s"} and len(scan.recordings) == 2
    (whole,) = scan_source("emodb", tmp_path / "full").recordings
    assert whole.speech == tmp_path / "full/03a01Fa.wav" and whole.phones == (Phone("AA", 0.1, 0.2),)
    tree(tmp_path, "full/10a01Fa.wav")
    with pytest.raises(InputError, match="none with all"):
        scan_source("emodb", tmp_path)


def lablaut(folder: Path, *lines: str) -> Path:
    return write(folder / "x.lablaut", "\n".join(("signal x", "separator ;", "#", *lines)) + "\n")


def test_lablaut_joins_releases_and_marks_and_gives_a_glottal_stop_to_the_next_phone(tmp_path: Path) -> None:
    lines = ("0.1 -1 _t", "0.15 -1 !t\t+asp", "0.2 -1 E6\t\t2", "0.3 -1 \t+hoe", "0.4 -1 p", "0.45 -1 !p +na")
    lines += ("0.5 -1 pasp", "0.55 -1 ?", "0.6 -1 a\t+lar\t3", "0.7 -1 (gef", "0.8 -1 nn", "0.9 -1 .\t-eng]")
    assert load_lablaut(lablaut(tmp_path, *lines)) == (
        *(Phone("T", 0.1, 0.2), Phone("EH", 0.2, 0.30000000000000004), Phone("AH", 0.30000000000000004, 0.4)),
        *(Phone("P", 0.4, 0.55), Phone("AA", 0.55, 0.7), Phone(SILENCE, 0.7, 0.8), Phone("N", 0.8, 0.9)),
    )
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


def test_mead_joins_front_video_and_sound_and_ignores_the_other_cameras(tmp_path: Path) -> None:
    tree(tmp_path, "M003/video/front/happy/level_2/001.mp4", "M003/audio/happy/level_2/001.m4a")
    tree(tmp_path, "M003/video/left_30/happy/level_2/001.mp4", "M003/video/top/happy/level_2/009.mp4")
    tree(tmp_path, "W009/front/neutral/level_1/002.MP4", "W009/front/neutral/level_1/002.wav")
    tree(tmp_path, "W009/front/fear/level_3/003.mp4", "W009/audio/contempt/level_1/004.m4a", "M003/video.tar")
    scan = scan_source("mead", tmp_path)
    front = tmp_path / "W009/front"
    film, man = front / "fear/level_3/003.mp4", tmp_path / "M003"
    assert scan.refused == ()
    assert [(r.name, r.speech, r.video, r.emotion, r.level, r.gender) for r in scan.recordings] == [
        (
            *("M003/happy/level_2/001", man / "audio/happy/level_2/001.m4a", man / "video/front/happy/level_2/001.mp4"),
            *("happy", 2, "male"),
        ),
        ("W009/contempt/level_1/004", tmp_path / "W009/audio/contempt/level_1/004.m4a", None, "contempt", 1, "female"),
        ("W009/fear/level_3/003", film, film, "fear", 3, "female"),
        (
            *("W009/neutral/level_1/002", front / "neutral/level_1/002.wav", front / "neutral/level_1/002.MP4"),
            *("neutral", 1, "female"),
        ),
    ]


def test_mead_reads_one_actor_and_the_texts_of_gzipped_transcripts(tmp_path: Path) -> None:
    source = tree(tmp_path / "M003", "video/front/sad/level_1/007.mp4", "video/front/sad/level_1/008.mp4")
    with gzip.open(source / "mead_transcripts.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write("clip,actor,level,emotion,sentence,text\nM003_level_1_sad_007,M003,1,sad,007,DO IT NOW\n")
    found = {r.name: r.text for r in scan_source("mead", source).recordings}
    assert found == {"M003/sad/level_1/007": "DO IT NOW", "M003/sad/level_1/008": None}
    (source / "mead_transcripts.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="mead_transcripts"):
        scan_source("mead", source)


PIECE = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
ODD = st.one_of(PIECE, st.sampled_from([CLIP, CREMA, "03a01Fa", "M003", "front", "happy", "level_2", "001"]))
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


def motion(path: Path, space: MotionSpace = ARKIT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_npz(MotionClip(np.zeros((5, len(space)), np.float32), 25.0, space), path)


def test_a_table_finds_sound_phones_motion_and_labels(tmp_path: Path) -> None:
    tree(tmp_path, "flac/a.flac", "wav/b.WAV", "other/talk.mp4", "d.wav", "e\u0301.wav")
    motion(tmp_path / "motion" / "a.npz")
    np.savez(tmp_path / "d.npz", weights=np.zeros(3))
    write(tmp_path / "phones.json", {"a": [["hi", "AY", 0.0, 0.2]]})
    write(
        tmp_path / "index.csv",
        "clip,file,speaker,emotion,level,text,language,instruction,gender\n"
        'a,,ann,anger,3,"Well, hi.",de,She is furious.,f\n'
        "b,,,neutral,,,,,\n"
        "c,other/talk.mp4,cy,,,,,A person feels quite angry.,\n"
        "d,,,,,,,,\n"
        "\u00e9,,,,,,,,\n",
    )
    a, b, c, d, composed = scan_source("table", tmp_path).recordings
    assert (a.speaker, a.emotion, a.level, a.text, a.language) == ("ann", "angry", 3, "Well, hi.", "de")
    assert (a.speech, a.phones, a.caption) == (tmp_path / "flac/a.flac", (Phone("AY", 0.0, 0.2),), "She is furious.")
    assert a.motion is not None and a.motion.read(a.motion.path).present.sum() == 55
    assert (b.speaker, b.emotion, b.level, b.speech) == ("unknown", "neutral", 1, tmp_path / "wav/b.WAV")
    assert (c.speech, c.video, c.emotion, c.level) == (*[tmp_path / "other/talk.mp4"] * 2, "angry", 2)
    assert (d.speech, d.motion, d.emotion) == (tmp_path / "d.wav", None, None)
    assert composed.speech == tmp_path / "e\u0301.wav"


def test_a_table_row_with_motion_alone_is_silent_a_file_column_names_the_clip_and_genders_have_several_words(tmp_path):
    present = np.arange(len(ARKIT)) != ARKIT.index("tongueOut")
    words = ("female", "F", "woman", "Male", "m", "man", "", "diverse", "x")
    tree(tmp_path, "x/y.wav", "curves/none", *(f"{i}.wav" for i in range(len(words))))
    save_npz(MotionClip(np.zeros((5, 55), np.float32), 25.0, ARKIT, present), tmp_path / "curves" / "m.npz")
    rows = ["m,,curves/m.npz,", ",./x/y.wav,,", *(f"{i},,,{word}" for i, word in enumerate(words))]
    write(tmp_path / "index.csv", "\n".join(["clip,file,motion,gender", *rows]))
    *others, silent, spoken = scan_source("table", tmp_path).recordings
    assert (silent.name, silent.speech) == ("m", None) and silent.motion is not None
    assert np.array_equal(silent.motion.read(silent.motion.path).present, present)
    assert (spoken.name, spoken.speech) == ("x/y", tmp_path / "x/y.wav")
    assert [recording.gender for recording in others] == ["female"] * 3 + ["male"] * 3 + [None] * 3


def test_a_table_reads_motion_of_either_space_and_refuses_other_npz_in_the_motion_column(tmp_path: Path) -> None:
    motion(tmp_path / "a.npz")
    motion(tmp_path / "f.npz", FLAME)
    np.savez(tmp_path / "rig.npz", weights=np.zeros(3))
    np.savez(tmp_path / "odd.npz", values=np.zeros((1, 3)), fps=25.0, channels=np.array(["x", "y", "z"]))
    tree(tmp_path, "torn.npz")
    write(tmp_path / "index.csv", "clip,motion\na,\nf,f.npz\nr,rig.npz\no,odd.npz\nt,torn.npz\ng,gone.npz\n")
    scan = scan_source("table", tmp_path)
    assert [r.motion.space for r in scan.recordings if r.motion] == ["ARKIT", "FLAME"]
    assert reason(scan, "r (line 4)") == "no motion npz in rig.npz" and reason(scan, "o (line 5)").endswith("odd.npz")
    assert "cannot be read as npz" in reason(scan, "t (line 6)")
    assert reason(scan, "g (line 7)") == "no motion named gone.npz"


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("gone,,,,", "no sound or video named gone"),
        ("bad,,grumpy,,", "the emotion 'grumpy'; known are neutral, calm"),
        ("bad,,angry,4,", "the level '4'"),
        ("bad,,neutral,2,", "level 2 of neutral, which has 1"),
        ("bad,,,2,", "level 2 without an emotion"),
        ("bad,../bad.wav,,,", "leaves the source"),
        ("/etc/bad,,,,", "leaves the source"),
        ("bad,gone.wav,,,", "no sound or video named gone.wav"),
        (f"bad,,,,{'very ' * 200}sad", "at most"),
        ("ok,,,,", "the same recording as ok (line 2), which is kept"),
        (",,sad,,", "an empty path"),
        ("bad,a\x07b,,,", r"the path a\x07b has control characters"),
    ],
)
def test_a_table_refuses_a_row_that_breaks_a_rule_and_names_its_line(tmp_path: Path, row: str, rule: str) -> None:
    tree(tmp_path, "ok.wav", "bad.wav")
    write(tmp_path / "index.csv", f"clip,file,emotion,level,instruction\nok,,,,\n{row}\n")
    scan = scan_source("table", tmp_path)
    assert names(scan) == ["ok"] and rule in reason(scan, f"{row.split(',')[0]} (line 3)")


# Captioned speech and videos

QUITE = "A person feels quite angry and speaks with brow strongly down."


def test_captions_are_read_in_three_forms(tmp_path: Path) -> None:
    tree(tmp_path, "a.wav", "ben/b.flac", "ben/c.mp4")
    one = write(tmp_path / "map.json", {"a.wav": QUITE, "ben/b": "Her eyes lit up with delight…", "ben/c.mp4": "Hm."})
    two = write(tmp_path / "lists.json", {"text_descs": [QUITE], "audio_paths": ["./a.wav"]})
    a, b, c = scan_source("captioned", one).recordings
    assert (a.name, a.speaker, a.caption, a.emotion, a.level) == ("a", "unknown", QUITE, "angry", 2)
    assert (b.name, b.speaker, b.caption) == ("ben/b", "ben", "Her eyes lit up with delight...")
    assert c.video == c.speech == tmp_path / "ben/c.mp4"
    assert scan_source("captioned", two).recordings == (a,)


def test_captions_of_a_folder_come_from_captions_json_or_one_file_a_clip(tmp_path: Path) -> None:
    tree(tmp_path, "each/wav/x.wav", "each/wav/y.wav", "whole/x.wav")
    write(tmp_path / "each/wav/x.json", {"mm_paths": "x.wav", "caption": ["She is sad.\n### "], "other": 1})
    write(tmp_path / "each/y.json", {"mm_paths": ["wav/y.wav"], "caption": "He smiles.\n# more"})
    write(tmp_path / "each/z.json", "{")
    write(tmp_path / "whole/captions.json", {"x.wav": "She is sad."})
    scan = scan_source("captioned", tmp_path / "each")
    assert [(r.name, r.speaker, r.caption) for r in scan.recordings] == [
        ("wav/x", "wav", "She is sad."),
        ("wav/y", "wav", "He smiles."),
    ]
    assert "readable JSON" in reason(scan, "z.json")
    assert names(scan_source("captioned", tmp_path / "whole")) == ["x"]


@pytest.mark.parametrize(
    ("clip", "sentence", "rule"),
    [
        ("sub/../../a.wav", QUITE, "leaves the source"),
        ("/other/a.wav", QUITE, "leaves the source"),
        ("gone.wav", QUITE, "no sound or video named gone.wav"),
        ("b.wav", "very " * 200, "at most"),
        ("b.wav", " ", "an empty text"),
        ("b.wav", 3, "the sentence is int"),
        ("a", QUITE, "which is kept"),
        ("", QUITE, "an empty path"),
    ],
)
def test_a_caption_that_breaks_a_rule_is_refused_and_says_which(tmp_path: Path, clip, sentence, rule) -> None:
    tree(tmp_path, "a.wav", "b.wav")
    scan = scan_source("captioned", write(tmp_path / "captions.json", {"a.wav": QUITE, clip: sentence}))
    assert names(scan) == ["a"] and rule in scan.refused[0].reason


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"text_descs": ["a", "b"], "audio_paths": ["a.wav"]}, "1 and 2"),
        ({"text_descs": "a", "audio_paths": ["a.wav"]}, "none of the three forms"),
        ({"mm_paths": ["a.wav", "b.wav"], "caption": "a"}, "several in"),
        (["a.wav"], "none of the three forms"),
        ('{"a.wav": "x", "a.wav": "y"}', "'a.wav' twice"),
    ],
)
def test_captions_of_another_form_end_in_an_error(tmp_path: Path, content: object, rule: str) -> None:
    tree(tmp_path, "a.wav")
    with pytest.raises(InputError, match=rule):
        scan_source("captioned", write(tmp_path / "captions.json", content))


def test_videos_take_speaker_sound_and_transcript_from_what_lies_around_them(tmp_path: Path) -> None:
    tree(tmp_path, "ann/day/x.MOV", "ann/y.mp4", "ann/y.wav", "ann/y.m4a", "top.webm", "lonely.wav", "notes.txt")
    tree(tmp_path, "top.mp4", "b.mp4", "c.mp4")
    write(tmp_path / "ann" / "y.txt", " Good\nmorning. ")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "c.txt").write_bytes(b"x" * 100_001)
    scan = scan_source("videos", tmp_path)
    assert [(r.name, r.speaker, r.text, r.speech.name) for r in scan.recordings if r.speech] == [
        ("ann/day/x", "ann", None, "x.MOV"),
        ("ann/y", "ann", "Good morning.", "y.wav"),
        ("top", "unknown", None, "top.mp4"),
    ]
    assert scan.recordings[1].video == tmp_path / "ann/y.mp4"
    assert reason(scan, "top.webm") == "the same recording as top.mp4, which is kept"
    assert "UTF-8" in reason(scan, "b.mp4") and "more than 100000 bytes" in reason(scan, "c.mp4")


def test_ravdess_real_clips_are_all_read_with_their_phones(real_data: Path) -> None:
    scan = scan_source("ravdess", real_data / "ravdess")
    assert len(scan.recordings) == 960 and scan.refused == ()
    assert sum(recording.phones is not None for recording in scan.recordings) == 952
    counts = Counter(recording.emotion for recording in scan.recordings)
    assert counts.pop("neutral") == 64 and set(counts.values()) == {128} and len(counts) == 7
    assert Counter(recording.level for recording in scan.recordings) == {1: 192, 2: 384, 3: 384}
    index = {row["clip"]: row for _, row in read_table(real_data / "ravdess" / "index.csv")}
    assert all(index[recording.name]["text"] == recording.text for recording in scan.recordings)


def test_emodb_real_clips_are_all_read_from_the_folder_that_has_every_emotion(real_data: Path) -> None:
    scan = scan_source("emodb", real_data / "emodb")
    assert len(scan.recordings) == 535 and scan.refused == ()
    assert {r.speech.parent.name for r in scan.recordings if r.speech} == {"flac_2s"}
    assert Counter(r.emotion for r in scan.recordings) == {
        **{"angry": 127, "bored": 81, "neutral": 79, "happy": 71, "fear": 69, "sad": 62, "disgusted": 46}
    }
    unlabelled = [r.name for r in scan.recordings if r.phones is None]
    assert unlabelled == ["08a01Ab", "08a01Wa", "14b09Ea"]  # label files with a header only
    index = {row["clip"]: row for _, row in read_table(real_data / "emodb" / "index.csv")}
    for recording in scan.recordings:
        row = index[recording.name]
        assert (row["text"], row["gender"]) == (recording.text, (recording.gender or "")[:1])
        if recording.phones:
            assert {phone.phone for phone in recording.phones} <= ARPABET | {SILENCE}
            assert contiguous(tidy(recording.phones, 2.0), 2.0)


def test_real_transcripts_of_mead_and_videos_of_grid_are_found(real_data: Path, tmp_path: Path) -> None:
    tree(tmp_path, "M003/audio/contempt/level_2/003.m4a")
    (tmp_path / "mead_transcripts.csv.gz").symlink_to(real_data / "mead_sentences" / "mead_transcripts.csv.gz")
    assert scan_source("mead", tmp_path).recordings[0].text == "WILL YOU TELL ME WHY"
    scan = scan_source("videos", real_data / "grid10")
    assert len(scan.recordings) == 10 and scan.refused == ()
    assert {(r.speaker, r.speech.suffix, r.video.suffix) for r in scan.recordings if r.speech and r.video} == {
        ("unknown", ".flac", ".mpg")
    }
