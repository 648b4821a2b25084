"""How well the instructor stands what recordings suffer, and how fast it is: `python -m avi_lib.evaluation.hardening`.

Accuracy is of held-out speakers of the first fold of `python -m avi_lib.evaluation.instructor`, whose training is taken
from its folder. What is no speech, the demonstration clips and times are of the shipped weights.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.corpus import Corpus
from avi_lib.errors import AviError
from avi_lib.evaluation.figure import Figure, markdown
from avi_lib.evaluation.instructor import BATCH, FOLDS, Heard, Study, hear_all
from avi_lib.evaluation.listening import folds
from avi_lib.instruction.instructor import Instructor, load_instructor
from avi_lib.instruction.language_model import load_language_model
from avi_lib.instruction.text_encoder import load_text_encoder
from avi_lib.settings import PROFILES
from avi_lib.speech.audio import RATE_HZ, load_speech
from avi_lib.speech.augment import TELEPHONE_HZ, active_dbfs, band_limit, degrade, gain, room_tone
from avi_lib.speech.encoder import load_encoder
from avi_lib.speech.hearing import hear
from avi_lib.speech.no_speech import SOUNDS, draw_sound
from avi_lib.stages.hearing_bank import HearingBank, make_hearing_bank
from avi_lib.stages.instructor import FrozenModels, hear_sounds

Wave = Float32[np.ndarray, " samples"]
SNR_DB = 20.0
SOUNDS_EACH = 10


def _noisy(wave: Wave) -> Wave:
    tone = room_tone(len(wave), active_dbfs(wave) - SNR_DB, 3.0, np.random.default_rng(len(wave)))
    return (wave + tone).astype(np.float32)


CONDITIONS: Mapping[str, Callable[[Wave], Wave]] = {
    "20 dB of noise": _noisy,
    "8 kHz": lambda wave: band_limit(wave, (20.0, 3900.0)),
    "+6 dB": lambda wave: np.clip(gain(wave, 6.0), -1, 1).astype(np.float32),
    "-6 dB": lambda wave: gain(wave, -6.0),
    "mu-law": lambda wave: degrade(wave, "mu-law"),
    "low-rate codec": lambda wave: degrade(wave, "low-rate"),
    "telephone": lambda wave: band_limit(wave, TELEPHONE_HZ),
}
"""What is done to clips; a recording at 8 kHz has nothing above 4 kHz."""


def harden(instructor: Instructor, corpora: Sequence[Corpus], out: HearingBank, most: int) -> Iterator[Figure]:
    """Accuracy of clips as they are and under each condition."""
    by_name = {corpus.folder.name: corpus for corpus in corpora}
    step = max(1, len(out) // most)
    few = out.select([number % step == 0 for number in range(len(out))])
    plain = hear_all(instructor, few).verdict()
    yield Figure("held-out clips as they are", plain.accuracy, "", "-", f"{len(few)} clips, likeliest emotion")
    waves = []
    for label in few.clips:
        corpus = by_name[label.corpus]
        clip = corpus.clip(label.name)
        start = round(clip.start_s * RATE_HZ)
        sound = corpus.sound(clip)
        assert sound is not None, "it was heard"
        waves.append(load_speech(sound).wave[start : start + round(clip.duration_s * RATE_HZ)])
    for name, change in CONDITIONS.items():
        feelings, speech = [], []
        for first in range(0, len(waves), BATCH):
            hearings = [[hear(change(wave), instructor.encoder)] for wave in waves[first : first + BATCH]]
            opinions = instructor.opinions(hearings)
            feelings.append(opinions.feelings)
            speech.append(opinions.speech)
        verdict = Heard(few, np.concatenate(feelings), np.concatenate(speech)).verdict()
        fall = 100 * (plain.accuracy - verdict.accuracy)
        must = "-" if name == "telephone" else "<= 5"
        yield Figure(f"{name}: fall of accuracy", fall, "points", must, f"accuracy {verdict.accuracy:.3f}")


def judge_sounds(instructor: Instructor) -> Iterator[Figure]:
    """Share of sounds that are no speech whose sentence is neutral and has a warning."""
    rng = np.random.default_rng(99)
    for kind in ("silence", *SOUNDS):
        right = []
        for _ in range(SOUNDS_EACH):
            seconds = float(rng.uniform(1.5, 6))
            wave = (
                np.zeros(round(seconds * RATE_HZ), np.float32) if kind == "silence" else draw_sound(seconds, rng, kind)
            )
            written = instructor.instruct(wave)
            right.append(written.instruction.emotion == "neutral" and bool(written.warnings))
        yield Figure(f"{kind}: neutral with a warning", float(np.mean(right)), "", "1", f"{SOUNDS_EACH} of 1.5 to 6 s")


def judge_demo(instructor: Instructor, folder: Path) -> Iterator[Figure]:
    """What is written of demonstration clips, whose names tell what they are."""
    wanted = {"anger": "angry", "neutral": "neutral", "joy": "happy"}
    for path in sorted(folder.glob("*.flac")):
        meant = next((emotion for word, emotion in wanted.items() if word in path.stem), None)
        written = instructor.instruct(load_speech(path).wave)
        likely = sorted(written.probabilities.items(), key=lambda pair: -pair[1])[:3]
        said = ", ".join(f"{name} {share:.2f}" for name, share in likely)
        right = float(written.instruction.emotion == meant)
        yield Figure(f"{path.stem}: read as {meant}", right, "", "1", f"{written.instruction.text} ({said})")


def time_it(instructor: Instructor, turns: int = 7) -> Iterator[Figure]:
    """Seconds for a clip of 5 s once loaded, seconds and memory of a process that does nothing else."""
    wave = load_speech(Path("data/samples/librivox.flac")).wave[: 5 * RATE_HZ]
    took = []
    for _ in range(turns):
        begun = time.perf_counter()
        instructor.instruct(wave)
        took.append(time.perf_counter() - begun)
    yield Figure(
        "5 s to its sentence, loaded", float(np.median(took)), "s", "<= 2.5", f"{min(took):.2f} to {max(took):.2f}"
    )
    code = (
        "import pathlib, sys, time; begun = time.perf_counter()\n"
        "from avi_lib.cli import main\n"
        "main(['instruct', 'data/samples/angry.flac', '--json'])\n"
        "took = time.perf_counter() - begun\n"
        "lines = pathlib.Path('/proc/self/status').read_text().splitlines()\n"  # getrusage knows the parent's peak
        "peak = next(line.split()[1] for line in lines if line.startswith('VmHWM'))\n"
        "print(took, int(peak) / 1e6, file=sys.stderr)"
    )
    cold, memory = [], []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, used = map(float, done.stderr.split()[-2:])
        cold.append(seconds)
        memory.append(used)
    yield Figure("`avi instruct`, a process of its own", float(np.median(cold)), "s", "<= 6", "models in the cache")
    yield Figure("its memory", float(max(memory)), "GB", "<= 2.5", "largest resident set")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is that of the error when it cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m avi_lib.evaluation.hardening", description=__doc__)
    parser.add_argument("--corpus", type=Path, nargs="*", default=[], metavar="PREPARED", help="as in the study")
    parser.add_argument("--folder", type=Path, default=Path("outputs/instructor"), help="the study's folder")
    parser.add_argument("--cache", type=Path, default=Path("data/cache/hearing"), help="where hearings are kept")
    parser.add_argument("--demo", type=Path, help="folder of demonstration clips")
    parser.add_argument("--most", type=int, default=120, metavar="N", help="clips of a condition (default 120)")
    options = parser.parse_args(arguments)
    try:
        shipped = load_instructor()
        print(markdown([]), flush=True)
        for figures in (
            time_it(shipped),
            judge_sounds(shipped),
            judge_demo(shipped, options.demo) if options.demo else (),
            _of_first_fold(options.corpus, options.folder, options.cache, options.most) if options.corpus else (),
        ):
            for figure in figures:
                print(markdown([figure]).splitlines()[-1], flush=True)
    except AviError as error:
        print(f"hardening: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _of_first_fold(folders: Sequence[Path], folder: Path, cache: Path, most: int) -> Iterator[Figure]:
    settings = PROFILES["full"].instructor
    encoder, corpora = load_encoder(), [Corpus(each) for each in folders]
    models = FrozenModels(encoder, load_text_encoder(), load_language_model())
    bank = make_hearing_bank(corpora, encoder.name, settings.views, 0, cache)
    study = Study(bank, hear_sounds(encoder, settings.sounds), models, settings, folder)
    learned, out = next(iter(folds(bank, FOLDS)))
    yield from harden(study.train(learned, "fold0"), corpora, out, most)


if __name__ == "__main__":
    sys.exit(main())
