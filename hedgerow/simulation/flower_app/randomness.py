"""Global random generators that server and clients do not share, though they share a process."""

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp


@final
class OwnRandomness:
    """A client app with global generators of its own, as on Flower's engines.

    There, clients run in other processes than the server: a client that calls
    `random.seed(0)` does not change whom the server samples. Here it does not
    either. Kept apart are `random`, numpy's and torch's global generators (torch's
    on the CPU); each process starts with fresh ones, so that workers that were
    forked do not draw the same numbers.
    """

    def __init__(self, app: ClientApp) -> None:
        self._app = app
        self._process = 0
        self._states: tuple[Any, ...] = ()

    def __call__(self, message: Message, context: Context) -> Message:
        """Run the client with the clients' generators."""
        with undisturbed():
            if self._process == os.getpid():
                _restore(self._states)
            else:
                _restart()
                self._process = os.getpid()
            try:
                return self._app(message, context)
            finally:
                self._states = _states()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the global generators as they were, whatever is drawn inside."""
    before = _states()
    try:
        yield
    finally:
        _restore(before)


def _states() -> tuple[Any, ...]:
    torch = sys.modules.get("torch")
    return random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None  # noqa: NPY002


def _restore(states: tuple[Any, ...]) -> None:
    of_python, of_numpy, of_torch = states
    random.setstate(of_python)
    np.random.set_state(of_numpy)  # noqa: NPY002
    if of_torch is not None:
        sys.modules["torch"].set_rng_state(of_torch)
    elif "torch" in sys.modules:  # imported by the client just now
        sys.modules["torch"].seed()


def _restart() -> None:
    random.seed()
    np.random.seed()  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].seed()
