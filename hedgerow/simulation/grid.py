"""A Flower `Grid` whose clients run in this process, one after another.

Any Flower `ServerApp` and `ClientApp` run on it unchanged, without Ray and
without a SuperLink.
"""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Self, TypeAlias, final

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from hedgerow import checks
from hedgerow.simulation import flower
from hedgerow.simulation.replies import Replies

Config: TypeAlias = Mapping[str, bool | float | int | str]

# Real node ids are random 64-bit numbers, which float64 and int64 cannot hold:
# code that puts them there must fail here too.
FIRST_NODE_ID = 2**63 + 1

_RUN_ID = 1
_log = logging.getLogger(__name__)


@final
class InProcessGrid(Grid):
    """Clients in this process, run one after another as their replies are pulled.

    It is entered with `with`, because Flower allows one run a process.

    Guarantees:
        - A client that never gets a message costs nothing; one that keeps no
          state costs nothing after its reply. A million clients are fine.
        - What a client receives is its own: changing it in place changes
          neither the server's records nor another client's.
        - `context.state` is kept for each node between messages. A client that
          raises leaves it as it was before that message.
        - An exception in a client, `SystemExit` too, becomes the error reply a
          SuperNode would send, and the run goes on. `KeyboardInterrupt` ends
          the run, and the message stays unanswered.
        - Replies come in the order in which they are asked for.
        - A message's time to live counts from when it was made, as in Flower,
          so waiting for the clients before it counts too.

    Args:
        client_app: what every client runs.
        num_clients: how many there are; node `i` has the id `get_node_ids()[i]`.
        run_config: the run's configuration, the same for the server and all clients.
        node_config: extra node configuration of client `i`, beside Flower's
            `partition-id` (`i`) and `num-partitions`.
        names: stable name of client `i`; lets a roster do without asking.

    Raises:
        ValueError: `num_clients` is not a whole number above 0.

    >>> from flwr.app import Message, RecordDict
    >>> app = ClientApp()
    >>> @app.query()
    ... def number(message: Message, context: Context) -> Message:
    ...     answer = MetricRecord({"number": context.node_config["partition-id"]})
    ...     return Message(RecordDict({"answer": answer}), reply_to=message)
    >>> with InProcessGrid(app, 3) as grid:
    ...     questions = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    ...     [reply.content["answer"]["number"] for reply in grid.send_and_receive(questions)]
    [0, 1, 2]
    """

    def __init__(
        self,
        client_app: ClientApp,
        num_clients: int,
        *,
        run_config: Config | None = None,
        node_config: Callable[[int], Config] | None = None,
        names: Callable[[int], str] | None = None,
    ) -> None:
        checks.whole(1, num_clients=num_clients)
        self.run_config: Config = dict(run_config or {})
        self._client_app = client_app
        self._node_ids = range(FIRST_NODE_ID, FIRST_NODE_ID + int(num_clients))
        self._node_config = node_config
        self._names = names
        self._run = flower.empty_run(_RUN_ID)
        self._pending: dict[str, Message] = {}
        self._states: dict[int, RecordDict] = {}
        self._message_numbers = itertools.count(1)
        self._identity: AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        """Start the run: from here on this process can make messages.

        Raises:
            RuntimeError: this process is in a Flower run already.
        """
        identity = flower.task_identity(self._run.run_id)
        identity.__enter__()
        self._identity = identity
        return self

    def __exit__(self, *exception: object) -> None:
        """End the run. States stay, so that the grid can be entered again."""
        if self._identity is not None:
            self._identity.__exit__(None, None, None)
            self._identity = None

    def set_run(self, run: flower.Run) -> None:
        """Replace the description of the run."""
        self._run = run

    @property
    def run(self) -> flower.Run:
        """Description of the run; it has no bundle."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make an instruction message, as `Message(...)` does."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> range:
        """Ids of all nodes, in the order of their partitions; takes no memory."""
        return self._node_ids

    def node_names(self) -> Mapping[int, str] | None:
        """Stable name of each node id, made when looked up; None without `names`."""
        return None if self._names is None else _NodeNames(self._node_ids, self._names)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take messages in; their clients run when the replies are pulled.

        The records are as they are now: changing them later changes nothing.

        Returns:
            The messages' ids, in order.

        Raises:
            ValueError: a message is a reply, carries an error, or has no time to live.
        """
        taken: list[Message] = []
        # A server often sends one record to many nodes: it is copied once here.
        copies: dict[int, RecordDict] = {}
        kept: list[RecordDict] = []
        for message in messages:
            if message.metadata.reply_to_message_id or not message.has_content() or message.metadata.ttl <= 0:
                raise ValueError(
                    f"cannot send {message.metadata}; an instruction answers no message, "
                    "has a content and a time to live above 0"
                )
            if id(message.content) not in copies:
                kept.append(message.content)  # so that its id is not given to another record
                copies[id(message.content)] = _copied(message.content)
            flower.set_message_id(message, self._new_id())
            taken.append(flower.with_content(message, copies[id(message.content)]))
        self._pending.update((message.metadata.message_id, message) for message in taken)
        return [message.metadata.message_id for message in taken]

    def pull_messages(self, message_ids: Iterable[str]) -> Replies:
        """The replies to these messages, each made when it is reached.

        Not going through all of them loses nothing: what was not reached can be
        pulled later. A message that was answered already is unavailable.
        """
        return Replies(list(message_ids), self._reply)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push messages and collect the replies, in order.

        Once `timeout` seconds have passed no further client is started; the
        messages left over can still be pulled.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        replies = []
        for message_id in self.push_messages(messages):
            if deadline is not None and time.monotonic() >= deadline:
                break
            replies.append(self._reply(message_id))
        return replies

    def _reply(self, message_id: str) -> Message:
        message = self._pending.get(message_id)
        if message is None or flower.is_expired(message):
            reply = flower.message_unavailable(message_id, self._run.run_id)
        elif message.metadata.dst_node_id not in self._node_ids:
            reply = flower.node_unavailable(message)
        else:
            reply = self._run_client(message)
            if flower.is_expired(message):
                reply = flower.message_unavailable(message_id, self._run.run_id)
        self._pending.pop(message_id, None)
        flower.set_message_id(reply, self._new_id())
        return reply

    def _run_client(self, message: Message) -> Message:
        node_id = message.metadata.dst_node_id
        partition = node_id - FIRST_NODE_ID
        try:
            context = self._context(node_id, partition)
            reply = self._client_app(flower.with_content(message, _copied(message.content)), context)
            _check_reply(reply, message)
            # Flower on Ray and in a federation sends copies; so the client may
            # keep and change what it answered and what it put into its state.
            if reply.has_content():
                reply = flower.with_content(reply, _copied(reply.content))
            state = _copied(context.state)
        except (Exception, SystemExit) as error:
            _log.warning("client %d failed: %s", partition, error, exc_info=True)
            return flower.client_error(message, error)
        if state:
            self._states[node_id] = state
        else:
            self._states.pop(node_id, None)
        return reply

    def _context(self, node_id: int, partition: int) -> Context:
        extra = self._node_config(partition) if self._node_config else {}
        return Context(
            run_id=self._run.run_id,
            node_id=node_id,
            node_config={"partition-id": partition, "num-partitions": len(self._node_ids), **extra},
            state=_copied(self._states.get(node_id, RecordDict())),
            run_config=dict(self.run_config),
        )

    def _new_id(self) -> str:
        return f"message-{next(self._message_numbers)}"


def run_server_app(server_app: ServerApp, grid: InProcessGrid) -> Context:
    """Run a Flower `ServerApp`, with its lifespan, on a grid to the end.

    Returns:
        The server's context after the run.

    Raises:
        RuntimeError: this process is in a Flower run already.
        Exception: whatever the app raises, unchanged.
    """
    context = Context(
        run_id=grid.run.run_id,
        node_id=flower.SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=dict(grid.run_config),
    )
    with grid:
        server_app(grid, context)
    return context


@final
class _NodeNames(Mapping[int, str]):
    def __init__(self, node_ids: range, names: Callable[[int], str]) -> None:
        self._node_ids = node_ids
        self._names = names

    def __getitem__(self, node_id: int) -> str:
        if node_id not in self._node_ids:
            raise KeyError(node_id)
        return self._names(node_id - FIRST_NODE_ID)

    def __iter__(self) -> Iterator[int]:
        return iter(self._node_ids)

    def __len__(self) -> int:
        return len(self._node_ids)


def _check_reply(reply: object, message: Message) -> None:
    if not isinstance(reply, Message):
        raise TypeError(f"the client app returned {type(reply).__name__}; it must return a Message")
    if reply.metadata.reply_to_message_id != message.metadata.message_id:
        raise ValueError(
            "the client app returned a message that does not answer the one it was given; "
            "make it with Message(content, reply_to=message)"
        )


def _copied(records: RecordDict) -> RecordDict:
    """Records that share nothing that can be changed; the arrays' bytes are shared."""
    copy: dict[str, ArrayRecord | ConfigRecord | MetricRecord] = {}
    for name, record in records.items():
        if isinstance(record, ArrayRecord):
            copy[name] = ArrayRecord(dict(record))
        elif isinstance(record, ConfigRecord):
            copy[name] = ConfigRecord({k: list(v) if isinstance(v, list) else v for k, v in record.items()})  # type: ignore[misc]
        else:
            copy[name] = MetricRecord({k: list(v) if isinstance(v, list) else v for k, v in record.items()})
    return RecordDict(copy)
