"""Runs of notebooks, their records and plots."""
