"""What each client keeps back to measure models on, and never trains on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks, rng
from hedgerow.types import Samples

WAYS = ("random", "time")
"""How held-out samples are chosen: each by a draw of its own, or the last ones."""

BY_ROW = "row"
"""Another way: each by a hash of what it holds, whatever lies beside it."""

ALL_WAYS = (*WAYS, BY_ROW)


def hold_out(
    samples: int, fraction: float, by: str, *, client: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split one client's samples into a part to train on and a part to measure on.

    `"time"` holds out the last samples, as many as are nearest to the fraction.
    `"random"` decides for each sample by its position, the client's name and
    the seed alone: samples that are added at the end move no other one. About
    the fraction is held out. Either leaves a client of two or more samples at
    least one on each side; a single sample is trained on.

    Args:
        samples: how many the client has.
        fraction: of them to hold out, above 0 and below 1.
        by: one of `WAYS`.
        client: its stable name.
        seed: same seed, same split.

    Returns:
        Positions to train on and positions held out, sorted, int64.

    Raises:
        ValueError: `fraction` or `by` is not one of those allowed.

    >>> [part.tolist() for part in hold_out(5, 0.4, "time", client="a", seed=0)]
    [[0, 1, 2], [3, 4]]
    """
    checks.inside(held_out=fraction)
    checks.one_of(WAYS, held_out_by=by)
    if by == "time":
        held = np.arange(samples) >= samples - max(1, round(fraction * samples))
    else:
        # Raw words, which numpy keeps stable; the one of a sample does not depend on how many there are.
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
    """`hold_out`, of samples that can be loaded, and so in any of `ALL_WAYS`.

    With `"row"` equal samples are on one side, and stay there in a file that grows or is sorted anew,
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
    """Any clients' data, of which each client holds out a part, see `hold_out`.

    Attributes:
        data: anything with `names` and `samples(name)`.
        fraction: of each client's samples that is held out.
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

    def samples(self, name: str) -> Samples:
        """What a client trains on."""
        return self._part(name, 0)

    def held_out(self, name: str) -> Samples:
        """What a client measures models on; empty where it has a single sample."""
        return self._part(name, 1)

    def _part(self, name: str, part: int) -> Samples:
        found: Samples = self.data.samples(name)
        parts = hold_out_of(lambda: found, len(found), self.fraction, self.by, client=name, seed=self.seed)
        return found.take(parts[part])
