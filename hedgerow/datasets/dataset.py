"""A data set: training samples, test samples, and what they are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hedgerow import generators
from hedgerow.datasets.federation import Federation
from hedgerow.rng import integer_seed
from hedgerow.types import Samples

if TYPE_CHECKING:
    from hedgerow.datasets.partitions import Partition


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples for training and for testing, and where they come from.

    Attributes:
        name: of the data set.
        train: `x` is `(n, channels, height, width) float32` in [0, 1] for
            images, `(n, channels, time) float32` for series, `(n, 80) int64`
            for text and `(n, features) float32` for tables; `y` is
            `(n,) int64`, the class of each sample, or `(n,) float32`, the
            number to predict.
        test: the same, never used for training.
        classes: name of each class; class `c` is `classes[c]`. None in regression.
        natural: `(n,) int64`, for each training sample its place in
            `clients`; None where samples have no owner.
        clients: stable names of the natural clients.
        source: where the data come from.
        licence: under which they may be used.
        note: what was done to them.
    """

    name: str
    train: Samples
    test: Samples
    classes: tuple[str, ...]
    natural: NDArray[np.int64] | None = None
    clients: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not len(self.train):
            raise ValueError(f"data set {self.name!r} has no training sample; it needs at least one")
        if self.train.x.shape[1:] != self.test.x.shape[1:]:
            raise ValueError(
                f"a training sample of {self.name!r} has the shape {self.train.x.shape[1:]} and a test sample"
                f" {self.test.x.shape[1:]}; they must be equal"
            )
        for part, samples in (("training", self.train), ("test", self.test)):
            if self.classes:
                _check_range(f"a {part} label of {self.name!r}", samples.y, len(self.classes))
            elif samples.y.dtype != np.float32:
                raise ValueError(
                    f"{self.name!r} has no classes, and its {part} targets are {samples.y.dtype}; numbers to"
                    " predict must be float32, and whole numbers of classes need `classes`"
                )
        if self.natural is not None:
            if len(self.natural) != len(self.train):
                raise ValueError(
                    f"{self.name!r} names the natural client of {len(self.natural)} training samples and has"
                    f" {len(self.train)}; every one needs a client"
                )
            _check_range(f"a natural client of {self.name!r}", self.natural, len(self.clients))

    @property
    def task(self) -> str:
        """`"classification"`, or `"regression"` where there are no classes but numbers to predict."""
        return "classification" if self.classes else "regression"

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 in regression."""
        return len(self.classes)

    @property
    def num_outputs(self) -> int:
        """Values that a model gives for a sample: a score for each class, or the one number."""
        return len(self.classes) or 1

    def strata(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Groups of like training samples: their names, and each sample's place among them.

        They are the classes; in regression, tenths of the targets, as far as
        these differ, each named by its smallest and largest.
        """
        y = self.train.y
        if self.classes:
            return self.classes, y
        bounds = np.unique(np.quantile(y, np.linspace(0, 1, 11)[1:-1], method="inverted_cdf"))
        tenths, place = np.unique(np.searchsorted(bounds, y), return_inverse=True)
        members = [y[place == k] for k in range(len(tenths))]
        return tuple(f"{m.min():g} to {m.max():g}" for m in members), place.astype(np.int64)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one `x`, such as `(1, 28, 28)`."""
        return tuple(self.train.x.shape[1:])

    def split(self, partition: "Partition", seed: int = 0) -> Federation:
        """Deal the training samples to clients.

        Args:
            partition: how, such as `dirichlet(50, alpha=0.3)`.
            seed: same seed, same data set and same partition give the same
                clients on any machine.

        Raises:
            ValueError: the data set cannot be dealt that way, for instance
                because there are fewer samples than clients.
        """
        with generators.seeded(integer_seed(seed, "partition")):
            names, indices = partition.split(self, seed)
        return Federation(self, names, tuple(np.sort(i).astype(np.int64) for i in indices))


def _check_range(what: str, values: NDArray[np.int64], count: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= count):
        bad = int(values.min() if values.min() < 0 else values.max())
        raise ValueError(f"{what} is {bad}; it must be a whole number from 0 to {count - 1}")
