"""What a device gives of its machine, and when: the `[limits]` of its policy file.

They are the device's own: no server can widen them, and none is told which one holds the device back.
"""

import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import time

from hedgerow import checks
from hedgerow.client.machine import Machine
from hedgerow.secure.errors import Refused

_LEAST_MEMORY = 128  # megabytes; Python, numpy and the node take half of it before they train
_COOLER = 5.0  # degrees below the limit before new work begins again
_RANGE = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class NotAvailable(Refused):
    """The device takes no new work now."""

    level = logging.WARNING


@dataclass(frozen=True)
class Limits:
    """The limits of one device; by default, none.

    Attributes:
        memory: megabytes that the node may allocate; `None` for no limit.
        threads: processor cores that it computes on; `None` for all.
        temperature: degrees Celsius from which it takes no new work; `None` for no limit.
        on_mains: it takes new work only while the machine does not run on its battery.
        unmetered: only while NetworkManager says that the link is not metered.
        quiet: ranges of local time without new work; one may go over midnight.

    Raises:
        ValueError: a value is out of range.

    >>> Limits(quiet=("22:00-06:30",)).ranges
    ((datetime.time(22, 0), datetime.time(6, 30)),)
    """

    memory: int | None = None
    threads: int | None = None
    temperature: float | None = None
    on_mains: bool = False
    unmetered: bool = False
    quiet: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.memory is not None:
            checks.whole(_LEAST_MEMORY, memory=self.memory)
        if self.threads is not None:
            checks.whole(1, threads=self.threads)
        if self.temperature is not None:
            checks.positive(temperature=self.temperature)
        for name in ("on_mains", "unmetered"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} is {value!r}; it must be true or false")
        for text in self.quiet:
            if not isinstance(text, str) or not _RANGE.fullmatch(text):
                raise ValueError(f"quiet has {text!r}; it must have ranges of hours, such as '22:00-06:00'")

    @property
    def ranges(self) -> tuple[tuple[time, time], ...]:
        """Begin and end of each quiet range; the end is outside."""
        found = (re.split("[:-]", text) for text in self.quiet)
        return tuple((time(int(a), int(b)), time(int(c), int(d))) for a, b, c, d in found)

    def reasons(self, machine: Machine, resting: Collection[str] = ()) -> Mapping[str, str]:
        """Why the device takes no new work now, a sentence for each limit, by its name; empty if it does.

        Args:
            machine: what is read.
            resting: limits for which it takes none already: it must be a little cooler to begin again.
        """
        found = ((name, rule(self, machine, name in resting)) for name, rule in _RULES)
        return {name: why for name, why in found if why}


NO_LIMITS = Limits()


def _temperature(limits: Limits, machine: Machine, resting: bool) -> str:
    if limits.temperature is None:
        return ""
    if (found := machine.temperature()) is None:
        return "this machine shows no temperature: leave temperature out of [limits] to take part"
    if found < limits.temperature - (_COOLER if resting else 0.0):
        return ""
    return f"it is {found:.0f} °C here, and the limit is {limits.temperature:g} °C"


def _on_mains(limits: Limits, machine: Machine, resting: bool) -> str:
    return "the machine runs on its battery" if limits.on_mains and not machine.on_mains() else ""


def _unmetered(limits: Limits, machine: Machine, resting: bool) -> str:
    if not limits.unmetered:
        return ""
    if (metered := machine.metered()) is None:
        return (
            "whether the link is metered cannot be known, because NetworkManager does not say: leave"
            " unmetered out of [limits] to take part"
        )
    return "the link is metered" if metered else ""


def _quiet(limits: Limits, machine: Machine, resting: bool) -> str:
    now = machine.now().time()
    for (begin, end), text in zip(limits.ranges, limits.quiet, strict=True):
        inside = begin <= now < end if begin < end else now >= begin or now < end
        if inside:
            return f"the hours {text} are quiet"
    return ""


_RULES: list[tuple[str, Callable[[Limits, Machine, bool], str]]] = [
    ("temperature", _temperature),
    ("on_mains", _on_mains),
    ("unmetered", _unmetered),
    ("quiet", _quiet),
]
