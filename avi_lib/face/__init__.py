"""Heads, rasterisers and video."""
