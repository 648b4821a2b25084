"""The process that a notebook's cells run in: a Python kernel that does not outlive the run that started it.

    python -m avi_lib.workbook.kernel -f CONNECTION_FILE

ipykernel looks once a second whether its parent lives, in a thread that waits while native code computes. On Linux the
system ends the kernel at once.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the system kill this process when its parent ends; nothing where that cannot be had."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ.get("JPY_PARENT_PID", os.getppid())):
        os._exit(1)  # it ended before the system was asked


def facts() -> str:
    """Device and threads that this process computed with, as JSON; asked from a kernel after its last cell."""
    torch = sys.modules.get("torch")
    if torch is None:
        return json.dumps({"device": "cpu", "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))})
    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    device = f"cuda: {torch.cuda.get_device_name()}" if used else f"cpu: {torch.backends.cpu.get_cpu_capability()}"
    return json.dumps({"device": device, "threads": torch.get_num_threads()})


def main() -> None:
    """Serve a notebook until it says stop."""
    end_with_parent()
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    main()
