"""Events: facts about what was released, from which an accountant computes epsilon.

A ledger keeps events rather than epsilons, so that a better accountant, or another
delta, can be applied to a finished run.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from hedgerow import checks


@dataclass(frozen=True)
class Gaussian:
    """A sum with Gaussian noise.

    Attributes:
        noise_multiplier: standard deviation of the noise, divided by the largest
            change (l2) that one client can make to the sum.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        checks.positive(noise_multiplier=self.noise_multiplier)


@dataclass(frozen=True)
class Skellam:
    """A sum of whole numbers with Skellam noise.

    Attributes:
        variance: of the noise on each number.
        l2, l1: the largest change that one client can make to the sum, in these norms.
    """

    variance: int
    l2: float
    l1: float

    def __post_init__(self) -> None:
        checks.whole(1, variance=self.variance)
        checks.positive(l2=self.l2, l1=self.l1)


@dataclass(frozen=True)
class PoissonSampled:
    """A release from a cohort that each client joined with the same probability, independently and secretly.

    Attributes:
        rate: that probability.
        event: the release from that cohort.
    """

    rate: float
    event: Gaussian

    def __post_init__(self) -> None:
        checks.fraction(rate=self.rate)


@dataclass(frozen=True)
class Cyclic:
    """A release in a run in which a client takes part at most once in `groups` rounds.

    The noise of a round may be correlated only with that of the last
    `groups - 1` rounds.

    Attributes:
        event: what one participation costs, over all releases that it affects.
        groups: rounds from one participation to the next.
        round: number of the round.
    """

    event: Gaussian | Skellam
    groups: int
    round: int

    def __post_init__(self) -> None:
        checks.whole(1, groups=self.groups)
        checks.whole(0, round=self.round)


Event: TypeAlias = Gaussian | Skellam | PoissonSampled | Cyclic


def mechanism(event: Event) -> Gaussian | Skellam:
    """The release itself, without how clients are sampled or ordered.

    >>> mechanism(Cyclic(Gaussian(2.0), groups=4, round=1))
    Gaussian(noise_multiplier=2.0)
    """
    return event.event if isinstance(event, PoissonSampled | Cyclic) else event


_KINDS: dict[str, type[Any]] = {
    "gaussian": Gaussian, "skellam": Skellam, "poisson sampled": PoissonSampled, "cyclic": Cyclic,
}  # fmt: skip


def to_json(event: Event) -> dict[str, Any]:
    """The event as a dict of JSON types.

    >>> to_json(PoissonSampled(0.1, Gaussian(1.5)))
    {'kind': 'poisson sampled', 'rate': 0.1, 'event': {'kind': 'gaussian', 'noise_multiplier': 1.5}}
    """
    kind = next(name for name, made in _KINDS.items() if type(event) is made)
    fields = {"kind": kind, **asdict(event)}
    return fields | ({"event": to_json(event.event)} if isinstance(event, PoissonSampled | Cyclic) else {})


def from_json(fields: Mapping[str, Any]) -> Event:
    """The event that `to_json` wrote.

    Raises:
        ValueError: its kind is unknown, or its fields are wrong.
    """
    checks.one_of(_KINDS, kind=fields.get("kind", ""))
    others = {key: value for key, value in fields.items() if key != "kind"}
    if "event" in others:
        others["event"] = from_json(others["event"])
    try:
        event: Event = _KINDS[fields["kind"]](**others)
    except TypeError as error:
        raise ValueError(f"the event {dict(fields)!r} cannot be read: {error}") from None
    return event
