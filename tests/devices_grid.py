"""A grid of devices: clients in this process that are sent messages, and are lent nothing."""

from collections.abc import Iterable, Sequence

from flwr.app import Message, RecordDict
from flwr.common.serde import recorddict_to_proto
from flwr.serverapp import Grid

from hedgerow.simulation.clients import App
from hedgerow.simulation.grid import InProcessGrid


class PlainGrid(Grid):
    """Flower's interface around a grid in this process, and a record of what went over the wire."""

    def __init__(self, app: App, names: Sequence[str]) -> None:
        self._states: dict[int, RecordDict] = {}
        self._inner = InProcessGrid(app, len(names), names=names, states=self._states)
        self._names = names
        self.wire: list[tuple[str, bytes]] = []

    def __enter__(self):
        self._inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._inner.__exit__(*exception)

    def forget(self) -> None:
        """Every device loses what it kept in its context."""
        self._states.clear()

    def client_names(self) -> Sequence[str]:
        return self._names

    def set_run(self, run) -> None:
        self._inner.set_run(run)

    @property
    def run(self):
        return self._inner.run

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None) -> Message:
        return self._inner.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self):
        return self._inner.get_node_ids()

    def push_messages(self, messages: Iterable[Message]):
        messages = list(messages)
        self._note("down", messages)
        return self._inner.push_messages(messages)

    def pull_messages(self, message_ids):
        for reply in self._inner.pull_messages(message_ids):
            self._note("up", [reply])
            yield reply

    def send_and_receive(self, messages, *, timeout=None):
        return self._inner.send_and_receive(messages, timeout=timeout)

    def _note(self, way: str, messages: Sequence[Message]) -> None:
        self.wire += [
            (way, recorddict_to_proto(m.content).SerializeToString()) for m in messages if m.has_content()
        ]
