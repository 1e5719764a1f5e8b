"""What runs cost and what they achieved.

Every figure comes from `metrics.jsonl`. Bytes were measured on the records that
were sent. Runs that differ only in their seed make one row.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hedgerow.experiments.report.intervals import interval
from hedgerow.experiments.report.participation import mean_share
from hedgerow.experiments.report.results import Group, load_groups
from hedgerow.experiments.report.units import count, human_bytes
from hedgerow.experiments.runs.costs import BY_NAME, COSTS
from hedgerow.experiments.runs.recorded import Run


@dataclass(frozen=True)
class Spent:
    """What the runs of a row spent of one kind of cost.

    Attributes:
        total: of the whole run, mean over seeds.
        to_target: until the target was reached, mean over all seeds, where those that missed it count
            with everything they spent; None if there is no target or no seed reached it.
    """

    total: float
    to_target: float | None

    @property
    def counted(self) -> float:
        """The cost that a comparison goes by: to the target if it was reached, else of the whole run."""
        return self.total if self.to_target is None else self.to_target


@dataclass(frozen=True)
class Row:
    """One way of training, over its seeds.

    Attributes:
        label: how it differs from the other rows.
        seeds: of the runs that count, sorted.
        rounds: rounds done; the same for all runs of a row.
        planned: rounds the configuration asks for.
        finished: whether the runs have done all their rounds.
        ended: how they ended before that, `"failed"` or `"stopped"`; empty if they did not.
        accuracies: the last one measured for each seed that has any, from 0 to 1.
        accuracy: their mean; None if there is none.
        accuracy_deviation: sample standard deviation (n - 1), None for fewer than 2 seeds.
        accuracy_interval: the mean's 95 % t interval, None for fewer than 2 seeds.
        evaluation: the last values of other metrics by name, such as the loss: mean over seeds.
        bytes_up_per_client: sent by one client in one round it takes part in:
            mean over all replies of all rounds and seeds.
        bytes_down_per_client: sent to one client in one round: mean over all
            messages to clients.
        bytes_up: of all clients and rounds, mean over seeds.
        bytes_down: the same for what is sent to clients.
        target: the accuracy to reach, None if the configuration has none.
        target_in_a_row: evaluations in a row at or above it with which it counts as reached.
        reached: number of seeds that reached it.
        bytes_to_target: bytes up and down until the target was reached, mean over the seeds that
            reached it.
        costs: by the name of each kind in `COSTS` that the runs recorded.
        epsilon: bound on what the runs have revealed about any client, the
            largest of all seeds; None if they are not private.
        delta: of that epsilon.
        adjacency: of that epsilon, one of `ADJACENCIES`; None if there is none.
        sample_epsilon: bound on what any client has revealed about any of its samples,
            to anybody; None without `sample_noise`. Not comparable with `epsilon`.
        sample_delta: of that epsilon.
        sample_adjacency: of that epsilon.
        seconds: wall time of all rounds, mean over seeds.
        client_evaluation: clients' last results on their held-out samples, by metric: `mean`,
            `weighted_mean`, `worst_tenth` and `spread` over clients, mean over seeds; under a mask
            `weighted_mean` alone.
        evaluation_bytes_up: of all evaluations by clients, mean over seeds; in no other figure.
        evaluation_bytes_down: the same for what was sent to them.
        notes: what to know before comparing this row.
        steps_taken: mean share of their steps that clients with a time budget took; None if not known.
    """

    label: str
    seeds: tuple[int, ...]
    rounds: int
    planned: int
    finished: bool
    ended: str
    accuracies: tuple[float, ...]
    accuracy: float | None
    accuracy_deviation: float | None
    accuracy_interval: tuple[float, float] | None
    evaluation: Mapping[str, float]
    bytes_up_per_client: float | None
    bytes_down_per_client: float | None
    bytes_up: float
    bytes_down: float
    target: float | None
    target_in_a_row: int
    reached: int
    bytes_to_target: float | None
    costs: Mapping[str, Spent]
    epsilon: float | None
    delta: float | None
    adjacency: str | None
    sample_epsilon: float | None
    sample_delta: float | None
    sample_adjacency: str | None
    seconds: float
    client_evaluation: Mapping[str, Mapping[str, float]]
    evaluation_bytes_up: float
    evaluation_bytes_down: float
    notes: tuple[str, ...]
    steps_taken: float | None


def summarise(folders: Sequence[Path]) -> list[Row]:
    """One row for each group of runs that differ only in their seed.

    Args:
        folders: runs, or folders with runs below them, such as a sweep's.

    Raises:
        StoreError: a folder is missing, holds no run, or cannot be read.
    """
    return [row(group) for group in load_groups(folders)]


def row(group: Group) -> Row:
    """The figures of one group of runs."""
    runs = group.runs
    spent = max((r.epsilon for r in runs if r.epsilon is not None), default=None)
    told = max((e for r in runs if (e := r.sample_epsilon) is not None), default=None)
    accuracies = tuple(measured[max(measured)] for measured in (r.accuracies() for r in runs) if measured)
    ends = [None if group.target is None else r.reached(group.target, group.in_a_row) for r in runs]
    both = BY_NAME["bytes"]
    hits = [both.after(r)[end] for r, end in zip(runs, ends, strict=True) if end is not None]
    return Row(
        label=group.label,
        seeds=tuple(r.seed for r in runs),
        rounds=group.first.done,
        planned=group.first.planned,
        finished=group.finished,
        ended=group.ended,
        accuracies=accuracies,
        accuracy=_mean(accuracies),
        accuracy_deviation=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        accuracy_interval=interval(accuracies),
        evaluation=_last(runs),
        bytes_up_per_client=_mean(_per_client(runs, "bytes_up")),
        bytes_down_per_client=_mean(_per_client(runs, "bytes_down")),
        bytes_up=statistics.fmean(sum(line.get("bytes_up", 0) for line in r.lines) for r in runs),
        bytes_down=statistics.fmean(sum(line.get("bytes_down", 0) for line in r.lines) for r in runs),
        target=group.target,
        target_in_a_row=group.in_a_row,
        reached=len(hits),
        bytes_to_target=_mean(hits),
        costs=_costs(runs, ends),
        epsilon=spent,
        delta=group.settings.get("strategy.delta"),
        # Runs from before there was a choice used zero-out adjacency.
        adjacency=None if spent is None else group.settings.get("strategy.adjacency", "zero_out"),
        sample_epsilon=told,
        sample_delta=group.settings.get("local.sample_delta") or None,
        sample_adjacency=None if told is None else group.settings.get("local.sample_adjacency", "zero_out"),
        seconds=statistics.fmean(sum(line.get("seconds", 0.0) for line in r.lines) for r in runs),
        client_evaluation=_of_clients(runs),
        evaluation_bytes_up=statistics.fmean(r.spent_on_evaluation("up") for r in runs),
        evaluation_bytes_down=statistics.fmean(r.spent_on_evaluation("down") for r in runs),
        notes=_notes(group),
        steps_taken=mean_share(runs),
    )


def to_json(rows: Sequence[Row]) -> str:
    """The rows as a JSON list of objects; bytes and seconds unrounded, accuracy from 0 to 1."""
    return json.dumps([asdict(r) for r in rows], indent=2, allow_nan=False)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _per_client(runs: Sequence[Run], key: str) -> list[int]:
    # A client whose reply never came has 0 bytes up, because nothing could be measured.
    sent = (c.get(key, 0) for r in runs for line in r.trained for c in line.get("clients", {}).values())
    return [count for count in sent if count]


def _costs(runs: Sequence[Run], ends: Sequence[int | None]) -> dict[str, Spent]:
    """What all runs recorded, in total and to the rounds in which they reached the target."""
    found = {}
    for cost in COSTS:
        totals = [cost.total(run) for run in runs]
        known = [total for total in totals if total is not None]
        if len(known) == len(runs):
            spent = [
                total if end is None else cost.after(run).get(end, total)
                for run, end, total in zip(runs, ends, known, strict=True)
            ]
            reached = any(end is not None for end in ends)
            found[cost.name] = Spent(statistics.fmean(known), statistics.fmean(spent) if reached else None)
    return found


def _last(runs: Sequence[Run]) -> dict[str, float]:
    """The last value of each metric but accuracy: means over the runs that have it."""
    found: dict[str, list[float]] = {}
    for run in runs:
        last = {k: v for line in run.lines for k, v in line.get("evaluation", {}).items() if v is not None}
        for name, value in last.items():
            found.setdefault(name, []).append(float(value))
    return {name: statistics.fmean(values) for name, values in found.items() if name != "accuracy"}


def _of_clients(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Clients' last evaluation: means over the runs that have one."""
    found = [run.client_evaluation for run in runs if run.client_evaluation]
    return {
        name: {
            figure: statistics.fmean(float(by_name[name][figure]) for by_name in found)
            for figure in ("mean", "weighted_mean", "worst_tenth", "spread")
            if all(figure in by_name[name] for by_name in found)
        }
        for name in sorted(set.intersection(*(set(by_name) for by_name in found)) if found else ())
    }


def _against_float32(whole: int, down: int) -> str:
    """How many times fewer bytes a downlink took, or more; empty without one."""
    if not whole or not down:
        return ""
    times, which = (whole / down, "fewer") if down <= whole else (down / whole, "more")
    return f"down: {times:.3g} times {which} bytes than the models in float32"


def _notes(group: Group) -> tuple[str, ...]:
    lines = [line for r in group.runs for line in r.trained]
    repeated = len(group.repeated)
    dropped = sum(len(line.get("dropped", {})) for line in lines)
    failed = sum(bool(line.get("failed")) for line in lines)
    unmeasured = sum(bool(line.get("client_evaluation", {}).get("failed")) for line in lines)
    last = {max(r.accuracies(), default=None) for r in group.runs}
    stopped = group.finished and group.first.epsilon is not None and group.first.done < group.first.planned
    asked = [r.spent_on_evaluation("up") + r.spent_on_evaluation("down") for r in group.runs]
    measuring = f"evaluation by clients took {human_bytes(statistics.fmean(asked))} more, up and down"
    whole = sum(line.get("float32_down", 0) for line in lines)
    down = sum(line.get("bytes_down", 0) for line in lines)
    saved = _against_float32(whole, down)
    ended = {r.ended for r in group.runs if r.ended[0]}
    whys = "; ".join(sorted(f"{how}: {why.splitlines()[0] if why else ''}" for how, why in ended))
    notes = [
        (bool(ended), whys),
        (bool(saved), saved),
        (any(asked), measuring),
        (unmeasured > 0, f"clients could not measure {count(unmeasured, 'round')}"),
        (failed > 0, f"{count(failed, 'round')} failed and left the model unchanged"),
        (dropped > 0, f"{count(dropped, 'reply', 'replies')} did not count (dropped)"),
        (last - {None, group.first.done} != set(), "the last accuracy is not from the last round"),
        (None in last and group.first.done > 0, "accuracy was not measured in every run"),
        (stopped, "ended early: one more round would have passed the privacy budget"),
        (repeated > 0, f"{count(repeated, 'run')} left out: same seed and settings as one that is included"),
    ]  # fmt: skip
    return tuple(text for holds, text in notes if holds)
