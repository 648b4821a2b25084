"""The user's cache of frozen models: where it is, whether a model in it is whole, how one gets in.

>>> store = Store()
>>> store.damage(model, thorough=True)  # None when the model is there and whole
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from avi_lib.assets.digest import file_sha256, folder_files, folder_sha256
from avi_lib.assets.manifest import Model
from avi_lib.errors import AssetError
from avi_lib.files import atomic_folder


def cache_folder() -> Path:
    """$AVI_CACHE, else $XDG_CACHE_HOME/avi, else ~/.cache/avi; not created here.

    Raises AssetError when that depends on a home folder and the person has none.
    """
    try:
        if own := os.environ.get("AVI_CACHE"):
            return Path(own).expanduser()
        if base := os.environ.get("XDG_CACHE_HOME"):
            return Path(base) / "avi"
        return Path.home() / ".cache" / "avi"
    except RuntimeError as error:
        raise AssetError("a home folder for the cache", str(error), "set AVI_CACHE to a folder of yours") from error


def damage_of(model: Model, folder: Path, *, thorough: bool) -> str | None:
    """What is wrong with the model's files below `folder`: None when nothing is.

    Compares names and sizes, and contents too when `thorough`.
    """
    for file in model.files:
        path = folder / file.name
        if not path.is_file():
            return f"{file.name} is missing"
        if path.stat().st_size != file.bytes:
            return f"{file.name} has {path.stat().st_size} bytes instead of {file.bytes}"
        if thorough and file_sha256(path) != file.sha256:
            return f"{file.name} has another SHA-256 than the pinned {file.sha256[:12]}…"
    for group in model.folders:
        path = folder / group.name
        sizes = [member.stat().st_size for member in folder_files(path).values()]
        if (len(sizes), sum(sizes)) != (group.count, group.bytes):
            expected = f"{group.count} files of {group.bytes} bytes"
            return f"{group.name}/ has {len(sizes)} files of {sum(sizes)} bytes instead of {expected}"
        if thorough and folder_sha256(path) != group.sha256:
            return f"{group.name}/ has another SHA-256 than the pinned {group.sha256[:12]}…"
    return None


def files_of(model: Model, folder: Path) -> dict[str, Path]:
    """The model's files below `folder` by their names."""
    files = {file.name: folder / file.name for file in model.files}
    for group in model.folders:
        files |= {f"{group.name}/{name}": path for name, path in folder_files(folder / group.name).items()}
    return files


class Store:
    """Models on disk, one folder each, named after the model and its content; each appears whole or not at all."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or cache_folder()) / "models"

    def path(self, model: Model) -> Path:
        """The folder the model has in the cache, whether or not it is there."""
        return self.folder / model.cache_key

    def damage(self, model: Model, *, thorough: bool = False) -> str | None:
        """None when the model is there and whole, else what is wrong."""
        folder = self.path(model)
        return damage_of(model, folder, thorough=thorough) if folder.is_dir() else "not in the cache"

    @contextmanager
    def locked(self, model: Model) -> Iterator[None]:
        """Hold the model's lock, so that of several processes one fetches and the others wait for it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{model.cache_key}.lock")
            lock.acquire()
        except OSError as error:
            raise AssetError(
                f"a cache that can be written ({self.folder})",
                error.strerror or str(error),
                "set AVI_CACHE to a folder of yours",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def set_aside(self, model: Model) -> Path:
        """Move a damaged model out of the way (its lock held); returns where it lies. Only the latest is kept."""
        for older in self.folder.glob(f"{model.cache_key}.damaged-*"):
            shutil.rmtree(older)
        aside = self.folder / f"{model.cache_key}.damaged-{secrets.token_hex(4)}"
        self.path(model).rename(aside)
        return aside

    @contextmanager
    def incoming(self, model: Model) -> Iterator[Path]:
        """Give an empty folder for the model's files; when the block ends well and they are the pinned ones, keep them.

        The model's lock must be held: what an interrupted process left of the same model is removed first.
        Raises AssetError when a file differs from the manifest. Nothing is left behind after a failure.
        """
        with atomic_folder(self.path(model)) as folder:
            yield folder
            if damage := damage_of(model, folder, thorough=True):
                raise AssetError(f"the pinned files of {model.name}", damage, "do not use this source")
