"""How the number kernels of this package are compiled: without the interpreter lock, kept on disk for the next process.

>>> @kernel
... def total(values: np.ndarray) -> float: ...
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call and keep the result beside the module, in the user's cache or in NUMBA_CACHE_DIR.

    Where none of these can be written, each process compiles anew.
    """
    function = unwrap(function)
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = njit(**options)(function)
    return compiled
