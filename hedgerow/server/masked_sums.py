"""A cohort's vectors, summed so that the server learns the sum: updates, or what clients measure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from flwr.serverapp import Grid

from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import Shape
from hedgerow.server.announced import Announced
from hedgerow.server.collect import collect
from hedgerow.server.masked_collector import MaskedCollected
from hedgerow.server.request import Request
from hedgerow.server.secure import aggregate, set_up, shortfall


class HoldsSum(Protocol):
    """A collector of ring vectors."""

    collected: MaskedCollected
    shape: Shape


class StartSum(Protocol):
    """Makes such collectors."""

    @property
    def secure(self) -> SecureAggregation:
        """What clients insist on."""

    def __call__(self, round: int, clients: int) -> Any:
        """A collector for one round of a cohort of `clients` clients."""


@final
@dataclass(frozen=True)
class MaskedSums:
    """Sums of one purpose of a run, by the five stages of secure aggregation.

    Attributes:
        grid: where the clients are.
        timeout: seconds that each stage has; `None` waits for ever.
        announcing: keeps what is announced, and the run's name in the protocol; with the purpose.
        register: identity keys of clients, pinned by the server too.
        masks: run the whole protocol. Without, the same numbers are added in the clear: only
            simulated clients do that.
    """

    grid: Grid
    timeout: float | None
    announcing: Announced
    register: Mapping[str, bytes] | None = None
    masks: bool = True

    def gather(
        self,
        start: StartSum,
        collector: HoldsSum,
        request: Request,
        members: Sequence[str],
        nodes: Mapping[str, int],
        *,
        round: int,
        model: Callable[[], bytes],
    ) -> None:
        """Have a cohort summed; the sum, or why there is none, is in what the collector has `collected`.

        Args:
            start: has made the collector.
            request: what each is asked.
            members: who is told of the round, or was before a crash.
            nodes: `{client: node id}` of them, as far as they are there.
            round: of the run.
            model: gives the hash of the model, which all are to agree on.
        """
        collected = collector.collected
        if self.masks:
            run = self.announcing.run
            setup = set_up(start.secure, collector.shape, members, run, round, model())
            if refused := self.announcing.announce(setup):
                collected.failed = refused
                return
            aggregate(
                self.grid, setup, request, nodes, collected, register=self.register, timeout=self.timeout
            )
            return
        asked, arguments = list(nodes.items()), (round, len(nodes))
        collect(
            self.grid, asked, request, start, collector, arguments, self.timeout,
            message_type=self.announcing.purpose,
        )  # fmt: skip
        collected.failed = shortfall(start.secure, collected.counted, len(nodes))
