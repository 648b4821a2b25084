"""Several prepared corpora as one: which clips are taken, how often, and what does not go together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from talking_corpora import flame, performed, recorded

from avi_lib.corpus.dataset import Corpus, Mixture, held_out, shared_voices
from avi_lib.errors import InputError


def named(mixture: Mixture) -> Counter:
    return Counter(item.clip.clip for item in mixture.items)


class Renamed(Corpus):
    """The same corpus, described otherwise."""

    def __init__(self, folder: Path, **changes: object) -> None:
        super().__init__(folder)
        self.description |= changes


def test_a_clip_comes_as_often_as_it_holds_the_frames_asked_for_and_each_split_has_its_own_speakers():
    mixture = Mixture.of([performed()], split="train", frames=25)
    frames = {clip.clip: clip.frames for clip in performed().select(split="train")}
    assert named(mixture) == {clip: max(1, count // 25) for clip, count in frames.items()}
    assert named(mixture)["s0-0"] == 3
    assert set(named(Mixture.of([performed()], split="train", frames=100)).values()) == {1}
    speakers = [
        {item.clip.speaker for item in Mixture.of([performed()], split=split, frames=25).items}
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == 4
    short = Mixture.of([recorded()], split="train", frames=25, shortest=55)
    assert named(short) == {"anna/wide": 2} and [item.clip.clip for item in short.real] == ["anna/wide"]


def test_real_motion_is_recorded_motion_with_sound_or_without_and_only_what_sounds_is_an_item():
    mixture = Mixture.of([performed(), recorded()], split="train", frames=25)
    assert {item.clip.clip for item in mixture.real} == {"anna/mute", "anna/plain", "anna/wide"}
    assert all(item.corpus is not performed() for item in mixture.real)
    assert "anna/mute" not in named(mixture)
    assert named(mixture)["anna/plain"] == 2
    assert {item.clip.clip for item in mixture.items if item.real} == {"anna/plain", "anna/wide"}
    assert (mixture.space.name, mixture.features) == ("ARKIT", 2)
    assert Mixture.of([performed()], split="train", frames=25).real == ()


def test_a_recording_that_is_left_out_is_no_item_no_real_motion_and_nobodys_partner():
    whole = Mixture.of([performed(), recorded()], split="train", frames=25)
    part = Mixture.of([performed(), recorded()], split="train", frames=25, without=["s1-0", "anna/plain"])
    assert named(whole) - named(part) == {"s1-0": 1, "anna/plain": 2}
    assert {item.clip.clip for item in part.real} == {"anna/mute", "anna/wide"}
    partners = {item.clip.clip: {clip.clip for clip in part.partners(item)} for item in part.items}
    assert partners["s0-0"] == {"s0-2"}
    assert "s1-0" in {clip.clip for item in whole.items for clip in whole.partners(item)}
    assert partners["anna/wide"] == set()


@pytest.mark.parametrize(
    ("corpora", "options", "words"),
    [
        ([recorded], {"split": "validation"}, r"validation; got none in .*recorded"),
        ([recorded], {"without": ["anna/plain", "anna/wide"]}, "in the split train; got none"),
        ([], {}, "at least one prepared corpus"),
        ([performed, flame], {}, r"ARKIT; got FLAME in .*flame"),
        ([performed], {"without": ["s9-9", "s0-0", "nobody"]}, "nobody, s9-9"),
    ],
)
def test_what_is_not_there_or_does_not_go_together_is_named(corpora, options, words):
    with pytest.raises(InputError, match=words):
        Mixture.of([corpus() for corpus in corpora], **({"split": "train", "frames": 25} | options))


@pytest.mark.parametrize(
    "changes", [{"fps": 30.0}, {"features": {"name": "other"}}, {"features": {"fingerprint": "1"}}]
)
def test_corpora_of_another_rate_or_encoder_or_build_of_it_are_refused(changes):
    changes = {
        key: performed().description[key] | new if isinstance(new, dict) else new for key, new in changes.items()
    }
    with pytest.raises(InputError, match=rf"corpora with {next(iter(changes))} .*recorded"):
        Mixture.of([performed(), Renamed(recorded().folder, **changes)], split="train", frames=25)


def test_clips_are_held_out_when_neither_their_voice_nor_their_words_were_trained_on(monkeypatch):
    corpus = performed()
    clips = corpus.select(split="test")
    trained_on = [replace(clip, text="Everybody said this.") for clip in corpus.select(split="train")]
    fresh = [replace(clip, text="Nobody said this.") for clip in clips]
    monkeypatch.setattr(corpus, "clips", trained_on + fresh)
    assert {item.clip.clip for item in held_out([corpus])} == {clip.clip for clip in clips if corpus.partners(clip)}
    monkeypatch.setattr(corpus, "clips", trained_on + [replace(clip, text=trained_on[0].text) for clip in clips])
    with pytest.raises(InputError, match="whose speaker and words are held out"):
        held_out([corpus])
    assert len(held_out([corpus], known_words=True)) == sum(bool(corpus.partners(clip)) for clip in clips)


def test_a_voice_that_another_corpus_holds_out_is_named_for_leaving_out():
    corpus, other = performed(), Renamed(performed().folder)
    test = corpus.select(split="test")[0]
    trained = corpus.select(split="train")[0]
    other.clips = [replace(trained, recording="other", speaker=test.speaker, language=test.language)]
    assert shared_voices([corpus, other]) == {"other"}
    assert shared_voices([corpus]) == frozenset()
