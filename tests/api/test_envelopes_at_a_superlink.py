"""A SuperLink of the installed version keeps a message's envelope whole, and nothing of it for ever."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_from_proto
from flwr.proto import fleet_pb2
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.corestate import sql_corestate
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid.http_grid import HttpGrid
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers

from hedgerow.coordinator.envelopes import EnvelopeGrid
from hedgerow.node.outbox import Outbox
from hedgerow.node.reply import reply_to
from hedgerow.recipe.announcement import RECORD, Announcement
from hedgerow.records import from_flower, to_flower
from hedgerow.server.described import DescribedGrid
from hedgerow.simulation.flower import task_identity
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.bundle import opened
from hedgerow.wire.codec import decode, encode
from hedgerow.wire.content import ConfigRecord
from hedgerow.wire.envelope import ABSENT, MOST_ANSWERED, in_envelope
from hedgerow.wire.fleet import FLEET

pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")  # Flower's own

RUN = Announcement.of({"a": 1}, run="00" * 16, version="0.1.0")
ASKED = {"x": pack_arrays({"a": np.arange(3, dtype=np.float32)}), "y": ConfigRecord({"b": 1})}


class Link:
    """The handlers of a SuperLink, on a database of their own; counts the calls."""

    def __init__(self, database: str) -> None:
        manager = NoOpFederationManager()
        self.state = LinkStateFactory(database, manager, ObjectStoreFactory(database)).state()
        self.run = self.state.create_run("", "", "", {}, NOOP_FEDERATION_ID, None, "", TaskType.SERVER_APP)
        (task,) = self.state.get_tasks(run_ids=[self.run])
        self.state.claim_task(task.task_id)
        assert self.state.activate_task(task.task_id)
        self.node = self.state.create_node("", "", b"key", 30.0)
        assert self.state.activate_node(self.node, 30.0)
        self.task, self.calls = task, list[str]()

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


@pytest.fixture
def link(tmp_path) -> Iterator[Link]:
    made = Link(str(tmp_path / "link.db"))
    with task_identity(made.run):
        yield made


@pytest.fixture
def grid(link) -> DescribedGrid:
    inner = object.__new__(HttpGrid)
    inner._client, inner.node = link, Node(node_id=SUPERLINK_NODE_ID)
    (inner._run,) = link.state.get_run_info(run_ids=[link.run])
    return DescribedGrid(EnvelopeGrid(inner, clock=lambda: 0.0, aside=lambda work: work()), RUN)


def pulled(link: Link) -> tuple[Any, Any]:
    """What a node is handed out."""
    request = fleet_pb2.PullMessagesRequest(node=Node(node_id=link.node))
    found = FLEET["PullMessagesResponse"].FromString(
        link.fleet("pull_messages", request, link.state.object_store)
    )
    return found.messages_list[0], found.message_object_trees[0]


def answered(link: Link, outbox: Outbox, content: Any = None, error: str = "") -> Any:
    """A node answers the next message, and pushes what it is asked to; gives what it was asked."""
    message, tree = pulled(link)
    asked = (
        opened(decode(message.content.SerializeToString()), RECORD) if in_envelope(tree.object_id) else None
    )
    come = outbox.receive(message, tree)
    if content is not None:
        outbox.keep("key", encode(content))
    absent = asked[RECORD][ABSENT] if asked else ""
    come = type(come)(**{**vars(come), "bundled": True, "absent": absent})
    come = outbox.settle(come, answer="" if error else "key", error=error)
    reply, tree, objects = reply_to(message, come, link.node, outbox)
    for _ in range(2):  # it may be sent again: what it is answered with was lost
        request = FLEET["PushMessagesRequest"](
            node=FLEET["Node"](node_id=link.node), messages_list=[reply], message_object_trees=[tree]
        )
        request = fleet_pb2.PushMessagesRequest.FromString(request.SerializeToString())
        pushed = FLEET["PushMessagesResponse"].FromString(link.fleet("push_messages", request))
    for name, data in objects.items():
        assert link.state.store_object(link.run, pushed.session_id, name, data)
    return asked


def asks(grid: DescribedGrid, link: Link, kind: str = "train") -> list[str]:
    content = RecordDict() if kind == "query" else to_flower(ASKED)
    return list(grid.push_messages([Message(content, dst_node_id=link.node, message_type=kind)]))


def introduced(grid: DescribedGrid, link: Link, outbox: Outbox) -> None:
    """The node has answered in objects once, as whoever is new does."""
    ids = asks(grid, link, "query")
    assert answered(link, outbox, {"who": ConfigRecord({"name": "kitchen"})}) is None
    (reply,) = grid.pull_messages(ids)
    assert reply.content["who"] == {"name": "kitchen"}
    link.calls.clear()


def test_a_round_of_a_device_is_four_calls_and_no_object(link, grid, tmp_path) -> None:
    outbox = Outbox(tmp_path)
    introduced(grid, link, outbox)
    ids = asks(grid, link)
    answer = {"z": pack_arrays({"c": np.ones(5)})}
    asked = answered(link, outbox, answer)
    assert {name: asked[name] for name in ASKED} == ASKED
    (reply,) = grid.pull_messages(ids)
    assert from_flower(reply.content) == answer
    assert reply.metadata.reply_to_message_id == ids[0]
    assert link.calls == ["PushMessages", "pull_messages", "push_messages", "push_messages", "PullMessages"]


def test_a_refusal_comes_in_its_envelope_and_the_node_is_introduced_again(link, grid, tmp_path) -> None:
    outbox = Outbox(tmp_path)
    introduced(grid, link, outbox)
    ids = asks(grid, link)
    assert answered(link, outbox, error="AgainstPolicy: rule kinds") is not None
    (reply,) = grid.pull_messages(ids)
    assert (reply.error.reason, reply.metadata.reply_to_message_id) == ("AgainstPolicy: rule kinds", ids[0])
    asks(grid, link)
    assert answered(link, outbox, {}) is None, "in objects"


def test_a_long_answer_comes_in_objects(link, grid, tmp_path) -> None:
    outbox = Outbox(tmp_path)
    introduced(grid, link, outbox)
    ids = asks(grid, link)
    answer = {"z": pack_arrays({"c": np.ones(MOST_ANSWERED // 8)})}
    assert answered(link, outbox, answer) is not None
    (reply,) = grid.pull_messages(ids)
    assert from_flower(reply.content) == answer


def test_what_is_no_content_is_that_nodes_error(link, grid, tmp_path, monkeypatch) -> None:
    outbox = Outbox(tmp_path)
    introduced(grid, link, outbox)
    ids = asks(grid, link)
    answered(link, outbox, {})

    def fails(made: Any) -> Message:
        if made.HasField("content"):
            raise ValueError("nonsense")
        return message_from_proto(made)

    monkeypatch.setattr("hedgerow.coordinator.envelopes.message_from_proto", fails)
    (reply,) = grid.pull_messages(ids)
    assert "its reply cannot be read: ValueError: nonsense" in reply.error.reason
    assert reply.metadata.reply_to_message_id == ids[0]


def test_looks_for_replies_take_a_quarter_of_the_time(link, grid, monkeypatch) -> None:
    envelopes, clock = grid.within, [0.0]
    monkeypatch.setattr(envelopes, "_clock", lambda: clock[0])
    real = runtime_handlers.pull_messages

    def slow(*given: Any) -> Any:
        clock[0] += 0.5
        return real(*given)

    monkeypatch.setattr(runtime_handlers, "pull_messages", slow)
    ids = asks(grid, link)
    while clock[0] < 80.0:
        list(grid.pull_messages(ids))
        clock[0] += 0.25
    assert 38 <= link.calls.count("PullMessages") <= 41


def test_after_some_minutes_nothing_of_a_round_is_left(link, grid, tmp_path, monkeypatch) -> None:
    outbox, envelopes, clock, now = Outbox(tmp_path), grid.within, [0.0], sql_corestate.now
    monkeypatch.setattr(envelopes, "_clock", lambda: clock[0])
    monkeypatch.setattr(sql_corestate, "now", lambda: now() + timedelta(seconds=clock[0]))

    def looked(ids: list[str]) -> int:
        clock[0] += 60.0
        return len(list(grid.pull_messages(ids)))

    introduced(grid, link, outbox)
    before = rows(tmp_path)
    for _ in range(3):
        ids = asks(grid, link)
        answered(link, outbox, {})
        assert len(list(grid.pull_messages(ids))) == 1
    waited_for = asks(grid, link)
    while clock[0] < 1000.0:
        assert looked(waited_for) == 0
    kept = {"message_ins", "objects", "object_children", "run_objects", "object_push_sessions",
            "object_push_session_roots", "object_push_session_pending"}  # fmt: skip
    after = rows(tmp_path)
    assert {name for name in after if after[name] > before[name]} == kept, "what is waited for stays"
    assert sum(after[name] - before[name] for name in kept) == 14
    while clock[0] < 1500.0:
        assert looked([]) == 0, "it is given up"
    assert rows(tmp_path) == before


def rows(folder: Any) -> dict[str, int]:
    """How much of each kind a SuperLink keeps."""
    with sqlite3.connect(folder / "link.db") as database:
        names = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        return {name: database.execute(f"select count(*) from {name}").fetchone()[0] for name in names}
