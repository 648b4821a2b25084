"""Training: order, checkpoints, going on after a kill, averaging, errors."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.optim.swa_utils import AveragedModel
from train_line import (
    POINTS,
    SETTINGS,
    SHARED,
    Parts,
    StoppedError,
    loss_of,
    loss_of_parts,
    network,
    stopping_after,
    train_parts,
    untimed,
    weights,
)

from avi_lib.errors import AviError, InputError, OutputError
from avi_lib.settings import TrainSettings
from avi_lib.training import loop

SCRIPT = Path(__file__).with_name("train_line.py")


def written(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_epoch_holds_every_item_once_and_steps_and_processes_have_their_share_and_stream():
    drawn = np.concatenate([loop.batch_at(step, items=12, batch=4, seed=5) for step in range(6)])
    assert sorted(drawn[:12]) == sorted(drawn[12:]) == list(range(12))
    assert (drawn[:12] == np.random.default_rng([5, 0, 0]).permutation(12)).all()
    assert (drawn[:12] != drawn[12:]).any()
    assert len(loop.batch_at(0, items=3, batch=8, seed=0)) == 8
    many, steps = 3 * loop.WINDOW + 5000, range(0, 2)
    order = np.concatenate([loop.batch_at(step, many, batch=many // 2, seed=1) for step in steps])
    assert sorted(order) == list(range(many)) and (order[: loop.WINDOW] > loop.WINDOW).any()
    window = loop.WINDOW - loop.BLOCK  # the last block is short
    assert len(set(order[:window] // loop.BLOCK)) <= loop.WINDOW // loop.BLOCK, "few shards at a time"
    assert (np.diff(order[: loop.BLOCK]) == 1).sum() < 10
    assert loop.rng_at(3, 1).random() == loop.rng_at(3, 1).random()
    assert len({loop.rng_at(step, seed, process).random() for step, seed, process in np.ndindex(9, 9, 2)}) == 162
    shares = [loop.Processes(rank, 3).share(np.arange(5)).tolist() for rank in range(3)]
    assert shares == [[0, 1], [2, 3], [4]]
    with pytest.raises(InputError, match="2 for 3 processes"):
        loop.Processes(0, 3).share(np.arange(2))


def test_training_learns_and_the_same_twice_gives_the_same_bytes(tmp_path):
    models = network(), network()
    state = torch.get_rng_state()
    first, second = (
        loop.train(model, loss_of, 20, SETTINGS.model_copy(update={"steps": 200}), tmp_path / name, "line")
        for model, name in zip(models, "ab", strict=True)
    )
    assert weights(first[0]) == weights(second[0])
    assert first[1][-1]["loss"] < 0.2 * first[1][0]["loss"]
    assert [line["step"] for line in first[1]] == list(range(5, 201, 5))
    assert torch.equal(torch.get_rng_state(), state), "the caller's random state is left as it was"


def test_going_on_from_a_checkpoint_gives_the_bytes_of_an_unbroken_run(tmp_path):
    whole = loop.train(network(), loss_of, 20, SETTINGS, tmp_path / "whole", "line")

    with pytest.raises(StoppedError):
        loop.train(network(), stopping_after(17), 20, SETTINGS, tmp_path / "parts", "line")
    assert [line["step"] for line in written(tmp_path / "parts")] == [5, 10, 15]
    parts = loop.train(network(), loss_of, 20, SETTINGS, tmp_path / "parts", "line")
    assert weights(parts[0]) == weights(whole[0])
    assert untimed(parts[1]) == untimed(whole[1])
    assert written(tmp_path / "parts") == parts[1]
    assert [line["step"] for line in parts[1]] == [5, 10, 15, 20, 25, 30]
    assert np.diff([line["s"] for line in parts[1]]).min() > 0


@pytest.mark.processes
def test_a_killed_process_goes_on_with_the_same_bytes(tmp_path):
    killed = tmp_path / "killed"
    with subprocess.Popen([sys.executable, SCRIPT, "stuck", killed], stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not (killed / "log.jsonl").is_file() or len(written(killed)) < 3:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    whole, resumed = (
        loop.train(network(), loss_of, 20, SETTINGS, tmp_path / name, "line") for name in ("whole", "killed")
    )
    assert weights(resumed[0]) == weights(whole[0])
    assert untimed(resumed[1]) == untimed(whole[1]) == untimed(written(killed))


@pytest.mark.processes
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_two_processes_take_the_steps_of_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ran = subprocess.run([*command, SCRIPT, "shared", tmp_path], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    alone = loop.train(Parts(3), loss_of_parts, 20, SHARED, tmp_path / "alone", "line")
    first, second = (np.frombuffer((tmp_path / f"whole{rank}").read_bytes(), np.float32) for rank in range(2))
    assert (first == second).all()
    assert first == pytest.approx(np.frombuffer(weights(alone[0]), np.float32), abs=1e-5)
    assert (tmp_path / "parts0").read_bytes() == (tmp_path / "parts1").read_bytes() == first.tobytes()
    for ours, theirs in zip(alone[1], written(tmp_path / "whole"), strict=True):
        assert {**theirs, "s": 0} == pytest.approx({**ours, "s": 0}, abs=1e-5)
    assert [(tmp_path / f"lines{rank}").read_text() for rank in range(2)] == ["6", "0"]


@pytest.mark.processes
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_a_stage_trained_by_two_processes_gives_here_what_they_made(tmp_path):
    alone = train_parts(tmp_path / "alone")
    shared = loop.trained_by(2, train_parts, tmp_path / "two", progress=False)
    assert np.frombuffer(weights(shared[0]), np.float32) == pytest.approx(
        np.frombuffer(weights(alone[0]), np.float32), abs=1e-5
    )
    assert [line["step"] for line in shared[1]] == [line["step"] for line in alone[1]]
    with pytest.raises(AviError, match="2 processes that train"):
        loop.trained_by(2, train_parts, Path("/dev/null/none"))


def test_another_number_of_processes_does_not_go_on_with_what_is_not_done(tmp_path):
    with pytest.raises(StoppedError):
        loop.train(network(), stopping_after(17), 20, SETTINGS, tmp_path, "line")
    kept, model = tmp_path / "last.safetensors", network()
    state = torch.optim.AdamW(model.parameters(), fused=True), AveragedModel(model)
    arguments = kept, json.loads(safe_open(kept, "pt").metadata()["avi"])["recipe"], model, state[1], state[0]
    with pytest.raises(InputError, match=r"a checkpoint of 2 processes; got .* of 1"):
        loop.load_checkpoint(*arguments, processes=2, steps=30)
    assert loop.load_checkpoint(*arguments, processes=2, steps=14) == 14, "of the last step anybody makes the result"


def test_batches_are_drawn_ahead_and_the_bytes_are_those_of_drawing_in_turn(tmp_path):
    class Drawing:
        def draw(self, items, rng):
            return items, rng.normal(0, 0.01, (len(items), 1)).astype(np.float32)

        def __call__(self, model, drawn, rng, way):
            x = torch.from_numpy(POINTS[drawn[0], None]) + torch.from_numpy(drawn[1])
            return {"loss": (model(x) - 2 * x).square().mean()}

    ahead = loop.train(network(), Drawing(), 20, SETTINGS, tmp_path / "ahead", "line")
    assert weights(ahead[0]) == weights(loop.train(network(), loss_of, 20, SETTINGS, tmp_path / "turn", "line")[0])


def test_a_checkpoint_of_another_recipe_or_a_damaged_one_is_refused(tmp_path):
    def refuse(match, model=None, items=20, recipe="line", **changes):
        model = network() if model is None else model
        before = weights(model)
        with pytest.raises(InputError, match=match):
            loop.train(model, loss_of, items, SETTINGS.model_copy(update=changes), tmp_path, recipe)
        assert weights(model) == before

    loop.train(network(), loss_of, 20, SETTINGS, tmp_path, "line")
    refuse("of another one", recipe="curve")
    refuse("of another one", steps=60)
    refuse("of another one", items=19)
    other = nn.Sequential(nn.Linear(1, 9), nn.Dropout(0.2), nn.Tanh(), nn.Linear(9, 1))
    refuse(r"of this model; got .*last.safetensors: \(8, 1\) for model.0.weight, not \(9, 1\)", other)
    refuse(r"nothing for model.weight, not \(1, 1\)", nn.Linear(1, 1))
    refuse(r"\(1,\) for average.module.3.bias, not nothing", network()[:3])
    kept = tmp_path / "last.safetensors"
    kept.write_bytes(kept.read_bytes()[:200])
    refuse("whole checkpoint")


def test_a_loss_or_gradient_that_is_no_number_stops_training_before_it_reaches_weights_or_checkpoint(tmp_path):
    def broken(model, items, rng, way):
        losses = loss_of(model, items, rng, way)
        spoilt = {"extra": losses["loss"] * float("nan")} if (tmp_path / "last.safetensors").is_file() else {}
        return losses | spoilt

    def steep(model, items, rng, way):
        return {"loss": (model(torch.zeros(2, 1)) - model[3].bias.detach()).square().sum().mul(0).sqrt()}

    model = network()
    before = weights(model)
    with pytest.raises(AviError, match="loss 0, gradient nan at step 0"):
        loop.train(model, steep, 20, SETTINGS, tmp_path, "line")
    assert weights(model) == before
    with pytest.raises(AviError, match=r"extra nan, gradient .* at step 7"):
        loop.train(network(), broken, 20, SETTINGS, tmp_path, "line")
    assert loop.train(network(), loss_of, 20, SETTINGS, tmp_path, "line")[1][-1]["step"] == 30


def test_what_cannot_be_trained_is_refused_before_the_first_step(tmp_path):
    def untouched(model, items, rng, way):
        raise AssertionError("a step was taken")

    (tmp_path / "file").write_text("")
    (tmp_path / "closed" / "last.safetensors").mkdir(parents=True)
    (tmp_path / "logged").mkdir()
    (tmp_path / "logged" / "log.jsonl").write_text("[1]\n")
    for name, items, error, words in (
        ("run", 0, InputError, "at least one training item; got 0"),
        ("file", 20, OutputError, "file"),
        ("closed", 20, OutputError, r"a file to write; got the folder .*last.safetensors"),
        ("logged", 20, InputError, r"the log of a training; got .*log.jsonl"),
    ):
        with pytest.raises(error, match=words):
            loop.train(network(), untouched, items, SETTINGS, tmp_path / name, "line")
    assert not (tmp_path / "run").exists()


def test_a_log_line_that_a_kill_cut_short_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 5, "s": 1.0}\n{"step": 10, "s": 2.0}\n{"step": 15, "lo')
    assert [line["step"] for line in loop.read_log(path, 20)] == [5, 10]
    assert [line["step"] for line in loop.read_log(path, 9)] == [5]


def test_a_board_shows_the_losses_of_the_log_and_is_refused_without_its_package(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(StoppedError):
        loop.train(network(), stopping_after(17), 20, SETTINGS, tmp_path / "run", "line", board=tmp_path / "board")
    result = loop.train(network(), loss_of, 20, SETTINGS, tmp_path / "run", "line", board=tmp_path / "board")
    shown = EventAccumulator(str(tmp_path / "board"))
    shown.Reload()
    assert [event.step for event in shown.Scalars("loss")] == [5, 10, 15, 20, 25, 30]
    assert [event.value for event in shown.Scalars("loss")] == pytest.approx([line["loss"] for line in result[1]])
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(InputError, match=r"the package tensorboard for a board.*avi-lib\[board\]"):
        loop.train(network(), loss_of, 20, SETTINGS, tmp_path / "other", "line", board=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_learning_rate_rises_and_falls():
    settings = TrainSettings(steps=100, warmup=10, learning_rate=1.0)
    rates = [loop.learning_rate_at(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == pytest.approx(1.0)
    assert np.diff(rates[10:]).max() < 0
    assert rates[-1] == pytest.approx(0.01, abs=0.002)


def test_in_mixed_precision_networks_round_and_a_loss_that_asks_for_float32_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr("avi_lib.training.loop.computes_bfloat16", lambda device: True)
    kinds = set()

    def loss(model, items, rng, way):
        x = torch.from_numpy(POINTS[items, None])
        y = model(x)
        with torch.autocast("cpu", enabled=False):
            error = (y.float() - 2 * x).T @ (y.float() - 2 * x) / len(items)
        kinds.update([y.dtype, error.dtype])
        return {"loss": error[0, 0]}

    result = loop.train(network(), loss, 20, SETTINGS, tmp_path, "line")
    assert kinds == {torch.bfloat16, torch.float32}
    assert {value.dtype for value in result[0].parameters()} == {torch.float32}
    assert result[1][-1]["loss"] < 0.5 * result[1][0]["loss"]


def test_a_device_is_chosen_with_a_reason_one_for_each_process_and_one_that_is_not_there_is_refused(monkeypatch):
    assert loop.choose_device("cpu") == (torch.device("cpu"), "asked for")
    with pytest.raises(InputError, match="warp"):
        loop.choose_device("warp")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", "GPU {}".format)
    assert loop.choose_device() == (torch.device("cuda", 0), "CUDA: GPU 0")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert loop.choose_device("cuda") == (torch.device("cuda", 1), "CUDA: GPU 1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="2 for process 3"):
        loop.choose_device()
