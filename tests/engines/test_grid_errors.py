"""Errors and timeouts of the in-process grid are those of Flower's."""

import sys
import time

import pytest
from flwr.app import Context, Message, RecordDict

from hedgerow.simulation import flower, mailbox
from hedgerow.simulation.grid import InProcessGrid
from tests.engines.grids import (
    CLIENT_RAISED,
    MESSAGE_UNAVAILABLE,
    NODE_UNAVAILABLE,
    app_that,
    echo,
    grid_of,
    numbered,
    to_all,
)


def test_an_error_in_one_client_is_its_reply_and_the_others_answer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(message: Message, context: Context) -> Message:
        match context.node_config["partition-id"]:
            case 0:
                raise ZeroDivisionError("no data")
            case 1:
                sys.exit("gone")
            case 2:
                return None  # type: ignore[return-value]
            case 3:
                return message
        return echo(message, context)

    with grid_of(fail, 5) as grid:
        messages = to_all(grid)
        replies = grid.send_and_receive(messages)
    assert [reply.has_error() for reply in replies] == [True, True, True, True, False]
    assert {reply.error.code for reply in replies[:4]} == {CLIENT_RAISED}
    reasons = [str(reply.error.reason) for reply in replies[:4]]
    assert reasons[0] == "<class 'ZeroDivisionError'>:<'no data'>"
    assert reasons[1] == "<class 'SystemExit'>:<'gone'>"
    assert "returned NoneType; it must return a Message" in reasons[2]
    assert "does not answer the one it was given" in reasons[3]
    for message, reply in zip(messages, replies, strict=True):
        assert reply.metadata.reply_to_message_id == message.metadata.message_id
        assert reply.metadata.src_node_id == message.metadata.dst_node_id
    assert "client 0 failed: no data" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_an_interrupt_ends_the_run_and_leaves_the_message_unanswered() -> None:
    interrupts = [KeyboardInterrupt()]

    def interrupted(message: Message, context: Context) -> Message:
        if interrupts:
            raise interrupts.pop()
        return echo(message, context)

    with grid_of(interrupted, 1) as grid:
        ids = grid.push_messages(to_all(grid))
        with pytest.raises(KeyboardInterrupt):
            list(grid.pull_messages(ids))
        assert [reply.has_content() for reply in grid.pull_messages(ids)] == [True]


def test_an_absent_node_is_unavailable() -> None:
    with grid_of(echo) as grid:
        absent = max(grid.get_node_ids()) + 1
        first, second = grid.send_and_receive(
            [Message(RecordDict(), absent, "train"), Message(RecordDict(), grid.get_node_ids()[0], "train")]
        )
    assert first.error.code == NODE_UNAVAILABLE
    assert str(absent) in str(first.error.reason)
    assert second.has_content()


class Clock:
    """Stands for `time` in a module; time passes when a test says so, and not with the machine's load."""

    def __init__(self) -> None:
        self._passed = 0.0

    def time(self) -> float:
        return BEGAN + self._passed

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self._passed += seconds


BEGAN = time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (flower, mailbox):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_message_whose_time_is_over_never_reaches_its_client(clock: Clock) -> None:
    ran: list[int] = []

    def slow(message: Message, context: Context) -> Message:
        ran.append(int(context.node_config["partition-id"]))
        clock.sleep(15_000)
        return echo(message, context)

    with grid_of(slow) as grid:
        first, second, third = grid.get_node_ids()
        long, short = {"ttl": 1e6}, {"ttl": 10_000.0}
        replies = grid.send_and_receive(
            [
                Message(RecordDict(), first, "train", **long),
                Message(RecordDict(), second, "train", **short),
            ]
        )
        asked = Message(RecordDict(), third, "train", **short)
        asked.metadata.created_at = clock.time()
        late = grid.send_and_receive([asked])
    assert ran == [0, 2]
    assert replies[0].has_content()
    assert [reply.error.code for reply in (replies[1], late[0])] == [MESSAGE_UNAVAILABLE] * 2


def test_after_a_timeout_no_client_is_started_and_the_rest_can_be_pulled(clock: Clock) -> None:
    def slow(message: Message, context: Context) -> Message:
        clock.sleep(100)
        return numbered(message, context)

    with grid_of(slow) as grid:
        messages = to_all(grid)
        replies = grid.send_and_receive(messages, timeout=50)
        assert len(replies) == 1
        rest = grid.pull_messages([m.metadata.message_id for m in messages[1:]])
        assert [reply.content["number"]["partition"] for reply in rest] == [1, 2]


def test_what_cannot_be_sent_is_refused() -> None:
    with grid_of(echo, 1) as grid:
        message = to_all(grid)[0]
        reply = grid.send_and_receive([message])[0]
        with pytest.raises(ValueError, match="answers no message"):
            grid.push_messages([reply])
        spent = to_all(grid)[0]
        spent.metadata.ttl = 0
        with pytest.raises(ValueError, match="time to live above 0"):
            grid.push_messages([spent])
    with pytest.raises(ValueError, match="num_clients is 0"):
        InProcessGrid(app_that(echo), 0)
