"""What a private run has revealed, written down before it is revealed."""

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from hedgerow import rng
from hedgerow.privacy.accounting import Budget, epsilon
from hedgerow.privacy.events import Event, from_json, to_json
from hedgerow.server.collect import Collector
from hedgerow.server.masked import MaskedCollector
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, ServerState

log = logging.getLogger("hedgerow")

_RELEASES = "releases"


class LedgerError(ValueError):
    """A ledger that cannot be trusted to hold all that was released."""


@final
class Ledger:
    """The events of one run, one JSON line each, flushed to the disk before the release they are for.

    A run that is killed has revealed at most what stands here. A round that is
    run again counts again, unless it releases the same sum, bit for bit (its
    digest says so), as it does where a seed decides the noise.

    Args:
        budget: of the run.
        file: where the lines lie, made at the first; `None` keeps them in memory.

    Raises:
        LedgerError: a line in the file cannot be read.

    >>> from hedgerow.privacy.events import Gaussian
    >>> ledger = Ledger(Budget(delta=1e-5, epsilon=2.0))
    >>> round(ledger.record(1, Gaussian(4.0), "a sum", noise="system"), 2)
    0.93
    >>> ledger.allows(Gaussian(4.0)), ledger.allows(Gaussian(1.0))
    (True, False)
    """

    def __init__(self, budget: Budget, file: Path | None = None) -> None:
        self.budget = budget
        self._file = file
        self._entries: dict[tuple[int, str], Event] = {}
        self._known: dict[frozenset[tuple[Event, int]], float] = {}
        if file is not None and file.is_file():
            self._read(file)

    @property
    def releases(self) -> int:
        """How many different sums were released."""
        return len(self._entries)

    @property
    def epsilon(self) -> float:
        """Of all releases together, for the budget's delta."""
        return self._epsilon(Counter(self._entries.values()))

    def allows(self, event: Event) -> bool:
        """Whether one more such release stays within the budget."""
        return self.budget.epsilon is None or self._after(event) <= self.budget.epsilon

    def record(self, round: int, event: Event, digest: str, *, noise: str) -> float:
        """Write down what is about to be released, and return the epsilon with it.

        Returns only when the line is on the disk.

        Raises:
            OSError: it cannot be written; then nothing may be released.
        """
        line = {"round": round, "event": to_json(event), "release": digest, "noise": noise}
        if self._file is not None and (round, digest) not in self._entries:
            _append_durably(self._file, json.dumps(line) + "\n")
        self._entries[round, digest] = event
        return self.epsilon

    def _after(self, event: Event) -> float:
        return self._epsilon(Counter([*self._entries.values(), event]))

    def _epsilon(self, events: Counter[Event]) -> float:
        key = frozenset(events.items())
        if key not in self._known:
            self._known = {key: epsilon(events.elements(), self.budget.delta)}
        return self._known[key]

    def _read(self, file: Path) -> None:
        content = file.read_bytes()
        whole, newline, torn = content.rpartition(b"\n")
        if torn:  # was being written when the run was killed, and so before its release
            os.truncate(file, len(whole) + len(newline))
        for number, text in enumerate(whole.split(b"\n") if whole else [], start=1):
            try:
                line = json.loads(text)
                self._entries[int(line["round"]), str(line["release"])] = from_json(line["event"])
            except (ValueError, KeyError, TypeError) as error:
                raise LedgerError(
                    f"line {number} of {file} cannot be read: {error}. What the run has revealed is not"
                    " known: restore the file from a copy, or start a new run"
                ) from error


@dataclass(frozen=True)
class PrivateRounds:
    """What the rounds of a private strategy do differently.

    Attributes:
        strategy: a private one.
        seed: of the run.
        ledger: counts what is released.
        seeded: the seed decides noise and cohorts, so that a simulation can be
            repeated. Whoever knows the seed can then take the noise off.

    Raises:
        ValueError: the model has values that would be averaged without noise.
        LedgerError: the ledger holds less than the state has released.
    """

    strategy: Strategy
    seed: int
    ledger: Ledger
    seeded: bool

    def check(self, layout: Layout, state: ServerState) -> None:
        """Refuse to begin where the ledger would not be true."""
        if layout.buffer_size:
            raise ValueError(
                f"the model has {layout.buffer_size} values that are not trained (BatchNorm's statistics,"
                " frozen parameters); they would be averaged without noise: use GroupNorm, or a model"
                " without them"
            )
        released = int(state.private[_RELEASES][0])
        if self.ledger.releases < released:
            raise LedgerError(
                f"the ledger holds {self.ledger.releases} releases, and {released} were made: privacy.jsonl"
                " was changed or removed. Restore it from a copy, or start a new run"
            )

    def exhausted(self, state: ServerState) -> str:
        """Why the run stops before its next round, or an empty text."""
        if self.ledger.allows(self._event(state)):
            return ""
        return f"one more round would pass the privacy budget, epsilon {self.ledger.budget.epsilon:g}"

    @property
    def sampling_seed(self) -> int:
        """Decides who is in the next cohort; where that is drawn in a real run, nobody can guess it."""
        fixed = self.seeded or self.strategy.sampling.groups is not None
        return self.seed if fixed else rng.secret_seed()

    def clip_norm(self, state: ServerState) -> float:
        """This round's bound of a client's delta."""
        return self.strategy.release.bounding.norm(state.private)

    def update(self, state: ServerState, collector: Collector | MaskedCollector) -> tuple[ServerState, str]:
        """The state after a round, and why it released nothing, or an empty text."""
        number, strategy = state.round + 1, self.strategy
        unchanged = replace(state, round=number)
        if collector.collected.failed:
            return unchanged, collector.collected.failed
        fewest, counted = strategy.release.noise.fewest, collector.collected.counted
        if counted < fewest:
            return unchanged, f"{counted} clients count, and the noise of {fewest} makes a sum private"
        try:
            total = collector.total()
        except OverflowError as error:
            return unchanged, f"{error}; nothing is released"
        words = rng.seeded_words(self.seed, "noise", round=number) if self.seeded else rng.system_words
        released = strategy.release(total, state.private, words)
        noise = "seeded: a simulation" if self.seeded else "system"
        try:
            self.ledger.record(number, self._event(state), released.digest, noise=noise)
        except OSError as error:
            return unchanged, f"the ledger cannot be written ({error}), so that nothing is released"
        private = {**released.state, _RELEASES: state.private[_RELEASES] + 1}
        parameters, update = strategy.server_update.apply(
            state.model.parameters, released.delta, state.update
        )
        if not np.isfinite(parameters).all():
            why = "the new model would not be finite; the server's learning rate may be too large"
            return replace(unchanged, private=private), why
        model = Model(parameters, state.model.buffers)
        return replace(unchanged, model=model, update=update, private=private), ""

    def _event(self, state: ServerState) -> Event:
        n = self.strategy.pipeline.length(len(state.model.parameters))
        return self.strategy.release.noise.event(self.strategy.sampling, state.round + 1, n)


def begin_private(strategy: Strategy, dimension: int) -> Mapping[str, Any]:
    """The private part of the server's state before the first round; empty where nothing is private."""
    if not strategy.private:
        return {}
    return {**strategy.release.init(dimension), _RELEASES: np.zeros(1, np.int64)}


def _append_durably(file: Path, text: str) -> None:
    """Add a line and flush it to the disk, or leave the file as it was."""
    made = not file.exists()
    with file.open("ab", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        try:
            if stream.write(text.encode()) != len(text.encode()):
                raise OSError("the disk took only a part of the line")
            os.fsync(stream.fileno())
        except OSError:
            os.truncate(file, size)
            raise
    if made:
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
