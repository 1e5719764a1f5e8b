"""Which clients train side by side.

All clients of a group take batches of the same number of rows. A batch with
fewer samples is padded, and the padding has no weight in the loss.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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


def groups(
    clients: Sequence[tuple[str, Samples]],
    local_of: Callable[[str], LocalTraining],
    first: FirstLayer | None = None,
    wide: Sequence[WideLayer] = (),
) -> list[ClientGroup]:
    """Group clients with samples of the same form and batches of the same size.

    The rows of a client's batches depend only on its own data, because its results
    must not depend on the other clients.

    Args:
        clients: with their data.
        local_of: how a client trains, by name; clients may differ only in their number of steps.
        first: the model's first layer, if it can be trained without weights.
        wide: its wide layers.
    """
    alike: dict[Any, list[tuple[str, Samples]]] = {}
    for name, data in clients:
        x, y = data.x, data.y
        steps = local_of(name).steps(len(y))
        alike.setdefault((steps, len(y), x.shape[1:], x.dtype, y.shape[1:], y.dtype), []).append((name, data))
    found: dict[Any, list[tuple[str, Samples]]] = {}
    for (_, n, *form), some in sorted(alike.items(), key=lambda item: -item[0][0]):
        local = local_of(some[0][0])
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
