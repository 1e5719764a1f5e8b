"""Any Flower ClientApp and ServerApp run on the in-process grid as Flower would run them."""

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from hedgerow.simulation import flower, mailbox
from hedgerow.simulation.grid import InProcessGrid, run_server_app

CLIENT_RAISED, MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE = 2, 3, 5

Answer = Callable[[Message, Context], Message]


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def numbered(message: Message, context: Context) -> Message:
    number = MetricRecord({"partition": context.node_config["partition-id"]})
    return Message(RecordDict({"number": number}), reply_to=message)


def app_that(answer: Answer, **options: Any) -> ClientApp:
    app = ClientApp(**options)
    app.train()(answer)
    return app


def grid_of(answer: Answer, clients: int = 3, **options: Any) -> InProcessGrid:
    return InProcessGrid(app_that(answer), clients, **options)


def arrays(*values: float) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord([np.array(values, np.float32)])})


def values(records: RecordDict) -> list[float]:
    record = records["arrays"]
    assert isinstance(record, ArrayRecord)
    return [float(v) for v in record.to_numpy_ndarrays()[0]]


def to_all(
    grid: Grid, content: RecordDict | None = None, kind: str = "train", **options: Any
) -> list[Message]:
    content = content if content is not None else RecordDict()
    return [Message(content, node, kind, **options) for node in grid.get_node_ids()]


# Replies


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
        with pytest.raises(RuntimeError, match="reply 1 of 3 was let go and cannot be given twice"):
            list(replies)


# Errors


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


# Isolation and state


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


# Many clients


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


# ServerApps


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
