"""Sets the sentences of a raw corpus into scenes, on which the talking generator learns what silence is.

python -m tools.assets.compose_scenes data/samples/corpus data/raw/scenes --scenes 200 --seed 1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from avi_lib.corpus.scenes import compose_scenes
from avi_lib.errors import AviError


def main() -> None:
    """Compose scenes and say what came of it."""
    parser = argparse.ArgumentParser(description="Make a raw corpus of scenes from a raw corpus of sentences.")
    parser.add_argument("source", type=Path, metavar="SOURCE", help="raw corpus: index.csv, phones.json and sounds")
    parser.add_argument("destination", type=Path, metavar="DEST", help="folder of the scenes")
    parser.add_argument("--scenes", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed gives other scenes")
    parser.add_argument("--longest-s", type=float, default=10.0, metavar="S", help="no scene lasts longer")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes")
    try:
        made = compose_scenes(**vars(parser.parse_args()))
    except AviError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{made.scenes} scenes, {made.speechless} without speech, {made.minutes:.1f} minutes; {made.made} made anew")
    if made.left_out:
        print(f"{made.left_out} sentences left out, too long")


if __name__ == "__main__":
    main()
