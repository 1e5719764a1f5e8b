"""The interface of a pool of workers, wherever they run."""

from collections.abc import Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hedgerow.simulation.client_runner import Outcome, Start, Summed, Task
from hedgerow.simulation.clients import Clients


class Worker(Hashable, Protocol):
    """One worker, as seen by the side that gives it tasks."""

    task: Task | None

    @property
    def node(self) -> str:
        """The machine that it runs on."""
        ...


class Pool(Protocol):
    """Workers for one app and one kind of collector.

    Attributes:
        start: makes their collectors.
        merges: whether a worker can take over what another has collected.
        watches: whether the pool knows which client of a block is running.
    """

    start: Start | None
    merges: bool
    watches: bool

    def idle(self) -> Sequence[Any]:
        """The workers without a task."""
        ...

    def busy(self) -> Sequence[Any]:
        """The workers that have a task."""
        ...

    def broadcast(self, told: bytes) -> Any:
        """Put the data that all workers need for a round where they can read it."""
        ...

    def send(self, worker: Any, parcel: Any) -> None:
        """Let a worker read the broadcast data with its next task."""
        ...

    def give(self, worker: Any, task: Task) -> bool:
        """Hand over a task; False if the worker is gone."""
        ...

    def outcomes(self) -> Iterable[tuple[Any, Outcome]]:
        """The outcomes of busy workers, as soon as there is one; from time to time also none."""
        ...

    def read(self, worker: Any, summed: Summed) -> Any:
        """What a worker has collected."""
        ...

    def replace(self, worker: Any) -> None:
        """Start another worker to replace one that is gone.

        Raises:
            RuntimeError: workers end before they can do anything.
        """
        ...

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        ...


class Place(Protocol):
    """A place where workers can run."""

    def session(self, number: int | None) -> AbstractContextManager[int]:
        """Stay connected to the machine or cluster; yields the number of workers, chosen here if `None`."""
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
            client_timeout: seconds allowed per client; `None` for no limit.
            inbox: maximum size in bytes of a broadcast.
            outbox: maximum size in bytes of what each worker collects.
        """
        ...
