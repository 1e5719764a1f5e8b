"""The data of the privacy benchmark: made smaller, dealt to clients, and split for the search of settings."""

from dataclasses import replace

import numpy as np

from hedgerow.datasets import Dataset, Federation, iid, load_dataset
from hedgerow.types import Samples

CLIENTS = 1000
DELTA = CLIENTS**-1.1
"""A little below 1 / clients."""


def federation(name: str, pool: int, seed: int) -> Federation:
    """The embedded data set, dealt to the clients by the seed."""
    return pooled(load_dataset(name), pool).split(iid(CLIENTS), seed)


def pooled(data: Dataset, pool: int) -> Dataset:
    """Means of `pool` neighbours in place of what was measured: in squares of a picture, along a series.

    A client-level noise of one size falls on fewer values.
    """

    def smaller(samples: Samples) -> Samples:
        n, channels, *axes = samples.x.shape
        split = [part for axis in axes for part in (axis // pool, pool)]
        means = samples.x.reshape(n, channels, *split).mean(tuple(range(3, 3 + 2 * len(axes), 2)))
        return replace(samples, x=means.astype(np.float32))

    return replace(data, train=smaller(data.train), test=smaller(data.test)) if pool > 1 else data


def searched(name: str, pool: int, seed: int) -> tuple[Federation, Samples]:
    """Five sixths of the training samples dealt to the clients, and the last sixth to choose by.

    Of the watch data, the end of each person's series of each exercise is held
    out, and the window before it is left out, which shares instants with it.
    """
    data = pooled(load_dataset(name), pool)
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
