"""Corpora: raw recordings in, prepared training material out."""
