"""Compute one of epsilon, delta, rounds, noise and sampling rate from the other four."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hedgerow import checks
from hedgerow.privacy.accounting import INTERVAL, Budget, Once, counted_delta, counted_epsilon, counted_renyi
from hedgerow.privacy.adjacency import ADJACENCIES
from hedgerow.privacy.events import Gaussian, PoissonSampled, Skellam

Mechanism = Callable[[float], Gaussian | Skellam]
"""The event of a round in which every client takes part, for a noise multiplier."""

_WEAK = 20.0  # epsilon above which losses are rounded more coarsely, and take the longest


@dataclass(frozen=True)
class Plan:
    """The five numbers of a private run; any four determine the fifth.

    Attributes:
        epsilon: over all rounds together.
        delta: the probability with which the guarantee may fail.
        rounds: number of releases.
        noise_multiplier: of each round.
        rate: of Poisson sampling; 1 if every client is in every round.
    """

    epsilon: float
    delta: float
    rounds: int
    noise_multiplier: float
    rate: float


def solve(
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    rounds: int | None = None,
    noise_multiplier: float | None = None,
    rate: float | None = None,
    mechanism: Mechanism = Gaussian,
    interval: float = INTERVAL,
    adjacency: str = "zero_out",
) -> Plan:
    """Compute the one number of a plan that is left out, rounded to the safe side.

    The noise is the smallest that suffices, rounds and rate the largest that
    are allowed, epsilon and delta the smallest that hold: to 0.1 % or better.

    Args:
        epsilon, delta, rounds, noise_multiplier, rate: see `Plan`.
        mechanism: the event for a noise multiplier: `Gaussian`, or a function
            that returns a `Skellam`, whose rate must be 1: it has no amplification.
        interval: step of the privacy losses, see `counted_epsilon`.
        adjacency: what epsilon compares, one of `ADJACENCIES`.

    Raises:
        ValueError: not exactly one is left out, one is out of range, or no value
            in range works.

    >>> round(solve(delta=1e-5, rounds=40, noise_multiplier=4.0, rate=1.0).epsilon, 3)
    7.511
    >>> solve(epsilon=8.0, delta=1e-5, noise_multiplier=4.0, rate=1.0).rounds
    44
    >>> solve(epsilon=8.0, delta=1e-5, noise_multiplier=4.0, rate=1.0, adjacency="replace").rounds
    11
    """
    given = {
        "epsilon": epsilon, "delta": delta, "rounds": rounds,
        "noise_multiplier": noise_multiplier, "rate": rate,
    }  # fmt: skip
    missing = [name for name, value in given.items() if value is None]
    if len(missing) != 1:
        left = ", ".join(missing) or "none"
        raise ValueError(
            f"leave out exactly one of {', '.join(given)}, to have it computed; left out: {left}"
        )
    checks.one_of(ADJACENCIES, adjacency=adjacency)
    for name, value in given.items():
        if value is None:
            continue
        if name in ("epsilon", "noise_multiplier"):
            checks.positive(**{name: value})
        elif name == "rounds":
            checks.whole(1, rounds=value)  # type: ignore[arg-type]
        elif name == "rate":
            checks.fraction(rate=value)
        else:
            Budget(delta=value)
    wanted = missing[0]
    known = {name: value for name, value in given.items() if value is not None}
    found = _SOLVERS[wanted]({**known, "mechanism": mechanism, "interval": interval, "adjacency": adjacency})
    return Plan(**{**given, wanted: found})  # type: ignore[arg-type]


def _spent(plan: dict[str, Any]) -> float:
    return counted_epsilon(
        _event(plan), int(plan["rounds"]), plan["delta"], plan["interval"], plan["adjacency"]
    )


def _keeps(plan: dict[str, Any]) -> bool:
    """Whether the plan stays within epsilon; a large epsilon is first tried with a cheap upper bound."""
    allowed = float(plan["epsilon"])
    if allowed > _WEAK:
        bound = counted_renyi(_event(plan), int(plan["rounds"]), plan["delta"], plan["adjacency"])
        if bound <= allowed:
            return True
    return _spent(plan) <= allowed


def _delta(plan: dict[str, Any]) -> float:
    found = counted_delta(_event(plan), int(plan["rounds"]), plan["epsilon"], plan["adjacency"])
    if not 0 < found < 1:
        raise ValueError(
            f"delta would be {found:g}, and must be between 0 and 1; take"
            f" {'less' if found < 1 else 'more'} noise, or {'a smaller' if found < 1 else 'a larger'} epsilon"
        )
    return found


def _event(plan: dict[str, Any]) -> Once:
    event: Gaussian | Skellam = plan["mechanism"](plan["noise_multiplier"])
    if plan["rate"] == 1:
        return event
    if isinstance(event, Skellam):
        raise ValueError(
            "with Skellam noise, which clients add, rate is 1: whoever sums knows who takes part, and no"
            " chance is counted on; give rate 1, and the rounds that one client is in"
        )
    return PoissonSampled(plan["rate"], event)


def _rounds(plan: dict[str, Any]) -> int:
    def holds(rounds: int) -> bool:
        return _keeps({**plan, "rounds": rounds})

    if not holds(1):
        raise ValueError(
            f"one round alone passes epsilon {plan['epsilon']:g}; more noise or a lower rate is needed"
        )
    low, high = 1, 2
    while holds(high):
        low, high = high, 2 * high
        if high > 10**7:
            raise ValueError("more than ten million rounds are within the budget; less noise would do")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _noise_multiplier(plan: dict[str, Any]) -> float:
    return _smallest("noise multiplier", 1.0, lambda z: _keeps({**plan, "noise_multiplier": z}))


def _rate(plan: dict[str, Any]) -> float:
    def holds(inverse: float) -> bool:
        return _keeps({**plan, "rate": 1 / inverse})

    return 1.0 if holds(1.0) else 1 / _smallest("rate", 8.0, holds)


def _smallest(name: str, start: float, holds: Callable[[float], bool]) -> float:
    """The smallest number for which `holds` is true, to 0.05 %; it must be true for all larger ones."""
    low = high = start
    while not holds(high):
        low, high = high, 2 * high
        if high > 1e9:
            more = ", or take more noise" if name == "rate" else ""
            raise ValueError(f"no {name} keeps this budget; allow a larger epsilon or fewer rounds{more}")
    while low == high or (low > start * 1e-9 and holds(low)):
        low, high = low / 1.5, low
    while high / low > 1.0005:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


_SOLVERS: dict[str, Callable[[dict[str, Any]], float]] = {
    "epsilon": _spent, "delta": _delta, "rounds": _rounds,
    "noise_multiplier": _noise_multiplier, "rate": _rate,
}  # fmt: skip
