"""The one place randomness comes from.

Every random draw in Hedgerow names what it is for. A generator depends on the
seed of the run, the round, the client's stable name and a purpose, and on
nothing else: not on Flower's node ids, the number of workers, or the order in
which things happen.
"""

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *, round: int = 0, client: str = "") -> np.random.Generator:
    """Make the generator for one purpose.

    Args:
        seed: seed of the run, any integer.
        purpose: what the draws are for, such as `"sample clients"`.
        round: round number, 0 for what happens before the first round.
        client: stable name of the client, empty for what the server draws.

    Returns:
        A PCG64 generator. Two calls with equal arguments give equal streams;
        calls that differ in any argument give independent ones.

    >>> int(generator(7, "shuffle", round=1, client="a").integers(1000))
    121
    """
    return np.random.Generator(np.random.PCG64(_digest(seed, purpose, round, client)))


def integer_seed(seed: int, purpose: str, *, round: int = 0, client: str = "") -> int:
    """A 63-bit seed for a generator that is not numpy's, such as torch's.

    >>> integer_seed(7, "dropout") == integer_seed(7, "dropout")
    True
    """
    return _digest(seed, purpose, round, client) & (2**63 - 1)


def _digest(seed: int, purpose: str, round: int, client: str) -> int:
    # The fields are joined with their lengths, so that no two calls share a text.
    text = "".join(f"{len(field)}:{field}" for field in (str(int(seed)), purpose, str(int(round)), client))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
