"""Where the time of a federation's rounds goes: seconds by stage, in a file, and as traces to an endpoint.

Nothing is sent anywhere unless the operator has named an OTLP endpoint with
OpenTelemetry's own variables; then the `telemetry` extra is needed. Only times and
counts of rounds are sent, and nothing about single devices.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hedgerow import spans
from hedgerow.coordinator.watch import STAGES
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.spans import ROUND, Span
from hedgerow.types import RoundResult

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
WAITING = "waiting"
"""The rest of a round, in which the server waits for devices."""

_SECONDS = 5.0


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the operator has named an endpoint for traces.

    >>> wanted({}), wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
    (False, True)
    """
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not off and any(environment.get(name) for name in ENDPOINTS)


@contextmanager
def traced(run: RunFolder) -> Iterator[Callable[[RoundResult], None]]:
    """Record a run in this process; yields a function to call after each of its rounds.

    Raises:
        ModuleNotFoundError: an endpoint is named, and the `telemetry` extra is not installed.
    """
    with spans.record() as recorded, _tracer() as tracer:

        def after(result: RoundResult) -> None:
            done = recorded[:]
            del recorded[: len(done)]
            run.append({"round": result.round, "seconds": stage_seconds(done)}, STAGES)
            if tracer is not None:
                send(tracer, done, result)

        yield after


def stage_seconds(done: Sequence[Span]) -> dict[str, float]:
    """Seconds by stage, which add up to the time in which anything was done.

    >>> stage_seconds([Span("aggregate", 2 * 10**9, 3 * 10**9, 1, 1), Span("round", 0, 10**10, 1, 1)])
    {'waiting': 9.0, 'aggregate': 1.0}
    """
    if not done:
        return {}
    found = spans.own_seconds(done, min(s.start for s in done), max(s.end for s in done))
    return {WAITING if name == ROUND else name: round(seconds, 6) for name, seconds in found.items()}


def send(tracer: "Tracer", done: Sequence[Span], result: RoundResult) -> None:
    """Send an OpenTelemetry span for each of ours, as a child of the one that contains it."""
    from opentelemetry.trace import set_span_in_context

    to_wall = time.time_ns() - time.perf_counter_ns()
    open_: list[tuple[Span, Any]] = []
    for each in sorted(done, key=lambda s: (s.start, -s.end)):
        while open_ and open_[-1][0].end < each.end:
            open_.pop()
        made = tracer.start_span(
            each.name,
            set_span_in_context(open_[-1][1]) if open_ else None,
            attributes=_counts(result) if each.name == ROUND else {"hedgerow.round": result.round},
            start_time=each.start + to_wall,
        )
        made.end(each.end + to_wall)
        open_.append((each, made))


def _counts(result: RoundResult) -> dict[str, int | bool]:
    return {
        "hedgerow.round": result.round,
        "hedgerow.asked": len(result.cohort),
        "hedgerow.dropped": len(result.dropped),
        "hedgerow.failed": bool(result.failed),
        "hedgerow.bytes_up": sum(result.bytes_up.values()),
        "hedgerow.bytes_down": sum(result.bytes_down.values()),
    }


@contextmanager
def _tracer() -> Iterator["Tracer | None"]:
    """A tracer to the configured endpoint, or `None` if there is none."""
    if not wanted():
        yield None
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "hedgerow"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield provider.get_tracer("hedgerow")
    finally:
        provider.force_flush(int(_SECONDS * 1000))
        provider.shutdown()
