"""AVI: speech to instruction to expressive talking face. Names are loaded when they are used.

>>> import avi_lib as avi
>>> voice = avi.load_voice("my.wav")
>>> talk = avi.talk(voice, avi.understand("He just won the lottery."))
>>> avi.render(talk, "angry.mp4")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avi_lib.face.head import load_head
    from avi_lib.instruction.instruction import Instruction, Timeline, understand
    from avi_lib.motion.clip import MotionClip
    from avi_lib.motion.formats import load_motion, save_motion
    from avi_lib.motion.live import LiveFace
    from avi_lib.speech.loading import load_voice
    from avi_lib.speech.voice import Voice
    from avi_lib.talker import Talker, draw_style, instruct, render, talk
    from avi_lib.workbook.plots import plot

__version__ = "0.1.0"
__all__ = (  # noqa: RUF022 (in the order of use)
    "load_voice", "Voice", "instruct", "understand", "Instruction", "Timeline", "draw_style", "talk", "render", "plot",
    "load_motion", "save_motion", "MotionClip", "load_head", "Talker", "LiveFace",
)  # fmt: skip

_MODULES = {
    "speech.loading": ("load_voice",),
    "speech.voice": ("Voice",),
    "instruction.instruction": ("Instruction", "Timeline", "understand"),
    "talker": ("instruct", "draw_style", "talk", "render", "Talker"),
    "motion.formats": ("load_motion", "save_motion"),
    "motion.clip": ("MotionClip",),
    "motion.live": ("LiveFace",),
    "face.head": ("load_head",),
    "workbook.plots": ("plot",),
}


def __getattr__(name: str) -> Any:
    """A name of the front door, its module imported now."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"avi_lib.{module}"), name)
    raise AttributeError(f"module 'avi_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
