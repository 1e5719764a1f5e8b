"""Asynchronous training: replies count as they arrive, however old the model is that they were made from."""

from collections.abc import Callable
from dataclasses import dataclass

from hedgerow import checks
from hedgerow.registry import Registry
from hedgerow.strategies.conditions import Condition, excludes, needs, within


@dataclass(frozen=True)
class Staleness:
    """How much a reply counts by its staleness: the server's steps since the model that it was made from.

    Attributes:
        name: as written in a configuration.
        weight: from the staleness, 0 or more; 1 for a fresh reply.
    """

    name: str
    weight: Callable[[int], float]


STALENESS = Registry(
    "staleness weight",
    "hedgerow.staleness",
    {name: f"hedgerow.strategies.arrivals:{name}" for name in ("constant", "poly", "hinge")},
)
"""Staleness weights that a configuration may name."""


def constant() -> Staleness:
    """Every reply counts the same: `s(t) = 1` (Xie et al. 2019, arXiv:1903.03934, section 5.2)."""
    return Staleness("constant()", lambda staleness: 1.0)


def poly(exponent: float = 0.5) -> Staleness:
    """`s(t) = (t + 1) ** -exponent` (arXiv:1903.03934, section 5.2; arXiv:2106.06639 with 0.5).

    >>> poly(0.5).weight(3)
    0.5
    """
    checks.positive(exponent=exponent)
    return Staleness(f"poly({exponent})", lambda staleness: float((staleness + 1.0) ** -exponent))


def hinge(slope: float = 10.0, free: int = 4) -> Staleness:
    """`s(t) = 1` up to `free`, then `1 / (slope (t - free) + 1)` (arXiv:1903.03934, section 5.2).

    >>> hinge(1.0, free=2).weight(2), hinge(1.0, free=2).weight(3)
    (1.0, 0.5)
    """
    checks.positive(slope=slope)
    checks.whole(0, free=free)
    return Staleness(
        f"hinge({slope}, {free})",
        lambda staleness: 1.0 if staleness <= free else 1.0 / (slope * (staleness - free) + 1.0),
    )


@dataclass(frozen=True)
class Arrivals:
    """How replies that arrive one by one become steps of the server.

    Attributes:
        buffer: replies of one step.
        staleness: how much a reply counts by its staleness.
        most: a staler reply is dropped.
        models: whether what a client adds is its model, minus the server's model of now; otherwise its delta.
    """

    buffer: int
    staleness: Staleness
    most: int
    models: bool = False

    def __post_init__(self) -> None:
        checks.whole(1, buffer=self.buffer)
        checks.whole(0, most=self.most)
        checks.kind(Staleness, ", such as poly(0.5)", staleness=self.staleness)

    @property
    def name(self) -> str:
        """Everything that it depends on."""
        return f"arrivals({self.buffer}, {self.staleness.name}, most={self.most}, models={self.models})"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that it puts on the strategy."""
        return _CONDITIONS


_CONDITIONS = within(
    "replies cannot count as they arrive here",
    excludes(
        "mask",
        reason="{pipeline.name} masks, and a masked sum is of one cohort that is announced together; leave"
        " out the mask, or train in rounds: fedavg",
    ),
    excludes(
        *("noise", "discrete noise"),
        reason="{pipeline.name} adds noise to the sum of a cohort that is drawn independently of who has"
        " answered, and here the fast ones are asked more often, which epsilon would not count; use"
        " dp_fedavg, in rounds",
    ),
    excludes(
        *("independent", "turns"),
        reason="{sampling.name} draws a cohort for a round, and here a client is asked whenever one is free;"
        " use uniform(...), whose number is how many are asked at a time",
    ),
    needs(
        "mean",
        reason="staleness scales what is averaged, and {aggregate.name} compares the clients of one round;"
        " use mean()",
    ),
    excludes(
        "quorum",
        reason="a quorum is of the cohort of a round, and here there is none; leave it out, and choose the"
        " buffer",
    ),
    Condition(
        lambda strategy: bool(strategy.downlink.kinds),
        "the model is sent as a change of one that a round's clients have, and here each is sent the newest;"
        " leave out the downlink, or train in rounds: fedavg",
    ),
    Condition(
        lambda strategy: bool(strategy.streams),
        "{name} sends more than its update, which is combined for a round's cohort; use fedbuff or fedasync",
    ),
)
