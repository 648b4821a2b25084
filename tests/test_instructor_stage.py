"""Training the instructor: what is aligned with what, what stays frozen, going on, and what was learned."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from small_instructors import FELT, SETTINGS, bank, example_features, frozen, sounds, trained
from small_priors import Letters

from avi_lib.errors import InputError
from avi_lib.evaluation.instructor_scores import Classification, by_emotion, level_agreement, nearest, recall
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
from avi_lib.training.checkpoint import about_training
from avi_lib.training.instructor import (
    AlignLosses,
    align,
    balanced,
    drawn_logits,
    fitting,
    info_nce,
    sentence_states,
    speak,
    train_instructor,
    varied,
)
from avi_lib.training.instructor_data import BankClip
from avi_lib.weights import fingerprint, save_weights
from tools.benchmarks.folds import folds


def digest(network):
    parts = [value.numpy().tobytes() for value in network.state_dict().values()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_the_trained_network_knows_clips_it_was_not_trained_on():
    model = trained().model
    clips = [(emotion, level, seed) for emotion in FELT for level in FELT[emotion] for seed in range(900, 906)]
    shares = nearest(model, [example_features(*clip) for clip in clips])
    found = Classification(by_emotion(shares), tuple(emotion for emotion, _, _ in clips))
    assert found.accuracy > 0.85
    predicted = [EMOTION_CLASSES[number] for number in shares.argmax(axis=1)]
    meant = [BankClip("", "", "", "", emotion, level) for emotion, level, _ in clips]
    assert level_agreement(predicted, meant) > 0.65


def test_what_is_no_speech_is_told_from_speech():
    model = trained().model
    with torch.no_grad():
        voices = model.embed_speech(stack([views[0] for views in bank().views])).speech
        others = model.embed_speech(stack(sounds())).speech
    assert float(voices.min()) > 0 > float(others.max())


def test_strange_states_count_less_and_the_more_the_stranger():
    model = trained().model
    with torch.no_grad():
        usual = model.embed_speech(stack([views[0] for views in bank().views])).in_domain
    assert float(usual.mean()) > 0.95
    rng = np.random.default_rng(0)
    strange = example_features("sad", 2, 1)
    far = strange._replace(states=(strange.states + rng.normal(0, 20, strange.states.shape)).astype(np.float16))
    with torch.no_grad():
        assert float(model.embed_speech(stack([far])).in_domain[0]) == pytest.approx(OUT_OF_DOMAIN)


def test_a_clip_need_be_of_one_domain_only_and_what_lies_between_counts_in_part():
    rng = np.random.default_rng(0)
    known = OutOfDomain(domains=2, numbers=40, axes=4)
    worlds = [rng.normal(0, 1, (4, 40)) for _ in range(2)]

    def clips(domain, noise=0.1):
        own = rng.normal(0, 1, (300, 4)) @ worlds[domain] + 20 * domain
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
    before = digest(models.language.network)
    made = trained()
    assert digest(models.language.network) == before
    assert all(weight.grad is None for weight in models.language.network.parameters())
    for log, name, share in (
        (made.aligned, "states", 0.9),
        (made.aligned, "functionals", 0.9),
        (made.spoken, "loss", 1.0),
    ):
        assert log[-1][name] < share * log[0][name]


class StopError(Exception):
    """Ends a training at a step."""


@pytest.mark.parametrize(("part", "step"), [("align", 45), ("speak", 10), ("write", 5)])
def test_a_training_that_is_stopped_goes_on_to_the_same_bytes(part, step, tmp_path):
    def stop(now, line):
        if (now, line["step"]) == (part, step):
            raise StopError

    with pytest.raises(StopError):
        train_instructor(bank(), sounds(), frozen(), SETTINGS, tmp_path / "run", progress=False, on_log=stop)
    made = train_instructor(bank(), sounds(), frozen(), SETTINGS, tmp_path / "run", progress=False)
    assert fingerprint(made.model) == fingerprint(trained().model)


def test_the_first_projection_depends_on_no_clip_and_are_shared(tmp_path):
    made = trained()
    prompter, _ = speak(frozen().language, made.model.shape, SETTINGS, tmp_path / "speak", progress=False)
    assert not prompter.place.weight.any(), "before writing the place itself tells nothing"
    again, _ = speak(frozen().language, made.model.shape, SETTINGS, tmp_path / "speak", progress=False)
    assert fingerprint(again) == fingerprint(prompter)


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
    ("field", "value", "named"),
    [("lora", 8, "LoRA"), ("adapters", [["q_proj.lora_A", 8, 6]], "LoRA"), ("words", True, "transcript in the prompt")],
)
def test_older_weights_are_read_where_they_ask_for_nothing_that_is_no_more(tmp_path, field, value, named):
    model, path = trained().model, tmp_path / "i.safetensors"
    for content, asks in ({"lora": 0, "adapters": [], "words": False}, False), ({field: value}, True):
        shape = {**model.shape.model_dump(by_alias=True), **content}
        save_weights(model, path, {"format": 1, "kind": "instructor", "shape": shape, "about": {}})
        if asks:
            with pytest.raises(InputError, match=f"trained with .*{named}.*, which is supported no more"):
                load_instructor_model(path)
        else:
            assert load_instructor_model(path).shape == model.shape


def test_a_clip_fits_the_sentences_of_its_class_and_both_upper_levels_where_its_level_is_not_known():
    def names(emotion, level):
        return [EMOTION_CLASSES[n] for n in fitting(BankClip("", "", "", "", emotion, level))]

    assert names("angry", 3) == [EmotionClass("angry", 3)]
    assert names("angry", None) == [EmotionClass("angry", 2), EmotionClass("angry", 3)]
    assert names("calm", None) == names("calm", 1) == [EmotionClass("calm", 1)]


def test_info_nce_is_the_contrast_of_what_fits_with_the_rest():
    likeness = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    fits = torch.tensor([[True, False, False], [False, True, True]])
    shares = likeness.softmax(dim=1)
    expected = -(shares[0, 0].log() + (shares[1, 1] + shares[1, 2]).log()) / 2
    assert float(info_nce(likeness, fits, 0.0)) == pytest.approx(float(expected), abs=1e-6)
    assert float(info_nce(likeness, fits, 0.2)) > float(expected)


def test_emotions_come_alike_often_within_a_corpus_and_corpora_by_the_root_of_their_size():
    clips = [BankClip(f"a{n}", "a", "s", "train", "sad" if n < 60 else "happy", 2) for n in range(64)]
    clips += [BankClip(f"b{n}", "b", "s", "train", "sad", 2) for n in range(16)]
    counts = np.bincount(balanced(clips, 1200), minlength=len(clips))
    assert counts[:60].sum() == pytest.approx(400, abs=4) and counts[60:64].sum() == pytest.approx(400, abs=4)
    assert counts[64:].sum() == pytest.approx(400, abs=4)
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


def test_logits_are_drawn_from_their_stream_and_many_are_decided():
    first, again = (drawn_logits(200, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first, again)
    top = first.softmax(dim=1).max(dim=1).values
    assert float((top > 0.9).float().mean()) > 0.2 and float((top < 0.5).float().mean()) > 0.1


def test_folds_part_speakers_and_hold_out_every_clip_once():
    whole = bank()
    held = []
    for learned, out in folds(whole, 4):
        for corpus in ("labelled", "unlabelled"):
            inside, outside = (
                {clip.speaker for clip in part.clips if clip.corpus == corpus} for part in (learned, out)
            )
            assert inside and outside and not inside & outside
        held += [clip.name for clip in out.clips]
    assert sorted(held) == sorted(clip.name for clip in whole.clips)


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


def test_sentences_of_all_classes_lie_in_the_space_that_is_shared():
    sentences = sentence_states(Letters(), 3)
    assert sentences.shape[:2] == (len(EMOTION_CLASSES), 3)
    assert trained().model.anchors.shape == (len(EMOTION_CLASSES), SETTINGS.aligned)
    losses = AlignLosses(bank(), sounds(), sentences, SETTINGS)
    assert losses.fits.sum(dim=1).tolist() == [len(fitting(clip)) for clip in bank().clips]


def test_without_contrast_writing_alone_trains_the_acoustic_part_and_goes_on_to_the_same_bytes(tmp_path):
    write = SETTINGS.write.model_copy(update={"steps": 4, "save_every": 2})
    settings = SETTINGS.model_copy(update={"contrast": False, "write": write})
    plain, log = align(bank(), sounds(), frozen(), settings, tmp_path, progress=False)
    before, language = digest(plain.qformer), digest(frozen().language.network)
    whole = train_instructor(bank(), sounds(), frozen(), settings, tmp_path / "whole", progress=False)
    assert log == [] and whole.aligned == [] and len(whole.written) == 4
    assert digest(whole.model.qformer) != before and digest(frozen().language.network) == language

    def stop(part, line):
        if (part, line["step"]) == ("write", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_instructor(bank(), sounds(), frozen(), settings, tmp_path / "cut", progress=False, on_log=stop)
    again = train_instructor(bank(), sounds(), frozen(), settings, tmp_path / "cut", progress=False)
    assert digest(again.model) == digest(whole.model)
    save_instructor_model(again.model, tmp_path / "weights.safetensors")
    assert load_instructor_model(tmp_path / "weights.safetensors").shape == again.model.shape
