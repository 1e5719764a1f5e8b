"""A data set that lies with clients."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.datasets.held_out import hold_out_of
from hedgerow.types import Samples

if TYPE_CHECKING:
    from hedgerow.datasets.dataset import Dataset


@checks.arguments
@dataclass(frozen=True, eq=False)
class Federation:
    """Which training samples lie with which client.

    No sample lies with two clients and no client is empty; this is checked
    whichever partition made it.

    Attributes:
        dataset: whose training samples were dealt.
        names: stable name of each client, such as `"client-0007"`.
        indices: for each client, in the order of `names`, the positions of its
            samples in `dataset.train`, sorted, int64.
        held: for each client the positions of those that it does not train
            on, but measures models on; empty where no client holds any out.

    Raises:
        ValueError: an attribute is of another kind, or clients and samples are not as said.
    """

    dataset: "Dataset"
    names: tuple[str, ...]
    indices: tuple[NDArray[np.int64], ...]
    held: tuple[NDArray[np.int64], ...] = ()

    def __post_init__(self) -> None:
        # Told by what it has: the class is in a module that needs this one.
        if not isinstance(getattr(self.dataset, "train", None), Samples):
            raise ValueError(f"dataset is {checks.shown(self.dataset)}; it must be a Dataset")
        checks.texts(names=self.names)
        checks.kind((tuple, list), " of arrays of whole numbers", indices=self.indices, held=self.held)
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "indices", tuple(places("one of indices", i) for i in self.indices))
        object.__setattr__(self, "held", tuple(places("one of held", i) for i in self.held))
        if len(self.names) != len(self.indices) or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"a federation has {len(self.names)} names, {len(set(self.names))} of them different, and"
                f" {len(self.indices)} lists of indices; each client needs a name of its own and one list"
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
            raise ValueError(f"a client holds a sample that is not among the {total} there are")
        if np.bincount(used).max() > 1:
            raise ValueError(
                f"sample {int(np.bincount(used).argmax())} lies with two clients; each lies with one at most"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def holds_out(self) -> bool:
        """Whether clients hold out a part of their samples."""
        return bool(self.held)

    def hold_out(self, share: float, by: str = "random", *, seed: int = 0) -> "Federation":
        """The federation with about that share of each client's samples held out, see `datasets.held_out`.

        Raises:
            ValueError: some are held out already; or the share is not above 0 and below 1.
        """
        if self.held:
            raise ValueError("this federation holds samples out already; hold out from the one before it")
        parts = [
            hold_out_of(
                partial(self.dataset.train.take, index), len(index), share, by, client=name, seed=seed
            )
            for name, index in zip(self.names, self.indices, strict=True)
        ]
        trained, held = (
            tuple(index[part[side]] for index, part in zip(self.indices, parts, strict=True))
            for side in (0, 1)
        )
        return replace(self, indices=trained, held=held)

    def samples(self, name: str) -> Samples:
        """Training samples of one client.

        Raises:
            ValueError: no client has that name; the error names the nearest.
        """
        return self.dataset.train.take(self.indices[self._place(name)])

    def held_out(self, name: str) -> Samples:
        """What one client measures models on; empty where it has a single sample.

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
            near = checks.did_you_mean(name, self.names)
            raise ValueError(
                f"there is no client {name!r}; there are {len(self)}, from {self.names[0]!r} to"
                f" {self.names[-1]!r}.{near}"
            )
        return place

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def sizes(self) -> NDArray[np.int64]:
        """Training samples of each client, `(clients,) int64`."""
        return np.array([len(index) for index in self.indices], np.int64)

    def counts(self) -> NDArray[np.int64]:
        """Training samples of each client in each class (in regression, each stratum), as
        `(clients, classes) int64`."""
        names, place = self.dataset.strata()
        rows = [np.bincount(place[index], minlength=len(names)) for index in self.indices]
        return np.stack(rows).astype(np.int64)


def places(what: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions as `(n,) int64`; raises `ValueError` where they are none, with `what` they are."""
    found: NDArray[np.int64] = checks.array(**{what: values})
    if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
        raise ValueError(
            f"{what} is {checks.shown(values)} of the type {found.dtype}; it must be (n,) whole numbers"
        )
    return found.astype(np.int64, copy=False)
