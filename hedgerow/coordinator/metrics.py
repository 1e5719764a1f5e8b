"""A federation's metrics for Prometheus: totals over its devices, and no device's name.

Read it with the key in `metrics.token`: `authorization: {credentials_file: .../metrics.token}`.
"""

import datetime
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from hedgerow.coordinator.certificates import shown
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.status import status_of
from hedgerow.coordinator.watch import KEPT, STAGES, Row, by_round
from hedgerow.files import PRIVATE, write_whole
from hedgerow.server.replies import KINDS, kind_of

TOKEN = "metrics.token"
MEDIA = CONTENT_TYPE_LATEST

_OUTCOMES = ("counted", "failed")
_WAYS = ("up", "down")
_OF_DEVICES = ("mean", "weighted_mean", "spread", "worst_tenth")


def metrics_token(folder: FederationFolder) -> str:
    """The key to the metrics, created if missing; unlike the page's, it stays. Raises `OSError`."""
    file = folder.path / TOKEN
    if not file.exists():
        write_whole(file, secrets.token_urlsafe(24).encode(), mode=PRIVATE)
    return file.read_text().strip()


def exposition(folder: FederationFolder) -> bytes:
    """The current metrics in Prometheus' text format; raises `FederationError` and `OSError`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Federation(folder))
    return bytes(generate_latest(registry))


@final
class _Federation(Collector):
    """Reads the files of a federation, and of its run."""

    def __init__(self, folder: FederationFolder) -> None:
        self._folder = folder

    def describe(self) -> Iterator[Metric]:
        """Nothing is described in advance."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        status = status_of(self._folder)
        run = Path(status["run"]) if status["run"] else None
        lines = [] if run is None else by_round(run / "metrics.jsonl")
        yield from _now(self._folder, status)
        yield from _of_rounds(lines)
        yield from _last_scores(lines)
        seconds: Counter[str] = Counter()
        for line in [] if run is None else by_round(run / STAGES):
            seconds.update(line["seconds"])
        stages = CounterMetricFamily(
            "hedgerow_stage_seconds", "Seconds by stage of the rounds.", labels=["stage"]
        )
        for name in sorted(seconds):
            stages.add_metric([name], seconds[name])
        yield stages


def _now(folder: FederationFolder, status: Row) -> Iterator[Metric]:
    up = GaugeMetricFamily("hedgerow_up", "Whether a process is running.", labels=["process"])
    for name in KEPT:
        up.add_metric([name], float(name in status["processes"]))
    yield up
    states = Counter(row["state"] for row in status["devices"])
    devices = GaugeMetricFamily("hedgerow_devices", "Devices by state.", labels=["state"])
    for state in ("online", "away", "invited"):
        devices.add_metric([state], states[state])
    yield devices
    yield GaugeMetricFamily("hedgerow_rounds_wanted", "Rounds that the run has.", value=status["rounds"] or 0)
    left = shown(folder).ends - datetime.datetime.now(datetime.UTC)
    yield GaugeMetricFamily(
        "hedgerow_certificate_seconds", "Until the gateway's certificate expires.", value=left.total_seconds()
    )


def _of_rounds(lines: Sequence[Row]) -> Iterator[Metric]:
    outcomes = Counter("failed" if line["failed"] else "counted" for line in lines)
    rounds = CounterMetricFamily("hedgerow_rounds", "Rounds that ended, by outcome.", labels=["outcome"])
    for outcome in _OUTCOMES:
        rounds.add_metric([outcome], outcomes[outcome])
    yield rounds
    yield CounterMetricFamily(
        "hedgerow_round_seconds", "Seconds of all rounds.", value=sum(line["seconds"] for line in lines)
    )
    sent = CounterMetricFamily("hedgerow_bytes", "Bytes of training messages.", labels=["direction"])
    for way in _WAYS:
        sent.add_metric([way], sum(line[f"bytes_{way}"] for line in lines))
    yield sent
    reasons = Counter(kind_of(why) for line in lines for why in line["dropped"].values())
    drops = CounterMetricFamily("hedgerow_drops", "Clients that were dropped, by reason.", labels=["reason"])
    for reason in KINDS:
        drops.add_metric([reason], reasons[reason])
    yield drops


def _last_scores(lines: Sequence[Row]) -> Iterator[Metric]:
    """The last measurements of the model, and epsilon."""
    score = GaugeMetricFamily("hedgerow_score", "Last scores of the model.", labels=["metric", "of"])
    ours: Row = next((line["evaluation"] for line in reversed(lines) if line["evaluation"]), {})
    for name, value in ours.items():
        if value is not None:
            score.add_metric([name, "server"], value)
    theirs: Row = next((found for line in reversed(lines) if (found := line.get("client_evaluation"))), {})
    for name, told in theirs.get("metrics", {}).items():
        for of in _OF_DEVICES:
            if told.get(of) is not None:
                score.add_metric([name, f"devices_{of}"], told[of])
    yield score
    if lines and lines[-1].get("epsilon") is not None:
        yield GaugeMetricFamily("hedgerow_epsilon", "Of any client so far.", value=lines[-1]["epsilon"])
