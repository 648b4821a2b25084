"""Training: order, checkpoints, going on after a kill, averaging, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from avi_lib.errors import AviError, InputError
from avi_lib.settings import TrainSettings
from avi_lib.training.device import choose_device
from avi_lib.training.loop import learning_rate_at, train
from avi_lib.training.order import batch_at, epoch_order, rng_at

SETTINGS = TrainSettings(steps=30, batch=4, warmup=5, save_every=7, log_every=5, average=0.9, learning_rate=0.05)
POINTS = np.linspace(-1, 1, 20, dtype=np.float32)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))


def loss_of(model, items, rng):
    x = torch.from_numpy(POINTS[items, None]) + torch.from_numpy(
        rng.normal(0, 0.01, (len(items), 1)).astype(np.float32)
    )
    return {"loss": (model(x) - 2 * x).square().mean()}


def weights(model: nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def test_an_epoch_holds_every_item_once_and_depends_on_seed_and_epoch_alone():
    drawn = np.concatenate([batch_at(step, items=12, batch=4, seed=5) for step in range(6)])
    assert sorted(drawn[:12]) == sorted(drawn[12:]) == list(range(12))
    assert (drawn[:12] == epoch_order(0, 12, 5)).all()
    assert (drawn[:12] != drawn[12:]).any()
    assert (batch_at(4, 12, 4, 5) == drawn[16:20]).all()
    assert len(batch_at(0, items=3, batch=8, seed=0)) == 8
    with pytest.raises(InputError, match="0 and 4"):
        batch_at(0, 0, 4, 0)


def test_every_step_has_a_random_stream_of_its_own():
    assert rng_at(3, 1).random() == rng_at(3, 1).random()
    assert len({rng_at(step, seed).random() for step in range(20) for seed in range(20)}) == 400


def test_training_learns_and_the_same_twice_gives_the_same_bytes(tmp_path):
    first, second = (
        train(network(), loss_of, 20, SETTINGS.model_copy(update={"steps": 200}), tmp_path / name, "line")
        for name in ("a", "b")
    )
    assert weights(first.model) == weights(second.model)
    assert first.log[-1]["loss"] < 0.2 * first.log[0]["loss"]
    assert [line["step"] for line in first.log] == list(range(5, 201, 5))


def test_going_on_from_a_checkpoint_gives_the_bytes_of_an_unbroken_run(tmp_path):
    whole = train(network(), loss_of, 20, SETTINGS, tmp_path / "whole", "line")

    class StoppedError(Exception):
        pass

    def stopping(model, items, rng):
        if (tmp_path / "parts" / "last.safetensors").is_file():
            raise StoppedError
        return loss_of(model, items, rng)

    with pytest.raises(StoppedError):
        train(network(), stopping, 20, SETTINGS, tmp_path / "parts", "line")
    parts = train(network(), loss_of, 20, SETTINGS, tmp_path / "parts", "line")
    assert weights(parts.model) == weights(whole.model)
    logs = [[{k: v for k, v in line.items() if k != "s"} for line in run.log] for run in (whole, parts)]
    assert logs[0] == logs[1]
    written = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in written] == [5, 10, 15, 20, 25, 30]


def test_a_killed_process_goes_on_with_the_same_bytes(tmp_path):
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_training import SETTINGS, loss_of, network, train, weights
        def slow(model, items, rng):
            time.sleep(0.02)
            return loss_of(model, items, rng)
        sys.stdout.buffer.write(weights(train(network(), slow, 20, SETTINGS, Path(sys.argv[1]), "line").model))
    """)
    command = [sys.executable, "-c", script, str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "killed" / "last.safetensors").is_file() and time.monotonic() < until:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    resumed = subprocess.run(command, capture_output=True, check=True).stdout
    assert resumed == weights(train(network(), loss_of, 20, SETTINGS, tmp_path / "whole", "line").model)


def test_a_checkpoint_of_another_recipe_or_a_damaged_one_is_refused(tmp_path):
    train(network(), loss_of, 20, SETTINGS, tmp_path, "line")
    with pytest.raises(InputError, match="of another one"):
        train(network(), loss_of, 20, SETTINGS, tmp_path, "curve")
    with pytest.raises(InputError, match="of another one"):
        train(network(), loss_of, 20, SETTINGS.model_copy(update={"steps": 60}), tmp_path, "line")
    with pytest.raises(InputError, match="whole checkpoint of this model"):
        train(nn.Linear(1, 1), loss_of, 20, SETTINGS, tmp_path, "line")
    kept = tmp_path / "last.safetensors"
    kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(InputError, match="whole checkpoint"):
        train(network(), loss_of, 20, SETTINGS, tmp_path, "line")


def test_a_loss_that_is_no_number_stops_training_and_the_last_checkpoint_stays(tmp_path):
    def broken(model, items, rng):
        losses = loss_of(model, items, rng)
        return (
            losses | {"extra": losses["loss"] * float("nan")} if (tmp_path / "last.safetensors").is_file() else losses
        )

    with pytest.raises(AviError, match="extra nan at step 7"):
        train(network(), broken, 20, SETTINGS, tmp_path, "line")
    assert train(network(), loss_of, 20, SETTINGS, tmp_path, "line").log[-1]["step"] == 30


def test_training_leaves_torchs_random_state_as_it_was(tmp_path):
    model = network()
    before = torch.get_rng_state()
    train(model, loss_of, 20, SETTINGS, tmp_path, "line")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_learning_rate_rises_and_falls():
    settings = TrainSettings(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == pytest.approx(1.0)
    assert np.diff(rates[10:]).max() < 0
    assert rates[-1] == pytest.approx(0.01, abs=0.002)


def test_a_device_is_chosen_with_a_reason_and_one_that_is_not_there_is_refused():
    device, reason = choose_device("cpu")
    assert (device.type, reason) == ("cpu", "asked for")
    assert choose_device()[1]
    with pytest.raises(InputError, match="warp"):
        choose_device("warp")
