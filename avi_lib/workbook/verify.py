r"""Proof that a run repeats: it is run again, and every file is compared.

>>> found = verify_run(Path("outputs/20261126-101500-00"))
>>> print("\n".join(found.lines()))
9 files repeat

Parameters and the environment are those of the run, as are the notebooks and the library, or what of them has changed
is named. Times differ from run to run and are not compared, see `outputs`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avi_lib.errors import InputError, OutputError
from avi_lib.files import file_sha256
from avi_lib.workbook.manifest import Manifest, locked, read_manifest
from avi_lib.workbook.outputs import differences, repeating
from avi_lib.workbook.runs import places, project_root, repeat_run

MOST_PLACES = 5
"""So many places in a file are named at which it differs."""


@dataclass
class Comparison:
    """A run beside its repetition.

    Args:
        run: its folder.
        files: how many files were compared.
        changed: files of the run that are no longer what it left.
        differs: files that the repetition left otherwise, each with where.
        conditions: what decides a run and is another one now.
        again: the repetition's folder, kept where it differs.
    """

    run: str
    files: int = 0
    changed: list[str] = field(default_factory=list)
    differs: dict[str, list[str]] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)
    again: str | None = None

    @property
    def repeats(self) -> bool:
        """Whether every file is what it was, and came again."""
        return not self.changed and not self.differs

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"repeats": self.repeats, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """For a person."""
        for name in self.changed:
            yield f"changed    {name}: not what the run left"
        for name, where in self.differs.items():
            yield f"differs    {name}: {', '.join(where)}"
        for condition in self.conditions:
            yield f"condition  {condition}"
        if self.again:
            yield f"again      {self.again}"
        repeated = self.files - len(self.differs)
        yield f"{repeated} of {self.files} files repeat" if self.differs else f"{self.files} files repeat"


def verify_run(run: Path, root: Path | None = None) -> Comparison:
    """Repeat a finished run in a folder beside it and compare.

    Raises InputError when the run is not finished or its notebooks or parameters are no longer there, and RunError when
    the repetition fails.
    """
    root = (root or project_root()).resolve()
    run = run.resolve()
    manifest = read_manifest(run)
    if not manifest.finished:
        raise InputError("a finished run", f"{run}, which is not", f"`avi run --resume {run}` first")
    found = Comparison(str(run))
    with locked(run):
        found.changed = sorted(_changed(run, manifest))
    again = _folder_beside(run)
    try:
        repeat_run(manifest, again, root)
    except KeyboardInterrupt:
        shutil.rmtree(again)
        raise
    repeated = read_manifest(again)
    found.conditions = sorted(_conditions(manifest, repeated))
    _compare(found, (run, manifest), (again, repeated), root)
    if found.repeats:
        shutil.rmtree(again)
    else:
        found.again = str(again)
    return found


def _folder_beside(run: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=f"{run.name}-again-", dir=run.parent))
    except OSError as error:
        raise OutputError("room beside the run", f"{run.parent}: {error.strerror}", "make it writable") from error


def _changed(run: Path, manifest: Manifest) -> Iterator[str]:
    """Files of a run that are missing or have other bytes than it left."""
    for stage in manifest.stages.values():
        for name, output in stage.outputs.items():
            path = run / name
            inside = path.resolve().is_relative_to(run)
            if not inside or not path.is_file() or file_sha256(path) != output.sha256:
                yield name


def _conditions(before: Manifest, after: Manifest) -> Iterator[str]:
    """What decides a run and is another one now."""
    for stage, told in before.stages.items():
        now = after.stages[stage]
        for name in sorted(told.inputs.keys() | now.inputs.keys()):
            if name not in ("notebook", "library") and told.inputs.get(name) != now.inputs.get(name):
                yield f"{stage}: input {name} has changed"
        if told.inputs["notebook"] != now.inputs["notebook"]:
            yield f"{stage}: the notebook has changed"
        for name in ("device", "threads"):
            if getattr(told, name) != getattr(now, name):
                yield f"{stage}: {name} {getattr(told, name)}, now {getattr(now, name)}"
    if before.library != after.library:
        yield "the library has changed"
    for kind in ("packages", "system"):
        old, new = getattr(before, kind), getattr(after, kind)
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield f"{name} {old.get(name, 'absent')}, now {new.get(name, 'absent')}"


def _compare(found: Comparison, first: tuple[Path, Manifest], second: tuple[Path, Manifest], root: Path) -> None:
    (run, manifest), (again, repeated) = first, second
    for stage, told in manifest.stages.items():
        now = repeated.stages[stage].outputs
        for name in sorted(told.outputs.keys() | now.keys()):
            found.files += 1
            if name not in now:
                found.differs[name] = ["not made again"]
            elif name not in told.outputs:
                found.differs[name] = ["not made by the run"]
            elif told.outputs[name].repeats != now[name].repeats:
                readable = name not in found.changed
                found.differs[name] = _where(run / name, again / name, run, again, root) if readable else ["the whole"]


def _where(first: Path, second: Path, run: Path, again: Path, root: Path) -> list[str]:
    """Places at which two files of the same name differ."""
    if first.suffix not in (".json", ".jsonl", ".ipynb"):
        return [f"{first.stat().st_size} bytes and {second.stat().st_size}" + _first_byte(first, second)]
    before, after = repeating(first, places(run, root)), repeating(second, places(again, root))
    found = list(differences(before, after))
    what = {".ipynb": "cell ", ".jsonl": "line "}.get(first.suffix, "")
    more = [f"and {len(found) - MOST_PLACES} more"] if len(found) > MOST_PLACES else []
    return [f"{what}{place}" for place in found[:MOST_PLACES]] + more


def _first_byte(first: Path, second: Path) -> str:
    """Where two files begin to differ, in words."""
    with first.open("rb") as one, second.open("rb") as other:
        at = 0
        while True:
            left, right = one.read(1 << 16), other.read(1 << 16)
            if left != right:
                byte = next((i for i, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), None)
                return f", from byte {at + (min(len(left), len(right)) if byte is None else byte)}"
            if not left:
                return ""
            at += len(left)
