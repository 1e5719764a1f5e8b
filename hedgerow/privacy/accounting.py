"""Compute epsilon from events, with Google's dp-accounting.

Every epsilon is for one client, with all of its data in all of its rounds:
left out or replaced, depending on the adjacency (`ADJACENCIES`). `epsilon`
uses privacy loss distributions, which are tight. The Renyi accountant gives an
independent upper bound, and handles Skellam noise, for which nothing tighter
is known in many dimensions. It also sets the step to which losses are rounded,
so that memory and time do not grow with epsilon; and it alone is used when
there is so little noise that an epsilon is meaningless.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.privacy.adjacency import ADJACENCIES, sensitivity
from hedgerow.privacy.events import Cyclic, Event, Gaussian, PoissonSampled, Skellam

INSTALL = 'pip install "hedgerow[privacy]"'

Once: TypeAlias = Gaussian | Skellam | PoissonSampled
"""An event whose cost does not depend on the other events."""

INTERVAL = 1e-4
"""Step to which privacy losses are rounded up ..."""

PARTS = 200_000
"""... or the Renyi epsilon divided by this, if that is larger."""

LARGEST = 1e4
"""A larger Renyi epsilon is returned as it is: nothing is protected, and the losses overflow a float."""

# Whole numbers, for which the Skellam bound is proven. Orders below 2 also fail to converge for some sampling
# rates, and are seldom the best.
_ORDERS = (*range(2, 64), 80, 96, 128, 192, 256, 512, 1024)
_MORE_ORDERS = (*range(2, 128), *(round(128 * 1.1**k) for k in range(90)))
_SMALL_DELTA = 1e-12  # less likely losses are ignored
_NO_NOISE = 1e-150  # below this, the square underflows


@checks.arguments
@dataclass(frozen=True)
class Budget:
    """How much a run may reveal of any one client.

    Attributes:
        delta: the probability with which the guarantee of epsilon may fail;
            choose it well below 1 / clients.
        epsilon: a run stops before it would exceed this; `None` for no limit.
        adjacency: one of `ADJACENCIES`: epsilon is for leaving out a client's
            contribution (`"zero_out"`), or for replacing it (`"replace"`).
    """

    delta: float
    epsilon: float | None = None
    adjacency: str = "zero_out"

    def __post_init__(self) -> None:
        checks.inside(delta=self.delta)
        if self.epsilon is not None:
            checks.positive(epsilon=self.epsilon)
        checks.one_of(ADJACENCIES, adjacency=self.adjacency)


def epsilon(events: Iterable[Event], delta: float, adjacency: str = "zero_out") -> float:
    """The epsilon of all these releases together, by privacy loss distributions.

    If one of them has Skellam noise, or the total exceeds `LARGEST`, it is
    `renyi_epsilon` instead. Infinite if a float cannot hold it.

    Args:
        events: in any order; equal ones are composed together.
        delta: above 0 and below 1.
        adjacency: one of `ADJACENCIES`. For `"replace"` a sampled Gaussian is
            `(1 - q) N(0) + q N(C)` beside `(1 - q) N(0) + q N(-C)`
            (Schuchardt et al. 2024, arXiv:2403.04867).

    Raises:
        ImportError: dp-accounting is not installed; the error gives the command to install it.

    >>> round(epsilon([PoissonSampled(0.02, Gaussian(1.1))] * 100, delta=1e-4), 3)
    0.882
    >>> round(epsilon([Gaussian(2.3)] * 5, delta=1e-4), 2)
    3.68
    >>> round(epsilon([Gaussian(2.3)] * 5, delta=1e-4, adjacency="replace"), 2)
    8.57
    """
    counts = _counted(events)
    if not counts:
        return 0.0
    interval = _interval(counts, delta, adjacency)
    if interval is None:
        return _renyi(counts, delta, adjacency)
    composed: Any = None
    for event, count in sorted(counts.items(), key=repr):
        assert not isinstance(event, Skellam)
        part = _composed(event, count, interval, adjacency)
        composed = part if composed is None else composed.compose(part)
    return float(composed.get_epsilon_for_delta(delta))


def renyi_epsilon(events: Iterable[Event], delta: float, adjacency: str = "zero_out") -> float:
    """An upper bound on `epsilon` by Renyi divergences, from an independent proof and implementation.

    >>> round(renyi_epsilon([PoissonSampled(0.02, Gaussian(1.1))] * 100, delta=1e-4), 3)
    1.173
    """
    counts = _counted(events)
    return _renyi(counts, delta, adjacency) if counts else 0.0


def skellam_divergence(event: Skellam, order: int) -> float:
    """An upper bound on the Renyi divergence of a whole order, 2 or more.

    Agarwal, Kairouz and Liu 2021 (arXiv:2110.04995, theorem 3.5 and corollary
    3.6): the divergence of a Gaussian of the same variance, plus a term that is
    small when the variance is large.

    >>> skellam_divergence(Skellam(variance=10_000, l2=100.0, l1=1000.0), 4)
    2.00019
    """
    l2, l1, variance = event.l2**2, event.l1, event.variance
    beyond = min(((2 * order - 1) * l2 + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
    return order * l2 / (2 * variance) + beyond


def counted_epsilon(
    event: Once, count: int, delta: float, interval: float = INTERVAL, adjacency: str = "zero_out"
) -> float:
    """The epsilon of `count` equal releases: like `epsilon`, but without building a list.

    Losses are rounded up to multiples of `interval`, or of a larger step. Ten times `INTERVAL`
    is ten times as fast, and the result is never lower.
    """
    rounded = _interval({event: count}, delta, adjacency)
    if rounded is None or isinstance(event, Skellam):
        return counted_renyi(event, count, delta, adjacency)
    return float(_composed(event, count, max(rounded, interval), adjacency).get_epsilon_for_delta(delta))


def counted_renyi(event: Once, count: int, delta: float, adjacency: str = "zero_out") -> float:
    """The epsilon of `count` equal releases, computed like `renyi_epsilon`."""
    return _renyi({event: count}, delta, adjacency)


def counted_delta(event: Once, count: int, epsilon: float, adjacency: str = "zero_out") -> float:
    """The delta for which `count` equal releases have this epsilon; 1 if there is none."""
    interval = _interval({event: count}, _SMALL_DELTA, adjacency)
    if interval is not None and not isinstance(event, Skellam):
        return float(_composed(event, count, interval, adjacency).get_delta_for_epsilon(epsilon))
    orders, divergences = _divergences({event: count}, adjacency)
    if not len(orders):
        return 1.0
    compute_delta = _dp_accounting().rdp.rdp_privacy_accountant.compute_delta
    return float(compute_delta(orders, divergences, epsilon)[0])


def _interval(counts: Mapping[Once, int], delta: float, adjacency: str) -> float | None:
    """The step to which losses are rounded up; `None` if Renyi divergences are used instead."""
    if any(isinstance(event, Skellam) for event in counts):
        return None
    most = _renyi(counts, delta, adjacency)
    return max(INTERVAL, most / PARTS) if most <= LARGEST else None


def _renyi(counts: Mapping[Once, int], delta: float, adjacency: str) -> float:
    orders, divergences = _divergences(counts, adjacency)
    return (
        float(_dp_accounting().rdp.compute_epsilon(orders, divergences, delta)[0])
        if len(orders)
        else math.inf
    )


def _divergences(counts: Mapping[Once, int], adjacency: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Orders and the Renyi divergence of each, without those that a float cannot hold."""
    sampled = any(isinstance(event, PoissonSampled) for event in counts)  # slow for large orders
    orders = _ORDERS if sampled else _MORE_ORDERS
    with np.errstate(over="ignore"):
        each = [count * _divergence(event, orders, adjacency) for event, count in counts.items()]
        total = np.sum(each, axis=0)
    finite = np.isfinite(total)
    return np.array(orders)[finite], total[finite]


@lru_cache(maxsize=256)
def _divergence(event: Once, orders: tuple[int, ...], adjacency: str) -> NDArray[np.float64]:
    apart = sensitivity(adjacency)
    if isinstance(event, Skellam):
        event = Skellam(event.variance, apart * event.l2, apart * event.l1)
        return np.array([skellam_divergence(event, order) for order in orders])
    gaussian = event.event if isinstance(event, PoissonSampled) else event
    if gaussian.noise_multiplier < _NO_NOISE:
        return np.full(len(orders), np.inf)
    alone = np.array(orders) / (2 * (gaussian.noise_multiplier / apart) ** 2)
    if isinstance(event, Gaussian):
        return alone
    if adjacency == "replace":  # exp((order - 1) D) is convex in both distributions
        steps = np.array(orders) - 1.0
        undrawn, drawn = np.log1p(-min(event.rate, 1 - 1e-16)), np.log(event.rate)
        return np.asarray(np.logaddexp(undrawn, drawn + steps * alone) / steps)
    accountant = _dp_accounting().rdp.RdpAccountant(orders)
    accountant.compose(_dp_event(event))
    found = np.array(accountant.rdp)
    # Where cancellation left zero, use the value without sampling, which is never lower.
    return np.where(found > 0, found, alone)


def _counted(events: Iterable[Event]) -> Counter[Once]:
    """Equal events with their counts; cyclic ones count for the client that takes part in most of them.

    A round that is released again also reveals something, less than one
    participation, about the clients of the rounds with correlated noise: it
    counts as one participation for every client.
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
def _composed(event: Gaussian | PoissonSampled, count: int, interval: float, adjacency: str) -> Any:
    if isinstance(event, Gaussian):  # exact, because variances add up
        return _loss_distribution(Gaussian(event.noise_multiplier / count**0.5), interval, adjacency)
    one = _loss_distribution(event, interval, adjacency)
    return one.self_compose(count) if count > 1 else one


@lru_cache(maxsize=64)
def _loss_distribution(event: Gaussian | PoissonSampled, interval: float, adjacency: str) -> Any:
    gaussian = event.event if isinstance(event, PoissonSampled) else event
    relation = _dp_accounting().NeighboringRelation
    return _dp_accounting().pld.privacy_loss_distribution.from_gaussian_mechanism(
        gaussian.noise_multiplier,
        sampling_prob=event.rate if isinstance(event, PoissonSampled) else 1.0,
        value_discretization_interval=interval,
        neighboring_relation=relation.REPLACE_ONE if adjacency == "replace" else relation.ADD_OR_REMOVE_ONE,
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
