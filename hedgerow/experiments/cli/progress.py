"""Progress of a run or a sweep: bars on a terminal that can move its cursor, and lines elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from rich.text import Text

from hedgerow.experiments.cli import terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars

    from hedgerow.experiments.config.expand import Sweep
    from hedgerow.experiments.config.schema import Experiment
    from hedgerow.experiments.runs.sweep import Progress
    from hedgerow.types import RoundResult

SECONDS_BETWEEN_LINES = 10.0  # if there are no bars, and rounds take long
_ROUNDS_OF_PACE = 20


@contextmanager
def run_progress(experiment: "Experiment", done: int) -> "Iterator[Callable[[RoundResult], None]]":
    """Show the rounds of one run as they end."""
    rounds, pace = experiment.rounds, Pace(experiment.rounds)
    with _bars() as bars:
        task = bars.add_task(experiment.name, total=rounds, completed=done, note="")
        every, measured, said = max(1, rounds // 10), "", time.monotonic()

        def on_round(result: "RoundResult") -> None:
            nonlocal measured, said
            if result.failed:
                terminal.complain(f"round {result.round} changed nothing: {result.failed}")
            if result.evaluation:
                values = sorted(result.evaluation.items())
                measured = "  " + ", ".join(f"{name} {value:.3f}" for name, value in values)
            speed = pace.after(result.round, len(result.cohort), result.seconds)
            bars.update(task, completed=result.round, note=speed + measured)
            late = time.monotonic() - said >= SECONDS_BETWEEN_LINES
            if bars.disable and (result.round % every == 0 or result.round == rounds or late):
                said = time.monotonic()
                terminal.err().print(
                    Text(f"round {result.round} of {rounds}  {speed}{measured}"), soft_wrap=True
                )

        yield on_round


@final
class Pace:
    """The speed of a run's rounds, and the remaining time estimated from the last ones.

    >>> pace = Pace(rounds=400)
    >>> pace.after(100, clients=10, seconds=0.5)
    '20.0 clients/s, 2:30 to go'
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._last: deque[tuple[int, float]] = deque(maxlen=_ROUNDS_OF_PACE)

    def after(self, round: int, clients: int, seconds: float) -> str:
        """The text after a round, from its number of clients and its seconds."""
        self._last.append((clients, seconds))
        clients, seconds = sum(c for c, _ in self._last), sum(s for _, s in self._last)
        left = round_to_seconds(seconds / len(self._last) * (self._rounds - round))
        return f"{clients / max(seconds, 1e-9):.1f} clients/s" + (f", {left} to go" if left else "")


def round_to_seconds(seconds: float) -> str:
    """`m:ss` or `h:mm:ss`; empty if less than half a second is left.

    >>> round_to_seconds(3725.2), round_to_seconds(0.2)
    ('1:02:05', '')
    """
    whole = round(seconds)
    minutes, hours = whole // 60 % 60, whole // 3600
    if not whole:
        return ""
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


@contextmanager
def sweep_progress(sweep: "Sweep") -> "Iterator[Callable[[Progress], Progress]]":
    """Show the progress of a sweep: overall, and for each running experiment."""
    rounds = {cell.folder: cell.experiment.rounds for cell in sweep.cells}
    longest = max(rounds.values())
    done: dict[str, int] = {}
    ended: set[str] = set()
    with _bars(left=True) as bars:
        whole = bars.add_task(sweep.name, total=sum(rounds.values()), note=f"0 of {len(rounds)} experiments")
        tasks: dict[str, Any] = {}
        lines = _Lines()

        def on_progress(progress: "Progress") -> "Progress":
            name, kind = progress.folder, progress.kind
            over = kind in ("finished", "stopped", "failed")
            if kind == "planned":
                rounds.setdefault(name, longest)  # proposed by a search while the sweep runs
                return progress
            if kind == "started":
                tasks[name] = bars.add_task(f"  {name}", total=rounds[name], note="")
                lines.begin(progress.round)
            done[name] = rounds[name] if over else progress.round
            if name in tasks:
                bars.update(tasks[name], completed=done[name])
            if over:
                ended.add(name)
            if (over or kind == "waiting") and name in tasks:
                bars.remove_task(tasks.pop(name))
            if over or (bars.disable and kind == "started"):
                why = f": {progress.error}" if kind == "stopped" else ""
                bars.console.print(Text(f"{kind}  {name}{why}"), soft_wrap=True)
            note = f"{len(ended)} of {len(rounds)} experiments"
            bars.update(whole, completed=sum(done.values()), total=sum(rounds.values()), note=note)
            if bars.disable and (line := lines.after(sum(done.values()), sum(rounds.values()))):
                bars.console.print(Text(f"{line}, {note}"), soft_wrap=True)
            return progress

        yield on_progress


@final
class _Lines:
    """A line from time to time about the rounds of a sweep, if there are no bars."""

    def __init__(self) -> None:
        self._before = 0
        self._began = self._said = time.monotonic()

    def begin(self, done: int) -> None:
        """An experiment begins, of which some rounds may have been done before."""
        self._before += done

    def after(self, done: int, rounds: int) -> str:
        """The text after this round of so many; empty if a line was printed recently."""
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN_LINES:
            return ""
        self._said = now
        each = (now - self._began) / max(1, done - self._before)
        left = round_to_seconds(each * (rounds - done)) if done > self._before else ""
        return f"{done} of {rounds} rounds" + (f", {left} to go" if left else "")


def can_redraw(console: "Console") -> bool:
    """Whether a terminal can redraw what it has shown; one with `TERM=dumb` cannot."""
    return console.is_terminal and not console.is_dumb_terminal


def _bars(*, left: bool = False) -> "Bars":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    console = terminal.err()
    name = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        *([TimeRemainingColumn()] if left else []),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        expand=True,
        transient=True,
        disable=not can_redraw(console),
    )
