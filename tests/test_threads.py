"""Threads: what one library sets must not slow another."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import torch
torch.set_num_threads(2)
from avi_lib.speech.encoders import load_encoder
import numpy as np
load_encoder("whisper-tiny-en").encode(np.zeros(16000, np.float32))
print(torch.get_num_threads())
"""


def test_a_speech_encoder_leaves_torch_its_threads():
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "2"
