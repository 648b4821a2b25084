"""Training the instructor: its feature bank, what is aligned with what, going on, and what was learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from raw_corpora import talkers, write_table_corpus
from small_instructors import FELT, SETTINGS, Mirror, bank, example_features, frozen, sounds, trained
from talking_corpora import performed, recorded

from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.prepare import prepare
from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS, EmotionClass
from avi_lib.instruction.instructor_network import (
    OUT_OF_DOMAIN,
    RAMP,
    OutOfDomain,
    load_instructor_model,
    read_instructor_about,
    save_instructor_model,
    stack,
)
from avi_lib.settings import PrepareSettings
from avi_lib.speech.voice import Voice
from avi_lib.training import instructor_data as module
from avi_lib.training.instructor import align, balanced, fitting, info_nce, train_instructor, varied
from avi_lib.training.instructor_data import BankClip, make_feature_bank
from avi_lib.training.loop import about_training
from avi_lib.weights import fingerprint, save_weights
from tools.benchmarks.scores import (
    Classification,
    by_emotion,
    level_agreement,
    nearest,
    recall,
)


def test_the_trained_network_knows_clips_it_was_not_trained_on():
    model = trained().model
    clips = [(emotion, level, seed) for emotion in FELT for level in FELT[emotion] for seed in range(900, 906)]
    shares = nearest(model, [example_features(*clip) for clip in clips])
    found = Classification(by_emotion(shares), tuple(emotion for emotion, _, _ in clips))
    assert found.accuracy > 0.85
    predicted = [EMOTION_CLASSES[number] for number in shares.argmax(axis=1)]
    meant = [BankClip("", "", "", "", emotion, level) for emotion, level, _ in clips]
    assert level_agreement(predicted, meant) > 0.65


def test_other_sounds_are_no_speech_and_out_of_domain_states_count_less():
    model, strange = trained().model, example_features("sad", 2, 1)
    noise = np.random.default_rng(0).normal(0, 20, strange.states.shape)
    far = strange._replace(states=(strange.states + noise).astype(np.float16))
    with torch.no_grad():
        voices = model.embed_speech(stack([views[0] for views in bank().views]))
        others = model.embed_speech(stack(sounds()))
        assert float(model.embed_speech(stack([far])).in_domain[0]) == pytest.approx(OUT_OF_DOMAIN)
    assert float(voices.speech.min()) > 0 > float(others.speech.max())
    assert float(voices.in_domain.mean()) > 0.95


def test_a_clip_need_be_of_one_domain_only_and_what_lies_between_counts_in_part():
    rng = np.random.default_rng(0)
    known = OutOfDomain(domains=2, numbers=40, axes=4)
    axes_of = [rng.normal(0, 1, (4, 40)) for _ in range(2)]

    def clips(domain, noise=0.1):
        own = rng.normal(0, 1, (300, 4)) @ axes_of[domain] + 20 * domain
        return torch.from_numpy((own + rng.normal(0, noise, own.shape)).astype(np.float32))

    for domain in range(2):
        known.learn(domain, clips(domain))
    for domain in range(2):
        assert float(known(clips(domain)).mean()) > 0.98
    assert float(known(clips(0, noise=2.0)).mean()) == pytest.approx(OUT_OF_DOMAIN)
    between = known(clips(0, noise=0.13))
    assert OUT_OF_DOMAIN < float(between.min()) < float(between.max()) and RAMP > 0


def test_no_weight_of_the_language_model_changes_and_the_losses_fall():
    models = frozen()
    before = fingerprint(models.language.network)
    made = trained()
    assert fingerprint(models.language.network) == before
    assert all(weight.grad is None for weight in models.language.network.parameters())
    for log, name, share in (
        (made.aligned, "states", 0.9),
        (made.aligned, "functionals", 0.9),
        (made.spoken, "loss", 1.0),
    ):
        assert log[-1][name] < share * log[0][name]


class StopError(Exception):
    """Ends a training at a step."""


def test_a_training_that_is_stopped_in_every_part_goes_on_to_the_same_bytes(tmp_path):
    for part, step in (("align", 45), ("speak", 10), ("write", 5)):

        def stop(*now, last=(part, step)):
            if (now[0], now[1]["step"]) == last:
                raise StopError

        with pytest.raises(StopError):
            train_instructor(bank(), sounds(), frozen(), SETTINGS, tmp_path, progress=False, on_log=stop)
    made = train_instructor(bank(), sounds(), frozen(), SETTINGS, tmp_path, progress=False)
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


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"lora": 0, "adapters": [], "words": False}, None),
        ({"lora": 8}, "LoRA"),
        ({"adapters": [["q_proj.lora_A", 8, 6]]}, "LoRA"),
        ({"words": True}, "transcript in the prompt"),
    ],
)
def test_older_weights_are_read_where_they_ask_for_nothing_that_is_no_more(tmp_path, fields, named):
    model, path = trained().model, tmp_path / "i.safetensors"
    shape = {**model.shape.model_dump(by_alias=True), **fields}
    save_weights(model, path, {"format": 1, "kind": "instructor", "shape": shape, "about": {}})
    if named is None:
        assert load_instructor_model(path).shape == model.shape
        return
    with pytest.raises(InputError, match=f"trained with .*{named}.*, which is supported no more"):
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
        own = next(view for view in views if np.array_equal(view.functionals, made.functionals))
        rows = {row.tobytes() for row in own.states[0]}
        assert all(row.tobytes() in rows for row in made.states[0])
        assert len(made.contour) == made.states.shape[1] >= 16
        lengths.add(len(made.contour))
    assert len(lengths) > 5


def test_without_functionals_and_out_of_domain_score_only_the_states_count(tmp_path):
    quick = SETTINGS.align.model_copy(update={"steps": 4})
    settings = SETTINGS.model_copy(update={"functionals": False, "out_of_domain": False, "align": quick})
    model, log = align(bank(), sounds(), frozen(), settings, tmp_path, progress=False)
    assert "functionals" not in log[-1]
    clip = example_features("sad", 3, 7)
    other = clip._replace(functionals=clip.functionals + 5)
    with torch.no_grad():
        first, second = (model.align(model.embed_speech(stack([each]))) for each in (clip, other))
    torch.testing.assert_close(first, second)


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


def test_without_contrast_writing_alone_trains_the_acoustic_part(tmp_path):
    write = SETTINGS.write.model_copy(update={"steps": 2})
    settings = SETTINGS.model_copy(update={"contrast": False, "write": write})
    plain, log = align(bank(), sounds(), frozen(), settings, tmp_path, progress=False)
    before, language = fingerprint(plain.qformer), fingerprint(frozen().language.network)
    whole = train_instructor(bank(), sounds(), frozen(), settings, tmp_path / "whole", progress=False)
    assert log == [] and whole.aligned == [] and len(whole.written) == 2
    assert fingerprint(whole.model.qformer) != before and fingerprint(frozen().language.network) == language
    save_instructor_model(whole.model, tmp_path / "weights.safetensors")
    assert load_instructor_model(tmp_path / "weights.safetensors").shape == whole.model.shape


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


def test_every_labelled_clip_is_encoded_as_it_is_and_augmented_and_some_can_be_taken(mirrored, tmp_path):
    bank = make_feature_bank([performed()], "mirror", views=3, seed=0, folder=tmp_path, progress=False)
    clips = [clip for clip in performed().clips if clip.emotion]
    assert [clip.name for clip in bank.clips] == [clip.clip for clip in clips]
    assert all(len(views) == 3 for views in bank.views)
    for views, clip in zip(bank.views, clips, strict=True):
        assert len(views[0].contour) == pytest.approx(clip.duration_s * 25, abs=1)
        assert not np.array_equal(views[0].functionals, views[1].functionals)
    assert len(mirrored) == 3 * len(clips)
    few = bank.select([number % 2 == 0 for number in range(len(bank))])
    assert few.clips == bank.clips[::2] and few.digest != bank.digest
    with pytest.raises(InputError, match="clips with sound and an emotion"):
        make_feature_bank([recorded()], "mirror", 1, 0, tmp_path, progress=False)


def test_what_was_encoded_is_kept_and_a_damaged_file_is_made_again(mirrored, tmp_path):
    first = make_feature_bank([performed()], "mirror", 1, 0, tmp_path, progress=False)
    mirrored.clear()
    again = make_feature_bank([performed()], "mirror", 1, 0, tmp_path, progress=False)
    assert not mirrored and again.digest == first.digest
    for one, two in zip(first.views, again.views, strict=True):
        assert all(np.array_equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-64])
    make_feature_bank([performed()], "mirror", 1, 0, tmp_path, progress=False)
    assert mirrored
    mirrored.clear()
    other = make_feature_bank([performed()], "mirror", 1, 1, tmp_path, progress=False)
    assert mirrored and other.digest != first.digest


def test_a_sound_that_is_gone_is_named(mirrored, tmp_path, in_one_process):
    write_table_corpus(tmp_path / "raw", talkers(speakers=2, clips=1))
    prepare("table", tmp_path / "raw", tmp_path / "prepared", PrepareSettings(encoder="still"), progress=False)
    corpus = Corpus(tmp_path / "prepared")
    corpus.sound(corpus.clips[0]).unlink()
    with pytest.raises(InputError, match="the sound of every clip"):
        make_feature_bank([corpus], "mirror", 1, 0, tmp_path / "kept", progress=False)
