"""Streams: what is sent in addition to the delta, such as buffers and control variates.

A `Stream` says everything that the rest of Hedgerow has to know about it: its
size, the server's initial value, what a client sends, how that is combined, and
how the server updates its value. It is sent uncompressed, in float32: the
pipeline is for the delta only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.mean import mean
from hedgerow.strategies.conditions import Condition, excludes
from hedgerow.types import Arrays, Fit, Layout, RoundContext, ServerState, Vector

if TYPE_CHECKING:
    from hedgerow.strategies.strategy import Strategy


@dataclass(frozen=True)
class Before:
    """What a client knows of a stream before it trains.

    Attributes:
        server: the server's value, `(n,) float32`.
        state: the client's state of this stream; empty for a new client.
        layout: of the model.
        uncounted_since: the first round of the latest series of answers that the server did not
            count; 0 if the last answer counted.
    """

    server: Vector
    state: Arrays
    layout: Layout
    uncounted_since: int = 0


@dataclass(frozen=True)
class LocalRound:
    """What a client knows when it encodes a stream.

    Attributes:
        server: the server's value, `(n,) float32`.
        state: the client's state of this stream; empty for a new client.
        fit: the result of training, before the delta is compressed.
        context: of the round.
        steps: number of local steps taken.
        learning_rate: of these steps.
        uncounted_since: the first round of the latest series of answers that the server did not
            count; 0 if the last answer counted.
    """

    server: Vector
    state: Arrays
    fit: Fit
    context: RoundContext
    steps: int
    learning_rate: float
    uncounted_since: int = 0


@dataclass(frozen=True)
class Totals:
    """What the server knows about a cohort when it updates the model.

    Attributes:
        counted: number of clients whose replies count.
        clients: number of all available clients, asked or not.
        streams: the aggregate of each stream, by name.
    """

    counted: int = 1
    clients: int = 1
    streams: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """One vector that is sent in addition to the delta.

    Attributes:
        name: of its record in messages and checkpoints.
        size: number of values that a client sends, from the model's layout.
        encode: the client side: returns what is sent, `(size,) float32`, and the client's new state.
        update: the server's next value, from its value, the aggregate and the cohort's totals.
        initial: the server's value before the first round; zeros of the size by default.
        aggregate: how the clients' values are combined; `None` for the strategy's own rule.
        weighted: whether a client counts with the weight of its delta; otherwise all count the same.
        correction: what is added to each gradient of a client, `(d,) float32`; `None` adds nothing.
        confirmed: whether clients are told which of their answers did not count.
        sends: whether clients send anything; if not, the size is 0. A stream that sends is refused
            together with noise, and with a mask unless it is `masked`.
        masked: whether it may be summed under a mask, weighted as the delta is, in multiples of 2**-20;
            the server then sends nothing of it.
        conditions: conditions on the strategy's other parts.
        read: reads the server's value from its state, if it is not stored under the stream's name.
        write: returns the state with another value.
    """

    name: str
    size: Callable[[Layout], int]
    encode: Callable[[LocalRound], tuple[Vector, Arrays]]
    update: Callable[[Vector, Vector, Totals], Vector]
    initial: Callable[[Layout], Vector] | None = None
    aggregate: Aggregate | None = field(default_factory=mean)
    weighted: bool = True
    correction: Callable[[Before], Vector] | None = None
    confirmed: bool = False
    sends: bool = True
    masked: bool = False
    conditions: tuple[Condition, ...] = ()
    read: Callable[[ServerState], Vector] | None = None
    write: Callable[[ServerState, Vector], ServerState] | None = None

    def __post_init__(self) -> None:
        linear = self.aggregate is None or self.aggregate.linear
        if self.masked and not (self.weighted and linear):
            raise ValueError(
                f"the stream {self.name!r} declares masked=True, and under a mask there is only the weighted"
                " mean; leave out weighted=False, and take mean() as its aggregate"
            )

    @property
    def all_conditions(self) -> tuple[Condition, ...]:
        """Its own conditions, plus one: nothing is sent in the clear if the pipeline protects the delta."""
        if not self.sends:
            return self.conditions
        reason = (
            f"the stream {self.name!r} would be sent in the clear, next to what {{pipeline.name}} protects;"
            " leave out mask and noise, or use another strategy, such as fedavg"
        )
        mask = () if self.masked else ("mask",)
        return (*self.conditions, excludes("noise", "discrete noise", *mask, reason=reason))

    def first(self, layout: Layout) -> Vector:
        """The server's value before the first round.

        Raises:
            ValueError: the stream declares that it sends nothing, but has a size; or that it is masked,
                but the server would send its value.
        """
        if not self.sends and (size := self.size(layout)):
            raise ValueError(
                f"the stream {self.name!r} declares sends=False, but clients would send {size} values; make"
                " its size 0, or leave sends out"
            )
        first = np.zeros(self.size(layout), np.float32) if self.initial is None else self.initial(layout)
        if self.masked and first.size:
            raise ValueError(
                f"the stream {self.name!r} declares masked=True, but the server would send {first.size}"
                " values with the model, which no signature covers; make its initial value empty"
            )
        return first

    def value(self, state: ServerState) -> Vector:
        """The server's value in a state."""
        return state.streams[self.name] if self.read is None else self.read(state)

    def moved(self, state: ServerState, aggregate: Vector, totals: Totals) -> ServerState:
        """The server's state with the stream's next value."""
        value = self.update(self.value(state), aggregate, totals)
        if self.write is not None:
            return self.write(state, value)
        return replace(state, streams={**state.streams, self.name: value})


BUFFERS = Stream(
    "buffers",
    size=lambda layout: layout.buffer_size,
    encode=lambda local: (local.fit.buffers, {}),
    update=lambda value, aggregate, totals: aggregate,
    aggregate=None,
    read=lambda state: state.model.buffers,
    write=lambda state, value: replace(state, model=replace(state.model, buffers=value)),
)
"""Floating-point buffers, such as BatchNorm's statistics: part of the model, combined like the deltas."""


def begin(streams: Sequence[Stream], layout: Layout) -> dict[str, Vector]:
    """The server's initial values of all streams that are not part of the model."""
    return {stream.name: stream.first(layout) for stream in streams if stream.read is None}


def begin_rules(strategy: "Strategy", layout: Layout) -> Arrays:
    """The initial state of all aggregation rules: of the one for deltas, and of those for streams."""
    beside = {s.name: strategy.rule_for(s).init(n) for s in strategy.all_streams if (n := s.size(layout))}
    return {**strategy.aggregate.init(layout.dimension), **joined(beside)}


def part(state: Arrays, stream: str) -> Arrays:
    """The state of the rule that combines a stream; for an empty name, of the rule for deltas.

    >>> state = {"centre": np.zeros(2), "buffers/centre": np.ones(1)}
    >>> part(state, ""), part(state, "buffers")
    ({'centre': array([0., 0.])}, {'centre': array([1.])})
    """
    found = ((*name.rpartition("/"), values) for name, values in state.items())
    return {name: values for owner, _, name, values in found if owner == stream}


def joined(states: Mapping[str, Arrays]) -> Arrays:
    """Join the states of the rules by stream into one; `part` undoes it."""
    return {f"{stream}/{name}": v for stream, state in states.items() for name, v in state.items()}


def uncounted(
    before: Mapping[str, int], cohort: Sequence[str], lost: frozenset[str], round: int
) -> dict[str, int]:
    """For each client whose last answer did not count, the first round of that series.

    >>> uncounted({"a": 3, "b": 2}, ("a", "b", "c"), frozenset("bc"), 7)
    {'b': 2, 'c': 7}
    """
    others = {name: since for name, since in before.items() if name not in cohort}
    return others | {name: before.get(name, round) for name in cohort if name in lost}
