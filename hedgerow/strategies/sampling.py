"""Which clients are asked in a round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hedgerow import checks, rng


@dataclass(frozen=True)
class Sampling:
    """A rule that chooses a cohort.

    Attributes:
        name: as written in a configuration.
        choose: `(sorted client names, seed, round) -> sorted cohort`.
    """

    name: str
    choose: Callable[[Sequence[str], int, int], tuple[str, ...]]


def uniform(clients: int | None = None, *, fraction: float | None = None) -> Sampling:
    """Uniformly at random, without replacement.

    Args:
        clients: how many are asked in a round; all, where fewer are there.
        fraction: or the share of those there, `C` in the FedAvg paper,
            rounded to the nearest whole number, at least 1.

    >>> uniform(2).choose(["a", "b", "c"], 0, 1)
    ('b', 'c')
    """
    if (clients is None) == (fraction is None):
        raise ValueError(
            "give either clients=... (a number) or fraction=... (a share of those there), not both"
        )
    if clients is not None:
        checks.whole(1, clients=clients)
    if fraction is not None:
        checks.fraction(fraction=fraction)

    def choose(names: Sequence[str], seed: int, round: int) -> tuple[str, ...]:
        wanted = clients if clients is not None else max(1, int((fraction or 0) * len(names) + 0.5))
        wanted = min(wanted, len(names))
        # Positions are drawn, not node ids: Flower's ids are random in every run.
        positions = rng.generator(seed, "sample clients", round=round).choice(
            len(names), wanted, replace=False
        )
        return tuple(names[i] for i in sorted(positions.tolist()))

    return Sampling(f"uniform({clients})" if clients else f"uniform(fraction={fraction})", choose)
