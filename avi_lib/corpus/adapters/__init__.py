"""Adapters: one small file for each layout of a raw corpus; every one of them is `scan(source) -> Scan`."""
