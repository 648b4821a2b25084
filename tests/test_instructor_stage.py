"""Training the instructor: its feature bank, what is aligned with what, going on, and what was learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from raw_corpora import talkers, write_table_corpus
from small_instructors import FELT, SETTINGS, STATES, Mirror, bank, example_features, faces, frozen, sounds, trained
from train_line import StoppedError, stop_at

from avi_lib.corpus.adapters import RawCorpus, scan_source
from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS, EmotionClass
from avi_lib.instruction.instructor_network import (
    UNITS,
    load_instructor_model,
    means,
    read_instructor_about,
    save_instructor_model,
    stack,
)
from avi_lib.speech.voice import Voice
from avi_lib.training import instructor_data as module
from avi_lib.training.instructor import (
    balanced,
    best_temperature,
    emotion_shares,
    fitting,
    info_nce,
    least_sure,
    train_instructor,
    usual_means,
    varied,
)
from avi_lib.training.instructor_data import BankClip, make_feature_bank, read_faces
from avi_lib.training.loop import about_training
from avi_lib.weights import fingerprint
from tools.benchmarks.scores import Classification, by_emotion, level_agreement, nearest, recall


def test_the_trained_network_knows_clips_it_was_not_trained_on():
    model = trained().model
    clips = [(emotion, level, seed) for emotion in FELT for level in FELT[emotion] for seed in range(900, 906)]
    shares = nearest(model, [example_features(*clip) for clip in clips])
    found = Classification(by_emotion(shares), tuple(emotion for emotion, _, _ in clips))
    assert found.accuracy > 0.85
    predicted = [EMOTION_CLASSES[number] for number in shares.argmax(axis=1)]
    meant = [BankClip("", "", "", "", emotion, level) for emotion, level, _ in clips]
    assert level_agreement(predicted, meant) > 0.65


def test_other_sounds_are_no_speech_and_a_face_is_heard():
    model, clips = trained().model, bank()
    with torch.no_grad():
        voices = model.hear(stack([views[0] for views in clips.views]))
        others = model.hear(stack(sounds()))
    assert float(voices.speech.min()) > 0 > float(others.speech.max())
    angry = np.array([clip.emotion == "angry" for clip in clips.clips])
    assert voices.units[angry, 0].min() > 0.7 > 0.5 > voices.units[~angry, 0].max()


def test_beside_a_neutral_recording_it_does_not_matter_how_somebody_always_sounds():
    model, clip = trained().model, example_features("sad", 2, 1)
    calm = stack([example_features("neutral", 1, 2)])
    odd = np.array([0, 0, 0, 0, 4, 0], np.float16)
    apart = [
        model.beside(means(stack([(clip + each).astype(np.float16)])) - means(calm) - torch.from_numpy(each).float())[0]
        for each in (np.zeros(STATES, np.float16), odd)
    ]
    torch.testing.assert_close(*apart, atol=0.05, rtol=0.05)
    heard = model.hear(stack([clip]), means(calm)).logits.detach()
    assert max(FELT, key=lambda name: float(heard[0, fitting(BankClip("", "", "", "", name, None))].max())) == "sad"


def test_how_far_people_are_from_their_neutral_speech_on_average_counts_emotions_and_speakers_alike():
    felt = ("neutral", "neutral", "neutral", "sad", "sad", "angry")
    clips = [BankClip("", "c", speaker, "", emotion, None) for speaker in ("a", "b") for emotion in felt]
    numbers = np.array([[0.0, 0, 0, 3, 3, 6], [10.0, 10, 10, 13, 13, 22]]).reshape(-1, 1)
    assert usual_means(clips, numbers).tolist() == [pytest.approx((3 + 5) / 2)]
    assert usual_means(clips[:3], numbers[:3]).tolist() == [0.0]


def test_temperature_and_threshold_come_from_corpora_left_out():
    sure = np.full((200, len(EMOTION_CLASSES)), -9.0)
    meant = [("angry", "sad")[number % 2] for number in range(200)]
    for row, emotion, right in zip(sure, meant, np.arange(200) % 10 < 7, strict=True):
        said = emotion if right else ("sad" if emotion == "angry" else "angry")
        row[EMOTION_CLASSES.index(EmotionClass(said, 2))] = 9.0
    temperature = best_temperature(sure, meant)
    shares = emotion_shares(sure / temperature)
    assert Classification(shares, tuple(meant)).calibration_error < 0.06 < temperature
    shares = np.zeros((20, len(EMOTIONS)))
    for number in range(20):
        shares[number, EMOTIONS.index("angry")] = 0.9 if number < 10 else 0.2
    assert least_sure(shares, ["angry"] * 10 + ["neutral"] * 10) == pytest.approx(0.6)
    assert least_sure(shares, ["angry"] * 20) == pytest.approx(0.2)


def test_no_weight_of_the_language_model_changes_and_the_losses_fall():
    models = frozen()
    before = fingerprint(models.language.network)
    made = trained()
    assert fingerprint(models.language.network) == before
    assert all(weight.grad is None for weight in models.language.network.parameters())
    assert all(log[-1]["loss"] < log[0]["loss"] for log in (made.aligned, made.spoken))


def test_a_training_that_is_stopped_in_every_part_goes_on_to_the_same_bytes(tmp_path):
    taught = bank(), sounds(), faces(bank()), frozen(), SETTINGS, tmp_path
    for last in (("align", 45), ("speak", 10)):
        with pytest.raises(StoppedError):
            train_instructor(*taught, progress=False, on_log=stop_at(*last))
    made = train_instructor(*taught, progress=False)
    assert fingerprint(made.model) == fingerprint(trained().model)


def test_weights_come_back_from_their_file_and_say_what_they_are(tmp_path):
    model = trained().model
    about = about_training((), SETTINGS, {}, "digest")
    save_instructor_model(model, tmp_path / "i.safetensors", about)
    back = load_instructor_model(tmp_path / "i.safetensors")
    assert back.shape == model.shape
    assert fingerprint(back) == fingerprint(model)
    assert read_instructor_about(tmp_path / "i.safetensors")["bank"] == "digest"
    clips = [example_features("angry", 3, 5), example_features("calm", 1, 6)]
    np.testing.assert_allclose(nearest(back, clips), nearest(model, clips), atol=0.02)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes((tmp_path / "i.safetensors").read_bytes()[:-100])
    for path in (torn, tmp_path / "absent.safetensors"):
        with pytest.raises(InputError, match="weights of an instructor"):
            load_instructor_model(path)


def test_a_clip_fits_the_sentences_of_its_class_and_info_nce_contrasts_them_with_the_rest():
    for emotion, level, levels in (("angry", 3, (3,)), ("angry", None, (2, 3)), ("calm", None, (1,))):
        found = [EMOTION_CLASSES[n] for n in fitting(BankClip("", "", "", "", emotion, level))]
        assert found == [EmotionClass(emotion, each) for each in levels]
    likeness = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    fits = torch.tensor([[True, False, False], [False, True, True]])
    shares = likeness.softmax(dim=1)
    expected = -(shares[0, 0].log() + (shares[1, 1] + shares[1, 2]).log()) / 2
    assert float(info_nce(likeness, fits, 0.0)) == pytest.approx(float(expected), abs=1e-6)
    assert float(info_nce(likeness, fits, 0.2)) > float(expected)


def test_emotions_come_alike_often_corpora_by_the_root_of_their_size():
    clips = [BankClip(f"a{n}", "a", "s", "train", "sad" if n < 60 else "happy", 2) for n in range(64)]
    clips += [BankClip(f"b{n}", "b", "s", "train", "sad", 2) for n in range(16)]
    counts = np.bincount(balanced(clips, 1200), minlength=len(clips))
    assert np.add.reduceat(counts, [0, 60, 64]) == pytest.approx([400] * 3, abs=4)
    assert counts.min() >= 1


def test_a_varied_view_is_a_part_of_one_of_the_views():
    views = (example_features("sad", 2, 1, 60), example_features("sad", 2, 2, 60))
    lengths = set()
    for seed in range(30):
        made = varied(views, np.random.default_rng(seed), SETTINGS)
        rows = [{row.tobytes() for row in view[0]} for view in views]
        assert any(all(row.tobytes() in own for row in made[0]) for own in rows)
        assert made.shape[1] >= 16
        lengths.add(made.shape[1])
    assert len(lengths) > 5


def test_without_queries_there_is_no_q_former_and_the_linear_maps_are_the_same(tmp_path):
    quick = SETTINGS.speak.model_copy(update={"steps": 2})
    settings = SETTINGS.model_copy(update={"queries": 0, "speak": quick})
    made = train_instructor(bank(), sounds(), faces(bank()), frozen(), settings, tmp_path, progress=False)
    assert made.aligned == [] and not hasattr(made.model, "qformer")
    assert fingerprint(made.model.alone) == fingerprint(trained().model.alone)
    save_instructor_model(made.model, tmp_path / "weights.safetensors")
    assert load_instructor_model(tmp_path / "weights.safetensors").shape == made.model.shape


@pytest.mark.parametrize("broken", [False, True])
def test_faces_are_above_the_speakers_neutral_one_and_a_broken_table_is_named(tmp_path, broken):
    columns = [f"{code}_mean" for code in UNITS]
    rows = [["01-01-01-01-01-01-07", "a", "neutral", *["1"] * len(UNITS)]]
    rows += [["01-01-05-01-01-01-07", "a", "angry", *["3"] * len(UNITS)]]
    lines = [["clip", "speaker", "emotion", *(columns[1:] if broken else columns)], *rows]
    (tmp_path / "means.csv").write_text("\n".join(",".join(line) for line in lines), "utf-8")
    clips = [BankClip(name, "r", "07", "train", "angry", 2) for name in ("03-01-05-01-01-01-07", "other")]
    if broken:
        with pytest.raises(InputError, match="a table of means of action units"):
            read_faces(tmp_path / "means.csv", clips)
        return
    found = read_faces(tmp_path / "means.csv", clips)
    np.testing.assert_allclose(found[0], 2.0)
    assert np.isnan(found[1]).all()


def test_classifications_count_what_is_predicted():
    shares = np.zeros((4, len(EMOTIONS)))
    for row, (emotion, sure) in enumerate((("sad", 0.9), ("sad", 0.8), ("happy", 0.7), ("sad", 0.6))):
        shares[row] = (1 - sure) / (len(EMOTIONS) - 1)
        shares[row, EMOTIONS.index(emotion)] = sure
    found = Classification(shares, ("sad", "happy", "happy", "sad"))
    assert found.accuracy == 0.75
    assert found.recall == pytest.approx(0.75)
    assert found.calibration_error == pytest.approx((0.1 + 0.8 + 0.3 + 0.4) / 4)
    assert found.confusion()[EMOTIONS.index("happy"), EMOTIONS.index("sad")] == 0.5
    assert recall(["sad", None, "sad"], ["sad", "sad", "happy"]) == pytest.approx(0.25)


@pytest.fixture
def mirrored(monkeypatch):
    encoded = []
    monkeypatch.setattr(module, "load_encoder", lambda name: Mirror())
    monkeypatch.setattr(module, "ALONE", 10_000)
    real = Voice.acoustic_features
    monkeypatch.setattr(
        Voice, "acoustic_features", lambda voice, encoder: encoded.append(len(voice.wave)) or real(voice, encoder)
    )
    return encoded


@pytest.fixture
def raw(tmp_path):
    write_table_corpus(tmp_path / "raw", talkers(speakers=3, clips=2))
    return RawCorpus("talkers", "table", tmp_path / "raw")


def test_every_labelled_recording_is_encoded_as_it_is_and_augmented(mirrored, raw, tmp_path):
    bank = make_feature_bank([raw], "mirror", views=3, seed=0, folder=tmp_path, progress=False)
    found = [each for each in scan_source("table", raw.folder).recordings if each.emotion]
    assert [clip.name for clip in bank.clips] == [each.name for each in found] and len(
        {c.split for c in bank.clips}
    ) > 1
    assert all(len(views) == 3 and not np.array_equal(views[0], views[1]) for views in bank.views)
    assert len(mirrored) == 3 * len(found)
    few = bank.select([number % 2 == 0 for number in range(len(bank))])
    assert few.clips == bank.clips[::2] and few.digest != bank.digest
    assert len(make_feature_bank([raw], "mirror", 1, 0, tmp_path, progress=False, most={"talkers": 2})) == 2


def test_what_was_encoded_is_kept_and_a_damaged_file_is_made_again(mirrored, raw, tmp_path):
    first = make_feature_bank([raw], "mirror", 1, 0, tmp_path, progress=False)
    mirrored.clear()
    again = make_feature_bank([raw], "mirror", 1, 0, tmp_path, progress=False)
    assert not mirrored and again.digest == first.digest
    for one, two in zip(first.views, again.views, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-64])
    make_feature_bank([raw], "mirror", 1, 0, tmp_path, progress=False)
    assert mirrored
    mirrored.clear()
    other = make_feature_bank([raw], "mirror", 1, 1, tmp_path, progress=False)
    assert mirrored and other.digest != first.digest


def test_recordings_without_an_emotion_are_refused(mirrored, tmp_path):
    write_table_corpus(tmp_path / "raw", [{"clip": "c", "speaker": "s"}])
    with pytest.raises(InputError, match="clips with sound and an emotion"):
        make_feature_bank([RawCorpus("quiet", "table", tmp_path / "raw")], "mirror", 1, 0, tmp_path, progress=False)
