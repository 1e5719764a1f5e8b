"""This machine as a place for workers."""

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from hedgerow.simulation.client_runner import Start
from hedgerow.simulation.clients import Clients
from hedgerow.simulation.processes.pool import Processes


@dataclass(frozen=True)
class LocalMachine:
    """This machine as a place for workers.

    Attributes:
        method: `"fork"` or `"spawn"`, see `Processes`.
    """

    method: str

    def session(self, number: int | None) -> AbstractContextManager[int]:
        """The number of workers, by default one."""
        return nullcontext(1 if number is None else number)

    def pool(
        self,
        clients: Clients,
        start: Start | None,
        number: int,
        client_timeout: float | None,
        *,
        inbox: int = 0,
        outbox: int = 0,
    ) -> Processes:
        """Start processes."""
        return Processes(clients, start, number, client_timeout, self.method, inbox=inbox, outbox=outbox)


def default_method() -> str:
    """The best way to start processes here."""
    # The state of a GPU does not survive a fork.
    torch = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_initialized()
    return "fork" if sys.platform == "linux" and not gpu else "spawn"
