"""An attack that trains on wrong labels."""

from functools import partial

import numpy as np

from hedgerow import checks
from hedgerow.simulation.attacks.base import Attack
from hedgerow.types import Samples


def label_flip(num_classes: int = 2) -> Attack:
    """Class `c` is labelled `num_classes - 1 - c` (Fang et al. 2020, arXiv:1911.11815, section 5.1).

    Args:
        num_classes: of the data; a recipe fills it in.

    Labels below 0, which the loss ignores, are unchanged.

    Raises:
        ValueError: `num_classes` is below 2; with data, the labels are not classes.

    >>> samples = Samples(np.zeros((3, 1), np.float32), np.array([0, 1, 9]))
    >>> label_flip(10).samples(samples).y.tolist()
    [9, 8, 0]
    """
    checks.whole(2, num_classes=num_classes)
    return Attack("label_flip()", samples=partial(flipped, num_classes))


def flipped(num_classes: int, samples: Samples) -> Samples:
    """The samples with wrong labels."""
    if not np.issubdtype(samples.y.dtype, np.integer):
        raise ValueError(
            f"labels are {samples.y.dtype}, not classes that can be flipped; use another attack, such as"
            " sign_flip"
        )
    return Samples(samples.x, np.where(samples.y < 0, samples.y, num_classes - 1 - samples.y))
