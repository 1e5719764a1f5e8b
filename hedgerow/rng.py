"""The only source of randomness.

Every random draw in Hedgerow names its purpose. A generator depends only on the
seed of the run, the round, the client's stable name and the purpose: not on
Flower's node ids, the number of workers, or the order of events.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

_LEFT, _RIGHT, _SHIFT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715), np.uint32(16)


def _powers(first: int, factor: int, count: int) -> NDArray[np.uint32]:
    """Constants of a hash, each the last one times the factor, `(count, 1)`."""
    return np.array([first * pow(factor, k, 2**32) % 2**32 for k in range(count)], np.uint32)[:, None]


_IN, _OUT = _powers(0x43B0D7E5, 0x931E8875, 17), _powers(0x8B51F9DD, 0x58F38DED, 9)
_OTHERS = [[other for other in range(4) if other != word] for word in range(4)]


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


def client_generators(
    seed: int, purpose: str, *, round: int = 0, clients: Sequence[str]
) -> Iterator[np.random.Generator]:
    """`generator` for each of these clients, in their order and in a third of the time.

    >>> [int(each.integers(1000)) for each in client_generators(7, "shuffle", round=1, clients=["a", "b"])]
    [121, 855]
    """
    words = np.frombuffer(b"".join([_digest(seed, purpose, round, client) for client in clients]), "<u4")
    for state in _states(words.reshape(-1, 4).astype(np.uint32, copy=False)):
        bits = np.random.PCG64(_Mixed(state))  # type: ignore[arg-type]  # any ISeedSequence will do
        yield np.random.Generator(bits)


def integer_seed(seed: int, purpose: str, *, round: int = 0, client: str = "") -> int:
    """A 63-bit seed for a generator that is not numpy's, such as torch's.

    >>> integer_seed(7, "dropout") == integer_seed(7, "dropout")
    True
    """
    return int.from_bytes(_digest(seed, purpose, round, client), "little") & (2**63 - 1)


@final
class _Mixed(ISeedSequence):
    """A state for PCG64 that has been made, `(4,) uint64`."""

    def __init__(self, state: NDArray[np.uint64]) -> None:
        self._state = state

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        assert (n_words, np.dtype(dtype)) == (4, np.dtype(np.uint64))
        return self._state


def _states(seeds: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """`np.random.SeedSequence(seed).generate_state(4, np.uint64)` for each of `(n, 4)` seeds, `(n, 4)`.

    O'Neill, "Developing a seed_seq alternative" (2015): the words are hashed into a pool, each word of the
    pool is mixed into the others, and the pool is hashed into the state. numpy promises to keep it.
    """
    pool = _hashed(seeds.T, _IN[:5])
    for word, others in enumerate(_OTHERS):
        hashed = _hashed(pool[[word] * 3], _IN[4 + 3 * word :][:4])
        mixed = _LEFT * pool[others] - _RIGHT * hashed
        pool[others] = mixed ^ (mixed >> _SHIFT)
    found = _hashed(np.concatenate([pool, pool]), _OUT)
    # The first of two words is the lower half, on every machine.
    return np.ascontiguousarray(found.T, "<u4").view("<u8").astype(np.uint64, copy=False)


def _hashed(words: NDArray[np.uint32], constants: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """`(k, n)` words hashed with `(k + 1, 1)` constants."""
    hashed = (words ^ constants[:-1]) * constants[1:]
    found: NDArray[np.uint32] = hashed ^ (hashed >> _SHIFT)
    return found


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
