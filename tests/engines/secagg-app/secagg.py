"""One round of Flower's SecAgg+ in which client 0 is too slow to upload: the other four are added up."""

import json
import time
from typing import Any

import numpy as np
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import Grid, LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import ServerApp


class Client(NumPyClient):  # type: ignore[misc]
    """Answers with its number; client 0 too late."""

    def __init__(self, context: Context) -> None:
        self.number = int(context.node_config["partition-id"])
        self.seconds = float(context.run_config["timeout"]) + 2

    def fit(self, parameters: Any, config: Any) -> Any:
        """Its number."""
        if self.number == 0:
            time.sleep(self.seconds)
        return [np.full(3, self.number, np.float32)], 1, {}


client_app = ClientApp(client_fn=lambda context: Client(context).to_client(), mods=[secaggplus_mod])
server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """One round; the outcome is one line."""
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=5,
        min_available_clients=5,
        initial_parameters=ndarrays_to_parameters([np.zeros(3, np.float32)]),
    )
    legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=1), strategy=strategy)
    timeout = float(context.run_config["timeout"])
    DefaultWorkflow(fit_workflow=SecAggPlusWorkflow(5, 3, max_weight=1, timeout=timeout))(grid, legacy)
    arrays = next(iter(legacy.state.array_records.values())).to_numpy_ndarrays()
    print("RESULT", json.dumps(arrays[0].tolist()), flush=True)
