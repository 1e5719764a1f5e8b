"""What clients require before they answer in a masked round: neighbours, thresholds, cohort sizes."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, comb
from typing import Self

from hedgerow import checks

_LEAST_NEIGHBOURS = 40


@dataclass(frozen=True)
class SecAggPlan:
    """Parameters of one secure aggregation.

    Attributes:
        clients: size of the cohort, `n`.
        neighbours: number of clients that each client gives shares to, `k`.
        threshold: number of shares that recover a secret, `t`.
        survivors: number of clients that must remain, and must have signed the
            same list of survivors, before a client reveals a share.
    """

    clients: int
    neighbours: int
    threshold: int
    survivors: int


@dataclass(frozen=True)
class SecureAggregation:
    """Assumptions of secure aggregation, and the parameters that follow from them.

    Attributes:
        corrupt: largest fraction of a cohort that colludes with the server.
        dropout: largest fraction of a cohort that drops out before the end.
        min_clients: smallest cohort in which a client takes part.
        failure_bits: with `b` bits, the probability that any client has too many
            corrupt neighbours is at most `2**-b`, and so is the probability that
            any has too few neighbours left.
        metrics: names of the training metrics that are summed under the mask.
        min_honest: number of honest clients that a sum must include, whoever the
            others are; if clients add noise, theirs makes the sum private.
        measured: names of the metrics that are summed when clients evaluate a model on held-out samples.

    Raises:
        ValueError: an argument is out of range.
    """

    corrupt: float = 0.2
    dropout: float = 0.2
    min_clients: int = 10
    failure_bits: int = 40
    metrics: tuple[str, ...] = ("loss",)
    min_honest: int = 0
    measured: tuple[str, ...] = ("loss", "accuracy", "mae")

    def __post_init__(self) -> None:
        checks.probability(corrupt=self.corrupt, dropout=self.dropout)
        checks.whole(3, min_clients=self.min_clients)
        checks.whole(20, 128, failure_bits=self.failure_bits)
        # A cohort too small for the noise is refused in its own round, not here.
        _plan(self.min_clients, self.corrupt, self.dropout, self.failure_bits, 0)

    def plan(self, clients: int) -> SecAggPlan:
        """The smallest safe parameters for a cohort (Bell et al. 2020, section 3.2 and appendix B).

        At most `C = ceil(corrupt * n)` clients are corrupt and `D = ceil(dropout
        * n)` drop out. A client draws its `k` neighbours at random, so the numbers
        of corrupt and of leaving neighbours have hypergeometric tails. `k` is the
        smallest number (but at least 40, or everybody) for which `t` shares are
        more than the corrupt neighbours hold, and no more than remain. The server
        says who can be drawn: in the worst case all `D` have left by then, and
        none of the corrupt.

        The list of survivors is signed by more than `(n + C) / 2` clients, so
        that no two lists can reach that number; and by `min_honest + C` or more,
        so that at least `min_honest` honest clients are in the sum.

        Raises:
            ValueError: the cohort is too small for these fractions.

        >>> SecureAggregation().plan(100)
        SecAggPlan(clients=100, neighbours=41, threshold=21, survivors=61)
        >>> SecureAggregation().plan(1000)
        SecAggPlan(clients=1000, neighbours=143, threshold=76, survivors=601)
        """
        return _plan(clients, self.corrupt, self.dropout, self.failure_bits, self.min_honest)

    def corrupt_near(self, clients: int, left: int, neighbours: int) -> int:
        """The most corrupt neighbours a client can have if it draws from `left` clients of the cohort.

        >>> secure = SecureAggregation()
        >>> [secure.corrupt_near(1000, left, neighbours=143) for left in (1000, 800, 601)]
        [67, 75, 88]
        """
        drawn = min(neighbours, left - 1)
        return _bound(clients, left, _part(self.corrupt, clients), drawn, self.failure_bits)

    def honest(self, clients: int) -> int:
        """The least number of honest clients that remain at the end.

        >>> SecureAggregation().honest(50)
        30
        """
        return clients - _part(self.corrupt, clients) - _part(self.dropout, clients)

    def under(self, min_honest: int) -> Self:
        """A copy for sums that `min_honest` clients make private; without metrics, which get no noise."""
        return replace(self, min_honest=min_honest, metrics=())


@lru_cache(maxsize=256)
def _plan(clients: int, corrupt: float, dropout: float, failure_bits: int, min_honest: int) -> SecAggPlan:
    bad, leaving = _part(corrupt, clients), _part(dropout, clients)
    if min_honest + bad > clients:
        raise ValueError(
            f"a cohort of {clients}, of which {bad} may be corrupt, lacks the {min_honest} honest clients"
            " whose noise makes a sum private"
        )
    survivors = (clients + bad) // 2 + 1
    for k in range(min(clients - 1, _LEAST_NEIGHBOURS), clients):
        most_bad = _bound(clients, clients - leaving, bad, min(k, clients - leaving - 1), failure_bits)
        most_left = k - _bound(clients, clients, leaving, k, failure_bits)
        if most_bad < most_left and survivors <= clients - leaving:
            # The fraction of neighbours that survive is close to that of the cohort.
            survivors = max(survivors, min_honest + bad)
            threshold = max(most_bad + 1, min(most_left, k * survivors // clients))
            return SecAggPlan(clients, k, threshold, survivors)
    raise ValueError(
        f"a cohort of {clients} cannot tolerate {bad} corrupt clients and {leaving} that drop out;"
        " use a larger cohort, or lower corrupt or dropout"
    )


def _part(fraction: float, clients: int) -> int:
    return ceil(fraction * clients - 1e-9)


@lru_cache(maxsize=256)
def _bound(clients: int, left: int, marked: int, drawn: int, failure_bits: int) -> int:
    """The smallest `b` that the number of marked clients drawn exceeds with probability `2**-bits / n`.

    Each of `n` clients draws `drawn` of the `left - 1` other clients, of which `marked` are marked.
    """
    others = left - 1
    if marked > others:
        return drawn
    allowed, tail = comb(others, drawn), 0
    for found in range(min(marked, drawn), 0, -1):
        tail += comb(marked, found) * comb(others - marked, drawn - found)
        if tail * clients << failure_bits > allowed:
            return found
    return 0
