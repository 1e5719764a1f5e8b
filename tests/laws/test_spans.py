"""Spans of work: what is recorded, how it adds up, and the trace that Perfetto opens."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow import spans
from hedgerow.experiments.runs.profile import Profile, profile
from hedgerow.spans import CLIENTS, IDLE, ROUND, WORKER, Span


def milliseconds(*rows: tuple[str, int, int, int]) -> list[Span]:
    """Spans from `(name, start, end, process)`."""
    return [Span(name, start * 10**6, end * 10**6, process, process) for name, start, end, process in rows]


@st.composite
def nested(draw: st.DrawFn) -> list[Span]:
    """Spans of one thread, one in another or one after another, as `with` makes them."""
    found: list[Span] = []

    def fill(start: int, end: int, depth: int) -> None:
        moments = sorted(
            draw(st.lists(st.integers(start, end), max_size=6).filter(lambda m: len(m) % 2 == 0))
        )
        for first, last in zip(moments[::2], moments[1::2], strict=True):
            if depth:
                fill(first, last, depth - 1)
            found.append(Span(draw(st.sampled_from(["train", "encode", "data"])), first, last, 1, 1))

    fill(0, 1000, 3)
    return found


@given(nested(), st.integers(-10, 400), st.integers(401, 1100))
def test_own_times_add_up_to_the_time_in_which_any_span_was_open(found, first, last):
    covered = {moment for s in found for moment in range(max(s.start, first), min(s.end, last))}
    times = spans.own_seconds(found, first, last)
    assert round(sum(times.values()) * 1e9) == len(covered)
    # By another road: each moment is the innermost span's.
    inner = {"train": 0, "encode": 0, "data": 0}
    for moment in covered:
        of = [s for s in found if s.start <= moment < s.end]
        shortest = min(s.end - s.start for s in of)
        names = {s.name for s in of if s.end - s.start == shortest}
        if len(names) == 1:
            inner[names.pop()] += 1
    for name, count in inner.items():
        assert times.get(name, 0.0) * 1e9 >= count - 1e-3


def test_what_nobody_records_costs_no_span_and_an_exception_ends_one():
    with spans.span("train"):
        pass
    assert not spans.recording()
    with spans.record() as found:
        with pytest.raises(ZeroDivisionError), spans.span("train"):
            _ = 1 / 0
        assert list(spans.spanned("encode", [1, 2])) == [1, 2]
    assert [s.name for s in found] == ["train", "encode", "encode"]
    assert not spans.recording()


def test_the_work_of_every_thread_is_recorded():
    def work() -> None:
        with spans.span("train"):
            pass

    with spans.record() as found:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        work()
    assert len({s.thread for s in found}) == 2
    assert all(0 < s.thread < 2**32 for s in found), "Perfetto reads 32 bits"


def test_times_add_up_to_processes_times_wall():
    server = 7
    found = milliseconds(
        ("imports", 0, 50, server),
        ("start workers", 60, 65, server),
        *((WORKER, 60, 400, 8), (WORKER, 62, 400, 9)),
        *((CLIENTS, 100, 200, 8), ("train", 110, 190, 8), ("encode", 190, 195, 8)),
        *((CLIENTS, 120, 160, 9), ("train", 120, 160, 9)),
        *((IDLE, 100, 200, server), ("aggregate", 200, 210, server), ("evaluate", 210, 250, server)),
        (ROUND, 55, 260, server),
        ("save", 270, 300, server),
    )
    times = Profile(found, began=0, process=server).times()
    assert times is not None
    assert (times.rounds, times.workers, times.seconds) == (1, 2, pytest.approx(0.2))
    assert dict(times.server) == pytest.approx(
        {"idle": 0.1, "aggregate": 0.01, "evaluate": 0.04, "save": 0.03, "other": 0.02}
    )
    assert dict(times.clients) == pytest.approx(
        {"train": 0.12, "encode": 0.005, "other": 0.015, "idle": 0.26}
    )
    assert sum(times.server.values()) == pytest.approx(times.seconds)
    assert sum(times.clients.values()) == pytest.approx(times.workers * times.seconds)
    assert dict(times.starting) == pytest.approx({"imports": 0.05, "start workers": 0.005, "other": 0.045})
    assert times.stages == ["train", "evaluate", "encode", "aggregate", "save", "other", "idle"]


def test_a_worker_that_was_replaced_counts_for_the_time_it_was_there():
    found = milliseconds(
        *((WORKER, 0, 50, 8), (WORKER, 60, 110, 9)),
        *((CLIENTS, 10, 40, 8), (CLIENTS, 70, 90, 9), ("records", 90, 100, 7)),
    )
    times = Profile(found, began=0, process=7).times()
    assert times is not None
    assert (times.workers, times.seconds) == (1, pytest.approx(0.09))
    assert dict(times.clients) == pytest.approx({"other": 0.05, "idle": 0.03})


def test_without_a_client_there_is_nothing_to_tell():
    with profile() as found, spans.span("imports"):
        pass
    assert found.times() is None


def check_trace(file: Path) -> list[dict[str, object]]:
    """The complete events of a file in the trace event format, every one as the format wants it.

    https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    trace = json.loads(file.read_text(encoding="utf-8"))
    assert set(trace) == {"traceEvents", "displayTimeUnit"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    complete = []
    named: dict[int, str] = {}
    for event in trace["traceEvents"]:
        assert event["ph"] in ("X", "M")
        assert type(event["pid"]) is type(event["tid"]) is int
        assert isinstance(event["name"], str)
        if event["ph"] == "M":
            assert event["name"] == "process_name"
            assert isinstance(event["args"]["name"], str)
            named[event["pid"]] = event["args"]["name"]
            continue
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        complete.append(event)
    assert list(named.values()).count("server") == 1
    assert {pid for pid, name in named.items() if name != "server"} <= {event["pid"] for event in complete}
    assert {event["pid"] for event in complete} <= set(named)
    assert [event["ts"] for event in complete] == sorted(event["ts"] for event in complete)
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in complete:
        lanes.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for lane in lanes.values():
        open_until: list[float] = []
        for start, end in sorted(lane, key=lambda pair: (pair[0], -pair[1])):
            while open_until and open_until[-1] <= start + 1e-3:
                open_until.pop()
            assert not open_until or end <= open_until[-1] + 1e-3, "slices of one thread lie in one another"
            open_until.append(end)
    return complete


@given(found=nested())
def test_a_trace_holds_every_span_in_the_format(found, tmp_path_factory):
    file = tmp_path_factory.mktemp("trace") / "trace.json"
    spans.write_trace(file, found)
    events = check_trace(file)
    assert sorted(event["name"] for event in events) == sorted(s.name for s in found)
    begins = sorted(s.start for s in found)
    assert [event["ts"] for event in events] == pytest.approx([(b - begins[0]) / 1e3 for b in begins])
