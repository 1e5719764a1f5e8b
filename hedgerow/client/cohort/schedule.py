"""Which clients train side by side.

All clients of a group take batches of the same number of rows. A batch with
fewer samples is padded, and the padding has no weight in the loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from hedgerow.client.cohort.low_rank.first_layer import FirstLayer, plain
from hedgerow.client.cohort.low_rank.wide_layer import WideLayer
from hedgerow.types import LocalTraining, Samples


@dataclass(frozen=True)
class ClientGroup:
    """Clients that can train side by side.

    Attributes:
        rows: in every batch.
        first_rows: of each client's Gram matrix, if the first layer is trained without weights; else 0.
        wide: each wide layer trained without weights, and the vectors that it keeps for each client.
        clients: with their data; those with the most steps first, so that few
            are left alone at the end.
    """

    rows: int
    first_rows: int
    wide: tuple[tuple[WideLayer, int], ...]
    clients: tuple[tuple[str, Samples], ...]


@final
class Limits:
    """How each client of a round trains, where some may take fewer steps than others.

    Args:
        local: how to train.
        max_steps: most steps of some clients, by name, where these are fewer than those of `local`.
    """

    def __init__(self, local: LocalTraining, max_steps: Mapping[str, int] | None = None) -> None:
        self._most = max_steps or {}
        self._locals = {most: local.at_most(most) for most in {0, *self._most.values()}}

    def local(self, client: str) -> LocalTraining:
        """How a client trains."""
        return self._locals[self._most.get(client, 0)]

    def steps(self, clients: Sequence[tuple[str, Samples]]) -> dict[str, int]:
        """The number of steps of each client, by name; computed once for all that are alike.

        >>> import numpy as np
        >>> clients = [(name, Samples(np.zeros((25, 1)), np.zeros(25))) for name in ("a", "b")]
        >>> Limits(LocalTraining(batch_size=10), {"b": 2}).steps(clients)
        {'a': 3, 'b': 2}
        """
        forms = {name: (self._most.get(name, 0), len(data.y)) for name, data in clients}
        known = {(most, samples): self._locals[most].steps(samples) for most, samples in set(forms.values())}
        return {name: known[form] for name, form in forms.items()}


def groups(
    clients: Sequence[tuple[str, Samples]],
    limits: Limits,
    steps: Mapping[str, int],
    first: FirstLayer | None = None,
    wide: Sequence[WideLayer] = (),
) -> list[ClientGroup]:
    """Group clients with samples of the same form and batches of the same size.

    The rows of a client's batches depend only on its own data, because its results
    must not depend on the other clients.

    Args:
        clients: with their data.
        limits: how each trains; clients may differ only in their number of steps.
        steps: of each client, from `limits`.
        first: the model's first layer, if it can be trained without weights.
        wide: its wide layers.
    """
    alike: dict[Any, list[tuple[str, Samples]]] = {}
    for name, data in clients:
        x, y = data.x, data.y
        form = steps[name], len(y), x.shape[1:], x.dtype, y.shape[1:], y.dtype
        alike.setdefault(form, []).append((name, data))
    found: dict[Any, list[tuple[str, Samples]]] = {}
    for (_, n, *form), some in sorted(alike.items(), key=lambda item: -item[0][0]):
        local = limits.local(some[0][0])
        thin, wide_ones = (first, wide) if plain(local) else (None, ())
        rows, first_rows = batch_rows(n, local.batch_size), thin.rows(some[0][1], local) if thin else 0
        others = [w for w in wide_ones if not (thin and first_rows and w.weight == thin.weight)]
        kept = tuple((w, size) for w in others if (size := w.kept(n, rows, local)))
        found.setdefault((rows, first_rows, kept, *form), []).extend(some)
    return [ClientGroup(rows, one, wide, tuple(some)) for (rows, one, wide, *_), some in found.items()]


def batch_rows(samples: int, batch_size: int) -> int:
    """Rows of a client's batches: the batch size, or a little more than its samples if they are fewer.

    The sizes of small clients are rounded up to one of four in each octave, so that
    many sizes make few groups and at most a quarter of a batch is padding.

    >>> [batch_rows(n, 10) for n in (1, 7, 9, 10, 500)]
    [1, 7, 10, 10, 10]
    >>> [batch_rows(n, 0) for n in (9, 100, 129)]
    [10, 112, 160]
    """
    if 0 < batch_size <= samples:
        return batch_size
    unit = 1 << max(0, (samples - 1).bit_length() - 3)
    rounded = -(-samples // unit) * unit
    return min(rounded, batch_size) if batch_size else rounded
