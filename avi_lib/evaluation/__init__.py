"""Metrics, judges and figures."""
