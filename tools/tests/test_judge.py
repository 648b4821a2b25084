"""The independent judge of emotion: its weights, what it sees of rendered faces, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from avi_lib.errors import InputError
from avi_lib.face.head import load_head
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.instruction.instruction import Instruction, expression_targets
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.speech.encoders import one_thread
from avi_lib.talker import Talker
from tools.benchmarks.judge import (
    EXPRESSIONS,
    SHIPPED_JUDGE,
    ExpressionNetwork,
    Judge,
    face_boxes,
    load_judge,
)
from tools.benchmarks.systems import JUDGED, OTHER, AskedFace, judge_emotions, neutral_share

SIZE = 256


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge()


def still(emotion: str) -> MotionClip:
    """Five frames of the height of an emotion."""
    values = np.zeros((5, len(ARKIT)), np.float32)
    level = 1 if emotion in ("neutral", "calm") else 3
    for channel, weight in expression_targets(Instruction("a face", emotion, level)).items():
        values[:, ARKIT.index(channel)] = weight
    return MotionClip(values, 25.0, ARKIT)


def test_rendered_smile_surprise_and_rest_are_seen_as_what_they_are(judge: Judge) -> None:
    shown = ("happy", "surprised", "neutral", "calm", "bored")
    with one_thread(), Talker(TalkSettings(render=RenderSettings(size=SIZE))) as talker:
        values = np.stack([still(emotion).values[0] for emotion in shown])
        pictures = list(talker.frames(MotionClip(values, 25.0, ARKIT)))
        shares = judge.judge(pictures, face_boxes(talker.head, values, SIZE))
    happy, surprised = EXPRESSIONS.index("happy"), EXPRESSIONS.index("surprised")
    assert shares[0].argmax() == happy and shares[0][happy] > 0.5
    assert shares[2].argmax() == EXPRESSIONS.index("neutral") and shares[2][happy] < 0.2
    assert shares[1][surprised] > 2 * shares[2:, surprised].max()


def test_probabilities_add_up_to_one_whatever_the_batch_and_mirrored_faces_are_judged_alike(judge: Judge) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 255, (3, 90, 120, 3), dtype=np.uint8))
    boxes = np.array([[10, 10, 80, 80], [40, 20, 200, 160], [-20, -30, 30, 40]], float)
    together = judge.judge(pictures, boxes)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together[1:2], judge.judge(pictures[1:2], boxes[1:2]), atol=1e-5)
    full = np.array([[0.0, 0.0, 120.0, 90.0]])
    plain, mirrored = (judge.judge([each], full) for each in (pictures[0], pictures[0][:, ::-1].copy()))
    np.testing.assert_allclose(plain, mirrored, atol=1e-3)


def test_the_box_of_a_turned_head_follows_the_face() -> None:
    values = np.zeros((3, len(ARKIT)), np.float32)
    values[1, ARKIT.index("headYaw")], values[2, ARKIT.index("jawOpen")] = 0.4, 1.0
    rest, turned, opened = face_boxes(load_head(), values, SIZE)
    assert turned[0] > rest[0] + 3 and opened[3] > rest[3] + 5  # to the picture's right; the chin lower
    assert 0 < rest[0] < rest[2] < SIZE and 0 < rest[1] < rest[3] < SIZE


def test_pictures_without_a_box_and_boxes_without_an_area_are_refused() -> None:
    judge = Judge(ExpressionNetwork(), "random", "none")
    picture = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(InputError, match="1 pictures and 2 boxes"):
        judge.judge([picture], np.ones((2, 4)))
    for box in ([5.0, 5.0, 5.0, 9.0], [0.0, 0.0, np.nan, 9.0]):
        with pytest.raises(InputError, match="left, top, right, bottom"):
            judge.judge([picture], np.array([box]))
    assert judge.judge([], np.zeros((0, 4))).shape == (0, len(EXPRESSIONS))


class FirstPixel(Judge):
    """A judge that reads the expression from the first pixel."""

    def judge(self, pictures: list[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        return np.eye(len(EXPRESSIONS), dtype=np.float32)[[int(picture[0, 0, 0]) for picture in pictures]]


def test_a_perfect_face_scores_one_and_its_other_labels_nothing() -> None:
    head = load_head()
    shown = [AskedFace(system, name, "anna", still(name)) for system in ("learned", "performer") for name in EMOTIONS]
    asked = iter([each.emotion for each in shown])

    def frames(motion: MotionClip) -> list[np.ndarray]:
        emotion = next(asked)
        seen_as = EXPRESSIONS.index(emotion) if emotion in EXPRESSIONS else 6
        return [np.full((4, 4, 3), seen_as, np.uint8)] * len(motion)

    table, matrices, faces = judge_emotions(FirstPixel(ExpressionNetwork(), "pixel", "none"), shown, head, frames, 4)
    values = {system: table.estimates["judge_right", system].value for system in table.systems}
    assert values == {"learned": 1.0, "performer": 1.0, OTHER: 0.0}
    assert table.estimates["judge_right", "learned"].clips == len(EXPRESSIONS) and table.measures == JUDGED
    assert neutral_share(np.eye(len(EXPRESSIONS), dtype=np.float32)[[3, 6, 6]]) == pytest.approx(2 / 3)
    assert [matrix.counts.sum() for matrix in matrices] == [10, 10]
    assert matrices[0].counts[EMOTIONS.index("happy"), 3] == 1 and matrices[0].counts[EMOTIONS.index("bored"), 6] == 1
    assert set(faces["learned"]) == set(EMOTIONS)


def test_other_and_damaged_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    content = SHIPPED_JUDGE.read_bytes()
    other = save({"first.weight": torch.zeros(8, 1, 3, 3)})
    path = tmp_path / "weights.safetensors"
    for broken in (b"", b"\0" * 64, content[:-1], content[:1000], other):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="mini-Xception") as refused:
            load_judge(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="mini-Xception"):
        load_judge(tmp_path / "none.safetensors")
    path.write_bytes(content)
    assert str(path) in load_judge(path).reason
