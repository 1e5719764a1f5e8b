"""Rounds in which the server sees each client's reply, or a worker does and sends their sum."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from flwr.app import RecordDict
from flwr.serverapp import Grid

from hedgerow import records
from hedgerow.server.collect import Start, collect
from hedgerow.server.round_kind import Cohort, Counted
from hedgerow.spans import span
from hedgerow.types import ServerState
from hedgerow.wire.messages import pack_train


def request(start: Start, state: ServerState, cohort: Cohort, *, clients: int = 0) -> RecordDict:
    """What every client of a cohort is asked.

    Args:
        start: of the run's collectors.
        clients: size of a cohort under a mask.
    """
    lost = {name: state.uncounted[name] for name in cohort.nodes if name in state.uncounted}
    with span("records"):
        content = pack_train(
            state.model, start.layout, round=state.round + 1, seed=start.seed,
            streams=state.streams, uncounted=lost, clients=clients,
        )  # fmt: skip
        return records.to_flower(content)


@final
@dataclass
class PlainRounds:
    """A `RoundKind` whose replies are counted in as they come.

    Attributes:
        grid: where the clients are.
        start: makes the rounds' collectors.
        timeout: seconds for the replies; `None` waits for ever.
        bounds: what a collector is told of a round, beside its number and the cohort's size.
    """

    grid: Grid
    start: Start
    timeout: float | None
    bounds: Callable[[ServerState], tuple[Any, ...]] = lambda state: ()
    secure: str = field(default="", init=False)
    epsilon: float | None = field(default=None, init=False)
    shows_replies: bool = field(default=True, init=False)

    @property
    def sampling_seed(self) -> int:
        """The run's: same seed, same cohorts."""
        return self.start.seed

    def exhausted(self, state: ServerState) -> str:
        """There is always a next round."""
        return ""

    def announced(self, round: int) -> tuple[str, ...] | None:
        """Any cohort may be asked, and asked again."""
        return None

    def open(self, state: ServerState, cohort: Cohort) -> None:
        """Pack the model, once for the whole cohort."""
        self._cohort, self._content = cohort, request(self.start, state, cohort)
        self._arguments = (state.round + 1, len(cohort.nodes), *self.bounds(state))

    def close(self) -> Counted:
        """Ask the cohort, and count its replies in."""
        collector = self.start(*self._arguments)
        if asked := list(self._cohort.nodes.items()):
            collect(
                self.grid, asked, self._content, self.start, collector, self._arguments, self.timeout,
                enough=self._cohort.enough,
            )  # fmt: skip
        return Counted(self.start.strategy, self._cohort, collector, self._content)
