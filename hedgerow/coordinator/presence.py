"""Which devices are online: when the gateway last heard from each."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.members import load_members

FILE = "presence.json"


@dataclass(frozen=True)
class Gathering:
    """Which devices of a federation are online.

    Attributes:
        connected: names, sorted.
        missing: names that have joined or are invited, and are offline, sorted.
        wanted: number that a run waits for.
        places: number of phones that are invited and can still join.
    """

    connected: tuple[str, ...]
    missing: tuple[str, ...]
    wanted: int
    places: int = 0

    def told(self) -> str:
        """This, in one line.

        >>> Gathering(("garage", "kitchen"), ("shed",), 3).told()
        '2 of 3 connected: garage, kitchen; waiting for shed'
        >>> Gathering((), (), 3).told()
        '0 of 3 connected; invite more: hedgerow invite NAME'
        >>> Gathering((), ("shed",), 3, places=2).told()
        '0 of 3 connected; waiting for shed, 2 phones'
        """
        text = f"{len(self.connected)} of {self.wanted} connected"
        text += f": {', '.join(self.connected)}" if self.connected else ""
        if len(self.connected) >= self.wanted:
            return text
        phones = [f"{self.places} phone{'s' * (self.places > 1)}"] if self.places else []
        awaited = ", ".join([*self.missing, *phones])
        if len(self.connected) + len(self.missing) + self.places < self.wanted:
            also = f"waiting for {awaited}; " if awaited else ""
            return f"{text}; {also}invite more: hedgerow invite NAME"
        return f"{text}; waiting for {awaited}"


def heard(folder: FederationFolder) -> dict[str, float]:
    """`{name: time it was last heard from}`, in Unix seconds; empty if that cannot be read."""
    try:
        return {str(name): float(when) for name, when in folder.read(FILE, {}).items()}
    except (FederationError, TypeError, ValueError, AttributeError):
        return {}  # it is rewritten within seconds


def still_there(heard: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Those heard from within the last `seconds`, sorted by name."""
    since = time.time() - seconds
    return {name: when for name, when in sorted(heard.items()) if when > since}


def online(folder: FederationFolder) -> tuple[str, ...]:
    """Names of the devices that are online, sorted."""
    return tuple(still_there(heard(folder), folder.settings.lost_after))


def gathering(folder: FederationFolder, wanted: int) -> Gathering:
    """The devices that are online, and those that could be."""
    members, there = load_members(folder), online(folder)
    missing = (set(members.devices) | members.waited_for) - set(there)
    return Gathering(there, tuple(sorted(missing)), wanted, members.places)
