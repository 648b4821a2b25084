"""Scanning: the adapter of a name looks at a raw corpus.

>>> scan_source("ravdess", Path("data/raw/ravdess")).recordings[0].emotion
'neutral'
"""

from __future__ import annotations

import importlib
from pathlib import Path

from avi_lib.corpus.adapters import ADAPTERS
from avi_lib.corpus.recording import Scan
from avi_lib.errors import InputError


def scan_source(adapter: str, source: Path) -> Scan:
    """What an adapter finds in a source; InputError for an unknown adapter or a source it does not fit."""
    if adapter not in ADAPTERS:
        raise InputError(f"an adapter of {', '.join(ADAPTERS)}", repr(adapter), "choose the layout of your corpus")
    module = importlib.import_module(f"avi_lib.corpus.adapters.{adapter.replace('-', '_')}")
    scan: Scan = module.scan(source)
    return scan
