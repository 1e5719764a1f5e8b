"""Replies that are made as they are reached."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import final

from flwr.app import Message


@final
class Replies(Iterable[Message]):
    """Replies that are made as they are reached, so that none need be held.

    A server that adds up each reply and lets it go needs memory for one. Going
    through them again, as code written for Flower's lists does, gives the same
    objects for as long as the caller holds them.
    """

    def __init__(self, message_ids: list[str], reply: Callable[[str], Message]) -> None:
        self._message_ids = message_ids
        self._reply = reply
        self._made: list[weakref.ref[Message]] = []

    def __len__(self) -> int:
        return len(self._message_ids)

    def __iter__(self) -> Iterator[Message]:
        """Replies made before, then the others.

        Raises:
            RuntimeError: a reply made before was let go by the caller.
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
                f"reply {position + 1} of {len(self)} was let go and cannot be given twice; "
                "keep the replies with list(grid.pull_messages(...))"
            )
        return reply
