"""Imports that Ctrl-C must not interrupt."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loaded_whole() -> Iterator[None]:
    """Delay Ctrl-C until the imports inside are done.

    torch aborts the process (SIGABRT) if it is interrupted while being imported.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
