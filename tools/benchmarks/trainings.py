"""Several trainings of the flow and of the prior by one recipe, with intervals over them; also without some corpora.

    python -m tools.benchmarks.trainings --corpus data/prepared/samples data/prepared/av_grid_s1 \
        data/prepared/av_ravdess_au --seeds 3 --flow 2000 --prior 2000 --folder outputs/trainings
    python -m tools.benchmarks.trainings --corpus ... --without av_ravdess_au --seeds 1 --folder outputs/clean

Corpora left out are measured on, not trained on: so the recipe without non-commercial recordings stands beside the
other. Trainings go on where they were interrupted. Writes a section of docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from avi_lib.corpus.dataset import Corpus, Mixture, shared_voices
from avi_lib.errors import AviError
from avi_lib.evaluation.report import estimate
from avi_lib.files import atomic_path, make_folder
from avi_lib.instruction.language_model import TextEncoder, load_text_encoder
from avi_lib.motion.generator import SHIPPED, TalkingModel, load_generator, load_talking_model, save_talking_model
from avi_lib.motion.prior import PriorSampler, save_prior
from avi_lib.settings import Profile, SampleSettings, TrainSettings, profile
from avi_lib.speech.encoders import one_thread
from avi_lib.training.flow import train_flow
from avi_lib.training.prior import make_bank, train_prior
from tools.benchmarks.__main__ import RESULTS, machine
from tools.benchmarks.flow import MOST, dynamics, held_clips, rows, with_voice
from tools.benchmarks.measuring import Figure
from tools.benchmarks.prior import score_asked
from tools.benchmarks.results import row, with_section
from tools.benchmarks.scores import SETS, asked_and_moved, draw_bank, f1, held_out_bank, held_out_spoken, raw

BATCH, RATE = 64, 1.5e-3
"""Of the prior, as the shipped one was trained; profile `full` takes larger batches for graphics cards."""


def flows(
    corpora: Sequence[Corpus], learned: Sequence[Corpus], sizes: Profile, seed: int, folder: Path
) -> TalkingModel:
    """The shipped generator with a flow trained on some corpora of real motion."""
    names = [corpus for corpus in learned if any(clip.motion != "performed" for clip in corpus.clips)]
    settings = sizes.flow.model_copy(update={"train": sizes.flow.train.model_copy(update={"seed": seed})})
    mixture = Mixture.of(names, "train", settings.frames, without=set(shared_voices(names)))
    drawn, _ = train_flow(mixture, settings, folder / f"flow-{seed}")
    model = load_talking_model(SHIPPED).with_flow(drawn.cpu())
    save_talking_model(model, folder / f"talking-{seed}.safetensors", {"corpora": [c.folder.name for c in names]})
    return model


def flow_figures(model: TalkingModel, corpora: Sequence[Corpus]) -> Iterator[Figure]:
    """Dynamics on the held-out clips of every corpus of real motion."""
    for corpus in corpora:
        if held := held_clips(corpus, "test")[:MOST]:
            made = rows(model, held)
            yield from dynamics(corpus.folder.name, made, held)
            yield from with_voice(corpus.folder.name, made, held)


def prior_figures(
    corpora: Sequence[Corpus], learned: Sequence[Corpus], encoder: TextEncoder, sizes: Profile, seed: int, folder: Path
) -> Iterator[Figure]:
    """F1 and Spearman of units in generated motion, by diffusion and by regression, with and without the reading."""
    base = sizes.prior
    bank = make_bank(learned, encoder, base.scripts, base.texts, 0, folder=folder / "texts")
    generator, clips = load_generator(), held_out_spoken(corpora)
    for regression in (False, True) if seed == 0 else (False,):
        train = base.train.model_copy(update={"seed": seed})
        settings = base.model_copy(update={"train": train, "regression": regression})
        kind = "regression without diffusion" if regression else "diffusion"
        prior, _ = train_prior(bank, encoder, settings, folder / f"prior-{seed}{'-regression' if regression else ''}")
        sampler = PriorSampler(prior, encoder, "trained here")
        save_prior(prior, folder / f"prior-{seed}{'-regression' if regression else ''}.safetensors")
        for draw in ("combination", "wording"):
            held = held_out_bank(corpora, encoder, draw, base.held_out, 5, "units", folder / "texts")
            for parsed, said in ((True, ""), (False, ", from the text alone")):
                styles = raw(prior, draw_bank(prior, held, SampleSettings(), parsed=parsed))
                pairs = asked_and_moved(sampler, generator, clips, held, styles)
                found = estimate(pairs, np.random.default_rng(0), statistic=f1, resamples=200)
                must = (">= 0.95", ">= 0.90") if parsed else ("-", "-")
                how = f"{found.low:.2f} to {found.high:.2f} over scripts"
                yield Figure(f"{kind}: {SETS[draw]}, F1{said}", found.value, "", must[0], how)
                yield Figure(f"{kind}: {SETS[draw]}, Spearman{said}", score_asked(pairs).rho, "", must[1], "")


def merged(trainings: Sequence[Sequence[Figure]]) -> Iterator[Figure]:
    """Means over trainings with intervals of Student's t, figure by figure; targets are those of the first."""
    for name in dict.fromkeys(figure.name for figures in trainings for figure in figures):
        same = [figure for figures in trainings for figure in figures if figure.name == name]
        values = [figure.value for figure in same]
        each = ", ".join(f"{value:.2f}" for value in values)
        how = f"{len(values)} training{'s' * (len(values) > 1)}: {each}"
        if len(values) > 1:
            half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
            how += f"; 95 % interval of their mean {np.mean(values) - half:.2f} to {np.mean(values) + half:.2f}"
        yield Figure(name, float(np.mean(values)), same[0].unit, same[0].must, f"{how}; first: {same[0].how}")


def main(words: list[str] | None = None) -> int:
    """Train, measure, print and write the section."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.trainings", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, metavar="PREPARED")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="corpora that are not trained on")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--flow", type=int, default=2000, metavar="STEPS", help="0 leaves the flow out")
    parser.add_argument("--prior", type=int, default=2000, metavar="STEPS", help="0 leaves the prior out")
    parser.add_argument("--scripts", type=int, default=7000, metavar="N", help="that the prior learns from")
    parser.add_argument("--held-out", type=int, default=200, metavar="N", help="scripts that it is measured on")
    parser.add_argument("--folder", type=Path, required=True, help="of checkpoints and weights")
    given = parser.parse_args(words)
    full = profile("full")

    def shorter(train: TrainSettings, steps: int, **more: object) -> TrainSettings:
        changed = {"steps": max(steps, 1), "warmup": min(train.warmup, max(steps, 1) // 10), "save_every": 100}
        return train.model_copy(update=changed | more)

    prior = {"scripts": given.scripts, "held_out": given.held_out}
    prior["train"] = shorter(full.prior.train, given.prior, batch=BATCH, learning_rate=RATE, average=0.995)
    flow = full.flow.model_copy(update={"train": shorter(full.flow.train, given.flow)})
    sizes = full.model_copy(update={"flow": flow, "prior": full.prior.model_copy(update=prior)})
    try:
        corpora, folder = [Corpus(path) for path in given.corpus], given.folder
        make_folder(folder)
        learned = [corpus for corpus in corpora if corpus.folder.name not in given.without]
        found: list[list[Figure]] = []
        with one_thread():
            for seed in range(given.seeds):
                figures: list[Figure] = []
                if given.flow:
                    figures += flow_figures(flows(corpora, learned, sizes, seed, folder), corpora)
                if given.prior:
                    encoder = load_text_encoder("minilm")
                    figures += prior_figures(corpora, learned, encoder, sizes, seed, folder)
                found.append(figures)
    except AviError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    name = f"trainings{' without ' + ', '.join(given.without) if given.without else ''}"
    on = f"flow {given.flow} steps, prior {given.prior} steps of {BATCH}; {machine()}"
    with atomic_path(RESULTS) as temporary:
        text = with_section(RESULTS.read_text("utf-8"), name, list(merged(found)), on)
        only = f"python -m tools.benchmarks --only {name}"
        how = "python -m tools.benchmarks.trainings" + (
            f" --without {' '.join(given.without)}" if given.without else ""
        )
        temporary.write_text(text.replace(f"`{only}`", f"`{how}`"), "utf-8")
    print(*map(row, merged(found)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
