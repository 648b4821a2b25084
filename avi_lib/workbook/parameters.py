"""Parameters of notebooks: what a parameters cell declares, and texts of a command line made into its values.

>>> read_parameters(Path("notebooks/00_quickstart.ipynb"))["SIZE"]
512
>>> choose({"00_quickstart": {"SIZE": 512, "TEXT": ""}}, {"SIZE": "256", "TEXT": "007"})
{'00_quickstart': {'SIZE': 256, 'TEXT': '007'}}

A value keeps the kind of its default: where that is a text, "007", "true" and "1e3" stay texts.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from avi_lib.errors import InputError
from avi_lib.settings import PROFILES, RenderSettings, Settings, TalkSettings

Values = dict[str, Any]

OUT = "OUT"
"""The parameter with the folder of results, which belongs to the run."""

PROFILE = "PROFILE"

SETTINGS: Mapping[str, tuple[type[Settings], str]] = {
    "SEED": (TalkSettings, "seed"),
    "SIZE": (RenderSettings, "size"),
}
"""Parameters that are a setting of the library, which says what values fit."""

MOST_BYTES = 1 << 28
"""A larger notebook is refused."""

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list as JSON",
    dict: "an object as JSON",
    type(None): "a value as JSON",
}


def read_cells(notebook: Path) -> list[dict[str, Any]]:
    """Cells of a notebook file; InputError when it is none."""
    try:
        if notebook.stat().st_size > MOST_BYTES:
            raise InputError(f"a notebook of at most {MOST_BYTES} bytes", str(notebook), "clear its outputs")
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        return [{**cell, "source": "".join(cell["source"])} for cell in cells]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("a notebook", f"{notebook}: {error or type(error).__name__}", "restore the file") from error


def read_parameters(notebook: Path) -> Values:
    """Names and defaults that the cell with the tag `parameters` assigns; none where there is no such cell.

    Raises InputError when a default is not a literal: nothing of a notebook is run to find out.
    """
    cells = [cell for cell in read_cells(notebook) if "parameters" in cell.get("metadata", {}).get("tags", ())]
    values: Values = {}
    try:
        for statement in ast.parse("\n".join(cell["source"] for cell in cells)).body:
            for name in _assigned(statement):
                values[name] = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        got = f"{notebook.name}: {(str(error).splitlines() or ['nested too deep'])[0]}"
        raise InputError(
            "NAME = literal in the cell with the tag parameters", got, "compute in a later cell"
        ) from error
    return values


def _assigned(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.Assign():
            targets = statement.targets
        case ast.AnnAssign() if statement.value is not None:
            targets = [statement.target]
        case _:
            return []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def choose(defaults: Mapping[str, Values], texts: Mapping[str, str], profile: str | None = None) -> dict[str, Values]:
    """Values of every notebook: its defaults, the profile, and what texts replace.

    Args:
        defaults: declared parameters by notebook.
        texts: replacing texts by parameter; each is for all notebooks that have it.
        profile: value of PROFILE in the notebooks that have it.

    Raises:
        InputError: a parameter that no notebook has, with the one that was meant, or a value that does not fit.
    """
    if OUT in texts:
        raise InputError("the run's folder as --output", f"the parameter {OUT}", "pass --output FOLDER")
    if profile is not None and texts.get(PROFILE, profile) != profile:
        raise InputError("one profile", f"--profile {profile} and {PROFILE}={texts[PROFILE]}", "leave one out")
    if profile is not None:
        _must_be_profile(profile)
    known = {name for values in defaults.values() for name in values} - {OUT}
    for name in texts:
        if name not in known:
            raise InputError(f"a parameter of {', '.join(defaults)}", name, _meant(name, known))
    texts = dict(texts) | ({} if profile is None else {PROFILE: profile})
    return {
        notebook: {name: value_of(name, texts[name], value) if name in texts else value for name, value in own.items()}
        for notebook, own in defaults.items()
    }


def value_of(name: str, text: str, default: object) -> Any:
    """A text as a value of its default's kind; InputError when it is none, or none that the setting takes."""
    value = text if isinstance(default, str) else _parsed(name, text, default)
    if name == PROFILE:
        _must_be_profile(str(value))
    if name in SETTINGS:
        kind, field = SETTINGS[name]
        try:
            kind.model_validate({field: value})
        except ValidationError as error:
            raise InputError(f"a valid {name}", f"{text!r}: {error.errors()[0]['msg']}", "change it") from error
    return value


def _must_be_profile(name: str) -> None:
    if name not in PROFILES:
        raise InputError(f"a profile of {', '.join(PROFILES)}", repr(name), _meant(name, PROFILES))


def _parsed(name: str, text: str, default: object) -> Any:
    kind = type(default)
    try:
        value = json.loads(text.lower() if kind is bool else text, parse_constant=_refuse)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if kind is not type(None) and type(value) is not kind:
            raise ValueError
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
    except (ValueError, OverflowError, RecursionError):
        wanted = _KINDS.get(kind, "a value as JSON")
        raise InputError(f"{wanted} for {name}", repr(text), f"write it like its default {default!r}") from None
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _meant(name: str, known: Iterable[str]) -> str:
    """What to do about a name that is not known."""
    by_letters = {each.lower(): each for each in sorted(known)}
    near = get_close_matches(name.lower(), by_letters, 1)
    return f"did you mean {by_letters[near[0]]}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
