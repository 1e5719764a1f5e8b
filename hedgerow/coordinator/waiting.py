"""Waits that end at once when everything is to stop."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, final

T = TypeVar("T")

_TICK_SECONDS = 0.05


class Stopped(Exception):
    """Everything is to stop; what was waited for has not happened."""


@final
class Waiting:
    """Waits, until an event is set.

    Args:
        stop: the event.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def pause(self, seconds: float) -> None:
        """Let time pass; raises `Stopped`."""
        if self._stop.wait(seconds):
            raise Stopped

    def call(self, function: Callable[..., T], *given: Any) -> T:
        """The result of a function that may take long, such as one that waits for another process.

        Raises:
            Stopped: the function continues in its own thread, and nobody waits for it.
        """
        found: Future[T] = Future()

        def run() -> None:
            try:
                found.set_result(function(*given))
            except Exception as error:
                found.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        while not found.done():
            self.pause(_TICK_SECONDS)
        return found.result()
