"""An animated head as USD: a skinned mesh with blendshapes and their curves, for animation tools and phones.

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
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avi_lib.errors import InputError, OutputError, cause
from avi_lib.face.camera import MATERIALS
from avi_lib.face.head import Head, check_eyes_turn_with_head, check_head
from avi_lib.files import atomic_path
from avi_lib.heads.gltf_writing import joint_turns
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip

SUFFIXES = (".usda", ".usdc", ".usdz")
JOINTS = ("body", "body/head", "body/head/leftEye", "body/head/rightEye")
BODY, HEAD, EYES = 0, 1, (2, 3)


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
    stage = _stage(pxr, head, motion, texture)
    if path.suffix.lower() == ".usdz":
        with atomic_path(path) as temporary, _clear(path), tempfile.TemporaryDirectory(prefix="avi-usd-") as folder:
            scene, picture = Path(folder, "head.usdc"), Path(folder, texture)
            _export(stage, scene, head, picture)
            _package((scene, picture), temporary)
        return
    with atomic_path(path) as temporary, atomic_path(path.with_name(texture)) as picture, _clear(path):
        _export(stage, temporary, head, picture)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())  # so that a full disk shows before the first of the two moves


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


def _array(pxr: Any, kind: str, values: np.ndarray) -> Any:
    """A USD array, such as Vec3f or Int, of numbers (count, width) or (count,)."""
    number = np.int32 if kind == "Int" else np.float32
    return getattr(pxr.Vt, f"{kind}Array").FromNumpy(np.ascontiguousarray(values, number))


def _define(schema: Any, stage: Any, path: str, **attributes: Any) -> Any:
    """A prim of a schema, such as UsdGeom.Mesh, with these attributes."""
    prim = schema.Define(stage, path)
    for name, value in attributes.items():
        getattr(prim, f"Create{name}Attr")(value)
    return prim


def _stage(pxr: Any, head: Head, motion: MotionClip, texture: str) -> Any:
    """The whole scene as a stage in memory."""
    geom, skel, array = pxr.UsdGeom, pxr.UsdSkel, partial(_array, pxr)
    stage = pxr.Usd.Stage.CreateInMemory()
    geom.SetStageMetersPerUnit(stage, 1.0)
    geom.SetStageUpAxis(stage, geom.Tokens.y)
    stage.SetTimeCodesPerSecond(motion.fps)
    stage.SetFramesPerSecond(motion.fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(len(motion) - 1)
    root = skel.Root.Define(stage, "/Head")
    stage.SetDefaultPrim(root.GetPrim())
    pxr.Usd.ModelAPI(root).SetKind("component")

    _, first, point = np.unique(head.weld, return_index=True, return_inverse=True)
    eyeballs = [np.unique(point[members]) for members in head.eyeballs]
    points = head.vertices[first]
    mesh = _define(
        geom.Mesh,
        stage,
        "/Head/Mesh",
        Points=array("Vec3f", points),
        Extent=array("Vec3f", np.stack([points.min(axis=0), points.max(axis=0)])),
        FaceVertexCounts=array("Int", np.full(len(head.triangles), 3)),
        FaceVertexIndices=array("Int", point[head.triangles].ravel()),
        SubdivisionScheme=geom.Tokens.none,
        DoubleSided=any(MATERIALS[kind].two_sided for kind in np.unique(head.material)),
    )
    coordinates = pxr.Sdf.ValueTypeNames.TexCoord2fArray
    places = geom.PrimvarsAPI(mesh).CreatePrimvar("st", coordinates, geom.Tokens.faceVarying)
    places.Set(array("Vec2f", np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1)))  # v upwards
    places.SetIndices(array("Int", head.triangles.ravel()))
    _materials(pxr, stage, head, mesh, texture)

    shapes = head.shapes[:, first]
    shapes[:, np.concatenate(eyeballs)] = 0.0  # eyeballs turn by their joints
    channels = []
    for channel, offsets in zip(ARKIT_BLENDSHAPES, shapes, strict=True):
        moving = np.flatnonzero(np.abs(offsets).max(axis=1) > 0.0)
        if len(moving):
            sparse = {"Offsets": array("Vec3f", offsets[moving]), "PointIndices": array("Int", moving)}
            _define(skel.BlendShape, stage, f"/Head/Mesh/{channel}", **sparse)
            channels.append(channel)
    binding = skel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateBlendShapesAttr(channels)
    binding.CreateBlendShapeTargetsRel().SetTargets([f"/Head/Mesh/{channel}" for channel in channels])

    joints = np.stack([np.zeros(3, np.float32), head.pivot, *head.eye_centres])
    from_parents = joints - joints[[BODY, BODY, HEAD, HEAD]]
    bind, rest = (
        [pxr.Gf.Matrix4d().SetTranslate(pxr.Gf.Vec3d(*place.tolist())) for place in places]
        for places in (joints, from_parents)
    )
    skeleton = _define(skel.Skeleton, stage, "/Head/Skeleton", Joints=JOINTS, BindTransforms=bind, RestTransforms=rest)
    pairs = np.tile([HEAD, BODY], (len(points), 1))  # of joints that share a point
    for eye, members in zip(EYES, eyeballs, strict=True):
        pairs[members, 0] = eye
    share = head.head_weight[first]
    binding.CreateJointIndicesPrimvar(False, 2).Set(array("Int", pairs.ravel()))
    binding.CreateJointWeightsPrimvar(False, 2).Set(array("Float", np.stack([share, 1.0 - share], axis=1).ravel()))
    binding.CreateSkeletonRel().SetTargets(["/Head/Skeleton"])
    skel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets(["/Head/Animation"])

    animation = _define(
        skel.Animation,
        stage,
        "/Head/Animation",
        Joints=JOINTS,
        Translations=array("Vec3f", from_parents),
        Scales=[pxr.Gf.Vec3h(1.0)] * len(JOINTS),
        BlendShapes=channels,
    )
    weights = motion.values[:, [ARKIT.index(channel) for channel in channels]]
    turns = np.stack([np.zeros((len(motion), 4)), *joint_turns(motion)], axis=1)
    turns[:, [BODY, *(eye for eye, ball in zip(EYES, eyeballs, strict=True) if not len(ball))]] = (0, 0, 0, 1)
    of_weights, of_turns = animation.CreateBlendShapeWeightsAttr(), animation.CreateRotationsAttr()
    for frame in range(len(motion)):
        of_weights.Set(array("Float", weights[frame]), frame)
        of_turns.Set(array("Quatf", turns[frame]), frame)
    return stage


def _materials(pxr: Any, stage: Any, head: Head, mesh: Any, texture: str) -> None:
    """A UsdPreviewSurface for each kind of surface, all of one texture, bound to its triangles."""
    types = pxr.Sdf.ValueTypeNames
    binding = pxr.UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim())
    veils = np.unique(head.material[head.see_through])
    for kind in np.unique(head.material):
        look = MATERIALS[kind]
        place = f"/Head/Materials/{look.name}"
        material = pxr.UsdShade.Material.Define(stage, place)
        surface, atlas, reader = (
            pxr.UsdShade.Shader.Define(stage, f"{place}/{name}") for name in ("Surface", "Atlas", "Places")
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
        if kind in veils:
            surface.CreateInput("opacity", types.Float).ConnectToSource(atlas.CreateOutput("a", types.Float))
        material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
        members = _array(pxr, "Int", np.flatnonzero(head.material == kind))
        subset = binding.CreateMaterialBindSubset(look.name, members)
        pxr.UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(material)
    binding.SetMaterialBindSubsetsFamilyType(pxr.UsdGeom.Tokens.partition)


def _export(stage: Any, scene: Path, head: Head, picture: Path) -> None:
    atlas = head.atlas if head.alpha is None else np.dstack([head.atlas, head.alpha])
    Image.fromarray(atlas).save(picture, compress_level=1)
    if not stage.GetRootLayer().Export(str(scene)):
        raise OSError("USD did not write it")


def _package(files: tuple[Path, ...], path: Path) -> None:
    """These files as one .usdz: a zip without compression, in which every file begins at a multiple of 64 bytes."""
    with path.open("wb") as stream, zipfile.ZipFile(stream, "w") as package:
        for file in files:
            info = zipfile.ZipInfo(file.name)  # of 1980, so that two runs write the same bytes
            gap = -(stream.tell() + 34 + len(os.fsencode(file.name))) % 64
            info.extra = struct.pack("<HH", 0x1986, gap) + bytes(gap)
            package.writestr(info, file.read_bytes())


@contextmanager
def _clear(path: Path) -> Iterator[None]:
    """USD's own errors, and those of the files that are its parts, as ours."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # pxr.Tf.ErrorException is a RuntimeError
        causes = re.findall(r" : '(.+)'$", str(error), re.MULTILINE) or [str(error)]
        got = cause(error if isinstance(error, OSError) else RuntimeError(causes[0]))
        raise OutputError(f"to write {path}", got, "free space or choose another place") from error
