"""The table of `compare`: columns of text, the best of each, and notes for the reader."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hedgerow.experiments.report import simulated
from hedgerow.experiments.report.compare import Row
from hedgerow.experiments.report.units import count, human_bytes
from hedgerow.privacy.adjacency import told

if TYPE_CHECKING:
    from rich.table import Table

_LABEL_WIDTH = 42
_LEAST_LABEL_WIDTH = 20


@dataclass(frozen=True)
class Column:
    """One column of the table, as text.

    Attributes:
        header: of the column; a line break separates its two lines.
        cells: one for each row.
        best: whether each cell is the best of the comparable rows.
        rank: if the table is too narrow, columns are left out from the highest rank down; 0 never.
    """

    header: str
    cells: tuple[str, ...]
    best: tuple[bool, ...]
    rank: int = 0

    @property
    def width(self) -> int:
        """Characters of its widest line, and the spaces to the next column."""
        return max(len(text) for cell in (self.header, *self.cells) for text in cell.split("\n")) + 2


def table(rows: Sequence[Row], width: int = 100) -> "Table":
    """The rows as a table of at most `width` characters a line, the best of each column in bold.

    If not all columns fit beside the rows' names, columns of bytes are left out first.
    A caption says which, explains the figures, and has notes on single rows.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown, left_out = _fitting(columns(rows), width)
    built = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), caption_justify="left",
        caption=Text("\n" + "\n".join([*left_out, *caption(rows)])), caption_style="dim",
    )  # fmt: skip
    for place, column in enumerate(shown):
        if place:
            built.add_column(Text(column.header), justify="right", no_wrap=True, vertical="top")
        else:
            built.add_column(Text(column.header), max_width=_LABEL_WIDTH, overflow="fold")
    for place in range(len(rows)):
        cells = ((column.cells[place], column.best[place]) for column in shown)
        built.add_row(*(Text(text, style="bold" if best else "") for text, best in cells))
    return built


def _fitting(found: list[Column], width: int) -> tuple[list[Column], list[str]]:
    """The columns that fit, and a line about the others."""
    names, *figures = found
    room = width - min(names.width, _LEAST_LABEL_WIDTH)
    kept = list(figures)
    while sum(column.width for column in kept) > room and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    gone = [column.header.replace("\n", " ") for column in figures if column not in kept]
    line = f"Left out for lack of width: {', '.join(gone)}. A wider terminal or --json shows all."
    return [names, *kept], [line] if gone else []


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of `table` and the report, in order.

    Only finished rows with the same number of rounds can be the best; a column in
    which all of these are equal has no best.
    """
    targets = {r.target for r in rows if r.target is not None}
    target = f"{100 * next(iter(targets)):g} %" if len(targets) == 1 else "target"
    deltas = {r.delta for r in rows if r.delta is not None}
    delta = f"δ {deltas.pop():g}" if len(deltas) == 1 else "δ"
    sample_deltas = {r.sample_delta for r in rows if r.sample_delta is not None}
    sample_delta = f"δ {sample_deltas.pop():g}" if len(sample_deltas) == 1 else "δ"
    shown = [_plain("", rows, lambda r: r.label), *_quality(rows), *_over_clients(rows)]
    if any(r.epsilon is not None for r in rows):
        shown.append(_ranked(f"epsilon\n({delta})", rows, lambda r: _epsilon(r.epsilon), lambda r: r.epsilon))
    if any(r.sample_epsilon is not None for r in rows):
        header = f"sample\nepsilon\n({sample_delta})"
        shown.append(_ranked(header, rows, lambda r: _epsilon(r.sample_epsilon), lambda r: r.sample_epsilon))
    if any(r.steps_taken is not None for r in rows):
        shown.append(_plain("steps\ntaken\n(%)", rows, _steps, 2))
    shown += [
        _bytes("up per\nclient,\nround", rows, lambda r: r.bytes_up_per_client, 5),
        _bytes("down per\nclient,\nround", rows, lambda r: r.bytes_down_per_client, 7),
        _bytes("up\ntotal", rows, lambda r: r.bytes_up, 4),
        _bytes("down\ntotal", rows, lambda r: r.bytes_down, 6),
    ]
    if targets:
        shown.append(_ranked(f"up+down\nto {target}", rows, _to_target, _cost_of_all, 3))
    shown += _simulated(rows, target if targets else "")
    shown.append(_ranked("time\n(s)", rows, lambda r: _seconds(r.seconds), lambda r: r.seconds, 2))
    if len({r.rounds for r in rows}) > 1:
        shown.insert(1, _plain("rounds", rows, lambda r: str(r.rounds), 1))
    if len({len(r.seeds) for r in rows}) > 1:
        shown.insert(1, _plain("seeds", rows, lambda r: str(len(r.seeds)), 1))
    return shown


def _simulated(rows: Sequence[Row], target: str) -> list[Column]:
    """Simulated seconds, joules and money, if any row has a clock."""
    found = []
    for name, (header, rank) in simulated.HEADERS.items():
        if any(name in r.costs for r in rows):
            found.append(
                _ranked(header, rows, partial(simulated.text_of, name), partial(simulated.spent, name), rank)
            )
    if found and target:
        found.append(_plain(f"sim. time\nto {target}", rows, partial(simulated.to_target, "seconds"), 1))
    return found


def caption(rows: Sequence[Row]) -> list[str]:
    """Explanations of the table's figures, a line each; then the notes on single rows."""
    counts = sorted({len(r.seeds) for r in rows})
    seeds = count(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    spread = ", ± sample standard deviation" if counts[-1] > 1 else ""
    few = " Two seeds are too few to tell small differences apart." if counts[-1] == 2 else ""
    lines = [
        f"Mean over {seeds}. Accuracy: the last measured{spread}.{few}",
        "Bytes: measured on the records sent, 1 kB = 1000 bytes. Total: all clients and rounds.",
    ]
    if any(r.target is not None for r in rows):
        got = "1/2: one seed of two got there."
        lines += [f"To target: up + down until {rule}; {got}" for rule in _rules(rows)]
    if any(r.client_evaluation for r in rows):
        lines.append(
            "Clients: last measured on held-out samples, each client counting the same; worst tenth: mean of"
            " the worst 10 %; spread: standard deviation over clients."
        )
        if masked := [r.label for r in rows if any("mean" not in m for m in r.client_evaluation.values())]:
            lines.append(f"Clients of {', '.join(masked)}: under a mask, each sample counting the same.")
    if any(r.steps_taken is not None for r in rows):
        lines.append("Steps taken: of all local steps; mean of rounds, each sample counting the same.")
    if any(simulated.HEADERS.keys() & r.costs.keys() for r in rows):
        lines.append(
            "Simulated time, energy and price: of [clock]; all rounds, energy and price of all clients."
        )
    lines += _adjacencies(rows)
    if len({(r.rounds, r.finished) for r in rows}) > 1:
        lines.append("The rows have different numbers of rounds: compare them with care.")
    return [*lines, *(f"{r.label}: {note}" for r in rows for note in r.notes)]


def _rules(rows: Sequence[Row]) -> list[str]:
    """When a target counts as reached."""
    numbers = sorted({r.target_in_a_row for r in rows if r.target is not None})
    return [
        "first measured at or above it" if n == 1 else f"{n} evaluations in a row were at or above it"
        for n in numbers
    ]


def _adjacencies(rows: Sequence[Row]) -> list[str]:
    """What each epsilon in the table covers; for each row, if rows differ."""
    lines = []
    for name, who, after, found in (
        ("Epsilon", "client", "the largest of all seeds. -: not private.", [r.adjacency for r in rows]),
        (
            "Sample epsilon", "sample of a client", "as the server counts.",
            [r.sample_adjacency for r in rows],
        ),
    ):  # fmt: skip
        different = sorted({adjacency for adjacency in found if adjacency}, reverse=True)
        for adjacency in different:
            which = ", ".join(r.label for r, a in zip(rows, found, strict=True) if a == adjacency)
            of = f" of {which}" if len(different) > 1 else ""
            lines.append(f"{name}{of}: {told(adjacency, who)}; {after}")
        if len(different) > 1:
            lines.append(f"{name}: not to be compared between rows of different adjacency.")
    return lines


def _quality(rows: Sequence[Row]) -> list[Column]:
    """The accuracy, or if no row has one (such as for a regression), the other metrics."""
    names = (
        [] if any(r.accuracy is not None for r in rows) else sorted({k for r in rows for k in r.evaluation})
    )
    if not names:
        return [
            _ranked("accuracy\n(%)", rows, _accuracy, lambda r: None if r.accuracy is None else -r.accuracy)
        ]
    return [_measured(name, rows) for name in names]


def _over_clients(rows: Sequence[Row]) -> list[Column]:
    """The accuracy's distribution over clients, or if no row has one, the other metrics'."""
    names = sorted({name for r in rows for name in r.client_evaluation})
    shown = ["accuracy"] if "accuracy" in names else names
    return [column for name in shown for column in _distribution(name, rows)]


def _distribution(name: str, rows: Sequence[Row]) -> list[Column]:
    percent = name == "accuracy"

    def column(header: str, figure: str, sign: int) -> Column:
        def value(r: Row) -> float | None:
            return r.client_evaluation.get(name, {}).get(figure)

        def text(r: Row) -> str:
            found = value(r)
            if found is None and figure == "mean":  # under a mask, of which a note tells
                found = r.client_evaluation.get(name, {}).get("weighted_mean")
            return "-" if found is None else f"{100 * found:.1f}" if percent else f"{found:.4g}"

        def cost(r: Row) -> float | None:
            found = value(r)
            return None if found is None or not (percent or name == "loss") else sign * found

        return _ranked(header, rows, text, cost, 1)

    more = -1 if percent else 1
    unit = " (%)" if percent else ""
    return [
        column(f"clients:\n{name}{unit}", "mean", more),
        column("worst\ntenth", "worst_tenth", more),
        column("spread", "spread", 1),
    ]


def _measured(name: str, rows: Sequence[Row]) -> Column:
    def text(r: Row) -> str:
        return f"{r.evaluation[name]:.4g}" if name in r.evaluation else "-"

    # Less is better for a loss; for other metrics that is unknown.
    return _ranked(name, rows, text, lambda r: r.evaluation.get(name) if name == "loss" else None)


def _plain(header: str, rows: Sequence[Row], text: Callable[[Row], str], rank: int = 0) -> Column:
    return Column(header, tuple(text(r) for r in rows), (False,) * len(rows), rank)


def _ranked(
    header: str,
    rows: Sequence[Row],
    text: Callable[[Row], str],
    cost: Callable[[Row], float | None],
    rank: int = 0,
) -> Column:
    """A column in which the cells of lowest cost are the best."""
    cells = tuple(text(r) for r in rows)
    costs = {place: cost(r) for place, r in enumerate(rows) if r.finished}
    known = {place: value for place, value in costs.items() if value is not None}
    if len({rows[place].rounds for place in costs}) != 1 or len({cells[place] for place in known}) < 2:
        return Column(header, cells, (False,) * len(rows), rank)
    best = cells[min(known, key=known.__getitem__)]
    bold = tuple(place in known and cell == best for place, cell in enumerate(cells))
    return Column(header, cells, bold, rank)


def _bytes(header: str, rows: Sequence[Row], figure: Callable[[Row], float | None], rank: int) -> Column:
    return _ranked(header, rows, lambda r: human_bytes(figure(r)), figure, rank)


def _accuracy(r: Row) -> str:
    if r.accuracy is None:
        return "-"
    spread = "" if r.accuracy_deviation is None else f" ±{100 * r.accuracy_deviation:.1f}"
    return f"{100 * r.accuracy:.1f}{spread}"


def _steps(r: Row) -> str:
    return "-" if r.steps_taken is None else f"{100 * r.steps_taken:.1f}"


def _epsilon(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _to_target(r: Row) -> str:
    if r.target is None:
        return "-"
    part = f" {r.reached}/{len(r.seeds)}" if r.reached < len(r.seeds) else ""
    return human_bytes(r.bytes_to_target) + part


def _cost_of_all(r: Row) -> float | None:
    # A mean over only the lucky seeds is not comparable with one over all.
    return r.bytes_to_target if r.reached == len(r.seeds) else None


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"
