"""Replies as Flower's grid makes them of the objects that a device has sent.

What cannot be read, or would take far more memory than it has bytes (an array may name one chunk of its
bytes again and again), is that client's error. Without this it would end the whole run: Flower raises
while it makes a list of everybody's replies.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from hedgerow.types import Layout
from hedgerow.wire import objects
from hedgerow.wire.fleet import FLEET

INFLATE = "inflate_object_from_contents"
"""Flower's function in the module of its grid: `(id of a message, {id: bytes}) -> Message`."""

_CLIENT_FAILED = 2
_BESIDE = 2**26
_BYTES_A_VALUE = 32


def largest_reply(layout: Layout) -> int:
    """Bytes that no honest reply exceeds: eight vectors as long as all that is sent, and 64 MiB."""
    return _BESIDE + _BYTES_A_VALUE * (layout.dimension + layout.buffer_size)


@contextmanager
def read_safely(grid: object, largest: int) -> Iterator[None]:
    """Have a grid of Flower's make an error of a reply that it cannot read; others are left as they are.

    Args:
        grid: whose module is looked at, or that of the one within it.
        largest: bytes of a reply, once its arrays are put together.
    """
    while (inner := getattr(grid, "within", None)) is not None:
        grid = inner
    module = sys.modules[type(grid).__module__]
    before = getattr(module, INFLATE, None)
    if before is None:
        yield
        return
    setattr(module, INFLATE, partial(read, inflate=before, largest=largest))
    try:
        yield
    finally:
        setattr(module, INFLATE, before)


def read(
    message: str,
    contents: dict[str, bytes],
    *,
    inflate: Callable[[str, dict[str, bytes]], Any],
    largest: int,
) -> Any:
    """The message, or an error in its place."""
    top = contents.get(message, b"")
    try:
        if (size := _unfolded(contents)) > largest:
            raise ValueError(f"it would take {size:,} bytes; at most {largest:,} are allowed")
        return inflate(message, contents)
    except Exception as error:  # whatever is made of bytes from outside
        return inflate(*_in_place(top, f"its reply cannot be read: {type(error).__name__}: {error}"))


def _unfolded(contents: Mapping[str, bytes]) -> int:
    """Bytes of all arrays, once each is put together."""
    total = 0
    for data in contents.values():
        if data.startswith(b"Array "):
            chunks = [len(contents[chunk]) for chunk in objects.children(data)]
            total += sum(chunks[place] for place in json.loads(data.partition(b"\0")[2])["arraychunk_ids"])
    return total


def _in_place(top: bytes, reason: str) -> tuple[str, dict[str, bytes]]:
    """A message with an error, to whatever the one that cannot be read replies to."""
    try:
        reply = FLEET["Message"].FromString(top.partition(b"\0")[2])
    except Exception:  # it says of nothing what it replies to: nobody waits for it
        reply = FLEET["Message"](metadata=FLEET["Metadata"](message_type="train"))
    reply.ClearField("content")
    reply.error.code, reply.error.reason = _CLIENT_FAILED, reason
    found: objects.Objects = {}
    return objects.add(found, "Message", (), reply.SerializeToString()), found
