"""The partial result of a round: what has been collected from some of its replies."""

from dataclasses import dataclass, field

from hedgerow.strategies.aggregates.base import Accumulator


@dataclass
class Collected:
    """What has been collected from some of a round's replies; small enough to send between processes.

    Attributes:
        deltas: accumulated deltas of the clients that count.
        streams: accumulated streams of these clients, by the stream's name.
        metrics: `{metric: {client: (examples, value)}}`.
        dropped: `{client: reason}`.
        bytes_up: `{client: bytes}` of each reply that arrived.
        bytes_down: `{client: bytes}` of what was sent, if that was not the same for all.
        counted: number of clients that count.
        failed: why the round fails, whatever the clients replied.
        kept: `{client: reply}` of those that count, if replies are recorded.
        norms: `{part: {client: l2 norm}}` of what clients sent, including those dropped because of
            it; empty if norms are not bounded.
    """

    deltas: Accumulator
    streams: dict[str, Accumulator]
    metrics: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    failed: str = ""
    kept: dict[str, bytes] = field(default_factory=dict)
    norms: dict[str, dict[str, float]] = field(default_factory=dict)

    def merge(self, other: "Collected") -> None:
        """Add what was collected from other replies of the round; the result does not depend on the order."""
        if not (other.counted or other.dropped):
            return
        self.deltas.merge(other.deltas)
        for name, total in self.streams.items():
            total.merge(other.streams[name])
        for name, by_client in other.metrics.items():
            self.metrics.setdefault(name, {}).update(by_client)
        for name, norms in other.norms.items():
            self.norms.setdefault(name, {}).update(norms)
        self.dropped.update(other.dropped)
        self.bytes_up.update(other.bytes_up)
        self.counted += other.counted
        self.kept.update(other.kept)

    def each(self, metric: str) -> dict[str, float]:
        """What each client sent of a metric, sorted by client."""
        return {client: value for client, (_, value) in sorted(self.metrics.get(metric, {}).items())}

    def means(self) -> dict[str, float]:
        """Each metric's mean over the clients that sent it, weighted by examples."""
        means = {}
        for name, by_client in sorted(self.metrics.items()):
            # Sorted by client, so that the order of arrival does not affect the last bit.
            pairs = [by_client[client] for client in sorted(by_client)]
            means[name] = sum([n * value for n, value in pairs]) / sum([n for n, _ in pairs])
        return means
