"""Plain rounds: the server sees each client's reply, or a worker does and sends the sum."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from flwr.serverapp import Grid

from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.collect import collect
from hedgerow.server.collector import Start
from hedgerow.server.request import make_request
from hedgerow.server.round_kind import Cohort, Counted
from hedgerow.types import ServerState


@final
@dataclass
class PlainRounds:
    """A `RoundKind` whose replies are added as they arrive.

    Attributes:
        grid: the grid that reaches the clients.
        start: makes the rounds' collectors.
        timeout: seconds to wait for the replies; `None` waits for ever.
        broadcasts: of the run.
        bounds: further arguments of a round's collector, after its number and the cohort's size.
    """

    grid: Grid
    start: Start
    timeout: float | None
    broadcasts: Broadcasts
    bounds: Callable[[ServerState], tuple[Any, ...]] = lambda state: ()
    secure: str = field(default="", init=False)
    epsilon: float | None = field(default=None, init=False)
    shows_replies: bool = field(default=True, init=False)

    @property
    def sampling_seed(self) -> int:
        """The run's seed: same seed, same cohorts."""
        return self.start.seed

    def exhausted(self, state: ServerState) -> str:
        """There is always a next round."""
        return ""

    def announced(self, round: int) -> tuple[str, ...] | None:
        """`None`: any cohort may be asked, and asked again."""
        return None

    def open(self, state: ServerState, cohort: Cohort) -> None:
        """Pack the model, once for the whole cohort."""
        self._cohort = cohort
        self._request = make_request(
            self.broadcasts, state, self.start.layout, seed=self.start.seed, cohort=cohort.nodes
        )
        self._arguments = (state.round + 1, len(cohort.nodes), *self.bounds(state))

    def close(self) -> Counted:
        """Ask the cohort, and collect its replies."""
        collector = self.start(*self._arguments)
        if asked := list(self._cohort.nodes.items()):
            collect(
                self.grid, asked, self._request, self.start, collector, self._arguments, self.timeout,
                enough=self._cohort.enough,
            )  # fmt: skip
        return Counted(self.start.strategy, self._cohort, collector)
