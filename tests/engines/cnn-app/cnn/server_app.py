"""The server: Flower's FedAvg, with seeded sampling."""

import random

import numpy as np
import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from cnn.task import net

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    random.seed(config["seed"])
    torch.manual_seed(config["seed"])
    strategy = FedAvg(fraction_train=float(config["fraction-train"]), fraction_evaluate=0.0)
    result = strategy.start(
        grid, ArrayRecord(net().state_dict()), num_rounds=int(config["num-server-rounds"])
    )
    metrics = {f"metrics {r}": np.array(list(m.values())) for r, m in result.train_metrics_clientapp.items()}
    np.savez(str(config["out"]), **result.arrays.to_torch_state_dict(), **metrics)
