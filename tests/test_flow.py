"""The flow: noise of a seed to motion about a style, and its training on real motion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from talking_corpora import flame, performed
from train_line import StoppedError, stop_at

from avi_lib.corpus.dataset import Item
from avi_lib.errors import InputError
from avi_lib.motion import style as styles
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.flow import COLOUR, DRAWN, FlowNetwork, draw, noise_of
from avi_lib.settings import FlowSettings, TrainSettings
from avi_lib.training import flow as training
from avi_lib.training.loop import train

DIM, BROW = 6, ARKIT.index("browDownLeft")
SMALL = FlowSettings(
    width=16, frames=40, train=TrainSettings(steps=12, batch=4, learning_rate=3e-3, warmup=2, average=0.5)
)


def takes(count: int = 6) -> list[training.RealTake]:
    """Clips of somebody whose brows and lids follow the voice; cheeks and nose are not tracked."""
    rng = np.random.default_rng(0)
    present = np.ones(len(ARKIT), bool)
    present[list(ARKIT.groups["cheeks_nose"])] = False
    found = []
    for _ in range(count):
        features = rng.normal(size=(100, DIM)).astype(np.float32)
        contour = rng.normal(size=(50, 5)).astype(np.float32)
        slow = np.convolve(rng.normal(size=60), np.ones(11) / 5, mode="valid").astype(np.float32)
        moves = np.outer(slow, rng.uniform(0.02, 0.1, len(ARKIT))).astype(np.float32)
        level = np.full(len(ARKIT), 0.2, np.float32)
        found.append(training.RealTake(("corpus", "anna"), features, contour, level, moves * present, present, True))
    return found


def flow() -> FlowNetwork:
    torch.manual_seed(0)
    network = FlowNetwork(DIM, width=16).eval()
    torch.nn.init.normal_(network.say.weight, std=0.1)
    return network


def spoken(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(2 * frames, DIM, generator=random), torch.randn(frames, 5, generator=random)


def test_drawn_in_chunks_is_drawn_as_a_whole_and_a_longer_recording_begins_with_the_same_noise():
    network, (features, contour), style = flow(), spoken(300), torch.zeros(styles.STYLE)
    whole, parts = (draw(network, features, contour, style, noise_of(3, 300), chunk=chunk) for chunk in (300, 47))
    assert whole.shape == (300, len(DRAWN)) and (whole - parts).abs().max() < 1e-5
    assert torch.equal(noise_of(3, 300)[: 100 + 2 * COLOUR], noise_of(3, 100))


def test_motion_is_drawn_about_the_levels_and_as_far_as_the_spreads_of_the_style():
    network, (features, contour), style = (
        FlowNetwork(DIM, width=16).eval(),
        spoken(400),
        np.zeros(styles.STYLE, np.float32),
    )
    style[BROW], style[len(ARKIT) + BROW] = 0.6, 0.08
    made = draw(network, features, contour, torch.from_numpy(style), noise_of(3, 400))[:, DRAWN.index(BROW)]
    assert made.median() == pytest.approx(0.6, abs=0.02) and made.std() == pytest.approx(0.08, rel=0.2)


def test_noise_gets_the_spectrum_and_the_correlations_of_motion():
    network, real = flow(), takes(20)
    losses = training.FlowLosses(real, SMALL, network)
    smooth = network.colour(torch.randn(8, 400 + 2 * COLOUR, len(DRAWN), generator=torch.Generator().manual_seed(0)))
    left, right = (DRAWN.index(ARKIT.index(f"browDown{side}")) for side in ("Left", "Right"))
    assert smooth.diff(dim=1).std() < 0.7 * 2**0.5 * smooth.std()
    assert np.corrcoef(smooth[..., left].flatten(), smooth[..., right].flatten())[0, 1] > 0.5
    assert smooth.std(dim=(0, 1)).numpy() == pytest.approx(1.0, abs=0.25)
    assert losses(network, np.arange(4), np.random.default_rng(0), 0.0)["loss"].isfinite()


def test_what_a_take_is_made_into_shows_the_style_that_is_told():
    losses = training.FlowLosses(takes(), SMALL.model_copy(update={"frames": 500, "hidden": 0.0}), flow())
    for seed in range(12):
        made = losses.example(losses.real[0], np.random.default_rng(seed))
        clip = MotionClip(made.motion.numpy(), 25.0, ARKIT, made.present.numpy())
        assert styles.style_of(clip) == pytest.approx(made.style.numpy(), abs=1e-5)
        assert len(made.motion) == len(made.contour) == len(made.features) // 2


def test_training_lowers_the_loss_and_gone_on_with_gives_the_bytes_of_an_unbroken_run(tmp_path):
    def trained(folder: str, **watched: object) -> FlowNetwork:
        network = training.untrained(DIM, SMALL)
        losses = training.FlowLosses(takes(), SMALL, network)
        asked = SMALL.train.model_copy(update={"save_every": 4, "log_every": 1})
        return train(network, losses, 6, asked, tmp_path / folder, "x", progress=False, **watched)[0]

    with pytest.raises(StoppedError):
        trained("parts", on_log=stop_at(6))
    whole, parts = trained("whole"), trained("parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))
    untrained = training.untrained(DIM, SMALL)
    judge = training.FlowLosses(takes(), SMALL, untrained)
    with torch.no_grad():
        before, after = (
            judge(each.eval(), np.arange(6).repeat(8), np.random.default_rng(1), 0.0)["loss"]
            for each in (untrained, whole)
        )
    assert after < before


def test_real_motion_is_taken_and_the_performer_stands_in_where_there_is_none():
    items = [Item(performed(), clip) for clip in performed().clips]
    stand_in = training.takes(items)
    assert len(stand_in) == len(items) and stand_in[0].contour.shape == (len(stand_in[0].moves), 5)
    lids = list(ARKIT.groups["lids"])
    assert max(np.abs(take.moves[:, lids]).max() for take in stand_in) > 0.3, "with blinks"
    with pytest.raises(InputError, match="space ARKIT"):
        training.takes([Item(flame(), clip) for clip in flame().clips])
