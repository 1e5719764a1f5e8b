"""How many local steps a client takes in a round that has a time budget (`LocalTraining.time_budget`).

The client decides, from how long its own steps take. Before its first round it times a few
steps, whose result is discarded; after each round it corrects its estimate by the time that the round
took, which also covers what a fit takes besides its steps. A simulated client has no clock: its
step times are those of a described device (`hedgerow.simulation.devices`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, final, runtime_checkable

import numpy as np

from hedgerow.types import Arrays, Fit, LocalTraining
from hedgerow.types.training import STEPS_TAKEN

PACE = "pace"
"""The part of a client's state that holds its estimate of a step's time."""

_FEW = 3
"""Steps that are timed before the first round, after one that is not, because the first is slower."""

_NEW = 0.5
"""The weight of a round's step time in the moving estimate."""

_LEAST = 1e-9
"""No step takes fewer seconds, whatever a coarse clock says."""

_ESTIMATE = "step_seconds"

Train = Callable[[int], Fit]
"""Trains with at most so many steps; 0 takes all."""


@final
@dataclass(frozen=True)
class Place:
    """One client in one round of a run."""

    seed: int
    round: int
    client: str


@runtime_checkable
class StepTimes(Protocol):
    """Tells how long a client's steps take."""

    @property
    def simulated(self) -> bool:
        """Whether no clock is read, so that clients may also be trained side by side."""
        ...

    def ahead(self, place: Place, most: int, train: Train) -> tuple[float, float]:
        """Seconds of one step before any has counted, and the seconds spent on finding out.

        Args:
            place: of the client.
            most: steps that it could take.
            train: takes steps whose result is discarded.
        """
        ...

    def timed(self, place: Place, steps: int, train: Train) -> tuple[Fit, float]:
        """Train for that many steps: the fit, and the seconds of one step."""
        ...


@final
@dataclass(frozen=True)
class Clock:
    """The machine's own clock.

    Attributes:
        now: returns seconds since some moment.
    """

    now: Callable[[], float] = time.perf_counter
    simulated: bool = field(default=False, init=False)

    def ahead(self, place: Place, most: int, train: Train) -> tuple[float, float]:
        """Time a few steps."""
        began, few = self.now(), min(_FEW, most)
        train(1)
        started = self.now()
        train(few)
        ended = self.now()
        return (ended - started) / few, ended - began

    def timed(self, place: Place, steps: int, train: Train) -> tuple[Fit, float]:
        """Train; what the fit takes besides its steps counts as a part of each."""
        started = self.now()
        fit = train(steps)
        return fit, (self.now() - started) / steps


CLOCK = Clock()


@final
class Pace:
    """One client's steps in one round.

    Args:
        times: tells how long a step takes.
        local: how the client trains.
        place: the client and the round.
        before: what an earlier round's `kept` was; empty if there was none.
    """

    def __init__(self, times: StepTimes, local: LocalTraining, place: Place, before: Arrays) -> None:
        self._times, self._local, self._place = times, local, place
        self._estimate = float(before[_ESTIMATE][0]) if _ESTIMATE in before else None
        self._most = self._limit = 0

    @property
    def kept(self) -> Arrays:
        """What the client keeps for its next round."""
        return {} if self._estimate is None else {_ESTIMATE: np.array([self._estimate])}

    def trained(self, samples: int, train: Train) -> Fit:
        """Train, for as many steps as fit into the budget; all of them if there is none."""
        self.limit(samples, train)
        return self.take(train)

    def limit(self, samples: int, train: Train) -> int:
        """The number of steps that fit: at least one, at most those of `LocalTraining.steps`; 0 for no limit.

        Args:
            samples: number of the client's samples.
            train: takes steps that are timed, if none have been.
        """
        if left := self._local.time_budget:
            self._most = self._local.steps(samples)
            if self._estimate is None:
                self._estimate, spent = self._times.ahead(self._place, self._most, train)
                left -= spent
            self._limit = max(1, min(self._most, int(left / max(self._estimate, _LEAST))))
        return self._limit

    def take(self, train: Train) -> Fit:
        """Train within the limit, and correct the estimate: the fit says how many steps it took."""
        if not self._limit:
            return train(0)
        fit, now = self._times.timed(self._place, self._limit, train)
        assert self._estimate is not None
        self._estimate += _NEW * (now - self._estimate)
        told = {**fit.metrics, STEPS_TAKEN: self._limit / self._most}
        return replace(fit, steps=self._limit, metrics=told)
