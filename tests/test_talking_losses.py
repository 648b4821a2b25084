"""Training the generator: its losses, its batches and mixtures of corpora."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from talking_corpora import flame, performed, recorded

from avi_lib.corpus.dataset import Corpus, Item, Mixture, held_out, shared_voices
from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME
from avi_lib.motion.generator import valid_frames
from avi_lib.motion.performer import IDLE_GROUPS
from avi_lib.settings import TalkingSettings
from avi_lib.training.generator import (
    CLOSED_MM,
    FACE_REGIONS,
    FAINT,
    MM,
    MotionBatch,
    MotionError,
    Scale,
    _part,
    _shown_by,
    _take,
    content_loss,
    draw,
    draw_unlabelled,
    motion_error,
    motion_losses,
)

JAW = ARKIT.index("jawOpen")


@pytest.fixture(scope="module")
def error() -> MotionError:
    return motion_error(ARKIT)


def clips(count: int = 3, frames: int = 40, channels: int = len(ARKIT)) -> tuple[torch.Tensor, torch.Tensor]:
    """Motion that wanders between 0.3 and 0.7, and which frames of it are there."""
    times = torch.arange(frames)[:, None] / 7
    phases = torch.rand(count, 1, channels, generator=torch.Generator().manual_seed(3)) * 6
    valid = valid_frames(torch.tensor([frames, *[frames - 10] * (count - 1)]), frames)
    return (0.5 + 0.2 * torch.sin(times + phases)) * valid[..., None], valid


def everywhere(motion: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(motion), motion.shape[2], dtype=torch.bool)


def values(losses: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


@pytest.mark.parametrize("space", [ARKIT, FLAME], ids=lambda space: space.name)
def test_the_truth_costs_nothing_and_a_guess_of_the_mean_costs_one(space, error):
    error = error if space is ARKIT else motion_error(FLAME)
    motion, valid = clips(channels=len(space))
    present = everywhere(motion)
    present[1, 5:15] = False
    motion = motion * present[:, None]
    scale = Scale.of(error, motion, present, valid)
    exact = values(motion_losses(error, scale, motion, motion, present, valid, closed=1.0))
    count = (valid[..., None] & present[:, None]).sum(dim=(0, 1))
    mean = (motion.sum(dim=(0, 1)) / count).expand_as(motion)
    guessed = values(motion_losses(error, scale, mean, motion, present, valid, closed=1.0))
    assert exact.keys() == {*error.factors, "velocity"} | ({"gap"} if space is ARKIT else set())
    assert set(exact.values()) == {0.0}
    assert guessed == pytest.approx(dict.fromkeys(guessed, 1.0), rel=1e-4)


def test_missing_channels_padding_and_a_constant_errors_velocity_have_no_part(error):
    motion, valid = clips()
    present = everywhere(motion)
    present[0, JAW] = False
    scale = Scale.of(error, motion, present, valid)
    guess = (motion + 0.1) * valid[..., None]  # a jump at the end of a clip
    before = values(motion_losses(error, scale, guess, motion, present, valid, closed=3.0))
    assert before["velocity"] < 1e-6
    guess[0, :, JAW], guess[1:, 30:] = 9.0, 9.0
    assert values(motion_losses(error, scale, guess, motion, present, valid, closed=3.0)) == pytest.approx(before)
    dirty = motion.clone()
    dirty[1:, 30:] = 9.0
    padded = Scale.of(error, dirty, present, valid)
    assert padded.position == pytest.approx(scale.position, rel=1e-5)
    assert padded.velocity == pytest.approx(scale.velocity, rel=1e-5)
    assert padded.gap == pytest.approx(scale.gap, rel=1e-5)
    still = torch.zeros_like(motion)
    rest = Scale.of(error, still, present, valid)
    assert {*rest.position.values(), *rest.velocity.values(), rest.gap} == {1e-6}, "a region at rest has a scale, too"


def test_frames_with_closed_lips_count_as_often_as_asked_for_the_gap_alone(error):
    shut, apart = torch.zeros(1, 20, len(ARKIT)), torch.zeros(1, 20, len(ARKIT))
    apart[..., JAW] = 0.5
    assert (apart @ error.gap).min() > CLOSED_MM
    valid = torch.ones(1, 20, dtype=torch.bool)
    scale = Scale(dict.fromkeys(error.factors, 1.0), dict.fromkeys(error.factors, 1.0), 1.0)
    wrong = torch.zeros(len(ARKIT))
    wrong[JAW] = 0.1
    costs = {
        (name, closed): motion_losses(error, scale, true + wrong, true, everywhere(true), valid, closed)
        for name, true in (("shut", shut), ("apart", apart))
        for closed in (1.0, 3.0)
    }
    assert costs["apart", 3.0]["gap"].item() == pytest.approx(costs["shut", 1.0]["gap"].item(), rel=1e-4)
    assert costs["shut", 3.0]["gap"].item() == pytest.approx(3 * costs["shut", 1.0]["gap"].item(), rel=1e-4)
    assert costs["shut", 3.0]["lips"].item() == costs["shut", 1.0]["lips"].item()


def test_losses_are_float32_under_autocast_and_those_without_it(error):
    motion, valid = clips()
    present = everywhere(motion)
    scale = Scale.of(error, motion, present, valid)
    guess = (motion + 0.05 * torch.randn(motion.shape, generator=torch.Generator().manual_seed(1))).bfloat16()
    plain = values(motion_losses(error, scale, guess, motion, present, valid, 3.0))
    with torch.autocast("cpu", torch.bfloat16):
        cast = motion_losses(error, scale, guess, motion, present, valid, 3.0)
        kept = content_loss(error, guess, motion, valid)
    assert {loss.dtype for loss in (*cast.values(), kept)} == {torch.float32}
    assert values(cast) == plain
    assert kept.item() == content_loss(error, guess, motion, valid).item()


def test_content_is_kept_by_a_scaled_gap_and_lost_by_an_inverted_one(error):
    motion, valid = torch.zeros(2, 40, len(ARKIT)), valid_frames(torch.tensor([40, 25]), 40)
    motion[..., JAW] = 0.3 + 0.2 * torch.sin(torch.arange(40) / 3)
    other = motion.clone()
    other[1, 25:] = 7.0
    mean = motion[..., JAW].mean()
    for factor, expected in ((0.5, 0.0), (2.0, 0.0), (-1.0, 2.0)):
        other[0, :, JAW] = mean + factor * (motion[0, :, JAW] - mean)
        other[1, :25, JAW] = mean + factor * (motion[1, :25, JAW] - mean)
        assert content_loss(error, other, motion, valid).item() == pytest.approx(expected, abs=1e-3)
    assert 0.2 < content_loss(error, motion.roll(10, dims=1), motion, valid).item() < 2
    still = torch.zeros_like(motion, requires_grad=True)
    lost = content_loss(error, still, motion, valid)
    assert lost.item() == pytest.approx(1.0)
    lost.backward()
    assert still.grad.isfinite().all()
    flame, there = clips(channels=len(FLAME))
    assert content_loss(motion_error(FLAME), -flame, flame, there).item() == 0, "a space without a mesh"


GAZE = list(ARKIT.groups["gaze"])


def changes(frames: int = 6) -> np.ndarray:
    """Changes of every weight but the gaze's, whose eyeballs turn and are not displaced straight."""
    values = np.random.default_rng(0).normal(0, 0.3, (frames, len(ARKIT))).astype(np.float32)
    values[:, GAZE] = 0.0
    return values


def test_the_form_is_the_mean_squared_displacement_of_each_regions_vertices_and_the_gap_the_heads(head, error):
    change = changes()
    weights = change.copy()
    weights[:, list(ARKIT.groups["head"])] = 0.0
    moved_mm = MM * (head.deform(weights) - head.deform(np.zeros((1, len(ARKIT)), np.float32))).astype(np.float64)
    faint = FAINT * np.square(weights[:, : len(ARKIT_BLENDSHAPES)]).sum(axis=1)
    squared = error.squared(torch.from_numpy(change))
    for region in FACE_REGIONS:
        expected = np.square(moved_mm[:, head.regions[region]]).sum(axis=2).mean(axis=1) + faint
        assert squared[region].numpy() == pytest.approx(expected, rel=2e-3), region
    assert error.gap is not None
    gap = (torch.from_numpy(change) @ error.gap).numpy()
    assert gap == pytest.approx(MM * head.lip_gap(change), abs=1e-3) and np.abs(gap).max() > 1


def test_a_channel_counts_where_it_moves_the_face_and_a_little_everywhere(error):
    alone = error.squared(torch.eye(len(ARKIT)))
    shapes, turns = slice(len(ARKIT_BLENDSHAPES)), list(ARKIT.groups["head"])
    for region in FACE_REGIONS:
        assert alone[region][shapes].min() > 0.99 * FAINT and not alone[region][turns].any()
    assert alone["head"][turns].min() > 0 and not alone["head"][shapes].any()
    brow = ARKIT.index("browInnerUp")
    assert alone["upper_face"][brow] > 20 * alone["lips"][brow]
    assert alone["lips"][JAW] > 20 * alone["upper_face"][JAW]


def test_flames_errors_are_sums_of_squared_coefficients():
    error = motion_error(FLAME)
    change = torch.arange(len(FLAME), dtype=torch.float32)[None]
    squared = {region: value.item() for region, value in error.squared(change).items()}
    assert error.gap is None
    assert squared == {
        "face": sum(i * i for i in range(50)),
        "lips": 50**2 + 51**2 + 52**2,
        "head": 53**2 + 54**2 + 55**2,
    }


def test_every_channel_can_be_counted_in_units_of_its_deviation_beside_the_regions(error):
    deviation = torch.linspace(0.05, 0.5, len(ARKIT))
    wider = motion_error(ARKIT, deviation)
    assert wider.factors.keys() == error.factors.keys() | {"channels"}
    squared = wider.squared(torch.diag(deviation))
    assert squared["channels"].numpy() == pytest.approx(np.ones(len(ARKIT)), rel=1e-5)
    assert torch.equal(squared["lips"], error.squared(torch.diag(deviation))["lips"])
    assert "channels" not in error.factors


# Batches


IDLE = sorted(channel for group in IDLE_GROUPS for channel in ARKIT.groups[group])
PLAIN = {"frames": 25, "style_frames": 30, "exchanged": 1.0, "mixed": 0.0, "partial": 0.0, "fresh": 0.0}


def settings(**changes: object) -> TalkingSettings:
    return TalkingSettings.model_validate(PLAIN | changes)


def mixed(*corpora: Corpus, without: tuple[str, ...] = ()) -> Mixture:
    return Mixture.of(list(corpora or (performed(), recorded())), split="train", frames=25, without=without)


def of(mixture: Mixture, name: str) -> Item:
    return next(item for item in mixture.items if item.clip.clip == name)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(*batches: MotionBatch) -> bytes:
    return b"".join(value.numpy().tobytes() for batch in batches for value in batch if value is not None)


def places(corpus: Corpus, name: str, part: np.ndarray, idle: bool | None = False) -> set[tuple[str, int]]:
    """Names of scripts and starts at which a part of a clip's motion, with idle behaviour or without, is this one."""
    clip = corpus.clip(name)
    found = set()
    for number, start in product(range(len(clip.scripts)), range(clip.frames - len(part) + 1)):
        values = corpus.motion(clip, number)[start : start + len(part)].astype(np.float32)
        added = corpus.idle(clip, number)[start : start + len(part)].astype(np.float32)
        if np.abs(values + idle * added - part).max() < 1e-3:
            found.add((clip.scripts[number], start))
    return found


def test_the_style_is_shown_by_a_partner_and_the_answer_is_the_clips_own_performance_of_that_script():
    corpus, mixture = performed(), mixed(performed())
    shown_by, starts = set(), set()
    for seed in range(12):
        item = of(mixture, "s1-1")
        spoken, shown = draw(mixture, [item], settings(), rng(seed))
        answers = places(corpus, "s1-1", spoken.motion[0].numpy())
        (start,) = {start for _, start in answers}
        own = corpus.features(item.clip)[2 * start : 2 * start + 50].astype(np.float32)
        assert (spoken.features[0].numpy() == own).all(), "features begin where the motion does"
        starts.add(start)
        seen = shown.motion[0, : int(shown.valid.sum())].numpy()
        showing = {
            (partner.clip, script)
            for partner, idle in product(corpus.partners(item.clip), (False, True))
            for script, _ in places(corpus, partner.clip, seen, idle)
        }
        assert {script for script, _ in answers} & {script for _, script in showing}
        assert not places(corpus, "s1-1", seen[:25], False) | places(corpus, "s1-1", seen[:25], True)
        shown_by |= {name for name, _ in showing}
    assert shown_by == {"s0-1", "s1-2"}
    assert len(starts) > 3


def test_without_exchange_a_clip_shows_its_own_style_with_idle_behaviour_in_half_and_what_is_left_out_shows_none():
    corpus, everyone, without = performed(), mixed(performed()), mixed(performed(), without=("s0-1",))
    with_idle = 0
    for seed in range(16):
        for mixture, name, exchanged in ((everyone, "s1-2", 0.0), (without, "s1-1", 1.0)):
            spoken, shown = draw(mixture, [of(mixture, name)], settings(exchanged=exchanged), rng(seed))
            idle = bool(places(corpus, "s1-2", shown.motion[0].numpy(), idle=True))
            assert idle or places(corpus, "s1-2", shown.motion[0].numpy())
            assert places(corpus, name, spoken.motion[0].numpy()), "no answer holds idle behaviour"
            with_idle += idle
    assert 6 <= with_idle <= 26


def test_mixed_performances_have_the_same_shares_in_the_style_and_in_the_answer():
    corpus, mixture, drawn = performed(), mixed(performed()), []
    item = of(mixture, "s1-1")
    for seed in range(8):
        take = _take(item, mixture.space, settings(mixed=1.0), rng(seed))
        shows = _shown_by(mixture, take, settings(mixed=1.0), rng(seed))
        (first, share), (second, rest) = take.motions
        assert first != second and np.array_equal(share + rest, np.ones(len(ARKIT), np.float32))
        assert shows.motions is take.motions and shows.item.clip.clip in {"s0-1", "s1-2"}
        drawn += [share[list(group)] for group in mixture.space.groups.values()]
        motion = _part(take, 500, rng())[1]
        numbers = [corpus.number(item.clip, name) for name in (first, second)]
        whole = [corpus.motion(item.clip, number).astype(np.float32) for number in numbers]
        np.testing.assert_allclose(motion, share * whole[0] + rest * whole[1], atol=1e-6)
    assert all(np.ptp(each) == 0 for each in drawn), "a group has one share"
    assert 0 < sum(each[0] in (0, 1) for each in drawn) < len(drawn)


def test_idle_channels_of_real_motion_are_no_answer_but_may_show_a_style():
    mixture = mixed()
    spoken, shown = draw(mixture, [of(mixture, "anna/wide"), of(mixture, "s0-1")], settings(), rng())
    there = recorded().present(recorded().clip("anna/wide"))
    assert there[IDLE].any()
    assert not spoken.present[0, IDLE].any()
    assert (spoken.present[0].numpy() == np.where(np.isin(np.arange(55), IDLE), False, there)).all()
    assert (shown.present[0].numpy() == there).all()
    assert spoken.present[1].all()


def test_a_group_of_channels_is_hidden_as_often_as_asked_for():
    mixture = mixed(performed())
    items = [of(mixture, "s0-1")] * 60
    _, shown = draw(mixture, items, settings(partial=1.0), rng())
    groups = [set(channels) for channels in ARKIT.groups.values()]
    hidden = [set(np.flatnonzero(~row.numpy()).tolist()) for row in shown.present]
    assert all(channels in groups for channels in hidden)
    assert {tuple(sorted(channels)) for channels in hidden} == {tuple(sorted(group)) for group in groups}
    _, sometimes = draw(mixture, items, settings(partial=0.3), rng())
    assert 8 <= int((~sometimes.present).any(dim=1).sum()) <= 28


def test_short_clips_are_padded_behind_what_is_valid():
    mixture = mixed(performed())
    items = [of(mixture, "s0-1"), of(mixture, "s0-0")]
    spoken, shown = draw(mixture, items, settings(frames=60, style_frames=70, exchanged=0.0), rng())
    assert spoken.valid.sum(dim=1).tolist() == [31, 60]
    assert shown.valid.sum(dim=1).tolist() == [31, 70]
    for batch in (spoken, shown):
        assert batch.valid[0, :31].all()
        assert not batch.motion[0, 31:].any()
    assert not spoken.features[0, 62:].any()
    assert spoken.features[0, :62, 1].all()
    assert (spoken.features.shape, spoken.motion.shape, shown.motion.shape) == ((2, 120, 2), (2, 60, 55), (2, 70, 55))
    assert {value.dtype for value in (spoken.features, spoken.motion, shown.motion)} == {torch.float32}


def test_styles_without_an_answer_come_from_real_motion_with_sound_or_without_and_speech_from_the_items():
    mixture, seen = mixed(), set()
    items = [of(mixture, "s0-1")] * 30
    spoken, shown = draw_unlabelled(mixture, items, settings(), rng())
    for row, valid in zip(shown.motion, shown.valid, strict=True):
        part = row[valid].numpy()
        found = {name for name in ("anna/mute", "anna/plain", "anna/wide") if places(recorded(), name, part)}
        assert found
        seen |= found
    assert seen == {"anna/mute", "anna/plain", "anna/wide"}
    own = performed().motion(performed().clip("s0-1"), 0)
    assert all(
        np.abs(own[:25] - row.numpy()).max() < 5 and places(performed(), "s0-1", row.numpy()) for row in spoken.motion
    )


def test_flame_has_no_partners_and_its_head_is_no_answer():
    mixture = mixed(flame())
    spoken, shown = draw(mixture, mixture.items[:2], settings(mixed=1.0), rng())
    assert spoken.motion.shape == (2, 25, len(FLAME))
    assert not spoken.present[:, list(FLAME.groups["head"])].any()
    assert spoken.present[:, : FLAME.groups["head"][0]].all()
    for row, seen, item in zip(spoken.motion, shown.motion, mixture.items[:2], strict=True):
        assert places(flame(), item.clip.clip, row.numpy())
        assert places(flame(), item.clip.clip, seen.numpy())


def test_a_fresh_script_is_performed_by_the_clip_and_by_whom_shows_the_style():
    corpus, mixture = performed(), mixed(performed())
    item = of(mixture, "s1-1")
    (spoken, shown), (again, _) = (
        draw(mixture, [item], settings(fresh=1.0, style_frames=500), rng(3)) for _ in range(2)
    )
    assert not places(corpus, "s1-1", spoken.motion[0].numpy()), "no script of the corpus"
    assert numbers(spoken) == numbers(again)
    # the same script shows in both: what a channel holds here it holds there, but for speech and dynamics
    held = list(ARKIT.groups["brows"] + ARKIT.groups["cheeks_nose"])
    means = [batch.motion[0, batch.valid[0]].mean(dim=0)[held] for batch in (spoken, shown)]
    assert float((means[0] - means[1]).abs().max()) < 0.35
    drawn = [draw(mixture, [item], settings(fresh=1.0), rng(seed))[0] for seed in range(6)]
    assert len({numbers(each) for each in drawn}) == 6, "another script every time"


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
    assert Mixture.of([performed()], split="train", frames=25).real[:] == []


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
    other.clips += [replace(trained, speaker="one", split=split) for split in ("train", "test")]
    assert shared_voices([other]) == frozenset()
