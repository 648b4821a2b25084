"""How the drawn part of a face moves beside real faces: its dynamics, whether it can be told apart, and what it costs.

Give prepared corpora of real motion: `--only flow --corpus data/prepared/av_grid_s1 data/prepared/av_ravdess_au`.
Held-out clips are spoken in their own styles, so that only what is drawn differs. Rows: real motion, the performer with
the parser, the performer with noise that brings it to the spread and the spectrum of real motion, the generator alone
(regression), the flow, and the flow under another's speech.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.ndimage import uniform_filter1d
from scipy.signal import detrend
from torch import nn

from avi_lib.corpus.dataset import Corpus, Item
from avi_lib.evaluation.metrics import MM, closures, correlation, lip_closure
from avi_lib.evaluation.report import Estimate, estimate
from avi_lib.face.head import Head, load_head
from avi_lib.instruction.action_units import EmotionClass
from avi_lib.instruction.grammar import class_words
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion import style as styles
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.flow import DRAWN, FPS, STEPS, TemporalBlock, noise_of
from avi_lib.motion.generator import SHIPPED, TalkingModel, load_talking_model
from avi_lib.motion.performer import Performer
from avi_lib.speech.encoders import one_thread
from avi_lib.speech.phones import BILABIAL, Phone
from avi_lib.training.flow import RealTake, takes
from tools.benchmarks.dynamics import BANDS_HZ, DYNAMICS, measure_dynamics, tracker_noise
from tools.benchmarks.measuring import Figure, Options, corpora, in_turns_ms, left_out, spread

WINDOW = 75
SEEDS, MOST = 8, 100
DRAWS, DRAWN_FOR = 32, 12
"""Draws whose mean is taken, and clips for which it is."""
CRITICS = 3
"""Trainings of the critic, whose logits are averaged."""
REAL, FLOW, MATCHED = "real", "flow", "performer with noise"
_BROWS = [ARKIT.index(f"brow{part}") for part in ("InnerUp", "OuterUpLeft", "OuterUpRight", "DownLeft", "DownRight")]
_RAISING = np.array([1 / 3, 1 / 3, 1 / 3, -1 / 2, -1 / 2], np.float32)
_MUST = {"sd": "0.7 to 1.3", "jitter": "0.8 to 1.2", "blink_rate": "0.8 to 1.2", "blink_width_s": "0.8 to 1.2"}
"""What ratios to real motion must be; of the mouth, which is regressed, none."""
Values = Float32[np.ndarray, "frames 55"]
Curve = Float[np.ndarray, " frames"]
Made = Mapping[str, Sequence[Values]]


class HeldClip(NamedTuple):
    """A clip of real motion that was held out, who performs it by the rules, what is asked of them, and its phones."""

    performer: Performer
    take: RealTake
    asked: Instruction
    phones: tuple[Phone, ...]


Held = Sequence[HeldClip]


def measure(options: Options) -> Iterator[Figure]:
    """Dynamics and the two-sample test on every corpus of real motion, strengths over seeds, and speed."""
    model = load_talking_model(options.talking or SHIPPED)
    if model.flow is None:
        left_out("what is drawn", "these weights have no flow")
        return
    with one_thread():
        noise = None
        for corpus in corpora(options):
            if corpus.description["adapter"] == "av_grid_s1":
                noise = noise or tracker_noise(options.work)
            yield from measure_corpus(model, corpus, noise if corpus.description["adapter"] == "av_grid_s1" else None)
        yield from _strengths(model)
        yield from _cost(model)


def measure_corpus(model: TalkingModel, corpus: Corpus, noise: MotionClip | None = None) -> Iterator[Figure]:
    """All figures of one corpus of real motion; `noise` of its tracker is taken off real motion."""
    name, held = corpus.folder.name, held_clips(corpus, "test")[:MOST]
    if not held:
        left_out(f"dynamics of {name}", "no held-out clip of real motion with brows")
        return
    made = rows(model, held)
    yield from dynamics(name, made, held, noise)
    yield from with_voice(name, made, held)
    yield from _lips(name, made, held)
    yield from _mean_of_draws(model, name, held[:DRAWN_FOR])
    yield from _apart(model, corpus, held, made)


def held_clips(corpus: Corpus, split: str) -> list[HeldClip]:
    """Clips of real motion of a split; asked for is the emotion of their label, plain speech where there is none."""
    brows = list(ARKIT.groups["brows"])
    clips = [clip for clip in corpus.select(split=split) if clip.features and clip.motion != "performed"]
    clips = [clip for clip in clips if corpus.present(clip)[brows].all()]
    if not clips:
        return []
    said = [
        f"A person feels {class_words(EmotionClass(clip.emotion, clip.level or 1))}." if clip.emotion else "Speak."
        for clip in clips
    ]
    real = takes([Item(corpus, clip) for clip in clips])
    return [
        HeldClip(corpus.performer(clip), take, Instruction.parse(text), corpus.phones(clip))
        for clip, take, text in zip(clips, real, said, strict=True)
    ]


def style_of(model: TalkingModel, take: RealTake) -> styles.Style:
    """The style of a take, as the model completes it."""
    return model.style_of(MotionClip(take.level + take.moves, FPS, ARKIT, take.present))


def rows(model: TalkingModel, held: Held) -> dict[str, list[Values]]:
    """Real motion, and that of every system over the same clips in their own styles."""
    found: dict[str, list[Values]] = {}
    for seed, (performer, take, asked, _) in enumerate(held):
        style, other = style_of(model, take), held[(seed + 1) % len(held)].take
        frames, performed = min(len(take.moves), len(other.moves)), performer.perform(asked, seed).values
        another = other.features[: 2 * frames], style, other.contour[:frames]
        made = {
            REAL: take.level + take.moves,
            FLOW: model.motion_of(take.features, style, take.contour, seed).values,
            "performer": performed,
            MATCHED: with_noise(model, performed, style, seed),
            "regression": model.motion_of(take.features, style).values,
            "another's speech": model.motion_of(*another, seed).values,
        }
        for row, values in made.items():
            found.setdefault(row, []).append(values)
    return found


def with_noise(model: TalkingModel, performed: Values, style: styles.Style, seed: int) -> Values:
    """A performance with what it lacks of a style's spreads as noise of the spectrum of real motion."""
    flow, drawn = model.flow, list(DRAWN)
    assert flow is not None
    wide = np.maximum(style[len(ARKIT) :][drawn], 1e-4)
    lacking = np.sqrt(np.clip(1 - (performed[:, drawn].std(axis=0) / wide) ** 2, 0, 1))
    noise = flow.colour(noise_of(seed, len(performed))[None])[0].detach().numpy()
    values = performed.copy()
    values[:, drawn] += lacking * wide * noise
    return ARKIT.limited(values)


def dynamics(name: str, made: Made, held: Held, noise: MotionClip | None = None) -> Iterator[Figure]:
    """Each measure as a share of real motion's, with an interval over clips; see `measure_dynamics`."""
    found: dict[str, list[dict[str, float]]] = {}
    for row, motions in made.items():
        taken_off = noise if row == REAL else None
        clips = [MotionClip(values, FPS, ARKIT, each.take.present) for values, each in zip(motions, held, strict=True)]
        found[row] = [measure_dynamics(clip, taken_off) for clip in clips]
        for scores in found[row]:
            bands = [scores.get(f"head_{low:g}_hz", math.nan) for low in BANDS_HZ[1:-1]]
            scores["head_power"] = float(sum(bands))
    titles = {key: about.title for key, about in DYNAMICS.items()}
    titles["head_power"] = f"head: power above {BANDS_HZ[1]:g} Hz"
    for key, title in titles.items():
        columns = {row: np.array([each[key] for each in scores]) for row, scores in found.items()}
        if np.isfinite(columns[REAL]).sum() < 2:
            continue
        kind, mouth = key.partition("_")[2], key.startswith("mouth")
        must = "-0.1 to 0.1" if key == "brows_still" else "0.67 to 1.5" if key == "head_power" else None
        must = must or ("-" if mouth else _MUST.get(key, _MUST.get(kind, "-")))
        compare = _difference if key == "brows_still" else _ratio
        beside = {row: compare(np.stack([column, columns[REAL]], axis=1)) for row, column in columns.items()}
        pairs = np.stack([columns[FLOW], columns[REAL]], axis=1)
        own = estimate(pairs, np.random.default_rng(0), statistic=compare, resamples=400)
        others = ", ".join(f"{row} {value:.2f}" for row, value in beside.items() if row not in (REAL, FLOW))
        real = f"real {np.nanmean(columns[REAL]):.3f} {DYNAMICS[key].unit if key in DYNAMICS else ''}".strip()
        what = "less real motion's" if key == "brows_still" else "to real motion's"
        yield Figure(f"{name}: {title}, {what}", own.value, "", must, f"{_interval(own)}; {real}; {others}")


def _ratio(pairs: Sequence[np.ndarray] | np.ndarray) -> float:
    """The mean of the first as a share of the mean of the second of some pairs, each where it is known."""
    own, real = np.asarray(pairs).T
    known, there = own[np.isfinite(own)], real[np.isfinite(real)]
    return float(known.mean() / there.mean()) if len(known) and len(there) and there.mean() > 0 else math.nan


def _difference(pairs: Sequence[np.ndarray] | np.ndarray) -> float:
    own, real = np.asarray(pairs).T
    return float(np.nanmean(own) - np.nanmean(real))


def _interval(found: Estimate) -> str:
    return f"{found.low:.2f} to {found.high:.2f} over {found.clips} clips"


def brow(values: Values) -> Curve:
    """How far brows are raised, lowered ones below 0."""
    return np.asarray(values[:, _BROWS] @ _RAISING)


def pitch_on_brows(values: Values, contour: np.ndarray) -> float:
    """Correlation of raised brows with pitch over voiced frames, without the drift of either (Cave et al. 1996)."""
    voiced = contour[:, 1] > 0
    if voiced.sum() < FPS / 2:
        return math.nan
    raised, pitch = (detrend(curve[voiced]) for curve in (brow(values), contour[:, 0]))
    return float(np.corrcoef(raised, pitch)[0, 1]) if min(raised.std(), pitch.std()) > 1e-6 else math.nan


def level_on_head(values: Values, contour: np.ndarray) -> float:
    """Correlation of how fast the head nods with the level of the voice, both smoothed over 0.2 s."""
    speed = np.abs(np.gradient(values[:, ARKIT.index("headPitch")]))
    nods, level = (uniform_filter1d(curve, 5) for curve in (speed, contour[:, 2]))
    return float(np.corrcoef(nods, level)[0, 1]) if min(nods.std(), level.std()) > 1e-6 else math.nan


def with_voice(name: str, made: Made, held: Held) -> Iterator[Figure]:
    """How brows go with pitch and nods with the level of the voice: every row beside real motion."""
    for what, measure_of in (("brows with pitch, r", pitch_on_brows), ("nods with level, r", level_on_head)):
        found = {
            row: estimate(
                [_shared(measure_of, values, each.take) for each, values in zip(held, motions, strict=True)],
                np.random.default_rng(0),
            )
            for row, motions in made.items()
        }
        real, own = found[REAL], found[FLOW]
        if real.clips:
            others = ", ".join(f"{row} {each.value:.2f}" for row, each in found.items() if row not in (REAL, FLOW))
            how = f"{_interval(own)}; real {real.value:.2f} ({real.low:.2f} to {real.high:.2f}); {others}"
            yield Figure(f"{name}: {what}", own.value, "", f"{real.value - 0.1:.2f} to {real.value + 0.1:.2f}", how)


def _shared(measure_of: Callable[[Values, np.ndarray], float], values: Values, take: RealTake) -> float:
    """A measure over the frames that motion and voice share: another's speech may end before, a performance after."""
    frames = min(len(values), len(take.contour))
    return measure_of(values[:frames], take.contour[:frames])


def _lips(name: str, made: Made, held: Held) -> Iterator[Figure]:
    """Closure on /m b p/, its share and the correlation of the lip gap, beside the real tracks of the same clips."""
    lips = [ARKIT.index(channel) for channel in ("jawOpen", "mouthClose", "mouthFunnel")]
    if not held[0].take.present[lips].all() or len(held[0].take.moves) < FPS:
        return
    head, scores = load_head(), {}
    for row, motions in made.items():
        gaps = [MM * head.lip_gap(values) for values in motions]
        shut = [closures(gap, each.phones, FPS) for gap, each in zip(gaps, held, strict=True) if _says(each, BILABIAL)]
        scores[row] = (
            estimate([lip_closure(g, each.phones, FPS) for g, each in zip(gaps, held, strict=True)], _rng()),
            estimate(np.concatenate(shut).astype(float), _rng()),
            estimate([_together(g, each.take, head) for g, each in zip(gaps, held, strict=True)], _rng()),
        )
    closure, share, _ = (each.value for each in scores[REAL])
    musts = (f"{closure - 0.3:.2f} to {closure + 0.3:.2f}", f">= {share - 0.03:.2f}", ">= 0.68")
    for i, what in enumerate(("lip closure d", "closed on /m b p/", "lip gap r at no lag")):
        own = scores[FLOW][i]
        others = ", ".join(f"{row} {each[i].value:.2f}" for row, each in scores.items() if row != FLOW)
        yield Figure(f"{name}: {what}", own.value, "", musts[i], f"{_interval(own)}; {others}")


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _says(each: HeldClip, phones: Sequence[str] | frozenset[str]) -> bool:
    return any(phone.phone in phones for phone in each.phones)


def _together(gap: Curve, take: RealTake, head: Head) -> float:
    real = MM * head.lip_gap(take.level + take.moves)
    frames = min(len(gap), len(real))
    return correlation(gap[:frames], real[:frames])


def _mean_of_draws(model: TalkingModel, name: str, held: Held) -> Iterator[Figure]:
    """By how much the mean of many draws is nearer to the real brows than that under another's speech, clip by clip."""
    nearer = []
    for number, each in enumerate(held):
        take, other = each.take, held[(number + 1) % len(held)].take
        style, frames = style_of(model, take), min(len(take.moves), len(other.moves))
        real, away = brow(take.moves[:frames]), []
        for spoken in (take, other):
            voice = spoken.features[: 2 * frames], style, spoken.contour[:frames]
            drawn = np.mean([brow(model.motion_of(*voice, seed).values) for seed in range(DRAWS)], axis=0)
            away.append(float(np.sqrt(np.mean((drawn - np.median(drawn) - (real - np.median(real))) ** 2))))
        nearer.append(1000 * (away[1] - away[0]))
    found = estimate(nearer, np.random.default_rng(0))
    how = f"of a weight, root mean square; {DRAWS} draws; {_interval(found)}"
    yield Figure(
        f"{name}: mean draw nearer to real brows than with another's", found.value, "/1000", _above(found), how
    )


def _above(found: Estimate) -> str:
    """A bound that is kept where the whole interval lies above 0."""
    return "> 0" if found.low > 0 else "> 0, whole interval: **missed**"


class Critic(nn.Module):
    """A small network that tells real windows of motion over their speech from made ones."""

    def __init__(self, features: int, width: int = 32) -> None:
        super().__init__()
        self.read = nn.Linear(2 * len(DRAWN) + 5, width)
        self.hear = nn.Linear(2 * features, width)
        self.blocks = nn.ModuleList(TemporalBlock(width, dilation, dropout=0.2) for dilation in (1, 2, 4))
        self.say = nn.Linear(2 * width, 1)

    def forward(self, moves: torch.Tensor, contour: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """A logit for each window, above 0 where it seems real."""
        speed = torch.cat([moves[:, :1] * 0, moves.diff(dim=1)], dim=1) * 4
        x = self.read(torch.cat([moves, speed, contour], dim=2)) + self.hear(features.reshape(*contour.shape[:2], -1))
        valid = torch.ones(x.shape[:2], dtype=torch.bool)
        for block in self.blocks:
            x = block(x, valid)
        said: torch.Tensor = self.say(torch.cat([x.mean(dim=1), x.std(dim=1)], dim=1))[:, 0]
        return said


def _apart(model: TalkingModel, corpus: Corpus, held: Held, made: Made, steps: int = 150) -> Iterator[Figure]:
    """How well critics tell made from real windows of held-out clips, trained on those of the other split.

    Area under the curve, 0.5 for chance, and cross-entropy in bits, 1 for chance: it still tells systems apart where
    the area is at its end.
    """
    train = held_clips(corpus, "train")[:MOST]
    if len(train) < 8 or len(held) < 8:
        left_out("the two-sample test", "fewer than 8 clips of each split")
        return
    chosen = [channel for channel in DRAWN if train[0].take.present[channel]]
    taught, told = rows(model, train), {}
    for row in ("performer", MATCHED, FLOW):
        learned, shown = (_windows(model, real, both[row], chosen) for real, both in ((train, taught), (held, made)))
        told[row] = np.mean([_tell(model, learned, shown, seed, steps) for seed in range(CRITICS)], axis=0)
    areas = {row: estimate(logits, _rng(), statistic=_area, resamples=400) for row, logits in told.items()}
    bits = {row: np.logaddexp(0, logits * [-1, 1]).mean(axis=1) / math.log(2) for row, logits in told.items()}
    others = ", ".join(f"{row} {area.value:.3f} ({area.low:.3f} to {area.high:.3f})" for row, area in areas.items())
    how = f"{len(held)} held-out clips, mean of {CRITICS} critics; {others}"
    yield Figure(f"{corpus.folder.name}: told from real motion, area", areas[FLOW].value, "", "near 0.5", how)
    pairs = np.concatenate([told[FLOW], told[MATCHED]], axis=1)
    nearer = estimate(pairs, _rng(), statistic=lambda each: _area(each, 2) - _area(each, 0), resamples=400)
    yield Figure(
        f"{corpus.folder.name}: the flow's area nearer to chance than the performer's with noise by",
        nearer.value, "", _above(nearer), _interval(nearer),
    )  # fmt: skip
    fewer = estimate(bits[FLOW] - bits[MATCHED], _rng())
    told_bits = ", ".join(f"{row} {each.mean():.3f}" for row, each in bits.items())
    yield Figure(
        f"{corpus.folder.name}: and in bits of cross-entropy by", fewer.value, "bit", _above(fewer),
        f"{_interval(fewer)}; {told_bits}; chance 1",
    )  # fmt: skip


def _area(logits: Sequence[np.ndarray] | np.ndarray, first: int = 0) -> float:
    """Area under the curve of pairs (real, made) of logits that begin in a column."""
    real, made = np.asarray(logits)[:, first : first + 2].T
    return float(np.mean(real[:, None] > made[None]) + 0.5 * np.mean(real[:, None] == made[None]))


def _tell(
    model: TalkingModel, learned: Sequence[torch.Tensor], shown: Sequence[torch.Tensor], seed: int, steps: int
) -> Float[np.ndarray, "clips 2"]:
    """Logits of the real and of the made window of every clip, by a critic that learned on others."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        critic = Critic(model.shape.features)
        optimizer = torch.optim.AdamW(critic.parameters(), 2e-3, weight_decay=0.05)
        rng, (moves, contour, features, label) = np.random.default_rng(seed), learned
        for _ in range(steps):
            at = torch.from_numpy(rng.integers(len(label), size=32))
            logits = critic(moves[at], contour[at], features[at])
            loss = nn.functional.binary_cross_entropy_with_logits(logits, label[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        said: np.ndarray = critic.eval()(*shown[:3]).numpy().reshape(-1, 2)
    return said


def _windows(
    model: TalkingModel, real: Held, made: Sequence[Values], chosen: Sequence[int]
) -> tuple[torch.Tensor, ...]:
    """Motion about its median in units of its usual spread, contour, features and whether it is real."""
    flow = model.flow
    assert flow is not None
    kept, parts = np.isin(DRAWN, chosen) / flow.usual.numpy(), []
    for (_, take, *_), values in zip(real, made, strict=True):
        normal = (take.features - flow.mean.numpy()) / flow.deviation.numpy()
        for label, motion in ((1.0, take.level + take.moves), (0.0, values)):
            own = motion[:, list(DRAWN)]
            parts.append((_cut((own - np.median(own, axis=0)) * kept), _cut(take.contour), _cut(normal, 2), label))
    return tuple(torch.from_numpy(np.asarray(each, np.float32)) for each in zip(*parts, strict=True))


def _cut(rows: np.ndarray, times: int = 1) -> np.ndarray:
    """The first three seconds, the last row repeated where there are fewer."""
    most = times * WINDOW
    return np.pad(rows[:most], ((0, max(most - len(rows), 0)), (0, 0)), mode="edge")


def _strengths(model: TalkingModel) -> Iterator[Figure]:
    """Whether the level of what is drawn follows that of the style, and how little it differs from seed to seed."""
    assert model.flow is not None
    random = np.random.default_rng(0)
    features = random.normal(model.flow.mean.numpy(), model.flow.deviation.numpy(), (200, model.shape.features))
    contour = np.zeros((100, 5), np.float32)
    asked, got, apart = [], [], []
    for name in ("browDownLeft", "browInnerUp", "browOuterUpRight", "eyeSquintLeft", "eyeWideRight", "cheekSquintLeft"):
        for strength in (0.2, 0.5, 0.9):
            style = model.flow.style_mean.numpy().copy()
            style[ARKIT.index(name)] = strength
            seen = [
                float(np.median(model.motion_of(features.astype(np.float32), style, contour, seed)[name]))
                for seed in range(SEEDS)
            ]
            asked.append(strength)
            got.append(np.mean(seen))
            apart.append(np.std(seen) / strength)
    slope, bias = np.polyfit(asked, got, 1)
    how = f"r {np.corrcoef(asked, got)[0, 1]:.3f}, offset {bias:.3f}; six channels at three strengths"
    yield Figure("level drawn to level asked, slope", float(slope), "", "0.9 to 1.1", how)
    how = f"SD over {SEEDS} seeds as a share of the strength, median; worst {max(apart):.2f}"
    yield Figure("explicit strengths over seeds", statistics.median(apart), "", "<= 0.05", how)


def _cost(model: TalkingModel, seconds: int = 10, turns: int = 7) -> Iterator[Figure]:
    frames = int(seconds * FPS)
    features, contour = np.zeros((2 * frames, model.shape.features), np.float32), np.zeros((frames, 5), np.float32)
    style = np.zeros(styles.STYLE, np.float32)
    spent = in_turns_ms({"all": partial(model.motion_of, features, style, contour)}, turns)["all"]
    yield Figure(f"{seconds} s of motion, lips and all", statistics.median(spent), "CPU ms", "<= 200", spread(spent))
    assert model.flow is not None
    flow, lips = model.flow, model.generator
    step = sum(p.numel() for block in flow.blocks for p in block.parameters())
    once = sum(p.numel() for p in (*lips.parameters(), *flow.read_features.parameters()))
    how = f"{sum(p.numel() for p in flow.parameters()):,} numbers in the flow"
    yield Figure(f"multiplications for {seconds} s", frames * (STEPS * step + once) / 1e9, "GMAC", "<= 2", how)
