"""Sampling: which clients are asked in a round."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow import checks, rng


@dataclass(frozen=True)
class Sampling:
    """A rule that chooses a cohort.

    Attributes:
        name: as written in a configuration.
        choose: `(sorted client names, seed, round) -> sorted cohort`.
        rate: the probability with which each client is in a cohort,
            independently of the others; `None` if they are not independent.
        groups: minimum number of rounds from one of a client's rounds to its
            next; `None` if a client may be in two consecutive rounds.
        expected: expected size of a cohort, if it is known without counting
            the clients; otherwise `None`.
        population: intended number of clients; `None` if it is not given.
    """

    name: str
    choose: Callable[[Sequence[str], int, int], tuple[str, ...]]
    rate: float | None = None
    expected: float | None = None
    groups: int | None = None
    population: int | None = None

    @property
    def traits(self) -> frozenset[str]:
        """Names of its properties, for the conditions of other parts.

        >>> sorted(cyclic(2, population=4).traits)
        ['public size', 'turns']
        """
        named = {
            "independent": self.rate is not None,
            "turns": self.groups is not None,
            "public size": self.most_clients is not None,
        }
        return frozenset(name for name, holds in named.items() if holds)

    @property
    def most_clients(self) -> int | None:
        """Size that no cohort exceeds if there are at most `population` clients; `None` if unknown.

        Fewer than one cohort in 1e30 exceed it: a sum of independent draws with
        mean `m` exceeds it by `t` with probability at most
        `exp(-t^2 / (2 m + 2 t / 3))` (Bernstein), below `exp(-72)` for this `t`.

        >>> poisson(100, population=1000).most_clients, poisson(100, population=120).most_clients
        (270, 120)
        """
        if self.expected is None or self.population is None:
            return None
        return min(self.population, math.ceil(self.expected + 12 * math.sqrt(self.expected) + 50))


@checks.arguments
def uniform(clients: int | None = None, *, fraction: float | None = None) -> Sampling:
    """Uniformly at random, without replacement.

    Args:
        clients: number of clients asked in a round; all, if fewer are available.
        fraction: alternatively the fraction of available clients, `C` in the
            FedAvg paper, rounded to the nearest whole number, at least 1.

    >>> uniform(2).choose(["a", "b", "c"], 0, 1)
    ('b', 'c')
    """
    if (clients is None) == (fraction is None):
        raise ValueError(
            "give one of the two: clients=... (a number) or fraction=... (of the available clients)"
        )
    if clients is not None:
        checks.whole(1, clients=clients)
    if fraction is not None:
        checks.fraction(fraction=fraction)

    def choose(names: Sequence[str], seed: int, round: int) -> tuple[str, ...]:
        if clients is None:
            return fraction_of(names, fraction or 0, seed, "sample clients", round)
        return _drawn(names, clients, seed, "sample clients", round)

    return Sampling(f"uniform({clients})" if clients else f"uniform(fraction={fraction})", choose)


def fraction_of(
    names: Sequence[str], fraction: float, seed: int, purpose: str, round: int
) -> tuple[str, ...]:
    """Draw that fraction of the names uniformly (rounded to the nearest, at least 1); keeps their order.

    >>> fraction_of(["a", "b", "c"], 0.5, 0, "sample clients", 1)
    ('b', 'c')
    """
    return _drawn(names, max(1, int(fraction * len(names) + 0.5)), seed, purpose, round)


def _drawn(names: Sequence[str], wanted: int, seed: int, purpose: str, round: int) -> tuple[str, ...]:
    # Draw positions, not node ids: Flower's ids are random in every run.
    generator = rng.generator(seed, purpose, round=round)
    positions = generator.choice(len(names), min(wanted, len(names)), replace=False)
    return tuple([names[i] for i in sorted(positions.tolist())])


@checks.arguments
def poisson(clients: float, population: int) -> Sampling:
    """Each client independently, with probability `clients / population`.

    Privacy amplification is proved for this sampling (Abadi et al. 2016,
    arXiv:1607.00133). A cohort may have any size, and may be empty. `population`
    is a configured number, not a count: whatever is computed from it reveals
    nothing about which clients are available. With more clients than that,
    cohorts are larger on average, but nobody's privacy is worse.

    Args:
        clients: expected size of a cohort.
        population: intended number of clients.

    Raises:
        ValueError: `population` is not a whole number of at least 1, or
            `clients` is not a number above 0 and at most `population`.

    >>> poisson(2, population=4).choose(["a", "b", "c", "d"], 0, 1)
    ('c',)
    """
    checks.whole(1, population=population)
    checks.positive(clients=clients)
    if clients > population:
        raise ValueError(f"clients is {clients:g}; it must be at most the population, {population}")
    rate = clients / population

    def choose(names: Sequence[str], seed: int, round: int) -> tuple[str, ...]:
        # Compare raw words, which numpy keeps stable, with an integer: the rate is exact to 2**-64.
        words = rng.generator(seed, "sample clients", round=round).bit_generator.random_raw(len(names))
        chosen = np.flatnonzero(np.asarray(words, np.uint64) < np.uint64(min(rate * 2.0**64, 2.0**64 - 2048)))
        return tuple(names[i] for i in chosen.tolist()) if rate < 1 else tuple(names)

    name = f"poisson({_written(clients)}, population={population})"
    return Sampling(name, choose, rate, float(clients), population=population)


@checks.arguments
def cyclic(clients: float, population: int) -> Sampling:
    """Each client once in a fixed number of rounds, for deployments that cannot draw at random.

    The clients are assigned to `population // clients` groups, each by its name
    and the seed alone, and the groups take turns. Two rounds of a client are
    therefore at least that many rounds apart, whoever joins or leaves.

    Args:
        clients: minimum for the expected size of a cohort.
        population: intended number of clients.

    Raises:
        ValueError: `population` is not a whole number of at least 1, or
            `clients` is not a number above 0 and at most `population`.

    >>> rule = cyclic(1, population=3)
    >>> [rule.choose(["a", "b", "c", "d"], 0, r) for r in range(1, 5)]
    [(), ('a', 'b', 'c'), ('d',), ()]
    """
    checks.whole(1, population=population)
    checks.positive(clients=clients)
    if clients > population:
        raise ValueError(f"clients is {clients:g}; it must be at most the population, {population}")
    groups = int(population // clients)

    def choose(names: Sequence[str], seed: int, round: int) -> tuple[str, ...]:
        turn = round % groups
        return tuple(n for n in names if rng.integer_seed(seed, "group", client=n) % groups == turn)

    name = f"cyclic({_written(clients)}, population={population})"
    return Sampling(name, choose, expected=population / groups, groups=groups, population=population)


def _written(number: float) -> str:
    """A short text that parses to the same number."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)
