"""The names that `import avi_lib` offers: fifteen lines make a face from a recording."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import avi_lib as avi

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"


def test_importing_the_package_loads_nothing_heavy_and_every_name_is_there() -> None:
    code = "import sys, avi_lib; print(sorted({'torch', 'numpy', 'pydantic', 'av'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert all(hasattr(avi, name) for name in avi.__all__) and not hasattr(avi, "sing")


def test_a_face_is_made_from_a_recording_as_the_readme_says(tmp_path: Path) -> None:
    voice = avi.load_voice(SAMPLES / "arctic.flac")
    asked = avi.Instruction.parse("She is furious, with brow strongly down.")
    assert avi.draw_style(asked, seed=7).shape == (128,)
    talk = avi.talk(voice, asked, seed=7)
    assert talk.seed == 7 and talk.motion["browDownLeft"].max() > 0.5
    assert len(avi.plot(talk).axes) > 3
    avi.save_motion(talk.motion, tmp_path / "furious.npz")
    assert (avi.load_motion(tmp_path / "furious.npz").values == talk.motion.values).all()
    silent = avi.talk(voice, avi.Instruction.parse("She is sad."), seed=7)
    assert abs(silent.motion.values - talk.motion.values).max() > 0.3
    written = avi.instruct(voice)
    assert written.instruction.text.startswith("A person") and sum(written.probabilities.values()) > 0.99


def test_files_that_the_documents_name_are_there() -> None:
    root, file = SAMPLES.parents[1], r"\b(?:avi_lib|tools|notebooks|tests|docs)/[\w./-]+\.(?:py|yaml|md|ipynb|json)\b"
    for document in (root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")):
        named = set(re.findall(file, document.read_text("utf-8"))) - {"notebooks/NN_name.ipynb"}
        assert not [name for name in named if not (root / name).exists()], document.name
        links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text("utf-8"))
        assert not [link for link in links if not (document.parent / link).exists()], document.name
