"""Global random generators that server and clients do not share, though they share a process."""

import os
from typing import final

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from hedgerow import generators


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
        self._states: generators.States = ()

    def __call__(self, message: Message, context: Context) -> Message:
        """Run the client with the clients' generators."""
        with generators.undisturbed():
            if self._process == os.getpid():
                generators.restore(self._states)
            else:
                generators.restart()
                self._process = os.getpid()
            try:
                return self._app(message, context)
            finally:
                self._states = generators.states()
