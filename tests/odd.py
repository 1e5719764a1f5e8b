"""A trainer of which one client does something odd, alone and where clients are trained together."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hedgerow.types import Fit, LocalTraining, Model, RoundResult, Samples
from tests.support import LAYOUT, MeanTrainer

BAD = "client-003"


class Odd(MeanTrainer):
    """Does something odd for one client, in some rounds, before it trains."""

    def __init__(self, act: Callable[[], Any] = lambda: None, rounds: tuple[int, ...] = (2,)) -> None:
        super().__init__(LAYOUT)
        object.__setattr__(self, "act", act)
        object.__setattr__(self, "rounds", rounds)

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str
    ) -> Fit:
        if client == BAD and round in self.rounds:
            self.act()
        return super().fit(model, data, local, seed=seed, round=round, client=client)


class Together(Odd):
    """Trains several at once, the last first."""

    supports = frozenset({"many"})

    def fit_many(self, model, clients, local, *, seed, round) -> Iterator[tuple[str, Fit | Exception]]:
        for name, data in reversed(clients):
            try:
                yield name, self.fit(model, data, local, seed=seed, round=round, client=name)
            except (ValueError, MemoryError) as error:
                yield name, error


def raises() -> None:
    raise ValueError("the sensor is unplugged")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exits() -> None:
    os._exit(3)


def claimed(file: Path) -> bool:
    """Whether this is the first to ask."""
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def once(folder: Path, act: Callable[[], Any]) -> Callable[[], None]:
    """Acts in the first process that gets there; the next ones carry on."""

    def odd() -> None:
        if claimed(folder / "once"):
            act()

    return odd


def models(results: list[RoundResult]) -> list[bytes]:
    return [result.state.model.parameters.tobytes() for result in results]


def alike(results: list[RoundResult], others: list[RoundResult]) -> None:
    """Equal in all but their times."""
    assert models(results) == models(others)
    for one, other in zip(results, others, strict=True):
        for name in ("cohort", "dropped", "failed", "bytes_up", "bytes_down", "metrics"):
            assert getattr(one, name) == getattr(other, name), name
