"""The words of recordings."""

from __future__ import annotations

import numpy as np

from avi_lib.speech.loading import load_speech
from avi_lib.speech.transcript import Transcriber


def plain(text):
    return "".join(char for char in text.lower() if char.isalnum() or char == " ").split()


def test_the_words_of_a_reading_are_found_and_follow_on_over_parts(monkeypatch):
    transcriber = Transcriber()
    wave = load_speech("data/samples/arctic.flac").wave
    words = plain(transcriber.transcribe(wave))
    assert words == plain("And you always want to see it in the superlative degree.")
    pause = np.zeros(16000, np.float32)
    monkeypatch.setattr("avi_lib.speech.transcript.LONGEST_S", 6.0)
    both = plain(transcriber.transcribe(np.concatenate([wave, pause, wave])))
    assert both == 2 * words


def test_nothing_is_no_error():
    assert isinstance(Transcriber().transcribe(np.zeros(8000, np.float32)), str)
