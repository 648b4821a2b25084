"""Tables, captions and plain videos as corpora, and what all adapters share: finding files, reading labels."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from name_trees import names, reason, tree, write

from avi_lib.corpus.adapters import ADAPTERS, scan_source
from avi_lib.corpus.layouts import SPEECH_SUFFIXES, RuleError, find, phones_of, read_table
from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, FLAME, Curves, MotionClip, MotionSpace, save_curves, save_motion
from avi_lib.speech.phones import Phone

CLIP = "03-01-05-02-01-01-12"


# Finding files


def test_files_are_found_at_any_depth_in_either_case_and_hidden_ones_are_not(tmp_path: Path) -> None:
    tree(tmp_path, "b/c/x.WAV", "a.flac", ".hidden/y.wav", "b/._x.wav", "README.md", "é/ü.wav")
    found, refused = find(tmp_path, SPEECH_SUFFIXES)
    assert list(found) == ["a.flac", "b/c/x.WAV", "é/ü.wav"] and refused == []


def test_links_in_a_circle_end_and_a_linked_folder_is_searched_once(tmp_path: Path) -> None:
    tree(tmp_path, "z/x.wav")
    (tmp_path / "z" / "up").symlink_to(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert list(find(tmp_path, SPEECH_SUFFIXES)[0]) == ["z/x.wav"]


def test_a_folder_linked_from_elsewhere_belongs_to_the_source(tmp_path: Path) -> None:
    tree(tmp_path, "store/x.wav", "source/y.wav")
    (tmp_path / "source" / "anna").symlink_to(tmp_path / "store")
    assert list(find(tmp_path / "source", SPEECH_SUFFIXES)[0]) == ["anna/x.wav", "y.wav"]


def test_a_link_that_leads_nowhere_and_a_pipe_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    found, refused = find(tmp_path, SPEECH_SUFFIXES)
    assert found == {} and [refusal.name for refusal in refused] == ["gone.wav", "pipe.wav"]


def test_names_that_are_not_utf8_or_hold_control_characters_are_refused_in_one_printable_line(tmp_path: Path) -> None:
    tree(tmp_path, "ok.wav", "two\nlines.wav")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))).touch()
    found, refused = find(tmp_path, SPEECH_SUFFIXES)
    assert list(found) == ["ok.wav"]
    assert sorted(refusal.name for refusal in refused) == ["\\udcff.wav", "two\\nlines.wav"]


def test_a_folder_that_cannot_be_read_is_refused_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "locked/x.wav", "y.wav")
    scandir = os.scandir

    def guarded(folder: Path) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    found, refused = find(tmp_path, SPEECH_SUFFIXES)
    assert list(found) == ["y.wav"]
    assert [(refusal.name, refusal.reason) for refusal in refused] == [
        ("locked/", "the folder cannot be read: Permission denied")
    ]


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_a_source_where_nothing_fits_says_the_layout_and_a_missing_one_says_so(adapter, tmp_path: Path) -> None:
    tree(tmp_path, "readme.txt")
    with pytest.raises(InputError) as caught:
        scan_source(adapter, tmp_path)
    assert ADAPTERS[adapter].layout in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="which is missing"):
        scan_source(adapter, tmp_path / "absent")


# Labels


def test_phones_before_zero_are_dropped_and_one_across_zero_is_cut() -> None:
    entry = [["hi", "AY1", 0.1, 0.3], ["<sil>", "SIL", -0.63, -0.2], ["hi", "HH", -0.2, 0.1]]
    assert phones_of(entry) == (Phone("HH", 0.0, 0.1), Phone("AY", 0.1, 0.3))


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
def test_a_malformed_entry_of_phones_says_what_is_wrong(entry: object, rule: str) -> None:
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
    path = tmp_path / "index.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rule):
        read_table(path, "clip")


def test_a_table_keeps_separators_within_cells_fills_short_rows_and_skips_empty_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "index.csv", '\ufeffClip,text,x\na,"one, two\u2028three",\n\n,,\nb\n')
    assert read_table(path, "clip") == [
        (2, {"clip": "a", "text": "one, two\u2028three", "x": ""}),
        (5, {"clip": "b", "text": "", "x": ""}),
    ]


# Table


def motion(path: Path, space: MotionSpace = ARKIT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_motion(MotionClip(np.zeros((5, len(space)), np.float32), 25.0, space), path)


def test_a_table_finds_sound_phones_motion_and_labels(tmp_path: Path) -> None:
    tree(tmp_path, "flac/a.flac", "wav/b.WAV", "elsewhere/talk.mp4", "d.wav")
    motion(tmp_path / "motion" / "a.npz")
    np.savez(tmp_path / "d.npz", weights=np.zeros(3))
    write(tmp_path / "phones.json", {"a": [["hi", "AY", 0.0, 0.2]]})
    write(
        tmp_path / "index.csv",
        "clip,file,speaker,emotion,level,text,language,instruction,gender\n"
        'a,,ann,anger,3,"Well, hi.",de,She is furious.,f\n'
        "b,,,neutral,,,,,\n"
        "c,elsewhere/talk.mp4,cy,,,,,A person feels quite angry.,\n"
        "d,,,,,,,,\n",
    )
    a, b, c, d = scan_source("table", tmp_path).recordings
    assert (a.speaker, a.emotion, a.level, a.text, a.language) == ("ann", "angry", 3, "Well, hi.", "de")
    assert (a.speech, a.phones, a.caption) == (tmp_path / "flac/a.flac", (Phone("AY", 0.0, 0.2),), "She is furious.")
    assert a.motion is not None and a.motion.read(a.motion.path).present.sum() == 55
    assert (b.speaker, b.emotion, b.level, b.speech) == ("unknown", "neutral", 1, tmp_path / "wav/b.WAV")
    assert (c.speech, c.video, c.emotion, c.level) == (*[tmp_path / "elsewhere/talk.mp4"] * 2, "angry", 2)
    assert (d.speech, d.motion, d.emotion) == (tmp_path / "d.wav", None, None)


def test_a_table_tells_genders_in_several_words_and_leaves_others_open(tmp_path: Path) -> None:
    words = ("female", "F", "woman", "Male", "m", "man", "", "diverse", "x")
    tree(tmp_path, *(f"{i}.wav" for i in range(len(words))))
    write(tmp_path / "index.csv", "clip,gender\n" + "".join(f"{i},{word}\n" for i, word in enumerate(words)))
    genders = [recording.gender for recording in scan_source("table", tmp_path).recordings]
    assert genders == ["female"] * 3 + ["male"] * 3 + [None] * 3
    write(tmp_path / "index.csv", "clip\n0\n")
    assert scan_source("table", tmp_path).recordings[0].gender is None


def test_a_table_reads_the_channels_that_its_motion_has(tmp_path: Path) -> None:
    present = np.arange(len(ARKIT)) != ARKIT.index("tongueOut")
    save_curves(Curves(MotionClip(np.zeros((5, 55), np.float32), 25.0, ARKIT), present), tmp_path / "a.npz")
    write(tmp_path / "index.csv", "clip\na\n")
    (recording,) = scan_source("table", tmp_path).recordings
    assert recording.motion is not None
    assert np.array_equal(recording.motion.read(recording.motion.path).present, present)


def test_a_table_row_with_motion_alone_is_silent_and_a_file_column_names_the_clip(tmp_path: Path) -> None:
    motion(tmp_path / "curves" / "m.npz")
    tree(tmp_path, "x/y.wav")
    write(tmp_path / "index.csv", "clip,file,motion\nm,,curves/m.npz\n,./x/y.wav,\n")
    silent, heard = scan_source("table", tmp_path).recordings
    assert (silent.name, silent.speech) == ("m", None) and silent.motion is not None
    assert (heard.name, heard.speech) == ("x/y", tmp_path / "x/y.wav")


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


def test_a_table_finds_a_name_written_with_composed_accents(tmp_path: Path) -> None:
    tree(tmp_path, "e\u0301.wav")
    write(tmp_path / "index.csv", "clip\n\u00e9\n")
    assert scan_source("table", tmp_path).recordings[0].speech == tmp_path / "e\u0301.wav"


# Captioned speech

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
        ("../a.wav", QUITE, "leaves the source"),
        ("sub/../../a.wav", QUITE, "leaves the source"),
        ("/elsewhere/a.wav", QUITE, "leaves the source"),
        ("gone.wav", QUITE, "no sound or video named gone.wav"),
        ("b.wav", "very " * 200, "at most"),
        ("b.wav", " ", "an empty text"),
        ("b.wav", 3, "the sentence is int"),
        ("a", QUITE, "which is kept"),
        ("", QUITE, "an empty path"),
    ],
)
def test_a_caption_that_breaks_a_rule_is_refused_and_says_which(
    tmp_path: Path, clip: str, sentence: object, rule: str
) -> None:
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


# Videos


def test_videos_take_speaker_sound_and_transcript_from_what_lies_around_them(tmp_path: Path) -> None:
    tree(tmp_path, "ann/day/x.MOV", "ann/y.mp4", "ann/y.wav", "ann/y.m4a", "top.webm", "lonely.wav", "notes.txt")
    write(tmp_path / "ann" / "y.txt", " Good\nmorning. ")
    scan = scan_source("videos", tmp_path)
    assert [(r.name, r.speaker, r.text) for r in scan.recordings] == [
        ("ann/day/x", "ann", None),
        ("ann/y", "ann", "Good morning."),
        ("top", "unknown", None),
    ]
    assert [r.speech.name for r in scan.recordings if r.speech] == ["x.MOV", "y.wav", "top.webm"]
    assert scan.recordings[1].video == tmp_path / "ann/y.mp4"


def test_videos_refuse_a_second_format_and_a_transcript_that_cannot_be_read(tmp_path: Path) -> None:
    tree(tmp_path, "a.mp4", "a.mov", "b.mp4", "c.mp4")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "c.txt").write_bytes(b"x" * 100_001)
    scan = scan_source("videos", tmp_path)
    assert names(scan) == ["a"]
    assert reason(scan, "a.mov") == "the same recording as a.mp4, which is kept"
    assert "UTF-8" in reason(scan, "b.mp4") and "more than 100000 bytes" in reason(scan, "c.mp4")


def test_videos_real_grid_clips_are_found_with_their_sound(real_data: Path) -> None:
    scan = scan_source("videos", real_data / "grid10")
    assert len(scan.recordings) == 10 and scan.refused == ()
    assert {(r.speaker, r.speech.suffix, r.video.suffix) for r in scan.recordings if r.speech and r.video} == {
        ("unknown", ".flac", ".mpg")
    }
