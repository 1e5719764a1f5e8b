"""What `rounds` drives: a kind of round, plain, masked or private, and what came of one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Protocol

from flwr.app import RecordDict

from hedgerow import records
from hedgerow.server.norm_bound import NormBound, Norms, medians
from hedgerow.server.step import Aggregated
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Totals
from hedgerow.types import Arrays, ServerState, Vector
from hedgerow.types.recording import Recording


@dataclass(frozen=True)
class Cohort:
    """Who is asked.

    Attributes:
        nodes: `{stable name: node id}` of those asked, sorted by name.
        clients: all that are there, asked or not.
        enough: replies that end the round, where more were asked; `None` waits for all.
    """

    nodes: Mapping[str, int]
    clients: int
    enough: int | None = None


class Replies(Protocol):
    """What a round's replies came to."""

    dropped: dict[str, str]
    bytes_up: dict[str, int]
    bytes_down: dict[str, int]
    counted: int
    failed: str

    def means(self) -> Mapping[str, float]:
        """Each metric's mean over the clients that count, weighted by examples."""


class Collector(Protocol):
    """Counts replies in, and gives what they come to."""

    collected: Any

    def result(self, state: Arrays) -> tuple[Vector, Arrays]:
        """The aggregate `(d,) float32`, and the next state of the rule that made it."""

    def streams(self, state: Arrays) -> tuple[Mapping[str, Vector], Arrays]:
        """What each stream's aggregate gave, and the next state of the rules that made them."""

    def bounding(self) -> tuple[NormBound, Norms]:
        """The bound of the round's norms, and the norms."""

    def recorded(self) -> tuple[Mapping[str, bytes], Arrays]:
        """What is recorded: the replies that count, or all that is seen of them together."""


class Outcome(Protocol):
    """What came of a round."""

    @property
    def replies(self) -> Replies:
        """Who counts and who does not, and the bytes."""

    def bytes_down(self) -> dict[str, int]:
        """Bytes that each client was sent."""

    def aggregated(self, state: ServerState) -> Aggregated:
        """What the server's step needs; what it releases is written down first."""

    def recorded(self, round: int, found: Aggregated) -> Recording:
        """What is recorded of the round, which gave `found`."""


class RoundKind(Protocol):
    """How a strategy's rounds are carried out."""

    @property
    def secure(self) -> str:
        """How a masked sum is computed; empty where no mask is in the pipeline."""

    @property
    def epsilon(self) -> float | None:
        """What the run has revealed so far; `None` where nothing is promised."""

    @property
    def shows_replies(self) -> bool:
        """Whether the run may stop because of what clients answer: only where who took part is no secret."""

    @property
    def sampling_seed(self) -> int:
        """Decides who is in the next cohort."""

    def exhausted(self, state: ServerState) -> str:
        """Why the run stops before its next round, or an empty text."""

    def announced(self, round: int) -> tuple[str, ...] | None:
        """The cohort of a round that was announced and must be finished with it; `None` to draw one."""

    def open(self, state: ServerState, cohort: Cohort) -> None:
        """Make what the next round's cohort is sent."""

    def close(self) -> Outcome:
        """Send it, take the replies, and say what came of it."""


@dataclass(frozen=True)
class Counted:
    """The outcome of a round whose replies were counted into one collector.

    Attributes:
        strategy: whose round it was.
        cohort: who was asked.
        collector: what the replies were counted into.
        content: what each client was sent; `None` where nothing was.
    """

    strategy: Strategy
    cohort: Cohort
    collector: Collector
    content: RecordDict | None

    @property
    def replies(self) -> Replies:
        """Who counts and who does not, and the bytes."""
        found: Replies = self.collector.collected
        return found

    def bytes_down(self) -> dict[str, int]:
        """Bytes that each client was sent."""
        size = 0 if self.content is None else records.measure(self.content)
        return dict.fromkeys(self.cohort.nodes, size) | self.replies.bytes_down

    def aggregated(self, state: ServerState) -> Aggregated:
        """The mean of what was counted in, where enough clients count."""
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
        """Who counts, and with what; the rest follows from that."""
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
