"""The benchmark of a card runs on a processor too, and goes on where it was broken off."""

from __future__ import annotations

import json

import pytest
import torch
from small_priors import Letters
from talking_corpora import performed

from avi_lib.errors import AssetError
from tools.benchmarks import gpu

CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


def without() -> None:
    raise AssetError("a language model", "none", "get one")


@pytest.fixture
def quick(monkeypatch):
    """Stages of a few steps, without a language model."""
    monkeypatch.setattr(gpu, "REPEATED", 3)
    monkeypatch.setattr(gpu, "WARM_UP", 5)
    monkeypatch.setattr(gpu, "TURNS", 1)
    monkeypatch.setattr(gpu, "LONG_S", 2)
    monkeypatch.setattr(
        gpu, "load_instructor", lambda: (_ for _ in ()).throw(gpu.AviError("a model", "none", "get it"))
    )


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, CARD])])
def test_every_stage_is_timed_and_repeated_and_what_is_measured_is_not_measured_again(
    device, quick, tmp_path, monkeypatch, capsys
):
    assert gpu.make(tmp_path, performed().folder, Letters(), scripts=32) < gpu.MOST_MB
    found = gpu.measure(tmp_path, [device], "smoke", {"cpu": 0.2, "cuda": 0.2})
    for stage in ("flow", "prior"):
        assert found[f"{device}/{stage}"]["steps_per_s"] > 0
        assert found[f"{device}/{stage}/repeats"]["deterministic"] is True
    assert found[f"{device}/draws"]["motion"]["same"] and found["render"]["fps"] > 1
    kept = json.loads((tmp_path / "results.json").read_text())
    del kept[f"{device}/flow"]
    (tmp_path / "results.json").write_text(json.dumps(kept))
    capsys.readouterr()
    gpu.measure(tmp_path, [device], "smoke", {"cpu": 0.2, "cuda": 0.2})
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines() if " s" in line][-1:] == [
        f"{device}/flow"
    ]
    assert f"| flow | {device} |" in (tmp_path / "gpu.md").read_text()
