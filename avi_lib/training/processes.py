"""Several processes on one training: each computes its share of every batch, and all take the same step.

    torchrun --nproc-per-node 2 script.py

`torchrun` says in the environment how many processes there are and which one this is. Without it there is one.

>>> join_processes(torch.device("cpu"))
Processes(rank=0, count=1)
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import distributed, nn

from avi_lib.errors import InputError


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many; the first one, of rank 0, writes files."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, batch: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " share"]:
        """This process' items of a batch; InputError when there is none for one of the processes."""
        if len(batch) < self.count:
            raise InputError(
                "an item for each process in a batch", f"{len(batch)} for {self.count} processes", "take larger batches"
            )
        return np.array_split(batch, self.count)[self.rank]

    def start_alike(self, model: nn.Module, step: int) -> None:
        """Give all processes the first one's weights; InputError when they do not stand at the same step.

        That happens where processes on several machines do not see the same folder.
        """
        if self.count == 1:
            return
        device = next(model.parameters()).device
        steps = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(self.count)]
        distributed.all_gather(steps, torch.tensor(step, device=device))
        if len({int(other) for other in steps}) > 1:
            got = ", ".join(str(int(other)) for other in steps)
            raise InputError("the same checkpoint for every process", f"steps {got}", "train in a folder all can read")
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

    def wait(self) -> None:
        """Wait until all have come here."""
        if self.count > 1:
            distributed.barrier()


def join_processes(device: torch.device) -> Processes:
    """Meet the other processes that `torchrun` started; they stay joined until this one ends.

    On CUDA every process computes on a device of its own (see `choose_device`). Raises InputError where torch is built
    without support for several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    if not distributed.is_available():
        raise InputError("a torch for several processes", "one built without it", "start one process, without torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Processes(distributed.get_rank(), distributed.get_world_size())
