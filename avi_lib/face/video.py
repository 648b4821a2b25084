"""Videos: pictures and sound written as one file that browsers play, words in pictures, and pictures read from a file.

>>> write_video(Path("talk.mp4"), pictures, 25.0, speech.wave, speech.rate_hz)  # each (height, width, 3) sRGB

An .mp4 holds H.264 with AAC, a .webm VP9 with Opus, which also keeps what is transparent. The pictures set the
duration: longer sound is cut there, shorter sound is followed by silence. Memory does not grow with the length. Same
input, same bytes.
"""

from __future__ import annotations

import errno
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from unicodedata import bidirectional, category, east_asian_width

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont, features

from avi_lib.errors import AssetError, InputError
from avi_lib.files import atomic_path
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, FACTORS, MotionClip
from avi_lib.speech import decode

SOUND_RATE_HZ, SOUND_BITS_PER_S = 48_000, 128_000
BT709, LIMITED = 1, 1  # FFmpeg's numbers of the colours and the range of values that pictures are converted to
AHEAD = 4  # frames that may be drawn before they are encoded; the caller must not change them meanwhile
MAX_FPS = 240.0


class Container(NamedTuple):
    """A kind of file."""

    muxer: str
    video: str  # codec
    sound: str  # codec
    container_options: dict[str, str]
    video_options: dict[str, str]
    transparent: bool = False  # whether it keeps transparency


_MP4 = {"preset": "veryfast", "crf": "18", "bf": "0", "threads": "4"}
_MP4["x264-params"] = "colorprim=bt709:transfer=bt709:colormatrix=bt709"
_WEBM = {"deadline": "realtime", "cpu-used": "7", "crf": "24", "b:v": "0", "threads": "2", "auto-alt-ref": "0"}
CONTAINERS = {
    ".mp4": Container("mp4", "libx264", "aac", {"movflags": "+faststart"}, _MP4),
    ".webm": Container("webm", "libvpx-vp9", "libopus", {"fflags": "+bitexact"}, _WEBM, transparent=True),
}
"""By suffix. A fixed number of threads gives the same bytes everywhere; without frames that are coded out of order
picture and sound start together."""


# Writing.


def write_video(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "height width channels"]],
    fps: float,
    wave: Float[np.ndarray, " samples"],
    rate_hz: int,
    comment: str = "",
) -> None:
    """Write sRGB pictures, taken one by one, and the mono wave (-1 to 1, clipped beyond) that they are shown with.

    The file appears when all is written; nothing is left behind otherwise. Pictures with a fourth channel are
    transparent where it is 0; only .webm keeps that. A second thread encodes, in order and at most `AHEAD` behind. The
    `comment` stands in the file's metadata.

    Raises InputError when there are no frames, when frames differ in size or have odd sides, when fps, rate or wave
    cannot be used, for another suffix, and when `path` cannot be written.
    """
    if not 0.0 < fps <= MAX_FPS:
        raise InputError(f"a frame rate above 0 and up to {MAX_FPS:g} per second", f"{fps:g}", "use 25")
    if not 4_000 <= rate_hz <= 192_000:
        raise InputError("a sound rate of 4000-192000 Hz", str(rate_hz), "resample the wave")
    sound_wave = np.clip(np.asarray(wave, np.float32), -1.0, 1.0)
    if sound_wave.ndim != 1 or not np.isfinite(sound_wave).all():
        got = "NaN or infinity" if sound_wave.ndim == 1 else str(sound_wave.shape)
        raise InputError("a finite wave of shape (samples,)", got, "load it with load_voice")
    rate, kind = Fraction(fps).limit_denominator(1001), container_of(Path(path))
    with (
        atomic_path(Path(path)) as temporary,
        av.open(str(temporary), "w", format=kind.muxer, options=kind.container_options) as container,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder") as encoder,
    ):
        if comment:
            container.metadata["comment"] = comment

        def encode(number: int, picture: np.ndarray) -> None:
            """Encode a picture followed by the sound that plays while it is seen, so that the file is interleaved."""
            form = "rgba" if picture.shape[2] == 4 else "rgb24"
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=form)
            shown = shown.reformat(format=video.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG")
            shown.pts, shown.time_base = number, 1 / rate
            container.mux(video.encode(shown))
            start, end = round(number * rate_hz / rate), round((number + 1) * rate_hz / rate)
            samples = np.zeros((1, end - start), np.float32)
            samples[0, : max(len(sound_wave) - start, 0)] = sound_wave[start:end]
            audio = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            audio.sample_rate, audio.pts, audio.time_base = rate_hz, start, Fraction(1, rate_hz)
            container.mux(sound.encode(audio))

        whole = True

        def encode_unless_broken(number: int, picture: np.ndarray) -> None:
            """FFmpeg ends the process over pictures for a file whose header found no room."""
            nonlocal whole
            if whole:
                whole = False
                encode(number, picture)
                whole = True

        behind: deque[Future[None]] = deque()
        for number, picture in enumerate(frames):
            if number == 0:
                (video, sound), first = _streams(container, rate, picture, kind), picture.shape
            if picture.shape != first or picture.dtype != np.uint8:
                got = f"frame {number} is {picture.shape} {picture.dtype}"
                raise InputError(f"every frame to be {first} uint8 as the first", got, "render all frames at one size")
            behind.append(encoder.submit(encode_unless_broken, number, picture))
            if len(behind) > AHEAD:
                behind.popleft().result()
        if not behind:
            raise InputError("at least one frame", "none", "give a longer recording")
        for job in behind:
            job.result()
        for stream in (video, sound):
            container.mux(stream.encode(None))


def container_of(path: Path, transparent: bool = False) -> Container:
    """The kind of file that a path's suffix names; InputError for none, or for one that keeps no transparency."""
    kind = CONTAINERS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"a video ending in {' or '.join(CONTAINERS)}", str(path), "change the suffix")
    if transparent and not kind.transparent:
        raise InputError("a video that can be transparent, ending in .webm", str(path), "change the suffix")
    return kind


def _streams(
    container: OutputContainer, rate: Fraction, picture: np.ndarray, kind: Container
) -> tuple[VideoStream, AudioStream]:
    """The streams of pictures and of sound, for pictures as the first; InputError where that cannot be encoded."""
    channels = (3, 4) if kind.transparent else (3,)
    if picture.ndim != 3 or picture.shape[2] not in channels or picture.dtype != np.uint8:
        expected = f"frames (height, width, {' or '.join(map(str, channels))}) uint8 for {kind.muxer}"
        raise InputError(expected, f"{picture.shape} {picture.dtype}", "convert them, or write .webm")
    if picture.shape[0] % 2 or picture.shape[1] % 2:
        got = f"{picture.shape[1]} x {picture.shape[0]}"
        raise InputError("frames with even sides, as H.264 with 4:2:0 colour needs", got, "choose an even size")
    video = cast(VideoStream, container.add_stream(kind.video, rate=rate, options=kind.video_options))
    video.height, video.width = picture.shape[:2]
    video.pix_fmt = "yuva420p" if picture.shape[2] == 4 else "yuv420p"
    video.time_base = 1 / rate
    codec = video.codec_context
    codec.colorspace = codec.color_primaries = codec.color_trc = BT709
    codec.color_range = LIMITED
    sound = cast(AudioStream, container.add_stream(kind.sound, rate=SOUND_RATE_HZ, layout="mono"))
    sound.bit_rate = SOUND_BITS_PER_S
    return video, sound


# Reading, of a video that nobody vouches for: behind the wall.


SIDES = (32, 8192)  # smallest and largest width and height that are read
LONGEST_SIDE = 1280  # larger pictures are scaled down to this; face detectors look at far fewer pixels
TRUNCATED_S = 0.15  # a video that ends this much before the length its header promises is called truncated


def read_pictures(video: BinaryIO, name: str, track: int) -> Iterator[dict[str, Any]]:
    """The number of pictures `expected` (None where the header promises none), each picture, then the counts.

    A picture is `rgb` (height, width, 3), upright and with square pixels, shown from `start_s` on, counted from the
    beginning of the video's sound, of several tracks that of `track`, see `decode_sound`. The counts are of `damaged`
    packets and pictures, which are left out, of pictures `unordered`, whose time does not follow the one before, how
    often time stamps begin `anew`, and `truncated_s`, the seconds missing of what is promised; `others` are tracks of
    pictures that were not read.
    """
    options = {"format_whitelist": ",".join(decode.CONTAINERS), "protocol_whitelist": "none"}
    with av.open(video, options=options, metadata_errors="replace") as container:
        streams = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
        if not streams:  # the cover picture of a song is none
            sound = "a sound track and no pictures" if container.streams.audio else "neither pictures nor sound"
            raise InputError("a video of a face", f"{name} with {sound}", "choose a file with a video track")
        stream: Any = max(streams, key=lambda each: each.width * each.height)
        if stream.codec_context is None:
            raise InputError("a video in a known codec", f"{name} in an unknown one", "convert it to MP4")
        stream.codec_context.thread_count = 1
        others = [f"{other.width} x {other.height}" for other in streams if other is not stream]
        yield {"expected": stream.frames or None}
        counts: dict[str, Any] = {"damaged": 0, "unordered": 0, "anew": 0, "truncated_s": 0.0, "others": others}
        step_s = 1 / float(stream.average_rate or 25)
        heard: Any = decode.sound_track(container, track, name) if container.streams.audio else None
        zero_s = None if heard is None or heard.start_time is None else float(heard.start_time * heard.time_base)

        def lasts_s(frame: Any) -> float:
            return float(frame.duration * frame.time_base) if frame.duration else step_s

        before_s, end_s = -math.inf, 0.0
        for frame, shown_s in decode.timed(_frames(container, stream, counts, name), None, lasts_s, counts):
            if shown_s <= before_s:
                counts["unordered"] += 1
                continue
            before_s, end_s = shown_s, shown_s + max(lasts_s(frame), step_s)
            zero_s = shown_s if zero_s is None else zero_s
            yield {"start_s": float(shown_s - zero_s), "rgb": _upright(frame, stream)}
        if stream.duration is not None and container.format.name not in ("mpeg", "mpegts"):
            missing_s = float((stream.duration + (stream.start_time or 0)) * stream.time_base) - max(end_s, step_s)
            counts["truncated_s"] = missing_s if missing_s > TRUNCATED_S else 0.0
        yield counts


def _frames(container: Any, stream: Any, counts: dict[str, Any], name: str) -> Iterator[Any]:
    """Decoded frames; what cannot be decoded whole is counted and skipped, a broken container ends the stream."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise
            counts["damaged"] += 1
            continue
        for frame in frames:
            if not SIDES[0] <= min(frame.width, frame.height) <= max(frame.width, frame.height) <= SIDES[1]:
                expected = f"pictures of {SIDES[0]} to {SIDES[1]} pixels a side"
                raise InputError(expected, f"{frame.width} x {frame.height} in {name}", "scale the video")
            if frame.is_corrupt:
                counts["damaged"] += 1
            else:
                yield frame


def _upright(frame: Any, stream: Any) -> UInt8[np.ndarray, "height width 3"]:
    """RGB with square pixels and turned as a player turns it, at most LONGEST_SIDE wide and high."""
    wide = frame.width * float(stream.sample_aspect_ratio or 1)
    scale = min(1.0, LONGEST_SIDE / max(wide, frame.height))
    width, height = max(round(wide * scale), 1), max(round(frame.height * scale), 1)
    rgb = frame.reformat(width, height, format="rgb24", interpolation="AREA" if scale < 1 else "BILINEAR")
    # FFmpeg pads the rows of many widths; MediaPipe reads the memory as if it did not
    return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90)))


# Words in pictures: captions over a picture's foot, titles above it.


INK, PAPER, HALO = (250, 250, 250), (24, 27, 32), (12, 14, 18)
MOST_LINES = 3
MORE = " …"  # at the end of a text that is cut
_MOST_LETTERS = 1000  # of a line that is measured


def captioned(
    picture: UInt8[np.ndarray, "height width channels"], text: str
) -> UInt8[np.ndarray, "height width channels"]:
    """A copy of the picture with a text over its foot, in at most three lines; the same picture for an empty text.

    Control characters and letters that no typeface has are left out.
    """
    if not _words(lettering(text)[1]):
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


def font(size_px: int, text: str = "") -> ImageFont.FreeTypeFont:
    """The typeface of a text in a picture, which `lettering` chooses."""
    return ImageFont.truetype(str(lettering(text)[0]), max(size_px, 11))


@lru_cache(maxsize=64)
def lettering(text: str) -> tuple[Path, str, str]:
    """The typeface of a text, the text in the letters that can be drawn, and which are left out and why, "" where none.

    DejaVu Sans, as it comes with matplotlib; Noto Sans CJK for Chinese, Japanese and Korean.
    """
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None, "matplotlib is one of the packages of this one"
    face, why = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", "no typeface has them"
    if text.isascii():
        return face, text, ""
    lacking = _lacking(face, text)
    if any(east_asian_width(sign) in "WF" and category(sign) != "So" for sign in lacking):
        try:
            (asian,) = resolve("noto-sans-cjk").files.values()
            face, lacking = min((face, lacking), (asian, _lacking(asian, text)), key=lambda pair: len(pair[1]))
        except AssetError as error:
            why = error.do
    if not features.check("fribidi") and (leftward := {sign for sign in text if bidirectional(sign) in ("R", "AL")}):
        lacking, why = lacking | leftward, "install the library fribidi for letters from right to left"
    note = f"captions are without {''.join(sorted(lacking))}: {why}" if lacking else ""
    return face, "".join(sign for sign in text if sign not in lacking), note


def _lacking(face: Path, text: str) -> set[str]:
    """The signs of a text that a typeface lacks."""
    from matplotlib.ft2font import FT2Font

    known = FT2Font(str(face)).get_charmap()
    return {sign for sign in "".join(_words(text)) if ord(sign) not in known}


@lru_cache(maxsize=64)
def _caption(text: str, width: int, height: int) -> UInt8[np.ndarray, "lines width 4"]:
    """The text as a layer over the picture's foot: white letters with a dark rim, readable before any backdrop."""
    letters = font(round(min(width, height) / 24), text)
    lines = _wrapped(lettering(text)[1], letters, 0.92 * width, MOST_LINES)
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
    letters = font(round(width / 28), title)
    bar = Image.new("RGB", (width, 2 * round(letters.size)), PAPER)
    text = "".join(_wrapped(lettering(title)[1], letters, 0.96 * width, 1))
    ImageDraw.Draw(bar).text((width / 2, bar.height / 2), text, font=letters, fill=INK, anchor="mm")
    return np.asarray(bar)


def _words(text: str) -> list[str]:
    """The words of a text without control characters (category Cc) and lone surrogates, which no typeface has."""
    kept = ("".join(sign for sign in word if category(sign) not in ("Cc", "Cs")) for word in text.split())
    return [word for word in kept if word]


def _wrapped(text: str, letters: ImageFont.FreeTypeFont, width_px: float, most_lines: int) -> list[str]:
    """The text in lines of at most this width: wider words are broken, and a text that is cut ends with MORE."""

    def fits(line: str) -> bool:
        return len(line) <= _MOST_LETTERS and letters.getlength(line) <= width_px

    def room(word: str) -> int:
        """How many of a word's letters a line has room for, one at least."""
        counts = range(1, min(len(word), _MOST_LETTERS) + 1)
        return max(bisect_right(counts, width_px, key=lambda count: letters.getlength(word[:count])), 1)

    waiting, lines = _words(text)[::-1], list[str]()
    while waiting and len(lines) < most_lines:
        line = waiting.pop()
        if (most := room(line)) < len(line):
            waiting.append(line[most:])
            line = line[:most]
        while waiting and fits(f"{line} {waiting[-1]}"):
            line = f"{line} {waiting.pop()}"
        lines.append(line)
    if waiting and lines:
        last = lines[-1]
        while last and not fits(last + MORE):
            last = last.rpartition(" ")[0] if " " in last else last[:-1]
        lines[-1] = (last + MORE).strip()
    return lines


# Sheets: several pictures as one, side by side and in rows.


def columns_of(count: int) -> int:
    """How many pictures stand side by side: up to three in one row, else as square as can be, four at most."""
    return count if count <= 3 else min(math.ceil(math.sqrt(count)), 4)


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
    columns = min(columns, len(cells))
    gaps = [np.full_like(cells[0], PAPER)] * (-len(cells) % columns)
    grid = np.stack([*cells, *gaps]).reshape(-1, columns, *cells[0].shape)
    return np.concatenate(np.concatenate(grid, axis=1), axis=1)


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
REACH_RAD, REACH = 0.15, 0.3  # a row shows at least so much, so that what hardly moves looks like it
_SCALE = 2  # drawn so many times larger and averaged, which smooths the curves


class Strip:
    """Trajectories of a motion (ARKIT), drawn once: as wide as a picture, a quarter of that high, at most `height`."""

    def __init__(self, motion: MotionClip, width: int, height: int = 1 << 16) -> None:
        self._frames, self._left = len(motion), width // 7
        sheet = Image.new("RGB", (_SCALE * width, _SCALE * (min(width // 4, height) // 2 * 2)), PAPER)
        pen, row = ImageDraw.Draw(sheet), sheet.height / len(FACTORS)
        across = np.linspace(_SCALE * self._left, sheet.width - 1, max(len(motion), 2))
        for number, factor in enumerate(FACTORS):
            top, colour = number * row, COLOURS[factor]
            pen.text((0.12 * row, top + row / 2), factor, font=font(round(0.42 * row)), fill=colour, anchor="lm")
            curves = _curves(motion, factor)
            reach = max(float(np.abs(curves).max()), REACH_RAD if factor == "pose" else REACH)
            middle, swing = (0.5, 0.42) if factor == "pose" else (0.9, 0.8)
            for shade, curve in zip((1.0, 0.55), curves, strict=False):
                heights = np.resize(top + row * (middle - swing * curve / reach), len(across))
                mixed = shade * np.array(colour) + (1 - shade) * np.array(PAPER)
                points = list(zip(across, heights, strict=True))
                pen.line(points, fill=tuple(mixed.astype(int).tolist()), width=2 * _SCALE - 1, joint="curve")
        self._picture = np.asarray(sheet.resize((width, sheet.height // _SCALE), Image.Resampling.BOX))

    def at(self, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        """The strip with a line at a frame, counted from 0."""
        picture = self._picture.copy()
        span = picture.shape[1] - self._left
        column = self._left + min(int((frame + 0.5) / self._frames * span), span - 1)
        picture[:, max(column - 1, self._left) : column + 1] = 240
        return picture


def _curves(motion: MotionClip, factor: str) -> Float[np.ndarray, "curves frames"]:
    """The two channels of a factor that move most, the strongest first; left and right twins count as their mean."""
    sides: dict[str, list[int]] = {}
    for i in FACTORS[factor]:
        sides.setdefault(ARKIT.channels[i].removesuffix("Left").removesuffix("Right"), []).append(i)
    means = [motion.values[:, members].mean(axis=1) for members in sides.values()]
    means.sort(key=lambda curve: -float(np.ptp(curve)))
    return np.stack(means[:2])
