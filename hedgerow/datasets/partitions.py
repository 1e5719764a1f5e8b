"""Ways to split the training samples of a data set among clients.

Every partition gives each training sample to exactly one client; `natural` with a
limit leaves out the clients beyond it, and their samples. All draws are integers,
so that no floating-point rounding can make two machines disagree.
"""

import heapq

import numpy as np

from hedgerow import checks
from hedgerow.datasets.dataset import Dataset, Indices, Partition, Split
from hedgerow.registry import Registry
from hedgerow.rng import generator
from hedgerow.types import ClientNames

PARTITIONS = Registry(
    "partition",
    "hedgerow.partitions",
    {
        "iid": "hedgerow.datasets.partitions:iid",
        "dirichlet": "hedgerow.datasets.partitions:dirichlet",
        "shards": "hedgerow.datasets.partitions:shards",
        "quantity-skew": "hedgerow.datasets.partitions:quantity_skew",
        "natural": "hedgerow.datasets.partitions:natural",
    },
)

# Concentrations are in millionths, so that an urn holds whole balls.
_BALL = 1_000_000


@checks.arguments
def iid(clients: int) -> Partition:
    """Every client gets a random part of the same size.

    Sizes differ by at most one.

    Raises:
        ValueError: there are fewer samples than clients.
    """
    checks.whole(1, clients=clients)

    def split(dataset: Dataset, seed: int) -> Split:
        _check_enough(dataset, clients, 1)
        order = generator(seed, "partition iid").permutation(np.arange(len(dataset.train), dtype=np.int64))
        return client_names(clients), tuple(np.array_split(order, clients))

    return Partition("iid", f"IID, {clients} clients", split)


@checks.arguments
def dirichlet(clients: int, alpha: float, min_samples: int = 1) -> Partition:
    """Each class is split in proportions drawn from a Dirichlet distribution.

    In regression, a tenth of the targets (`Dataset.strata`) takes the place of
    a class. For each class, proportions over the clients are drawn from a symmetric
    Dirichlet of concentration `alpha`, and each sample of the class goes to a
    client with these probabilities: the per-class variant (arXiv:1905.12022,
    section 4; arXiv:2102.02079, section 3). The variant of arXiv:1909.06335
    instead draws the class mix of each client and keeps clients equal in size.

    Proportions and samples are drawn together from a Polya urn, which gives
    exactly this distribution in whole numbers (Blackwell and MacQueen 1973,
    doi:10.1214/aos/1176342372).

    Args:
        clients: number of clients.
        alpha: concentration, from 0.000001 to 1,000,000; rounded to
            millionths. Small: few classes for each client. Large: close to IID.
        min_samples: a client with fewer gets random samples, each from the client
            that is largest at that moment.

    Raises:
        ValueError: there are fewer than `clients * min_samples` samples.
    """
    checks.whole(1, clients=clients)
    checks.whole(1, min_samples=min_samples)
    balls = _balls(alpha)

    def split(dataset: Dataset, seed: int) -> Split:
        _check_enough(dataset, clients, min_samples)
        random = generator(seed, "partition dirichlet")
        owner = np.empty(len(dataset.train), np.int64)
        names, stratum = dataset.strata()
        for label in range(len(names)):
            members = np.flatnonzero(stratum == label)
            owner[members] = _urn(len(members), clients, balls, random)
        return client_names(clients), _fill_up(owner, clients, min_samples, random)

    return Partition("dirichlet", f"Dirichlet({alpha:g}), {clients} clients", split)


@checks.arguments
def shards(clients: int, shards_per_client: int = 2) -> Partition:
    """Samples are sorted by class and cut into shards; each client gets a few.

    With two shards for each client, most clients hold two classes (arXiv:1602.05629,
    section 3). Shards differ in size by at most one sample.

    Raises:
        ValueError: there are fewer samples than shards.
    """
    checks.whole(1, clients=clients)
    checks.whole(1, shards_per_client=shards_per_client)

    def split(dataset: Dataset, seed: int) -> Split:
        _check_enough(dataset, clients, shards_per_client)
        by_class = np.argsort(dataset.single_targets(), kind="stable").astype(np.int64)
        pieces = np.array_split(by_class, clients * shards_per_client)
        deal = generator(seed, "partition shards").permutation(np.arange(len(pieces), dtype=np.int64))
        hands = deal.reshape(clients, shards_per_client)
        return client_names(clients), tuple(np.concatenate([pieces[i] for i in hand]) for hand in hands)

    return Partition("shards", f"{shards_per_client} shards for each of {clients} clients", split)


@checks.arguments
def quantity_skew(clients: int, alpha: float, min_samples: int = 1) -> Partition:
    """Clients differ in size, not in their mix of classes.

    The fractions of the clients are drawn from a symmetric Dirichlet of
    concentration `alpha`, and each sample goes to a client with these
    probabilities (arXiv:2102.02079, section 3).

    Args:
        clients: number of clients.
        alpha: concentration, from 0.000001 to 1,000,000. Small: a few clients
            hold nearly everything.
        min_samples: as in `dirichlet`.

    Raises:
        ValueError: there are fewer than `clients * min_samples` samples.
    """
    checks.whole(1, clients=clients)
    checks.whole(1, min_samples=min_samples)
    balls = _balls(alpha)

    def split(dataset: Dataset, seed: int) -> Split:
        _check_enough(dataset, clients, min_samples)
        random = generator(seed, "partition quantity skew")
        owner = _urn(len(dataset.train), clients, balls, random)
        return client_names(clients), _fill_up(owner, clients, min_samples, random)

    return Partition("quantity-skew", f"quantity skew({alpha:g}), {clients} clients", split)


@checks.arguments
def natural(clients: int | None = None, min_samples: int = 1) -> Partition:
    """Each sample stays with its owner: a person, a hospital, a speaking role.

    Args:
        clients: keep this many, those with the most samples (in a tie, the one named
            first in `dataset.clients`); None keeps all.
        min_samples: clients with fewer are left out.

    Nothing is drawn, so the seed has no effect. All samples of the clients that are
    kept are used; the samples of the others are not.

    Raises:
        ValueError: the data set has no natural clients, or too few.
    """
    if clients is not None:
        checks.whole(1, clients=clients)
    checks.whole(1, min_samples=min_samples)

    def split(dataset: Dataset, seed: int) -> Split:
        if dataset.natural is None:
            raise ValueError(
                f"data set {dataset.name!r} has no natural clients; choose another partition, such as iid"
            )
        sizes = np.bincount(dataset.natural, minlength=len(dataset.clients))
        large = np.flatnonzero(sizes >= min_samples)
        wanted = len(large) if clients is None else clients
        if not len(large):
            raise ValueError(
                f"min_samples is {min_samples}; the largest natural client of {dataset.name!r} has"
                f" {sizes.max()}"
            )
        if wanted > len(large):
            raise ValueError(
                f"clients is {clients}; {dataset.name!r} has {len(large)} natural clients with at least"
                f" {min_samples} samples, so it must be from 1 to {len(large)}"
            )
        kept = np.sort(large[np.argsort(-sizes[large], kind="stable")][:wanted])
        order = np.argsort(dataset.natural, kind="stable").astype(np.int64)
        ends = np.cumsum(sizes)
        return (
            tuple(dataset.clients[k] for k in kept),
            tuple(order[ends[k] - sizes[k] : ends[k]] for k in kept),
        )

    label = "natural clients" if clients is None else f"the {clients} largest natural clients"
    return Partition("natural", label, split)


def client_names(clients: int) -> tuple[str, ...]:
    """Names for clients that have none.

    >>> client_names(2)
    ('client-0000', 'client-0001')
    """
    return tuple(ClientNames(clients))


def _balls(alpha: float) -> int:
    checks.positive(alpha=alpha)
    if not 1 / _BALL <= alpha <= _BALL:
        raise ValueError(f"alpha is {alpha!r}; it must be from {1 / _BALL:f} to {_BALL:,}")
    return round(alpha * _BALL)


def _urn(draws: int, clients: int, balls: int, random: np.random.Generator) -> Indices:
    """Owners of `draws` samples, from a Polya urn that starts with `balls` for each client.

    Each draw adds `_BALL` balls of the drawn colour, which is the same as copying
    the owner of a uniformly chosen earlier draw.
    """
    start = clients * balls
    drawn = random.integers(0, start + _BALL * np.arange(draws, dtype=np.int64), dtype=np.int64)
    owner: list[int] = []
    for ball in drawn.tolist():
        owner.append(ball // balls if ball < start else owner[(ball - start) // _BALL])
    return np.array(owner, np.int64)


def _fill_up(owner: Indices, clients: int, least: int, random: np.random.Generator) -> tuple[Indices, ...]:
    hands = [np.flatnonzero(owner == k).tolist() for k in range(clients)]
    richest = [(-len(hand), k) for k, hand in enumerate(hands)]
    heapq.heapify(richest)
    for hand in [h for h in hands if len(h) < least]:
        while len(hand) < least:
            _, donor = heapq.heappop(richest)
            given = hands[donor]
            hand.append(given.pop(int(random.integers(len(given)))))
            heapq.heappush(richest, (-len(given), donor))
    return tuple(np.array(hand, np.int64) for hand in hands)


def _check_enough(dataset: Dataset, clients: int, least: int) -> None:
    if len(dataset.train) < clients * least:
        raise ValueError(
            f"{clients} clients with at least {least} samples each need {clients * least} samples;"
            f" {dataset.name!r} has {len(dataset.train)}. Ask for fewer clients or fewer samples each"
        )
