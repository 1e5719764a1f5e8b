"""Any Flower ClientApp and ServerApp run on the in-process grid as Flower would run them."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from hedgerow.simulation.grid import InProcessGrid
from hedgerow.simulation.server_app import run_server_app
from tests.engines.grids import (
    MESSAGE_UNAVAILABLE,
    Answer,
    app_that,
    arrays,
    echo,
    grid_of,
    numbered,
    to_all,
    values,
)


def test_replies_come_in_order_with_the_metadata_of_an_answer() -> None:
    with grid_of(numbered) as grid:
        messages = to_all(grid, group_id="7", ttl=60.0)[::-1]
        replies = grid.send_and_receive(messages)
        assert isinstance(replies, list)
    assert [reply.content["number"]["partition"] for reply in replies] == [2, 1, 0]
    for message, reply in zip(messages, replies, strict=True):
        sent, got = message.metadata, reply.metadata
        assert got.reply_to_message_id == sent.message_id != ""
        assert (got.src_node_id, got.dst_node_id) == (sent.dst_node_id, sent.src_node_id)
        assert (got.group_id, got.message_type, got.run_id) == ("7", "train", sent.run_id)
        assert 0 < got.ttl <= 60
    ids = {m.metadata.message_id for m in messages + replies}
    assert len(ids) == 6


def test_the_kind_of_a_message_and_its_action_choose_the_function() -> None:
    app = ClientApp()
    called: list[str] = []

    def remember(name: str) -> Answer:
        def answer(message: Message, context: Context) -> Message:
            called.append(name)
            return echo(message, context)

        return answer

    app.train()(remember("train"))
    app.train("stage")(remember("train.stage"))
    app.evaluate()(remember("evaluate"))
    app.query("name")(remember("query.name"))
    kinds = ["train.stage", "query.name", "evaluate", "train"]
    with InProcessGrid(app, 1) as grid:
        node = grid.get_node_ids()[0]
        replies = grid.send_and_receive([Message(RecordDict(), node, kind) for kind in kinds])
        absent = grid.send_and_receive([Message(RecordDict(), node, "query.absent")])[0]
    assert called == kinds == [reply.metadata.message_type for reply in replies]
    assert "No query function registered with name 'absent'" in str(absent.error.reason)


def test_mods_of_a_client_app_wrap_it() -> None:
    def doubled(message: Message, context: Context, call_next: Answer) -> Message:
        reply = call_next(message, context)
        reply.content = arrays(*(2 * v for v in values(reply.content)))
        return reply

    with InProcessGrid(app_that(echo, mods=[doubled]), 1) as grid:
        reply = grid.send_and_receive(to_all(grid, arrays(3)))[0]
    assert values(reply.content) == [6.0]


def test_clients_run_only_as_their_replies_are_reached_and_none_is_lost() -> None:
    ran: list[int] = []

    def note(message: Message, context: Context) -> Message:
        ran.append(int(context.node_config["partition-id"]))
        return echo(message, context)

    with grid_of(note) as grid:
        ids = grid.push_messages(to_all(grid))
        unused = grid.pull_messages(set(ids))
        assert (ran, len(unused)) == ([], 3)
        first = next(iter(grid.pull_messages(ids)))
        assert (ran, first.metadata.reply_to_message_id) == ([0], ids[0])
        rest = list(grid.pull_messages(ids[1:]))
        assert ran == [0, 1, 2]
        again = list(grid.pull_messages(ids))
    assert [reply.has_content() for reply in rest] == [True, True]
    assert {reply.error.code for reply in again} == {MESSAGE_UNAVAILABLE}
    assert [reply.metadata.reply_to_message_id for reply in again] == ids


def test_a_server_that_lets_each_reply_go_holds_one_at_a_time() -> None:
    size = 4_000_000

    def big(message: Message, context: Context) -> Message:
        return Message(RecordDict({"arrays": ArrayRecord([np.ones(size, np.uint8)])}), reply_to=message)

    with grid_of(big, 12) as grid:
        ids = grid.push_messages(to_all(grid))
        tracemalloc.start()
        try:
            total = sum(len(reply.content["arrays"]["0"].data) for reply in grid.pull_messages(ids))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert total > 12 * size
    # The server's one reply, and the array with two copies of its bytes while Flower packs the next.
    assert peak < 4.5 * size


def test_replies_can_be_gone_through_twice_while_they_are_held() -> None:
    with grid_of(echo) as grid:
        # As ServerApps written for Flower's grids do, whose replies are lists.
        waiting = set(grid.push_messages(to_all(grid)))
        replies = grid.pull_messages(waiting)
        held = list(replies)
        waiting.difference_update({m.metadata.reply_to_message_id for m in replies})
        assert waiting == set()
        assert [a is b for a, b in zip(held, replies, strict=True)] == [True] * 3
        del held
        with pytest.raises(RuntimeError, match="reply 1 of 3 was dropped and cannot be returned twice"):
            list(replies)


def test_a_million_clients_cost_nothing_until_they_are_asked() -> None:
    made: list[int] = []

    def name(i: int) -> str:
        made.append(i)
        return f"client-{i}"

    tracemalloc.start()
    try:
        grid = grid_of(numbered, 1_000_000, names=name, node_config=lambda i: {"made": made.append(i) or i})
        with grid:
            nodes = grid.get_node_ids()
            names = grid.client_names()
            assert names is not None
            assert (len(nodes), len(names), made) == (1_000_000, 1_000_000, [])
            last = nodes[-1]
            replies = grid.send_and_receive([Message(RecordDict(), last, "train")])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert replies[0].content["number"]["partition"] == made[0] == 999_999
    assert (names[-1], len(made)) == ("client-999999", 2)
    assert peak < 5_000_000


def test_node_ids_are_the_same_each_time_and_legal_for_flower() -> None:
    ids = list(grid_of(echo, 4).get_node_ids())
    assert ids == list(grid_of(echo, 4).get_node_ids())
    assert len(set(ids)) == 4
    assert all(2**63 < node < 2**64 for node in ids)
    assert grid_of(echo).client_names() is None
    names = grid_of(echo, names=str).client_names()
    assert names is not None
    assert list(names) == ["0", "1", "2"]
    with pytest.raises(IndexError):
        names[3]


def test_a_server_app_runs_with_its_lifespan_and_its_exception_comes_out() -> None:
    events: list[str] = []
    app = ServerApp()

    @app.lifespan()
    def lifespan(context: Context) -> Iterator[None]:
        events.append("begin")
        yield
        events.append("end")

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        events.append(f"main {context.run_config['rounds']}")
        context.state["done"] = MetricRecord({"rounds": len(list(grid.get_node_ids()))})
        if context.run_config["fail"]:
            raise LookupError("the server's own")

    context = run_server_app(app, grid_of(echo, run_config={"rounds": 4, "fail": False}))
    assert events == ["begin", "main 4", "end"]
    assert context.state["done"]["rounds"] == 3
    with pytest.raises(LookupError, match="the server's own"):
        run_server_app(app, grid_of(echo, run_config={"rounds": 1, "fail": True}))
    assert events[3:] == ["begin", "main 1", "end"]


def test_two_grids_can_be_in_use_at_a_time_and_one_grid_once() -> None:
    grid, other = grid_of(echo), grid_of(echo, 2)
    with grid:
        with pytest.raises(RuntimeError, match="this grid is in use already"), grid:
            pytest.fail("entered twice")
        with other:
            assert len(other.send_and_receive(to_all(other))) == 2
        assert len(grid.send_and_receive(to_all(grid))) == 3
    with grid:  # states and messages outlive the block
        assert len(grid.send_and_receive(to_all(grid))) == 3
