"""Three ways of using Flower beside plain FedAvg, one after another in one run.

A histogram is queried; a model is learned that is split between clients, who
hold columns, and the server, who holds labels; and a strategy with rounds and
evaluation of its own trains on seeded noise. A mod notes the types of all
messages in the client's state.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator
from time import sleep
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

ROWS = 40


def note_types(
    message: Message, context: Context, call_next: Callable[[Message, Context], Message]
) -> Message:
    """A mod: the types of the messages so far go into the state and into the reply."""
    types = [*context.state.get("seen", {"types": []})["types"], message.metadata.message_type]
    context.state["seen"] = ConfigRecord({"types": types})
    reply = call_next(message, context)
    reply.content["seen"] = context.state["seen"]
    return reply


server_app = ServerApp()
client_app = ClientApp(mods=[note_types])


class Halving(FedAvg):
    """FedAvg whose learning rate halves each round, and which counts the clients that it asked."""

    asked = 0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask with this round's rate."""
        config["rate"] = 0.5**server_round
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self.asked += len(messages)
        return messages


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """All three; the outcome is one line."""
    random.seed(3)  # the order of a sample is that of the sums
    while len(nodes := list(grid.get_node_ids())) < 3:
        sleep(0.1)
    replies = grid.send_and_receive([Message(RecordDict(), node, "query") for node in nodes])
    counts = np.sum([reply.content["counts"]["histogram"] for reply in replies], axis=0)
    losses = split_learning(grid, nodes, int(context.run_config["steps"]))
    strategy = Halving(fraction_train=1.0, fraction_evaluate=1.0)
    result = strategy.start(
        grid,
        ArrayRecord([np.zeros(5)]),
        num_rounds=2,
        evaluate_fn=lambda _, arrays: MetricRecord({"norm": float(np.linalg.norm(first(arrays)))}),
    )
    last = grid.send_and_receive([Message(RecordDict(), node, "query.types") for node in nodes])
    outcome = {
        "histogram": counts.tolist(),
        "losses": losses,
        "asked": strategy.asked,
        "norms": [m["norm"] for m in result.evaluate_metrics_serverapp.values()],
        "spread": [m["spread"] for m in result.evaluate_metrics_clientapp.values()],
        "model": hashlib.sha256(first(result.arrays).tobytes()).hexdigest(),
        "types": sorted({" ".join(reply.content["seen"]["types"]) for reply in last}),
        "begun": sorted(int(reply.content["counts"]["begun"]) for reply in last),
    }
    print("RESULT", json.dumps(outcome), flush=True)


def split_learning(grid: Grid, nodes: list[int], steps: int) -> list[float]:
    """Clients send what their columns come to; the server sends back the gradient of the squared error."""
    labels, losses = np.sin(np.arange(ROWS)), []
    for _ in range(steps):
        replies = grid.send_and_receive([Message(RecordDict(), node, "query.embed") for node in nodes])
        error = sum(first(reply.content["arrays"]) for reply in replies) - labels
        losses.append(float(error @ error))
        gradient = RecordDict({"arrays": ArrayRecord([2 * error / ROWS])})
        grid.send_and_receive([Message(gradient, node, "train.backward") for node in nodes])
    return losses


def first(arrays: ArrayRecord) -> Any:
    """The first array of a record."""
    return arrays.to_numpy_ndarrays()[0]


def columns(context: Context) -> Any:
    """This client's two columns of the table."""
    return np.random.default_rng([7, int(context.node_config["partition-id"])]).normal(size=(ROWS, 2))


@client_app.lifespan()
def lifespan(context: Context) -> Iterator[None]:
    """Counts how often this client's app was entered."""
    begun = context.state.get("lives", {"begun": 0})["begun"] + 1
    context.state["lives"] = MetricRecord({"begun": begun})
    yield


@client_app.query()
def histogram(message: Message, context: Context) -> Message:
    """How many values lie where."""
    counts, _ = np.histogram(columns(context), bins=[-9, -1, 0, 1, 9])
    return Message(RecordDict({"counts": MetricRecord({"histogram": counts.tolist()})}), reply_to=message)


@client_app.query("embed")
def embed(message: Message, context: Context) -> Message:
    """What this client's columns come to with the weights in its state."""
    if "weights" not in context.state:
        context.state["weights"] = ArrayRecord([np.zeros(2)])
    values = columns(context) @ first(context.state["weights"])
    return Message(RecordDict({"arrays": ArrayRecord({"values": Array(values)})}), reply_to=message)


@client_app.train("backward")
def backward(message: Message, context: Context) -> Message:
    """A step on the weights in the state."""
    step = columns(context).T @ first(message.content["arrays"])
    context.state["weights"] = ArrayRecord([first(context.state["weights"]) - 0.1 * step])
    return Message(RecordDict(), reply_to=message)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """The model and seeded noise."""
    config = message.content["config"]
    np.random.seed(int(config["server-round"]) * 100 + int(context.node_config["partition-id"]))  # noqa: NPY002
    model = first(message.content["arrays"]) + config["rate"] * np.random.rand(5)  # noqa: NPY002
    metrics = MetricRecord({"num-examples": int(context.node_config["partition-id"]) + 1})
    return Message(RecordDict({"arrays": ArrayRecord([model]), "metrics": metrics}), reply_to=message)


@client_app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """How far apart the model's values are."""
    metrics = MetricRecord({"spread": float(np.ptp(first(message.content["arrays"]))), "num-examples": 1})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@client_app.query("types")
def types(message: Message, context: Context) -> Message:
    """How often this client's app was entered; the mod adds the types."""
    return Message(RecordDict({"counts": context.state["lives"]}), reply_to=message)
