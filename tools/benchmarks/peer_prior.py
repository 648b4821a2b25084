"""The peer: DALLE2-pytorch's DiffusionPrior on the same bank, trained and sampled as its authors' classes do it.

`make peer` puts the package beside the environment, into .tools/peer. It reads one vector a sentence: the mean of the
sentence's token states, through a network of the kind that AVI-Talking puts before it, and learns by the same
contrastive loss. It is trained at several learning rates, of which the one that serves it best on what is compared is
taken; it samples without added noise, as ours. With `max_text_len=1` it has no tokens to attend to; by its default it
attends to 256 of them, the sentence's own and learned padding.
"""

from __future__ import annotations

import copy
import importlib
import io
import statistics
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from avi_lib.corpus.dataset import Corpus
from avi_lib.errors import InputError
from avi_lib.evaluation.report import Estimate, one_thread
from avi_lib.evaluation.scores import Styles, draw_bank, held_out_bank, normal, score_styles
from avi_lib.instruction.language_model import TextEncoder
from avi_lib.motion.generator import STYLE, LearnedGenerator
from avi_lib.motion.prior import PriorModel
from avi_lib.settings import PriorSettings, SampleSettings
from avi_lib.training.loop import train
from avi_lib.training.prior import PriorLosses, StyleBank, make_bank, recipe, soft_contrast, train_prior
from tools.benchmarks.measuring import ROOT, Figure, in_turns_ms, spread

PLACE = ROOT / ".tools" / "peer"
DEFAULT_TOKENS, PEER_RATES = 256, (1e-3, 3e-4)
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
    """The peer's own loss and the contrastive one, weighted as ours."""

    def __init__(self, ours: PriorLosses) -> None:
        self.ours = ours

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """Named losses of the scripts of these numbers."""
        assert isinstance(model, PeerModel)
        bank, settings = self.ours.bank, self.ours.settings
        texts = [int(rng.choice(bank.texts_of[int(item)])) for item in items]
        styles = self.ours.styles[torch.from_numpy(items)]
        given = model.condition(bank, texts)
        with _quiet():
            # the peer scales its argument in place
            diffusion = model.prior(image_embed=styles.clone(), **given)
        aligned = functional.normalize(given["text_embed"], dim=1)
        contrast = soft_contrast(aligned, functional.normalize(styles, dim=1), self.ours.temperature(way))
        loss = settings.diffusion * diffusion + settings.contrast * contrast
        return {"diffusion": diffusion, "contrast": contrast, "loss": loss}


def measure_peer(
    corpora: Sequence[Corpus],
    generator: LearnedGenerator,
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
        generator: whose styles both draw.
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
    bank = bank or make_bank(
        corpora, generator.model, encoder, settings.scripts, settings.texts, settings.train.seed, folder=texts
    )
    held = held_out_bank(corpora, generator, encoder, "wording", settings.held_out, 1, folder=texts)
    ours, _ = train_prior(bank, encoder, generator.model, settings, folder / "ours", progress=progress)
    true, how = normal(ours, held.styles), SampleSettings()
    first = [each[0] for each in held.texts_of]
    peers = []
    for rate in PEER_RATES:
        peer = _train_peer(package, bank, ours, settings, rate, folder / f"peer-{rate:g}", progress)
        peers.append((score_styles(peer.draw(held, first, how.steps, 1.0, seed=0), true), rate, peer))
    best, rate, peer = max(peers, key=lambda each: each[0]["cosine to the true style"].value)
    own = score_styles(draw_bank(ours, held, how), true)
    yield from _compared(own, best, ours, peer, f"{settings.train.steps} steps each; peer at the rate {rate:g}")
    yield from _timed(package, ours, peer, bank, held, settings)


def _train_peer(
    package: Any,
    bank: StyleBank,
    ours: PriorModel,
    settings: PriorSettings,
    rate: float,
    folder: Path,
    progress: bool | None,
) -> PeerModel:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.train.seed)
        peer = PeerModel(package, bank.texts.dim, max_text_len=1)
    how = settings.train.model_copy(update={"learning_rate": rate})
    losses = PeerLosses(PriorLosses(bank, settings, ours))
    trained, _ = train(peer, losses, len(bank), how, folder, f"peer {recipe(bank, settings)}", progress=progress)
    return trained.eval()


def _compared(
    own: dict[str, Estimate], best: dict[str, Estimate], ours: nn.Module, peer: nn.Module, how: str
) -> Iterator[Figure]:
    sizes = [sum(p.numel() for p in model.parameters()) / 1e6 for model in (ours, peer)]
    yield Figure("millions of weights", sizes[0], "", "-", f"peer {sizes[1]:.2f}; {how}")
    energies = own.pop("energy distance").value, best.pop("energy distance").value
    for what, mine in own.items():
        other = best[what]
        apart = "apart" if mine.low > other.high else "apart, peer better" if other.low > mine.high else "not apart"
        said = (
            f"{mine.low:.3f} to {mine.high:.3f}; peer {other.value:.3f}, {other.low:.3f} to {other.high:.3f}: {apart}"
        )
        yield Figure(f"held-out wordings: {what}", mine.value, "", "apart, better", f"95 % intervals {said}")
    yield Figure("held-out wordings: energy distance", energies[0], "", "-", f"peer {energies[1]:.3f}")


def _timed(
    package: Any, ours: PriorModel, peer: PeerModel, bank: StyleBank, held: StyleBank, settings: PriorSettings
) -> Iterator[Figure]:
    """Training steps (forward and backward) and samples in turns, one thread, processor time."""
    losses = PriorLosses(bank, settings, ours)
    default = PeerModel(package, bank.texts.dim, max_text_len=DEFAULT_TOKENS).eval()
    items = np.arange(min(settings.train.batch, len(bank)))
    few = items[: max(len(items) // 16, 1)]
    how = SampleSettings(guidance=2.0)
    states = held.first_states(1)
    with one_thread():
        steps = in_turns_ms(
            {
                "ours": lambda: _step(ours, losses, items),
                "peer": lambda: _step(peer, PeerLosses(losses), items),
                "default": lambda: _step(default, PeerLosses(losses), few),
            },
            7,
        )
        samples = in_turns_ms(
            {
                "ours": lambda: ours.draw(ours.read(states), [0], how),
                "peer": lambda: peer.draw(held, [0], how.steps, how.guidance, 0),
                "default": lambda: default.draw(held, [0], how.steps, how.guidance, 0),
            },
            7,
        )
    step, sampled = ({name: statistics.median(each) for name, each in times.items()} for times in (steps, samples))
    said = (
        f"{len(items)} sentences; peer {step['peer']:.0f}, by its default {step['default']:.0f} for {len(few)} of them"
    )
    yield Figure("training step, one thread", step["ours"], "CPU ms", "-", said)
    ratios = [theirs / own for theirs, own in zip(steps["peer"], steps["ours"], strict=True)]
    yield Figure("faster than the peer in training", statistics.median(ratios), "x", ">= 2", spread(ratios))
    said = f"guidance 2; peer {sampled['peer']:.0f} ms, by its default {sampled['default']:.0f} ms"
    yield Figure("one style, 20 steps, one thread", sampled["ours"], "CPU ms", "<= 60", said)
    ratios = [theirs / own for theirs, own in zip(samples["peer"], samples["ours"], strict=True)]
    yield Figure("faster than the peer in sampling", statistics.median(ratios), "x", ">= 2", spread(ratios))


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
