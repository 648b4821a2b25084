"""Brings the manifest's entries of shipped files up to date after one was made anew.

python -m tools.assets.refresh_manifest
"""

from __future__ import annotations

import json

from avi_lib import models as manifest
from avi_lib.errors import AssetError
from avi_lib.files import atomic_path, file_sha256


def refresh_shipped() -> list[str]:
    """Set SHA-256 and size of every shipped asset from its file; returns the names whose entries changed.

    Raises AssetError when a listed file is missing.
    """
    document = json.loads(manifest.MANIFEST.read_text("utf-8"))
    changed = []
    for entry in document["shipped"]:
        path = manifest.ASSETS / entry["file"]
        if not path.is_file():
            raise AssetError(f"the shipped file {entry['file']}", "no such file", "make it, or take its entry out")
        content = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        if {key: entry[key] for key in content} != content:
            entry.update(content)
            changed.append(entry["name"])
    if changed:
        with atomic_path(manifest.MANIFEST) as temporary:
            temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    manifest.load_manifest.cache_clear()
    return changed


if __name__ == "__main__":
    print("changed:", ", ".join(refresh_shipped()) or "nothing")
    print(f"{len(manifest.load_manifest().shipped)} shipped assets")
