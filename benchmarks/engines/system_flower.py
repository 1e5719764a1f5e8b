"""Flower: its FedAvg and a ClientApp, on its simulation engine (Ray, one actor a process asked for).

`run.py` sets the variables that switch telemetry and update checks off.
"""

import measure
import numpy as np
import torch
import workload as w
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import nn


def client_app(workload: w.Workload) -> ClientApp:
    """One local epoch."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        model = w.make_model(workload)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=w.LEARNING_RATE)
        x, y = w.Clients(workload).tensors(int(context.node_config["partition-id"]))
        for _ in range(w.EPOCHS):
            for index in torch.randperm(len(y)).split(w.BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[index]), y[index]).backward()
                optimizer.step()
        content = RecordDict(
            {
                "arrays": ArrayRecord(model.state_dict()),
                "metrics": MetricRecord({"num-examples": len(y)}),
            }
        )
        return Message(content=content, reply_to=message)

    return app


def server_app(workload: w.Workload, rounds: int, recorder: measure.Recorder) -> ServerApp:
    """FedAvg; the recorder sits where the global model would be evaluated."""
    app = ServerApp()

    def count(replies: list[RecordDict], weighted_by: str) -> MetricRecord:
        # Flower goes on without clients that failed; then less was done, and the figures are worth nothing.
        if len(replies) != w.COHORT:
            raise RuntimeError(f"{len(replies)} clients replied, not {w.COHORT}")
        return MetricRecord({"clients": len(replies)})

    def end_round(number: int, arrays: ArrayRecord) -> None:
        if number:
            recorder.end_round(lambda: np.concatenate([a.ravel() for a in arrays.to_numpy_ndarrays()]))

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(
            fraction_train=w.COHORT / workload.clients,
            fraction_evaluate=0.0,
            min_train_nodes=w.COHORT,  # the fraction is taken of those registered so far
            min_available_nodes=workload.clients,
            train_metrics_aggr_fn=count,
        )
        initial = ArrayRecord(w.make_model(workload).state_dict())
        strategy.start(grid, initial, num_rounds=rounds, evaluate_fn=end_round)
        recorder.finish()

    return app


def main() -> None:
    """Run the rounds."""
    given = measure.arguments()
    recorder = measure.Recorder("flower", ("flwr", "ray"), given)
    workload = w.WORKLOADS[given.workload]
    w.Clients(workload)
    run_simulation(
        server_app(workload, given.rounds, recorder),
        client_app(workload),
        num_supernodes=workload.clients,
        backend_config={
            "init_args": {"num_cpus": given.processes, "num_gpus": 0},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    main()
