"""Safe reading of replies, which Flower's grid assembles from the objects that a device has sent.

A reply that cannot be read, or would take far more memory than it has bytes (an array may name the same
chunk of bytes many times), becomes that client's error. Otherwise it would end the whole run: Flower
raises while it builds the list of everybody's replies.
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
"""Name of Flower's function in its grid's module: `(id of a message, {id: bytes}) -> Message`."""

_CLIENT_FAILED = 2
_BESIDE = 2**26
_BYTES_A_VALUE = 32


def largest_reply(layout: Layout) -> int:
    """Size in bytes that no honest reply exceeds: eight vectors as long as everything sent, plus 64 MiB."""
    return _BESIDE + _BYTES_A_VALUE * (layout.dimension + layout.buffer_size)


@contextmanager
def read_safely(grid: object, largest: int) -> Iterator[None]:
    """Make a Flower grid turn a reply that it cannot read into an error; other grids are left as they are.

    Args:
        grid: the grid, or a wrapper of one, whose module is patched.
        largest: upper bound on the bytes of a reply with its arrays assembled.
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
    """The message, or an error message in its place."""
    top = contents.get(message, b"")
    try:
        if (size := _unfolded(contents)) > largest:
            raise ValueError(f"it would take {size:,} bytes; at most {largest:,} are allowed")
        return inflate(message, contents)
    except Exception as error:  # bytes from outside may cause any exception
        return inflate(*_in_place(top, f"its reply cannot be read: {type(error).__name__}: {error}"))


def _unfolded(contents: Mapping[str, bytes]) -> int:
    """Bytes of all arrays once assembled."""
    total = 0
    for data in contents.values():
        if data.startswith(b"Array "):
            chunks = [len(contents[chunk]) for chunk in objects.children(data)]
            total += sum(chunks[place] for place in json.loads(data.partition(b"\0")[2])["arraychunk_ids"])
    return total


def _in_place(top: bytes, reason: str) -> tuple[str, dict[str, bytes]]:
    """An error message that replies to the same message as the unreadable one."""
    try:
        reply = FLEET["Message"].FromString(top.partition(b"\0")[2])
    except Exception:  # it does not say what it replies to: nobody waits for it
        reply = FLEET["Message"](metadata=FLEET["Metadata"](message_type="train"))
    reply.ClearField("content")
    reply.error.code, reply.error.reason = _CLIENT_FAILED, reason
    found: objects.Objects = {}
    return objects.add(found, "Message", (), reply.SerializeToString()), found
