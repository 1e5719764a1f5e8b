"""How long a round would take, from the time of a step and the steps of its clients."""

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

UNLIMITED = 2**31
"""More steps than any client takes."""


def batch_seconds(steps: Sequence[int], batch_clients: int, step_seconds: Mapping[int, float]) -> float:
    """Seconds to train clients side by side, as `Batch` does: the longest first, and no slot idle.

    Args:
        steps: number of steps of each client.
        batch_clients: number of slots.
        step_seconds: seconds of one step, by the number of clients that take it together.

    >>> batch_seconds([5, 5, 5, 5], 2, {2: 1.0, 4: 1.5})
    10.0
    >>> batch_seconds([10, 1], 2, {2: 1.0, 4: 1.5})
    10.0
    """
    ends: list[int] = []
    for count in sorted(steps, reverse=True):
        start = heapq.heappop(ends) if len(ends) == batch_clients else 0
        heapq.heappush(ends, start + count)
    total, now = 0.0, 0
    for done, end in enumerate(sorted(ends)):
        # The last client's batch still has two slots.
        total += (end - now) * _interpolated(max(2, len(ends) - done), step_seconds)
        now = end
    return total


def round_seconds(steps: Sequence[int], batch_clients: int, step_seconds: Mapping[int, float]) -> float:
    """Seconds to train a round's clients, of whom about `batch_clients` at a time are handed to a worker.

    A part with one long client ends with that client alone: a slot is filled again only from the same part.

    >>> round_seconds([5, 5, 5, 5], 2, {2: 1.0, 4: 1.5}), round_seconds([9, 1, 9, 1], 2, {2: 1.0, 4: 1.5})
    (10.0, 18.0)
    """
    parts = -(-len(steps) // batch_clients)
    ends = [len(steps) * part // parts for part in range(parts + 1)]
    return sum(
        batch_seconds(steps[first:last], batch_clients, step_seconds) for first, last in pairwise(ends)
    )


def best_plan(
    steps: Sequence[int], alone: float, client_step_seconds: Mapping[int, float]
) -> tuple[int, int, float]:
    """The best batch size, the most steps for a client in a batch, and the time relative to the loop's.

    Args:
        steps: number of steps of each client of a round, in their order.
        alone: seconds of a step in the loop.
        client_step_seconds: seconds of one client's step, by the number of clients in the batch.

    Clients with more steps than the others can end up alone in a batch, where
    a step takes longer than in the loop.

    >>> best_plan([5] * 100, 1.0, {4: 0.8, 10: 0.5}) == (10, UNLIMITED, 0.5)
    True
    >>> best_plan([5] * 100 + [500], 1.0, {4: 0.8, 10: 0.5})
    (10, 5, 0.75)
    """
    together = {n: n * each for n, each in client_step_seconds.items()}
    plans = []
    for limit in sorted({int(np.quantile(steps, q, method="lower")) for q in (0.5, 0.8, 0.9, 0.95, 0.99, 1)}):
        short = [s for s in steps if s <= limit]
        rest = alone * (sum(steps) - sum(short))
        plans += [(rest + round_seconds(short, n, together), limit, n) for n in together]
    seconds, limit, batch_clients = min(plans)
    most_steps = limit if limit < max(steps) else UNLIMITED
    return batch_clients, most_steps, seconds / (alone * sum(steps))


def _interpolated(clients: int, seconds: Mapping[int, float]) -> float:
    """Interpolate between the measured numbers of clients; extrapolate from the first two for fewer."""
    known = sorted(seconds)
    first = known[0]
    slope = (seconds[known[1]] - seconds[first]) / (known[1] - first) if len(known) > 1 else 0.0
    if clients < first:
        return max(seconds[first] - (first - clients) * slope, seconds[first] * clients / first)
    return float(np.interp(clients, known, [seconds[n] for n in known]))
