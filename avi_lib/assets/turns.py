"""Turns: models of transformers are loaded one at a time.

While it loads a model transformers changes settings of the whole process, such as the device of new tensors and its
progress bars; two threads that load at once break each other.

>>> @one_at_a_time()
... def load(folder): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_TURN = RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until nobody else loads; also a decorator."""
    with _TURN:
        yield
