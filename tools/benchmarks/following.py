"""Whether a face does what it was asked: the action units of generated motion against those of the text.

>>> drawn = raw(prior, draw_bank(prior, bank, SampleSettings()))
>>> f1(asked_and_moved(prior_sampler, generator, held_out_spoken(corpora), bank, drawn))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.measure import measure_units, neutral_face
from avi_lib.corpus.scripts import StyleScript
from avi_lib.errors import InputError
from avi_lib.evaluation.scores import HELD_SPLITS, Styles, cosines, diversity, draw_samples, normal
from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.generator import LearnedGenerator
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import PriorModel, PriorSampler
from avi_lib.settings import PerformerSettings, SampleSettings
from avi_lib.training.prior import StyleBank

GUIDANCES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
TEXTS = 60
"""Texts whose diversity is taken."""
PLAIN = Instruction("A person speaks.")
_DROOP = ACTION_UNITS["lid_droop"].channels["eyeBlinkLeft"]


Strengths = Mapping[str, float]
Spoken = tuple[Float32[np.ndarray, "steps dim"], Performer]
"""Features of a held-out clip, and its performer without idle behaviour."""


def held_out_spoken(corpora: Sequence[Corpus]) -> list[Spoken]:
    """Clips with sound of speakers that are held out; InputError when there is none."""
    quiet = PerformerSettings(blinks=False, gaze=False, sway=False)
    found = [
        (
            corpus.features(clip).astype(np.float32),
            Performer(corpus.phones(clip), corpus.prosody(clip), clip.duration_s, quiet),
        )
        for corpus in corpora
        for clip in corpus.clips
        if clip.split in HELD_SPLITS and clip.features and clip.duration_s >= 2.5
    ]
    if not found:
        raise InputError("clips with sound of held-out speakers", "none", "add a corpus of three speakers or more")
    return found


def move(
    generator: LearnedGenerator, clips: Sequence[Spoken], styles: Sequence[Float32[np.ndarray, " style"]], seed: int = 0
) -> list[MotionClip]:
    """Every style over one of the clips in turn."""
    return [
        generator.perform(*clip, PLAIN, seed + i, style) for i, (style, clip) in enumerate(zip(styles, cycle(clips)))
    ]


def asked_and_moved(
    prior_sampler: PriorSampler, generator: LearnedGenerator, clips: Sequence[Spoken], bank: StyleBank, styles: Styles
) -> list[tuple[Strengths, Strengths]]:
    """Units asked for by every script of a bank, and those that move in its style (not normalised).

    What moves is measured above the face that the same generator makes in a plain style.
    """
    plain = prior_sampler.style(PLAIN, seed=0)
    rest = [generator.perform(*clip, PLAIN, 0, plain) for clip in clips]
    neutral = neutral_face([(motion.values, motion.present) for motion in rest])
    moved = [measure_units(motion, neutral) for motion in move(generator, clips, list(styles))]
    steady = [{name: v for name, v in units.items() if not ACTION_UNITS[name].rhythm} for units in moved]
    return [(asked_units(script), units) for script, units in zip(bank.scripts, steady, strict=True)]


def asked_units(script: StyleScript) -> dict[str, float]:
    """The units that a script asks to be moved, by the names they are measured under.

    Eyes closed by half or less are the same channels as drooping lids.
    """
    asked = {n: s for n, s in script.instruction.action_units.items() if s > 0 and not ACTION_UNITS[n].rhythm}
    closed = asked.get("eyes_closed", 1.0)
    if closed <= 1.1 * _DROOP:
        del asked["eyes_closed"]
        asked["lid_droop"] = min(closed / _DROOP, 1.0)
    return asked


def f1(pairs: Sequence[tuple[Strengths, Strengths]]) -> float:
    """F1 of the units that move against those that are asked for, over all pairs; NaN without any."""
    hits = sum(len(asked.keys() & moved.keys()) for asked, moved in pairs)
    both = sum(len(asked) + len(moved) for asked, moved in pairs)
    return 2 * hits / both if both else float("nan")


def guidance_curve(
    prior: PriorModel, bank: StyleBank, settings: SampleSettings | None = None
) -> dict[float, tuple[float, float, float]]:
    """By guidance: diversity of ten samples, cosine to the true style, length of the styles; means over texts."""
    curve = {}
    for guidance in GUIDANCES:
        how = (settings or SampleSettings()).model_copy(update={"guidance": guidance})
        samples = draw_samples(prior, bank, TEXTS, how)
        styles = samples.reshape(-1, samples.shape[-1])
        true = normal(prior, bank.styles[: len(samples)]).repeat(samples.shape[1], axis=0)
        length = float(np.linalg.norm(styles, axis=1).mean())
        curve[guidance] = float(diversity(samples).mean()), float(cosines(styles, true).mean()), length
    return curve
