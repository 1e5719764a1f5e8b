"""`hedgerow simulate` with every bad client at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
import os, sys, threading, time
import numpy as np
from flwr.app import ArrayRecord, MetricRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

server_app, client_app, hoard = ServerApp(), ClientApp(), []

@server_app.main()
def main(grid, context):
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=8, min_available_nodes=8)
    result = strategy.start(grid, ArrayRecord([np.zeros(2, np.float32)]), num_rounds=2)
    print("RESULT", result.arrays.to_numpy_ndarrays()[0].tolist(), flush=True)

@client_app.train()
def train(message, context):
    match context.node_config["partition-id"]:
        case 0: raise ValueError("no data")
        case 1: time.sleep(600)
        case 2: return "nonsense"
        case 3: sys.exit(3)
        case 4: os._exit(3)
        case 5:
            while True: hoard.append(np.ones(10**6, np.uint8))
        case 6:
            threading.Thread(target=time.sleep, args=(600,), name="forgotten").start()
    model = message.content["arrays"].to_numpy_ndarrays()[0] + 1
    reply = {"arrays": ArrayRecord([model]), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(reply), reply_to=message)
"""
PYPROJECT = """
[project]
name = "bad"
version = "1.0.0"
[tool.flwr.app]
publisher = "hedgerow"
[tool.flwr.app.components]
serverapp = "bad:server_app"
clientapp = "bad:client_app"
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_of_them_in_one_app_are_named_and_the_two_good_ones_make_the_model(workers, tmp_path):
    (tmp_path / "bad.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    command = ["simulate", str(tmp_path), "--clients", "8", "--workers", workers]
    done = subprocess.run(
        [
            sys.executable, "-c", "from hedgerow.experiments.cli.main import main; main()",
            *command, "--client-timeout", "2", "--memory-limit", "300",
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "RESULT [2.0, 2.0]" in done.stdout
    assert "failed: " + ", ".join(f"client {i} (2x)" for i in range(6)) in done.stdout
    assert "client 6 left 1 thread behind: forgotten" in done.stderr
