"""Drafts: a recording heard and cut into clips, with everything but the motion it will be given.

>>> drafts = make_drafts(recording, encoder, settings, split="train", motion=Motion())
>>> drafts[0].features.shape, len(drafts[0].phones)
((96, 384), 21)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float16, Float32

from avi_lib.corpus.curves import Curves, Piece
from avi_lib.corpus.motion_source import Motion
from avi_lib.corpus.recording import Recording
from avi_lib.errors import InputError
from avi_lib.settings import PrepareSettings
from avi_lib.speech.align import align_phones
from avi_lib.speech.audio import RATE_HZ, Speech, load_speech
from avi_lib.speech.cutting import FPS, SAMPLES, cut_at_pauses, cut_evenly
from avi_lib.speech.encoder import SpeechEncoder
from avi_lib.speech.phones import Phone, shift, tidy
from avi_lib.speech.prosody import Prosody, prosody
from avi_lib.speech.recognise import recognise_phones

LONGEST_RECORDING_MIN = 30.0
"""Longer recordings are refused: a worker holds one of them in memory."""
LOOSE_END_S = 0.25
"""Sound that goes on this little longer than the motion does not make the clip a part of its recording."""


@dataclass(frozen=True, eq=False)
class Draft:
    """A clip that waits for its motion.

    `features` (frames50, dim) at 50 a second and `prosody` are None for motion without sound, `curves` at 25 a second
    for sound without motion. The clip has `frames` video frames. `repairs` and `warnings` are names of findings.
    """

    clip: str
    recording: Recording
    split: str
    start_s: float
    duration_s: float
    frames: int
    features: Float16[np.ndarray, "features dim"] | None
    phones: tuple[Phone, ...]
    phones_from: str
    prosody: Prosody | None
    curves: Curves | None
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def make_drafts(
    recording: Recording, encoder: SpeechEncoder, settings: PrepareSettings, split: str, motion: Motion
) -> list[Draft]:
    """The clips of a recording; `motion` is empty for one that is to be performed.

    Raises InputError when the sound cannot be used or nothing long enough is left.
    """
    still = [Piece(piece.start_s, piece.curves.at_fps(float(FPS))) for piece in motion.pieces]
    if recording.speech is None:
        drafts = [draft for piece in still for draft in _silent(recording, piece, settings, split, motion.findings)]
    else:
        speech = load_speech(recording.speech, LONGEST_RECORDING_MIN)
        spoken = _spoken(recording, speech)
        drafts = [
            _heard(recording, speech, spoken, encoder, split, first, last, curves, motion.findings)
            for first, last, curves in _parts(speech, still, settings, performed=not motion.pieces)
        ]
    if not drafts:
        got = "nothing so long in it" + (" with both sound and motion" if motion.pieces and recording.speech else "")
        raise InputError(f"at least {settings.shortest_s:g} s", got, "record a longer take")
    return drafts


def _parts(
    speech: Speech, pieces: Sequence[Piece], settings: PrepareSettings, performed: bool
) -> list[tuple[int, int, Curves | None]]:
    """First and last frame of each clip, with the curves that belong to it; too short ones are left out."""
    frames = -(-len(speech.wave) // SAMPLES)
    spans: list[tuple[int, int, Curves | None]] = [(0, frames, None)]
    if not performed:
        starts = [round(piece.start_s * FPS) for piece in pieces]
        spans = [
            (start, min(frames, start + len(piece.curves.clip)), piece.curves)
            for start, piece in zip(starts, pieces, strict=True)
        ]
    longest, shortest = int(settings.longest_s * FPS), settings.shortest_s * FPS
    parts: list[tuple[int, int, Curves | None]] = []
    for start, end, curves in spans:
        if end - start < shortest:
            continue
        for first, last in cut_at_pauses(speech.wave[start * SAMPLES : end * SAMPLES], end - start, longest):
            if last - first >= shortest:
                parts.append((start + first, start + last, curves.between(first, last) if curves else None))
    return parts


def _silent(
    recording: Recording, piece: Piece, settings: PrepareSettings, split: str, findings: tuple[str, ...]
) -> list[Draft]:
    drafts = []
    for first, last in cut_evenly(len(piece.curves.clip), int(settings.longest_s * FPS)):
        if last - first >= settings.shortest_s * FPS:
            start_s = piece.start_s + first / FPS
            whole = piece.start_s == 0 and last - first == len(piece.curves.clip)
            curves = piece.curves.between(first, last)
            name = recording.name if whole else f"{recording.name}@{start_s:.2f}"
            drafts.append(
                Draft(
                    clip=name,
                    recording=recording,
                    split=split,
                    start_s=start_s,
                    duration_s=(last - first) / FPS,
                    frames=last - first,
                    features=None,
                    phones=(),
                    phones_from="none",
                    prosody=None,
                    curves=curves,
                    warnings=findings,
                )
            )
    return drafts


@dataclass(frozen=True)
class _Spoken:
    """Phones of a part of a recording or of the whole, where they come from, and doubts about them."""

    phones: tuple[Phone, ...]
    source: str
    doubts: tuple[str, ...] = ()

    def part(self, start_s: float, duration_s: float) -> _Spoken:
        return replace(self, phones=tidy(shift(self.phones, -start_s), duration_s))


def _spoken(recording: Recording, speech: Speech) -> _Spoken | None:
    """Phones of the whole recording where the corpus has them or a text to align; None where they are recognised."""
    if recording.phones is not None:
        return _Spoken(recording.phones, "corpus")
    if recording.text is not None and recording.language == "en":
        track = align_phones(speech.wave, recording.text)
        return _Spoken(track.phones, "text", ("text_doubtful",) if track.warning else ())
    return None


def _recognised(recording: Recording, wave: Float32[np.ndarray, " samples"]) -> _Spoken:
    doubts = () if recording.language == "en" else ("phones_of_another_language",)
    return _Spoken(recognise_phones(wave).phones, "speech", doubts)


def _heard(
    recording: Recording,
    speech: Speech,
    spoken: _Spoken | None,
    encoder: SpeechEncoder,
    split: str,
    first: int,
    last: int,
    curves: Curves | None,
    findings: tuple[str, ...],
) -> Draft:
    wave = speech.wave[first * SAMPLES : last * SAMPLES]
    whole = first == 0 and len(speech.wave) - len(wave) < LOOSE_END_S * RATE_HZ
    start_s, duration_s = first / FPS, len(wave) / RATE_HZ
    said = spoken.part(start_s, duration_s) if spoken else _recognised(recording, wave)
    return Draft(
        clip=recording.name if whole else f"{recording.name}@{start_s:.2f}",
        recording=recording if whole else replace(recording, text=None),
        split=split,
        start_s=start_s,
        duration_s=duration_s,
        frames=last - first,
        features=encoder.encode(wave).astype(np.float16),
        phones=said.phones,
        phones_from=said.source,
        prosody=prosody(wave, fps=float(FPS)),
        curves=curves,
        repairs=tuple(finding.name for finding in speech.report.repairs),
        warnings=(*(finding.name for finding in speech.report.warnings), *findings, *said.doubts),
    )
