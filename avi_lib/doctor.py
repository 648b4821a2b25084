"""What `avi doctor` says: what is installed, found and chosen on this machine, and why.

>>> for check in doctor():
...     print("ok" if check.ok else "NO", check.name, check.detail)
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from avi_lib.errors import AviError
from avi_lib.files import check_writable, file_sha256
from avi_lib.models import Model, Shipped, cache_folder, inspect, load_manifest

PACKAGES = "torch numpy av soxr librosa numba transformers safetensors papermill hama pocketsphinx".split()
FREE_DISK_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Check:
    """One thing looked at: its name, whether it is as the product needs it, and what was found and why."""

    name: str
    ok: bool
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def doctor(outputs: Path = Path("outputs")) -> list[Check]:
    """Look at this machine; `outputs` is where results are to be written. Changes and fetches nothing."""
    looks: dict[str, Callable[[], str]] = {
        "python": _python,
        "device": _device,
        "video and sound encoders": _codecs,
        "renderer": _renderer,
        "face tracking": _tracking,
        "outputs folder": partial(_folder, outputs),
        "cache folder": lambda: _folder(cache_folder()),
        **{f"package {name}": partial(importlib.metadata.version, name) for name in PACKAGES},
        "manifest": lambda: f"{len(load_manifest().models)} models, {len(load_manifest().shipped)} shipped assets",
    }
    checks = [_look(name, look) for name, look in looks.items()]
    if checks[-1].ok:
        checks += [_look(f"shipped {asset.name}", partial(_shipped, asset)) for asset in load_manifest().shipped]
        checks += [_look(f"model {model.name}", partial(_model, model)) for model in load_manifest().models]
    return checks


def _look(name: str, look: Callable[[], str]) -> Check:
    """What a look finds; whatever it raises is a finding too, so that the list is always whole."""
    try:
        return Check(name, True, look())
    except AviError as error:
        return Check(name, False, str(error))
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}".removesuffix(": "))


def _python() -> str:
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        raise AviError("Python 3.11 or 3.12", platform.python_version(), "make the environment with one of them")
    return f"{platform.python_version()} at {sys.executable} on {platform.platform()}"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}, because torch {torch.__version__} sees it"
    why = "torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"cpu with {torch.get_num_threads()} threads, because {why}; {usable} usable of {os.cpu_count()} cores"


def _codecs() -> str:
    import av

    for codec in ("libx264", "aac"):
        av.Codec(codec, "w")
    return f"H.264 (libx264) and AAC, PyAV {av.__version__}"


def _renderer() -> str:
    from avi_lib.face.camera import View
    from avi_lib.face.head import load_head
    from avi_lib.face.raster import Rasteriser

    head = load_head()
    with Rasteriser(head, View.square(64)) as rasteriser:
        rasteriser.draw(head.vertices)
    return "numba z-buffer: a test picture came out"


def _tracking() -> str:
    from avi_lib.face.tracking import check_mediapipe

    try:
        return f"MediaPipe {check_mediapipe()} starts, on the cpu"
    except AviError as error:
        return f"not to be had: {error}; `avi track` and adapters with videos need it, nothing else does"


def _folder(folder: Path) -> str:
    place = folder
    while not place.exists():
        place = place.parent
    check_writable(place / "probe")
    free = shutil.disk_usage(place).free
    if free < FREE_DISK_BYTES:
        raise AviError(f"{FREE_DISK_BYTES / 1e9:.0f} GB free in {folder}", f"{free / 1e9:.1f} GB", "free some space")
    return f"{folder.absolute()}, writable, {free / 1e9:.0f} GB free"


def _shipped(asset: Shipped) -> str:
    sha256 = file_sha256(asset.path) if asset.path.is_file() else "none"
    if sha256 != asset.sha256:
        raise AviError(f"the pinned {asset.path}", f"SHA-256 {sha256[:12]}", "install the package again")
    return f"{asset.path}, {asset.licence}, SHA-256 {sha256[:12]}…"


def _model(model: Model) -> str:
    name = model.name
    state, detail = inspect(model, thorough=True)
    if state == "absent":
        fetch = f"`avi models {name}` fetches {model.bytes / 1e6:.0f} MB"
        if model.set_up:
            raise AviError(f"the model {name} ({model.licence})", f"{state}: {detail}", fetch)
        detail += f"; {fetch}; not needed unless asked for"
    if state == "wrong":
        raise AviError(f"your own {name}", detail, f"correct {model.environment_variable}")
    if state == "damaged":
        raise AviError(f"the model {name} as pinned", detail, f"`avi models {name} --check` fetches it again")
    return f"{state}: {detail} ({model.licence})"
