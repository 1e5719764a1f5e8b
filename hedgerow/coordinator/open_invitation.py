"""An invitation for several phones, by one token, that ends at a time."""

import time
from dataclasses import dataclass, replace
from typing import Self

from hedgerow.coordinator.join_request import JoinRefused

PREFIX = "phone-"


@dataclass(frozen=True)
class OpenInvitation:
    """An invitation that lets several phones in.

    Attributes:
        token: its hash.
        left: how many phones may still join.
        ends: when nobody can join by it any more, in Unix seconds.

    >>> OpenInvitation("", left=2, ends=100.0).places(99.0), OpenInvitation("", 2, 100.0).places(100.0)
    (2, 0)
    """

    token: str
    left: int
    ends: float

    def places(self, now: float | None = None) -> int:
        """How many phones can join by it now."""
        return self.left if (time.time() if now is None else now) < self.ends else 0

    def used(self) -> Self:
        """The invitation after one more phone has joined.

        Raises:
            JoinRefused: it has ended, or as many have joined as may.
        """
        if time.time() >= self.ends:
            raise JoinRefused(403, "the invitation for phones has ended; ask for a new code")
        if self.left < 1:
            raise JoinRefused(403, "as many phones have joined as were invited; ask for a new code")
        return replace(self, left=self.left - 1)
