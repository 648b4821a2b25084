"""Writes pictures and sound as one file that browsers play, both ending at the same moment.

An .mp4 holds H.264 with AAC, a .webm VP9 with Opus, which also keeps what is transparent.

>>> write_video(Path("talk.mp4"), renderer.stream(vertices), 25.0, speech.wave, speech.rate_hz)

The pictures set the duration: frames / fps. Longer sound is cut there, shorter sound is followed by silence. Frames are
taken one at a time and encoded as they come, so memory does not grow with the length. Same input, same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from jaxtyping import Float, UInt8

from avi_lib.errors import InputError
from avi_lib.files import atomic_path

SOUND_RATE_HZ = 48_000


class Container(NamedTuple):
    """A kind of file: its muxer and codecs, their options, and how pictures with transparency are kept, if they are."""

    muxer: str
    video: str
    sound: str
    container_options: dict[str, str]
    video_options: dict[str, str]
    transparent: str | None


CONTAINERS = {
    ".mp4": Container(
        "mp4",
        "libx264",
        "aac",
        {"movflags": "+faststart"},
        {
            "preset": "veryfast",
            "crf": "18",
            "bf": "0",
            "threads": "4",
            "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709",
        },
        None,
    ),
    ".webm": Container(
        "webm",
        "libvpx-vp9",
        "libopus",
        {"fflags": "+bitexact"},
        {"deadline": "realtime", "cpu-used": "7", "crf": "24", "b:v": "0", "threads": "2", "auto-alt-ref": "0"},
        "yuva420p",
    ),
}
"""By suffix. A fixed number of threads gives the same bytes everywhere; without frames that are coded out of order
picture and sound start together."""
SOUND_BITS_PER_S = 128_000
BT709, LIMITED = 1, 1
"""FFmpeg's numbers of the colours and the range of values that pictures are converted to."""
AHEAD = 4
"""Frames that may be drawn before they are encoded; the caller must not change them meanwhile."""
MAX_FPS = 240.0


def write_video(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "height width channels"]],
    fps: float,
    wave: Float[np.ndarray, " samples"],
    rate_hz: int,
) -> None:
    """Write sRGB pictures and a mono wave (-1 to 1, clipped beyond) to `path`; nothing is left behind when this raises.

    Pictures with a fourth channel are transparent where it is 0; only .webm keeps that.

    Raises InputError when there are no frames, when frames differ in size or have odd sides, when fps, rate or wave
    cannot be used, for another suffix, and when `path` cannot be written.
    """
    rate = _frame_rate(fps)
    wave = _checked_wave(wave, rate_hz)
    kind = container_of(Path(path))
    with atomic_path(Path(path)) as temporary:
        pictures = iter(frames)
        first = next(pictures, None)
        if first is None:
            raise InputError("at least one frame", "none", "give a longer recording")
        _check_first(first, kind)
        with av.open(str(temporary), "w", format=kind.muxer, options=kind.container_options) as container:
            video = _video_stream(container, rate, first.shape, kind)
            sound = _sound_stream(container, kind)
            _encode(container, video, sound, chain((first,), pictures), rate, wave, rate_hz)


def container_of(path: Path, transparent: bool = False) -> Container:
    """The kind of file that a path's suffix names; InputError for none, or for one that keeps no transparency."""
    kind = CONTAINERS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"a video ending in {' or '.join(CONTAINERS)}", str(path), "change the suffix")
    if transparent and kind.transparent is None:
        raise InputError("a video that can be transparent, ending in .webm", str(path), "change the suffix")
    return kind


def _encode(
    container: OutputContainer,
    video: VideoStream,
    sound: AudioStream,
    frames: Iterator[UInt8[np.ndarray, "height width channels"]],
    rate: Fraction,
    wave: Float[np.ndarray, " samples"],
    rate_hz: int,
) -> None:
    """Encode each frame followed by the sound that plays while it is seen, so that the file is interleaved.

    A second thread encodes, in order and at most `AHEAD` frames behind, while the next frames are drawn.
    """
    shape = (video.height, video.width, 4 if video.pix_fmt == "yuva420p" else 3)

    def encode(number: int, picture: UInt8[np.ndarray, "height width channels"]) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgba" if shape[2] == 4 else "rgb24")
        frame = frame.reformat(format=video.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = number, 1 / rate
        container.mux(video.encode(frame))
        start, end = round(number * rate_hz / rate), round((number + 1) * rate_hz / rate)
        container.mux(sound.encode(_sound_frame(wave, start, end, rate_hz)))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder") as encoder:
        behind: deque[Future[None]] = deque()
        for number, picture in enumerate(frames):
            if picture.shape != shape or picture.dtype != np.uint8:
                got = f"frame {number} is {picture.shape} {picture.dtype}"
                raise InputError(f"every frame to be {shape} uint8 as the first", got, "render all frames at one size")
            behind.append(encoder.submit(encode, number, picture))
            if len(behind) > AHEAD:
                behind.popleft().result()
        for job in behind:
            job.result()
    container.mux(video.encode(None))
    container.mux(sound.encode(None))


def _sound_frame(wave: Float[np.ndarray, " samples"], start: int, end: int, rate_hz: int) -> av.AudioFrame:
    samples = np.zeros((1, end - start), np.float32)
    part = wave[start:end]
    samples[0, : len(part)] = np.clip(part, -1.0, 1.0)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
    return frame


def _video_stream(container: OutputContainer, rate: Fraction, shape: tuple[int, ...], kind: Container) -> VideoStream:
    stream = cast(VideoStream, container.add_stream(kind.video, rate=rate, options=kind.video_options))
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "yuva420p" if shape[2] == 4 else "yuv420p"
    stream.time_base = 1 / rate
    codec = stream.codec_context
    codec.colorspace = codec.color_primaries = codec.color_trc = BT709
    codec.color_range = LIMITED
    return stream


def _sound_stream(container: OutputContainer, kind: Container) -> AudioStream:
    stream = cast(AudioStream, container.add_stream(kind.sound, rate=SOUND_RATE_HZ, layout="mono"))
    stream.bit_rate = SOUND_BITS_PER_S
    return stream


def _frame_rate(fps: float) -> Fraction:
    if not 0.0 < fps <= MAX_FPS:
        raise InputError(f"a frame rate above 0 and up to {MAX_FPS:g} per second", f"{fps:g}", "use 25")
    return Fraction(fps).limit_denominator(1001)


def _checked_wave(wave: Float[np.ndarray, " samples"], rate_hz: int) -> Float[np.ndarray, " samples"]:
    wave = np.asarray(wave, np.float32)
    if wave.ndim != 1:
        raise InputError("a mono wave of shape (samples,)", str(wave.shape), "mix the channels first")
    if not 4_000 <= rate_hz <= 192_000:
        raise InputError("a sound rate of 4000-192000 Hz", str(rate_hz), "resample the wave")
    if not np.isfinite(wave).all():
        raise InputError("a finite wave", "NaN or infinity", "load it with load_speech")
    return wave


def _check_first(picture: np.ndarray, kind: Container) -> None:
    channels = (3, 4) if kind.transparent else (3,)
    if picture.ndim != 3 or picture.shape[2] not in channels or picture.dtype != np.uint8:
        expected = f"frames (height, width, {' or '.join(map(str, channels))}) uint8 for {kind.muxer}"
        raise InputError(expected, f"{picture.shape} {picture.dtype}", "convert them, or write .webm")
    if picture.shape[0] % 2 or picture.shape[1] % 2:
        got = f"{picture.shape[1]} x {picture.shape[0]}"
        raise InputError("frames with even sides, as H.264 with 4:2:0 colour needs", got, "choose an even size")
