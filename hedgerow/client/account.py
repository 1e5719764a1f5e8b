"""A client's own account of what its updates have told of its samples."""

import hashlib
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from hedgerow.client.state import FolderState
from hedgerow.privacy.accounting import Budget, epsilon
from hedgerow.privacy.events import Gaussian, PoissonSampled
from hedgerow.privacy.ledger import Ledger
from hedgerow.types import Arrays, Fit, LocalTraining

log = logging.getLogger("hedgerow")

STATE = "samples.rounds"
"""Rounds that a client took part in, among what it keeps in memory."""

SEEDED = "seeded: a simulation"


class BudgetSpent(ValueError):
    """A client takes no further part: the next round would pass its privacy budget."""


def event(local: LocalTraining) -> PoissonSampled | Gaussian:
    """What one step reveals of a sample.

    >>> event(LocalTraining(clip_samples=1, sample_noise=1.5, sample_rate=0.1, sample_delta=1e-5))
    PoissonSampled(rate=0.1, event=Gaussian(noise_multiplier=1.5))
    """
    one = Gaussian(local.sample_noise)
    return one if local.sample_rate == 1 else PoissonSampled(local.sample_rate, one)


def spent(local: LocalTraining, rounds: int) -> float:
    """The epsilon of a client that took part in so many rounds, at `sample_delta`: for each of its samples.

    >>> local = LocalTraining(clip_samples=1, sample_noise=1.1, sample_rate=0.02, sample_delta=1e-4)
    >>> round(spent(local, 2), 3)
    0.882
    """
    events = [event(local)] * (rounds * local.steps(1))
    return epsilon(events, local.sample_delta, local.sample_adjacency)


def most_spent(local: LocalTraining, asked: int) -> float:
    """The epsilon that a client can have spent that was asked so often: no more than its budget.

    >>> local = LocalTraining(
    ...     clip_samples=1, sample_noise=1.1, sample_rate=0.02, sample_delta=1e-4, sample_epsilon=1.0
    ... )
    >>> [round(most_spent(local, asked), 3) for asked in (2, 50)]
    [0.882, 1.0]
    """
    return min(spent(local, asked), local.sample_epsilon or math.inf)


def budget(local: LocalTraining) -> Budget:
    """Of each client."""
    return Budget(local.sample_delta, local.sample_epsilon or None, local.sample_adjacency)


@final
class Account:
    """One client's account, in a file that lives as long as the device's data.

    Args:
        client: stable name, for the error.
        local: how it trains.
        ledger: with `budget(local)`.
        seeded: the noise follows from a seed: a simulation.
    """

    def __init__(self, client: str, local: LocalTraining, ledger: Ledger, *, seeded: bool) -> None:
        self._client, self._local, self._ledger, self._seeded = client, local, ledger, seeded

    def check(self) -> None:
        """Raise `BudgetSpent` where one more round would pass the budget."""
        if not self._ledger.allows(event(self._local), self._local.steps(1)):
            raise BudgetSpent(
                f"client {self._client!r} takes no further part: one more round would pass its privacy"
                f" budget, epsilon {self._local.sample_epsilon:g} for each of its samples"
            )

    def record(self, round: int, fit: Fit) -> None:
        """Write down what is about to be sent; `OSError` where that fails, and then nothing may be sent."""
        digest = hashlib.blake2b(fit.delta.tobytes(), digest_size=16).hexdigest()
        noise = SEEDED if self._seeded else "system"
        steps, delta = self._local.steps(1), self._local.sample_delta
        epsilon = self._ledger.record(round, event(self._local), digest, noise=noise, times=steps)
        log.info(
            "client %r has spent epsilon %.3g of each of its samples (delta %g)", self._client, epsilon, delta
        )


def folder(given: Path | None, node_config: Mapping[str, Any], *, seeded: bool) -> Path | None:
    """Where accounts lie: `given`, or what the node configuration says; `None` for a simulation in memory.

    Raises:
        ValueError: there is no such place, and the noise is not a simulation's.
    """
    if given is not None or seeded:
        return given
    if named := node_config.get("account"):
        return Path(str(named))
    raise ValueError(
        "sample_noise needs a folder in which a client keeps its account from one start to the next:"
        " start the SuperNode with --node-config 'account=\"FOLDER\"', or give client_app a state_folder"
    )


def opened(client: str, local: LocalTraining, kept: FolderState | Arrays, *, seeded: bool) -> Account:
    """A client's account, from its folder or from its state in memory.

    Raises:
        LedgerError: the file cannot be read.
    """
    if isinstance(kept, FolderState):
        return Account(client, local, Ledger(budget(local), kept.file("privacy.jsonl")), seeded=seeded)
    return Account(client, local, remembered(local, kept), seeded=seeded)


def remembered(local: LocalTraining, state: Arrays) -> Ledger:
    """The account of a simulated client that keeps no file, from its state."""
    ledger = Ledger(budget(local))
    for place, round in enumerate(state.get(STATE, np.zeros(0, np.int64))):
        ledger.record(int(round), event(local), str(place), noise=SEEDED, times=local.steps(1))
    return ledger


def remember(state: Arrays, round: int) -> Arrays:
    """The state after a round."""
    before = np.asarray(state.get(STATE, np.zeros(0, np.int64)), np.int64)
    return {STATE: np.append(before, np.int64(round))}
