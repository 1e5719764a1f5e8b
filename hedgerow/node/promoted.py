"""A device fetches its coordinator's promoted model, between messages."""

import logging
import time
from collections.abc import Callable
from typing import final

from hedgerow.node.connection import Denied
from hedgerow.node.device import Device
from hedgerow.node.fleet import Fleet
from hedgerow.promotion.delivered import Delivered, NotTaken
from hedgerow.promotion.lineage import is_digest

log = logging.getLogger("hedgerow")

_AGAIN_SECONDS = 300.0
_AT_ONCE_SECONDS = 1.0
"""Time for fetching pieces before the next poll, which the coordinator may hold open."""


@final
class PromotedModel:
    """Fetches the promoted model, some pieces at a time, so that no round is kept waiting.

    Args:
        device: its folder.
        told: called with a line of text for people.
    """

    def __init__(self, device: Device, told: Callable[[str], None]) -> None:
        self._device, self._told = device, told
        self._delivered = Delivered(device.folder)
        self._stands, self._left, self._until = "", "", 0.0

    def follow(self, fleet: Fleet) -> bool:
        """Take a step, if the coordinator names another model; returns whether the next is due at once.

        Raises:
            Unreachable, OSError: the next call continues where this one stopped.
        """
        wanted = fleet.model
        if wanted == self._stands or not is_digest(wanted):
            return False
        if wanted == self._left and time.monotonic() < self._until:
            return False
        if self._delivered.has(wanted):
            self._stands = wanted
            return False
        try:
            if not self._device.guard().policy.models:
                return self._leave(wanted, "by this device's policy, it takes no promoted models")
            until = time.monotonic() + _AT_ONCE_SECONDS
            promotion = self._delivered.fetch(fleet.get)
            while promotion is None and time.monotonic() < until:
                promotion = self._delivered.fetch(fleet.get)
        except (Denied, NotTaken) as error:
            return self._leave(wanted, f"the promoted model is rejected: {error}")
        if promotion is None:
            return True
        self._stands = promotion.model
        lineage = promotion.lineage
        self._told(
            f"has the promoted model {promotion.model[:12]}, round {lineage.round} of {lineage.recipe}"
        )
        return False

    def _leave(self, model: str, why: str) -> bool:
        """Leave a model for now, and try again after a while."""
        if model != self._left:
            self._told(why)
        self._left, self._until = model, time.monotonic() + _AGAIN_SECONDS
        return False
