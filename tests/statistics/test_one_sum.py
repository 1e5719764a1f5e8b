"""No choice of who is called dead splits the honest survivors: what comes out is the sum of all of them.

A server that lies decides who is dead, after it has seen who is whose
neighbour. Were the honest survivors to fall apart into S and R without an edge
between them, and could the masks of both be taken off, it would learn two sums.
The chance of any such split, for any choice of the dead, is bounded by a union
over all of them: each honest client draws its neighbours by itself, at random.
"""

from math import inf, lgamma, log

import pytest

from hedgerow.ring.secagg import SecureAggregation


def choose(n: int, k: int) -> float:
    """log2 of the binomial coefficient."""
    return -inf if k < 0 or k > n else (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(2)


def added(logs: list[float]) -> float:
    """log2 of the sum of powers of two."""
    most = max(logs, default=-inf)
    return most if most == -inf else most + log(sum(2 ** (x - most) for x in logs)) / log(2)


def inside(population: int, near: int, allowed: int, drawn: int, least: int) -> float:
    """log2 of the chance that of those drawn `least` or more are near, and all others allowed."""
    ways = [choose(near, j) + choose(allowed, drawn - j) for j in range(least, min(near, drawn) + 1)]
    return added(ways) - choose(population, drawn)


def split(clients: int, corrupt: float, dropout: float, absent: int = 0) -> float:
    """log2 of a bound on the chance that the honest survivors can be split.

    So many honest clients are said to be absent before the others draw their neighbours.
    """
    plan = SecureAggregation(corrupt, dropout).plan(clients)
    t, bad, left = plan.threshold, -int(-(corrupt * clients - 1e-9) // 1), clients - absent
    honest, others, k = left - bad, left - 1, min(plan.neighbours, left - 1)
    bounds = []
    for small in range(1, honest // 2 + 1):
        near = small - 1 + bad
        # Each in the small part has the shares of its own mask among its part and the corrupt.
        alone = choose(honest, small) + small * min(0.0, inside(others, near, others - near, k, t))
        apart = -inf
        most = min(left - plan.survivors, honest - 2 * small)
        for dead in range(most + 1):
            large = honest - small - dead
            chances = small * inside(others, near, dead, k, t) + large * inside(
                others, large - 1 + bad, dead, k, t
            )
            apart = max(apart, choose(honest, small) + choose(honest - small, large) + chances)
        bounds.append(min(alone, apart))
    return added(bounds)


@pytest.mark.parametrize("clients", [42, 60, 100])
@pytest.mark.parametrize(("corrupt", "dropout"), [(0.2, 0.2), (0.1, 0.3), (0.3, 0.1)])
def test_the_honest_survivors_stay_in_one_piece(clients: int, corrupt: float, dropout: float) -> None:
    assert split(clients, corrupt, dropout) <= -40
    assert split(clients, corrupt, dropout, absent=int(dropout * clients)) <= -40


@pytest.mark.parametrize("clients", [150, 250])
def test_in_larger_cohorts_too(clients: int) -> None:
    assert split(clients, 0.2, 0.2) <= -40


def test_the_bound_is_not_empty(monkeypatch) -> None:
    """With a third of the neighbours, as a server that only looks would allow, there is no such promise."""
    plan = SecureAggregation().plan(100)
    fewer = type(plan)(100, 14, 7, plan.survivors)
    monkeypatch.setattr(SecureAggregation, "plan", lambda self, clients: fewer)
    assert split(100, 0.2, 0.2) > -40
