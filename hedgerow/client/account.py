"""A client's own account of what its updates have revealed about its samples."""

import hashlib
import logging
import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import final

import numpy as np

from hedgerow.files import locked, who_else_can_write
from hedgerow.privacy.accounting import Budget, epsilon
from hedgerow.privacy.events import Gaussian, PoissonSampled
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.secure.errors import Refused
from hedgerow.types import Arrays, Fit, LocalTraining

log = logging.getLogger("hedgerow")

STATE = "account"
"""The part of a client's state in memory that says in which rounds it took part."""

_ROUNDS = "rounds"

SEEDED = "seeded: a simulation"


class BudgetSpent(Refused):
    """A client that takes no further part: one more round would pass the run's budget of its samples."""


def event(local: LocalTraining) -> PoissonSampled | Gaussian:
    """The privacy event of one training step, for one sample.

    >>> event(LocalTraining(clip_samples=1, sample_noise=1.5, sample_rate=0.1, sample_delta=1e-5))
    PoissonSampled(rate=0.1, event=Gaussian(noise_multiplier=1.5))
    """
    one = Gaussian(local.sample_noise)
    return one if local.sample_rate == 1 else PoissonSampled(local.sample_rate, one)


def spent(local: LocalTraining, rounds: int) -> float:
    """The epsilon spent on each sample of a client after `rounds` rounds, at `sample_delta`.

    >>> local = LocalTraining(clip_samples=1, sample_noise=1.1, sample_rate=0.02, sample_delta=1e-4)
    >>> round(spent(local, 2), 3)
    0.882
    """
    events = [event(local)] * (rounds * local.steps(1))
    return epsilon(events, local.sample_delta, local.sample_adjacency)


def most_spent(local: LocalTraining, asked: int) -> float:
    """The most epsilon that a client can have spent after `asked` requests: never more than its budget.

    >>> local = LocalTraining(
    ...     clip_samples=1, sample_noise=1.1, sample_rate=0.02, sample_delta=1e-4, sample_epsilon=1.0
    ... )
    >>> [round(most_spent(local, asked), 3) for asked in (2, 50)]
    [0.882, 1.0]
    """
    return min(spent(local, asked), local.sample_epsilon or math.inf)


def budget(local: LocalTraining) -> Budget:
    """The budget that each client keeps for its samples."""
    return Budget(local.sample_delta, local.sample_epsilon or None, local.sample_adjacency)


@final
class Account:
    """One client's account, in a file that lives as long as the device's data.

    Args:
        client: stable name, for the error.
        local: how it trains.
        ledger: with `budget(local)`.
        seeded: whether the noise is derived from a seed, as in a simulation.
    """

    def __init__(self, client: str, local: LocalTraining, ledger: Ledger, *, seeded: bool) -> None:
        self._client, self._local, self._ledger, self._seeded = client, local, ledger, seeded

    def check(self) -> None:
        """Raise `BudgetSpent` if one more round would exceed the budget."""
        if not self._ledger.allows(event(self._local), self._local.steps(1)):
            raise BudgetSpent(
                f"client {self._client!r} takes no further part: one more round would pass its privacy"
                f" budget, epsilon {self._local.sample_epsilon:g} for each of its samples"
            )

    def record(self, round: int, fit: Fit | None = None) -> None:
        """Record what is about to be sent; if that raises `OSError`, nothing may be sent.

        With seeded noise, a `fit` that is sent again counts once. Without a
        `fit` every call counts, whatever its outcome: with noise from the
        operating system, even two equal answers are two releases.
        """
        digest, by = os.urandom(16).hex(), ""
        if fit is not None:
            digest, by = (
                hashlib.blake2b(fit.delta.tobytes(), digest_size=16).hexdigest(),
                fit.sample_gradients,
            )
        noise = SEEDED if self._seeded else "system"
        steps, delta = self._local.steps(1), self._local.sample_delta
        epsilon = self._ledger.record(
            round, event(self._local), digest, noise=noise, times=steps, sample_gradients=by
        )
        log.info(
            "client %r has spent epsilon %.3g of each of its samples (delta %g)", self._client, epsilon, delta
        )


def spend(
    client: str,
    local: LocalTraining,
    round: int,
    file: Path | None,
    kept: Callable[[], Arrays],
    *,
    seeded: bool,
) -> Account:
    """Open a client's account for one more round.

    A real client's round is recorded here, before training, because failing reveals something too.

    Args:
        client: stable name.
        local: how it trains.
        round: that it is asked for.
        file: one for each device, whatever a run calls the client; `None` for an account in memory.
        kept: returns the account's part of the client's state, for an account in memory.
        seeded: whether the noise is derived from a seed, as in a simulation.

    Raises:
        BudgetSpent: the round would exceed the budget.
        ValueError: there is no file, and this is not a simulation.
    """
    file = require_file(file, seeded=seeded)
    with nullcontext() if seeded or file is None else locked(file.with_suffix(".lock")):
        ledger = remembered(local, kept()) if file is None else Ledger(budget(local), file)
        own = Account(client, local, ledger, seeded=seeded)
        own.check()
        if not seeded:
            own.record(round)
    return own


def require_file(file: Path | None, *, seeded: bool) -> Path | None:
    """Check that an account has a file; only a simulation may keep its account in memory.

    Raises:
        ValueError: there is no file, and this is not a simulation.
    """
    if file is None and not seeded:
        raise ValueError(
            "sample_noise needs a folder in which a client keeps its account from one start to the next:"
            " start the SuperNode with --node-config 'policy=\"FOLDER/policy.toml\"' (or 'enrolment=...'), or"
            " give client_app a state_folder"
        )
    if file is not None and not seeded and (why := who_else_can_write(file.parent)):
        raise LedgerError(why)
    return file


def remembered(local: LocalTraining, state: Arrays) -> Ledger:
    """The account of a simulated client that keeps no file, from its state."""
    ledger = Ledger(budget(local))
    for place, round in enumerate(state.get(_ROUNDS, np.zeros(0, np.int64))):
        ledger.record(int(round), event(local), str(place), noise=SEEDED, times=local.steps(1))
    return ledger


def remember(state: Arrays, round: int) -> Arrays:
    """The account's part of the client state after a round."""
    before = np.asarray(state.get(_ROUNDS, np.zeros(0, np.int64)), np.int64)
    return {_ROUNDS: np.append(before, np.int64(round))}
