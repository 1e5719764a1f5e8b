"""On the in-process grid nothing of a client reaches another, or what the server holds."""

from typing import Any

import numpy as np
from flwr.app import Array, ConfigRecord, Context, Message, MetricRecord, RecordDict

from tests.engines.grids import arrays, echo, grid_of, to_all, values


def test_what_a_client_changes_in_place_stays_with_it() -> None:
    seen: list[list[float]] = []

    def vandal(message: Message, context: Context) -> Message:
        record = message.content["arrays"]
        config = message.content["config"]
        seen.append([*values(message.content), *config["list"]])
        model = record.to_numpy_ndarrays(keep_input=False)[0]
        model += 1
        record["0"] = Array(model)
        config["list"].append(9)
        config["new"] = 1
        message.content["more"] = MetricRecord({"a": 1})
        return Message(message.content, reply_to=message)

    content = arrays(1, 2)
    content["config"] = ConfigRecord({"list": [5]})
    with grid_of(vandal) as grid:
        replies = grid.send_and_receive(to_all(grid, content))
    assert seen == [[1, 2, 5]] * 3
    assert values(content) == [1, 2]
    assert content["config"] == {"list": [5]}
    assert sorted(content) == ["arrays", "config"]
    assert [values(reply.content) for reply in replies] == [[2, 3]] * 3


def test_a_record_whose_bytes_were_measured_can_still_be_sent() -> None:
    content = arrays(1, 2)
    with grid_of(echo, 1) as grid:
        message = to_all(grid, content)[0]
        assert message.object_id  # Flower now keeps views of the bytes inside the record
        reply = grid.send_and_receive([message])[0]
    assert values(reply.content) == [1, 2]


def test_what_is_sent_is_as_it_was_when_pushed() -> None:
    content = arrays(1)
    with grid_of(echo, 1) as grid:
        ids = grid.push_messages(to_all(grid, content))
        content["arrays"]["0"] = Array(np.array([8], np.float32))
        assert [values(reply.content) for reply in grid.pull_messages(ids)] == [[1]]


def test_state_is_kept_for_each_client_and_not_shared() -> None:
    kept: list[RecordDict] = []

    def count(message: Message, context: Context) -> Message:
        record = context.state.get("count", MetricRecord({"n": 0}))
        record["n"] += 1 + 10 * context.node_config["partition-id"]
        context.state["count"] = record
        kept.append(context.state)
        if "fail" in message.content:
            raise RuntimeError("after the state was changed")
        return Message(RecordDict({"count": record}), reply_to=message)

    with grid_of(count, 2) as grid:
        first = grid.send_and_receive(to_all(grid))
        failed = grid.send_and_receive(to_all(grid, RecordDict({"fail": ConfigRecord()})))
        for state in kept:  # a client that holds on to its state cannot change the grid's
            state["count"]["n"] = 1000
        second = grid.send_and_receive(to_all(grid))
    assert [reply.content["count"]["n"] for reply in first] == [1, 11]
    assert all(reply.has_error() for reply in failed)
    assert [reply.content["count"]["n"] for reply in second] == [2, 22]


def test_a_client_sees_its_configuration_and_the_runs() -> None:
    def tell(message: Message, context: Context) -> Message:
        told = ConfigRecord({**context.node_config, **context.run_config, "id": str(context.node_id)})
        context.run_config["lr"] = 5.0
        return Message(RecordDict({"told": told}), reply_to=message)

    options: dict[str, Any] = {"run_config": {"lr": 0.5}, "node_config": lambda i: {"site": f"s{i}"}}
    with grid_of(tell, 2, **options) as grid:
        replies = grid.send_and_receive(to_all(grid))
        ids = [str(node) for node in grid.get_node_ids()]
    for i, reply in enumerate(replies):
        assert reply.content["told"] == {
            "partition-id": i, "num-partitions": 2, "site": f"s{i}", "lr": 0.5, "id": ids[i],
        }  # fmt: skip
