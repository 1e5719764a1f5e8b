"""The privacy ledger: every release is written to disk before it happens."""

import json
from collections import Counter
from pathlib import Path
from typing import final

from hedgerow import checks
from hedgerow.files import append_line, read_lines
from hedgerow.privacy.accounting import Budget, epsilon
from hedgerow.privacy.events import Event, from_json, to_json
from hedgerow.sealed import check, seal


class LedgerError(ValueError):
    """A ledger that cannot be trusted to hold every release."""


@final
class Ledger:
    """The events of one run, one JSON line each, flushed to the disk before the release they describe.

    A run that is killed has revealed at most what is recorded here. A round that
    is run again counts again, unless it releases the same sum, bit for bit
    (which its digest shows), as it does if the noise is seeded.

    Each line names the run's adjacency. Events are valid for either adjacency:
    opened with the other one, the same file gives the other one's epsilon.

    Args:
        budget: of the run.
        file: the file of lines, created with the first; `None` keeps them in memory.

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
        self._entries: dict[tuple[int, str], tuple[Event, int]] = {}
        self._known: dict[frozenset[tuple[Event, int]], float] = {}
        if file is not None:
            self._read(file)

    @property
    def releases(self) -> int:
        """Number of different sums released."""
        return len(self._entries)

    @property
    def epsilon(self) -> float:
        """The epsilon of all releases together, for the budget's delta."""
        return self._epsilon(self._counted())

    def allows(self, event: Event, times: int = 1) -> bool:
        """Whether `times` more of these releases stay within the budget."""
        return self.budget.epsilon is None or self._after(event, times) <= self.budget.epsilon

    def record(
        self, round: int, event: Event, digest: str, *, noise: str, times: int = 1, sample_gradients: str = ""
    ) -> float:
        """Record what is about to be released, and return the epsilon that includes it.

        Returns only once the line is on the disk. `times` is how often the event
        happens in this release, for instance once per step of local training;
        `sample_gradients` names the library that computed the gradients there.

        Raises:
            OSError: it cannot be written; nothing may then be released.
        """
        self.write(round, event, digest, noise=noise, times=times, sample_gradients=sample_gradients)
        return self.epsilon

    def write(
        self, round: int, event: Event, digest: str, *, noise: str, times: int = 1, sample_gradients: str = ""
    ) -> None:
        """Like `record`, but without computing epsilon, which needs dp-accounting."""
        line = {"round": round, "event": to_json(event), "release": digest, "noise": noise}
        line |= {"adjacency": self.budget.adjacency}
        line |= {"times": times} if times > 1 else {}
        line |= {"sample_gradients": sample_gradients} if sample_gradients else {}
        if self._file is not None and (round, digest) not in self._entries:
            append_line(self._file, json.dumps(seal(line)))
        self._entries[round, digest] = event, times

    def _after(self, event: Event, times: int) -> float:
        return self._epsilon(self._counted() + Counter({event: times}))

    def _counted(self) -> Counter[Event]:
        counts: Counter[Event] = Counter()
        for event, times in self._entries.values():
            counts[event] += times
        return counts

    def _epsilon(self, events: Counter[Event]) -> float:
        key = frozenset(events.items())
        if key not in self._known:
            self._known = {key: epsilon(events.elements(), self.budget.delta, self.budget.adjacency)}
        return self._known[key]

    def _read(self, file: Path) -> None:
        for number, text in enumerate(read_lines(file), start=1):
            try:
                line = check(json.loads(text))
                event, times = from_json(line["event"]), int(line.get("times", 1))
                checks.whole(1, times=times)
                self._entries[int(line["round"]), str(line["release"])] = event, times
            except (ValueError, KeyError, TypeError) as error:
                raise LedgerError(
                    f"line {number} of {file} cannot be read: {error}. What the run has revealed is not"
                    " known: restore the file from a copy, or start a new run"
                ) from error
