"""Profiles of devices and links: how fast they are, and what they spend."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, TypeVar

from hedgerow import checks
from hedgerow.wording import did_you_mean

Profile = TypeVar("Profile")


@dataclass(frozen=True)
class Device:
    """A kind of device.

    Attributes:
        gflops: float32 operations a second that training reaches, in units of 1e9.
        watts: spent while it trains.
        sources: where each figure is from, by its name.

    Raises:
        ValueError: a figure is out of range.

    >>> Device(gflops=2.0).training_seconds(4e9)
    2.0
    """

    gflops: float
    watts: float = 0.0
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        checks.positive(gflops=self.gflops)
        checks.not_negative(watts=self.watts)

    def training_seconds(self, flops: float) -> float:
        """Seconds for so many operations."""
        return flops / (self.gflops * 1e9)


@dataclass(frozen=True)
class Link:
    """A kind of link between a device and the server.

    Attributes:
        up: bits a second from the device to the server.
        down: bits a second from the server to the device.
        delay: seconds that a message takes besides its bytes, one way.
        loss: share of the packets that are lost and sent again, so that bytes travel
            `1 / (1 - loss)` times.
        duty: share of the time in which it may send or receive.
        price: of 1e6 bytes, either way.
        joules_up: spent on a byte sent.
        joules_down: spent on a byte received.
        watts: spent besides, while bytes travel.
        sources: where each figure is from, by its name.

    Raises:
        ValueError: a figure is out of range.
    """

    up: float
    down: float
    delay: float = 0.0
    loss: float = 0.0
    duty: float = 1.0
    price: float = 0.0
    joules_up: float = 0.0
    joules_down: float = 0.0
    watts: float = 0.0
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        checks.positive(up=self.up, down=self.down)
        checks.probability(loss=self.loss)
        checks.fraction(duty=self.duty)
        checks.not_negative(
            delay=self.delay, price=self.price, joules_up=self.joules_up,
            joules_down=self.joules_down, watts=self.watts,
        )  # fmt: skip

    def seconds_up(self, size: int) -> float:
        """Seconds until so many bytes have arrived at the server.

        >>> Link(up=8e3, down=8e6, delay=0.5, loss=0.5, duty=0.1).seconds_up(1000)
        20.5
        """
        return self.delay + self._travelling(size, self.up) / self.duty

    def seconds_down(self, size: int) -> float:
        """Seconds until so many bytes have arrived at the device."""
        return self.delay + self._travelling(size, self.down) / self.duty

    def joules(self, down: int, up: int) -> float:
        """Spent by the device on so many bytes received and sent."""
        travelling = self._travelling(down, self.down) + self._travelling(up, self.up)
        return (down * self.joules_down + up * self.joules_up) / (1 - self.loss) + self.watts * travelling

    def cost(self, down: int, up: int) -> float:
        """The price of so many bytes received and sent."""
        return self.price * (down + up) / 1e6

    def _travelling(self, size: int, rate: float) -> float:
        return 8 * size / (rate * (1 - self.loss))


@cache
def packaged() -> tuple[Mapping[str, Device], Mapping[str, Link]]:
    """The devices and links that come with Hedgerow, by name.

    >>> devices, links = packaged()
    >>> devices["pi-4"].gflops, sorted(links)
    (15.2, ['lora', 'lte', 'nb-iot', 'wifi'])
    """
    file = resources.files("hedgerow.simulation.clock").joinpath("profiles.toml")
    table: dict[str, dict[str, Any]] = tomllib.loads(file.read_text(encoding="utf-8"))
    devices = {name: Device(**figures) for name, figures in table["device"].items()}
    return devices, {name: Link(**figures) for name, figures in table["link"].items()}


def device_of(name: str, own: Mapping[str, Device]) -> Device:
    """The device of that name, the recipe's own first; raises `ValueError` if there is none."""
    return _named("device", name, {**packaged()[0], **own})


def link_of(name: str, own: Mapping[str, Link]) -> Link:
    """The link of that name, the recipe's own first; raises `ValueError` if there is none."""
    return _named("link", name, {**packaged()[1], **own})


def _named(kind: str, name: str, known: Mapping[str, Profile]) -> Profile:
    if name not in known:
        raise ValueError(
            f"{kind}s is {name!r}; it must be one of {', '.join(known)}, or a kind of your own in"
            f" [clock.own_{kind}s.{name}].{did_you_mean(name, known)}"
        )
    return known[name]
