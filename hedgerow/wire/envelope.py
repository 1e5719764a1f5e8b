"""A small message that is all in its envelope: Flower stores, sends and fetches no object of it.

A SuperLink keeps a message's envelope whole, with a content where one is in it, and hands it on so. Its
objects are a call each, on both sides. So a coordinator's ServerApp sends a small request in its
envelope to a node that has said in a bundle that it reads such, and the node answers in the same way.

Whatever a SuperLink is told of must have an id that might be an object's. These have a head of their
own, so that nobody has to ask for an object that is nowhere; none that exists has it, but by a chance of
2^-64. A SuperLink remembers each id for as long as the run lasts, so a request names the id that its answer
is to have: once that was taken, the node's next answer has it again.
"""

import hashlib
import secrets

READS = "envelopes"
"""Key of a bundle by which a node says that it reads messages in their envelopes."""

REPLY = "reply"
"""Key of the description in a request: the id that the answer is to have, if it goes in its envelope."""

MOST_ASKED, MOST_ANSWERED = 2**14, 2**16
"""Bytes of a request and of an answer: a ServerApp takes all answers that are there at once."""

_HEAD = hashlib.sha256(b"hedgerow.envelope").hexdigest()[:16]
_DIGITS = 64


def name_of(envelope: bytes) -> str:
    """The id of a message that is in its envelope, 64 hex digits.

    >>> in_envelope(name_of(b"x")), in_envelope(hashlib.sha256(b"x").hexdigest())
    (True, False)
    """
    return _HEAD + hashlib.sha256(envelope).hexdigest()[len(_HEAD) :]


def secret_name() -> str:
    """An id that nobody knows before it is told."""
    return _HEAD + secrets.token_hex((_DIGITS - len(_HEAD)) // 2)


def in_envelope(name: object) -> bool:
    """Whether it is such an id."""
    return (
        isinstance(name, str)
        and len(name) == _DIGITS
        and name.startswith(_HEAD)
        and not set(name) - set("0123456789abcdef")
    )
