"""Replies that are computed when they are reached."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import final

from flwr.app import Message


@final
class Replies(Iterable[Message]):
    """Replies that are computed when they are reached, so that none needs to be stored.

    A server that adds each reply to a sum and drops it needs memory for only one.
    A second iteration, as in code written for Flower's lists, returns the same
    objects as long as the caller holds them.
    """

    def __init__(self, message_ids: list[str], reply: Callable[[str], Message]) -> None:
        self._message_ids = message_ids
        self._reply = reply
        self._made: list[weakref.ref[Message]] = []

    def __len__(self) -> int:
        return len(self._message_ids)

    def __iter__(self) -> Iterator[Message]:
        """Replies computed before, then the others.

        Raises:
            RuntimeError: the caller has dropped an earlier reply.
        """
        for position in range(len(self._message_ids)):
            if position < len(self._made):
                yield self._again(position)
            else:
                reply = self._reply(self._message_ids[position])
                self._made.append(weakref.ref(reply))
                yield reply
                del reply

    def _again(self, position: int) -> Message:
        reply = self._made[position]()
        if reply is None:
            raise RuntimeError(
                f"reply {position + 1} of {len(self)} was dropped and cannot be returned twice; "
                "keep the replies with list(grid.pull_messages(...))"
            )
        return reply
