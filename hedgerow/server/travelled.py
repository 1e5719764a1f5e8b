"""Count the bytes of a round that a crash cut short: they are reported although the round is repeated.

The bytes of each message sent, and of each reply received, are appended to a file at once. After a crash, the
round's line in `metrics.jsonl` includes those of both attempts. The file is not flushed to the disk: a power
cut may lose its end, but a killed process loses nothing.
"""

import json
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow import records
from hedgerow.files import append_private, read_lines
from hedgerow.grids import GridAround
from hedgerow.server.exchange import Fetches, Repeats
from hedgerow.types import PayloadError, RoundResult
from hedgerow.wire.messages import unpack_identity

FILE = "travelled.jsonl"

_TRAIN, _EVALUATE, _UP, _DOWN = "train", "evaluate", "up", "down"


@final
class CountingGrid(GridAround):
    """Records, in a file of the run's folder, the traffic of a grid in the round that is not saved yet.

    Args:
        grid: the grid that reaches the clients.
        folder: of the run.
    """

    def __init__(self, grid: Grid, folder: Path) -> None:
        super().__init__(grid)
        self._file = folder / FILE
        self._names: dict[int, str] = {}
        self._round = ""
        self._before = _read(self._file)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Count messages, then send them."""
        messages = list(messages)
        sizes: dict[int, int] = {}  # the messages of a cohort share their content
        for message in messages:
            if message.metadata.message_type.startswith(_TRAIN):
                self._begin(message.metadata.group_id)
            content = message.content
            size = sizes[id(content)] = sizes.get(id(content)) or records.measure(content)
            self._count(message, _DOWN, message.metadata.dst_node_id, size)
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that have arrived, after counting them."""
        for reply in self._grid.pull_messages(message_ids):
            if reply.has_content():
                node = reply.metadata.src_node_id
                if reply.metadata.message_type == "query":
                    with suppress(PayloadError):
                        self._names[node] = unpack_identity(records.from_flower(reply.content))
                self._count(reply, _UP, node, records.measure(reply.content))
            yield reply

    def again(self, message: Message, reply: Message) -> str:
        """Pass the call on to the wrapped grid, if that can send messages again."""
        return self._grid.again(message, reply) if isinstance(self._grid, Repeats) else ""

    def whole(self, results: Generator[RoundResult, None, None]) -> Generator[RoundResult, None, None]:
        """Results of rounds, with the traffic before a crash, and with what was fetched beside messages."""
        knowing = [grid for grid in self.layers if isinstance(grid, Fetches)]
        for result in results:
            try:
                yield self._with_before(result, [each.fetched() for each in knowing])
            except BaseException as error:  # the caller's error, passed on to the loop that saves the round
                results.throw(error)
            for each in knowing:
                each.saved()

    def _with_before(self, result: RoundResult, fetched: Iterable[Mapping[str, int]]) -> RoundResult:
        round, sent = str(result.round), Counter[str](result.bytes_down)
        for each in fetched:
            sent.update(each)
        found = replace(
            result,
            bytes_up=self._sum(result.bytes_up, round, _TRAIN, _UP),
            bytes_down=self._sum(sent, round, _TRAIN, _DOWN),
        )
        if (measured := result.client_evaluation) is None:
            return found
        up, down = (
            self._sum(sizes, round, _EVALUATE, way)
            for sizes, way in ((measured.bytes_up, _UP), (measured.bytes_down, _DOWN))
        )
        return replace(found, client_evaluation=replace(measured, bytes_up=up, bytes_down=down))

    def _sum(self, sizes: Any, round: str, kind: str, way: str) -> dict[str, int]:
        total = Counter(sizes)
        for (*where, node), size in self._before.items():
            if where == [round, kind, way]:
                total[self._names.get(node, f"node {node}")] += size
        return dict(sorted(total.items()))

    def _begin(self, round: str) -> None:
        """Start a round: all earlier ones are saved, so their part of the file is not needed any more."""
        if round == self._round:
            return
        self._round = round
        self._before = {where: size for where, size in self._before.items() if where[0] == round}
        if not self._before:
            self._file.unlink(missing_ok=True)

    def _count(self, message: Message, way: str, node: int, size: int) -> None:
        about = message.metadata
        kind = about.message_type.partition(".")[0]
        if kind in (_TRAIN, _EVALUATE):
            with suppress(OSError), append_private(self._file) as file:  # on a full disk the run continues
                file.write(f"{json.dumps([about.group_id, kind, way, node, size])}\n".encode())


def _read(file: Path) -> dict[tuple[str, str, str, int], int]:
    """Bytes by round, kind, direction and node; an incomplete line, left by a killed process, is ignored."""
    found: Counter[tuple[str, str, str, int]] = Counter()
    for line in read_lines(file):
        with suppress(ValueError, TypeError):
            round, kind, way, node, size = json.loads(line)
            found[str(round), str(kind), str(way), int(node)] += int(size)
    return dict(found)
