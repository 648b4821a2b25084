"""Writes pictures and sound as one file that browsers play, both ending at the same moment.

An .mp4 holds H.264 with AAC, a .webm VP9 with Opus, which also keeps what is transparent.

>>> write_video(Path("talk.mp4"), renderer.stream(vertices), 25.0, speech.wave, speech.rate_hz)

The pictures set the duration: frames / fps. Longer sound is cut there, shorter sound is followed by silence. Frames are
taken one at a time and encoded as they come, so memory does not grow with the length. Same input, same bytes.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import NamedTuple, cast
from unicodedata import category

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.clip import ARKIT, FACTORS, MotionClip

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
    """Write pictures and a wave to `path`; see `video_writer`."""
    with video_writer(path, fps, wave, rate_hz) as write:
        for picture in frames:
            write(picture)


@contextmanager
def video_writer(
    path: Path, fps: float, wave: Float[np.ndarray, " samples"], rate_hz: int
) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that takes sRGB pictures one by one, which are shown with a mono wave (-1 to 1, clipped beyond).

    The file appears when the block ends; nothing is left behind when it raises. Pictures with a fourth channel are
    transparent where it is 0; only .webm keeps that. A second thread encodes, in order and at most `AHEAD` behind.

    Raises InputError when there are no frames, when frames differ in size or have odd sides, when fps, rate or wave
    cannot be used, for another suffix, and when `path` cannot be written.
    """
    rate, wave, kind = _frame_rate(fps), _checked_wave(wave, rate_hz), container_of(Path(path))
    with (
        atomic_path(Path(path)) as temporary,
        av.open(str(temporary), "w", format=kind.muxer, options=kind.container_options) as container,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder") as encoder,
    ):
        streams: list[tuple[VideoStream, AudioStream]] = []
        behind: deque[Future[None]] = deque()
        numbers = count()

        def write(picture: np.ndarray) -> None:
            number = next(numbers)
            if number == 0:
                _check_first(picture, kind)
                streams.append((_video_stream(container, rate, picture.shape, kind), _sound_stream(container, kind)))
            video = streams[0][0]
            shape = (video.height, video.width, 4 if video.pix_fmt == "yuva420p" else 3)
            if picture.shape != shape or picture.dtype != np.uint8:
                got = f"frame {number} is {picture.shape} {picture.dtype}"
                raise InputError(f"every frame to be {shape} uint8 as the first", got, "render all frames at one size")
            behind.append(encoder.submit(encode, number, picture))
            if len(behind) > AHEAD:
                behind.popleft().result()

        def encode(number: int, picture: np.ndarray) -> None:
            """Encode a picture followed by the sound that plays while it is seen, so that the file is interleaved."""
            video, sound = streams[0]
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture), format="rgba" if picture.shape[2] == 4 else "rgb24"
            )
            frame = frame.reformat(format=video.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
            start, end = round(number * rate_hz / rate), round((number + 1) * rate_hz / rate)
            container.mux(sound.encode(_sound_frame(wave, start, end, rate_hz)))

        yield write
        if not streams:
            raise InputError("at least one frame", "none", "give a longer recording")
        for job in behind:
            job.result()
        for stream in streams[0]:
            container.mux(stream.encode(None))


def container_of(path: Path, transparent: bool = False) -> Container:
    """The kind of file that a path's suffix names; InputError for none, or for one that keeps no transparency."""
    kind = CONTAINERS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"a video ending in {' or '.join(CONTAINERS)}", str(path), "change the suffix")
    if transparent and kind.transparent is None:
        raise InputError("a video that can be transparent, ending in .webm", str(path), "change the suffix")
    return kind


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


# Words in pictures: captions over a picture's foot, titles above it.


INK, PAPER, HALO = (250, 250, 250), (24, 27, 32), (12, 14, 18)
MOST_LINES = 3
MORE = " …"
"""At the end of a text that is cut."""
_SMALLEST_PX = 11
_MOST_LETTERS = 1000
"""Of a line that is measured."""


def captioned(
    picture: UInt8[np.ndarray, "height width channels"], text: str
) -> UInt8[np.ndarray, "height width channels"]:
    """A copy of the picture with a text over its foot, in at most three lines; the same picture for an empty text.

    Control characters are left out.
    """
    if not _words(text):
        return picture
    height, width = picture.shape[:2]
    layer = _caption(text, width, height)
    result = picture.copy()
    foot = result[height - len(layer) :].astype(np.uint16)
    share = layer[..., 3:].astype(np.uint16)
    ink = np.concatenate([layer[..., :3], np.full_like(layer[..., 3:], 255)], axis=2)[..., : foot.shape[2]]
    result[height - len(layer) :] = (foot * (255 - share) + ink * share + 127) // 255
    return result


def titled(picture: UInt8[np.ndarray, "height width 3"], title: str) -> UInt8[np.ndarray, "taller width 3"]:
    """The picture with a one-line title above it."""
    return np.concatenate([_title(title, picture.shape[1]), picture])


def font(size_px: int) -> ImageFont.FreeTypeFont:
    """The typeface of all words in pictures."""
    return ImageFont.truetype(str(_typeface()), max(size_px, _SMALLEST_PX))


@lru_cache(maxsize=1)
def _typeface() -> Path:
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None, "matplotlib is one of the packages of this one"
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"


@lru_cache(maxsize=64)
def _caption(text: str, width: int, height: int) -> UInt8[np.ndarray, "lines width 4"]:
    """The text as a layer over the picture's foot: white letters with a dark rim, readable before any backdrop."""
    letters = font(round(min(width, height) / 24))
    lines = _wrapped(text, letters, 0.92 * width, MOST_LINES)
    step = round(1.35 * letters.size)
    layer = Image.new("RGBA", (width, step * len(lines) + step // 2), (*HALO, 0))
    pen = ImageDraw.Draw(layer)
    rim = max(letters.size // 8, 1)
    for number, line in enumerate(lines):
        at = ((width - letters.getlength(line)) / 2, step * number)
        pen.text(at, line, font=letters, fill=(*INK, 255), stroke_width=rim, stroke_fill=(*HALO, 210))
    return np.asarray(layer)[-height:]


@lru_cache(maxsize=64)
def _title(title: str, width: int) -> UInt8[np.ndarray, "bar width 3"]:
    letters = font(round(width / 28))
    bar = Image.new("RGB", (width, 2 * round(letters.size)), PAPER)
    text = "".join(_wrapped(title, letters, 0.96 * width, 1))
    ImageDraw.Draw(bar).text((width / 2, bar.height / 2), text, font=letters, fill=INK, anchor="mm")
    return np.asarray(bar)


def _words(text: str) -> list[str]:
    """The words of a text without control characters (category Cc) and lone surrogates, which no typeface has."""
    kept = ("".join(sign for sign in word if category(sign) not in ("Cc", "Cs")) for word in text.split())
    return [word for word in kept if word]


def _wrapped(text: str, letters: ImageFont.FreeTypeFont, width_px: float, most_lines: int) -> list[str]:
    """The text in lines of at most this width: wider words are broken, and a text that is cut ends with MORE."""
    waiting, lines = _words(text)[::-1], list[str]()
    while waiting and len(lines) < most_lines:
        line = waiting.pop()
        if (most := _fitting(line, letters, width_px)) < len(line):
            waiting.append(line[most:])
            line = line[:most]
        while waiting and _fits(f"{line} {waiting[-1]}", letters, width_px):
            line = f"{line} {waiting.pop()}"
        lines.append(line)
    if waiting and lines:
        last = lines[-1]
        while last and not _fits(last + MORE, letters, width_px):
            last = last.rpartition(" ")[0] if " " in last else last[:-1]
        lines[-1] = (last + MORE).strip()
    return lines


def _fits(line: str, letters: ImageFont.FreeTypeFont, width_px: float) -> bool:
    return len(line) <= _MOST_LETTERS and letters.getlength(line) <= width_px


def _fitting(word: str, letters: ImageFont.FreeTypeFont, width_px: float) -> int:
    """How many of a word's letters a line has room for, one at least."""
    counts = range(1, min(len(word), _MOST_LETTERS) + 1)
    return max(bisect_right(counts, width_px, key=lambda count: letters.getlength(word[:count])), 1)


# Sheets: several pictures as one, side by side and in rows; contact sheets of a video as PNG.


MOST_ABREAST = 4


def columns_of(count: int) -> int:
    """How many pictures stand side by side: up to three in one row, else as square as can be, four at most."""
    return count if count <= 3 else min(math.ceil(math.sqrt(count)), MOST_ABREAST)


def tiled(
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]], columns: int, titles: Sequence[str] = ()
) -> UInt8[np.ndarray, "rows across 3"]:
    """Pictures of one size in rows of `columns`, each under its title where there are some; gaps stay dark.

    Raises InputError for no picture, for pictures of different sizes, and for another number of titles.
    """
    if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
        raise InputError("pictures of one size", f"{sorted({p.shape for p in pictures})}", "draw them by one renderer")
    if titles and len(titles) != len(pictures):
        raise InputError(f"{len(pictures)} titles", f"{len(titles)}", "give one to each picture")
    cells = [titled(picture, title) for picture, title in zip(pictures, titles, strict=True)] if titles else pictures
    high, wide = cells[0].shape[:2]
    rows = -(-len(cells) // columns)
    sheet = np.empty((rows * high, min(columns, len(cells)) * wide, 3), np.uint8)
    sheet[:] = PAPER
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        sheet[row * high : (row + 1) * high, column * wide : (column + 1) * wide] = cell
    return sheet


def save_picture(picture: UInt8[np.ndarray, "height width channels"], path: Path) -> None:
    """Write a picture as PNG, atomically; InputError for another suffix."""
    if path.suffix.lower() != ".png":
        raise InputError("a picture ending in .png", str(path), "change the suffix")
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)


# A strip of trajectories to stand under a video: a row for each factor of the face, and a line where it is.


COLOURS = {
    "lips": (231, 111, 81), "expression": (233, 196, 106), "blink": (138, 177, 125), "gaze": (87, 160, 211),
    "pose": (160, 140, 200),
}  # fmt: skip
CURVES = 2
"""Channels of a factor that are drawn: those that move most, a left one and its right twin counting as one."""
REACH_RAD, REACH = 0.15, 0.3
"""A row shows at least so much of a rotation or a weight, so that what hardly moves looks like it."""
_CURSOR = (240, 240, 240)
_SCALE = 2
"""Drawn so many times larger and averaged, which smooths the curves."""


class Strip:
    """Trajectories of a motion (ARKIT), drawn once: as wide as a picture, a quarter of that high, at most `height`."""

    def __init__(self, motion: MotionClip, width: int, height: int = 1 << 16) -> None:
        height = min(width // 4, height) // 2 * 2
        self._frames = len(motion)
        self._left = width // 7
        self._picture = _drawn(motion, width, height, self._left)

    def at(self, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        """The strip with a line at a frame, counted from 0."""
        picture = self._picture.copy()
        span = picture.shape[1] - self._left
        column = self._left + min(int((frame + 0.5) / self._frames * span), span - 1)
        picture[:, max(column - 1, self._left) : column + 1] = _CURSOR
        return picture


def _drawn(motion: MotionClip, width: int, height: int, left: int) -> UInt8[np.ndarray, "height width 3"]:
    sheet = Image.new("RGB", (_SCALE * width, _SCALE * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    row = sheet.height / len(FACTORS)
    letters = font(round(0.42 * row))
    for number, factor in enumerate(FACTORS):
        top = number * row
        pen.text((0.12 * row, top + row / 2), factor, font=letters, fill=COLOURS[factor], anchor="lm")
        curves = _curves(motion, factor)
        reach = max(float(np.abs(curves).max()), REACH_RAD if factor == "pose" else REACH)
        middle, swing = (0.5, 0.42) if factor == "pose" else (0.9, 0.8)
        for shade, curve in zip((1.0, 0.55), curves, strict=False):
            heights = top + row * (middle - swing * curve / reach)
            across = np.linspace(_SCALE * left, sheet.width - 1, max(len(curve), 2))
            points = list(zip(across, np.resize(heights, len(across)), strict=True))
            mixed = shade * np.array(COLOURS[factor]) + (1 - shade) * np.array(PAPER)
            pen.line(points, fill=tuple(mixed.astype(int).tolist()), width=2 * _SCALE - 1, joint="curve")
    return np.asarray(sheet.resize((width, height), Image.Resampling.BOX))


def _curves(motion: MotionClip, factor: str) -> Float[np.ndarray, "curves frames"]:
    """The channels of a factor that move most, the strongest first."""
    sides: dict[str, list[int]] = {}
    for i in FACTORS[factor]:
        sides.setdefault(ARKIT.channels[i].removesuffix("Left").removesuffix("Right"), []).append(i)
    means = [motion.values[:, members].mean(axis=1) for members in sides.values()]
    means.sort(key=lambda curve: -float(np.ptp(curve)))
    return np.stack(means[:CURVES])
