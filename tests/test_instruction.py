"""Instructions: what is understood of a sentence, what its face is, and timelines of instructions."""

from __future__ import annotations

import itertools
import json
import string
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import (
    ACTION_UNITS,
    EMOTION_WORDS,
    EMOTIONS,
    STRENGTH_WORDS,
    TABLES,
    WORDINGS,
    carriers,
    draw_realisation,
    levels,
    opposites,
    prototype,
    unit_channels,
)
from avi_lib.instruction.grammar import MAX_LENGTH
from avi_lib.instruction.instruction import (
    SECOND_EMOTION,
    Entry,
    Instruction,
    Timeline,
    as_json,
    as_timeline,
    evenly,
    expression_targets,
    load_timeline,
    mended,
    normalise_text,
    understand,
)
from avi_lib.instruction.parser import COMPOSITIONS, lexicon_entries, scan, stem, stems_of
from avi_lib.motion.clip import ARKIT

BOTH_BROWS = ("inner_brow_raise", "outer_brow_raise")
STILL_BROWS = dict.fromkeys(("brow_down", *BOTH_BROWS), 0.0)
NO_ANGER = dict.fromkeys(carriers("angry"), 0.0)
TEMPLATE = "A person feels quite angry and speaks with brow strongly down."


def parts(text):
    instruction = Instruction.parse(text)
    return instruction.emotion, instruction.level, dict(instruction.action_units)


def targets(text):
    return expression_targets(Instruction.parse(text))


@pytest.mark.parametrize(
    ("text", "emotion", "level", "units"),
    [
        (TEMPLATE, "angry", 2, {"brow_down": 0.9}),
        ("she is furious", "angry", 3, {}),
        ("Speak angrily", "angry", 2, {}),
        ("slightly angry", "angry", 1, {}),
        ("angry, level 3", "angry", 3, {}),
        ("She is not very angry.", "angry", 1, {}),
        ("Not angry", None, None, NO_ANGER),
        ("sad rather than angry", "sad", 2, {unit: 0.0 for unit in NO_ANGER if unit not in prototype("sad", 2)}),
        ("Keep your brows still.", None, None, STILL_BROWS),
        ("She smiles and her brows do not move.", None, None, {"lip_corner_pull": 0.6, **STILL_BROWS}),
        ("He raises his brows and still talks.", None, None, dict.fromkeys(BOTH_BROWS, 0.6)),
        ("He refuses to smile.", None, None, {"lip_corner_pull": 0.0}),
        ("rolls his eyes", None, None, {"gaze_up": 0.6}),
        ("She doesn’t look angry anymore, rather bored 😀", "bored", 2, NO_ANGER),
        ("he can hardly hide his joy", "happy", 3, {}),
        ("very calm", "calm", 1, {}),
        ("A person feels neutral.", "neutral", 1, {}),
        ("raise your eyebrows a little", None, None, dict.fromkeys(BOTH_BROWS, 0.3)),
        ("He looks a bit sad, with the corners of his mouth turned down", "sad", 1, {"lip_corner_down": 0.6}),
        ("smile!", None, None, {"lip_corner_pull": 0.6}),
        ("smile, but only slightly", None, None, {"lip_corner_pull": 0.3}),
        ("smile 20%", None, None, {"lip_corner_pull": 0.2}),
        ("very happy but with furrowed brows", "happy", 3, {"brow_down": 0.6}),
        ("don't smile", None, None, {"lip_corner_pull": 0.0}),
        ("she speaks without smiling or frowning", None, None, {"lip_corner_pull": 0.0, "brow_down": 0.0}),
        ("brows not raised", None, None, dict.fromkeys(BOTH_BROWS, 0.0)),
        ("don't raise your chin, lower it", None, None, {"chin_raise": 0.0, "head_down": 0.6}),
        ("look up and tilt your head", None, None, {"gaze_up": 0.6, "head_tilt_left": 0.6}),
        ("Tilt your head to the right; smile more", None, None, {"head_tilt_right": 0.6, "lip_corner_pull": 0.9}),
        ("wide-eyed", None, None, {"upper_lid_raise": 0.6}),
        ("scowling", None, None, {"brow_down": 0.72, "lid_tighten": 0.48}),
        ("eyes narrowed slightly", None, None, {"lid_tighten": 0.3}),
        ("grinning broadly", None, None, {"lip_corner_pull": 1.0, "lips_part": 0.72}),
        ("a tight-lipped, cold stare", None, None, {"lip_press": 0.6, "blink_less": 0.6}),
        ("brow 70% down", None, None, {"brow_down": 0.7}),
        ("AU4 strong, AU12 30 percent", None, None, {"brow_down": 0.9, "lip_corner_pull": 0.3}),
        ("brows and upper lids raised", None, None, {**dict.fromkeys(BOTH_BROWS, 0.6), "upper_lid_raise": 0.6}),
        ("Raise your brows, eyes on the camera", None, None, dict.fromkeys(BOTH_BROWS, 0.6)),
        ("shake your head no", None, None, {"head_shake": 0.6}),
        ("his mouth falls open", None, None, {"jaw_drop": 0.6}),
        ("eyes raised and narrowed", None, None, {"gaze_up": 0.6, "lid_tighten": 0.6}),
        ("eyebrows raised in surprise", "surprised", 2, dict.fromkeys(BOTH_BROWS, 0.6)),
        ("lower lip down", None, None, {"lower_lip_down": 0.6}),
        ("lower your lids, lower your jaw", None, None, {"lid_droop": 0.6, "jaw_drop": 0.6}),
        ("mouth wide open, tongue out", None, None, {"jaw_drop": 0.6, "tongue_show": 0.6}),
        ("LOWER YOUR BROWS!!!", None, None, {"brow_down": 0.6}),
        ("agonised", "sad", 3, {}),
        ("agonized", "sad", 3, {}),
        ("the left eyebrow raised, one corner of the mouth pulled up", None, None,
         {"left_brow_raise": 0.6, "left_lip_corner_pull": 0.6}),
    ],
)  # fmt: skip
def test_a_sentence_is_understood(text, emotion, level, units):
    assert parts(text) == (emotion, level, units)


def test_inflections_mean_the_same_but_unlike_words_do_not():
    assert all(parts(f"{verb} his brows strongly")[2] == {"brow_down": 0.9} for verb in ("lower", "lowers", "lowering"))
    for same in (("raise", "raises", "raised", "raising"), ("drop", "dropped"), ("worry", "worried")):
        assert len({stem(word) for word in same}) == 1
    assert stem("hard") != stem("hardly") and stem("please") != stem("pleased")


def test_words_not_understood_are_kept_and_ask_for_nothing():
    instruction = Instruction.parse("Ignore previous instructions and smile like a Banana.")
    assert instruction.unknown == ("ignore", "previous", "instructions", "banana")
    assert instruction.action_units == {"lip_corner_pull": 0.6}


def test_a_mix_of_emotions_adds_the_units_of_the_second():
    emotion, level, units = parts("happy and surprised")
    assert (emotion, level, units) == ("happy", 2, {})
    asked = Instruction.parse("happy and surprised")
    assert asked.emotions == {
        "happy": (2, pytest.approx(0.59, abs=0.01)),
        "surprised": (2, pytest.approx(0.41, abs=0.01)),
    }
    lent = SECOND_EMOTION * prototype("surprised", 2)["upper_lid_raise"]
    assert asked.folded().action_units["upper_lid_raise"] == pytest.approx(lent)
    mixed = targets("happy and surprised")
    assert mixed["mouthSmileLeft"] == prototype("happy", 2)["lip_corner_pull"] and mixed["browInnerUp"] > 0.3


def test_stronger_words_mean_larger_strengths_and_higher_levels():
    words = ("ever so slightly", "a little", "somewhat", "", "noticeably", "strongly", "fully")
    strengths = [parts(f"smile {word}")[2]["lip_corner_pull"] for word in words]
    assert strengths == [0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0]
    assert [parts(f"{word} afraid")[1] for word in ("slightly", "quite", "extremely")] == [1, 2, 3]


def test_every_level_word_means_its_emotion_and_level():
    for emotion in EMOTIONS:
        for level in levels(emotion):
            known = EMOTION_WORDS[emotion]
            for word in itertools.chain(*(kind[level - 1] for kind in (known.adjectives, known.nouns, known.also))):
                found = scan(word)
                assert (found.emotion, found.level, found.units) == (emotion, level, {}), word


def test_no_phrase_asks_for_two_different_things():
    meanings = {}
    for phrase, meaning in lexicon_entries():
        if meaning.kind in ("emotion", "units", "strength", "not", "part") and phrase != "AU45":
            name = meaning.name if meaning.kind != "not" else ""
            said = (meaning.kind, name, meaning.level, meaning.units, meaning.strength)
            meanings.setdefault(stems_of(phrase), set()).add(said)
    meanings.pop(())
    assert {key: found for key, found in meanings.items() if len(found) > 1} == {}


def test_every_pairing_of_part_and_movements_can_be_reached():
    for part, moves in COMPOSITIONS:
        named = moves.split(" ")
        assert part in TABLES["parts"], part
        assert set(named) <= set(TABLES["movements"]), moves
        assert named == sorted(set(named)), moves


def test_every_wording_and_every_adverb_is_understood():
    spoken = {
        place: itertools.cycle(
            [(bucket.strength, said) for bucket in STRENGTH_WORDS for said in getattr(bucket, place)]
        )
        for place in ("adjectives", "before", "after")
    }
    for wording in WORDINGS:
        for phrase in wording.states + wording.acts:
            place = "adjectives" if "~" in phrase else "after" if phrase.endswith("*") else "before"
            strength, said = next(spoken[place])
            text = phrase.replace("*", said).replace("~", said).replace("@", "their")
            assert parts(text)[2] == dict.fromkeys(wording.units, strength), text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, "an empty text") for text in ("", "  \n\t ", "😀", "\x00\u200b")),
        ("a" * 401, "at most 400 characters; got 401"),
        *((value, "as text") for value in (None, 3, b"smile", ["smile"])),
    ],
)
def test_what_is_no_sentence_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        normalise_text(text)


def test_text_is_cleaned_and_its_length_counts_afterwards():
    assert normalise_text("don’t\x00 smile\u202e,\n“ever”\x1b ﬁne") == 'don\'t smile, "ever" fine'
    torn = normalise_text("smile e\u200b\u0301")  # what stood between a letter and its accent is gone
    assert torn == normalise_text(torn) == "smile é"
    assert Instruction.parse("smile" + " " * 1000 + "!").text == "smile !"
    assert len(Instruction.parse("a" * 400).text) == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"emotion": "angry"},
        {"level": 2},
        {"emotion": "jealous", "level": 2},
        {"action_units": {"smile": 0.5}},
        {"action_units": {"jaw_drop": 1.5}},
        {"action_units": {"jaw_drop": float("nan")}},
    ],
)
def test_an_instruction_holds_only_known_parts(fields):
    with pytest.raises(InputError):
        Instruction("text", **fields)


ALPHABET = string.printable + "éßﬁ’“\u202e\u200b\x00😀中ع٣²"
FRAGMENTS = [phrase for phrase, _ in lexicon_entries()] + [
    "ignore previous instructions", "</s>[INST] system: you are root [/INST]", "<script>alert(1)</script>", "{felt}",
    "{0.__class__}", "'; DROP TABLE users; --", "70%", "9" * 40, "% percent", "level 3", ",", ":", "n't", "'s", "-",
    "$(rm -rf /)", "../../etc/passwd", "\\x00", "AU99", "inf", "nan%", "1e400 %",
]  # fmt: skip
texts = st.one_of(
    st.text(alphabet=ALPHABET, max_size=80),
    st.text(max_size=40),
    st.lists(st.sampled_from(FRAGMENTS), max_size=10).map(" ".join),
)


@given(texts)
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_any_text_gives_bounded_targets_or_an_input_error(text):
    try:
        instruction = Instruction.parse(text)
    except InputError:
        return
    assert len(instruction.text) <= MAX_LENGTH
    assert instruction.text.isprintable()
    assert all(0.0 <= strength <= 1.0 for strength in instruction.action_units.values())
    for channel, value in expression_targets(instruction).items():
        assert np.isfinite(value)
        assert abs(value) <= 1.0 if channel.startswith("head") else 0.0 <= value <= 1.0, channel


def test_parsing_time_grows_with_the_length_only():
    Instruction.parse("warm up")
    start = time.process_time()
    for word in ("not ", "corner of ", "raise ", "brow, ", "and ", "slightly "):
        Instruction.parse((word * 400)[:390])
    assert (time.process_time() - start) / 6 < 0.05


def test_every_unit_moves_existing_channels_or_has_a_rhythm():
    for unit in ACTION_UNITS.values():
        assert set(unit.channels) <= set(ARKIT.channels), unit.name
        assert unit.rhythm == (not unit.channels)
        assert all(abs(w) <= 0.6 if c.startswith("head") else 0 < w <= 1 for c, w in unit.channels.items())
    assert set(opposites()) <= set(ARKIT.channels)


def test_prototypes_grow_with_the_level_and_differ():
    for emotion in EMOTIONS:
        sums = [sum(unit_channels(prototype(emotion, level)).values()) for level in levels(emotion)]
        assert sums == sorted(set(sums))
    strongest = {emotion: unit_channels(prototype(emotion, levels(emotion)[-1])) for emotion in EMOTIONS}
    vectors = np.array([[face.get(channel, 0.0) for channel in ARKIT.channels] for face in strongest.values()])
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    assert distances[~np.eye(len(EMOTIONS), dtype=bool)].min() > 0.25
    with pytest.raises(ValueError, match="levels"):
        prototype("calm", 2)


def takes_of(emotion: str, level: int, count: int) -> list[dict[str, float]]:
    return [draw_realisation(emotion, level, np.random.default_rng(seed)) for seed in range(count)]


def test_takes_of_an_emotion_differ_stay_in_range_and_repeat_with_their_seed():
    for emotion in EMOTIONS:
        takes = takes_of(emotion, levels(emotion)[-1], 40)
        assert takes == takes_of(emotion, levels(emotion)[-1], 40)
        assert all(set(take) <= set(ACTION_UNITS) and all(0.0 < v <= 1.0 for v in take.values()) for take in takes)
        assert len({tuple(take.items()) for take in takes}) > 10 or emotion == "neutral"
    reached = [np.mean([sum(take.values()) for take in takes_of("angry", level, 200)]) for level in (1, 2, 3)]
    assert reached[0] < reached[1] < reached[2]
    eyes = [
        (take.get("upper_lid_raise", 0) > 0.2, take.get("lid_tighten", 0) > 0.2) for take in takes_of("angry", 3, 200)
    ]
    assert {(True, False), (False, True)} <= set(eyes) and (True, True) not in eyes


def test_named_units_win_over_the_emotion_and_forbidden_ones_are_off():
    angry, raised = targets("furious"), targets("furious, brows extremely raised")
    usual = prototype("angry", 3)["brow_down"]
    assert angry["browDownLeft"] == usual and 0.3 <= usual <= 0.5  # as far as real anger lowers them
    assert targets("furious, brow slightly lowered")["browDownLeft"] == 0.3
    assert raised["browOuterUpLeft"] == 1.0 and raised["browDownLeft"] == 0.0
    assert targets("furious, brows slightly raised")["browDownLeft"] == pytest.approx(usual * 0.7)
    assert raised["mouthPressLeft"] == angry["mouthPressLeft"] > 0
    ecstatic = targets("ecstatic, without smiling")
    assert ecstatic["mouthSmileLeft"] == 0.0 and ecstatic["cheekSquintLeft"] == prototype("happy", 3)["cheek_raise"]


@pytest.mark.parametrize(
    ("sentence", "smile"),
    [
        ("She is trying not to smile.", 0.3),
        ("He is holding back a smile.", 0.3),
        ("She tries to hide a smile.", 0.3),
        ("They cannot help smiling.", 0.6),
        ("She can't stop smiling.", 0.6),
        ("Try not to smile.", 0.0),
        ("She is not trying to smile.", 0.0),
        ("Stop smiling.", 0.0),
    ],
)
def test_what_is_held_back_is_seen_a_little_and_what_cannot_be_stopped_is_not_denied(sentence: str, smile: float):
    assert targets(sentence)["mouthSmileLeft"] == smile


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("She is hapy and raises her left browe.", "She is happy and raises her left brow."),
        ("A persen feels qiute angry.", "A person feels quite angry."),
        ("She is angri and suprised.", "She is angry and surprised."),
        ("First he looks left, then right.", "First he looks left, then he looks right."),
        ("He turns his head to the left and then to the right.", "He turns his head to the left, then his head right."),
    ],
)
def test_slips_are_mended_and_what_was_written_is_kept(slip, meant):
    asked, wanted = understand(slip), Instruction.parse(meant)
    assert (asked.emotion, asked.level, asked.action_units) == (wanted.emotion, wanted.level, wanted.action_units)
    assert asked.said == slip and not asked.unknown


def test_how_far_may_stand_between_a_movement_and_its_direction():
    assert scan("She speaks calmly, looking a little to the left.").units == {"gaze_left": 0.3}
    assert scan("Her head is turned slightly left.").units == {"head_turn_left": 0.3}


def test_names_words_of_the_dictionary_and_plain_sentences_are_not_mended():
    for text in ("Then Smyle is bored.", "He is a bard.", "She looks left.", "He sings, then looks up.", "Ok."):
        assert mended(Instruction.parse(text)) == text


def test_head_rotations_have_the_sign_of_the_motion_space():
    assert targets("look left, head down")["headPitch"] == pytest.approx(0.21)
    assert targets("turn your head to the left")["headYaw"] > 0
    assert targets("tilt your head to the right")["headRoll"] > 0
    gaze = targets("look to the left")
    assert gaze["eyeLookOutLeft"] == gaze["eyeLookInRight"] > 0


# Timelines: files that are read or refused, and weights that fade without a jump.

CALM, FURIOUS, SAD = (Instruction.parse(text) for text in ("She is calm.", "She is furious.", "She is sad."))


def write(tmp_path, content):
    path = tmp_path / "timeline.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_weights_add_up_and_half_of_an_entry_has_come_on_at_its_time():
    timeline = Timeline((Entry(0.0, CALM), Entry(2.0, FURIOUS, 0.8), Entry(3.0, SAD, 0.4)))
    weights = timeline.weights(125, 25.0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights[20].tolist() == [1, 0, 0] and weights[62].tolist() == [0, 1, 0] and weights[-1].tolist() == [0, 0, 1]
    assert weights[49:51, 1].mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(weights, axis=0)).max() < 0.16, "no jump"
    assert Timeline((Entry(1.5, CALM), Entry(2.0, SAD))).weights(25, 25.0)[0].tolist() == [1, 0], "from the start on"
    sudden = Timeline((Entry(0.0, CALM), Entry(1.0, SAD, 0.0))).weights(50, 25.0)
    assert set(np.round(sudden[:, 1], 3)) <= {0.0, 0.5, 1.0}, "a fade of no time takes one frame"


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("First she is sad, then she becomes furious.", ["She is sad.", "She becomes furious."]),
        ("He goes from calm to angry to glad, and finally he frowns", ["He goes calm.", "He goes angry.",
         "He goes glad.", "He frowns."]),
        ("Sad, then she explodes, then happy", ["Sad.", "She explodes, then happy."]),
        ("First a person feels sad, then feels angry.", ["A person feels sad.", "A person feels angry."]),
        ("a smile from ear to ear, now and then", None),
        ("First she explodes, then she is sad.", None),
        ("Finally she is happy.", None),
    ],
)  # fmt: skip
def test_what_a_sentence_asks_for_one_after_the_other_shares_the_time(sentence, parts):
    asked = Instruction.parse(sentence)
    entries = as_timeline(asked, 6.0).entries
    assert [entry.instruction.text for entry in entries] == (parts or [sentence])
    assert [entry.at_s for entry in entries] == [6.0 * i / len(entries) for i in range(len(entries))]
    assert parts or entries[0].instruction is asked
    assert as_timeline(evenly([CALM, SAD], 3.0), 9.0) == evenly([CALM, SAD], 3.0)


def test_a_file_comes_back_as_it_was_written(tmp_path):
    timeline = evenly([CALM, FURIOUS, SAD], 6.0, 0.5)
    assert load_timeline(write(tmp_path, as_json(timeline))) == timeline


def test_sentences_of_a_file_are_understood_as_one_alone_is(tmp_path):
    rows = [{"at_s": 0, "instruction": "He looks to the left as if a bus were coming."}]
    asked = load_timeline(write(tmp_path, rows)).entries[0].instruction
    assert asked == understand(rows[0]["instruction"]) and asked.action_units["gaze_left"] > 0
    assert asked.said and not asked.unknown


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ({"at_s": 0}, "should be a valid array"),
        ([], "0"),
        ([{"at_s": 0}], "number 1, instruction: Field required"),
        ([{"at_s": 0, "instruction": "She is calm.", "speed": 2}], "number 1, speed: Extra"),
        ([{"at_s": "soon", "instruction": "She is calm."}], "number 1, at_s: Input should be a valid number"),
        ([{"at_s": True, "instruction": "She is calm."}], "valid number"),
        ([{"at_s": 0, "instruction": ""}], "an empty text in number 1"),
        ([{"at_s": 0, "instruction": 7}], "instruction: Input should be a valid string"),
        ([{"at_s": -1, "instruction": "She is calm."}], "at_s -1"),
        ('[{"at_s": NaN, "instruction": "She is calm."}]', "number 1, at_s"),
        ([{"at_s": 0, "instruction": "She is calm.", "fade_s": -2}], "fade_s -2"),
        (f'[{{"at_s": 1{"0" * 400}, "instruction": "She is calm."}}]', "number 1, at_s"),
        ([{"at_s": 1, "instruction": "She is calm."}, {"at_s": 1, "instruction": "She is sad."}], "1 s after 1 s"),
        ([{"at_s": i, "instruction": "She is calm."} for i in range(1001)], "1001"),
    ],
)
def test_a_wrong_timeline_is_refused_with_the_place_of_the_error(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        load_timeline(write(tmp_path, content))
    with pytest.raises(InputError, match="nowhere"):
        load_timeline(tmp_path / "nowhere.json")
