"""The feature bank: labels, views, and what is kept by content."""

from __future__ import annotations

import numpy as np
import pytest
from raw_corpora import talkers, write_table_corpus
from small_instructors import Mirror
from talking_corpora import performed, recorded

from avi_lib.errors import InputError
from avi_lib.training import instructor_data as module
from avi_lib.training.instructor_data import make_feature_bank


@pytest.fixture
def mirrored(monkeypatch):
    encoded = []
    monkeypatch.setattr(module, "load_encoder", lambda name: Mirror())
    monkeypatch.setattr(module, "ALONE", 10_000)
    real = module.acoustic_features
    monkeypatch.setattr(
        module, "acoustic_features", lambda wave, encoder: encoded.append(len(wave)) or real(wave, encoder)
    )
    return encoded


def test_every_labelled_clip_is_encoded_as_it_is_and_augmented(mirrored, tmp_path):
    bank = make_feature_bank([performed()], "mirror", views=3, seed=0, folder=tmp_path, progress=False)
    clips = [clip for clip in performed().clips if clip.emotion]
    assert [clip.name for clip in bank.clips] == [clip.clip for clip in clips]
    assert all(len(views) == 3 for views in bank.views)
    for views, clip in zip(bank.views, clips, strict=True):
        assert len(views[0].contour) == pytest.approx(clip.duration_s * 25, abs=1)
        assert not np.array_equal(views[0].functionals, views[1].functionals)
    assert len(mirrored) == 3 * len(clips)


def test_what_was_encoded_is_kept_and_a_damaged_file_is_made_again(mirrored, tmp_path):
    first = make_feature_bank([performed()], "mirror", 2, 0, tmp_path, progress=False)
    mirrored.clear()
    again = make_feature_bank([performed()], "mirror", 2, 0, tmp_path, progress=False)
    assert not mirrored and again.digest == first.digest
    for one, two in zip(first.views, again.views, strict=True):
        assert all(np.array_equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-64])
    make_feature_bank([performed()], "mirror", 2, 0, tmp_path, progress=False)
    assert mirrored
    mirrored.clear()
    other = make_feature_bank([performed()], "mirror", 2, 1, tmp_path, progress=False)
    assert mirrored and other.digest != first.digest


def test_some_clips_can_be_taken(mirrored, tmp_path):
    bank = make_feature_bank([performed()], "mirror", 1, 0, tmp_path, progress=False)
    few = bank.select([number % 2 == 0 for number in range(len(bank))])
    assert few.clips == bank.clips[::2] and few.digest != bank.digest


def test_without_labels_there_is_nothing_to_encode(mirrored, tmp_path):
    with pytest.raises(InputError, match="clips with sound and an emotion"):
        make_feature_bank([recorded()], "mirror", 1, 0, tmp_path, progress=False)


def test_a_sound_that_is_gone_is_named(mirrored, tmp_path, in_one_process):
    from avi_lib.corpus.dataset import Corpus
    from avi_lib.corpus.prepare import prepare
    from avi_lib.settings import PrepareSettings

    write_table_corpus(tmp_path / "raw", talkers(speakers=2, clips=1))
    prepare("table", tmp_path / "raw", tmp_path / "prepared", PrepareSettings(encoder="still"), progress=False)
    corpus = Corpus(tmp_path / "prepared")
    sound = corpus.sound(corpus.clips[0])
    sound.unlink()
    with pytest.raises(InputError, match="the sound of every clip"):
        make_feature_bank([corpus], "mirror", 1, 0, tmp_path / "kept", progress=False)
