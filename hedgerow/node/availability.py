"""When a node takes new work: within the limits of its device, which no server can widen."""

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import final

from hedgerow.client.kinds import KNOWN
from hedgerow.client.machine import Machine
from hedgerow.client.policy import PolicyError
from hedgerow.node.device import Device

_LAST = ("unmask", "failed")
"""Stages with which a masked round ends."""


@final
class Availability:
    """Whether a device takes new work; it finishes a masked round that it has begun.

    Args:
        device: its folder; the limits are those of its policy file at that moment.
        machine: what the limits are held against.
        fresh: seconds for which what was read is good: sensors are not asked with each poll.
        look: seconds between two looks while it takes none.
        jitter: most seconds until it comes back, so that devices whose quiet hours end together do not
            come at once.
        patience: seconds after which a masked round whose next stage has not come counts as over.
    """

    def __init__(
        self,
        device: Device,
        machine: Machine | None = None,
        *,
        fresh: float = 5.0,
        look: float = 20.0,
        jitter: float = 60.0,
        patience: float = 300.0,
    ) -> None:
        self._device, self.machine = device, machine or Machine()
        self._fresh, self._look, self._jitter, self._patience = fresh, look, jitter, patience
        self._reasons: Mapping[str, str] = {}
        self._read_until = self._open_until = 0.0

    def ended(self) -> bool:
        """Whether the device is outside its limits, and no round is open."""
        if time.monotonic() >= self._read_until:
            self._read()
        return bool(self._reasons) and not self._open()

    def answered(self, kind: str) -> None:
        """Note a message that was answered: the stages of a masked round belong together."""
        stage = kind.partition(".")[2]
        if stage and kind in KNOWN:
            self._open_until = 0.0 if stage in _LAST else time.monotonic() + self._patience

    def wait(self, stop: threading.Event, tell: Callable[[str], None]) -> None:
        """Return when it is within its limits and its turn has come, or a round is open, or `stop` is set.

        Args:
            tell: called with a line of text for people, once for the same limits.
        """
        told: set[str] = set()
        while not stop.is_set() and not self._open():
            self._read()
            if not self._reasons:
                if not told:
                    return
                told = set()
                stop.wait(secrets.SystemRandom().uniform(0.0, self._jitter))
                continue
            if told != set(self._reasons):
                told = set(self._reasons)
                tell(f"takes no new work: {'; '.join(self._reasons.values())}")
            stop.wait(self._look)

    def _open(self) -> bool:
        return time.monotonic() < self._open_until

    def _read(self) -> None:
        self._read_until = time.monotonic() + self._fresh
        try:
            limits = self._device.guard().policy.limits
            self._reasons = limits.reasons(self.machine, self._reasons)
        except PolicyError as error:
            self._reasons = {"policy": str(error)}
