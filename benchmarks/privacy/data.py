"""The data of the privacy benchmark: dealt to clients, and split for the search of hyperparameters."""

import numpy as np

from hedgerow.datasets import Dataset, Federation, iid, load_dataset
from hedgerow.types import Samples

CLIENTS = 1000
"""Of the search."""


def federation(name: str, clients: int, seed: int) -> Federation:
    """The embedded data set, dealt to so many clients by the seed."""
    return load_dataset(name).split(iid(clients), seed)


def delta(clients: int) -> float:
    """A little below 1 / clients."""
    return clients**-1.1


def searched(name: str, seed: int) -> tuple[Federation, Samples]:
    """Five sixths of the training samples dealt to the clients, and the last sixth to choose by.

    Of the watch data, the end of each person's series of each exercise is held
    out, and the window before it is left out, which shares instants with it.
    """
    data = load_dataset(name)
    held, kept = np.zeros(len(data.train), bool), np.ones(len(data.train), bool)
    if data.natural is None:
        held[::6] = True
    else:
        series = data.natural * data.num_classes + data.train.y
        ends = np.flatnonzero(np.diff(series, append=-1)) + 1
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            first = end - (end - start) // 6
            held[first:end], kept[first - 1] = True, False
    kept &= ~held
    part = Dataset(data.name, data.train.take(np.flatnonzero(kept)), data.test, data.classes)
    return part.split(iid(CLIENTS), seed), data.train.take(np.flatnonzero(held))


def arrays(federation: Federation) -> list[tuple[np.ndarray, np.ndarray]]:
    """What the reference takes: `(x, y)` of each client, `x` flat and float64."""
    return [flat(federation.samples(name)) for name in federation.names]


def flat(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Samples as `(n, values) float64` and `(n,) int64`."""
    return samples.x.reshape(len(samples), -1).astype(np.float64), samples.y
