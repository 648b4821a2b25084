"""A head as USD: skinning the file gives the head's vertices, and the file is whole."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avi_lib.errors import InputError, OutputError
from avi_lib.face.head import Head
from avi_lib.heads.usd import SUFFIXES, companions, write_usd
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME, MotionClip

FRAMES = (0, 7, 19)


@pytest.fixture(scope="module")
def pxr() -> Any:
    pytest.importorskip("pxr", reason="usd-core is not installed (the extra `usd`)")
    import pxr
    from pxr import Gf, Usd, UsdGeom, UsdShade, UsdSkel  # noqa: F401

    return pxr


def clip(frames: int = 20, fps: float = 25.0) -> MotionClip:
    values = np.random.default_rng(6).uniform(0.0, 1.0, (frames, len(ARKIT))).astype(np.float32)
    values[:, 52:] = 0.6 - 1.2 * values[:, 52:]
    return MotionClip(values, fps, ARKIT)


def skinned(pxr: Any, path: Path) -> dict[int, np.ndarray]:
    """Points of the mesh in FRAMES as USD's own skinning moves them."""
    stage = pxr.Usd.Stage.Open(str(path))
    root = pxr.UsdSkel.Root(stage.GetPrimAtPath("/Head"))
    assert pxr.UsdSkel.BakeSkinning(root, pxr.Gf.Interval(FRAMES[0], FRAMES[-1]))
    points = pxr.UsdGeom.Mesh(stage.GetPrimAtPath("/Head/Mesh")).GetPointsAttr()
    return {frame: np.array(points.Get(frame)) for frame in FRAMES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_skinning_the_file_gives_the_vertices_of_the_head_and_two_runs_the_same_bytes(
    tmp_path: Path, pxr: Any, head: Head, suffix: str
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_usd(head, clip(), tmp_path / name / f"a{suffix}")
    path = tmp_path / "one" / f"a{suffix}"
    assert set(path.parent.iterdir()) == {path, *companions(path)}
    for file in path.parent.iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
    for frame, points in skinned(pxr, path).items():
        expected = head.deform(clip().values[frame : frame + 1])[0]
        assert np.abs(expected - head.vertices).max() > 0.02
        np.testing.assert_allclose(points[head.weld], expected, atol=1e-6)


def test_a_head_without_eyeballs_or_some_shapes_is_skinned_as_well(tmp_path: Path, pxr: Any, head: Head) -> None:
    nothing = np.empty(0, np.int32)
    shapes = head.shapes.copy()
    shapes[ARKIT.index("jawLeft")] = 0.0
    plain = replace(head, eyeballs=(nothing, nothing), shapes=shapes)
    write_usd(plain, clip(), tmp_path / "a.usdc")
    stage = pxr.Usd.Stage.Open(str(tmp_path / "a.usdc"))
    assert not stage.GetPrimAtPath("/Head/Mesh/jawLeft")
    del stage
    for frame, points in skinned(pxr, tmp_path / "a.usdc").items():
        expected = plain.deform(clip().values[frame : frame + 1])[0]
        np.testing.assert_allclose(points[head.weld], expected, atol=1e-6)


@pytest.fixture(scope="module")
def stage(pxr: Any, head: Head, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("usd") / "a.usda"
    write_usd(head, clip(20, 29.97), path)
    return pxr.Usd.Stage.Open(str(path))


def test_stage_says_metres_upwards_and_time(pxr: Any, stage: Any) -> None:
    assert pxr.UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert pxr.UsdGeom.GetStageUpAxis(stage) == "Y"
    assert stage.GetTimeCodesPerSecond() == pytest.approx(29.97)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 19)
    assert stage.GetDefaultPrim().GetPath() == "/Head"


def test_offsets_are_sparse_and_curves_are_those_of_the_motion(pxr: Any, stage: Any, head: Head) -> None:
    animation = pxr.UsdSkel.Animation(stage.GetPrimAtPath("/Head/Animation"))
    assert tuple(animation.GetBlendShapesAttr().Get()) == ARKIT_BLENDSHAPES
    np.testing.assert_allclose(animation.GetBlendShapeWeightsAttr().Get(7), clip().values[7, :52], rtol=1e-6)
    blink = pxr.UsdSkel.BlendShape(stage.GetPrimAtPath("/Head/Mesh/eyeBlinkLeft"))
    offsets, places = np.array(blink.GetOffsetsAttr().Get()), np.array(blink.GetPointIndicesAttr().Get())
    assert len(offsets) == len(places) < 0.1 * len(head.vertices)
    assert np.linalg.norm(offsets, axis=1).min() > 0.0


def test_every_triangle_has_a_surface_with_the_texture_and_its_places(pxr: Any, stage: Any, head: Head) -> None:
    mesh = stage.GetPrimAtPath("/Head/Mesh")
    subsets = pxr.UsdShade.MaterialBindingAPI(mesh).GetMaterialBindSubsets()
    members = np.concatenate([np.array(subset.GetIndicesAttr().Get()) for subset in subsets])
    np.testing.assert_array_equal(np.sort(members), np.arange(len(head.triangles)))
    for subset in subsets:
        material, _ = pxr.UsdShade.MaterialBindingAPI(subset.GetPrim()).ComputeBoundMaterial()
        texture = pxr.UsdShade.Shader(stage.GetPrimAtPath(f"{material.GetPath()}/Atlas")).GetInput("file").Get()
        assert Path(texture.resolvedPath) == Path(stage.GetRootLayer().realPath).with_name("a_atlas.png")
    places = np.array(pxr.UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").ComputeFlattened())
    uv = head.uv[head.triangles.ravel()]
    np.testing.assert_allclose(places, np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1), atol=1e-6)


def test_usdz_holds_scene_and_texture_uncompressed_and_aligned(tmp_path: Path, pxr: Any, head: Head) -> None:
    write_usd(head, clip(2), tmp_path / "a.usdz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.usdz"]
    with zipfile.ZipFile(tmp_path / "a.usdz") as package:
        infos = package.infolist()
        assert [info.filename for info in infos] == ["head.usdc", "a_atlas.png"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in infos)
    stage = pxr.Usd.Stage.Open(str(tmp_path / "a.usdz"))
    texture = pxr.UsdShade.Shader(stage.GetPrimAtPath("/Head/Materials/skin/Atlas")).GetInput("file").Get()
    assert texture.resolvedPath.endswith("a.usdz[a_atlas.png]")


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path, pxr: Any, head: Head) -> None:
    flame, weight = MotionClip(np.zeros((2, 56), np.float32), 25.0, FLAME), head.head_weight.copy()
    weight[head.eyeballs[0]] = 0.5
    fields = ("vertices", "pivot", "shapes", "uv", "head_weight")
    spoilt = {field: replace(head, **{field: np.full_like(getattr(head, field), np.nan)}) for field in fields}
    for bad_head, motion, name, message in (
        (head, clip(1), "a.glb", r"\.usda, \.usdc, \.usdz"),
        (head, flame, "a.usda", "FLAME"),
        (head, clip(1), "absent/a.usdz", "existing folder"),
        (replace(head, head_weight=weight), clip(1), "a.usdz", "wholly with the head"),
        *((bad, clip(1), "a.usdz", f"finite {field}") for field, bad in spoilt.items()),
    ):
        with pytest.raises(InputError, match=message):
            write_usd(bad_head, motion, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_the_package_the_error_says_what_to_install(
    tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    for name in [name for name in sys.modules if name.startswith("pxr.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match="pip install usd-core"):
        write_usd(head, clip(1), tmp_path / "a.usdz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, pxr: Any, head: Head, suffix: str, files_of_at_most: Callable[[int], None]
) -> None:
    path, kept = tmp_path / f"a{suffix}", {tmp_path / f"a{suffix}", *companions(tmp_path / f"a{suffix}")}
    for file in kept:
        file.write_text("old")
    size = {".usda": 2_000_000, ".usdc": 900_000, ".usdz": 1_500_000}[suffix]
    files_of_at_most(size)
    with pytest.raises(OutputError, match=rf"{path.name};") as error:
        write_usd(head, clip(20), path)
    assert "\n" not in str(error.value)
    assert {file: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(kept, "old")
