"""Training samples that the server has itself, such as public ones, and the rest for clients."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hedgerow import checks
from hedgerow.datasets.dataset import Dataset
from hedgerow.rng import generator
from hedgerow.types import Samples


def server_part(
    dataset: Dataset, share: float, classes: Sequence[int] | None = None, seed: int = 0
) -> tuple[Samples, Dataset]:
    """Draw the server's training samples; no client gets one of them.

    Args:
        dataset: where they come from; its test samples are unchanged.
        share: fraction of the training samples in these classes, above 0 and at most 1.
        classes: known to the server; `None` for all.
        seed: same seed, same samples.

    Returns:
        The server's samples, and the data set without them.

    Raises:
        ValueError: there is no such class, or nothing is left for one of the two.

    >>> from hedgerow.datasets import load_dataset
    >>> own, rest = server_part(load_dataset("heart-disease"), share=0.25, classes=[1])
    >>> set(own.y.tolist()), len(own) + len(rest.train) == len(load_dataset("heart-disease").train)
    ({1}, True)
    """
    checks.fraction(share=share)
    for label in () if classes is None else classes:
        if label not in range(dataset.num_classes):
            raise ValueError(
                f"classes has {label!r}; each must be a whole number from 0 to {dataset.num_classes - 1},"
                f" a class of {dataset.name!r}"
            )
    labels = dataset.train.y
    usable = np.flatnonzero(np.isin(labels, classes if classes is not None else np.unique(labels)))
    count = round(share * len(usable))
    if not 0 < count < len(labels):
        raise ValueError(
            f"share is {share}, {count} of {len(labels)} training samples of {dataset.name!r};"
            " the server and the clients each need at least one"
        )
    drawn = generator(seed, "samples of the server").permutation(usable)[:count]
    mine = np.zeros(len(labels), bool)
    mine[drawn] = True
    own, rest = (dataset.train.take(np.flatnonzero(part)) for part in (mine, ~mine))
    natural = None if dataset.natural is None else dataset.natural[~mine]
    return own, replace(dataset, train=rest, natural=natural)
