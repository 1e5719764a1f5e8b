"""Run the clients of one app, in this process or in a worker's."""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias, final

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from hedgerow import generators
from hedgerow.simulation import flower
from hedgerow.simulation.limits import OutOfMemory, ran_out_of_memory

Config: TypeAlias = Mapping[str, bool | float | int | str]
App: TypeAlias = Callable[[Message, Context], Message]

# Real node ids are random 64-bit numbers, which float64 and int64 cannot hold:
# code that stores them in those types must fail here too.
FIRST_NODE_ID = 2**63 + 1

CAUSE = "cause"
"""Attribute of the log record of a client's failure, so that each cause is logged once."""

_SOME = 32
_DIFFERS = re.compile(r"'[^']*'|\d+")  # what differs between clients: quoted names, and numbers
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What several clients are sent: the same content, in one message for each."""

    content: RecordDict
    message_type: str
    group_id: str


@dataclass(frozen=True)
class Clients:
    """Runs the clients of one app.

    An app whose `batch_clients` is above 1 is given the messages of about that many clients at once:
    `train_many(messages, contexts)` yields, in any order, the position of each and a function that returns
    its reply or raises; a reply need not be a message if the server's collector can handle it. The
    messages share one content, which the app must not change. If its `splittable` is true, each client's
    result is independent of the others, and all take about as long. If its `seeds` is true, each client
    seeds the global generators before it draws from them. Before the first training, and before processes
    are started, the app's `autotune(message, contexts)` is called, if it has one; it returns whether
    anything was decided now, and leaves the global generators as they were.

    Attributes:
        app: what every client runs.
        number: number of clients.
        run_id: of the run.
        run_config: of the run.
        node_config: extra configuration of client `i`.
        memory_limit: bytes that a client's process may allocate; with a limit, a client that runs
            out of memory raises `OutOfMemory`, which its process handles.
    """

    app: App
    number: int
    run_id: int
    run_config: Config
    node_config: Callable[[int], Config] | None = None
    memory_limit: int | None = None
    _left_threads: set[str] = field(default_factory=set, repr=False, compare=False)
    _causes: set[str] = field(default_factory=set, repr=False, compare=False)

    @property
    def node_ids(self) -> range:
        """Ids of all nodes, in the order of their partitions."""
        return range(FIRST_NODE_ID, FIRST_NODE_ID + self.number)

    def batch_clients(self, message_type: str) -> int:
        """How many messages of this type are best answered at once."""
        return int(getattr(self.app, "batch_clients", 1)) if message_type == "train" else 1

    def parts(self, number: int, batch_clients: int, workers: int) -> list[slice]:
        """How `number` clients are split among `workers` workers."""
        return batches(number, batch_clients, workers if getattr(self.app, "splittable", False) else 0)

    def autotune(self, request: Request, nodes: Sequence[int]) -> bool:
        """Let the app choose how it trains; True if it did, so that processes started before are outdated."""
        app: Any = self.app
        if request.message_type != "train" or not hasattr(app, "autotune"):
            return False
        some = nodes[:_SOME]
        return bool(
            app.autotune(
                self._message(request, nodes[0]),
                lambda: [self._context(node - FIRST_NODE_ID) for node in some],
            )
        )

    def answer(self, message: Message, state: RecordDict) -> tuple[Message, RecordDict]:
        """A client's reply and its new state; if it fails, an error reply and the previous state.

        The client gets its own copies; it may still hold references to what it returns.
        """
        with self.generators():
            return self._answer(message, state)

    def generators(self) -> AbstractContextManager[None]:
        """Let clients use the global generators; the caller's states are restored afterwards."""
        return generators.lent() if getattr(self.app, "seeds", False) else generators.undisturbed()

    def _answer(self, message: Message, state: RecordDict) -> tuple[Message, RecordDict]:
        partition = message.metadata.dst_node_id - FIRST_NODE_ID
        try:
            context = self._context(partition, state)
            with self._threads_named(f"client {partition}"):
                reply = self.app(flower.with_content(message, copied(message.content)), context)
            _check_reply(reply, message)
        except (Exception, SystemExit) as error:
            if self.memory_limit is not None and ran_out_of_memory(error):
                raise OutOfMemory from error
            return self._failed(message, error), state
        return reply, context.state

    def log(self, record: logging.LogRecord) -> None:
        """Log a worker process's record, but each cause of failures only once."""
        cause = getattr(record, CAUSE, None)
        if cause is None or self._is_new(cause):
            logging.getLogger(record.name).handle(record)

    def _is_new(self, cause: str) -> bool:
        new = cause not in self._causes
        self._causes.add(cause)
        return new

    def _failed(self, message: Message, error: BaseException) -> Message:
        """The error reply of a client that raised; each cause is logged once, with a traceback at DEBUG."""
        partition = message.metadata.dst_node_id - FIRST_NODE_ID
        kind = type(error).__qualname__
        cause = f"{kind}: {_DIFFERS.sub('', str(error))}"
        if self._is_new(cause):
            shown = error if _log.isEnabledFor(logging.DEBUG) else None
            _log.warning(
                "client %d failed: %s (%s)", partition, error, kind, exc_info=shown, extra={CAUSE: cause}
            )
        return flower.client_error(message, error)

    def answer_each(
        self, request: Request, nodes: Sequence[int], states: Mapping[int, RecordDict]
    ) -> Iterator[tuple[int, Any, RecordDict]]:
        """`(position, reply, state)` for each of these nodes, in any order, as from `answer`."""
        left = dict.fromkeys(range(len(nodes)))
        with self.generators():
            if self.batch_clients(request.message_type) > 1:
                for position, reply, state in self._answer_together(request, nodes, states):
                    if position in left:
                        del left[position]
                        yield position, reply, state
            for position in left:
                message = self._message(request, nodes[position])
                yield position, *self._answer(message, states.get(nodes[position], RecordDict()))

    def _answer_together(
        self, request: Request, nodes: Sequence[int], states: Mapping[int, RecordDict]
    ) -> Iterator[tuple[int, Any, RecordDict]]:
        app: Any = self.app
        try:
            before = [states.get(node) for node in nodes]
            contexts = [
                self._context(node - FIRST_NODE_ID, state) for node, state in zip(nodes, before, strict=True)
            ]
            messages = Made(len(nodes), lambda position: self._message(request, nodes[position]))
            with self._threads_named(f"{len(nodes)} clients at once"):
                for position, answer in app.train_many(messages, contexts):
                    try:
                        reply = answer()
                    except Exception as error:  # raised by that client
                        if self.memory_limit is None or not ran_out_of_memory(error):
                            state = before[position] or RecordDict()
                            yield position, self._failed(messages[position], error), state
                        continue
                    if isinstance(reply, Message):
                        _check_reply(reply, messages[position])
                    yield position, reply, contexts[position].state
        except (Exception, SystemExit):
            shown = _log.isEnabledFor(logging.DEBUG)
            _log.warning("%d clients at once failed; they run one by one", len(nodes), exc_info=shown)

    @contextmanager
    def _threads_named(self, who: str) -> Iterator[None]:
        """Warn of threads that outlive a client: they do no harm, but may slow down the next clients."""
        before = threading.active_count()
        try:
            yield
        finally:
            # In another thread, new threads may be the server's: Flower's older API has one per client.
            alone = threading.current_thread() is threading.main_thread()
            left = threading.active_count() - before if alone else 0
            if left > 0 and who not in self._left_threads:
                self._left_threads.add(who)
                names = ", ".join(thread.name for thread in threading.enumerate()[-left:])
                _log.warning("%s left %d thread%s behind: %s", who, left, "s" * (left > 1), names)

    def _message(self, request: Request, node: int) -> Message:
        return flower.instruction(
            self.run_id, f"{request.group_id}-{node}", node, request.content,
            message_type=request.message_type, group_id=request.group_id,
        )  # fmt: skip

    def _context(self, partition: int, state: RecordDict | None = None) -> Context:
        """A client's context, with its own copy of its state; `None` if it has no state yet."""
        extra = self.node_config(partition) if self.node_config else {}
        return Context(
            run_id=self.run_id,
            node_id=FIRST_NODE_ID + partition,
            node_config={"partition-id": partition, "num-partitions": self.number, **extra},
            state=RecordDict() if state is None else copied(state),
            run_config=dict(self.run_config),
        )


@final
class Made(Sequence[Any]):
    """A sequence whose items are created on access."""

    def __init__(self, number: int, item: Callable[[int], Any]) -> None:
        self._numbers, self._item = range(number), item

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self._item(number) for number in self._numbers[place]]
        return self._item(self._numbers[place])


def batches(clients: int, batch_clients: int, workers: int = 0) -> list[slice]:
    """How clients are split if about `batch_clients` of them are trained at once.

    Without `workers`, the split depends on nothing else, so the number of workers
    never affects results: the clients trained together may affect each other's last
    bits. With `workers`, there are only as many parts as keep each worker busy.

    >>> [part.stop - part.start for part in batches(100, 25)]
    [25, 25, 25, 25]
    >>> [part.stop - part.start for part in batches(10, 25)]
    [2, 3, 2, 3]
    >>> [part.stop - part.start for part in batches(10, 25, workers=2)]
    [5, 5]
    """
    parts = -(-clients // batch_clients)
    # At least a few parts, so that several workers have something to do; an even number suits two workers.
    parts = -(-parts // workers) * workers if workers else max(4, parts + parts % 2)
    parts = min(clients, parts)
    ends = [clients * part // parts for part in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]


def few(clients: int) -> Iterator[slice]:
    """Split clients that run one after another into parts of a few."""
    return (slice(first, first + 8) for first in range(0, clients, 8))


def copied(records: RecordDict) -> RecordDict:
    """A copy of records that shares only immutable data: the arrays' bytes."""
    if not records:
        return RecordDict()
    copy: dict[str, ArrayRecord | ConfigRecord | MetricRecord] = {}
    for name, record in records.items():
        if isinstance(record, ArrayRecord):
            copy[name] = ArrayRecord(dict(record))
        elif isinstance(record, ConfigRecord):
            copy[name] = ConfigRecord({k: list(v) if isinstance(v, list) else v for k, v in record.items()})  # type: ignore[misc]
        else:
            copy[name] = MetricRecord({k: list(v) if isinstance(v, list) else v for k, v in record.items()})
    return RecordDict(copy)


def keep(states: MutableMapping[int, RecordDict], node: int, state: RecordDict) -> None:
    """Store a client's state; an empty one takes no memory."""
    if state:
        states[node] = state
    else:
        states.pop(node, None)


def _check_reply(reply: object, message: Message) -> None:
    if not isinstance(reply, Message):
        raise TypeError(f"the client app returned {type(reply).__name__}; it must return a Message")
    if reply.metadata.reply_to_message_id != message.metadata.message_id:
        raise ValueError(
            "the client app returned a message that does not answer the one it was given; "
            "make it with Message(content, reply_to=message)"
        )
