"""What a number of workers can be asked, wherever they are."""

from collections.abc import Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hedgerow.simulation.client_runner import Outcome, Start, Summed, Task
from hedgerow.simulation.clients import Clients


class Worker(Hashable, Protocol):
    """One worker, as the side that gives it tasks knows it."""

    task: Task | None

    @property
    def node(self) -> str:
        """The machine that it is on."""
        ...


class Pool(Protocol):
    """Workers for one app and one kind of collector.

    Attributes:
        start: makes their collectors.
        merges: one can take over what another has collected.
        watches: it is known which client of a block runs.
    """

    start: Start | None
    merges: bool
    watches: bool

    def idle(self) -> Sequence[Any]:
        """The workers that wait."""
        ...

    def busy(self) -> Sequence[Any]:
        """The workers that have a task."""
        ...

    def broadcast(self, told: bytes) -> Any:
        """Put what all workers need for a round where they can read it."""
        ...

    def send(self, worker: Any, parcel: Any) -> None:
        """Have a worker read what was broadcast, with its next task."""
        ...

    def give(self, worker: Any, task: Task) -> bool:
        """Hand a task over; False where the worker is gone."""
        ...

    def outcomes(self) -> Iterable[tuple[Any, Outcome]]:
        """What the busy workers have to say, once one of them has; also nothing, from time to time."""
        ...

    def read(self, worker: Any, summed: Summed) -> Any:
        """What a worker has collected."""
        ...

    def replace(self, worker: Any) -> None:
        """Start another worker in place of one that is gone.

        Raises:
            RuntimeError: workers end before they can do anything.
        """
        ...

    def close(self) -> None:
        """End all workers, whatever they do."""
        ...


class Place(Protocol):
    """Where workers can be."""

    def session(self, number: int | None) -> AbstractContextManager[int]:
        """Stay connected to the machine or cluster; gives the number of workers, where that is not given."""
        ...

    def pool(
        self,
        clients: Clients,
        start: Start | None,
        number: int,
        client_timeout: float | None,
        *,
        inbox: int = 0,
        outbox: int = 0,
    ) -> Pool:
        """Start workers.

        Args:
            clients: for them to run.
            start: makes their collectors.
            number: of workers.
            client_timeout: seconds a client has; `None` for no limit.
            inbox: bytes that all are told at a time, at most.
            outbox: bytes that each collects, at most.
        """
        ...
