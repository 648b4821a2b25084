"""Training the talking model on tiny corpora: it learns, goes on after a stop, and takes either space."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from talking_corpora import flame, performed, recorded, take
from train_line import StoppedError, stop_at, untimed, weights

from avi_lib.corpus.dataset import Corpus, Mixture
from avi_lib.corpus.prepare import prepare
from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip
from avi_lib.motion.formats import save_livelink
from avi_lib.motion.generator import Shape, TalkingModel, load_talking_model, read_talking_about, save_talking_model
from avi_lib.settings import TalkingSettings
from avi_lib.training.generator import TalkingLosses, about, train_talking

TRAIN = {"batch": 4, "learning_rate": 5e-3, "warmup": 2, "average": 0.5, "save_every": 2, "log_every": 1}


def settings(steps: int, **changes: object) -> TalkingSettings:
    small = {"width": 16, "frames": 25, "style_frames": 25}
    return TalkingSettings.model_validate(small | changes | {"train": TRAIN | {"steps": steps}})


def mixed(*corpora: Corpus, without: tuple[str, ...] = ()) -> Mixture:
    return Mixture.of(list(corpora), split="train", frames=25, without=without)


def untrained(mixture: Mixture, asked: TalkingSettings) -> TalkingModel:
    torch.manual_seed(0)
    return TalkingModel(Shape("ARKIT", "still", "0" * 64, mixture.features, asked.width))


def test_training_on_performed_and_real_motion_lowers_the_losses(tmp_path):
    mixture, asked = mixed(performed(), recorded()), settings(14)
    model, log = train_talking(mixture, asked, tmp_path, progress=False)
    first = untrained(mixture, asked)
    judge = TalkingLosses(mixture, asked, first)
    with torch.no_grad():
        before, after = (judge(each.eval(), np.arange(10), np.random.default_rng(1), 0.5) for each in (first, model))
    assert all(after[name] < 0.9 * before[name] for name in ("loss", "lips", "face", "velocity", "gap"))
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert log[0].keys() >= {"eyes", "head", "gap", "content"}
    assert not model.training
    assert (model.shape.encoder, model.shape.fingerprint, model.shape.features) == ("still", "0" * 64, 2)
    clip = performed().clips[0]
    shown = model.style_of(MotionClip(performed().motion(clip).astype(np.float32), 25.0, ARKIT))
    assert len(model.motion_of(performed().features(clip), shown)) == clip.frames


def test_stopped_and_gone_on_with_gives_the_bytes_of_an_unbroken_run(tmp_path):
    mixture, asked = mixed(performed(), recorded()), settings(6, mixed=0.5)
    whole, whole_log = train_talking(mixture, asked, tmp_path / "whole", progress=False)
    with pytest.raises(StoppedError):
        train_talking(mixture, asked, tmp_path / "parts", progress=False, on_log=stop_at(3))
    again = mixed(performed(), recorded())  # as another process would make it
    parts, parts_log = train_talking(again, asked, tmp_path / "parts", progress=False)
    assert weights(parts) == weights(whole)
    assert untimed(parts_log) == untimed(whole_log)
    for name, model in (("whole", whole), ("parts", parts)):
        save_talking_model(model, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "parts.safetensors").read_bytes()


def test_another_recipe_in_the_same_folder_is_an_error_before_a_step_is_taken(tmp_path):
    mixture = mixed(performed())
    _, log = train_talking(mixture, settings(2), tmp_path, progress=False)
    assert "content" not in log[-1], "without real motion no loss is without an answer"
    kept = (tmp_path / "last.safetensors").read_bytes()
    for other, asked in (
        (mixture, settings(2, lips=2.0)),
        (mixed(performed(), recorded()), settings(2)),
        (mixed(performed(), without=("s0-1",)), settings(2)),
    ):
        with pytest.raises(InputError, match="checkpoint of this recipe"):
            train_talking(other, asked, tmp_path, progress=False, on_log=stop_at(1))
    assert (tmp_path / "last.safetensors").read_bytes() == kept


def test_flame_coefficients_train_a_model_of_their_own(tmp_path):
    model, log = train_talking(mixed(flame()), settings(10), tmp_path, progress=False)
    assert model.space is FLAME
    assert {"eyes", "upper_face", "gap"}.isdisjoint(log[-1])
    early, late = (np.mean([line["loss"] for line in lines]) for lines in (log[:3], log[-3:]))
    assert late < 0.9 * early
    clip = flame().clips[0]
    shown = model.style_of(MotionClip(flame().motion(clip).astype(np.float32), 25.0, FLAME, flame().present(clip)))
    made = model.motion_of(flame().features(clip), shown)
    assert made.values.shape == (50, 56)


def test_what_comes_in_is_normalised_by_what_the_corpora_hold():
    mixture, asked = mixed(performed(), recorded()), settings(2)
    model = untrained(mixture, asked)
    losses = TalkingLosses(mixture, asked, model)
    jaw = ARKIT.index("jawOpen")
    moved = np.concatenate([item.corpus.motion(item.clip)[:, jaw].astype(np.float32) for item in mixture.items])
    assert model.generator.motion_mean[jaw] == pytest.approx(moved.mean(), abs=0.05)
    assert model.generator.style_mean[jaw] == pytest.approx(moved.mean(), abs=0.15)
    assert model.generator.motion_deviation.min() == pytest.approx(0.02)
    level = np.concatenate([item.corpus.features(item.clip)[:, 0] for item in mixture.items]).astype(np.float32)
    assert model.generator.mean[0] == pytest.approx(level.mean(), rel=0.3)
    assert model.generator.deviation[1] == pytest.approx(1e-3)  # the same in every step
    assert losses.scale.gap > 0.01
    first = losses(model, np.arange(4), np.random.default_rng(0), 0.5)
    assert first["loss"].isfinite()
    assert first["loss"].item() == pytest.approx(
        sum(asked.model_dump()[name] * value.item() for name, value in first.items() if name != "loss"), rel=1e-4
    )


def test_the_file_of_weights_tells_corpora_minutes_and_licences(tmp_path):
    mixture, asked = mixed(performed(), recorded()), settings(2)
    described = about(mixture, asked, {"performed": "CC0"})
    clips = performed().select(split="train")
    assert described["corpora"]["performed"] == {
        "minutes": round(sum(c.duration_s for c in clips) / 60, 1),
        "licence": "CC0",
    }
    assert described["corpora"]["recorded"] == {"minutes": 0.1, "licence": "unknown"}
    save_talking_model(untrained(mixture, asked), tmp_path / "t.safetensors", described)
    assert read_talking_about(tmp_path / "t.safetensors") == json.loads(json.dumps(described))
    assert load_talking_model(tmp_path / "t.safetensors").shape == untrained(mixture, asked).shape


@pytest.mark.parametrize(("value", "held"), [("nan", True), ("inf", False), ("1e6", False)])
def test_no_impossible_value_gets_as_far_as_a_corpus_of_takes(tmp_path, in_one_process, value, held):
    """One missing value is filled in; what cannot be is refused."""
    (raw := tmp_path / "raw").mkdir()
    for name in ("sound", "spoilt"):
        save_livelink(take(1.6, 0.3 if name == "sound" else 0.4), raw / f"{name}.csv")
    lines = (raw / "spoilt.csv").read_text().splitlines()
    lines[5] = ",".join(value if column == 20 else cell for column, cell in enumerate(lines[5].split(",")))
    (raw / "spoilt.csv").write_text("\n".join(lines))
    health = prepare("livelink", raw, tmp_path / "out", workers=1, progress=False)
    assert [refusal.name for refusal in health.refused] == ([] if held else ["spoilt"])
    corpus = Corpus(tmp_path / "out")
    assert len({clip.recording for clip in corpus.clips}) == 1 + held
    assert max(corpus.motion(clip).max() for clip in corpus.clips) <= 1.0
