"""The device to compute on, and why.

>>> choose_device()
(device(type='cpu'), 'no CUDA device: torch 2.13.0+cpu is built without CUDA')
"""

from __future__ import annotations

import os

import torch

from avi_lib.errors import InputError


def choose_device(prefer: str = "auto") -> tuple[torch.device, str]:
    """A device and the reason for its choice.

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
        reason = str(error).splitlines()[0]
        raise InputError(
            "a device of this machine, such as cpu or cuda", f"{prefer!r}: {reason}", "use auto"
        ) from error
    return device, "asked for"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether mixed precision pays: on CUDA devices that have bfloat16 and do not only emulate it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
