"""Rules that see every update, on Flower's own engine: `python -m tests.engines.ray.rules_on_ray OUT.npz`.

One simulation has them all, one after another: clients do the same whatever the rule.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation.run_simulation import _run_simulation
from flwr.supercore.telemetry import EventType

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.server.app import train
from hedgerow.strategies import parse_aggregate
from hedgerow.types import Deployment
from tests.support import MeanTrainer, clients

RULES = ("median()", "trimmed_mean(0.2)", "geometric_median()", "krum(0.2, 2)")
CLIENTS, ROUNDS = 7, 2
CLIENT_APP = client_app(
    MeanTrainer(),
    clients(CLIENTS),
    hr.fedavg(weighted=False, pipeline=hr.quantize(8)),
    deployment=Deployment.SIMULATED,
    guard=None,
)


def models(grid: Grid) -> dict[str, Any]:
    """What each rule comes to, by its name."""
    found = {}
    for rule in RULES:
        strategy = hr.fedavg(
            aggregate=parse_aggregate(rule), pipeline=hr.quantize(8), sampling=hr.uniform(CLIENTS)
        )
        trainer = MeanTrainer()
        results = train(
            grid, strategy, trainer.initial(0), trainer.layout,
            num_rounds=ROUNDS, min_clients=CLIENTS, deployment=Deployment.SIMULATED,
        )  # fmt: skip
        *_, last = results
        assert not last.failed, last.failed
        assert not last.dropped, last.dropped
        found[rule] = last.state.model.parameters
    return found


server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    np.savez(Path(sys.argv[1]), **models(grid))


if __name__ == "__main__":
    _run_simulation(
        num_supernodes=CLIENTS,
        client_app=CLIENT_APP,
        server_app=server_app,
        backend_config={"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": 2}},
        exit_event=EventType.FLWR_SIMULATION_RUN_LEAVE,
    )
