"""What was released, as facts: what an accountant needs, and nothing that it computes.

A ledger keeps events and not epsilons, so that a better accountant, or another
delta, can be applied to a run that has ended.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from hedgerow import checks


@dataclass(frozen=True)
class Gaussian:
    """A sum with Gaussian noise.

    Attributes:
        noise_multiplier: standard deviation of the noise, divided by the most
            that one client can change the sum by (l2).
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        checks.positive(noise_multiplier=self.noise_multiplier)


@dataclass(frozen=True)
class Skellam:
    """A sum of whole numbers with Skellam noise.

    Attributes:
        variance: of the noise on each number.
        l2, l1: the most that one client can change the sum by, in these norms.
    """

    variance: int
    l2: float
    l1: float

    def __post_init__(self) -> None:
        checks.whole(1, variance=self.variance)
        checks.positive(l2=self.l2, l1=self.l1)


@dataclass(frozen=True)
class PoissonSampled:
    """A release on a cohort that each client was in with the same probability, independently and in secret.

    Attributes:
        rate: that probability.
        event: what was released of the cohort.
    """

    rate: float
    event: Gaussian

    def __post_init__(self) -> None:
        checks.fraction(rate=self.rate)


@dataclass(frozen=True)
class Cyclic:
    """A release in a run in which a client takes part once in `groups` rounds, at most.

    The noise of a round may be correlated with that of the last `groups - 1`
    rounds, never of more.

    Attributes:
        event: what one participation is, in all releases that it shows in.
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
    """What is released, whoever is drawn and in whatever order.

    >>> mechanism(Cyclic(Gaussian(2.0), groups=4, round=1))
    Gaussian(noise_multiplier=2.0)
    """
    return event.event if isinstance(event, PoissonSampled | Cyclic) else event


_KINDS: dict[str, type[Any]] = {
    "gaussian": Gaussian, "skellam": Skellam, "poisson sampled": PoissonSampled, "cyclic": Cyclic,
}  # fmt: skip


def to_json(event: Event) -> dict[str, Any]:
    """The event as JSON can hold it.

    >>> to_json(PoissonSampled(0.1, Gaussian(1.5)))
    {'kind': 'poisson sampled', 'rate': 0.1, 'event': {'kind': 'gaussian', 'noise_multiplier': 1.5}}
    """
    kind = next(name for name, made in _KINDS.items() if type(event) is made)
    fields = {"kind": kind, **asdict(event)}
    return fields | ({"event": to_json(event.event)} if isinstance(event, PoissonSampled | Cyclic) else {})


def from_json(fields: Mapping[str, Any]) -> Event:
    """The event that `to_json` wrote.

    Raises:
        ValueError: it is of no kind that is known, or its fields are wrong.
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
