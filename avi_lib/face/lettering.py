"""Words in pictures: captions over a picture's foot, titles above it.

>>> captioned(picture, "She is furious.").shape == picture.shape
True

Text is set in DejaVu Sans, which comes with matplotlib; signs that it lacks are shown as boxes.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from unicodedata import category

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

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
