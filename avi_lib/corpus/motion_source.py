"""Motion of a recording: read from its own file, or tracked in its video and kept, so that no video is tracked twice.

>>> motion_of(recording, destination / "tracks", {recording.video: digests.of(recording.video)})
Motion(pieces=(Piece(start_s=0.0, curves=...),), findings=())
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from avi_lib.assets.digest import file_sha256
from avi_lib.assets.resolver import resolve
from avi_lib.corpus import landmarker, tracking, video
from avi_lib.corpus.curves import Curves, Piece
from avi_lib.corpus.recording import Recording
from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT

SAMPLED = 64
"""Frames of a recording that its speaker's neutral face is found from."""


@dataclass(frozen=True)
class Motion:
    """Real motion of a recording in pieces without a gap, and what was noted when it was tracked, by name."""

    pieces: tuple[Piece, ...] = ()
    findings: tuple[str, ...] = ()


def motion_of(recording: Recording, tracks: Path, digests: Mapping[Path, str]) -> Motion:
    """Real motion of a recording, none when it has neither a motion file nor a video.

    tracks: folder where what was tracked is kept under the video's digest, which `digests` holds.
    Raises InputError where the file cannot be used, AssetError where tracking is not possible on this machine.
    """
    if recording.motion is not None:
        return Motion((Piece(0.0, recording.motion.read(recording.motion.path)),))
    if recording.video is None:
        return Motion()
    sound = recording.speech if recording.speech != recording.video else None
    parts = (digests[recording.video], digests[sound] if sound else "", tracker_digest())
    address = hashlib.sha256("/".join(parts).encode()).hexdigest()
    kept = tracks / f"{address[:32]}.safetensors"
    motion = _load(kept)
    if motion is None:
        track = tracking.track_video(recording.video, sound=sound)
        motion = Motion(track.pieces, track.report.findings())
        _save(kept, motion)
    return motion


def sample_frames(motion: Motion) -> tuple[Float16[np.ndarray, "frames channels"], Bool[np.ndarray, " channels"]]:
    """Up to `SAMPLED` frames spread evenly over a recording's motion, and which channels it has."""
    values = np.concatenate([piece.curves.clip.values for piece in motion.pieces])
    picks = np.unique(np.linspace(0, len(values) - 1, SAMPLED).round().astype(int))
    return values[picks].astype(np.float16), np.all([piece.curves.present for piece in motion.pieces], axis=0)


@cache
def tracker_digest() -> str:
    """SHA-256 of the tracker: its model and the code that runs it."""
    code = (Path(inspect.getfile(module)) for module in (tracking, landmarker, video))
    files = (*sorted(resolve("face-landmarker").files.values()), *code)
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


def _save(path: Path, motion: Motion) -> None:
    arrays = {f"values{i}": piece.curves.clip.values for i, piece in enumerate(motion.pieces)}
    arrays |= {f"present{i}": piece.curves.present.astype(np.uint8) for i, piece in enumerate(motion.pieces)}
    pieces = [[piece.start_s, piece.curves.clip.fps] for piece in motion.pieces]
    header = json.dumps({"pieces": pieces, "findings": motion.findings})
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, metadata={"motion": header}))


def _load(path: Path) -> Motion | None:
    """What was kept, None when there is nothing whole."""
    try:
        with safe_open(path, "np") as stored:
            header = json.loads((stored.metadata() or {})["motion"])
            pieces = []
            for i, (start_s, fps) in enumerate(header["pieces"]):
                clip = MotionClip(stored.get_tensor(f"values{i}"), fps, ARKIT)
                pieces.append(Piece(start_s, Curves(clip, stored.get_tensor(f"present{i}").astype(bool))))
        return Motion(tuple(pieces), tuple(header["findings"]))
    except (OSError, SafetensorError, KeyError, ValueError, InputError):
        return None
