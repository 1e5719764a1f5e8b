"""Shamir's secret sharing (Shamir 1979) of 32-byte secrets, in Python integers."""

from collections.abc import Mapping, Sequence
from math import prod

from hedgerow.secure.primitives import Random, Secret

PRIME = 2**256 + 297
"""The smallest prime above all 32-byte numbers."""

SHARE_BYTES = 33


def polynomial(secret: int, threshold: int, random: Random, prime: int = PRIME) -> list[int]:
    """Coefficients of a random polynomial of degree `threshold - 1`, the secret first."""
    # 64 bytes modulo the prime are uniform to 2**-255.
    return [secret, *(int.from_bytes(random(64), "big") % prime for _ in range(threshold - 1))]


def evaluate(coefficients: Sequence[int], x: int, prime: int = PRIME) -> int:
    """The polynomial at `x`.

    >>> [evaluate([1234, 166, 94], x, prime=1613) for x in (1, 2, 3)]
    [1494, 329, 965]
    """
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % prime
    return value


def split(secret: bytes, places: Sequence[int], threshold: int, random: Random) -> list[Secret]:
    """A share for each place (distinct integers above 0); any `threshold` of them recover the secret.

    Raises:
        ValueError: there are fewer places than the threshold, or two are equal.
    """
    if len(set(places)) != len(places) or min(places, default=0) < 1 or not 1 <= threshold <= len(places):
        raise ValueError(
            f"the places are {list(places)} and the threshold is {threshold}; places must be different whole"
            " numbers above 0, at least as many as the threshold, which is at least 1"
        )
    coefficients = polynomial(int.from_bytes(secret, "big"), threshold, random)
    return [Secret(evaluate(coefficients, place).to_bytes(SHARE_BYTES, "big")) for place in places]


def interpolate(points: Mapping[int, int], prime: int = PRIME) -> int:
    """The value at 0 of the polynomial of lowest degree through `{x: y}`.

    >>> interpolate({2: 329, 4: 176, 5: 1188}, prime=1613)
    1234
    """
    everything = prod(points)
    total = 0
    for x, y in points.items():
        # The Lagrange basis at 0, with one inversion.
        others = prod(other - x for other in points if other != x)
        total += y * (everything // x) * pow(others, -1, prime)
    return total % prime


def combine(shares: Mapping[int, bytes]) -> bytes | None:
    """The secret from shares by place, at least `threshold` of them; `None` if it is not a 32-byte number."""
    secret = interpolate({place: int.from_bytes(share, "big") for place, share in shares.items()})
    return secret.to_bytes(32, "big") if secret < 2**256 else None
