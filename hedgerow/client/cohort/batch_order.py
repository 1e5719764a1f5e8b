"""The order in which the clients of a batch go through their samples."""

import numpy as np
from numpy.typing import NDArray

from hedgerow.types import LocalTraining


class Orders:
    """The samples of each step of each slot: a permutation for each epoch, as in `TorchTrainer`.

    Args:
        slots: clients at once.
        rows: of every batch.
        most: the largest number of samples of a client.
        local: how they are trained.
        spare: position used to pad a batch with fewer samples; `None` pads it
            with one of the client's own samples.
    """

    def __init__(self, slots: int, rows: int, most: int, local: LocalTraining, spare: int | None) -> None:
        self._rows, self._batch_size, self._spare = rows, local.batch_size, spare
        steps = -(-most // (local.batch_size or most))
        self._index = np.full((slots, steps, rows), 0 if spare is None else spare)
        self._slots = np.arange(slots)
        # For each slot: the next step of its epoch, the steps of an epoch, the samples, and all steps left.
        self._at, self._steps, self._samples, self._left = np.zeros((4, slots), np.int64)
        self._size = np.ones(slots, np.int64)
        self._shuffles: list[np.random.Generator | None] = [None] * slots

    def begin(self, slot: int, samples: int, steps: int, shuffle: np.random.Generator) -> None:
        """Assign a slot to a client, which takes `steps` steps."""
        size = self._batch_size or samples
        self._samples[slot], self._size[slot], self._steps[slot] = samples, size, -(-samples // size)
        self._left[slot], self._shuffles[slot] = steps, shuffle
        self._next_epoch(slot)

    def _next_epoch(self, slot: int) -> None:
        samples, shuffle = int(self._samples[slot]), self._shuffles[slot]
        assert shuffle is not None
        order = shuffle.permutation(samples)
        # Pad the last batch; if a batch has fewer samples than rows, it is the only one.
        flat = self._index[slot].reshape(-1)
        end = int(self._steps[slot]) * self._rows
        flat[:samples] = order
        if end > samples:
            flat[samples:end] = order[end - self._rows] if self._spare is None else self._spare
        self._at[slot] = 0

    def next(self, clients: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions in each client's data, `(width, rows)`, and how many of them are samples, `(width,)`.

        Args:
            clients: number of slots with a client.
            width: number of all slots.
        """
        at, size = self._at[:width], self._size[:width]
        counts = np.minimum(size, self._samples[:width] - at * size)
        index = self._index[self._slots[:width], at]
        self._at[:clients] += 1
        self._left[:clients] -= 1
        for slot in np.flatnonzero((self._at == self._steps) & (self._left > 0)).tolist():
            self._next_epoch(slot)
        return index, counts

    def until_done(self, clients: int) -> int:
        """The number of steps until the first of these clients has finished."""
        return int(self._left[:clients].min())

    def done(self, clients: int) -> list[int]:
        """Those of these clients' slots whose client has taken all its steps, in order."""
        found: list[int] = np.flatnonzero(self._left[:clients] == 0).tolist()
        return found

    def move(self, source: int, target: int) -> None:
        """Move the client of one slot to another."""
        self._index[target] = self._index[source]
        for state in (self._at, self._steps, self._samples, self._left, self._size):
            state[target] = state[source]
        self._shuffles[target] = self._shuffles[source]

    def clear(self, slot: int) -> None:
        """Make a slot belong to no client."""
        self._samples[slot] = self._at[slot] = self._left[slot] = 0
        self._index[slot] = 0 if self._spare is None else self._spare
