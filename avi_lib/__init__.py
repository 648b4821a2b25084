"""AVI: speech to instruction to expressive 3D talking face.

Importing the package loads nothing heavy; the rooms are imported by name.

>>> from avi_lib.pipeline import talk
>>> talk("my.wav", instruction="She is furious.", output="angry.mp4")
"""

__version__ = "0.1.0"
