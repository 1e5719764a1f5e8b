"""Collect the replies of a round, summing them as they arrive, in one process or in several."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from hedgerow.server.exchange import exchange, instruction
from hedgerow.server.replies import TOO_LATE
from hedgerow.server.request import Form, Request, lacking
from hedgerow.spans import span


def collect(
    grid: Grid,
    asked: Sequence[tuple[str, int]],
    request: Request,
    start: Callable[..., Any],
    collector: Any,
    arguments: tuple[Any, ...],
    timeout: float | None,
    message_type: str = "train",
    enough: int | None = None,
) -> None:
    """Send clients their request for a round, and add their replies to the collector.

    Args:
        asked: `(stable name, node id)` of each client.
        request: what each client is sent; one that lacks something of the model is sent it, once.
        start: `start(*arguments)` makes a collector like this one.
        arguments: the first is the number of the round.
        timeout: seconds to wait for the replies.
        enough: number of valid replies that ends the round; later ones are dropped. `None` waits for all.
    """
    group, down = str(arguments[0]), collector.collected.bytes_down
    if isinstance(grid, Reduces) and enough is None:
        sizes = request.sizes([name for name, _ in asked], _make_base(grid, request))
        parts = grid.reduce(
            start, arguments, asked, request.lent,
            message_type=message_type, group_id=group, timeout=timeout, sizes=sizes,
        )  # fmt: skip
        for part in parts:
            with span("aggregate"):
                collector.collected.merge(part)
        down.update(sizes)
        return
    clients = {node: name for name, node in asked}

    def message(node: int, content: RecordDict) -> Message:
        return instruction(grid, content, node, message_type, group, timeout)

    def filled(node: int, reply: Message) -> Message | None:
        form = forms.get(node)
        if form is None or not (lacks := lacking(reply)):
            return None
        del forms[node]
        whole = form.filled(lacks)
        down[clients[node]] += request.size(whole)
        return message(node, request.packed(whole))

    forms: dict[int, Form] = {}
    if isinstance(grid, Lends):
        sizes = request.sizes([name for name, _ in asked], _make_base(grid, request))
        down.update(sizes)
        grid.lend({node: sizes[name] for node, name in clients.items()})
        messages = [message(node, request.lent) for node in clients]
    else:
        forms.update({node: request.form(name) for node, name in clients.items()})
        down.update({clients[node]: request.size(form) for node, form in forms.items()})
        messages = [message(node, request.packed(form)) for node, form in forms.items()]
    for node, reply in exchange(grid, messages, timeout, filled):
        collector.add(clients.pop(node), reply)
        if enough is not None and collector.collected.counted >= enough:
            collector.collected.dropped.update(dict.fromkeys(clients.values(), TOO_LATE))
            return


@runtime_checkable
class Lends(Protocol):
    """A grid whose clients are lent the model, and which is told what devices would have been sent."""

    def lend(self, sizes: Mapping[int, int]) -> None:
        """Bytes of the next message to each node, in place of what its record takes."""


@runtime_checkable
class Makes(Protocol):
    """A grid whose clients may make the model before the first round themselves."""

    def makes(self, named: str, seed: int) -> bool:
        """Whether they make the parameters with this hash from the run's seed."""


def _make_base(grid: Grid, request: Request) -> bool:
    """Whether clients make the model before the first round, where payloads are added to it."""
    first = request.broadcast.since.get(0)
    return first is not None and isinstance(grid, Makes) and grid.makes(first.base.hex(), request.seed)


@runtime_checkable
class Reduces(Protocol):
    """A grid that sums replies where they are made, as the simulation's can.

    Then only sums, not single replies, are sent and held in memory. The result is
    the same as with a single collector.
    """

    def reduce(
        self,
        start: Callable[..., Any],
        arguments: tuple[Any, ...],
        asked: Sequence[tuple[str, int]],
        content: RecordDict,
        *,
        message_type: str,
        group_id: str,
        timeout: float | None,
        sizes: Mapping[str, int] | None,
    ) -> Iterable[Any]:
        """Send one record to clients, and yield the partial results of the collectors.

        Args:
            start: makes a collector, from `arguments`.
            arguments: small and picklable.
            asked: `(stable name, node id)` of each client.
            content: what each client is sent.
            timeout: seconds after which no further client is started; the
                remaining ones count as not having replied.
            sizes: bytes that each client would be sent, where that is not the record.
        """
