"""Where the time goes: named spans, recorded where someone asked for them.

`span("train")` costs a fraction of a microsecond while nobody records. What
is recorded are plain tuples, so that a worker process can send its own back
with its results: the clock is one for all processes of a machine.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hedgerow.files import write_whole

T = TypeVar("T")

STAGES = ("train", "encode", "records", "aggregate", "evaluate", "save")
"""What a round is made of; the rest of its time is waiting."""


class Span(NamedTuple):
    """One stretch of work: nanoseconds of a monotonic clock, and who did it."""

    name: str
    start: int
    end: int
    process: int
    thread: int


_recording: ContextVar[list[Span] | None] = ContextVar("hedgerow spans", default=None)


@contextmanager
def record() -> Iterator[list[Span]]:
    """Record the spans of this context, in order of their end.

    >>> with record() as spans:
    ...     with span("train"):
    ...         pass
    >>> [s.name for s in spans]
    ['train']
    """
    spans: list[Span] = []
    token = _recording.set(spans)
    try:
        yield spans
    finally:
        _recording.reset(token)


def recording() -> bool:
    """Whether spans are recorded here."""
    return _recording.get() is not None


def add(spans: Iterable[Span]) -> None:
    """Add spans that another process recorded."""
    own = _recording.get()
    if own is not None:
        own.extend(Span(*s) for s in spans)


def span(name: str) -> AbstractContextManager[None]:
    """Measure what is done inside."""
    spans = _recording.get()
    return nullcontext() if spans is None else _measured(name, spans)


def spanned(name: str, items: Iterable[T]) -> Iterator[T]:
    """The same items, with the making of each measured."""
    made = iter(items)
    while True:
        with span(name):
            try:
                item = next(made)
            except StopIteration:
                return
        yield item


def seconds_by_stage(spans: Iterable[Span]) -> dict[str, float]:
    """Seconds of each stage, a span's own time only: what lies in a span inside it counts there.

    >>> inner, outer = Span("encode", 2, 5, 1, 1), Span("train", 0, 10, 1, 1)
    >>> [round(s * 1e9) for s in seconds_by_stage([inner, outer]).values()]
    [7, 3]
    """
    totals: dict[str, float] = {}
    lanes: dict[tuple[int, int], list[Span]] = {}
    for s in spans:
        lanes.setdefault((s.process, s.thread), []).append(s)
    for lane in lanes.values():
        open_spans: list[Span] = []
        for s in sorted(lane, key=lambda s: (s.start, -s.end)):
            while open_spans and open_spans[-1].end <= s.start:
                open_spans.pop()
            if open_spans:
                outer = open_spans[-1].name
                totals[outer] = totals.get(outer, 0.0) - (s.end - s.start) / 1e9
            totals[s.name] = totals.get(s.name, 0.0) + (s.end - s.start) / 1e9
            open_spans.append(s)
    return totals


def write_trace(file: Path, spans: Iterable[Span]) -> None:
    """Write spans in Chrome's trace format, which Perfetto (ui.perfetto.dev) opens.

    Raises:
        OSError: the file cannot be written.
    """
    ordered = sorted(spans, key=lambda s: s.start)
    origin = ordered[0].start if ordered else 0
    processes = {s.process for s in ordered}
    events: list[dict[str, Any]] = [_named(process, processes) for process in sorted(processes)]
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


def _named(process: int, processes: AbstractSet[int]) -> dict[str, Any]:
    name = "server" if process == os.getpid() else f"worker {sorted(processes).index(process)}"
    return {"name": "process_name", "ph": "M", "pid": process, "tid": 0, "args": {"name": name}}


@contextmanager
def _measured(name: str, spans: list[Span]) -> Iterator[None]:
    start = time.perf_counter_ns()
    try:
        yield
    finally:
        spans.append(Span(name, start, time.perf_counter_ns(), os.getpid(), threading.get_ident()))
