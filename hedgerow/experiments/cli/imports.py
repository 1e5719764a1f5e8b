"""Imports that Ctrl-C must not fall into."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loaded_whole() -> Iterator[None]:
    """Keep Ctrl-C until what is imported inside is there.

    torch ends the process with SIGABRT where one comes while it is imported.
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
