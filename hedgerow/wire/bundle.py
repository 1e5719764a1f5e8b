"""A small content bundled in one record, because Flower stores and sends each record separately.

A server says in `hedgerow.description` that it reads bundles, and a node that makes them answers
with one; from then on its requests are bundled too: their content is then in that same record.
A bundle is sent only to those that have shown that they understand it, so Flower's own nodes see none.
"""

from hedgerow.types import PayloadError
from hedgerow.wire import envelope
from hedgerow.wire.codec import decode
from hedgerow.wire.content import ConfigRecord, Content

NAME = "hedgerow.bundle"
"""Name of the single record of a bundled answer."""

READS = "bundles"
"""Key in the description with which a server says that it reads bundles."""

CONTENT = "content"

MOST = 2**20
"""Most bytes in a bundle: larger content is sent in few objects for its size anyway.

It also bounds what a message of small values takes, each of which takes many times its bytes: 33 MiB."""


def bundled(data: bytes) -> Content:
    """The answer with these bytes, as one record; it also says what else its node reads."""
    return {NAME: ConfigRecord({CONTENT: data, envelope.READS: True})}


def unbundled(content: Content) -> Content:
    """Undo `bundled`; an answer that is not a bundle is unchanged. Raises `PayloadError`.

    >>> unbundled(bundled(bytes.fromhex("0a0e0a016122090a070a016212021002")))
    {'a': {'b': 1}}
    """
    record = content.get(NAME)
    if record is None:
        return content
    data = record.get(CONTENT)
    if len(content) != 1 or not isinstance(data, bytes):
        raise PayloadError(f"a bundle must be one record that holds bytes; there are {sorted(content)}")
    return small(data)


def opened(content: Content, name: str) -> Content:
    """Unpack a request whose record `name` may contain its other records. Raises `PayloadError`."""
    record = content.get(name)
    if not isinstance(record, ConfigRecord) or not isinstance(data := record.get(CONTENT), bytes):
        return content
    if len(content) != 1:
        raise PayloadError(f"a bundled request must be one record; there are {sorted(content)}")
    others = small(data)
    if name in others:
        raise PayloadError(f"a bundled request has {name} twice")
    return {**others, name: ConfigRecord({key: value for key, value in record.items() if key != CONTENT})}


def small(data: bytes) -> Content:
    """Decode a content that is sent in one piece; raises `PayloadError`, also for more than `MOST` bytes."""
    if len(data) > MOST:
        raise PayloadError(f"the message has {len(data):,} bytes in one piece; at most {MOST:,} are read")
    return decode(data)
