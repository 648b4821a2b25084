"""The doctor: it always prints its list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avi_lib import models as manifest
from avi_lib.cli import Check, doctor
from avi_lib.errors import AssetError
from avi_lib.models import load_manifest


def test_doctor_reports_each_thing_it_looked_at_and_never_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "cache"))
    checks = {check.name: check for check in doctor(tmp_path / "outputs")}
    assert all(checks[name].ok for name in ("python", "device", "video and sound encoders", "package hama"))
    assert "because" in checks["device"].detail
    assert "`avi models smollm2`" in checks["model smollm2"].detail
    assert not (tmp_path / "cache").exists()
    json.dumps([check.as_dict() for check in checks.values()])


def test_doctor_says_what_is_wrong_instead_of_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_by = AssetError("an encoder", "none", "install again")

    def broken() -> str:
        raise broken_by

    monkeypatch.setattr("avi_lib.cli._codecs", broken)
    monkeypatch.setattr("avi_lib.cli.PACKAGES", ("no-such-package",))
    monkeypatch.setenv("AVI_MODEL_MINILM", str(tmp_path / "nowhere"))
    checks = {check.name: check for check in doctor(tmp_path)}
    assert checks["video and sound encoders"] == Check("video and sound encoders", False, str(broken_by))
    assert not checks["package no-such-package"].ok
    assert not checks["model minilm"].ok


def test_doctor_prints_its_list_to_a_person_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, homeless: None
) -> None:
    monkeypatch.setattr("avi_lib.cli.file_sha256", lambda path: (_ for _ in ()).throw(PermissionError(path)))
    checks = {check.name: check for check in doctor(tmp_path)}
    assert checks["python"].ok and checks["manifest"].ok
    assert "set AVI_CACHE" in checks["cache folder"].detail
    assert all("set AVI_CACHE" in checks[f"model {model.name}"].detail for model in load_manifest().models)
    assert not any(checks[f"shipped {asset.name}"].ok for asset in load_manifest().shipped)


def test_doctor_survives_a_device_and_a_manifest_that_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> str:
        raise RuntimeError("no driver")

    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr("avi_lib.cli._device", no_driver)
    monkeypatch.setattr(manifest, "MANIFEST", tmp_path / "manifest.json")
    load_manifest.cache_clear()
    try:
        checks = {check.name: check for check in doctor(tmp_path)}
    finally:
        load_manifest.cache_clear()
    assert checks["device"] == Check("device", False, "RuntimeError: no driver")
    assert not checks["manifest"].ok
    assert list(checks)[-1] == "manifest"
