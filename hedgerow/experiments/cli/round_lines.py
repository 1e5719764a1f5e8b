"""A line for each round of a run that another process carries out."""

from collections.abc import Mapping
from typing import Any, final

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.report.units import amount, human_bytes
from hedgerow.experiments.runs.store import METRICS, RunFolder
from hedgerow.server.refusals import refusals_of

_LONGEST_REASON = 200


@final
class RoundLines:
    """Prints new rounds whenever it is called.

    Args:
        run: the run; rounds that are already done are not printed.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run, self._size = run, -1
        self._refusals: Mapping[str, str] = {}
        self._last = max((line["round"] for line in run.rounds()), default=0)

    def __call__(self) -> None:
        """Print what is new."""
        refusals = refusals_of(self._run.path)
        for name, why in refusals.items():
            if self._refusals.get(name) != why:
                terminal.tell(f"{name} takes no part: {why}")
        self._refusals = refusals
        file = self._run.path / METRICS
        size = file.stat().st_size if file.exists() else 0
        if size == self._size:
            return
        self._size = size
        rounds = self._run.config["rounds"]
        for line in self._run.rounds():
            if line["round"] > self._last:
                self._last = line["round"]
                terminal.tell(round_line(line, rounds))


def round_line(line: Mapping[str, Any], rounds: int) -> str:
    """A round's line of `metrics.jsonl`, for people.

    >>> line = {"round": 3, "seconds": 1.25, "bytes_up": 1200, "bytes_down": 8000,
    ...         "clients": {"a": {}, "b": {}}, "dropped": {"b": "it did not reply in time"},
    ...         "failed": "", "evaluation": {"accuracy": 0.8125}}
    >>> for part in round_line(line, 40).split("; "):
    ...     print(part)
    round 3 of 40: accuracy 0.812
    1 of 2 count
    1.2 kB up, 8 kB down
    1.2 s
    dropped: b (it did not reply in time)
    """
    parts = [f"{name} {value:.3f}" for name, value in sorted(line["evaluation"].items()) if value is not None]
    dropped = line["dropped"]
    parts.append(f"{len(line['clients']) - len(dropped)} of {len(line['clients'])} count")
    sent = (human_bytes(line[way], short=True) for way in ("bytes_up", "bytes_down"))
    parts.append("{} up, {} down".format(*sent))
    parts.append(f"{line['seconds']:.1f} s")
    if (clock := line.get("clock")) is not None:
        parts.append(f"{amount(clock['seconds'], 's')} simulated, {amount(clock['joules'], 'J')}")
    if (share := line.get("metrics", {}).get("steps_taken")) is not None:
        parts.append(f"{100 * share:.0f} % of the steps")
    if line.get("epsilon") is not None:
        parts.append(f"epsilon {line['epsilon']:.2f}")
    if dropped:
        reasons = (f"{name} ({why[:_LONGEST_REASON]})" for name, why in sorted(dropped.items()))
        parts.append(f"dropped: {', '.join(reasons)}")
    if new := sorted({*line.get("set_aside", ())} & {*dropped}):
        parts.append(f"set aside: {', '.join(new)} (back with: hedgerow devices --readmit NAME)")
    if unmeasured := line.get("client_evaluation", {}).get("failed"):
        parts.append(f"its model is not measured by clients: {unmeasured}")
    if line["failed"]:
        parts.append(f"it changed nothing: {line['failed']}")
    return f"round {line['round']} of {rounds}: {'; '.join(parts)}"
