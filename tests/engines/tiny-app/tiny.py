"""A Flower app whose result is the same in whatever order its clients answer.

Weights are 1/4, 1/4 and 1/2 and every value is a small multiple of a power of
two, so no sum is ever rounded.
"""

import json

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

server_app = ServerApp()
client_app = ClientApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Two rounds of FedAvg; the outcome is one line of the log."""
    if context.run_config["fail"]:
        raise RuntimeError("asked to fail")
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=3, min_available_nodes=3)
    start = ArrayRecord([np.zeros(2, np.float32)])
    result = strategy.start(grid, start, num_rounds=int(context.run_config["rounds"]))
    values = result.arrays.to_numpy_ndarrays()[0].tolist()
    print("RESULT", json.dumps({"values": values, "word": context.run_config["word"]}), flush=True)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Adds its number to the model, and counts its rounds in its state."""
    client = int(context.node_config["partition-id"])
    record = context.state.get("count", MetricRecord({"rounds": 0}))
    rounds = int(record["rounds"]) + 1
    context.state["count"] = MetricRecord({"rounds": rounds})
    model = message.content["arrays"].to_numpy_ndarrays()[0]
    model += np.array([client + 1, rounds], np.float32)
    metrics = MetricRecord({"num-examples": [1, 1, 2][client]})
    return Message(RecordDict({"arrays": ArrayRecord([model]), "metrics": metrics}), reply_to=message)
