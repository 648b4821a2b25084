"""Motion while it is spoken: sound in pieces of any size in, frames of motion out, a fifth of a second later.

>>> face = LiveFace(load_generator(), style, asked, seed=7)
>>> for samples in microphone:                                   # float32 at 16 kHz, in pieces of any length
...     for values in face.push(samples):                        # (2, 55): the next two frames, in the ARKIT space
...         send(values)

Everything happens in hops of 80 ms at absolute places of the sound, so the pieces in which it comes make no difference.
A hop encodes the last 0.84 s, keeps the features of the frames that it settles, and moves two frames, of
which `AHEAD` later ones are known. Lips come in every hop; all else is drawn in every second one, for four frames.
What a recording is normalised by as a whole, its level, its pitch, is here that of the last twenty seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32

from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.expression import add_blinks, add_head_rhythm, blink_rate, dynamics
from avi_lib.motion.flow import COLOUR, DRAWN, draw
from avi_lib.motion.generator import LearnedGenerator
from avi_lib.motion.style import Style
from avi_lib.speech.encoders import Wave
from avi_lib.speech.prosody import Prosody, prosody

FPS = 25.0
FRAME = 640  # samples of a frame
HOP = 2  # frames of a hop
AHEAD = 3  # later frames that are known of the last frame of a hop: 120 ms; of the first one more
HEARD = 16  # frames before those of a hop that are encoded with them: what the encoder reads of a sound
KNOWN = 32  # frames before those of a hop that lips and flow read
FLOW_STEPS = 3
FLOW_HOPS = 2  # the flow draws in every second hop, for as many frames as pass until the next time
FADE_S = 0.5  # how long another instruction takes to come on

_LOUDEST_LOG10 = 1.45
"""The loudest band of Whisper's spectrum of speech whose peak is 1; a recording as a whole has its own."""
_QUIETEST_PEAK, _HALVED_S = 0.02, 20.0
"""Sound whose peak is lower is raised no further than if this were its peak; a peak counts half after so long."""
_USUAL = 500  # frames that say what is usual of a voice
_PITCH_FRAMES = 14  # the last frames whose pitch is looked for in each hop; of the last but eight of them it stays
_BLOCK = 1500  # blinks and asked nods come in blocks of a minute, each from its own random numbers
_LIDS = ARKIT.columns("eyeBlink")

Frames = Float32[np.ndarray, "frames channels"]


class Asked(NamedTuple):
    """What the face does from a frame on: an instruction and the style (128,) drawn for it."""

    instruction: Instruction
    style: Style


class _Tail:
    """The last rows of something that has one row a frame; rows before the first are left out."""

    def __init__(self, most: int, columns: int) -> None:
        self.rows, self.most, self.end = np.zeros((0, columns), np.float32), most, 0

    def put(self, first: int, rows: np.ndarray) -> None:
        """Enter rows from frame `first` on, over what was there, and forget the oldest."""
        kept = self.rows[: len(self.rows) - (self.end - first)]
        self.rows, self.end = np.concatenate([kept, rows])[-self.most :], first + len(rows)

    def since(self, first: int) -> np.ndarray:
        """Rows from frame `first` on."""
        return self.rows[len(self.rows) - (self.end - first) :]


class LiveFace:
    """A face that speaks as sound comes in; every random choice comes from `seed`.

    generator: the learned one, with or without a flow; style: (128,) of the instruction `asked`. Memory and time of a
    hop stay the same for as long as it runs.
    """

    def __init__(self, generator: LearnedGenerator, style: Style, asked: Instruction, seed: int = 0) -> None:
        self.generator, self.seed = generator, seed
        self._wave = np.zeros(0, np.float32)  # sound of the last frames, its end not yet in a whole hop
        self._begins = 0  # frame at which that sound begins
        self._hops, self._peak = 0, 0.0
        self._features = _Tail(KNOWN + HOP + AHEAD, 2 * generator.model.shape.features)
        self._styles = _Tail(KNOWN + HOP + AHEAD, len(style))
        self._voice = _Tail(_USUAL, 3)
        self._drawn = _Tail(FLOW_HOPS * HOP + AHEAD, len(DRAWN))
        self._noise, self._rng = np.zeros((0, len(DRAWN)), np.float32), np.random.default_rng(seed)
        self._noise_begins = 0
        self._now = self._before = Asked(asked, style)
        self._changed = -(10**6)
        self._blocks: dict[tuple[int, Instruction, str], Frames] = {}

    @property
    def heard(self) -> int:
        """Frames of sound that came in whole hops."""
        return HOP * self._hops

    @property
    def asked(self) -> Asked:
        """What is asked for now."""
        return self._now

    def direct(self, asked: Instruction, style: Style) -> None:
        """Ask for something else from the next hop's frames on; it fades in over `FADE_S`."""
        share = self._share(np.array([self._settled]))[0]
        between = self._before.style + share * (self._now.style - self._before.style)
        self._before = Asked(self._now.instruction, between.astype(np.float32))
        self._now, self._changed = Asked(asked, style), self._settled

    @property
    def _settled(self) -> int:
        """Frames that have been given."""
        return max(self.heard - AHEAD, 0)

    def push(self, samples: Wave) -> Iterator[Frames]:
        """Take sound, (samples,) float32 at 16 kHz of any length, and give the frames that it settles, hop by hop."""
        self._wave = np.concatenate([self._wave, samples])
        while len(self._wave) >= (self.heard + HOP - self._begins) * FRAME:
            self._hops += 1
            if len(values := self._hop()):
                yield values

    def finish(self) -> Iterator[Frames]:
        """The frames that wait for later sound, as if silence followed."""
        rest = len(self._wave) + FRAME * self._begins - FRAME * self.heard
        frames = self.heard + -(-rest // FRAME)
        hops = -(-(frames + AHEAD) // HOP)
        given = self._settled
        for values in self.push(np.zeros(hops * HOP * FRAME - FRAME * self.heard - rest, np.float32)):
            yield values[: max(frames - given, 0)]
            given += len(values)

    @torch.inference_mode()
    def _hop(self) -> Frames:
        """The frames that this hop settles: none before enough is known of what follows."""
        end = self.heard
        first, start = max(end - AHEAD - HOP, 0), max(end - AHEAD - HOP - HEARD, 0)
        self._listen(start, first, end)
        count = end - AHEAD - first
        if count <= 0:
            return np.zeros((0, len(ARKIT)), np.float32)
        frames = np.arange(first, end)
        share = self._share(frames)[:, None].astype(np.float32)
        self._styles.put(first, (1 - share) * self._before.style + share * self._now.style)
        start = max(first - KNOWN, 0)
        features, styles = self._known(start, end)
        valid = torch.ones(1, end - start, dtype=torch.bool)
        lips = self.generator.model.generator(features[None], styles[None], valid)[0]
        values: Frames = lips[first - start :].numpy()[:count]
        if self.generator.model.flow is not None:
            if self._hops % FLOW_HOPS == 0 or self._drawn.end < first + count:
                self._draw(first, end)
            values[:, DRAWN] = self._drawn.since(first)[:count]
        return self._enlivened(ARKIT.limited(values), first)

    def _listen(self, start: int, first: int, end: int) -> None:
        """Features and voice of the frames up to `end`, those from `first` on anew."""
        wave = self._wave[(start - self._begins) * FRAME : (end - self._begins) * FRAME]
        newest = float(np.abs(wave[-HOP * FRAME :]).max())
        self._peak = max(self._peak * 0.5 ** (HOP / FPS / _HALVED_S), newest, _QUIETEST_PEAK)
        features = self.generator.encoder.encode_piece(wave, self._peak, _LOUDEST_LOG10)
        self._features.put(first, features.reshape(end - start, -1)[first - start :])
        near = max(end - _PITCH_FRAMES, start)
        heard = prosody(self._wave[(near - self._begins) * FRAME : (end - self._begins) * FRAME], FPS)
        settled = max(end - 8, near)
        rows = np.stack([heard.f0_hz, heard.voiced, heard.energy_db], axis=1)
        self._voice.put(settled, rows[settled - near :])
        keep = max(end - max(HEARD + AHEAD + HOP, _PITCH_FRAMES) - HOP, 0)
        self._wave, self._begins = self._wave[(keep - self._begins) * FRAME :], keep

    def _share(self, frames: np.ndarray) -> np.ndarray:
        """How far what is asked for now has come on at each frame, 0 to 1."""
        return np.clip((frames + 1 - self._changed) / (FADE_S * FPS), 0.0, 1.0)

    def _known(self, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (2 a frame) and styles (1 a frame) from a frame on."""
        features = torch.from_numpy(self._features.since(start).reshape(2 * (end - start), -1))
        return features, torch.from_numpy(self._styles.since(start))

    def _draw(self, first: int, end: int) -> None:
        """Draw all but the lips from frame `first` on, for as many frames as pass until the next time."""
        flow = self.generator.model.flow
        assert flow is not None
        start = max(first - KNOWN, 0)
        features, styles = self._known(start, end)
        last = end + 2 * COLOUR
        drawn = self._rng.standard_normal((last - self._noise_begins - len(self._noise), len(DRAWN)), np.float32)
        self._noise = np.concatenate([self._noise, drawn])[start - self._noise_begins :]
        self._noise_begins = start
        rows = self._voice.rows
        usual, voice = _prosody(rows), _prosody(self._voice.since(start))
        contour = torch.from_numpy(voice.contour(usual))
        values = draw(flow, features, contour, styles, torch.from_numpy(self._noise.copy()), FLOW_STEPS).numpy()
        values = values[first - start :]
        if self._drawn.end > first:  # the last time one frame more was drawn: what it has beyond this one fades out
            values[:-1] += np.linspace(1, 0, len(values))[:-1, None] * (self._drawn.since(first)[0] - values[0])
        self._drawn.put(first, values)

    def _enlivened(self, values: Frames, first: int) -> Frames:
        """With blinks, and with the nods and shakes that are asked for."""
        frames = np.arange(first, first + len(values))
        share = self._share(frames)
        for asked, weights in ((self._before, 1 - share), (self._now, share)):
            values += weights[:, None].astype(np.float32) * self._minute(frames, asked.instruction, "rhythm")
        held = self._styles.since(first)[: len(values), _LIDS]
        shut = self._minute(frames, self._now.instruction, "blinks")[:, _LIDS]
        values[:, _LIDS] = held + (1 - held) * shut
        return ARKIT.limited(values)

    def _minute(self, frames: np.ndarray, asked: Instruction, what: str) -> Frames:
        """What blinks, or asked nods and shakes, add to some frames: rows of blocks of a minute."""
        return np.stack([self._block(frame // _BLOCK, asked, what)[frame % _BLOCK] for frame in frames.tolist()])

    def _block(self, number: int, asked: Instruction, what: str) -> Frames:
        key = (number, asked, what)
        if key not in self._blocks:
            rng = np.random.default_rng([self.seed, number, len(what)])
            values = np.zeros((_BLOCK, len(ARKIT)), np.float32)
            units = asked.action_units
            if what == "rhythm":
                nod, shake = (units.get(f"head_{unit}", 0.0) for unit in ("nod", "shake"))
                add_head_rhythm(values, FPS, rng, nod=nod, shake=shake)
            else:
                rate = blink_rate(units) * dynamics(asked.emotion, asked.level).blinks_per_minute
                add_blinks(values, FPS, rng, rate)
            self._blocks = {k: v for k, v in self._blocks.items() if k[0] >= number - 1} | {key: values}
        return self._blocks[key]


def _prosody(rows: np.ndarray) -> Prosody:
    return Prosody(FPS, rows[:, 0], rows[:, 1] > 0, rows[:, 2], ())
