"""The noise multiplier that a privacy budget requires, from epsilon and the number of rounds."""

import math
from collections.abc import Callable

from hedgerow import checks
from hedgerow.privacy.events import Gaussian, Skellam, mechanism
from hedgerow.privacy.planning import solve
from hedgerow.strategies.strategy import Strategy

_INTERVAL = 1e-3  # step of privacy losses: ten times as fast as the ledger's, and never gives a lower epsilon


@checks.arguments
def calibrated(make: Callable[[float], Strategy], rounds: int) -> Strategy:
    """The strategy with the least noise that keeps `rounds` rounds within its budget.

    Args:
        make: maps a noise multiplier to a private strategy with a budget.
        rounds: number of rounds that the budget must last for; the ledger allows them all.

    Raises:
        ValueError: an argument has the wrong type; the strategy is not
            private, or has no epsilon; or no amount of noise is enough.
        ImportError: dp-accounting is not installed; the error gives the command to install it.

    >>> from hedgerow.strategies import dp_fedavg, poisson
    >>> strategy = calibrated(
    ...     lambda noise: dp_fedavg(0.5, noise, 1e-4, 4.0, sampling=poisson(100, population=1000)), rounds=40
    ... )
    >>> round(strategy.release.noise.multiplier, 2)
    0.98
    """
    checks.kind(Callable, " from a noise multiplier to a Strategy", make=make)
    return make(noise_multiplier(make, rounds))


def noise_multiplier(make: Callable[[float], Strategy], rounds: int) -> float:
    """The noise multiplier of `calibrated`, to 0.1 %."""
    checks.whole(1, rounds=rounds)
    planned = make(1.0)
    checks.kind(Strategy, ", such as dp_fedavg(0.5, noise, epsilon=4.0)", **{"what make gives": planned})
    budget, groups = planned.budget, planned.sampling.groups
    if budget is None or budget.epsilon is None:
        raise ValueError(f"{planned.name} has no epsilon to keep; give it one, such as epsilon=4.0")

    def released(multiplier: float) -> Gaussian | Skellam:
        strategy = make(multiplier)
        return mechanism(strategy.release.noise.event(strategy.sampling, 1, None))

    plan = solve(
        epsilon=budget.epsilon,
        delta=budget.delta,
        # If clients take turns, some are in one more round than others: plan for those.
        rounds=math.ceil(rounds / groups) if groups else rounds,
        rate=1.0 if groups else planned.sampling.rate,
        mechanism=released,
        interval=_INTERVAL,
        adjacency=budget.adjacency,
    )
    return plan.noise_multiplier
