"""The peer: DALLE2-pytorch's DiffusionPrior on the same bank, trained and sampled as its authors' classes do it.

`make peer` puts the package beside the environment, into .tools/peer. It reads one vector a sentence: the mean of the
sentence's token states, through a network of the kind that AVI-Talking puts before it, and learns by its
own loss and a contrastive one. It is trained at several learning rates, of which the one that serves it best on what is
compared is taken; it samples without added noise, as ours, in as many calls of its network. Pooled (`max_text_len=1`)
it has no tokens to attend to; with access to tokens it attends to 40, the sentence's own and learned padding. Ours
is trained on the text alone here, as the peer is; as it is shipped, with the parser's reading, it is told beside.
"""

from __future__ import annotations

import copy
import importlib
import io
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from avi_lib.corpus.dataset import Corpus
from avi_lib.errors import InputError
from avi_lib.evaluation.report import Estimate
from avi_lib.files import make_folder
from avi_lib.instruction.language_model import TextEncoder, load_text_encoder
from avi_lib.motion.prior import PriorModel
from avi_lib.motion.style import STYLE
from avi_lib.settings import PriorSettings, SampleSettings, profile
from avi_lib.speech.encoders import one_thread
from avi_lib.training.loop import train
from avi_lib.training.prior import PriorLosses, StyleBank, make_bank, recipe, train_prior
from tools.benchmarks.measuring import ROOT, Figure, Options, corpora, in_turns_ms, left_out, spread
from tools.benchmarks.scores import Styles, draw_bank, held_out_bank, normal, score_styles

PLACE = ROOT / ".tools" / "peer"
STEPS, SCRIPTS, BATCH = 300, 3000, 64
"""How long, on how many scripts and in which batches both priors are trained: some ten minutes of one core."""
FORMS, PEER_RATES = {"pooled": 1, "40 tokens": 40}, (1e-3, 3e-4)
DIFFUSION, TEMPERATURE = 30.0, 0.05  # weight of its own loss beside the contrastive one, and that one's temperature
MISSING = "the package dalle2-pytorch is not installed: `make peer` puts it beside the environment"


def find_peer() -> Any | None:
    """The package, from the environment or from `.tools/peer`; None when it is not installed."""
    try:
        return _import_peer()
    except ImportError:
        return None


class PeerModel(nn.Module):
    """`prior`, the peer's own, behind `read`, which makes one vector of a sentence, and `tokens` for its default."""

    def __init__(self, package: Any, text: int, max_text_len: int, depth: int = 9, hidden: int = 512) -> None:
        super().__init__()
        self.max_text_len = max_text_len
        self.read = nn.Sequential(nn.Linear(text, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, STYLE))
        self.tokens = nn.Linear(text, STYLE) if max_text_len > 1 else None
        network = package.DiffusionPriorNetwork(dim=STYLE, depth=depth, dim_head=64, heads=8, max_text_len=max_text_len)
        for attention, *_ in network.causal_transformer.layers:  # checkpoints do not keep shared constants
            attention.rotary_emb = copy.deepcopy(attention.rotary_emb)
        self.prior = package.DiffusionPrior(
            network,
            image_embed_dim=STYLE,
            timesteps=1000,
            cond_drop_prob=0.1,
            condition_on_text_encodings=max_text_len > 1,
            image_embed_scale=1.0,
        )

    def condition(self, bank: StyleBank, texts: Sequence[int]) -> dict[str, torch.Tensor]:
        """What the peer reads of some sentences of a bank."""
        states, mask = (torch.from_numpy(array) for array in bank.texts.batch(texts))
        pooled = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        given: dict[str, torch.Tensor] = {"text_embed": self.read(pooled)}
        if self.tokens is not None:
            given["text_encodings"] = self.tokens(states) * mask[..., None]
        return given

    @torch.no_grad()
    def draw(self, bank: StyleBank, texts: Sequence[int], steps: int, guidance: float, seed: int) -> Styles:
        """Normalised styles for some sentences, by the peer's DDIM."""
        with torch.random.fork_rng(devices=()), _quiet():
            torch.manual_seed(seed)
            given = self.condition(bank, texts)
            shape = (len(texts), STYLE)  # n timesteps are n - 1 calls of its network
            drawn = self.prior.p_sample_loop(shape, given, timesteps=steps + 1, cond_scale=guidance, eta=0.0)
        return np.asarray(drawn.numpy(), np.float32)


class PeerLosses:
    """The peer's own loss and the contrastive one."""

    def __init__(self, ours: PriorLosses) -> None:
        self.ours = ours

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """Named losses of the scripts of these numbers."""
        assert isinstance(model, PeerModel)
        bank = self.ours.bank
        texts = [int(rng.choice(bank.texts_of[int(item)])) for item in items]
        styles = self.ours.styles[torch.from_numpy(items)]
        given = model.condition(bank, texts)
        with _quiet():
            # the peer scales its argument in place
            diffusion = model.prior(image_embed=styles.clone(), **given)
        aligned = functional.normalize(given["text_embed"], dim=1)
        contrast = soft_contrast(aligned, functional.normalize(styles, dim=1))
        return {"diffusion": diffusion, "contrast": contrast, "loss": DIFFUSION * diffusion + contrast}


def soft_contrast(sentences: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
    """Contrast both ways between (batch, 128) of length 1; labels are the styles' own likeness (SoftCLIP, 2023)."""
    labels, alike = (styles @ styles.T / TEMPERATURE).softmax(dim=1), sentences @ styles.T / TEMPERATURE
    return -sum((labels * each.log_softmax(dim=1)).sum(dim=1).mean() for each in (alike, alike.T)) / 2


def measure(options: Options) -> Iterator[Figure]:
    """Both priors, trained on one bank; trainings are kept below `outputs/` and gone on with."""
    if find_peer() is None:
        left_out("the peer of the prior", MISSING)
        return
    settings, encoder = profile("full").prior, load_text_encoder("minilm")
    changes = {"steps": STEPS, "average": 0.99, "batch": BATCH, "warmup": STEPS // 10, "save_every": 50}
    train = settings.train.model_copy(update=changes | {"learning_rate": 1.5e-3})
    few = settings.model_copy(update={"scripts": SCRIPTS, "train": train})
    folder = ROOT / "outputs" / "peer"
    make_folder(folder)
    yield from measure_peer(corpora(options), encoder, few, folder, options.cache / "texts")


def measure_peer(
    corpora: Sequence[Corpus],
    encoder: TextEncoder,
    settings: PriorSettings,
    folder: Path,
    texts: Path | None = None,
    bank: StyleBank | None = None,
    progress: bool | None = None,
) -> Iterator[Figure]:
    """Both trained for as many steps on the same bank, sampled on held-out wordings, and timed in turns on one thread.

    Args:
        corpora: prepared ones, as in `evaluation.prior`.
        encoder: of the sentences.
        settings: of ours; the peer takes the same batches and average, and the better of `PEER_RATES`.
        folder: where both keep their checkpoints.
        texts: where states of texts are kept.
        bank: what is trained on; made of the settings when None.
        progress: as in `train`.

    Raises:
        InputError: the package is not installed.
    """
    package = find_peer()
    if package is None:
        raise InputError("the peer to compare with", MISSING, "install it, or leave the comparison out")
    bank = bank or make_bank(corpora, encoder, settings.scripts, settings.texts, settings.train.seed, folder=texts)
    held = held_out_bank(corpora, encoder, "wording", settings.held_out, 1, folder=texts)
    ours, _ = train_prior(bank, encoder, settings, folder / "ours", progress=progress)
    text = settings.model_copy(update={"text_alone": 1.0 - settings.dropped, "parse_alone": 0.0})
    reads, _ = train_prior(bank, encoder, text, folder / "ours-text", progress=progress)
    true, how = normal(ours, held.styles), SampleSettings()
    first, calls = [each[0] for each in held.texts_of], 2 * how.steps - 1
    mixed, parsed = (score_styles(draw_bank(ours, held, how, parsed=each), true) for each in (False, True))
    own = score_styles(draw_bank(reads, held, how, parsed=False), normal(reads, held.styles))
    for what, found in parsed.items():
        others = f"its text alone {mixed[what].value:.3f}; trained on text alone {own[what].value:.3f}"
        yield Figure(f"with the parser's reading: {what}", found.value, "", "-", others)
    chosen: dict[str, PeerModel] = {}
    for form, tokens in FORMS.items():
        peers = []
        for rate in PEER_RATES:
            place = folder / f"peer-{tokens}-{rate:g}"
            peer = _train_peer(package, bank, ours, settings, tokens, rate, place, progress)
            peers.append((score_styles(peer.draw(held, first, calls, 1.0, seed=0), true), rate, peer))
        best, rate, chosen[form] = max(peers, key=lambda each: each[0]["cosine to the true style"].value)
        how_long = f"{settings.train.steps} steps each; peer at the rate {rate:g}"
        yield from _compared(dict(own), best, ours, chosen[form], form, how_long)
    yield from _timed(ours, chosen, bank, held, settings, calls)


def _train_peer(
    package: Any,
    bank: StyleBank,
    ours: PriorModel,
    settings: PriorSettings,
    tokens: int,
    rate: float,
    folder: Path,
    progress: bool | None,
) -> PeerModel:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.train.seed)
        peer = PeerModel(package, bank.texts.rows.shape[1], max_text_len=tokens)
    how = settings.train.model_copy(update={"learning_rate": rate})
    losses = PeerLosses(PriorLosses(bank, settings, ours))
    named = f"peer {tokens} {recipe(bank, settings)}"
    return train(peer, losses, len(bank), how, folder, named, progress=progress)[0].eval()


def _compared(
    own: dict[str, Estimate], best: dict[str, Estimate], ours: nn.Module, peer: nn.Module, form: str, how: str
) -> Iterator[Figure]:
    sizes = [sum(p.numel() for p in model.parameters()) / 1e6 for model in (ours, peer)]
    yield Figure(f"{form}: millions of weights", sizes[0], "", "-", f"peer {sizes[1]:.2f}; {how}")
    energies = own.pop("energy distance").value, best.pop("energy distance").value
    for what, mine in own.items():
        other = best[what]
        apart = "apart" if mine.low > other.high else "apart, peer better" if other.low > mine.high else "not apart"
        said = (
            f"{mine.low:.3f} to {mine.high:.3f}; peer {other.value:.3f}, {other.low:.3f} to {other.high:.3f}: {apart}"
        )
        yield Figure(f"{form}: held-out wordings: {what}", mine.value, "", "apart, better", f"95 % intervals {said}")
    yield Figure(f"{form}: held-out wordings: energy distance", energies[0], "", "-", f"peer {energies[1]:.3f}")


def _timed(
    ours: PriorModel,
    peers: Mapping[str, PeerModel],
    bank: StyleBank,
    held: StyleBank,
    settings: PriorSettings,
    calls: int,
) -> Iterator[Figure]:
    """Training steps (forward and backward) and samples in turns, one thread, processor time."""
    losses = PriorLosses(bank, settings, ours)
    items, how, states = (
        np.arange(min(settings.train.batch, len(bank))),
        SampleSettings(guidance=2.0),
        held.first_states(1),
    )
    steps: dict[str, Callable[[], object]] = {"ours": lambda: _step(ours, losses, items)}
    samples: dict[str, Callable[[], object]] = {"ours": lambda: ours.draw(ours.read(states), [0], how)}
    for form, peer in peers.items():
        steps[form] = partial(_step, peer, PeerLosses(losses), items)
        samples[form] = partial(peer.draw, held, [0], calls, how.guidance, 0)
    with one_thread():
        for what, timed in (
            (f"training step of {len(items)} sentences", steps),
            (f"one style, {calls} calls", samples),
        ):
            spent = in_turns_ms(timed, 7)
            yield Figure(f"{what}, one thread", statistics.median(spent["ours"]), "CPU ms", "-", "guidance 2")
            for form in peers:
                ratios = [theirs / own for theirs, own in zip(spent[form], spent["ours"], strict=True)]
                yield Figure(
                    f"{form}: faster than the peer, {what}", statistics.median(ratios), "x", "-", spread(ratios)
                )


def _step(model: nn.Module, losses: Any, items: np.ndarray) -> None:
    model.train()
    losses(model, items, np.random.default_rng(0), 0.5)["loss"].backward()
    model.zero_grad()
    model.eval()


def _import_peer() -> Any:
    """Import the package; where torchvision lacks the operators of its own build, their names are made known first."""
    if "dalle2_pytorch" in sys.modules:
        return sys.modules["dalle2_pytorch"]
    if PLACE.is_dir() and str(PLACE) not in sys.path:
        sys.path.append(str(PLACE))
    with _quiet():
        _name_operators()
        return importlib.import_module("dalle2_pytorch")


_OPERATORS: list[torch.library.Library] = []


def _name_operators() -> None:
    if _OPERATORS or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _OPERATORS.append(library)  # it undoes its work when it is forgotten


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the peer's warnings and progress bars."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
