"""A run as its folder records it: what was measured after each round, and how it ended."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hedgerow.experiments.config.errors import StoreError
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.types import LocalTraining

Line: TypeAlias = Mapping[str, Any]
"""One round's entry in `metrics.jsonl`."""


@dataclass(frozen=True)
class Run:
    """One run, as read from its folder.

    Attributes:
        folder: its folder.
        config: its resolved configuration.
        lines: one entry for each round, in order; round 0, if there is one, is the
            untrained model.
        finished: whether it has done all its rounds.
        ended: how it ended before that, `"failed"` or `"stopped"`, and why; empty if it did not.
    """

    folder: Path
    config: Mapping[str, Any]
    lines: tuple[Line, ...]
    finished: bool
    ended: tuple[str, str] = ("", "")

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config.get("seed", 0))

    @property
    def planned(self) -> int:
        """Number of rounds it is to have."""
        return int(self.config.get("rounds", self.done))

    @property
    def trained(self) -> tuple[Line, ...]:
        """The lines of real rounds, from round 1."""
        return tuple(line for line in self.lines if line["round"] > 0)

    @property
    def done(self) -> int:
        """Number of rounds it has done."""
        return max((int(line["round"]) for line in self.lines), default=0)

    @property
    def epsilon(self) -> float | None:
        """Bound on what the run has revealed about any client so far; None if it is not private."""
        return max((float(x["epsilon"]) for x in self.lines if x.get("epsilon") is not None), default=None)

    @property
    def sample_epsilon(self) -> float | None:
        """Bound on what the most-asked client has revealed about each sample; None without `sample_noise`.

        From what the server knows: a client's own account also counts resent replies and other runs.
        """
        given = self.config.get("local", {})
        if not given.get("sample_noise"):
            return None
        from hedgerow.client.account import most_spent

        asked = Counter(
            name for line in self.trained for name in {*line.get("clients", {}), *line.get("dropped", {})}
        )
        try:
            return most_spent(LocalTraining(**given), max(asked.values(), default=0))
        except ImportError:  # a server without hedgerow[privacy] can run this, but cannot count it
            return None

    def accuracies(self) -> dict[int, float]:
        """`{round: accuracy}` for the rounds in which it was measured."""
        found = ((int(x["round"]), x.get("evaluation", {}).get("accuracy")) for x in self.lines)
        return {number: float(value) for number, value in found if value is not None and math.isfinite(value)}

    def reached(self, target: float, in_a_row: int = 1) -> int | None:
        """The round after which as many evaluations in a row were at or above the target; None if none."""
        row = 0
        for number, accuracy in self.accuracies().items():
            row = row + 1 if accuracy >= target else 0
            if row == in_a_row:
                return number
        return None

    @property
    def client_evaluation(self) -> Mapping[str, Mapping[str, float]]:
        """Clients' last evaluation: each metric's distribution over clients; empty if there was none."""
        found = [x["client_evaluation"] for x in self.lines if x.get("client_evaluation", {}).get("metrics")]
        return found[-1]["metrics"] if found else {}

    def spent_on_evaluation(self, direction: str) -> int:
        """Bytes of all evaluations by clients, which no other figure includes."""
        return sum(int(x.get("client_evaluation", {}).get(f"bytes_{direction}", 0)) for x in self.lines)

    def spent(self, direction: str) -> dict[int, int]:
        """Bytes of training up to and including each round; `direction` is `"up"` or `"down"`."""
        total, after = 0, {}
        for line in self.lines:
            total += int(line.get(f"bytes_{direction}", 0))
            after[int(line["round"])] = total
        return after


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        StoreError: it holds no run, or its configuration cannot be read.
    """
    run = RunFolder(folder)
    try:
        finished = run.finished
        return Run(folder, run.config, tuple(run.rounds()), finished, ("", "") if finished else run.ended)
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / 'config.toml'} cannot be read: {error}") from error
