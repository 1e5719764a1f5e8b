"""Samples that each client holds out for evaluation, and never trains on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks, rng
from hedgerow.types import Samples

WAYS = ("random", "time")
"""How held-out samples are chosen: each by an independent draw, or the last ones."""

BY_ROW = "row"
"""Another way: each by a hash of its contents, independent of the other samples."""

ALL_WAYS = (*WAYS, BY_ROW)


def hold_out(
    samples: int, fraction: float, by: str, *, client: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split one client's samples into a part for training and a part for evaluation.

    `"time"` holds out the last samples, as close to the fraction as possible.
    `"random"` decides for each sample only by its position, the client's name and
    the seed, so samples added at the end do not move others. The fraction held out
    is then approximate. With two or more samples, either way leaves at least one on
    each side; a single sample is trained on.

    Args:
        samples: the number of the client's samples.
        fraction: to hold out, above 0 and below 1.
        by: one of `WAYS`.
        client: its stable name.
        seed: same seed, same split.

    Returns:
        Positions to train on and positions held out, sorted, int64.

    Raises:
        ValueError: `fraction` or `by` is invalid.

    >>> [part.tolist() for part in hold_out(5, 0.4, "time", client="a", seed=0)]
    [[0, 1, 2], [3, 4]]
    """
    checks.inside(held_out=fraction)
    checks.one_of(WAYS, held_out_by=by)
    if by == "time":
        held = np.arange(samples) >= samples - max(1, round(fraction * samples))
    else:
        # Raw words, which numpy keeps stable; a sample's word does not depend on the number of samples.
        words = rng.generator(seed, "hold out", client=client).bit_generator.random_raw(samples)
        draws = np.asarray(words, np.uint64)
        held = draws < np.uint64(fraction * 2.0**64)
        if samples and not held.any():
            held[draws.argmin()] = True
    if samples and held.all():
        held[draws.argmax() if by == "random" else 0] = False
    return np.flatnonzero(~held), np.flatnonzero(held)


def hold_out_of(
    load: Callable[[], Samples], count: int, fraction: float, by: str, *, client: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`hold_out` for samples that can be loaded, which allows any of `ALL_WAYS`.

    With `"row"`, equal samples are on the same side, and stay there if the file grows or is re-sorted,
    on every device; so a client may hold out none.

    >>> few, more = (Samples(np.arange(n), np.zeros(n, int)) for n in (6, 9))
    >>> [hold_out_of(lambda: s, len(s), 0.4, "row", client="a", seed=0)[1].tolist() for s in (few, more)]
    [[0], [0]]
    """
    checks.one_of(ALL_WAYS, held_out_by=by)
    if by != BY_ROW:
        return hold_out(count, fraction, by, client=client, seed=seed)
    checks.inside(held_out=fraction)
    samples = load()
    rows = zip(np.ascontiguousarray(samples.x), np.ascontiguousarray(samples.y), strict=True)
    digests = [hashlib.blake2b(x.tobytes() + y.tobytes(), digest_size=8).digest() for x, y in rows]
    words = np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)
    held = words < np.uint64(fraction * 2.0**64)
    return np.flatnonzero(~held), np.flatnonzero(held)


class _Data(Protocol):
    @property
    def names(self) -> Sequence[str]: ...

    def samples(self, name: str) -> Samples: ...


@dataclass(frozen=True)
class HeldOut:
    """Clients' data of which each client holds out a part, see `hold_out`.

    Attributes:
        data: anything with `names` and `samples(name)`.
        fraction: of each client's samples to hold out.
        by: one of `ALL_WAYS`.
        seed: of the split.

    >>> class Twins:
    ...     names = ("a", "b")
    ...     def samples(self, name): return Samples(np.arange(10), np.zeros(10, np.int64))
    >>> twins = HeldOut(Twins(), 0.2, "time")
    >>> twins.samples("a").x.tolist(), twins.held_out("a").x.tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7], [8, 9])
    """

    data: Any
    fraction: float
    by: str = "random"
    seed: int = 0

    @property
    def names(self) -> Sequence[str]:
        """Stable names of all clients."""
        found: _Data = self.data
        return found.names

    @property
    def draws(self) -> bool:
        """Whether loading may draw from the global generators, see `ClientData`."""
        return bool(getattr(self.data, "draws", True))

    def samples(self, name: str) -> Samples:
        """The samples that a client trains on."""
        return self._part(name, 0)

    def held_out(self, name: str) -> Samples:
        """The samples that a client holds out; empty if it has a single sample."""
        return self._part(name, 1)

    def _part(self, name: str, part: int) -> Samples:
        found: Samples = self.data.samples(name)
        parts = hold_out_of(lambda: found, len(found), self.fraction, self.by, client=name, seed=self.seed)
        return found.take(parts[part])
