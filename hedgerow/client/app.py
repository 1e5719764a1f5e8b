"""A Flower `ClientApp` from a task, a client's data and a strategy."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from hedgerow.client.state import ClientState, ContextState, FolderState
from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.records import pack_identity, pack_reply, unpack_train
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transform import encode
from hedgerow.types import RoundContext, Samples


class ClientData(Protocol):
    """The data of a federation, by client; a `Federation` is one."""

    @property
    def names(self) -> Sequence[str]:
        """Stable names of all clients."""

    def samples(self, name: str) -> Samples:
        """The training samples of one client."""


def client_app(
    task: Task | Trainer,
    data: ClientData | Callable[[], ClientData],
    strategy: Strategy,
    *,
    state_folder: Path | None = None,
) -> ClientApp:
    """Make the app that runs where the data live.

    Which client a node is, its node configuration says: `client-name` (a
    name), or `partition-id` (a position in `data.names`).

    Args:
        task: what is learned; or a `Trainer` that learns it.
        data: the clients' data, or a function that loads it at first use.
        strategy: the same as the server's.
        state_folder: where clients keep what they carry from round to round
            (residuals). `None` keeps it in Flower's context: in memory, and
            lost when the node ends.

    A client that cannot train raises; Flower turns this into an error reply,
    and the server drops the client by name and goes on.
    """
    app = ClientApp()

    @cache
    def trainer() -> Trainer:
        return _trainer(task)

    @cache
    def federation() -> ClientData:
        return data() if callable(data) else data

    @app.query()
    def identify(message: Message, context: Context) -> Message:
        name = client_name(context, federation().names)
        return Message(pack_identity(name, len(federation().samples(name))), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        name = client_name(context, federation().names)
        layout = trainer().layout
        request = unpack_train(message.content, layout)
        samples = federation().samples(name)
        if len(samples) == 0:
            raise ValueError(f"client {name!r} has no samples to train on")
        fit = trainer().fit(
            request.model, samples, strategy.local, seed=request.seed, round=request.round, client=name
        )
        where = RoundContext(request.seed, request.round, name, layout, fit.num_examples)
        kept = _state(context, state_folder, name)
        before = kept.load(request.round) if strategy.pipeline.stateful else {}
        payload, after = encode(strategy.pipeline, fit.delta, before, where)
        if strategy.pipeline.stateful:
            kept.save(request.round, after)
        return Message(pack_reply(payload, fit, round=request.round, client=name), reply_to=message)

    return app


def client_name(context: Context, names: Sequence[str]) -> str:
    """The stable name of the client that a node is.

    Raises:
        ValueError: the node configuration names no client, or one that is not there.
    """
    config = context.node_config
    if "client-name" in config:
        return str(config["client-name"])
    if "partition-id" not in config:
        raise ValueError(
            f"the node configuration is {dict(config)}; it must have client-name (a name) or"
            ' partition-id (a number): start the SuperNode with --node-config "partition-id=0"'
        )
    position = int(config["partition-id"])
    if not 0 <= position < len(names):
        raise ValueError(f"partition-id is {position}; it must be from 0 to {len(names) - 1}")
    return names[position]


def _trainer(task: Task | Trainer) -> Trainer:
    if isinstance(task, Task):
        from hedgerow.client.torch_trainer import TorchTrainer

        return TorchTrainer(task)
    return task


def _state(context: Context, folder: Path | None, client: str) -> ClientState:
    return ContextState(context) if folder is None else FolderState(folder, client)
