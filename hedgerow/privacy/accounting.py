"""From events to epsilon, with Google's dp-accounting.

Everything is for adding or removing one client, all of its data and all of its
rounds. `epsilon` uses privacy loss distributions, which are tight; the Renyi
accountant gives an independent upper bound, and counts Skellam noise, of which
no more is known in many dimensions.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from hedgerow import checks
from hedgerow.privacy.events import Cyclic, Event, Gaussian, PoissonSampled, Skellam

INSTALL = 'pip install "hedgerow[privacy]"'

Once: TypeAlias = Gaussian | Skellam | PoissonSampled
"""An event that counts once, whatever the others are."""

GRID = 1e-4
"""Privacy losses are rounded up to multiples of this."""

# Whole: those that the bound of Skellam noise is proven for. Orders below 2 also fail to converge for some
# rates of sampling, and are seldom the best.
_ORDERS = (*range(2, 64), 80, 96, 128, 192, 256, 512, 1024)
_MORE_ORDERS = (*range(2, 128), *(round(128 * 1.1**k) for k in range(90)))


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

    Where one of them has Skellam noise, by Renyi divergences: `renyi_epsilon`.

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
    if any(isinstance(event, Skellam) for event in counts):
        return _renyi(counts, delta)
    composed: Any = None
    for event, count in sorted(counts.items(), key=repr):
        assert not isinstance(event, Skellam)
        part = _composed(event, count)
        composed = part if composed is None else composed.compose(part)
    return float(composed.get_epsilon_for_delta(delta))


def renyi_epsilon(events: Iterable[Event], delta: float) -> float:
    """An upper bound of `epsilon`, by Renyi divergences: another proof, in other code.

    >>> round(renyi_epsilon([PoissonSampled(0.02, Gaussian(1.1))] * 100, delta=1e-4), 3)
    1.173
    """
    return _renyi(_counted(events), delta)


def skellam_divergence(event: Skellam, order: int) -> float:
    """The most that the Renyi divergence of a whole order, 2 or more, can be.

    Agarwal, Kairouz and Liu 2021 (arXiv:2110.04995, theorem 3.5 and corollary
    3.6): that of a Gaussian of the same variance, and little more where the
    variance is large.

    >>> skellam_divergence(Skellam(variance=10_000, l2=100.0, l1=1000.0), 4)
    2.00019
    """
    l2, l1, variance = event.l2**2, event.l1, event.variance
    beyond = min(((2 * order - 1) * l2 + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
    return order * l2 / (2 * variance) + beyond


def counted_epsilon(event: Once, count: int, delta: float, grid: float = GRID) -> float:
    """The epsilon of so many equal releases: as `epsilon`, without a list of them.

    Losses are rounded up to multiples of `grid`. One ten times `GRID` is ten
    times as fast, and never below.
    """
    if isinstance(event, Skellam):
        return _renyi({event: count}, delta)
    return float(_composed(event, count, grid).get_epsilon_for_delta(delta))


def counted_delta(event: Once, count: int, epsilon: float) -> float:
    """The delta for which so many equal releases have this epsilon."""
    if not isinstance(event, Skellam):
        return float(_composed(event, count).get_delta_for_epsilon(epsilon))
    divergences = [count * skellam_divergence(event, order) for order in _MORE_ORDERS]
    compute_delta = _dp_accounting().rdp.rdp_privacy_accountant.compute_delta
    return float(compute_delta(_MORE_ORDERS, divergences, epsilon)[0])


def _renyi(counts: Mapping[Once, int], delta: float) -> float:
    dp = _dp_accounting()
    sampled = any(isinstance(event, PoissonSampled) for event in counts)  # slow for large orders
    orders = _ORDERS if sampled else _MORE_ORDERS
    accountant = dp.rdp.RdpAccountant(orders)
    total = [0.0] * len(orders)
    for event, count in counts.items():
        if isinstance(event, Skellam):
            total = [
                sum_ + count * skellam_divergence(event, a) for sum_, a in zip(total, orders, strict=True)
            ]
        else:
            accountant.compose(_dp_event(event), count)
    return float(dp.rdp.compute_epsilon(orders, accountant.rdp + total, delta)[0])


def _counted(events: Iterable[Event]) -> Counter[Once]:
    """Equal events with their number; cyclic ones as what the client suffers who is in most of them.

    A round that was released again shows also the clients of the rounds that
    its noise is correlated with, by less than a participation: it counts as
    one, for every client.
    """
    counts: Counter[Once] = Counter()
    rounds: dict[tuple[Gaussian | Skellam, int], list[int]] = defaultdict(list)
    for event in events:
        if isinstance(event, Cyclic):
            rounds[event.event, event.groups].append(event.round)
        else:
            counts[event] += 1
    for (one, groups), numbers in rounds.items():
        different = set(numbers)
        participations = max(Counter(number % groups for number in different).values())
        counts[one] += participations + len(numbers) - len(different)
    return counts


@lru_cache(maxsize=256)
def _composed(event: Gaussian | PoissonSampled, count: int, grid: float = GRID) -> Any:
    if isinstance(event, Gaussian):  # exactly: noise adds up in squares
        return _loss_distribution(Gaussian(event.noise_multiplier / count**0.5), grid)
    one = _loss_distribution(event, grid)
    return one.self_compose(count) if count > 1 else one


@lru_cache(maxsize=64)
def _loss_distribution(event: Gaussian | PoissonSampled, grid: float) -> Any:
    gaussian = event.event if isinstance(event, PoissonSampled) else event
    return _dp_accounting().pld.privacy_loss_distribution.from_gaussian_mechanism(
        gaussian.noise_multiplier,
        sampling_prob=event.rate if isinstance(event, PoissonSampled) else 1.0,
        value_discretization_interval=grid,
    )


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
