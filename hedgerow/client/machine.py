"""What a device can read of its own machine: temperature, power, and whether its link is metered."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_MANAGER = "org.freedesktop.NetworkManager"
_ASK = (
    "busctl", "--system", "--auto-start=no", "get-property", _MANAGER, f"/{_MANAGER.replace('.', '/')}",
    _MANAGER, "Metered",
)  # fmt: skip
_METERED = {"u 1": True, "u 2": False, "u 3": True, "u 4": False}
"""NetworkManager's `NMMetered`: yes, no, and what it guesses; 0 is unknown."""
_SECONDS = 10.0


def network_manager() -> bool | None:
    """Whether NetworkManager calls the machine's link metered; `None` if it does not say, or is not there."""
    try:
        done = subprocess.run(_ASK, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _METERED.get(done.stdout.strip())


@dataclass(frozen=True)
class Machine:
    """This machine.

    Attributes:
        root: where the kernel shows its devices.
        now: the local time.
        metered: whether the link is metered; `None` if that cannot be known.
    """

    root: Path = Path("/sys")
    now: Callable[[], datetime] = datetime.now
    metered: Callable[[], bool | None] = network_manager

    def temperature(self) -> float | None:
        """Degrees Celsius of the hottest sensor; `None` if there is none."""
        found = (_text(zone / "temp") for zone in self.root.glob("class/thermal/thermal_zone*"))
        degrees = [int(text) / 1000 for text in found if text.lstrip("-").isdecimal()]
        return max(degrees, default=None)

    def on_mains(self) -> bool:
        """Whether it does not run on a battery; a machine without one never does."""
        supplies = list(self._supplies())
        if any(online == "1" for kind, online, _ in supplies if kind != "Battery"):
            return True
        return not any(status == "Discharging" for kind, _, status in supplies if kind == "Battery")

    def _supplies(self) -> Iterator[tuple[str, str, str]]:
        """Kind, whether it is connected, and status of each supply; not those of mice and other devices."""
        for place in sorted(self.root.glob("class/power_supply/*")):
            if _text(place / "scope") != "Device":
                yield _text(place / "type"), _text(place / "online"), _text(place / "status")


def _text(file: Path) -> str:
    """What the kernel shows in a file; empty if it cannot be read, as of a sensor that is switched off."""
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
