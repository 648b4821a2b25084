"""The training loop: a model and a loss in, averaged weights out; killed at any moment it goes on as if it never was.

>>> device, reason = choose_device()
>>> model, log = train(model, loss_of, len(clips), TrainSettings(steps=400), Path("outputs/run"), "first", device)

`loss_of(model, items, rng, way)` gives named losses of a batch, each a mean over its items, of which "loss" is
minimised. `items` are numbers of the training items, `rng` is the step's own random stream, `way` is how far training
is, 0 to 1. The folder holds the checkpoint, `last.safetensors`, and `log.jsonl`. Random numbers and the order of
batches follow from seed and step, so no generator's state is kept. Under `torchrun` processes share every batch. Where
`loss_of` has a method `draw(items, rng)`, what that gives stands for `items`, and it is drawn while the step before is
computed, so that a GPU need not wait; `rng` goes on behind it.

On CUDA `loss_of` runs under autocast to bfloat16: linear layers, convolutions and matrix products round, and give
bfloat16. A loss keeps float32 by taking what the networks give as `.float()` and computing from there on inside
`torch.autocast(device.type, enabled=False)`. Weights, gradients, moments and averages are float32 throughout.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import math
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from avi_lib.errors import AviError, InputError, OutputError, cause, one_line
from avi_lib.files import check_writable, make_folder, write_file
from avi_lib.settings import Settings, TrainSettings
from avi_lib.weights import check_weights

LogLine = dict[str, Any]
M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")
LossOf = Callable[[M, Any, np.random.Generator, float], Mapping[str, torch.Tensor]]
Losses = dict[str, torch.Tensor]
REMEDY = "train into another folder, or remove this one"


class How(TypedDict, total=False):
    """How a training runs and is watched, whatever is trained; see `train`."""

    device: torch.device | None
    progress: bool | None
    on_log: Callable[[LogLine], None] | None
    board: Path | None


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """A linear rise over the warm-up, then a cosine down to a hundredth (Loshchilov and Hutter 2017, SGDR)."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    way = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.learning_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(way, 1.0))))


# The order of training is a function of seed and step, so that no state has to be kept.


BLOCK, WINDOW = 4096, 65_536


def batch_at(step: int, items: int, batch: int, seed: int) -> Int[np.ndarray, " batch"]:
    """Numbers of the items of a step's batch, `batch` of them.

    Every epoch is a permutation of all items, drawn from seed and epoch alone; epochs follow on without a rest, so a
    batch may begin in one and end in the next. Of more than `WINDOW` items, blocks of `BLOCK` neighbours come in any
    order and the items of so many blocks as fill a window are mixed: neighbours lie in the same shards, so that the
    shards of a window are enough at a time.
    """
    epochs, places = np.divmod(np.arange(step * batch, (step + 1) * batch), items)
    return np.array([_place(p, items, seed, epoch) for epoch, p in zip(epochs.tolist(), places.tolist(), strict=True)])


def _place(place: int, items: int, seed: int, epoch: int) -> int:
    """The item at a place of an epoch."""
    if items <= WINDOW:
        return int(_mixed(items, seed, epoch)[place])
    blocks, starts = _blocks(items, seed, epoch)
    few = WINDOW // BLOCK
    window = (bisect_right(starts, place) - 1) // few
    first, last = starts[few * window], starts[min(few * (window + 1), len(blocks))]
    drawn = first + int(_mixed(last - first, seed, epoch, window + 1)[place - first])
    block = bisect_right(starts, drawn) - 1
    return BLOCK * blocks[block] + drawn - starts[block]


@lru_cache(maxsize=4)
def _mixed(count: int, *seeds: int) -> Int[np.ndarray, " count"]:
    return np.random.default_rng([seeds[0], 0, *seeds[1:]]).permutation(count)


@lru_cache(maxsize=4)
def _blocks(items: int, seed: int, epoch: int) -> tuple[list[int], list[int]]:
    """The order of an epoch's blocks, and at which place each begins; the last place is behind all."""
    blocks = _mixed(-(-items // BLOCK), seed, epoch).tolist()
    return blocks, list(accumulate((min(BLOCK, items - BLOCK * block) for block in blocks), initial=0))


def rng_at(step: int, seed: int, process: int = 0) -> np.random.Generator:
    """The random stream of a step in a process: crops, scripts, noise.

    Several processes share a batch and draw from a stream each, so a step's items are those of one process alone, and
    what is drawn for them is not; the same number of processes draws the same.
    """
    return np.random.default_rng([seed, 1, step, process])


def choose_device(prefer: str = "auto") -> tuple[torch.device, str]:
    """A device to compute on and the reason for its choice.

    `prefer` is "auto", which takes a CUDA device where there is one, or a device as torch names it. Under `torchrun`
    each process takes a CUDA device of its own. Raises InputError for a device that is not there.
    """
    cuda = torch.cuda.is_available()
    if prefer in ("auto", "cuda") and cuda:
        place, devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if place >= devices:
            got = f"{devices} for process {place + 1} of this machine"
            raise InputError("a CUDA device for each process", got, "start fewer with torchrun")
        return torch.device("cuda", place), f"CUDA: {torch.cuda.get_device_name(place)}"
    if prefer == "auto":
        built = "finds none" if torch.version.cuda else "is built without CUDA"
        return torch.device("cpu"), f"no CUDA device: torch {torch.__version__} {built}"
    try:
        device = torch.device(prefer)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        got = f"{prefer!r}: {str(error).splitlines()[0]}"
        raise InputError("a device of this machine, such as cpu or cuda", got, "use auto") from error
    return device, "asked for"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether mixed precision pays: on CUDA devices that have bfloat16 and do not only emulate it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _check_distributed() -> None:
    if not distributed.is_available():
        raise InputError("a torch for several processes", "one built without it", "start one process, without torchrun")


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many on one training: each computes its share of every batch, all take one step."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Processes:
        """Meet the other processes that `torchrun` started; they stay joined until this one ends.

        Raises InputError where torch is built without support for several processes.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        _check_distributed()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
            atexit.register(distributed.destroy_process_group)
        return cls(distributed.get_rank(), distributed.get_world_size())

    def share(self, batch: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " share"]:
        """This process' items of a batch; InputError when there is none for one of the processes."""
        if len(batch) < self.count:
            got = f"{len(batch)} for {self.count} processes"
            raise InputError("an item for each process in a batch", got, "take larger batches")
        return np.array_split(batch, self.count)[self.rank]

    def start_alike(self, model: nn.Module, step: int) -> None:
        """Give all processes the first one's weights; InputError when they do not stand at the same step.

        That happens where processes on several machines do not see the same folder.
        """
        if self.count == 1:
            return
        steps = torch.zeros(self.count, dtype=torch.int64, device=next(model.parameters()).device)
        steps[self.rank] = step
        distributed.all_reduce(steps)
        if len(set(steps.tolist())) > 1:
            got = f"steps {', '.join(map(str, steps.tolist()))}"
            raise InputError("the same checkpoint for every process", got, "train in a folder all can read")
        for value in model.state_dict().values():
            distributed.broadcast(value, 0)

    def average_losses(self, losses: Mapping[str, torch.Tensor], weight: float) -> dict[str, float]:
        """Losses of the whole batch; this process' share of the items is `weight`. All have the same names."""
        values = torch.stack([value.detach().float() for value in losses.values()])
        if self.count > 1:
            values *= weight
            distributed.all_reduce(values)
        return dict(zip(losses, values.tolist(), strict=True))

    def average_gradients(self, model: nn.Module, weight: float) -> None:
        """Gradients of the whole batch in place of those of this process' share.

        They are summed after the backward pass rather than by hooks in the forward pass, so a loss may call the parts
        of a model as it likes. A parameter that no process used stays without a gradient.
        """
        if self.count == 1:
            return
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        used = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad * weight for p in parameters]
        summed = torch.cat([used.to(gradients[0]), *(gradient.flatten() for gradient in gradients)])
        distributed.all_reduce(summed)
        users, flat = summed[: len(parameters)].tolist(), summed[len(parameters) :]
        pieces = flat.split([parameter.numel() for parameter in parameters])
        for parameter, users_of_it, piece in zip(parameters, users, pieces, strict=True):
            parameter.grad = piece.view_as(parameter) if users_of_it else None


class TrainingLog:
    """A line of losses every so many steps, in memory, in a file and on a TensorBoard where one is asked for.

    The file `path` has a JSON object a line, of which those up to `step` are kept; `board` is the folder of the
    TensorBoard. A process that has not `written` keeps lines in memory alone. Raises InputError for a file that is no
    log, and a board without the package `tensorboard`; OutputError where file or board cannot be written.
    """

    def __init__(self, path: Path, step: int, board: Path | None = None, written: bool = True) -> None:
        self.path, self.written = path, written
        self.lines = read_log(path, step) if path.exists() else []
        self._board: Any = None
        if board is not None and written:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                do = "pip install 'avi-lib[board]', or train without a board"
                raise InputError("the package tensorboard for a board", str(error), do) from error
            make_folder(board)
            check_writable(board / "events")
            self._board = SummaryWriter(str(board), purge_step=step + 1)  # nothing past the step is shown
        self._begun_s = time.perf_counter() - (self.lines[-1]["s"] if self.lines else 0.0)
        if written:
            write_file(path, "".join(f"{json.dumps(line)}\n" for line in self.lines).encode())

    def add(self, step: int, losses: Mapping[str, float], epoch: float) -> LogLine:
        """Add a step's losses; `s` is the time that training has taken, in all runs together."""
        line = {"step": step, "epoch": epoch, **losses, "s": time.perf_counter() - self._begun_s}
        self.lines.append(line)
        if not self.written:
            return line
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
                file.flush()
                os.fsync(file.fileno())
            if self._board is not None:
                for name, value in losses.items():
                    self._board.add_scalar(name, value, step)
                self._board.flush()
        except OSError as error:
            got = cause(error)
            raise OutputError(f"room to write {self.path}", got, "free space; training goes on from there") from error
        return line


def read_log(path: Path, step: int) -> list[LogLine]:
    """Lines of a log up to a step; a last line that a kill cut short is dropped. InputError for another file."""
    try:
        lines = list(map(json.loads, path.read_text("utf-8").rpartition("\n")[0].splitlines()))
        return [line for line in lines if line["step"] <= step and line["s"] >= 0]
    except (OSError, ValueError, KeyError, TypeError) as error:
        do = "remove it, or take another folder"
        raise InputError("the log of a training", f"{path}: {cause(error)}", do) from error


# Checkpoints: everything that training needs to go on as if it had never stopped, in one safetensors file.
def save_checkpoint(
    path: Path,
    step: int,
    recipe: str,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    processes: int = 1,
) -> None:
    """Write step, recipe, weights, averaged weights, the optimizer's state, number of processes, atomically."""
    tensors = nn.ModuleDict({"model": model, "average": average}).state_dict()
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in moments.items()}
    written = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_file(path, save(written, {"avi": json.dumps({"step": step, "recipe": recipe, "processes": processes})}))


def load_checkpoint(
    path: Path,
    recipe: str,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    processes: int = 1,
    steps: int = 0,
) -> int:
    """Put a checkpoint into model, average and optimizer; its step.

    Raises InputError when it is damaged, of another recipe or of another model, or left by another number of processes
    before its last step (they draw other random numbers); all three are as they were then.
    """
    both, moments = nn.ModuleDict({"model": model, "average": average}), dict[int, dict[str, torch.Tensor]]()
    try:
        with safe_open(path, "pt") as stored:
            header = json.loads((stored.metadata() or {})["avi"])
            step = int(header["step"])
            if header["recipe"] != recipe:
                raise InputError("a checkpoint of this recipe", f"{path} of another one", REMEDY)
            if step < steps and (made := header.get("processes", 1)) != processes:
                raise InputError(f"a checkpoint of {processes} processes", f"{path} of {made}", f"take {made}")
            found = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        for name in [name for name in found if name.startswith("optimizer/")]:
            _, number, moment = name.split("/")
            moments.setdefault(int(number), {})[moment] = found.pop(name)
        check_weights(both, found)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError("a whole checkpoint of this model", f"{path}: {cause(error)}", REMEDY) from error
    both.load_state_dict(found)
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return step


def trained_by(processes: int, stage: Callable[..., T], *parts: Any, **how: Any) -> T:
    """What a stage of training gives, with several processes of this machine on it, started as `torchrun` does.

    They leave the checkpoint of the last step in the stage's folder, and from it the stage gives its result here.
    `stage` and `parts` are pickled; `how` is that of the processes but for callbacks, boards and bars.
    """
    if processes > 1:
        _check_distributed()
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        config = LaunchConfig(
            *(1, 1, processes), run_id="avi", rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0
        )
        try:
            elastic_launch(config, _take_part)(stage, parts, {name: how[name] for name in how if name == "device"})
        except ChildFailedError as error:
            got = one_line(str(error.get_first_failure()[1].message))
            raise AviError(f"{processes} processes that train", got, "start with one to see more") from error
    return stage(*parts, **how)


def _take_part(stage: Callable[..., object], parts: Sequence[Any], how: Mapping[str, Any]) -> None:
    stage(*parts, **how, progress=False)


LICENCES = {
    **dict.fromkeys(("samples", "synthesised"), "Apache-2.0"),
    **dict.fromkeys(("ravdess", "nemo", "koemo", "av_ravdess_au"), "CC-BY-NC-SA-4.0"),
    "av_grid_s1": "CC-BY-4.0",
    "crema": "ODbL-1.0",
    "emodb": "CC0-1.0",
    "facegood": "MIT",
}
"""Licences of well-known corpora, by the names that folders of theirs have here."""


def about_training(
    corpora: Sequence[str], settings: Settings, licences: Mapping[str, str], digest: str
) -> dict[str, object]:
    """For the header of a file of weights: corpora with their licences, settings, digest of the training data.

    corpora, licences: names of corpora, and licences by name, beside those of `LICENCES`.
    """
    named = {name: {**LICENCES, **licences}.get(name, "unknown") for name in corpora}
    return {"corpora": named, "settings": settings.model_dump(), "bank": digest}


def train(
    model: M,
    loss_of: LossOf[M],
    items: int,
    settings: TrainSettings,
    folder: Path,
    recipe: str,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: Callable[[LogLine], None] | None = None,
    board: Path | None = None,
) -> tuple[M, list[LogLine]]:
    """Train a model in place, going on from the folder's checkpoint where there is one.

    Killed or not, the result is the same to the bit, on a processor with as many threads; CUDA adds in any order.

    model, loss_of: the network, which is moved to the device, and losses of a batch, see above; items: how many there
    are; folder: where checkpoint and log are kept; recipe: what is trained on what, in words or a digest: with items
    and settings it decides whether a checkpoint fits; device: the processor when None; progress: show a bar, on a
    terminal only when None; on_log: called with every line of the log, in the first process alone; board: folder of a
    TensorBoard that shows the losses.

    Gives the averaged weights in a model of their own, and the log's lines. Raises AviError for a loss or gradient that
    is not finite, the checkpoint before is kept then; InputError for no item, fewer in a batch than processes, a folder
    that cannot be written or holds a checkpoint of another recipe or model, and a board without its package.
    """
    if items < 1:
        raise InputError("at least one training item", str(items), "check the corpus and what is selected from it")
    device = device or torch.device("cpu")
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    processes = Processes.join(device)
    first = processes.rank == 0
    make_folder(folder)
    kept, numbers = folder / "last.safetensors", settings.model_dump_json(exclude={"save_every", "log_every"})
    digest = hashlib.sha256(f"{recipe}\n{items}\n{numbers}".encode()).hexdigest()
    check_writable(kept)
    model.to(device).train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    rate, decay = settings.learning_rate, settings.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    state, count, last = (model, average, optimizer), processes.count, settings.steps
    step = load_checkpoint(kept, digest, *state, count, last) if kept.is_file() else 0
    processes.start_alike(model, step)
    log = TrainingLog(folder / "log.jsonl", step, board, written=first)
    hidden = True if not first else None if progress is None else not progress
    draw: Callable[..., Any] = getattr(loss_of, "draw", lambda items, _: items)

    def drawn(step: int) -> tuple[int, np.random.Generator, Any]:
        """A step's items, how many there are, and its random stream behind what was drawn for them."""
        items_of_step = processes.share(batch_at(step, items, settings.batch, settings.seed))
        rng = rng_at(step, settings.seed, processes.rank)
        return len(items_of_step), rng, draw(items_of_step, rng)

    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else ()),
        tqdm(desc="training", total=last, initial=step, unit=" steps", leave=False, disable=hidden) as shown,
        ThreadPoolExecutor(1) as ahead,
    ):
        coming = ahead.submit(drawn, step)
        while step < last:
            share, rng, batch = coming.result()
            if step + 1 < last:
                coming = ahead.submit(drawn, step + 1)
            seed = np.random.SeedSequence([settings.seed, 2, step, processes.rank]).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(seed >> 1))  # of dropout
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, settings)
            with torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device)):
                found = loss_of(model, batch, rng, step / last)
            optimizer.zero_grad(set_to_none=True)
            found["loss"].backward()
            weight = share / settings.batch
            processes.average_gradients(model, weight)
            losses = processes.average_losses(found, weight)
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), settings.clip, foreach=True))
            if not all(map(math.isfinite, [*losses.values(), norm])):
                got = ", ".join(f"{name} {value:g}" for name, value in losses.items()) + f", gradient {norm:g}"
                do = "lower the learning rate, or look for bad items"
                raise AviError("finite losses", f"{got} at step {step}", do)
            optimizer.step()
            average.update_parameters(model)
            step += 1
            shown.update()
            if step % settings.log_every == 0 or step == last:
                line = log.add(step, losses, epoch=step * settings.batch / items)
                shown.set_postfix(loss=f"{losses['loss']:.4g}")
                if on_log is not None and first:
                    on_log(line)
            if (step % settings.save_every == 0 or step == last) and first:
                save_checkpoint(kept, step, digest, *state, count)
    if processes.count > 1:
        distributed.barrier()
    return cast(M, average.module), log.lines
