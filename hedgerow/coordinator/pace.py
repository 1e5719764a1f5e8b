"""How often devices may call: quickly during a round, slowly when idle, never too often."""

import time
from collections.abc import Callable
from typing import final

CALLS_PER_SECOND = 200.0
"""Most polls per second of all devices together."""

_LOOKS_PER_SECOND = 10.0
"""Of devices that wait for a message and have not been rung for, all together."""

_QUICK, _SLOW = 0.1, 3.0
_LEAST_HELD, _LONGEST_HELD = 10.0, 30.0
_LIVELY_SECONDS = 30.0
_SLOWER_SECONDS = 60.0

Clock = Callable[[], float]


@final
class Pace:
    """When a device should poll next.

    Quickly for 30 s after any device got a message, then slower within a minute;
    in any case all devices together stay under `CALLS_PER_SECOND`.

    >>> pace = Pace(lambda: 0.0)
    >>> pace.seconds(devices=1)
    3.0
    >>> pace.message()
    >>> pace.seconds(devices=1), pace.seconds(devices=300)
    (0.1, 1.5)
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._last = -float("inf")

    def message(self) -> None:
        """Record that a device got a message now."""
        self._last = self._clock()

    def seconds(self, devices: int) -> float:
        """Seconds that each of `devices` devices should wait before it polls again."""
        idle = self._clock() - self._last - _LIVELY_SECONDS
        part = min(1.0, max(0.0, idle / _SLOWER_SECONDS))
        return max(_QUICK + part * (_SLOW - _QUICK), devices / CALLS_PER_SECOND)

    def held(self, devices: int) -> tuple[float, float]:
        """Seconds for which a waiting device's poll is held open, and seconds until its next one.

        >>> Pace().held(devices=10), Pace().held(devices=300), Pace().held(devices=10_000)
        ((10.0, 0.0), (30.0, 0.0), (30.0, 20.0))
        """
        seconds = min(max(_LEAST_HELD, devices / _LOOKS_PER_SECOND), _LONGEST_HELD)
        return seconds, max(0.0, devices / CALLS_PER_SECOND - seconds)


@final
class Rates:
    """How many calls each caller has left: `burst` at once, `per_second` on average.

    >>> rates = Rates(per_second=1.0, burst=2, clock=lambda: 0.0)
    >>> [rates.wait("a"), rates.wait("a"), rates.wait("a"), rates.wait("b")]
    [0.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, per_second: float, burst: int, clock: Clock = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str) -> float:
        """Take one call: returns 0, or the seconds until the next is allowed."""
        now = self._clock()
        left, since = self._left.get(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_second)
        if left < 1.0:
            self._left[caller] = left, now
            return (1.0 - left) / self._per_second
        self._left[caller] = left - 1.0, now
        if len(self._left) > 10_000:  # callers with a full allowance need not be remembered
            self._left = {
                who: (tokens, at)
                for who, (tokens, at) in self._left.items()
                if tokens + (now - at) * self._per_second < self._burst
            }
        return 0.0
