"""The handlers of a SuperLink of the installed version, and a node that answers what they hand out."""

import sqlite3
from dataclasses import replace
from typing import Any, Self

import numpy as np
from flwr.app import Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto import fleet_pb2
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid.http_grid import HttpGrid
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers

from hedgerow.coordinator.envelopes import EnvelopeGrid
from hedgerow.node.outbox import Outbox
from hedgerow.node.reply import reply_to
from hedgerow.recipe.announcement import RECORD, Announcement
from hedgerow.records import to_flower
from hedgerow.server.described import DescribedGrid
from hedgerow.simulation.flower import task_identity
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.bundle import opened
from hedgerow.wire.codec import decode, encode
from hedgerow.wire.content import ConfigRecord
from hedgerow.wire.envelope import REPLY, in_envelope
from hedgerow.wire.fleet import FLEET

RUN = Announcement.of({"a": 1}, run="00" * 16, version="0.1.0")
ASKED = {"x": pack_arrays({"a": np.arange(3, dtype=np.float32)}), "y": ConfigRecord({"b": 1})}


class Link:
    """The handlers of a SuperLink, for a run of its own; counts the calls.

    Args:
        state: what the SuperLink keeps.
        node: the device.
    """

    def __init__(self, state: Any, node: int) -> None:
        self.state, self.node, self.calls = state, node, list[str]()
        self.run = state.create_run("", "", "", {}, NOOP_FEDERATION_ID, None, "", TaskType.SERVER_APP)
        (self.task,) = state.get_tasks(run_ids=[self.run])
        state.claim_task(self.task.task_id)
        assert state.activate_task(self.task.task_id)

    @classmethod
    def on(cls, database: str) -> Self:
        """On a database of its own, with one node."""
        state = LinkStateFactory(database, NoOpFederationManager(), ObjectStoreFactory(database)).state()
        node = state.create_node("", "", b"key", 30.0)
        assert state.activate_node(node, 30.0)
        return cls(state, node)

    def __getattr__(self, name: str) -> Any:
        """A call of the Runtime API, by Flower's client's name of it."""
        handler = getattr(runtime_handlers, "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:])
        self.calls.append(name)
        return lambda request: handler(
            type(request).FromString(request.SerializeToString()), self.state, self.task
        )

    def fleet(self, name: str, request: Any, *given: Any) -> Any:
        """A call of a node's."""
        self.calls.append(name)
        answer = getattr(fleet_handlers, name)(request, self.state, *given)
        return answer.SerializeToString()


def grid_of(link: Link) -> DescribedGrid:
    inner = object.__new__(HttpGrid)
    inner._client, inner.node = link, Node(node_id=SUPERLINK_NODE_ID)
    (inner._run,) = link.state.get_run_info(run_ids=[link.run])
    return DescribedGrid(EnvelopeGrid(inner, clock=lambda: 0.0, aside=lambda work: work()), RUN)


def asks(grid: DescribedGrid, link: Link, kind: str = "train") -> list[str]:
    content = RecordDict() if kind == "query" else to_flower(ASKED)
    with task_identity(link.run):
        message = Message(content, dst_node_id=link.node, message_type=kind)
    return list(grid.push_messages([message]))


def pulled(link: Link) -> tuple[Any, Any]:
    """What a node is handed out."""
    request = fleet_pb2.PullMessagesRequest(node=Node(node_id=link.node))
    found = FLEET["PullMessagesResponse"].FromString(
        link.fleet("pull_messages", request, link.state.object_store)
    )
    return found.messages_list[0], found.message_object_trees[0]


def answered(link: Link, outbox: Outbox, content: Any = None, error: str = "") -> Any:
    """A node answers the next message, and pushes what it is asked to; gives what it was asked."""
    return answers(link, outbox, pulled(link), content, error)


def answers(link: Link, outbox: Outbox, come: tuple[Any, Any], content: Any, error: str = "") -> Any:
    """A node answers a message that it has got."""
    message, tree = come
    asked = (
        opened(decode(message.content.SerializeToString()), RECORD) if in_envelope(tree.object_id) else None
    )
    pending = outbox.receive(message, tree)
    if content is not None:
        outbox.keep("key", encode(content))
    pending = replace(pending, bundled=True, reply=asked[RECORD][REPLY] if asked else "")
    pending = outbox.settle(pending, answer="" if error else "key", error=error)
    reply, tree, objects = reply_to(message, pending, link.node, outbox)
    for _ in range(2):  # it may be sent again: what it is answered with was lost
        request = FLEET["PushMessagesRequest"](
            node=FLEET["Node"](node_id=link.node), messages_list=[reply], message_object_trees=[tree]
        )
        request = fleet_pb2.PushMessagesRequest.FromString(request.SerializeToString())
        pushed = FLEET["PushMessagesResponse"].FromString(link.fleet("push_messages", request))
    for name, data in objects.items():
        assert link.state.store_object(link.run, pushed.session_id, name, data)
    return asked


def rows(folder: Any) -> dict[str, int]:
    """How much of each kind a SuperLink keeps."""
    with sqlite3.connect(folder / "link.db") as database:
        names = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        return {name: database.execute(f"select count(*) from {name}").fetchone()[0] for name in names}


def grown(folder: Any, before: dict[str, int]) -> dict[str, int]:
    """How much more of each kind a SuperLink keeps than before."""
    return {name: count - before[name] for name, count in rows(folder).items() if count != before[name]}
