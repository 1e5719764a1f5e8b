"""A Flower `Grid` whose clients run in this process, or in worker processes on this machine.

Any Flower `ServerApp` and `ClientApp` runs on it unchanged, without Ray or a
SuperLink.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from threading import Lock
from typing import Any, Self, final

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from hedgerow import checks
from hedgerow.simulation import flower
from hedgerow.simulation.arguments import check_grid, check_workers
from hedgerow.simulation.client_runner import Start
from hedgerow.simulation.clients import App, Clients, Config, Made, Request, copied, few, keep
from hedgerow.simulation.dispatcher import Workers
from hedgerow.simulation.mailbox import Mailbox
from hedgerow.simulation.processes.machine import LocalMachine, default_method
from hedgerow.simulation.ray.cluster import RayCluster
from hedgerow.simulation.replies import Replies
from hedgerow.spans import CLIENTS, span

_RUN_ID = 1


@checks.arguments
@final
class InProcessGrid(Grid):
    """Clients on this machine, run one after another or in several processes as their replies are pulled.

    `with grid:` lets this process make messages with Flower's own `Message(...)`;
    `with grid.running():` changes nothing process-wide. Several grids may be used
    at the same time, and in several threads.

    Guarantees:
        - A client that never gets a message costs nothing; one that keeps no
          state costs nothing after its reply. A million clients are fine.
        - A client gets its own copies: changing them in place changes neither
          the server's records nor another client's.
        - `context.state` is kept for each node between messages. If a client
          raises, its state stays as it was before that message.
        - An exception in a client, including `SystemExit`, becomes the error
          reply that a SuperNode would send, and the run continues.
          `KeyboardInterrupt` ends the run, and the message stays unanswered.
        - Replies are returned in the order in which they are requested, even if
          they are computed in another order.
        - A message's time to live counts from its creation, as in Flower, so
          waiting for earlier clients counts too.

    With more than one worker, or a limit, clients run in processes that are
    started on first use and end with the `with` block. Each has its own copy of
    the memory: the others do not see what a client changes there. A client whose
    process ends (killed, `os._exit`, out of memory) is run once more, and then
    fails by name; one that exceeds its time fails at once. If processes can be
    forked, they share the data in memory; otherwise the app is pickled (with
    cloudpickle), and a script needs `if __name__ == "__main__":`.

    Args:
        client_app: what every client runs.
        num_clients: number of clients; node `i` has the id `get_node_ids()[i]`.
        run_config: the run's configuration, the same for the server and all clients.
        node_config: extra node configuration of client `i`, in addition to Flower's
            `partition-id` (`i`) and `num-partitions`.
        names: stable names, in the order of the clients, or a function of `i`
            that returns them; with names, a roster need not ask for them.
        workers: number of processes, with one thread each; 1 runs the clients in this
            process. By default 1, or as many as a cluster has room for.
        client_timeout: seconds a client may take; `None` for no limit.
        memory_limit: bytes that a client's process may allocate beyond what it
            starts with; `None` for no limit. Linux only.
        start_method: `"fork"` or `"spawn"`; by default `"fork"` on Linux if no GPU
            is in use, otherwise `"spawn"`.
        cluster: where the workers run; `None` for this machine.
        states: of the clients that have one, by node id, kept up to date; in memory by default.

    Raises:
        ValueError: `num_clients` or `workers` is not a whole number above 0,
            or another argument is not one of those allowed.

    >>> from flwr.app import Context, Message, MetricRecord, RecordDict
    >>> from flwr.clientapp import ClientApp
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
        client_app: App,
        num_clients: int,
        *,
        run_config: Config | None = None,
        node_config: Callable[[int], Config] | None = None,
        names: Sequence[str] | Callable[[int], str] | None = None,
        workers: int | None = None,
        client_timeout: float | None = None,
        memory_limit: int | None = None,
        start_method: str | None = None,
        cluster: RayCluster | None = None,
        states: MutableMapping[int, RecordDict] | None = None,
    ) -> None:
        check_grid(client_app, num_clients, run_config, node_config, names, states)
        check_workers(workers, client_timeout, memory_limit, start_method, cluster)
        self.run_config: Config = dict(run_config or {})
        self._run = flower.empty_run(_RUN_ID)
        self._clients = Clients(
            client_app, int(num_clients), _RUN_ID, self.run_config, node_config, memory_limit
        )
        self._names = Made(int(num_clients), names) if callable(names) else names
        self._states: MutableMapping[int, RecordDict] = {} if states is None else states
        self._entered = ExitStack()
        self._in_use = Lock()
        self._workers: Workers | None = None
        method = default_method() if start_method is None else start_method
        limited = client_timeout is not None or memory_limit is not None
        if cluster is not None or (workers or 1) > 1 or limited:
            place = LocalMachine(method) if cluster is None else cluster
            self._workers = Workers(self._clients, self._states, workers, client_timeout, place)
        self._mailbox = Mailbox(self._clients, self._states, self._workers)

    def __enter__(self) -> Self:
        """Start the run: from here on this process can make messages with `Message(...)`.

        Raises:
            RuntimeError: the grid is in use already, or this process is in a real Flower run.
            ModuleNotFoundError, ConnectionError: the cluster is not available.
        """
        with ExitStack() as entered:
            entered.enter_context(self.running())
            entered.enter_context(flower.task_identity(self._run.run_id))
            self._entered = entered.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the run and all processes. States are kept, so the grid can be entered again."""
        self._entered.close()

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Start the run, and end it and all processes afterwards; messages are made with `instruction`.

        Raises:
            RuntimeError: the grid is in use already.
            ModuleNotFoundError, ConnectionError: the cluster is not available.
        """
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("this grid is in use already; make another one for another run")
        try:
            with self._workers or nullcontext():
                yield self
        finally:
            self._in_use.release()

    def set_run(self, run: flower.Run) -> None:
        """Replace the description of the run."""
        self._run, self._mailbox.run_id = run, run.run_id

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
        return flower.instruction(
            self._run.run_id, "", dst_node_id, content, message_type=message_type, group_id=group_id, ttl=ttl
        )

    def instruction(self, content: RecordDict, node: int, message_type: str, group_id: str = "") -> Message:
        """Make an instruction message; unlike `Message(...)`, it needs no process-wide identity."""
        return self.create_message(content, message_type, node, group_id)

    def get_node_ids(self) -> range:
        """Ids of all nodes, in the order of their partitions; takes no memory."""
        return self._clients.node_ids

    def client_names(self) -> Sequence[str] | None:
        """Stable names in the order of the nodes, computed on access; None without `names`."""
        return self._names

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Accept messages; their clients run when the replies are pulled.

        The records are copied: changing them later has no effect.

        Returns:
            The messages' ids, in order.

        Raises:
            ValueError: a message is a reply, carries an error, or has no time to live.
        """
        return self._mailbox.push(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Replies:
        """The replies to these messages, each computed when it is reached.

        If the iteration stops early, the remaining ones can be pulled later. A
        message that was answered already is unavailable.
        """
        return self._mailbox.pull(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push messages and collect the replies, in order.

        After `timeout` seconds no further client is started; the replies to the
        remaining messages can still be pulled.
        """
        return self._mailbox.send_and_receive(messages, timeout)

    def replies_by(self, deadline: float, message_ids: Sequence[str]) -> Iterator[Message]:
        """Replies to these messages as they arrive; none is awaited beyond `deadline`.

        With workers, a slow client does not delay the others. The remaining replies
        can still be pulled, including those of started clients.

        Args:
            deadline: on the monotonic clock; without workers a reply may be later than that.
            message_ids: of messages pushed before.
        """
        return self._mailbox.replies_by(deadline, message_ids)

    def makes(self, named: str, seed: int) -> bool:
        """Whether the clients make the parameters with this hash from the run's seed themselves."""
        app: Any = self._clients.app
        return hasattr(app, "makes") and bool(app.makes(named, seed))

    def discard(self, message_ids: Iterable[str]) -> None:
        """Forget messages whose replies will not be pulled; their clients do not run."""
        self._mailbox.discard(message_ids)

    def reduce(
        self, start: Start, arguments: tuple[Any, ...], asked: Sequence[tuple[str, int]], content: RecordDict,
        *, message_type: str, group_id: str, timeout: float | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Iterator[Any]:  # fmt: skip
        """Send one record to clients and collect their replies where they are made.

        Args:
            start: `start(*arguments)` makes a collector, with `add(name, reply)`;
                a reply is `None` if there was no time to ask for it. A small
                `start` that declares itself `carried` is sent to the existing
                workers; for any other, workers that were started for another one
                are restarted.
            arguments: small and picklable.
            asked: `(name, node id)` of each client.
            content: what each client is sent.
            timeout: seconds after which no further client is started.
            sizes: bytes that each client would be sent, where that is not the record; for a grid that
                counts them: here they have no effect.

        Yields:
            What each collector has `collected`. The total must not depend on which
            collector gets which replies, or in which order.
        """
        request = Request(content, message_type, group_id)
        if not asked:
            return
        if self._clients.autotune(request, [node for _, node in asked]) and self._workers is not None:
            self._workers.close()
        if self._workers is not None:
            yield from self._workers.reduce(start, arguments, asked, request, timeout)
            return
        collector = start(*arguments)
        deadline = None if timeout is None else time.monotonic() + timeout
        several = self._clients.batch_clients(message_type)
        with self._clients.generators():  # once for all parts: restoring takes as long as a small client
            for part in self._clients.parts(len(asked), several, 1) if several > 1 else few(len(asked)):
                names, nodes = zip(*asked[part], strict=True)
                if deadline is not None and time.monotonic() > deadline:
                    for name in names:
                        collector.add(name, None)
                    continue
                with span(CLIENTS):
                    for position, reply, state in self._clients.answer_each(request, nodes, self._states):
                        collector.add(names[position], reply)
                        keep(self._states, nodes[position], copied(state) if state else state)
        yield collector.collected
