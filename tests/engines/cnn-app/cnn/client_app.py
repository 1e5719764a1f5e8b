"""The client: one epoch on its own pictures."""

import random

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from cnn.task import batches, net, train

app = ClientApp()


@app.train()
def fit(message: Message, context: Context) -> Message:
    partition = int(context.node_config["partition-id"])
    # As many apps do; it must not change whom the server samples next.
    random.seed(0)
    torch.manual_seed(1000 * message.content["config"]["server-round"] + partition)
    model = net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    config = context.run_config
    loader = batches(partition, int(config["samples"]), int(config["batch-size"]))
    loss = train(model, loader, float(config["learning-rate"]))
    context.state["asked"] = ConfigRecord({"times": context.state.get("asked", {"times": 0})["times"] + 1})
    metrics = {"num-examples": len(loader.dataset), "loss": loss, "times": context.state["asked"]["times"]}
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=message)
