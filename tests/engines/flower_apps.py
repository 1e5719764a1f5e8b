"""Flower's own strategies as one ServerApp, with a small numpy ClientApp.

Run as a program it goes through them on Flower's Ray engine and saves the
models: `python -m tests.engines.flower_apps OUT.npz`. The other engine is
`InProcessGrid`.

What is fixed and what is not: every client is asked in every round, because
Flower samples from node ids and Ray's are random. Ray's replies come in any
order, and a float sum depends on it; so `Ordered` puts them in the order of the
partitions before a strategy sees them, and the models must then be equal bit
for bit. Without it they may differ by round-off.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg, Krum, Strategy

CLIENTS = 5
ROUNDS = 3
EVERYONE = {"min_train_nodes": CLIENTS, "min_available_nodes": CLIENTS, "fraction_evaluate": 0.0}


def strategies() -> dict[str, Strategy]:
    """Fresh strategies by name; `unordered` is FedAvg without `Ordered`."""
    return {
        "fedavg": FedAvg(**EVERYONE),
        "fedadam": FedAdam(**EVERYONE, eta=0.3),
        "krum": Krum(**EVERYONE, num_malicious_nodes=1),
        "unordered": FedAvg(**EVERYONE),
    }


class Ordered:
    """A grid that gives replies in the order of their partitions."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        replies = self._grid.send_and_receive(messages, timeout=timeout)
        return sorted(replies, key=lambda reply: reply.content["metrics"]["partition"])


def samples(partition: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Client's own data: its own number of rows, its own slope."""
    random = np.random.default_rng(partition)
    x = random.normal(size=(10 + 3 * partition, 4)).astype(np.float32)
    return x, x @ np.array([1, -2, 3, partition], np.float32)


def client_app() -> ClientApp:
    """Linear regression by gradient descent."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        assert context.node_config["num-partitions"] == CLIENTS
        x, y = samples(partition)
        weights, bias = message.content["arrays"].to_numpy_ndarrays()
        for _ in range(4):
            error = x @ weights + bias - y
            weights = weights - np.float32(0.05) * (x.T @ error) / np.float32(len(x))
            bias = bias - np.float32(0.05) * error.mean(keepdims=True)
        metrics = MetricRecord({"num-examples": len(x), "partition": partition})
        content = RecordDict({"arrays": ArrayRecord([weights, bias]), "metrics": metrics})
        return Message(content, reply_to=message)

    return app


def server_app(out: Path) -> ServerApp:
    """All strategies one after another; their models go into one file."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        models = {}
        for name, strategy in strategies().items():
            start = ArrayRecord([np.zeros(4, np.float32), np.zeros(1, np.float32)])
            seen: Any = grid if name == "unordered" else Ordered(grid)
            result = strategy.start(seen, start, num_rounds=ROUNDS)
            models[name] = np.concatenate([a.astype(np.float64) for a in result.arrays.to_numpy_ndarrays()])
        np.savez(out, **models)

    return app


def run_on_ray(out: Path) -> None:
    """What `flwr run` with a local simulation calls, without its bundle."""
    from flwr.simulation.run_simulation import _run_simulation
    from flwr.supercore.telemetry import EventType

    _run_simulation(
        num_supernodes=CLIENTS,
        client_app=client_app(),
        server_app=server_app(out),
        backend_config={"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": 2}},
        exit_event=EventType.FLWR_SIMULATION_RUN_LEAVE,
    )


if __name__ == "__main__":
    run_on_ray(Path(sys.argv[1]))
