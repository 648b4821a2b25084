"""Motion while it is spoken: lips beside the recording as a whole, time of a hop, and minutes of a session.

The session runs as fast as is spoken, so it takes as long as it says: --live-minutes 10 for the whole figure.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import numpy as np

from avi_lib.evaluation.metrics import closures, lip_closure
from avi_lib.face.head import load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.live import LiveSession, played
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import LearnedGenerator, load_generator
from avi_lib.motion.live import AHEAD, FPS, FRAME, HOP, LiveFace
from avi_lib.motion.style import Style
from avi_lib.receivers import Page
from avi_lib.settings import TalkSettings
from avi_lib.speech.encoders import Wave, one_thread
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import Voice
from avi_lib.talker import Talker
from tools.benchmarks.measuring import ROOT, Figure, Options, there
from tools.benchmarks.systems import read_spoken
from tools.benchmarks.talking import score_lips

CALM = Instruction.parse("A person feels calm.")
SPEECH = ROOT / "data" / "samples" / "librivox.flac"


class _Counted:
    """A receiver that counts."""

    frames = 0

    def send(self, frame: int, values: np.ndarray) -> None:
        self.frames += 1

    def close(self) -> None:
        pass


class _Watched(Page):
    """A page that somebody watches."""

    pictures = 0

    def wanted(self) -> bool:
        return True

    def picture(self, jpeg: bytes) -> None:
        self.pictures += 1


def live_motion(generator: LearnedGenerator, wave: Wave, style: Style, asked: Instruction, seed: int = 0) -> MotionClip:
    """Motion of a whole recording as it comes while it is spoken: what the same sound in pieces gives, to the bit."""
    face = LiveFace(generator, style, asked, seed)
    return MotionClip(np.concatenate([*face.push(wave), *face.finish()]), FPS, ARKIT)


def measure(options: Options) -> Iterator[Figure]:
    """Lips on GRID, the cost of a hop, then a session."""
    generator = load_generator(options.talking)
    with one_thread():
        if there(options.real / "grid10", "live lips on real videos"):
            yield from _measure_lips(generator, options)
        yield from _measure_hops(generator)
    yield from _measure_session(options)
    yield from _measure_preview()


def _measure_lips(generator: LearnedGenerator, options: Options) -> Iterator[Figure]:
    spoken, head = read_spoken(options.real / "grid10", generator.encoder), load_head()
    clips, performed = [each.clip for each in spoken], [each.performed for each in spoken]
    styles = [generator.model.style_of(motion) for motion in (*performed[1:], performed[0])]
    pairs = list(zip(spoken, styles, strict=True))
    live = score_lips([live_motion(generator, each.wave, style, CALM) for each, style in pairs], clips, head)
    whole = score_lips([generator.model.motion_of(each.features, style) for each, style in pairs], clips, head)
    real_d = float(np.nanmean([lip_closure(clip.gap, clip.phones, clip.fps) for clip in clips]))
    real = float(np.concatenate([closures(clip.gap, clip.phones, clip.fps) for clip in clips]).mean())
    for name, score, unit, must, truth in (
        ("live lip closure", "d", "SD", ">= 2.0", f"; real {real_d:.2f}"),
        ("live lips closed on /m b p/", "closed", "", "-", f"; real {real:.2f}"),
        ("live lip gap r", "r", "", ">= 0.60", ""),
    ):
        yield Figure(name, live[score], unit, must, f"GRID; of the recording as a whole {whole[score]:.2f}{truth}")


def _measure_hops(generator: LearnedGenerator) -> Iterator[Figure]:
    wave, hop = load_voice(SPEECH).wave, HOP * FRAME
    face = LiveFace(generator, generator.model.generator.style_mean.numpy(), CALM)
    spent_ms = []
    for start in range(0, len(wave) - hop, hop):
        began = time.thread_time()
        for _ in face.push(wave[start : start + hop]):
            pass
        spent_ms.append(1000 * (time.thread_time() - began))
    median, most = np.percentile(spent_ms[10:], (50, 95))
    how = f"1 thread; {median:.1f} CPU ms a hop of {1000 * HOP / FPS:.0f} ms, 95 % below {most:.1f}"
    yield Figure("live motion, CPU a second", float(np.mean(spent_ms[10:])) / (1000 * HOP / FPS), "s", "<= 0.3", how)
    yield Figure("look-ahead", 1000 * (AHEAD + 1) / FPS, "ms", "<= 160", "of the first frame of a hop; test_live.py")


def _measure_session(options: Options) -> Iterator[Figure]:
    wave = load_voice(SPEECH).wave
    minutes = options.live_minutes
    long = np.tile(wave, int(np.ceil(minutes * 60 * 16_000 / len(wave))))[: round(minutes * 60 * 16_000)]
    counted = _Counted()
    with Talker(TalkSettings()) as talker:
        assert talker.generator is not None and talker.prior_sampler is not None
        LiveSession(talker, played(Voice(wave)), [counted], CALM).run()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = LiveSession(talker, played(Voice(long)), [counted], CALM).run()
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    how = f"{minutes:g} minutes; {report.frames} frames, {report.late} late, {report.dropped_s:.2f} s left out"
    yield Figure("first live motion", report.first_ms, "ms", "<= 300", "after the first sample")
    yield Figure("live frames off their time, 95th percentile", report.jitter_ms, "ms", "<= 20", how)
    yield Figure("work of a live second", report.busy, "CPU s", "<= 0.3", how)
    yield Figure("peak memory beyond that of seven seconds", grown_mb, "MB", "flat", how)


def _measure_preview() -> Iterator[Figure]:
    """Pictures of the head that a page gets while it is spoken, at 512 x 512 and on what the motion leaves over."""
    wave = np.tile(load_voice(SPEECH).wave, 5)
    with Talker(TalkSettings()) as talker:
        for head in ("open", "anna"):
            talker.become(head)
            next(iter(talker.frames(MotionClip(np.zeros((1, len(ARKIT)), np.float32), FPS, ARKIT))))
            page = _Watched(0)
            report = LiveSession(talker, played(Voice(wave)), [page], CALM).run()
            seconds = len(wave) / 16_000
            how = f"512 x 512; {seconds:.0f} s, frames 95 % within {report.jitter_ms:.1f} ms of their time beside it"
            yield Figure(f"pictures of a preview, {head}", page.pictures / seconds, "fps", ">= 25", how)
