"""The peer: told of when it is absent, compared on the same bank when it is there."""

from __future__ import annotations

import pytest
from small_priors import Letters
from talking_corpora import performed
from test_prior_stage import SETTINGS, talking  # noqa: F401 (a fixture)

from avi_lib.errors import InputError
from avi_lib.evaluation import peer_prior
from avi_lib.evaluation.peer_prior import find_peer, measure_peer
from avi_lib.motion.learned import LearnedGenerator


def generator(model) -> LearnedGenerator:
    from test_learned import StillEncoder

    return LearnedGenerator(model, StillEncoder(), "for tests")


def test_without_the_package_the_comparison_says_how_to_get_it(monkeypatch, tmp_path, talking):  # noqa: F811
    monkeypatch.setattr(peer_prior, "_import_peer", lambda: (_ for _ in ()).throw(ImportError("no such package")))
    assert find_peer() is None
    with pytest.raises(InputError, match="make peer"):
        list(measure_peer([performed()], generator(talking), Letters(), SETTINGS, tmp_path))


@pytest.mark.filterwarnings("ignore")
def test_both_are_trained_sampled_and_timed_in_one_run(tmp_path, talking):  # noqa: F811
    if find_peer() is None:
        pytest.skip(peer_prior.MISSING)
    few = SETTINGS.model_copy(update={"train": SETTINGS.train.model_copy(update={"steps": 3})})
    figures = {f.name: f for f in measure_peer([performed()], generator(talking), Letters(), few, tmp_path)}
    assert figures["faster than the peer in sampling"].value > 1
    assert -1 <= figures["held-out wordings: cosine to the true style"].value <= 1
    assert "intervals" in figures["held-out wordings: text to style, top 1"].how
