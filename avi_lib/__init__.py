"""AVI: speech to instruction to expressive 3D talking face.

Importing the package loads nothing heavy; the rooms are imported by name.

>>> from pathlib import Path
>>> from avi_lib.instruction.instruction import Instruction
>>> from avi_lib.talker import Talker
>>> with Talker() as talker:
...     talk = talker.listen(Path("my.wav"), Instruction.parse("She is furious."))
...     talker.write_video(talk, Path("angry.mp4"))
"""

__version__ = "0.1.0"
