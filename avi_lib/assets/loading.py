"""Loading models of transformers: quietly, and one at a time.

While it loads a model transformers changes settings of the whole process, such as the device of new tensors and its
progress bars; two threads that load at once break each other.

>>> with loading():
...     model = AutoModel.from_pretrained(folder)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_TURN = RLock()


@contextmanager
def loading() -> Iterator[None]:
    """Wait until nobody else loads; then without the progress bar and the report of transformers."""
    from transformers.utils import logging

    with _TURN:
        level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()
