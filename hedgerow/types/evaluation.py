"""Clients' evaluations of a model on their own held-out samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

LESS_IS_BETTER = frozenset({"loss", "mae", "mse", "rmse"})
"""Metrics for which less is better; for all others, more is better."""


FRACTIONS = frozenset({"accuracy"})
"""Metrics that lie between 0 and 1, so that a sum of them over samples counts hits."""


@dataclass(frozen=True)
class Measured:
    """One client's evaluation.

    Attributes:
        num_examples: number of its held-out samples.
        metrics: means over them, such as `{"loss": 0.4, "accuracy": 0.9}`.
    """

    num_examples: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Distribution:
    """The distribution of one metric over clients.

    Attributes:
        clients: number of clients that measured it.
        mean: over the clients, each with the same weight.
        weighted_mean: over the samples of all clients.
        worst_tenth: mean of the worst tenth of the clients, their number rounded up: those with
            the lowest values, or the highest if less is better (`LESS_IS_BETTER`).
        spread: standard deviation over the clients (divided by their number).
    """

    clients: int
    mean: float
    weighted_mean: float
    worst_tenth: float
    spread: float


@dataclass(frozen=True)
class ClientEvaluation:
    """Clients' evaluations of one model.

    Attributes:
        clients: by stable name, sorted.
        dropped: `{client: reason}` for each client that was asked and does not count.
        bytes_up: `{client: bytes}` of each reply that arrived, as serialised.
        bytes_down: `{client: bytes}` of each message sent, as serialised.
    """

    clients: Mapping[str, Measured]
    dropped: Mapping[str, str] = field(default_factory=dict)
    bytes_up: Mapping[str, int] = field(default_factory=dict)
    bytes_down: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> str:
        """Why nothing is known: there is always what each has measured, if only of none."""
        return ""

    @property
    def each(self) -> Mapping[str, Measured]:
        """What is known of each client: all that it measured."""
        return self.clients

    def means(self) -> dict[str, float]:
        """Each metric's mean over the clients, each counting the same."""
        return {name: found.mean for name, found in self.summary().items()}

    def summary(self) -> dict[str, Distribution]:
        """Each metric's distribution over the clients that measured it, by name.

        >>> three = {"a": (1, 0.5), "b": (2, 0.8), "c": (1, 0.2)}
        >>> found = ClientEvaluation({c: Measured(n, {"accuracy": v}) for c, (n, v) in three.items()})
        >>> found.summary()["accuracy"].mean, found.summary()["accuracy"].worst_tenth
        (0.5, 0.2)
        """
        names = sorted({name for client in self.clients.values() for name in client.metrics})
        return {
            name: _distribution(
                [(c.num_examples, c.metrics[name]) for c in self.clients.values() if name in c.metrics],
                less_is_better=name in LESS_IS_BETTER,
            )
            for name in names
        }


@dataclass(frozen=True)
class Mean:
    """All that is known of a metric under a mask.

    Attributes:
        weighted_mean: over the samples of all clients.
    """

    weighted_mean: float


@dataclass(frozen=True)
class SummedEvaluation:
    """What clients measured of one model under a mask: nobody knows more than the sums over them.

    Attributes:
        weighted_means: `{metric: mean over the held-out samples of all clients}`; none where it failed.
        clients: names of those in the sums, sorted.
        failed: why there are no sums, or an empty text.
        dropped: `{client: reason}` for each client that was asked and does not count.
        bytes_up: `{client: bytes}` of its replies that arrived, as serialised.
        bytes_down: `{client: bytes}` of the messages sent, as serialised.
    """

    weighted_means: Mapping[str, float] = field(default_factory=dict)
    clients: tuple[str, ...] = ()
    failed: str = ""
    dropped: Mapping[str, str] = field(default_factory=dict)
    bytes_up: Mapping[str, int] = field(default_factory=dict)
    bytes_down: Mapping[str, int] = field(default_factory=dict)

    @property
    def each(self) -> Mapping[str, Measured]:
        """What is known of each client: nothing."""
        return {}

    def means(self) -> dict[str, float]:
        """Each metric's mean over the samples of all clients."""
        return dict(self.weighted_means)

    def summary(self) -> dict[str, Mean]:
        """Each metric's mean, and nothing of how it lies over clients.

        >>> SummedEvaluation({"accuracy": 0.75}, ("a", "b", "c")).summary()
        {'accuracy': Mean(weighted_mean=0.75)}
        """
        return {name: Mean(value) for name, value in sorted(self.weighted_means.items())}


def _distribution(pairs: list[tuple[int, float]], *, less_is_better: bool) -> Distribution:
    # Sums are exact and rounded once, so that the order of clients does not matter.
    number = len(pairs)
    mean = math.fsum(value for _, value in pairs) / number
    weighted = math.fsum(n * value for n, value in pairs) / sum(n for n, _ in pairs)
    worst = sorted((value for _, value in pairs), reverse=less_is_better)[: math.ceil(number / 10)]
    spread = math.sqrt(math.fsum((value - mean) ** 2 for _, value in pairs) / number)
    return Distribution(number, mean, weighted, math.fsum(worst) / len(worst), spread)
