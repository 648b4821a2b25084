"""What a stage left: every file with its digest, and with the digest of what must repeat.

>>> files = list_outputs(run, leave_out={"manifest.json"})
>>> digest_outputs(files, {str(run): "RUN"})["talking_face.mp4"]
Output(sha256='80c1...', repeats='80c1...')

Two runs of the same never agree on how long something took. So a file's `repeats` is the digest of its content without
times: what cells print, in notebooks, and values of names such as `train_s` in records and logs. Other files repeat as
a whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from avi_lib.files import file_sha256

RECORD = "record.json"
"""What a notebook records of itself."""

VARIES = "varies"
"""A cell with this tag prints what differs from run to run for a good reason; its outputs are not compared."""

TIMES = re.compile(r"(^|_)(s|ms|seconds)$")
"""Names of values in records and logs that are times."""

_PRINTED = re.compile(r"\d+(?:\.\d+)?(?= (?:CPU )?(?:ms|s|seconds|minutes)\b)")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


class Output(BaseModel):
    """Digests of a file: of its bytes, and of what of it must repeat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    repeats: str


def list_outputs(folder: Path, leave_out: Collection[str] = ()) -> dict[str, Path]:
    """Regular files below a folder by their path from it, without names in `leave_out`.

    A name that begins with a dot, of a file or a folder, is one in the making or a lock.
    """
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*"))}
    return {
        name.as_posix(): path
        for name, path in files.items()
        if path.is_file() and not path.is_symlink() and name.as_posix() not in leave_out
        if not any(part.startswith(".") for part in name.parts)
    }


WIDGET = "application/vnd.jupyter.widget-view+json"
"""A live widget: nothing but a number of this kernel's."""


def digest_outputs(files: Mapping[str, Path], places: Mapping[str, str]) -> dict[str, Output]:
    """Digests of files; `places` are names for folders whose paths differ from run to run."""
    return {name: digest_output(path, places) for name, path in files.items()}


def digest_output(path: Path, places: Mapping[str, str]) -> Output:
    """Digests of one file."""
    sha256 = file_sha256(path)
    if path.suffix not in (".jsonl", ".ipynb") and path.name != RECORD:
        return Output(sha256=sha256, repeats=sha256)
    text = json.dumps(repeating(path, places), sort_keys=True)
    return Output(sha256=sha256, repeats=hashlib.sha256(text.encode()).hexdigest())


def repeating(path: Path, places: Mapping[str, str]) -> Any:
    """What of a record, a log or a notebook must repeat; its text where it is not valid."""
    text = path.read_text("utf-8", errors="replace")
    try:
        if path.suffix == ".ipynb":
            return [_cell(cell, places) for cell in json.loads(text)["cells"]]
        if path.suffix == ".jsonl":
            return [_untimed(json.loads(line)) for line in text.splitlines()]
        return _untimed(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text


def differences(before: Any, after: Any, at: str = "") -> Iterator[str]:
    """Places at which two JSON values differ, as paths such as `losses/align/3`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), f"{at}/{key}" if at else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{at}/{number}" if at else str(number))
    elif before != after:
        yield at or "the whole"


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(each) for key, each in value.items() if not TIMES.search(key)}
    return [_untimed(each) for each in value] if isinstance(value, list) else value


def _cell(cell: dict[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """Source and outputs of a cell without times, addresses, and the folders of one run."""
    kept = {"kind": cell["cell_type"], "source": _placed("".join(cell["source"]), places)}
    if cell["cell_type"] == "code" and VARIES not in cell.get("metadata", {}).get("tags", ()):
        outputs = cell["outputs"]
        printed = "".join("".join(each["text"]) for each in outputs if each.get("name") == "stdout")
        shown = [each for each in outputs if each["output_type"] != "stream"]
        kept["printed"] = _timeless(printed, places)
        kept["shown"] = [_shown(each, places) for each in shown]
    return kept


def _shown(output: dict[str, Any], places: Mapping[str, str]) -> Any:
    if output["output_type"] == "error":
        return [output["ename"], _timeless(output["evalue"], places)]
    texts = {kind: "".join(data) if isinstance(data, list) else data for kind, data in output["data"].items()}
    told = {kind: data for kind, data in texts.items() if kind != WIDGET}
    return {kind: _timeless(data, places) if kind.startswith("text/") else data for kind, data in told.items()}


def _timeless(text: str, places: Mapping[str, str]) -> str:
    return _ADDRESS.sub("0x", _PRINTED.sub("#", _placed(text, places)))


def _placed(text: str, places: Mapping[str, str]) -> str:
    for folder, name in places.items():
        text = text.replace(folder, name)
    return text
