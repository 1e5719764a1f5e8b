"""Messages of any Flower app, to clients in worker processes."""

import os
import sys
import time

import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict

from hedgerow.simulation.grid import InProcessGrid

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")


def slow(message: Message, context: Context) -> Message:
    began = time.monotonic()  # on Linux the same clock in every process
    time.sleep(0.3)
    return Message(RecordDict({"times": MetricRecord({"began": began})}), reply_to=message)


def test_clients_run_side_by_side_and_replies_come_in_order(tmp_path):
    def meet(message: Message, context: Context) -> Message:
        """Answers when two processes have come here: one after the other, they would wait in vain."""
        (tmp_path / str(os.getpid())).touch()
        end = time.monotonic() + 120
        while len(met := sorted(file.name for file in tmp_path.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        return Message(RecordDict({"met": MetricRecord({"processes": len(met)})}), reply_to=message)

    with InProcessGrid(meet, 4, workers=2) as grid:
        messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
        replies = grid.send_and_receive(messages)
    asked = [message.metadata.message_id for message in messages]
    assert [reply.metadata.reply_to_message_id for reply in replies] == asked
    assert [reply.content["met"]["processes"] for reply in replies] == [2] * 4


def test_two_messages_to_one_client_see_its_state_in_turn():
    def count(message: Message, context: Context) -> Message:
        record = context.state.get("count", MetricRecord({"n": 0}))
        record["n"] += 1
        context.state["count"] = record
        return Message(RecordDict({"count": record}), reply_to=message)

    with InProcessGrid(count, 2, workers=2) as grid:
        first, second = grid.get_node_ids()
        messages = [Message(RecordDict(), node, "train") for node in (first, first, second, first)]
        replies = grid.send_and_receive(messages)
        later = grid.send_and_receive([Message(RecordDict(), first, "train")])
    assert [reply.content["count"]["n"] for reply in [*replies, *later]] == [1, 2, 1, 3, 4]


def test_pulled_in_part_and_out_of_order_no_reply_is_lost():
    with InProcessGrid(slow, 6, workers=2) as grid:
        ids = grid.push_messages([Message(RecordDict(), node, "train") for node in grid.get_node_ids()])
        first = next(iter(grid.pull_messages(ids)))
        rest = list(grid.pull_messages(ids[:0:-1]))
        again = list(grid.pull_messages(ids[:2]))
    assert [first.metadata.reply_to_message_id, *(r.metadata.reply_to_message_id for r in rest)] == [
        ids[0], *ids[:0:-1],
    ]  # fmt: skip
    assert all(reply.has_content() for reply in rest)
    assert [reply.error.code for reply in again] == [3, 3]


def test_after_a_timeout_no_client_is_started_on_workers():
    with InProcessGrid(slow, 12, workers=2) as grid:
        messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
        replies = grid.send_and_receive(messages, timeout=0.1)
        over = time.monotonic()
        # How many were started by then is for the machine to say; who was not is started when it is pulled.
        answered = {reply.metadata.reply_to_message_id for reply in replies}
        asked = [message.metadata.message_id for message in messages]
        rest = list(grid.pull_messages([id for id in asked if id not in answered]))
    assert len(replies) < 12
    assert len(rest) + len(replies) == 12
    assert all(reply.content["times"]["began"] < over for reply in replies)
    assert all(reply.content["times"]["began"] > over for reply in rest)
