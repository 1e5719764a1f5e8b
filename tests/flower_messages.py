"""Hedgerow's messages as Flower's records, as a server or a client on Flower has them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flwr.app import RecordDict

from hedgerow.records import from_flower, to_flower
from hedgerow.wire import messages, replies


def packed(pack: Callable[..., Any]) -> Callable[..., RecordDict]:
    """What the function packs, as Flower's record."""
    return wraps(pack)(lambda *args, **options: to_flower(pack(*args, **options)))


pack_train, pack_reply = packed(messages.pack_train), packed(replies.pack_reply)


def pack_stage(message: bytes, request: RecordDict | None = None) -> RecordDict:
    return to_flower(messages.pack_stage(message, None if request is None else from_flower(request)))


def unpack_stage(content: RecordDict) -> bytes:
    return messages.unpack_stage(from_flower(content))
