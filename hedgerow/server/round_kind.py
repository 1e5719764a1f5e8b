"""The interfaces that `rounds` uses: a kind of round (plain, masked or private) and its outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Protocol

from hedgerow.server.norm_bound import NormBound, Norms, medians
from hedgerow.server.step import Aggregated
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Totals
from hedgerow.types import Arrays, ServerState, Vector
from hedgerow.types.recording import Recording


@dataclass(frozen=True)
class Cohort:
    """The clients asked in a round.

    Attributes:
        nodes: `{stable name: node id}` of the clients asked, sorted by name.
        clients: number of all available clients, asked or not.
        enough: number of replies that ends the round, if more clients were asked; `None` waits for all.
    """

    nodes: Mapping[str, int]
    clients: int
    enough: int | None = None


class Replies(Protocol):
    """What has been collected from a round's replies."""

    dropped: dict[str, str]
    bytes_up: dict[str, int]
    bytes_down: dict[str, int]
    counted: int
    failed: str

    def means(self) -> Mapping[str, float]:
        """Each metric's mean over the clients that count, weighted by examples."""

    def each(self, metric: str) -> Mapping[str, float]:
        """What each client that counts sent of a metric, as far as that is known."""


class Collector(Protocol):
    """Adds replies, and returns their aggregate."""

    collected: Any

    def result(self, state: Arrays) -> tuple[Vector, Arrays]:
        """The aggregate `(d,) float32`, and the next state of its rule."""

    def streams(self, state: Arrays) -> tuple[Mapping[str, Vector], Arrays]:
        """The aggregate of each stream, and the next state of their rules."""

    def bounding(self) -> tuple[NormBound, Norms]:
        """The bound on the round's norms, and the norms."""

    def recorded(self) -> tuple[Mapping[str, bytes], Arrays]:
        """What is recorded: the replies that count, or their sum if only that is seen."""


class Outcome(Protocol):
    """The outcome of a round."""

    @property
    def replies(self) -> Replies:
        """Which clients count and which do not, and the bytes."""

    def bytes_down(self) -> dict[str, int]:
        """Bytes sent to each client."""

    def aggregated(self, state: ServerState) -> Aggregated:
        """The input of the server's step; a release is recorded in the ledger first."""

    def recorded(self, round: int, found: Aggregated) -> Recording:
        """The recording of the round, whose aggregate is `found`."""


class RoundKind(Protocol):
    """How a strategy's rounds are carried out."""

    @property
    def secure(self) -> str:
        """How a masked sum is computed; empty if the pipeline has no mask."""

    @property
    def epsilon(self) -> float | None:
        """The epsilon that the run has spent so far; `None` if it promises none."""

    @property
    def shows_replies(self) -> bool:
        """Whether the run may stop because of the clients' replies: only if participation is not secret."""

    @property
    def sampling_seed(self) -> int:
        """Determines the next cohort."""

    def exhausted(self, state: ServerState) -> str:
        """Why the run stops before its next round, or an empty string."""

    def announced(self, round: int) -> tuple[str, ...] | None:
        """The cohort that a round was announced to and must be finished with; `None` to draw one."""

    def open(self, state: ServerState, cohort: Cohort) -> None:
        """Prepare the request to the next round's cohort."""

    def close(self) -> Outcome:
        """Send it, collect the replies, and return the outcome."""


@dataclass(frozen=True)
class Counted:
    """The outcome of a round whose replies were collected by one collector.

    Attributes:
        strategy: of the run.
        cohort: the clients asked.
        collector: holds the replies.
    """

    strategy: Strategy
    cohort: Cohort
    collector: Collector

    @property
    def replies(self) -> Replies:
        """Which clients count and which do not, and the bytes."""
        found: Replies = self.collector.collected
        return found

    def bytes_down(self) -> dict[str, int]:
        """Bytes sent to each client."""
        return dict.fromkeys(self.cohort.nodes, 0) | self.replies.bytes_down

    def aggregated(self, state: ServerState) -> Aggregated:
        """The aggregate of what was added, if enough clients count."""
        lost = frozenset(self.replies.dropped)
        bound, norms = self.collector.bounding()
        failed = self._failed() or bound.why_failed(norms, lost)
        found = Aggregated(
            tuple(self.cohort.nodes), lost=lost, failed=failed,
            norms=medians(norms, lost, bound.medians, failed=bool(failed)),
        )  # fmt: skip
        if failed:
            return found
        try:
            delta, kept = self.collector.result(state.aggregate)
            combined, beside = self.collector.streams(state.aggregate)
        except ValueError as error:  # such as too few clients for a rule
            return replace(found, failed=str(error))
        totals = Totals(self.replies.counted, self.cohort.clients, combined)
        return replace(found, delta=delta, totals=totals, aggregate={**kept, **beside})

    def recorded(self, round: int, found: Aggregated) -> Recording:
        """The replies that count, from which everything else follows."""
        replies, cohort, (kept, arrays) = self.replies, self.cohort, self.collector.recorded()
        return Recording(
            round, tuple(cohort.nodes), cohort.clients, replies.counted,
            dict(replies.dropped), found.failed, kept, {} if found.failed else arrays,
        )  # fmt: skip

    def _failed(self) -> str:
        asked = len(self.cohort.nodes)
        if asked == 0:
            return "every client is set aside" if self.cohort.clients else "no client is connected"
        if self.replies.failed:
            return self.replies.failed
        needed = max(1, ceil(self.strategy.quorum * (self.cohort.enough or asked) - 1e-9))
        if self.replies.counted < needed:
            return f"{self.replies.counted} of {asked} clients count; {needed} are needed"
        return ""
