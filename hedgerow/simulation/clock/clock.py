"""A virtual clock: which device and link each client has, and what its part of a round takes and costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from types import NoneType
from typing import final

from hedgerow import checks
from hedgerow.rng import generator
from hedgerow.simulation.clock.availability import Availability, is_there
from hedgerow.simulation.clock.profiles import Device, Link, device_of, link_of
from hedgerow.simulation.clock.trip import Trip
from hedgerow.simulation.clock.work import Work
from hedgerow.simulation.devices.base import Devices


@final
@dataclass(frozen=True)
class Kind:
    """A device on a link.

    Attributes:
        name: such as `"pi-4, wifi"`.
        device: how fast it trains.
        link: how fast it sends.
    """

    name: str
    device: Device
    link: Link


@final
@dataclass(frozen=True)
class Clock:
    """The devices and links of a run's clients, and when they are there; made by `clock`.

    Attributes:
        name: everything that it depends on, for the run's fingerprint.
        kinds: of the clients.
        shares: of the clients that are of each kind.
        flops_per_example: of training on a sample; `None` if it is to be counted on the model.
        slowdown: exponent of the power law of how much slower than its kind a device is; 0 if it is not.
        availability: when clients are there; `None` for always.
        dropout: probability that a client that trains is lost.
        lost_after: seconds after which the server knows that a client is lost.
    """

    name: str
    kinds: tuple[Kind, ...]
    shares: tuple[float, ...]
    flops_per_example: float | None = None
    slowdown: float = 0.0
    availability: Availability | None = None
    dropout: float = 0.0
    lost_after: float = 20.0

    def kind_of(self, seed: int, client: str) -> Kind:
        """The client's kind, which depends on the run's seed and the client's name only."""
        drawn = generator(seed, "clock kind", client=client).random() * math.fsum(self.shares)
        place = 0
        while place < len(self.kinds) - 1 and drawn >= self.shares[place]:
            drawn -= self.shares[place]
            place += 1
        kind = self.kinds[place]
        if not self.slowdown:
            return kind
        tail = 1.0 - generator(seed, "clock slowdown", client=client).random()
        slower = float(tail ** (-1.0 / self.slowdown))
        return replace(kind, device=replace(kind.device, gflops=kind.device.gflops / slower))

    def step_times(self, work: Work) -> Devices:
        """How long a step takes on each client's device, for a time budget."""

        def describe(seed: int, client: str) -> tuple[str, float]:
            kind = self.kind_of(seed, client)
            return kind.name, kind.device.training_seconds(work.step_flops(client))

        return Devices(self.name, describe)

    def there(self, seed: int, client: str, at: float) -> bool:
        """Whether a client is available."""
        return self.availability is None or is_there(self.availability.period(seed, client, at), at)

    def back(self, seed: int, client: str, at: float) -> float:
        """When it is available next: `at` if it is there, infinity if it never comes back."""
        if self.availability is None:
            return at
        period = self.availability.period(seed, client, at)
        return inf if period is None else max(at, period[0])

    def trip(
        self,
        seed: int,
        work: Work,
        client: str,
        *,
        round: int,
        start: float,
        down: int,
        trains: bool,
        attempt: int = 0,
    ) -> Trip:
        """What one message to a client, and its answer, take.

        Args:
            seed: of the run.
            work: of a client that trains.
            client: its name.
            round: for which it is asked.
            start: when the message is sent.
            down: its bytes.
            trains: whether the client trains for its answer.
            attempt: how often it was asked in that round before.
        """
        kind = self.kind_of(seed, client)
        training = 0.0
        if trains:
            step = kind.device.training_seconds(work.step_flops(client))
            training = kind.device.training_seconds(work.flops_of(client, step))
        trip = Trip(start, down, training, kind.device.watts, kind.link, self._leaves(seed, client, start))
        if not (trains and self.dropout):
            return trip
        is_lost, moment = generator(seed, "dropout", round=round, client=client).random((attempt + 1, 2))[-1]
        if is_lost >= self.dropout:
            return trip
        lost = start + float(moment) * (trip.trained - start)
        return replace(trip, lost=min(lost, trip.lost))

    def _leaves(self, seed: int, client: str, start: float) -> float:
        if self.availability is None:
            return inf
        period = self.availability.period(seed, client, start)
        return period[1] if period is not None and is_there(period, start) else start


@checks.arguments
def clock(
    devices: tuple[str, ...] = ("pi-4",),
    links: tuple[str, ...] = ("wifi",),
    shares: tuple[float, ...] = (1.0,),
    flops_per_example: float | None = None,
    slowdown: float = 0.0,
    dropout: float = 0.0,
    lost_after: float = 20.0,
    own_devices: Mapping[str, Device] | None = None,
    own_links: Mapping[str, Link] | None = None,
    availability: Availability | None = None,
) -> Clock:
    """Make a clock: each client has one of these devices, on the link at the same place.

    Args:
        devices: kinds of devices, of those in `profiles.toml` or `own_devices`.
        links: the link of each, of those in `profiles.toml` or `own_links`.
        shares: of the clients; they add up to 1.
        flops_per_example: float32 operations of training on a sample; counted on the model by default.
        slowdown: exponent of a power law: a device is `x` times slower than its kind or more with
            probability `x ** -slowdown`; 0 if all of a kind are alike.
        dropout: probability that a client that trains is lost before it has.
        lost_after: seconds after which the server knows that a client is lost.
        own_devices: further kinds of devices, by name.
        own_links: further kinds of links, by name.
        availability: when clients are there; `None` for always.

    Raises:
        ValueError: the lists differ in length, a name is unknown, or a value is out of range.

    >>> fleet = clock(("pi-4", "phone-low"), ("wifi", "lte"), (0.5, 0.5))
    >>> [fleet.kind_of(0, name).name for name in ("a", "b", "c")]
    ['pi-4, wifi', 'pi-4, wifi', 'phone-low, lte']
    """
    checks.texts(devices=devices, links=links)
    checks.kind((tuple, list), " of numbers", shares=shares)
    checks.kind((Availability, NoneType), ", such as daily()", availability=availability)
    if not devices:
        raise ValueError("devices is []; it must have at least one name")
    for given, values in (("links", links), ("shares", shares)):
        if len(values) != len(devices):
            raise ValueError(f"{given} is {list(values)}; it must have one entry for each of {list(devices)}")
    for share in shares:
        checks.positive(shares=share)
    if not math.isclose(math.fsum(shares), 1.0, abs_tol=1e-6):
        raise ValueError(f"shares is {list(shares)}; it must add up to 1, not {math.fsum(shares):g}")
    if flops_per_example is not None:
        checks.positive(flops_per_example=flops_per_example)
    checks.not_negative(slowdown=slowdown, lost_after=lost_after)
    checks.probability(dropout=dropout)
    checks.kind((Mapping, NoneType), own_devices=own_devices, own_links=own_links)
    kinds = tuple(
        Kind(f"{device}, {link}", device_of(device, own_devices or {}), link_of(link, own_links or {}))
        for device, link in zip(devices, links, strict=True)
    )
    name = str(
        (kinds, shares, flops_per_example, slowdown, dropout, lost_after, availability and availability.name)
    )
    return Clock(name, kinds, tuple(shares), flops_per_example, slowdown, availability, dropout, lost_after)
