"""Runs side by side: what they were asked for, their figures, their curves and their pictures.

>>> found = compare_runs([Path("outputs/first"), Path("outputs/second")])
>>> found.figures["guidance"]; found.write_html(Path("outputs/both.html"))
[1.0, 2.0]

In a notebook the comparison shows itself. A sweep is runs that differ in one parameter, `avi run 04 -p GUIDANCE=1,2,4`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avi_lib.errors import InputError
from avi_lib.evaluation.report import page_of
from avi_lib.files import atomic_path
from avi_lib.workbook.run import MANIFEST, RECORD, Values, choose, find_stages, read_manifest

MOST_RUNS, MOST_PICTURES = 12, 24
Rows = dict[str, list[Any]]  # by name a value for each run, None where it has none


class Picture(NamedTuple):
    """A picture that notebooks show in one place: its heading, and a PNG of each run, or None."""

    title: str
    pngs: list[bytes | None]


class Comparison(NamedTuple):
    """Finished stages of runs side by side: parameters and conditions that differ, figures, training curves, pictures.

    `curves` have for each run an array (steps, 2) of step and value, or None.
    """

    runs: list[str]
    settings: Rows
    figures: Rows
    curves: Rows
    pictures: list[Picture]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: without curves and pictures."""
        return {"runs": self.runs, "settings": self.settings, "figures": self.figures}

    def lines(self) -> Iterator[str]:
        """For a person: settings that differ, then figures, a column a run."""
        shown = [Path(run).name for run in self.runs]
        wide = max(map(len, (*self.settings, *self.figures, "")), default=0)
        columns = [max(12, len(name)) for name in shown]
        for heading, rows in (("settings that differ", self.settings), ("figures", self.figures)):
            yield f"{heading:{wide}s}  " + "  ".join(f"{name:>{w}s}" for name, w in zip(shown, columns, strict=True))
            for name, values in rows.items():
                texts = [_text(value)[:w] for value, w in zip(values, columns, strict=True)]
                yield f"{name:{wide}s}  " + "  ".join(f"{t:>{w}s}" for t, w in zip(texts, columns, strict=True))

    def html(self) -> str:
        """One page, with pictures within and nothing from the network."""
        drawn = [(name, _drawn(name, curves, self.runs)) for name, curves in self.curves.items()]
        names, template = [Path(run).name for run in self.runs], Path(__file__).with_name("comparison.html")
        return page_of(template, found=self, names=names, drawn=drawn, text=_text)

    def _repr_html_(self) -> str:
        return self.html()

    def write_html(self, path: Path) -> None:
        """Write the page, atomically."""
        with atomic_path(path) as temporary:
            temporary.write_text(self.html(), "utf-8")


def compare_runs(runs: Sequence[Path]) -> Comparison:
    """Runs side by side; what all of them have alike is left out of the settings. A folder of runs stands for these.

    Raises InputError for fewer than two runs or too many, for a folder that holds none, and for runs of no common
    notebook.
    """
    runs = [run for folder in runs for run in _below(folder)]
    if not 2 <= len(runs) <= MOST_RUNS:
        raise InputError(f"2 to {MOST_RUNS} runs", f"{len(runs)}", "name folders below outputs/")
    manifests = [read_manifest(run) for run in runs]
    stages = [name for name in manifests[0]["parameters"] if all(name in each["stages"] for each in manifests)]
    if not stages:
        got = "; ".join(", ".join(each["stages"]) or "none" for each in manifests)
        raise InputError("runs of one notebook", got, "run the same notebook with other parameters")
    found = [_found(run, manifest, stages) for run, manifest in zip(runs, manifests, strict=True)]
    settings, figures = (_by_run([each[part] for each in found]) for part in (0, 1))
    settings = {name: row for name, row in settings.items() if len({json.dumps(value) for value in row}) > 1}
    pictures = []
    for stage in stages:
        shown = [_pictures(run / f"{stage}.ipynb") for run in runs]
        for place in dict.fromkeys(place for each in shown for place in each):
            pictures.append(Picture(f"{stage}: {place[0]}", [each.get(place) for each in shown]))
    names = [str(run) for run in runs]
    return Comparison(names, settings, figures, _by_run([_curves(run) for run in runs]), pictures[:MOST_PICTURES])


def _below(folder: Path) -> list[Path]:
    """The runs in a folder that is none itself, as a sweep leaves them; else the folder itself; none of a file."""
    inside = [] if (folder / MANIFEST).exists() else sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    return inside or ([] if folder.is_file() else [folder])


def sweep(
    root: Path, numbers: Sequence[str], texts: Mapping[str, str], profile: str | None = None
) -> list[dict[str, str]]:
    """Parameters of every run of a sweep: a number, a truth value or a text with | is one value, 1,2,4 are three.

    One entry where nothing is swept. Raises InputError as `choose` does.
    """
    defaults = {name: value for values in find_stages(root, numbers).values() for name, value in values.items()}
    parts = {name: "," if isinstance(defaults.get(name), int | float) else "|" for name in texts}
    values = [
        [part.strip() for part in text.split(parts[name])] if parts[name] in text else [text]
        for name, text in texts.items()
    ]
    many = [dict(zip(texts, chosen, strict=True)) for chosen in product(*values)]
    if len(many) > MOST_RUNS:
        raise InputError(f"at most {MOST_RUNS} runs", f"{len(many)}", "name fewer values")
    for each in many:
        choose(find_stages(root, numbers), each, profile)
    return many


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _by_run(found: Sequence[Mapping[str, Any]]) -> Rows:
    """A row for every name, in the order of the first run that has it."""
    names = dict.fromkeys(name for each in found for name in each)
    return {name: [each.get(name) for each in found] for name in names}


def _found(run: Path, manifest: Mapping[str, Any], stages: Sequence[str]) -> tuple[Values, Values]:
    """Parameters of the stages with what they ran on, and numbers that their notebooks recorded."""
    settings: Values = {}
    figures: Values = {}
    for stage in stages:
        before = "" if len(stages) == 1 else f"{stage}: "
        done, asked = manifest["stages"][stage], dict(manifest["parameters"][stage])
        asked.pop("OUT", None)
        asked |= {name: done.get(name) for name in ("device", "threads")}
        settings |= {f"{before}{name}": value for name, value in asked.items()}
        path = (run if len(manifest["parameters"]) == 1 else run / stage) / RECORD
        if path.is_file():
            _flatten(json.loads(path.read_text("utf-8")), before, figures)
    return settings | {"commit": manifest.get("commit"), "library": manifest["library"][:12]}, figures


def _flatten(value: Any, name: str, flat: Values) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _flatten(each, f"{name}{' ' * bool(name and not name.endswith(' '))}{key}", flat)
    elif isinstance(value, bool | int | float):
        flat[name] = value


def _curves(run: Path) -> dict[str, np.ndarray]:
    """What trainings logged, by the log's folder and the value's name: step and value (steps, 2)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for path in sorted(run.rglob("log.jsonl")):
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            flat: Values = {}
            step = row.pop("step", 0)
            _flatten({key: value for key, value in row.items() if key not in ("epoch", "s")}, "", flat)
            for name, value in flat.items():
                found.setdefault(f"{path.parent.relative_to(run)}: {name}", []).append((step, value))
    return {name: np.array(points, float) for name, points in found.items() if len(points) > 1}


def _pictures(notebook: Path) -> dict[tuple[str, int], bytes]:
    """PNGs of an executed notebook by the heading above them and their number below it."""
    if not notebook.is_file():
        return {}
    heading, number, found = "", 0, {}
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        lines = "".join(cell["source"]).splitlines()
        if cell["cell_type"] == "markdown" and lines and lines[0].startswith("#"):
            heading, number = lines[0].lstrip("# "), 0
        for output in cell.get("outputs", ()):
            if png := output.get("data", {}).get("image/png"):
                found[heading, number] = base64.b64decode(png)
                number += 1
    return found


def _drawn(name: str, curves: Sequence[np.ndarray | None], runs: Sequence[str]) -> bytes:
    """The curves of one value over the steps of the training, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for curve, run in zip(curves, runs, strict=True):
        if curve is not None:
            axes.plot(curve[:, 0], curve[:, 1], label=Path(run).name)
    axes.set(xlabel="step", ylabel=name.partition(": ")[2], title=name.partition(": ")[0])
    axes.legend(frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
