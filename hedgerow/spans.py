"""Where the time goes: named spans, recorded on request.

`span("train")` costs a fraction of a microsecond when nothing is recorded. Spans
are plain tuples, so a worker process can send its own back with its results: all
processes of a machine share one clock. A process makes one recording at a time,
of all its threads.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, final

from hedgerow.files import write_whole

T = TypeVar("T")

STAGES = ("train", "evaluate", "query", "data", "encode", "records", "aggregate", "save", "server app")
"""The stages of a round; the rest of its time is other work, or waiting."""

STARTING = ("imports", "load data", "make model", "choose trainer", "start workers")
"""The stages before the first round, or within it before the first client."""

CLIENTS, ROUND, IDLE, WORKER = "clients", "round", "idle", "worker"
"""The clients' work; a whole round; waiting; and the lifetime of a worker process."""


class Span(NamedTuple):
    """One stretch of work: start and end in nanoseconds of a monotonic clock, process and thread."""

    name: str
    start: int
    end: int
    process: int
    thread: int


_recording: list[Span] | None = None
_NOTHING = nullcontext()


@contextmanager
def record() -> Iterator[list[Span]]:
    """Record the spans of this process, in the order in which they end.

    >>> with record() as spans:
    ...     with span("train"):
    ...         pass
    >>> [s.name for s in spans]
    ['train']
    """
    global _recording
    before, spans = _recording, list[Span]()
    _recording = spans
    try:
        yield spans
    finally:
        _recording = before


def stop() -> None:
    """Stop recording, as in a process forked from one that records."""
    global _recording
    _recording = None


def recording() -> bool:
    """Whether spans are recorded here."""
    return _recording is not None


def add(spans: Iterable[Span]) -> None:
    """Add spans that another process recorded."""
    if _recording is not None:
        _recording.extend(Span(*s) for s in spans)


def span(name: str) -> AbstractContextManager[None]:
    """Measure the time spent inside."""
    return _NOTHING if _recording is None else _Measured(name, _recording)


def spanned(name: str, items: Iterable[T]) -> Iterator[T]:
    """The same items, measuring the time to produce each."""
    made = iter(items)
    while True:
        start = time.perf_counter_ns()
        try:
            item = next(made)
        except StopIteration:
            return
        if _recording is not None:
            _recording.append(_ended(name, start))
        yield item


def own_seconds(spans: Iterable[Span], first: int, last: int) -> dict[str, float]:
    """Seconds by name between two moments of one process; time counts for the open span that began last.

    They add up to the time in which any span was open.

    >>> inner, outer = Span("encode", 2, 5, 1, 1), Span("train", 0, 10, 1, 1)
    >>> {name: round(s * 1e9) for name, s in own_seconds([inner, outer], 1, 9).items()}
    {'train': 5, 'encode': 3}
    """
    inside = [s for s in spans if s.start < last and s.end > first and s.start < s.end]
    # If several begin at the same time, the longest is the outer one.
    inside.sort(key=lambda s: (s.start, -s.end))
    edges = [(max(s.start, first), 1, i) for i, s in enumerate(inside)]
    edges += [(min(s.end, last), 0, i) for i, s in enumerate(inside)]
    totals: dict[str, int] = {}
    opened, closed, before = list[int](), set[int](), first
    for moment, begins, i in sorted(edges):
        while opened and opened[-1] in closed:
            opened.pop()
        if opened:
            name = inside[opened[-1]].name
            totals[name] = totals.get(name, 0) + moment - before
        opened.append(i) if begins else closed.add(i)
        before = moment
    return {name: nanoseconds / 1e9 for name, nanoseconds in totals.items()}


def write_trace(file: Path, spans: Iterable[Span]) -> None:
    """Write spans in Chrome's trace format, which Perfetto (ui.perfetto.dev) opens.

    Raises:
        OSError: the file cannot be written.
    """
    ordered = sorted(spans, key=lambda s: s.start)
    origin = ordered[0].start if ordered else 0
    workers = list(dict.fromkeys(s.process for s in ordered if s.process != os.getpid()))
    events: list[dict[str, Any]] = [_named(os.getpid(), "server")]
    events += [_named(process, f"worker {number}") for number, process in enumerate(workers, 1)]
    events += [
        {
            "name": s.name,
            "ph": "X",
            "ts": (s.start - origin) / 1e3,
            "dur": (s.end - s.start) / 1e3,
            "pid": s.process,
            "tid": s.thread,
        }
        for s in ordered
    ]
    write_whole(file, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode())


def _named(process: int, name: str) -> dict[str, Any]:
    return {"name": "process_name", "ph": "M", "pid": process, "tid": process, "args": {"name": name}}


def _ended(name: str, start: int) -> Span:
    # The operating system's thread id: Perfetto reads 32 bits.
    return Span(name, start, time.perf_counter_ns(), os.getpid(), threading.get_native_id())


@final
class _Measured:
    """A context manager that costs less than one made with `contextmanager`."""

    __slots__ = ("_name", "_spans", "_start")

    def __init__(self, name: str, spans: list[Span]) -> None:
        self._name, self._spans = name, spans

    def __enter__(self) -> None:
        self._start = time.perf_counter_ns()

    def __exit__(self, *exception: object) -> None:
        self._spans.append(_ended(self._name, self._start))
