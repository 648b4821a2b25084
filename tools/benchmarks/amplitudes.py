"""What an emotion's name alone asks of the performer: does the independent judge see it, and by how much does it move?

Every emotion that the judge knows, at its highest level, over the same recordings; pictures of each clip as in
`judge`. How far brows come down was chosen with a look at what it says of still faces on these heads but
ella, so recall, of anger above all, is optimistic; so were the strengths of fear, sadness and surprise, mostly without
a look at anna and ella (docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avi_lib.face.head import load_head
from avi_lib.instruction.action_units import levels
from avi_lib.instruction.instruction import Instruction, expression_targets
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.performer import Performer
from avi_lib.settings import RenderSettings
from avi_lib.speech.loading import load_voice
from avi_lib.speech.prosody import prosody
from avi_lib.talker import Renderer
from tools.benchmarks.judge import EXPRESSIONS, face_boxes, load_judge
from tools.benchmarks.measuring import Figure, Options
from tools.benchmarks.phones import read_source
from tools.benchmarks.systems import PICTURES

SIZE_PX, MOST_CLIPS = 320, 12
HEADS = ("open", "anna", "ben", "david", "ella", "frank", "grace")
SHAPED = "brows were shaped with a look at this judge on all but ella"


def measure(options: Options) -> Iterator[Figure]:
    """Recall of each emotion over recordings and heads, and the length of what it asks of the channels."""
    judge = load_judge()
    performers = []
    for path, _, phones in read_source(options.labelled, min(options.clips, MOST_CLIPS)):
        wave = load_voice(path).wave
        performers.append(Performer(phones, prosody(wave), len(wave) / 16_000))
    right: dict[tuple[str, str], list[bool]] = {(name, emotion): [] for name in HEADS for emotion in EXPRESSIONS}
    for name in HEADS:
        head = load_head(name)
        with Renderer(name, RenderSettings(size=SIZE_PX)) as renderer:
            for emotion in EXPRESSIONS:
                asked = Instruction("asked", emotion, levels(emotion)[-1])
                for seed, performer in enumerate(performers):
                    motion = performer.perform(asked, seed)
                    some = motion.at((np.linspace(0.1, 0.9, PICTURES) * len(motion)).astype(int).tolist())
                    pictures = [picture[..., :3] for picture in renderer.frames(some)]
                    shares = judge.judge(pictures, face_boxes(head, some.values, SIZE_PX)).mean(axis=0)
                    right[name, emotion].append(EXPRESSIONS[int(shares.argmax())] == emotion)
    how = f"{len(performers)} recordings on {', '.join(HEADS)}, highest level"
    of_head = {name: float(np.mean([right[name, emotion] for emotion in EXPRESSIONS])) for name in HEADS}
    heads = ", ".join(f"{name} {recall:.2f}" for name, recall in of_head.items())
    yield Figure(
        "judge: recall of the performer", float(np.mean(list(of_head.values()))), "", ">= 0.5", f"{heads}; {SHAPED}"
    )
    recalls = {emotion: float(np.mean([right[name, emotion] for name in HEADS])) for emotion in EXPRESSIONS}
    for emotion, recall in recalls.items():
        targets = expression_targets(Instruction("asked", emotion, levels(emotion)[-1]))
        face = {channel: value for channel, value in targets.items() if channel in ARKIT.channels[:52]}
        length = float(np.linalg.norm(list(face.values()))) if face else 0.0
        must = ">= 0.3" if emotion == "angry" else "-"
        yield Figure(f"judge: {emotion}", recall, "", must, f"{how}; channels of length {length:.2f}")
