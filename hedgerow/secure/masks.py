"""Pairwise masks, which cancel in the sum, and self masks, which the server removes at the end."""

from hedgerow.ring.vector import RingVector, Shape
from hedgerow.secure.codec import encode
from hedgerow.secure.messages import PROTOCOL
from hedgerow.secure.primitives import Agreement, Keystream, derive


def pair_key(own: Agreement, public: bytes, keys: bytes, name: str, other: str) -> bytes:
    """Key of the mask that two clients share; each derives it from its secret and the other's public key."""
    info = encode((PROTOCOL, "mask", keys, sorted((name, other))))
    return derive(own.with_(public), info)


def self_key(seed: bytes, keys: bytes, name: str) -> bytes:
    """Key of a client's own mask."""
    return derive(seed, encode((PROTOCOL, "self mask", keys, name)))


def box_key(own: Agreement, public: bytes, keys: bytes, sender: str, recipient: str) -> bytes:
    """Key of the shares that one client seals for another."""
    return derive(own.with_(public), encode((PROTOCOL, "box", keys, sender, recipient)))


class Masker:
    """Adds masks to vectors of one shape, or subtracts them."""

    def __init__(self, shape: Shape) -> None:
        self._head = 8 * shape.words
        self._dtype = shape.ring.dtype
        self._stream = Keystream(self._head + self._dtype.itemsize * shape.length)

    def add(self, vector: RingVector, key: bytes) -> None:
        """Add a key's mask, in place."""
        stream = self._stream.of(key)
        vector.words[...] += stream[: self._head].view("<u8")
        vector.values[...] += stream[self._head :].view(self._dtype)

    def subtract(self, vector: RingVector, key: bytes) -> None:
        """Subtract a key's mask, in place."""
        stream = self._stream.of(key)
        vector.words[...] -= stream[: self._head].view("<u8")
        vector.values[...] -= stream[self._head :].view(self._dtype)

    def pair(self, vector: RingVector, key: bytes, name: str, other: str, *, undo: bool = False) -> None:
        """Apply the mask of a pair for `name`: the first of the two names adds it, the other subtracts it."""
        (self.add if (name < other) != undo else self.subtract)(vector, key)
