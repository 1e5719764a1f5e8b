"""What runs cost and what they reached, side by side.

Every figure comes from `metrics.jsonl`. Bytes are those measured on the
records that were sent. Runs that differ only in their seed make one row.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.experiments.groups import Group, Run, load_groups
from hedgerow.experiments.words import count, human_bytes

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One way of training, over its seeds.

    Attributes:
        label: what sets it apart from the other rows.
        seeds: of the runs that count, sorted.
        rounds: rounds done; all runs of a row have had equally many.
        planned: rounds the configuration asks for.
        finished: whether the runs have ended.
        accuracies: one for each seed that has any: the last one measured, from 0 to 1.
        accuracy: their mean; None where there is none.
        accuracy_deviation: sample standard deviation (n - 1), None under 2 seeds.
        bytes_up_per_client: what one client sends in one round it takes part
            in: mean over all replies of all rounds and seeds.
        bytes_down_per_client: what one client is sent in one round: the same
            over all messages to clients.
        bytes_up: of all clients and rounds, mean over seeds.
        bytes_down: the same for what is sent to clients.
        target: the accuracy to reach, None where the configuration has none.
        reached: number of seeds that reached it.
        bytes_to_target: bytes up and down until the first round measured at or
            above the target, mean over the seeds that reached it.
        epsilon: what the runs have revealed of any client at most, of all
            seeds the largest; None where they are not private.
        delta: of that epsilon.
        sample_epsilon: what any client has told of any of its samples at most,
            to anybody; None without `sample_noise`. Not to be compared with `epsilon`.
        sample_delta: of that epsilon.
        seconds: wall time of all rounds, mean over seeds.
        notes: what a reader must know before comparing this row.
    """

    label: str
    seeds: tuple[int, ...]
    rounds: int
    planned: int
    finished: bool
    accuracies: tuple[float, ...]
    accuracy: float | None
    accuracy_deviation: float | None
    bytes_up_per_client: float | None
    bytes_down_per_client: float | None
    bytes_up: float
    bytes_down: float
    target: float | None
    reached: int
    bytes_to_target: float | None
    epsilon: float | None
    delta: float | None
    sample_epsilon: float | None
    sample_delta: float | None
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """One column of the table, as text.

    Attributes:
        header: of the column; a line break parts its two lines.
        cells: one for each row.
        best: whether each cell is the best of the rows that may be compared.
    """

    header: str
    cells: tuple[str, ...]
    best: tuple[bool, ...]


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
    accuracies = tuple(measured[max(measured)] for measured in (r.accuracies() for r in runs) if measured)
    costs = (
        [] if group.target is None else [c for c in (_cost(r, group.target) for r in runs) if c is not None]
    )
    return Row(
        label=group.label,
        seeds=tuple(r.seed for r in runs),
        rounds=group.first.done,
        planned=group.first.planned,
        finished=group.finished,
        accuracies=accuracies,
        accuracy=_mean(accuracies),
        accuracy_deviation=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        bytes_up_per_client=_mean(_per_client(runs, "bytes_up")),
        bytes_down_per_client=_mean(_per_client(runs, "bytes_down")),
        bytes_up=statistics.fmean(sum(line.get("bytes_up", 0) for line in r.lines) for r in runs),
        bytes_down=statistics.fmean(sum(line.get("bytes_down", 0) for line in r.lines) for r in runs),
        target=group.target,
        reached=len(costs),
        bytes_to_target=_mean(costs),
        epsilon=max((r.epsilon for r in runs if r.epsilon is not None), default=None),
        delta=group.settings.get("strategy.delta"),
        sample_epsilon=max((e for r in runs if (e := r.sample_epsilon) is not None), default=None),
        sample_delta=group.settings.get("local.sample_delta") or None,
        seconds=statistics.fmean(sum(line.get("seconds", 0.0) for line in r.lines) for r in runs),
        notes=_notes(group),
    )


def table(rows: Sequence[Row]) -> "Table":
    """The rows as a table of at most 100 columns, the best of each column in bold.

    A caption says what the figures are, and what must be known of single rows.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    built = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), caption_justify="left",
        caption=Text("\n" + "\n".join(caption(rows))), caption_style="dim",
    )  # fmt: skip
    shown = columns(rows)
    for place, column in enumerate(shown):
        if place:
            built.add_column(Text(column.header), justify="right", no_wrap=True, vertical="top")
        else:
            built.add_column(Text(column.header), max_width=_LABEL_WIDTH, overflow="fold")
    for place in range(len(rows)):
        cells = ((column.cells[place], column.best[place]) for column in shown)
        built.add_row(*(Text(text, style="bold" if best else "") for text, best in cells))
    return built


def columns(rows: Sequence[Row]) -> list[Column]:
    """What `table` and the report show, in their order.

    Only finished rows of equally many rounds are candidates for the best; a
    column in which all of them show the same has none.
    """
    targets = {r.target for r in rows if r.target is not None}
    target = f"{100 * targets.pop():g} %" if len(targets) == 1 else "target"
    deltas = {r.delta for r in rows if r.delta is not None}
    delta = f"δ {deltas.pop():g}" if len(deltas) == 1 else "δ"
    sample_deltas = {r.sample_delta for r in rows if r.sample_delta is not None}
    sample_delta = f"δ {sample_deltas.pop():g}" if len(sample_deltas) == 1 else "δ"
    shown = [
        _plain("", rows, lambda r: r.label),
        _ranked("accuracy\n(%)", rows, _accuracy, lambda r: None if r.accuracy is None else -r.accuracy),
        _ranked(f"epsilon\n({delta})", rows, lambda r: _epsilon(r.epsilon), lambda r: r.epsilon),
        _ranked(
            f"sample\nepsilon\n({sample_delta})",
            rows,
            lambda r: _epsilon(r.sample_epsilon),
            lambda r: r.sample_epsilon,
        ),
        _bytes("up per\nclient,\nround", rows, lambda r: r.bytes_up_per_client),
        _bytes("down per\nclient,\nround", rows, lambda r: r.bytes_down_per_client),
        _bytes("up\ntotal", rows, lambda r: r.bytes_up),
        _bytes("down\ntotal", rows, lambda r: r.bytes_down),
        _ranked(f"up+down\nto {target}", rows, _to_target, _cost_of_all),
        _ranked("time\n(s)", rows, lambda r: _seconds(r.seconds), lambda r: r.seconds),
    ]
    if all(r.target is None for r in rows):
        del shown[-2]
    if all(r.sample_epsilon is None for r in rows):
        del shown[3]
    if all(r.epsilon is None for r in rows):
        del shown[2]
    if len({r.rounds for r in rows}) > 1:
        shown.insert(1, _plain("rounds", rows, lambda r: str(r.rounds)))
    if len({len(r.seeds) for r in rows}) > 1:
        shown.insert(1, _plain("seeds", rows, lambda r: str(len(r.seeds))))
    return shown


def caption(rows: Sequence[Row]) -> list[str]:
    """What the figures of the table are, a line each; then the notes of single rows."""
    counts = sorted({len(r.seeds) for r in rows})
    seeds = count(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    spread = ", ± sample standard deviation" if counts[-1] > 1 else ""
    few = " Two seeds are too few to tell small differences apart." if counts[-1] == 2 else ""
    lines = [
        f"Mean over {seeds}. Accuracy: the last measured{spread}.{few}",
        "Bytes: measured on the records sent, 1 kB = 1000 bytes. Total: all clients and rounds.",
    ]
    if any(r.target is not None for r in rows):
        lines.append(
            "To target: up + down until first measured at or above it; 1/2: one seed of two got there."
        )
    if any(r.epsilon is not None for r in rows):
        lines.append("Epsilon: for adding or removing one client; the largest of all seeds. -: not private.")
    if any(r.sample_epsilon is not None for r in rows):
        lines.append(
            "Sample epsilon: for one sample of one client, whoever sees its updates; as the server counts."
        )
    if len({(r.rounds, r.finished) for r in rows}) > 1:
        lines.append("The rows had unequal numbers of rounds: compare them with care.")
    return [*lines, *(f"{r.label}: {note}" for r in rows for note in r.notes)]


def to_json(rows: Sequence[Row]) -> str:
    """The rows as a JSON list of objects; bytes and seconds unrounded, accuracy from 0 to 1."""
    return json.dumps([asdict(r) for r in rows], indent=2, allow_nan=False)


_LABEL_WIDTH = 42


def _plain(header: str, rows: Sequence[Row], text: Callable[[Row], str]) -> Column:
    return Column(header, tuple(text(r) for r in rows), (False,) * len(rows))


def _ranked(
    header: str, rows: Sequence[Row], text: Callable[[Row], str], rank: Callable[[Row], float | None]
) -> Column:
    """A column in which the cells of lowest rank are the best."""
    cells = tuple(text(r) for r in rows)
    ranks = {place: rank(r) for place, r in enumerate(rows) if r.finished}
    known = {place: value for place, value in ranks.items() if value is not None}
    if len({rows[place].rounds for place in ranks}) != 1 or len({cells[place] for place in known}) < 2:
        return Column(header, cells, (False,) * len(rows))
    best = cells[min(known, key=known.__getitem__)]
    return Column(header, cells, tuple(place in known and cell == best for place, cell in enumerate(cells)))


def _bytes(header: str, rows: Sequence[Row], figure: Callable[[Row], float | None]) -> Column:
    return _ranked(header, rows, lambda r: human_bytes(figure(r)), figure)


def _accuracy(r: Row) -> str:
    if r.accuracy is None:
        return "-"
    spread = "" if r.accuracy_deviation is None else f" ±{100 * r.accuracy_deviation:.1f}"
    return f"{100 * r.accuracy:.1f}{spread}"


def _epsilon(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _to_target(r: Row) -> str:
    if r.target is None:
        return "-"
    part = f" {r.reached}/{len(r.seeds)}" if r.reached < len(r.seeds) else ""
    return human_bytes(r.bytes_to_target) + part


def _cost_of_all(r: Row) -> float | None:
    # A mean over the luckier seeds only is no match for one over all.
    return r.bytes_to_target if r.reached == len(r.seeds) else None


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _per_client(runs: Sequence[Run], key: str) -> list[int]:
    # A client whose reply never came stands with 0 bytes up; it sent nothing that could be measured.
    sent = (c.get(key, 0) for r in runs for line in r.trained for c in line.get("clients", {}).values())
    return [count for count in sent if count]


def _cost(run: Run, target: float) -> float | None:
    """Bytes up and down until the target was reached, None where it was not."""
    reached = [number for number, accuracy in run.accuracies().items() if accuracy >= target]
    return run.spent("up")[min(reached)] + run.spent("down")[min(reached)] if reached else None


def _notes(group: Group) -> tuple[str, ...]:
    lines = [line for r in group.runs for line in r.trained]
    repeated = len(group.repeated)
    dropped = sum(len(line.get("dropped", {})) for line in lines)
    failed = sum(bool(line.get("failed")) for line in lines)
    last = {max(r.accuracies(), default=None) for r in group.runs}
    stopped = group.finished and group.first.epsilon is not None and group.first.done < group.first.planned
    notes = [
        (failed > 0, f"{count(failed, 'round')} failed and left the model as it was"),
        (dropped > 0, f"{count(dropped, 'reply', 'replies')} did not count (dropped)"),
        (last - {None, group.first.done} != set(), "the last accuracy is not of the last round"),
        (None in last and group.first.done > 0, "accuracy was not measured in every run"),
        (stopped, "ended early: one more round would have passed the privacy budget"),
        (repeated > 0, f"{count(repeated, 'run')} left out: same seed and settings as one that is in"),
    ]  # fmt: skip
    return tuple(text for holds, text in notes if holds)
