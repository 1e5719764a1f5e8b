"""Separate global random generators for server and clients that share a process."""

import os
from typing import final

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from hedgerow import generators


@final
class OwnRandomness:
    """A client app with its own global generators, as on Flower's engines.

    There, clients and server run in different processes: a client that calls
    `random.seed(0)` does not affect the server's sampling. Here it does not
    either. The global generators of `random`, numpy and torch are
    kept apart; each process starts with new seeds, so that forked workers do not
    draw the same numbers.
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
