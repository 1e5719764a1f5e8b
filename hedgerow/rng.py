"""The only source of randomness.

Every random draw in Hedgerow names its purpose. A generator depends only on the
seed of the run, the round, the client's stable name and the purpose: not on
Flower's node ids, the number of workers, or the order of events.
"""

import hashlib
import os
import secrets
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, purpose: str, *, round: int = 0, client: str = "") -> np.random.Generator:
    """Make the generator for one purpose.

    Args:
        seed: seed of the run, any integer.
        purpose: what the draws are for, such as `"sample clients"`.
        round: round number, 0 before the first round.
        client: stable name of the client, empty for the server's draws.

    Returns:
        A PCG64 generator. Two calls with equal arguments give equal streams;
        calls that differ in any argument give independent ones.

    >>> int(generator(7, "shuffle", round=1, client="a").integers(1000))
    121
    """
    # As words: numpy would split an integer into the same words, but more slowly.
    words = np.frombuffer(_digest(seed, purpose, round, client), "<u4").astype(np.uint32, copy=False)
    return np.random.Generator(np.random.PCG64(words))


def integer_seed(seed: int, purpose: str, *, round: int = 0, client: str = "") -> int:
    """A 63-bit seed for a generator that is not numpy's, such as torch's.

    >>> integer_seed(7, "dropout") == integer_seed(7, "dropout")
    True
    """
    return int.from_bytes(_digest(seed, purpose, round, client), "little") & (2**63 - 1)


def _digest(seed: int, purpose: str, round: int, client: str) -> bytes:
    # The fields are joined with their lengths, so no two different calls give the same text.
    run, number = str(int(seed)), str(int(round))
    text = f"{len(run)}:{run}{len(purpose)}:{purpose}{len(number)}:{number}{len(client)}:{client}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


RandomSource = Callable[[int], NDArray[np.uint64]]
"""`n -> (n,) uint64`, uniform and independent: the next 64-bit words of a random stream."""


def system_source(n: int) -> NDArray[np.uint64]:
    """Words from the operating system's generator, for values that an adversary must not guess.

    >>> system_source(2).dtype
    dtype('uint64')
    """
    return np.frombuffer(os.urandom(8 * n), np.uint64)


def seeded_source(seed: int, purpose: str, *, round: int = 0, client: str = "") -> RandomSource:
    """A source determined by the seed: for simulations only, where noise must be reproducible.

    >>> seeded_source(7, "noise")(2).tolist() == seeded_source(7, "noise")(2).tolist()
    True
    """
    bits = generator(seed, purpose, round=round, client=client).bit_generator
    return lambda n: np.asarray(bits.random_raw(n), np.uint64)


def secret_seed() -> int:
    """A seed that nobody can guess, from the operating system's generator.

    >>> secret_seed() != secret_seed()
    True
    """
    return secrets.randbits(63)
