"""A SuperLink of the installed version keeps a message's envelope whole, and nothing of it for ever."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.common.serde import message_from_proto
from flwr.supercore.corestate import sql_corestate
from flwr.superlink.servicer.runtime import runtime_handlers

from hedgerow.node.outbox import Outbox
from hedgerow.recipe.announcement import RECORD
from hedgerow.records import from_flower
from hedgerow.server.described import DescribedGrid
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import ConfigRecord
from hedgerow.wire.envelope import MOST_ANSWERED, REPLY
from tests.api.links import ASKED, Link, answered, answers, asks, grid_of, grown, pulled, rows

pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")  # Flower's own


@pytest.fixture
def link(tmp_path) -> Link:
    return Link.on(str(tmp_path / "link.db"))


@pytest.fixture
def grid(link) -> DescribedGrid:
    return grid_of(link)


@pytest.fixture
def later(grid, monkeypatch) -> list[float]:
    """Seconds by which it is later, for grid and SuperLink."""
    clock, now = [0.0], sql_corestate.now
    monkeypatch.setattr(grid.within, "_clock", lambda: clock[0])
    monkeypatch.setattr(sql_corestate, "now", lambda: now() + timedelta(seconds=clock[0]))
    return clock


def nothing_comes(later: list[float], link: Link, grid: DescribedGrid, ids: Sequence[str] = ()) -> None:
    """Some minutes pass, in which these are waited for."""
    until = later[0] + 500.0
    while later[0] < until:
        later[0] += 20.0
        assert link.state.acknowledge_task_heartbeat(link.task.task_id)
        assert not list(grid.pull_messages(ids))


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


def test_however_many_the_rounds_a_superlink_keeps_one_answer_of_a_node(later, grid, link, tmp_path) -> None:
    outbox = Outbox(tmp_path)
    introduced(grid, link, outbox)
    before = rows(tmp_path)
    for number in range(4):
        assert asked_for(grid, link, outbox, number) == number
    waited_for = asks(grid, link)
    nothing_comes(later, link, grid, waited_for)
    assert grown(tmp_path, before) == {
        "message_ins": 1, "object_children": 2, "objects": 1 + 3, "run_objects": 1 + 3,
        "object_push_sessions": 2, "object_push_session_roots": 2, "object_push_session_pending": 1 + 3,
    }, "what is waited for stays"  # fmt: skip
    nothing_comes(later, link, grid)
    assert grown(tmp_path, before) == dict.fromkeys(
        ("objects", "run_objects", "object_push_sessions", "object_push_session_roots",
         "object_push_session_pending"), 1
    )  # fmt: skip


def test_what_was_answered_too_late_or_never_takes_no_answers_place(later, grid, link, tmp_path) -> None:
    outbox, kept = Outbox(tmp_path), []
    introduced(grid, link, outbox)
    for number in range(3):
        asks(grid, link)
        late = pulled(link)
        ids = asks(grid, link)
        answers(link, outbox, late, {"z": ConfigRecord({"number": -1})})
        assert not list(grid.pull_messages(ids)), "only the other was asked for"
        answered(link, outbox, {"z": ConfigRecord({"number": number})})
        (reply,) = grid.pull_messages(ids)
        assert reply.content["z"] == {"number": number}
        asks(grid, link)
        pulled(link)
        nothing_comes(later, link, grid)
        kept.append(rows(tmp_path))
    assert kept[1:] == [kept[0]] * 2, "no table grows"


def test_an_answer_that_comes_again_in_the_next_round_is_not_that_rounds(link, grid, tmp_path) -> None:
    outbox = Outbox(tmp_path)
    introduced(grid, link, outbox)
    first = asks(grid, link)
    before = pulled(link)
    named = answers(link, outbox, before, {"z": ConfigRecord({"number": 1})})[RECORD][REPLY]
    assert len(list(grid.pull_messages(first))) == 1
    second = asks(grid, link)
    come = pulled(link)
    answers(link, outbox, before, {"z": ConfigRecord({"number": 1})})
    assert not list(grid.pull_messages(second))
    asked = answers(link, outbox, come, {"z": ConfigRecord({"number": 2})})
    (reply,) = grid.pull_messages(second)
    assert reply.content["z"] == {"number": 2}
    assert asked[RECORD][REPLY] == named, "the same id"


def test_two_runs_ask_one_node_and_each_gets_its_own_answer(link, grid, tmp_path) -> None:
    other = Link(link.state, link.node)
    runs = {1: (link, grid), 2: (other, grid_of(other))}
    outboxes = {number: Outbox(tmp_path / str(number)) for number in runs}
    for number, (where, of) in runs.items():
        introduced(of, where, outboxes[number])
    for _ in range(2):
        ids = {number: asks(of, where) for number, (where, of) in runs.items()}
        for number in runs:  # the oldest message first, whoever asks for it
            assert answered(link, outboxes[number], {"z": ConfigRecord({"number": number})})
        for number, (_, of) in runs.items():
            (reply,) = of.pull_messages(ids[number])
            assert reply.content["z"] == {"number": number}


def asked_for(grid: DescribedGrid, link: Link, outbox: Outbox, number: int) -> Any:
    """What comes of a number that a node answers with."""
    ids = asks(grid, link)
    answered(link, outbox, {"z": ConfigRecord({"number": number})})
    (reply,) = grid.pull_messages(ids)
    return reply.content["z"]["number"]
