"""Measures what README and docs say: `python -m tools.benchmarks` writes docs/results.md."""
