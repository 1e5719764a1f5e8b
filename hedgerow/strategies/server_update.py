"""Server updates: how the server applies an aggregated delta to its model.

Each rule is a pair of functions over plain vectors. The adaptive ones follow
Reddi et al. 2021, "Adaptive Federated Optimization" (arXiv:2003.00295,
algorithm 2), with the delta as the negative gradient, no bias correction, and
a second moment that starts at `tau**2`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hedgerow import checks
from hedgerow.strategies.streams import Totals
from hedgerow.types import Arrays, Vector

_ONE = Totals()


@dataclass(frozen=True)
class ServerUpdate:
    """A rule for the server's step.

    Attributes:
        name: as written in a configuration.
        init: `d -> state`, named `(d,) float32` arrays.
        apply: `(parameters, delta, state, totals) -> (new parameters, new
            state)`; does not change its arguments. The totals are the cohort's.
    """

    name: str
    init: Callable[[int], Arrays]
    apply: Callable[[Vector, Vector, Arrays, Totals], tuple[Vector, Arrays]]

    def __call__(
        self, parameters: Vector, delta: Vector, state: Arrays, totals: Totals = _ONE
    ) -> tuple[Vector, Arrays]:
        """One step; by default for a cohort of one client."""
        return self.apply(parameters, delta, state, totals)


def sgd(learning_rate: float = 1.0) -> ServerUpdate:
    """`w <- w + learning_rate * delta`: plain FedAvg with a learning rate of 1.

    >>> rule = sgd(0.5)
    >>> rule(np.ones(1, np.float32), np.ones(1, np.float32), {})[0].tolist()
    [1.5]
    """
    checks.positive(learning_rate=learning_rate)
    rate = np.float32(learning_rate)
    return ServerUpdate(
        f"sgd({learning_rate})", lambda d: {}, lambda w, delta, state, totals: (w + rate * delta, state)
    )


def momentum(learning_rate: float = 1.0, beta: float = 0.9) -> ServerUpdate:
    """FedAvgM (arXiv:1909.06335, section 4.3): `v <- beta v + delta; w <- w + learning_rate * v`."""
    checks.positive(learning_rate=learning_rate)
    checks.probability(beta=beta)
    rate, keep = np.float32(learning_rate), np.float32(beta)

    def apply(w: Vector, delta: Vector, state: Arrays, totals: Totals) -> tuple[Vector, Arrays]:
        velocity = keep * state["velocity"] + delta
        return w + rate * velocity, {"velocity": velocity}

    return ServerUpdate(
        f"momentum({learning_rate}, {beta})", lambda d: {"velocity": np.zeros(d, np.float32)}, apply
    )


def adam(
    learning_rate: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
) -> ServerUpdate:
    """FedAdam: `v <- beta_2 v + (1 - beta_2) delta^2`."""
    checks.probability(beta_2=beta_2)
    keep = np.float32(beta_2)
    return _adaptive(
        f"adam({learning_rate}, {beta_1}, {beta_2}, {tau})",
        learning_rate, beta_1, tau,
        lambda v, square: keep * v + (1 - keep) * square,
    )  # fmt: skip


def yogi(
    learning_rate: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
) -> ServerUpdate:
    """FedYogi: `v <- v - (1 - beta_2) delta^2 sign(v - delta^2)`."""
    checks.probability(beta_2=beta_2)
    keep = np.float32(beta_2)
    return _adaptive(
        f"yogi({learning_rate}, {beta_1}, {beta_2}, {tau})",
        learning_rate, beta_1, tau,
        lambda v, square: v - (1 - keep) * square * np.sign(v - square),
    )  # fmt: skip


def adagrad(learning_rate: float = 0.01, tau: float = 1e-3) -> ServerUpdate:
    """FedAdagrad: `v <- v + delta^2`, without momentum."""
    return _adaptive(
        f"adagrad({learning_rate}, {tau})", learning_rate, 0.0, tau, lambda v, square: v + square
    )


def _adaptive(
    name: str, learning_rate: float, beta_1: float, tau: float, second: Callable[[Vector, Vector], Vector]
) -> ServerUpdate:
    checks.positive(learning_rate=learning_rate, tau=tau)
    checks.probability(beta_1=beta_1)
    rate, keep, floor = np.float32(learning_rate), np.float32(beta_1), np.float32(tau)

    def init(d: int) -> Arrays:
        return {"first": np.zeros(d, np.float32), "second": np.full(d, floor * floor, np.float32)}

    def apply(w: Vector, delta: Vector, state: Arrays, totals: Totals) -> tuple[Vector, Arrays]:
        first = keep * state["first"] + (1 - keep) * delta
        moment = second(state["second"], delta * delta)
        moved = w + rate * first / (np.sqrt(moment) + floor)
        return moved.astype(np.float32, copy=False), {"first": first, "second": moment}

    return ServerUpdate(name, init, apply)
