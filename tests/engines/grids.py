"""Small client apps on the in-process grid, and messages to them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from hedgerow.simulation.grid import InProcessGrid

CLIENT_RAISED, MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE = 2, 3, 5

Answer = Callable[[Message, Context], Message]


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def numbered(message: Message, context: Context) -> Message:
    number = MetricRecord({"partition": context.node_config["partition-id"]})
    return Message(RecordDict({"number": number}), reply_to=message)


def app_that(answer: Answer, **options: Any) -> ClientApp:
    app = ClientApp(**options)
    app.train()(answer)
    return app


def grid_of(answer: Answer, clients: int = 3, **options: Any) -> InProcessGrid:
    return InProcessGrid(app_that(answer), clients, **options)


def arrays(*values: float) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord([np.array(values, np.float32)])})


def values(records: RecordDict) -> list[float]:
    record = records["arrays"]
    assert isinstance(record, ArrayRecord)
    return [float(v) for v in record.to_numpy_ndarrays()[0]]


def to_all(
    grid: Grid, content: RecordDict | None = None, kind: str = "train", **options: Any
) -> list[Message]:
    content = content if content is not None else RecordDict()
    return [Message(content, node, kind, **options) for node in grid.get_node_ids()]
