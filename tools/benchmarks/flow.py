"""How the drawn part of a face moves beside real faces: its dynamics, whether it can be told apart, and what it costs.

Give a prepared corpus of real motion: `--only flow --corpus data/prepared/av_grid_s1`. Its held-out clips are spoken
in their own styles, so that only what is drawn differs. Rows: real motion, the performer, noise with the spectrum of
motion about the same style, the generator alone (regression), the flow, and the flow under another's speech.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.ndimage import uniform_filter1d
from scipy.signal import detrend
from torch import nn

from avi_lib.corpus.dataset import Corpus, Item
from avi_lib.evaluation.report import Row, estimate, tabulate
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion import style as styles
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.flow import DRAWN, FPS, STEPS, TemporalBlock, noise_of
from avi_lib.motion.generator import SHIPPED, TalkingModel, load_talking_model
from avi_lib.motion.performer import Performer
from avi_lib.speech.encoders import one_thread
from avi_lib.training.flow import RealTake, takes
from tools.benchmarks.dynamics import DYNAMICS, measure_dynamics
from tools.benchmarks.measuring import Figure, Options, corpora, in_turns_ms, left_out, spread

WINDOW = 75
SEEDS, MOST = 8, 100
DRAWS, DRAWN_FOR = 32, 40
"""Draws whose mean is taken, and clips for which it is."""
_BROWS = [ARKIT.index(f"brow{part}") for part in ("InnerUp", "OuterUpLeft", "OuterUpRight", "DownLeft", "DownRight")]
_RAISING = np.array([1 / 3, 1 / 3, 1 / 3, -1 / 2, -1 / 2], np.float32)
Values = Float32[np.ndarray, "frames 55"]
Curve = Float[np.ndarray, " frames"]


def measure(options: Options) -> Iterator[Figure]:
    """Dynamics and the two-sample test on every corpus of real motion, strengths over seeds, and speed."""
    model = load_talking_model(options.talking or SHIPPED)
    if model.flow is None:
        left_out("what is drawn", "these weights have no flow")
        return
    with one_thread():
        for corpus in corpora(options):
            held = _takes(corpus, "test")[:MOST]
            if not held:
                left_out(f"dynamics of {corpus.folder.name}", "no held-out clip of real motion with brows")
                continue
            made = rows(model, held)
            yield from _dynamics(corpus.folder.name, made, held)
            yield from _with_voice(corpus.folder.name, made, held)
            yield from _mean_of_draws(model, corpus.folder.name, held[:DRAWN_FOR])
            yield from _apart(model, corpus, held, made)
        yield from _strengths(model, options)
        yield from _cost(model)


Held = Sequence[tuple[Performer, RealTake]]


def _takes(corpus: Corpus, split: str) -> list[tuple[Performer, RealTake]]:
    """Clips of real motion of a split, each with its performer."""
    brows = list(ARKIT.groups["brows"])
    clips = [clip for clip in corpus.select(split=split) if clip.features and clip.motion != "performed"]
    clips = [clip for clip in clips if corpus.present(clip)[brows].all()]
    if not clips:
        return []
    return list(zip(map(corpus.performer, clips), takes([Item(corpus, clip) for clip in clips]), strict=True))


def style_of(model: TalkingModel, take: RealTake) -> styles.Style:
    """The style of a take, as the model completes it."""
    return model.style_of(MotionClip(take.level + take.moves, FPS, ARKIT, take.present))


def rows(model: TalkingModel, held: Held) -> dict[str, list[Values]]:
    """Real motion, and that of every system over the same clips in their own styles."""
    flow = model.flow
    assert flow is not None
    found: dict[str, list[Values]] = {"real": []}
    for seed, (performer, take) in enumerate(held):
        style, other = style_of(model, take), held[(seed + 1) % len(held)][1]
        level, wide = (each[0].numpy() for each in flow.units(torch.from_numpy(style)[None], torch.ones(1, 128).bool()))
        noise = np.zeros((len(take.moves), len(ARKIT)), np.float32)
        noise[:, DRAWN] = level + wide * flow.colour(noise_of(seed, len(noise))[None])[0].detach().numpy()
        frames = min(len(take.moves), len(other.moves))
        another = other.features[: 2 * frames], style, other.contour[:frames]
        made = {
            "real": take.level + take.moves,
            "performer": performer.perform(Instruction("A person speaks."), seed).values,
            "noise": ARKIT.limited(noise),
            "regression": model.motion_of(take.features, style).values,
            "flow": model.motion_of(take.features, style, take.contour, seed).values,
            "another's speech": model.motion_of(*another, seed).values,
        }
        for row, values in made.items():
            found.setdefault(row, []).append(values)
    return found


def _dynamics(name: str, made: dict[str, list[Values]], held: Held) -> Iterator[Figure]:
    """Each measure of the flow beside that of all other rows; see `measure_dynamics`."""
    rows = [
        Row(row, str(number), measure_dynamics(MotionClip(values, FPS, ARKIT, take.present)))
        for row, motions in made.items()
        for number, ((_, take), values) in enumerate(zip(held, motions, strict=True))
    ]
    table = tabulate(name, name, "", rows, DYNAMICS, named="clips")
    for key, about in table.measures.items():
        found = {row: table.estimates[key, row] for row in table.systems}
        real, own = found["real"], found["flow"]
        if not real.clips:
            continue
        others = ", ".join(f"{row} {each.value:.3f}" for row, each in found.items() if row not in ("real", "flow"))
        how = f"({own.low:.3f} to {own.high:.3f}); real {real.value:.3f} ({real.low:.3f} to {real.high:.3f}); {others}"
        yield Figure(f"{name}: {about.title}", own.value, about.unit, f"near {real.value:.3f}", how)


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


def _with_voice(name: str, made: dict[str, list[Values]], held: Held) -> Iterator[Figure]:
    """How brows go with pitch and nods with the level of the voice: every row beside real motion."""
    for what, measure_of in (("brows with pitch, r", pitch_on_brows), ("nods with level, r", level_on_head)):
        found = {
            row: estimate(
                [measure_of(values, take.contour) for (_, take), values in zip(held, motions, strict=True)],
                np.random.default_rng(0),
            )
            for row, motions in made.items()
        }
        real, own = found["real"], found["flow"]
        if real.clips:
            others = ", ".join(f"{row} {each.value:.3f}" for row, each in found.items() if row not in ("real", "flow"))
            how = f"({own.low:.3f} to {own.high:.3f}); real ({real.low:.3f} to {real.high:.3f}); {others}"
            yield Figure(f"{name}: {what}", own.value, "", f"{real.value:.3f} +- 0.1", how)


def _mean_of_draws(model: TalkingModel, name: str, held: Held) -> Iterator[Figure]:
    """By how much the mean of many draws is nearer to the real brows than that under another's speech, clip by clip."""
    nearer = []
    for number, (_, take) in enumerate(held):
        style, other = style_of(model, take), held[(number + 1) % len(held)][1]
        frames = min(len(take.moves), len(other.moves))
        real, away = brow(take.moves[:frames]), []
        for spoken in (take, other):
            voice = spoken.features[: 2 * frames], style, spoken.contour[:frames]
            drawn = np.mean([brow(model.motion_of(*voice, seed).values) for seed in range(DRAWS)], axis=0)
            away.append(float(np.sqrt(np.mean((drawn - np.median(drawn) - (real - np.median(real))) ** 2))))
        nearer.append(away[1] - away[0])
    found = estimate(nearer, np.random.default_rng(0))
    how = f"root mean square, {DRAWS} draws of {found.clips} clips; 95 % interval {found.low:.4f} to {found.high:.4f}"
    yield Figure(f"{name}: mean draw nearer to real brows than with another's speech", found.value, "", "> 0", how)


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


def _apart(
    model: TalkingModel, corpus: Corpus, held: Held, made: dict[str, list[Values]], steps: int = 150
) -> Iterator[Figure]:
    """The area under the curve of a critic on held-out clips: 0.5 where real and made cannot be told apart."""
    train = _takes(corpus, "train")[: 2 * MOST]
    if len(train) < 8 or len(held) < 8:
        left_out("the two-sample test", "fewer than 8 clips of each split")
        return
    real, both = {"train": train, "test": held}, {"train": rows(model, train), "test": made}
    chosen = [channel for channel in DRAWN if train[0][1].present[channel]]
    areas = {}
    for row in ("performer", "noise", "flow"):
        sets = {split: _windows(model, real[split], both[split][row], chosen) for split in real}
        torch.manual_seed(0)
        critic = Critic(model.shape.features)
        optimizer = torch.optim.AdamW(critic.parameters(), 2e-3, weight_decay=0.05)
        rng, (moves, contour, features, label) = np.random.default_rng(0), sets["train"]
        for _ in range(steps):
            at = torch.from_numpy(rng.integers(len(label), size=32))
            logits = critic(moves[at], contour[at], features[at])
            loss = nn.functional.binary_cross_entropy_with_logits(logits, label[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        moves, contour, features, label = sets["test"]
        with torch.no_grad():
            logits = critic.eval()(moves, contour, features)
        areas[row] = float((logits[label == 1][:, None] > logits[label == 0][None]).float().mean())
    told = ", ".join(f"{row} {area:.3f}" for row, area in areas.items())
    how = f"{corpus.folder.name}, {len(held)} held-out clips; {told}"
    yield Figure("told from real motion, area under the curve", areas["flow"], "", "less than noise's", how)


def _windows(
    model: TalkingModel, real: Held, made: Sequence[Values], chosen: Sequence[int]
) -> tuple[torch.Tensor, ...]:
    """Motion about its median in units of its usual spread, contour, features and whether it is real."""
    flow = model.flow
    assert flow is not None
    kept, parts = np.isin(DRAWN, chosen) / flow.usual.numpy(), []
    for (_, take), values in zip(real, made, strict=True):
        normal = (take.features - flow.mean.numpy()) / flow.deviation.numpy()
        for label, motion in ((1.0, take.level + take.moves), (0.0, values)):
            own = motion[:, list(DRAWN)]
            parts.append((_cut((own - np.median(own, axis=0)) * kept), _cut(take.contour), _cut(normal, 2), label))
    return tuple(torch.from_numpy(np.asarray(each, np.float32)) for each in zip(*parts, strict=True))


def _cut(rows: np.ndarray, times: int = 1) -> np.ndarray:
    """The first three seconds, the last row repeated where there are fewer."""
    most = times * WINDOW
    return np.pad(rows[:most], ((0, max(most - len(rows), 0)), (0, 0)), mode="edge")


def _strengths(model: TalkingModel, options: Options) -> Iterator[Figure]:
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
