"""A driven head as USD: a skinned mesh with blendshapes and their curves, for animation tools and phones.

In: a head and its motion. Out: `.usda` or `.usdc` with the texture beside it, or `.usdz` with the texture inside.

>>> write_usd(load_head(), motion, Path("talk.usdz"))  # needs the package usd-core

The stage is in metres, y up, with a time code a frame. A SkelRoot holds the mesh (one point a welded point, texture
places per corner), a UsdSkelBlendShape for each channel that moves something (sparse offsets), a skeleton of the joints
JOINTS, and an animation of weights and joint rotations. Skinning it gives the vertices of `Head.deform`: the neck's
bend is how points are shared between body and head, and eyeballs turn by their joints alone.
"""

from __future__ import annotations

import importlib
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from avi_lib.errors import InputError, OutputError
from avi_lib.face.camera import MATERIALS
from avi_lib.face.head import Head, check_eyes_turn_with_head, check_head, gaze, quaternions
from avi_lib.files import atomic_path
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip

SUFFIXES = (".usda", ".usdc", ".usdz")
JOINTS = ("body", "body/head", "body/head/leftEye", "body/head/rightEye")
BODY, HEAD, EYES = 0, 1, (2, 3)
PACKAGE_TIME = time.mktime((1980, 1, 1, 0, 0, 0, 0, 0, -1))
"""Of the files in a package, so that two runs write the same bytes; a zip keeps the clock of the place."""


def write_usd(head: Head, motion: MotionClip, path: Path) -> None:
    """Write a head and its motion as USD, atomically; beside .usda and .usdc lies the texture `<name>_atlas.png`.

    Raises InputError for another suffix, motion that is not of the ARKIT space, a head whose arrays do not fit or are
    not finite, or where usd-core is not installed, and OutputError where a file cannot be written whole.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"a file of the type {', '.join(SUFFIXES)}", path.name, "rename it")
    if motion.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"the space {motion.space.name}", "export FLAME motion as npz")
    check_head(head)
    check_eyes_turn_with_head(head)
    texture = f"{path.stem}_atlas.png"
    pxr = _usd()
    stage = _scene(pxr, head, motion, texture)
    if path.suffix.lower() == ".usdz":
        with atomic_path(path) as temporary, _clear(path):
            _package(pxr, head, stage, texture, temporary)
        return
    with atomic_path(path) as temporary, atomic_path(path.with_name(texture)) as picture, _clear(path):
        _save_atlas(head, picture)
        _export(stage, temporary)
        _flush(temporary)  # so that nothing but the two moves is left to do


def companions(path: Path) -> tuple[Path, ...]:
    """The files that `write_usd` writes beside `path`: the texture of .usda and .usdc, none of .usdz."""
    path = Path(path)
    return () if path.suffix.lower() == ".usdz" else (path.with_name(f"{path.stem}_atlas.png"),)


def _usd() -> Any:
    """The package `pxr` with its modules, loaded when they are needed: it is an extra of this library."""
    try:
        for module in ("Gf", "Sdf", "Usd", "UsdGeom", "UsdShade", "UsdSkel", "Vt"):
            importlib.import_module(f"pxr.{module}")
        return importlib.import_module("pxr")
    except ImportError as error:
        raise InputError("the package usd-core", str(error), "pip install usd-core") from error


def _scene(pxr: Any, head: Head, motion: MotionClip, texture: str) -> Any:
    """The whole scene as a stage in memory."""
    stage = pxr.Usd.Stage.CreateInMemory()
    pxr.UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    pxr.UsdGeom.SetStageUpAxis(stage, pxr.UsdGeom.Tokens.y)
    stage.SetTimeCodesPerSecond(motion.fps)
    stage.SetFramesPerSecond(motion.fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(len(motion) - 1)
    root = pxr.UsdSkel.Root.Define(stage, "/Head")
    stage.SetDefaultPrim(root.GetPrim())
    pxr.Usd.ModelAPI(root).SetKind("component")
    scene = _Scene(pxr, stage, head)
    mesh = scene.mesh()
    scene.materials(mesh, texture)
    channels = scene.blendshapes(mesh)
    scene.skeleton(mesh)
    scene.animation(motion, channels)
    return stage


class _Scene:
    """Writes the parts of a head below /Head."""

    def __init__(self, pxr: Any, stage: Any, head: Head) -> None:
        self.pxr, self.stage, self.head = pxr, stage, head
        _, self.first, self.point = np.unique(head.weld, return_index=True, return_inverse=True)
        self.eyeballs = [np.unique(self.point[members]) for members in head.eyeballs]

    def vec3f(self, rows: np.ndarray) -> Any:
        return self.pxr.Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(rows, np.float32))

    def ints(self, numbers: np.ndarray) -> Any:
        return self.pxr.Vt.IntArray.FromNumpy(np.ascontiguousarray(numbers.ravel(), np.int32))

    def mesh(self) -> Any:
        """The mesh at rest: points welded, places in the texture by corner, v upwards."""
        head, geom = self.head, self.pxr.UsdGeom
        mesh = geom.Mesh.Define(self.stage, "/Head/Mesh")
        points = head.vertices[self.first]
        mesh.CreatePointsAttr(self.vec3f(points))
        mesh.CreateExtentAttr(self.vec3f(np.stack([points.min(axis=0), points.max(axis=0)])))
        mesh.CreateFaceVertexCountsAttr(self.ints(np.full(len(head.triangles), 3)))
        mesh.CreateFaceVertexIndicesAttr(self.ints(self.point[head.triangles]))
        mesh.CreateSubdivisionSchemeAttr(geom.Tokens.none)
        mesh.CreateDoubleSidedAttr(any(MATERIALS[kind].two_sided for kind in np.unique(head.material)))
        places = geom.PrimvarsAPI(mesh).CreatePrimvar(
            "st", self.pxr.Sdf.ValueTypeNames.TexCoord2fArray, geom.Tokens.faceVarying
        )
        upwards = np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1).astype(np.float32)
        places.Set(self.pxr.Vt.Vec2fArray.FromNumpy(upwards))
        places.SetIndices(self.ints(head.triangles))
        return mesh

    def materials(self, mesh: Any, texture: str) -> None:
        """A UsdPreviewSurface for each kind of surface, all of one texture, bound to its triangles."""
        pxr, types = self.pxr, self.pxr.Sdf.ValueTypeNames
        binding = pxr.UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim())
        for kind in np.unique(self.head.material):
            look = MATERIALS[kind]
            place = f"/Head/Materials/{look.name}"
            material = pxr.UsdShade.Material.Define(self.stage, place)
            surface, atlas, reader = (
                pxr.UsdShade.Shader.Define(self.stage, f"{place}/{name}") for name in ("Surface", "Atlas", "Places")
            )
            reader.CreateIdAttr("UsdPrimvarReader_float2")
            reader.CreateInput("varname", types.String).Set("st")
            atlas.CreateIdAttr("UsdUVTexture")
            atlas.CreateInput("file", types.Asset).Set(f"./{texture}")
            atlas.CreateInput("sourceColorSpace", types.Token).Set("sRGB")
            atlas.CreateInput("st", types.Float2).ConnectToSource(reader.CreateOutput("result", types.Float2))
            surface.CreateIdAttr("UsdPreviewSurface")
            surface.CreateInput("roughness", types.Float).Set(look.roughness)
            colour = atlas.CreateOutput("rgb", types.Float3)
            surface.CreateInput("diffuseColor", types.Color3f).ConnectToSource(colour)
            material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
            members = self.ints(np.flatnonzero(self.head.material == kind))
            subset = binding.CreateMaterialBindSubset(look.name, members)
            pxr.UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(material)
        binding.SetMaterialBindSubsetsFamilyType(pxr.UsdGeom.Tokens.partition)

    def blendshapes(self, mesh: Any) -> list[str]:
        """Sparse offsets of every channel that moves points other than eyeballs; the channels written."""
        skel = self.pxr.UsdSkel
        shapes = self.head.shapes[:, self.first]
        shapes[:, np.concatenate(self.eyeballs)] = 0.0
        written = []
        for channel, offsets in zip(ARKIT_BLENDSHAPES, shapes, strict=True):
            moving = np.flatnonzero(np.abs(offsets).max(axis=1) > 0.0)
            if len(moving):
                shape = skel.BlendShape.Define(self.stage, f"/Head/Mesh/{channel}")
                shape.CreateOffsetsAttr(self.vec3f(offsets[moving]))
                shape.CreatePointIndicesAttr(self.ints(moving))
                written.append(channel)
        binding = skel.BindingAPI.Apply(mesh.GetPrim())
        binding.CreateBlendShapesAttr(written)
        binding.CreateBlendShapeTargetsRel().SetTargets([f"/Head/Mesh/{channel}" for channel in written])
        return written

    def joints(self) -> Float32[np.ndarray, "4 3"]:
        """Where the joints stand."""
        return np.stack([np.zeros(3, np.float32), self.head.pivot, *self.head.eye_centres])

    def offsets(self) -> Float32[np.ndarray, "4 3"]:
        """Where the joints stand, from their parents."""
        body, neck, left, right = self.joints()
        return np.stack([body, neck - body, left - neck, right - neck])

    def skeleton(self, mesh: Any) -> None:
        """Joints at rest, and each point's shares in two of them."""
        pxr, skel = self.pxr, self.pxr.UsdSkel
        skeleton = skel.Skeleton.Define(self.stage, "/Head/Skeleton")
        skeleton.CreateJointsAttr(JOINTS)
        for create, places in (
            (skeleton.CreateBindTransformsAttr, self.joints()),
            (skeleton.CreateRestTransformsAttr, self.offsets()),
        ):
            create([pxr.Gf.Matrix4d().SetTranslate(pxr.Gf.Vec3d(*place.tolist())) for place in places])
        joints = np.tile(np.array([HEAD, BODY], np.int32), (len(self.first), 1))
        for eye, members in zip(EYES, self.eyeballs, strict=True):
            joints[members, 0] = eye
        share = self.head.head_weight[self.first]
        weights = np.ascontiguousarray(np.stack([share, 1.0 - share], axis=1).ravel(), np.float32)
        binding = skel.BindingAPI.Apply(mesh.GetPrim())
        binding.CreateJointIndicesPrimvar(False, 2).Set(self.ints(joints))
        binding.CreateJointWeightsPrimvar(False, 2).Set(pxr.Vt.FloatArray.FromNumpy(weights))
        binding.CreateSkeletonRel().SetTargets(["/Head/Skeleton"])
        of_skeleton = skel.BindingAPI.Apply(skeleton.GetPrim())
        of_skeleton.CreateAnimationSourceRel().SetTargets(["/Head/Animation"])

    def animation(self, motion: MotionClip, channels: list[str]) -> None:
        """Weights and joint rotations of every frame."""
        pxr, frames = self.pxr, len(motion)
        animation = pxr.UsdSkel.Animation.Define(self.stage, "/Head/Animation")
        animation.CreateJointsAttr(JOINTS)
        animation.CreateTranslationsAttr(self.vec3f(self.offsets()))
        animation.CreateScalesAttr([pxr.Gf.Vec3h(1.0)] * len(JOINTS))
        animation.CreateBlendShapesAttr(channels)
        weights = np.ascontiguousarray(motion.values[:, [ARKIT.index(channel) for channel in channels]], np.float32)
        turns = _turns(motion.values, [len(members) > 0 for members in self.eyeballs])
        of_weights, of_turns = animation.CreateBlendShapeWeightsAttr(), animation.CreateRotationsAttr()
        for frame in range(frames):
            of_weights.Set(pxr.Vt.FloatArray.FromNumpy(weights[frame]), frame)
            of_turns.Set(pxr.Vt.QuatfArray.FromNumpy(turns[frame]), frame)


def _turns(values: Float32[np.ndarray, "frames 55"], has_ball: list[bool]) -> Float32[np.ndarray, "frames 4 4"]:
    """Quaternions x, y, z, w of JOINTS in every frame; an eye without a ball is moved by its blendshapes instead."""
    turns = np.zeros((len(values), len(JOINTS), 4), np.float32)
    turns[..., 3] = 1.0
    exact = values.astype(np.float64)
    turns[:, HEAD] = quaternions(*exact[:, len(ARKIT_BLENDSHAPES) :].T)
    for joint, there, pitch, yaw in zip(EYES, has_ball, *gaze(exact), strict=True):
        if there:
            turns[:, joint] = quaternions(pitch, yaw, np.zeros_like(yaw))
    return turns


def _save_atlas(head: Head, path: Path) -> None:
    Image.fromarray(head.atlas).save(path, compress_level=1)


def _export(stage: Any, path: Path) -> None:
    if not stage.GetRootLayer().Export(str(path)):
        raise OSError("USD did not write it")


def _package(pxr: Any, head: Head, stage: Any, texture: str, path: Path) -> None:
    """The scene and its texture as one .usdz: a zip without compression, the scene first."""
    with tempfile.TemporaryDirectory(prefix="avi-usd-") as folder:
        scene, picture = Path(folder, "head.usdc"), Path(folder, texture)
        _export(stage, scene)
        _save_atlas(head, picture)
        for file in (scene, picture):
            os.utime(file, (PACKAGE_TIME, PACKAGE_TIME))
        writer = pxr.Sdf.ZipFileWriter.CreateNew(str(path))
        packed = all(writer.AddFile(str(file), file.name) for file in (scene, picture))
        if not writer.Save() or not packed:
            raise OSError("USD did not pack it")
        _flush(path)
        _check_package(path, {file.name: file.stat().st_size for file in (scene, picture)})


def _check_package(path: Path, sizes: dict[str, int]) -> None:
    """Raise OSError unless a zip holds these files whole: USD says nothing of a disk that is full."""
    try:
        with zipfile.ZipFile(path) as package:
            held = {info.filename: info.file_size for info in package.infolist()}
            whole = held == sizes and package.testzip() is None
    except (zipfile.BadZipFile, EOFError) as error:
        raise OSError(f"a package of {path.stat().st_size} bytes that was cut short") from error
    if not whole:
        raise OSError(f"a package of {held}, not {sizes}")


def _flush(path: Path) -> None:
    """Have the system write a file out, so that a full disk shows here."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _clear(path: Path) -> Iterator[None]:
    """USD's own errors, and those of the files that are its parts, as ours."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # pxr.Tf.ErrorException is a RuntimeError
        causes = re.findall(r" : '(.+)'$", str(error), re.MULTILINE) or [str(error).strip().splitlines()[-1]]
        got = causes[0][:200]
        raise OutputError(f"to write {path}", got, "free space or choose another place") from error
