"""Systems beside one another, and what is lost without a part of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_priors import Letters
from small_priors import prior as small_prior
from talking_corpora import performed
from test_report import MEASURE, talking, track

from avi_lib.corpus.dataset import Item, Mixture
from avi_lib.evaluation.report import DIFFERENCE, Row, tabulate
from avi_lib.face.head import load_head
from avi_lib.settings import SampleSettings, profile
from avi_lib.speech.encoders import one_thread
from avi_lib.workbook.plots import plot_estimates, png_of
from tools.benchmarks import ablations
from tools.benchmarks.ablations import differences, markdown_of
from tools.benchmarks.systems import LEARNED, PERFORMER, REAL, SHUFFLED, Comparison, score_comparisons


def scenes() -> list[Comparison]:
    true = talking()
    motions = {
        LEARNED: talking(0.35),
        PERFORMER: true,
        SHUFFLED: talking(late=5),
        REAL: talking(0.2),
    }
    return [Comparison(f"clip {number}", f"speaker {number}", track(), motions, true) for number in range(5)]


def test_systems_stand_beside_one_another_and_the_reference_is_not_compared_with_itself() -> None:
    table = score_comparisons("held", "Held out", "how", scenes(), load_head())
    values = {system: table.estimates["lve_mm", system].value for system in table.systems}
    assert table.systems == (LEARNED, PERFORMER, SHUFFLED, REAL)
    assert np.isnan(values[PERFORMER]) and 0 < values[LEARNED] < values[SHUFFLED]
    closures = [table.estimates["lip_closure_d", system].value for system in (LEARNED, SHUFFLED)]
    assert closures[0] > closures[1] + 1
    assert np.isnan(table.estimates["blinks_per_min", LEARNED].value)
    assert table.estimates["blinks_per_min", REAL].value == 0.0
    assert sum(bool(panel.get_title()) for panel in plot_estimates(table).axes) == len(table.measures)
    png = png_of(plot_estimates(table), dpi=40)
    assert png.startswith(b"\x89PNG") and png == png_of(plot_estimates(table), dpi=40)


def test_each_ablation_leaves_out_its_part_and_nothing_else() -> None:
    sizes = profile("smoke")
    for before, after, changed in (
        (sizes.talking, ablations.without("exchange", sizes.talking), {"exchanged", "unlabelled"}),
        (sizes.prior, ablations.without("diffusion", sizes.prior), {"regression"}),
        (sizes.instructor, ablations.without("alignment", sizes.instructor), {"queries"}),
    ):
        old, new = before.model_dump(), after.model_dump()
        assert {name for name in old if old[name] != new[name]} == changed
    assert ablations.shortened(sizes, 2).talking.train.steps == 2
    reading, drawn = Letters().encode(["She is furious."]), {}
    for regression in (False, True):
        model = small_prior()
        object.__setattr__(model.shape, "regression", regression)
        drawn[regression] = model.draw(model.read(reading), [1, 2], SampleSettings(steps=2))
    assert np.array_equal(*drawn[True]) and not np.allclose(*drawn[False]), "a regression ignores the seed"


def test_the_exchange_ablation_trains_and_scores_whole_and_part(tmp_path: Path) -> None:
    small = {"width": 16, "frames": 25, "style_frames": 25, "fresh": 0.0}
    settings = ablations.shortened(profile("smoke"), 1).talking.model_copy(update=small)
    items = [Item(performed(), clip) for clip in performed().select(split="test")[:2]]
    with one_thread():
        mixture = Mixture.of([performed()], "train", 25)
        table = ablations.ablate_exchange(mixture, items, settings, tmp_path, load_head())
    assert table.systems == ("whole", "without exchange", DIFFERENCE)
    assert set(table.measures) == set(ablations.EXCHANGED)
    assert all(np.isfinite(found.value) and found.clips == 2 for found in table.estimates.values())
    for name in table.measures:
        whole, part, apart = (table.estimates[name, system].value for system in table.systems)
        assert apart == pytest.approx(part - whole, abs=1e-9)


def test_a_difference_of_systems_that_share_their_clips_has_a_narrower_interval_than_the_systems() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(10.0, 4.0, 60)
    rows = [Row("one", str(n), {"score": float(value)}) for n, value in enumerate(hard)]
    rows += [Row("two", str(n), {"score": float(value + 1)}) for n, value in enumerate(hard + rng.normal(0, 0.5, 60))]
    table = tabulate("t", "T", "how", [*rows, *differences(rows)], MEASURE, named="scripts")
    one, two, apart = (table.estimates["score", system] for system in ("one", "two", DIFFERENCE))
    assert one.high > two.low and apart.low > 0.8 and apart.high < 1.2
    assert markdown_of(table).splitlines()[2].startswith(f"| a score, mm | {one.value:.3f} ({one.low:.3f} to ")
    assert plot_estimates(table).axes[0].get_yticks().tolist() == [0, 1]
