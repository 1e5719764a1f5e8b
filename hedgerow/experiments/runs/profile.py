"""Where the time of a run goes, by stage and process."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow import spans
from hedgerow.spans import Span

OTHER = "other"


@dataclass(frozen=True)
class Times:
    """Where the time between the first client's start and the end of the last round went.

    Attributes:
        starting: seconds of each part of the time before that.
        rounds: their number; 0 if unknown, as with a Flower app.
        seconds: wall time of all rounds.
        workers: most client processes at a time; 0 if clients ran in the server's process.
        server: seconds of the server's process by stage, which add up to `seconds`.
        clients: seconds of all workers by stage, which add up to the workers' total lifetime.
    """

    starting: Mapping[str, float]
    rounds: int
    seconds: float
    workers: int
    server: Mapping[str, float]
    clients: Mapping[str, float]

    @property
    def stages(self) -> list[str]:
        """The stages that occurred, in order, with unnamed time and waiting last."""
        known = (*spans.STAGES, *spans.STARTING)
        found = {name for times in (self.server, self.clients) for name, seconds in times.items() if seconds}
        named = sorted(found - {*known, OTHER, spans.IDLE})  # names of a Flower app's messages
        return [stage for stage in (*known, *named, OTHER, spans.IDLE) if stage in found]


@dataclass(frozen=True)
class Profile:
    """The recording of a run.

    Attributes:
        spans: what was done in which process; more may still arrive.
        began: when recording began, in nanoseconds of the spans' clock.
        process: id of the server's process.
    """

    spans: list[Span] = field(default_factory=list)
    began: int = field(default_factory=time.perf_counter_ns)
    process: int = field(default_factory=os.getpid)

    def times(self) -> Times | None:
        """Where the time went; None if no client was run."""
        work = [s for s in self.spans if s.name != spans.WORKER]
        clients = [s.start for s in work if s.name == spans.CLIENTS]
        if not clients:
            return None
        first = min(clients)
        last = max(s.end for s in work if s.process == self.process)
        last = max(last, *(s.end for s in work if s.name == spans.CLIENTS))
        by_process: dict[int, list[Span]] = {}
        for s in work:
            by_process.setdefault(s.process, []).append(s)
        own = by_process.pop(self.process, [])
        lives = self._lives(by_process, first, last)
        busy = [spans.own_seconds(done, first, last) for done in by_process.values()]
        return Times(
            starting=self._starting(own, first),
            rounds=sum(s.name == spans.ROUND for s in own),
            seconds=(last - first) / 1e9,
            workers=_most_at_a_time(lives),
            server=_by_stage([spans.own_seconds(own, first, last)], (last - first) / 1e9, OTHER),
            clients=_by_stage(busy, sum(end - start for start, end in lives) / 1e9, spans.IDLE),
        )

    def write_trace(self, file: Path) -> None:
        """Write it in Chrome's trace format, which Perfetto (ui.perfetto.dev) opens.

        Raises:
            OSError: the file cannot be written.
        """
        spans.write_trace(file, self.spans)

    def _lives(
        self, by_process: Mapping[int, Sequence[Span]], first: int, last: int
    ) -> list[tuple[int, int]]:
        """The start and end of each worker; for one that has not ended, its last known moment."""
        lives = {s.process: (s.start, s.end) for s in self.spans if s.name == spans.WORKER}
        for process, done in by_process.items():
            lives.setdefault(process, (min(s.start for s in done), last))
        clipped = ((max(start, first), min(end, last)) for start, end in lives.values())
        return [(start, end) for start, end in clipped if start < end]

    def _starting(self, own: Sequence[Span], first: int) -> dict[str, float]:
        found = spans.own_seconds([s for s in own if s.name in spans.STARTING], self.began, first)
        parts = {name: found[name] for name in spans.STARTING if name in found}
        return {**parts, OTHER: (first - self.began) / 1e9 - sum(parts.values())}


@contextmanager
def profile() -> Iterator[Profile]:
    """Record where the time of the runs inside goes; this does not affect them.

    It costs some tens of microseconds for each client and round. When a run has ended,
    call `times()` and `write_trace(file)` of the result.

    >>> with profile() as found:
    ...     pass
    >>> print(found.times())
    None
    """
    with spans.record() as recorded:
        yield Profile(recorded)


def _by_stage(lanes: Sequence[Mapping[str, float]], whole: float, rest: str) -> dict[str, float]:
    """Seconds by stage of several processes, with the remainder to the whole under `rest`."""
    totals: dict[str, float] = {}
    for lane in lanes:
        for name, seconds in lane.items():
            stage = OTHER if name in (spans.CLIENTS, spans.ROUND) else name
            totals[stage] = totals.get(stage, 0.0) + seconds
    totals[rest] = totals.get(rest, 0.0) + whole - sum(totals.values())
    return totals


def _most_at_a_time(lives: Sequence[tuple[int, int]]) -> int:
    edges = sorted([(start, 1) for start, _ in lives] + [(end, -1) for _, end in lives])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most
