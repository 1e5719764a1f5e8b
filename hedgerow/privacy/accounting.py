"""From events to epsilon, with Google's dp-accounting.

Everything is for adding or removing one client, all of its data and all of its
rounds. `epsilon` uses privacy loss distributions, which are tight; the Renyi
accountant gives an independent upper bound.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hedgerow import checks
from hedgerow.privacy.events import Cyclic, Event, Gaussian, PoissonSampled

INSTALL = 'pip install "hedgerow[privacy]"'


@dataclass(frozen=True)
class Budget:
    """How much a run may reveal of any one client.

    Attributes:
        delta: the probability with which the promise of epsilon may fail;
            well below 1 / clients.
        epsilon: a run stops before it would pass it; `None` for no limit.
    """

    delta: float
    epsilon: float | None = None

    def __post_init__(self) -> None:
        checks.inside(delta=self.delta)
        if self.epsilon is not None:
            checks.positive(epsilon=self.epsilon)


def epsilon(events: Iterable[Event], delta: float) -> float:
    """The epsilon of all these releases together, by privacy loss distributions.

    Args:
        events: in any order; equal ones are composed at once.
        delta: above 0 and below 1.

    Raises:
        ImportError: dp-accounting is not installed; with the command that does it.

    >>> round(epsilon([PoissonSampled(0.02, Gaussian(1.1))] * 100, delta=1e-4), 3)
    0.882
    """
    counts = _counted(events)
    if not counts:
        return 0.0
    composed: Any = None
    for event, count in sorted(counts.items(), key=repr):
        part = _composed(event, count)
        composed = part if composed is None else composed.compose(part)
    return float(composed.get_epsilon_for_delta(delta))


def renyi_epsilon(events: Iterable[Event], delta: float) -> float:
    """An upper bound of `epsilon`, by Renyi divergences: another proof, in other code.

    >>> round(renyi_epsilon([PoissonSampled(0.02, Gaussian(1.1))] * 100, delta=1e-4), 3)
    1.173
    """
    dp = _dp_accounting()
    # Orders below 2 fail to converge for some rates and are seldom the best.
    accountant = dp.rdp.RdpAccountant([*range(2, 64), 80, 96, 128, 192, 256, 512, 1024])
    for event, count in _counted(events).items():
        accountant.compose(_dp_event(event), count)
    return float(accountant.get_epsilon(delta))


def _counted(events: Iterable[Event]) -> Counter[Gaussian | PoissonSampled]:
    """Equal events with their number; cyclic ones as what the client suffers who is in most of them.

    A round that was released again shows also the clients of the rounds that
    its noise is correlated with, by less than a participation: it counts as
    one, for every client.
    """
    counts: Counter[Gaussian | PoissonSampled] = Counter()
    rounds: dict[tuple[float, int], list[int]] = defaultdict(list)
    for event in events:
        if isinstance(event, Cyclic):
            rounds[event.noise_multiplier, event.groups].append(event.round)
        else:
            counts[event] += 1
    for (noise_multiplier, groups), numbers in rounds.items():
        different = set(numbers)
        participations = max(Counter(number % groups for number in different).values())
        counts[Gaussian(noise_multiplier)] += participations + len(numbers) - len(different)
    return counts


@lru_cache(maxsize=256)
def _composed(event: Gaussian | PoissonSampled, count: int) -> Any:
    if isinstance(event, Gaussian):  # exactly: noise adds up in squares
        return _loss_distribution(Gaussian(event.noise_multiplier / count**0.5))
    one = _loss_distribution(event)
    return one.self_compose(count) if count > 1 else one


@lru_cache(maxsize=64)
def _loss_distribution(event: Gaussian | PoissonSampled) -> Any:
    pld = _dp_accounting().pld.privacy_loss_distribution
    if isinstance(event, PoissonSampled):
        return pld.from_gaussian_mechanism(event.event.noise_multiplier, sampling_prob=event.rate)
    return pld.from_gaussian_mechanism(event.noise_multiplier)


def _dp_event(event: Gaussian | PoissonSampled) -> Any:
    dp = _dp_accounting()
    if isinstance(event, PoissonSampled):
        return dp.PoissonSampledDpEvent(event.rate, _dp_event(event.event))
    return dp.GaussianDpEvent(event.noise_multiplier)


def _dp_accounting() -> Any:
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError as error:
        raise ImportError(f"differential privacy needs dp-accounting, to count epsilon: {INSTALL}") from error
    return dp_accounting


@dataclass(frozen=True)
class Plan:
    """The five numbers of a run with Gaussian noise, four of which decide the fifth.

    Attributes:
        epsilon: in all rounds together.
        delta: the probability with which epsilon may fail.
        rounds: released.
        noise_multiplier: of each round.
        rate: of Poisson sampling; 1 where every client is in every round.
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
) -> Plan:
    """Compute the one number of a plan that is left out, on the safe side.

    The noise is the smallest that is enough, rounds and rate the largest that
    are allowed, epsilon and delta the smallest that hold: to 0.1 % or better.

    Raises:
        ValueError: not exactly one is left out, one is out of range, or none
            in range would do.

    >>> round(solve(delta=1e-5, rounds=40, noise_multiplier=4.0, rate=1.0).epsilon, 3)
    7.511
    >>> solve(epsilon=8.0, delta=1e-5, noise_multiplier=4.0, rate=1.0).rounds
    44
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
    found = _SOLVERS[wanted]({name: value for name, value in given.items() if value is not None})
    return Plan(**{**given, wanted: found})  # type: ignore[arg-type]


def _spent(plan: dict[str, Any]) -> float:
    return float(_plan_loss(plan).get_epsilon_for_delta(plan["delta"]))


def _plan_loss(plan: dict[str, Any]) -> Any:
    gaussian = Gaussian(plan["noise_multiplier"])
    event = gaussian if plan["rate"] == 1 else PoissonSampled(plan["rate"], gaussian)
    return _composed(event, int(plan["rounds"]))


def _delta(plan: dict[str, Any]) -> float:
    return float(_plan_loss(plan).get_delta_for_epsilon(plan["epsilon"]))


def _rounds(plan: dict[str, Any]) -> int:
    def holds(rounds: int) -> bool:
        return _spent({**plan, "rounds": rounds}) <= float(plan["epsilon"])

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
    return _smallest(
        "noise multiplier", 1.0, lambda z: _spent({**plan, "noise_multiplier": z}) <= plan["epsilon"]
    )


def _rate(plan: dict[str, Any]) -> float:
    def holds(inverse: float) -> bool:
        return _spent({**plan, "rate": 1 / inverse}) <= float(plan["epsilon"])

    return 1.0 if holds(1.0) else 1 / _smallest("rate", 8.0, holds)


def _smallest(name: str, start: float, holds: Callable[[float], bool]) -> float:
    """The smallest number for which it holds, to 0.05 %; it must hold for all above it."""
    low = high = start
    while not holds(high):
        low, high = high, 2 * high
        if high > 1e6:
            raise ValueError(f"no {name} keeps this budget; allow a larger epsilon or fewer rounds")
    while low == high or (low > start / 64 and holds(low)):
        low, high = low / 1.5, low
    while high / low > 1.0005:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


_SOLVERS: dict[str, Callable[[dict[str, Any]], float]] = {
    "epsilon": _spent, "delta": _delta, "rounds": _rounds,
    "noise_multiplier": _noise_multiplier, "rate": _rate,
}  # fmt: skip
