"""Reads the animation of anyone's .glb or .gltf file as ARKit motion.

>>> motion = read_glb_motion(Path("face.glb"))  # morph weights with ARKit's names, and how the head turns
>>> motion.space.name, motion.fps
('ARKIT', 25.0)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.spatial.transform import Rotation, Slerp

from avi_lib.face.channel_names import match_channels
from avi_lib.face.gltf_file import GltfFile, open_gltf
from avi_lib.face.gltf_scene import GltfScene, local_matrix
from avi_lib.face.gltf_schema import Animation, AnimationSampler
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT, ARKIT_BLENDSHAPES

MAX_FRAMES = 500_000
FPS_RANGE = (1.0, 240.0)
STILL_FPS = 25.0
"""The rate of a clip whose animation has one key and tells no rate."""


def read_glb_motion(path: Path) -> MotionClip:
    """The first animation of a file that moves morph targets with ARKit's names, as frames at an even rate.

    The rate is the one that `write_glb` notes beside the keys, else that of their usual distance. The head's rotation
    is that of the topmost animated node named head, against its rest, seen in the file's world. Channels that nothing
    moves are zero; rotations of eyes are not read, since eyeLook weights tell the gaze. Raises InputError for a file
    without such an animation, for keys out of order, and for more than MAX_FRAMES frames.
    """
    file = open_gltf(path)
    for animation in file.document.animations:
        weights = _weight_curves(file, animation)
        if weights:
            with np.errstate(over="ignore", invalid="ignore"):  # MotionClip refuses what is not finite
                return _clip(file, animation, weights)
    raise file.refused("an animation of morph targets with ARKit's names", "none", "export it with its animation")


class _Curve:
    """Keys of one property: times in seconds and values (keys, width)."""

    def __init__(self, file: GltfFile, sampler: AnimationSampler, width: int) -> None:
        self.times: Float64[np.ndarray, " keys"] = file.numbers(sampler.input, 1)[:, 0].astype(np.float64)
        if (np.diff(self.times) <= 0.0).any() or self.times[0] < 0.0:
            raise file.refused(f"rising times in accessor {sampler.input}", "times that stand still or go back")
        self.kind = sampler.interpolation
        parts = 3 if self.kind == "CUBICSPLINE" else 1
        values = file.numbers(sampler.output).astype(np.float64).ravel()
        if values.size != parts * width * len(self.times):
            wanted = f"{parts * width} numbers for each of {len(self.times)} keys in accessor {sampler.output}"
            raise file.refused(wanted, str(values.size))
        spline = values.reshape(len(self.times), parts, width)
        self.values = spline[:, parts // 2]
        self._into, self._out = spline[:, 0], spline[:, -1]

    def at(self, times: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, "frames width"]:
        """Values at these times, held before the first and after the last key (glTF 2.0, appendix C)."""
        low = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, len(self.times) - 1)
        high = np.minimum(low + 1, len(self.times) - 1)
        step = self.times[high] - self.times[low]
        share = np.clip((times - self.times[low]) / np.where(step > 0.0, step, 1.0), 0.0, 1.0)[:, None]
        if self.kind == "STEP":
            return self.values[low]
        before, after = self.values[low], self.values[high]
        if self.kind == "LINEAR":
            return before + share * (after - before)
        squared, cubed = share**2, share**3
        bends = (cubed - 2.0 * squared + share) * self._out[low] + (cubed - squared) * self._into[high]
        return before + (3.0 * squared - 2.0 * cubed) * (after - before) + step[:, None] * bends

    def turned(self, times: Float64[np.ndarray, " frames"]) -> Rotation:
        """Quaternions as rotations at these times; between linear keys along the shortest way."""
        if self.kind == "LINEAR" and len(self.times) > 1:
            return Slerp(self.times, _rotations(self.values))(np.clip(times, self.times[0], self.times[-1]))
        return _rotations(self.at(times))


def _rotations(quaternions: Float64[np.ndarray, "keys 4"]) -> Rotation:
    """Rotations of quaternions (x, y, z, w) of any length; none where one is zero."""
    lost = np.linalg.norm(quaternions, axis=1, keepdims=True) < 1e-6
    return Rotation.from_quat(np.where(lost, (0.0, 0.0, 0.0, 1.0), quaternions))


def _weight_curves(file: GltfFile, animation: Animation) -> dict[str, tuple[_Curve, int]]:
    """For each ARKit channel the curve and the place in it, of the first mesh that has it."""
    curves: dict[str, tuple[_Curve, int]] = {}
    for channel in animation.channels:
        if channel.target.path != "weights" or channel.target.node is None:
            continue
        node = file.part(file.document.nodes, channel.target.node, "node")
        if node.mesh is None:
            raise file.refused("weights of a mesh", f"weights of node {node.name!r}, which shows none")
        mesh = file.part(file.document.meshes, node.mesh, "mesh")
        targets = max((len(primitive.targets) for primitive in mesh.primitives), default=0)
        places = match_channels(mesh.target_names[:targets]).places
        if set(places) <= set(curves):
            continue
        curve = _Curve(file, file.part(animation.samplers, channel.sampler, "sampler"), targets)
        for name, place in places.items():
            curves.setdefault(name, (curve, place))
    return curves


def _clip(file: GltfFile, animation: Animation, weights: dict[str, tuple[_Curve, int]]) -> MotionClip:
    scene = GltfScene(file)
    turning = _head_channel(file, scene, animation)
    curves = list({id(curve): curve for curve, _ in weights.values()}.values())
    every = [*curves, *([] if turning is None else [turning[1]])]
    longest = max(every, key=lambda curve: len(curve.times))
    fps = _rate(animation, longest.times)
    start, end = min(curve.times[0] for curve in every), max(curve.times[-1] for curve in every)
    grain = min(max(1e-3, fps * float(np.spacing(np.float32(end)))), 0.5)  # in frames: keys are 32-bit seconds
    count = int(np.floor((end - start) * fps + grain)) + 1
    if count > MAX_FRAMES:
        raise file.refused(f"at most {MAX_FRAMES} frames", f"{count} at {fps:g} frames per second", "cut it")
    times = _snapped(start + np.arange(count) / fps, longest.times, grain / fps)
    values = np.zeros((count, len(ARKIT)), np.float64)
    for curve in curves:
        sampled = curve.at(times)
        for name, (own, place) in weights.items():
            if own is curve:
                values[:, ARKIT_BLENDSHAPES.index(name)] = sampled[:, place]
    if turning is not None:
        values[:, len(ARKIT_BLENDSHAPES) :] = _angles(scene, *turning, times)
    return MotionClip(values.astype(np.float32), fps, ARKIT)


def _snapped(
    times: Float64[np.ndarray, " frames"], keys: Float64[np.ndarray, " keys"], reach_s: float
) -> Float64[np.ndarray, " frames"]:
    """Times moved to the keys that are this near: keys are 32-bit numbers, which miss even times a little."""
    after = np.clip(np.searchsorted(keys, times), 1, max(len(keys) - 1, 1))
    near = [keys[np.minimum(after + side, len(keys) - 1)] for side in (-1, 0)]
    nearest = np.where(np.abs(near[0] - times) <= np.abs(near[1] - times), near[0], near[1])
    return np.where(np.abs(nearest - times) < reach_s, nearest, times)


def _rate(animation: Animation, keys: Float64[np.ndarray, " keys"]) -> float:
    """Frames per second: the one that was noted, where the keys agree with it, else from the keys' usual distance."""
    told = animation.extras.get("fps") if isinstance(animation.extras, dict) else None
    noted = float(told) if isinstance(told, (int, float)) and FPS_RANGE[0] <= told <= FPS_RANGE[1] else None
    if len(keys) == 1:
        return noted or STILL_FPS
    usual = float(np.clip(1.0 / np.median(np.diff(keys)), *FPS_RANGE))
    if noted is not None and abs(noted / usual - 1.0) < 1e-2:
        return noted
    return float(round(usual)) if abs(round(usual) / usual - 1.0) < 1e-3 else usual


def _head_channel(file: GltfFile, scene: GltfScene, animation: Animation) -> tuple[int, _Curve] | None:
    """The topmost node named head whose rotation is animated, and its curve."""
    turned = {c.target.node: c.sampler for c in animation.channels if c.target.path == "rotation"}
    for node in scene.topmost(scene.heads() & turned.keys()):
        return node, _Curve(file, file.part(animation.samplers, turned[node], "sampler"), 4)
    return None


def _angles(
    scene: GltfScene, node: int, curve: _Curve, times: Float64[np.ndarray, " frames"]
) -> Float32[np.ndarray, "frames 3"]:
    """Pitch, yaw and roll in radians by which a node is turned in the world from its rest, its parents at rest."""
    above = scene.parent[node]
    frame = Rotation.identity() if above < 0 else _rotation(scene.world[above])
    rest = _rotation(local_matrix(scene.nodes[node]))
    turn = frame * curve.turned(times) * rest.inv() * frame.inv()
    yaw, pitch, roll = turn.as_euler("YXZ").T
    return np.stack([pitch, yaw, roll], axis=1).astype(np.float32)


def _rotation(matrix: Float[np.ndarray, "4 4"]) -> Rotation:
    """The rotation of a node's matrix, without its scale."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    turn = left @ right
    return Rotation.from_matrix(turn if np.linalg.det(turn) > 0.0 else -turn)
