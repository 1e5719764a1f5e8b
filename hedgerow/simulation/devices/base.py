"""Simulated devices: what a client's step would take on its device, instead of what it takes here.

No clock is read, so a run with a time budget is the same for any number of workers, on any machine.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, final

from hedgerow.client.pace import CLOCK, Place, StepTimes, Train
from hedgerow.rng import generator
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Fit

Describe: TypeAlias = Callable[[int, str], tuple[str, float]]
"""`(seed, client) -> (class of its device, or an empty text; seconds of a step)`."""


@final
@dataclass(frozen=True)
class Devices:
    """The devices of all clients of a simulation, as `StepTimes`.

    Attributes:
        name: as written in a recipe.
        describe: a client's device, which depends on the run's seed and the client's name only.
        jitter: spread of a device's step times from round to round: the standard deviation of their
            logarithm; 0 for none.

    >>> from hedgerow.simulation.devices.classes import classes
    >>> devices = classes(("laptop", "pi"), (0.5, 0.5), (0.01, 0.2))
    >>> devices.describe(1, "client-0003"), devices.seconds(Place(1, 1, "client-0003"))
    (('laptop', 0.01), 0.01)
    """

    name: str
    describe: Describe
    jitter: float = 0.0
    simulated: bool = field(default=True, init=False)

    def seconds(self, place: Place) -> float:
        """Seconds of one of the client's steps in that round."""
        _, usual = self.describe(place.seed, place.client)
        if not self.jitter:
            return usual
        drawn = generator(place.seed, "step time", round=place.round, client=place.client)
        return usual * float(drawn.lognormal(0.0, self.jitter))

    def ahead(self, place: Place, most: int, train: Train) -> tuple[float, float]:
        """The seconds of one step; a simulated device knows them without a trial."""
        return self.seconds(place), 0.0

    def timed(self, place: Place, steps: int, train: Train) -> tuple[Fit, float]:
        """Train, and tell what a step would have taken."""
        return train(steps), self.seconds(place)


def step_times_of(devices: Devices | None, strategy: Strategy) -> StepTimes:
    """The step times of simulated clients; raises `ValueError` if they need devices and have none."""
    if devices is not None:
        return devices
    if strategy.local.time_budget:
        raise ValueError(
            f"time_budget is {strategy.local.time_budget:g}; simulated clients have no clock: describe their"
            ' devices, as in [devices] with name = "classes", or leave time_budget out'
        )
    return CLOCK  # which nobody reads
