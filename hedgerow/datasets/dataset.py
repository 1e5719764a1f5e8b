"""A data set, a partition, and the result of a split: a data set held by clients."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks, generators
from hedgerow.datasets.held_out import hold_out_of
from hedgerow.datasets.positions import check_range, places
from hedgerow.rng import integer_seed
from hedgerow.types import Samples
from hedgerow.wording import did_you_mean

Indices: TypeAlias = NDArray[np.int64]
Split: TypeAlias = tuple[tuple[str, ...], tuple[Indices, ...]]


@dataclass(frozen=True)
class Partition:
    """A way to split samples among clients.

    Attributes:
        name: as in `PARTITIONS`.
        label: for people to read, such as `"Dirichlet(0.3), 50 clients"`.
        split: `(dataset, seed) -> (client names, positions for each client)`.
    """

    name: str
    label: str
    split: Callable[["Dataset", int], Split]


@checks.arguments
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
        natural: `(n,) int64`, for each training sample its position in
            `clients`; None if samples have no owner.
        clients: stable names of the natural clients.
        source: where the data comes from.
        licence: under which it may be used.
        note: how it was processed.

    Raises:
        ValueError: an attribute has the wrong type, or they do not fit together.
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
        checks.kind(Samples, ", such as Samples(x, y)", train=self.train, test=self.test)
        texts = {name: getattr(self, name) for name in ("name", "source", "licence", "note")}
        checks.kind(str, **texts)
        for name in ("classes", "clients"):
            checks.texts(**{name: getattr(self, name)})
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.train):
            raise ValueError(f"data set {self.name!r} has no training sample; it needs at least one")
        if self.train.x.shape[1:] != self.test.x.shape[1:]:
            raise ValueError(
                f"a training sample of {self.name!r} has the shape {self.train.x.shape[1:]} and a test sample"
                f" {self.test.x.shape[1:]}; they must be equal"
            )
        if self.train.x.dtype != self.test.x.dtype:
            raise ValueError(
                f"the training samples of {self.name!r} are {self.train.x.dtype} and the test samples"
                f" {self.test.x.dtype}; they must be of one type: codes are int64, other numbers float32"
            )
        for part, samples in (("training", self.train), ("test", self.test)):
            if self.classes:
                check_range(f"a {part} label of {self.name!r}", samples.y, len(self.classes))
            elif samples.y.dtype != np.float32:
                raise ValueError(
                    f"{self.name!r} has no classes, and its {part} targets are {samples.y.dtype}; numbers to"
                    " predict must be float32, and whole numbers of classes need `classes`"
                )
        if self.natural is not None:
            object.__setattr__(self, "natural", places("natural", self.natural))
            if len(self.natural) != len(self.train):
                raise ValueError(
                    f"{self.name!r} names the natural client of {len(self.natural)} training samples and has"
                    f" {len(self.train)}; every one needs a client"
                )
            check_range(f"a natural client of {self.name!r}", self.natural, len(self.clients))

    @property
    def task(self) -> str:
        """`"classification"`, or `"regression"` if there are numbers to predict instead of classes."""
        return "classification" if self.classes else "regression"

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 in regression."""
        return len(self.classes)

    @property
    def num_outputs(self) -> int:
        """Number of values that a model returns for a sample: a score for each class, or one number."""
        return len(self.classes) or 1

    def strata(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Groups of similar training samples: their names, and each sample's group.

        They are the classes; in regression, tenths of the targets, as far as they
        are distinct, each named by its smallest and largest value.

        Raises:
            ValueError: a sample has several targets.
        """
        y = self.single_targets()
        if self.classes:
            return self.classes, y
        bounds = np.unique(np.quantile(y, np.linspace(0, 1, 11)[1:-1], method="inverted_cdf"))
        tenths, place = np.unique(np.searchsorted(bounds, y), return_inverse=True)
        members = [y[place == k] for k in range(len(tenths))]
        return tuple(f"{m.min():g} to {m.max():g}" for m in members), place.astype(np.int64)

    def single_targets(self) -> NDArray[Any]:
        """`y` of the training samples, `(n,)`; raises `ValueError` if a sample has several targets."""
        if self.train.y.ndim > 1:
            raise ValueError(
                f"a sample of {self.name!r} has targets of shape {self.train.y.shape[1:]}, but this needs"
                " one target for each sample; split with iid or quantity_skew"
            )
        return self.train.y

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one `x`, such as `(1, 28, 28)`."""
        return tuple(self.train.x.shape[1:])

    @checks.arguments
    def split(self, partition: Partition, seed: int = 0) -> "Federation":
        """Split the training samples among clients.

        Args:
            partition: how, such as `dirichlet(50, alpha=0.3)`.
            seed: same seed, same data set and same partition give the same
                clients on any machine.

        Raises:
            ValueError: an argument has the wrong type, or the data set cannot be split that way, for
                instance because there are fewer samples than clients.
        """
        checks.kind(Partition, ", such as iid(10)", partition=partition)
        checks.whole(None, seed=seed)
        with generators.seeded(integer_seed(seed, "partition")):
            names, indices = partition.split(self, seed)
        return Federation(self, names, tuple(np.sort(i).astype(np.int64) for i in indices))


@checks.arguments
@dataclass(frozen=True, eq=False)
class Federation:
    """Training samples split among clients.

    No sample belongs to two clients and no client is empty; this is checked
    whatever partition made it.

    Attributes:
        dataset: whose training samples were split.
        names: stable name of each client, such as `"client-0007"`.
        indices: for each client, in the order of `names`, the positions of its
            samples in `dataset.train`, sorted, int64.
        held: for each client the positions of the samples that it holds out for
            evaluation; empty if no client holds any out.

    Raises:
        ValueError: an attribute has the wrong type, or clients and samples do not fit together.
    """

    dataset: Dataset
    names: tuple[str, ...]
    indices: tuple[NDArray[np.int64], ...]
    held: tuple[NDArray[np.int64], ...] = ()
    draws = False  # from the global generators, see `ClientData`

    def __post_init__(self) -> None:
        checks.kind(Dataset, dataset=self.dataset)
        checks.texts(names=self.names)
        checks.kind((tuple, list), " of arrays of whole numbers", indices=self.indices, held=self.held)
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "indices", tuple(places("one of indices", i) for i in self.indices))
        object.__setattr__(self, "held", tuple(places("one of held", i) for i in self.held))
        if len(self.names) != len(self.indices) or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"a federation has {len(self.names)} names, {len(set(self.names))} of them distinct, and"
                f" {len(self.indices)} lists of indices; each client needs its own name and one list"
            )
        if not self.names:
            raise ValueError("a federation has no client; it needs at least one")
        if "" in self.names:
            raise ValueError(f"client {self.names.index('')} has an empty name; each client needs a name")
        for name, index in zip(self.names, self.indices, strict=True):
            if not len(index):
                raise ValueError(f"client {name!r} has no sample; each client needs at least one")
        if self.held and len(self.held) != len(self.names):
            raise ValueError(
                f"a federation has {len(self.names)} clients and {len(self.held)} lists of held-out samples;"
                " give one for each, or none"
            )
        used, total = np.concatenate([*self.indices, *self.held]), len(self.dataset.train)
        if used.min() < 0 or used.max() >= total:
            raise ValueError(f"a client holds a sample that is not one of the {total} samples")
        if np.bincount(used).max() > 1:
            raise ValueError(
                f"sample {int(np.bincount(used).argmax())} belongs to two clients; each may belong to one"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def holds_out(self) -> bool:
        """Whether clients hold out some of their samples."""
        return bool(self.held)

    def hold_out(self, fraction: float, by: str = "random", *, seed: int = 0) -> "Federation":
        """The federation with about that fraction of each client's samples held out, see `datasets.held_out`.

        Raises:
            ValueError: some are already held out, or the fraction is not above 0 and below 1.
        """
        if self.held:
            raise ValueError("this federation already holds samples out; call hold_out on the original one")
        whole = self.dataset.train
        parts = [
            hold_out_of(partial(whole.take, i), len(i), fraction, by, client=name, seed=seed)
            for name, i in zip(self.names, self.indices, strict=True)
        ]
        trained, held = (
            tuple(i[part[side]] for i, part in zip(self.indices, parts, strict=True)) for side in (0, 1)
        )
        return replace(self, indices=trained, held=held)

    def samples(self, name: str) -> Samples:
        """Training samples of one client.

        Raises:
            ValueError: no client has that name; the error names the nearest.
        """
        return self.dataset.train.take(self.indices[self._place(name)])

    def held_out(self, name: str) -> Samples:
        """The held-out samples of one client; empty if it has a single sample.

        Raises:
            ValueError: no client has that name, or none holds anything out.
        """
        if not self.held:
            raise ValueError(
                "the clients hold no samples out; make the federation with hold_out(0.2), or give"
                " [data] held_out = 0.2"
            )
        return self.dataset.train.take(self.held[self._place(name)])

    def _place(self, name: str) -> int:
        place = self._places.get(name)
        if place is None:
            raise ValueError(
                f"there is no client {name!r}; there are {len(self)}, from {self.names[0]!r} to"
                f" {self.names[-1]!r}.{did_you_mean(name, self.names)}"
            )
        return place

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def sizes(self) -> NDArray[np.int64]:
        """Number of training samples of each client, `(clients,) int64`."""
        return np.array([len(index) for index in self.indices], np.int64)

    def counts(self) -> NDArray[np.int64]:
        """Training samples of each client by class (in regression, stratum), `(clients, classes) int64`."""
        names, place = self.dataset.strata()
        rows = [np.bincount(place[index], minlength=len(names)) for index in self.indices]
        return np.stack(rows).astype(np.int64)
