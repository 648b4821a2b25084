"""Batches of the talking generator: who shows the style, what the answer is, what is masked."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from talking_corpora import flame, performed, recorded

from avi_lib.corpus.dataset import Corpus, Item, Mixture
from avi_lib.motion.clip import ARKIT, FLAME
from avi_lib.motion.performer import IDLE_GROUPS
from avi_lib.settings import TalkingSettings
from avi_lib.training.generator import MotionBatch, _part, _shown_by, _take, draw, draw_unlabelled

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
        for (script, own), (number, other) in zip(take.motions, shows.motions, strict=True):
            assert shows.item.clip.scripts[number] == item.clip.scripts[script] and np.array_equal(own, other)
        assert shows.item.clip.clip in {"s0-1", "s1-2"}
        drawn += [share[list(group)] for group in mixture.space.groups.values()]
        motion = _part(take, 500, rng())[1]
        whole = [corpus.motion(item.clip, number).astype(np.float32) for number in (first, second)]
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
