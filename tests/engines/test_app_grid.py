"""What an app written for Flower's own grids expects of ours, and what is counted on the way."""

import random
import threading
import time
from collections import Counter

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hedgerow.generators import undisturbed
from hedgerow.simulation import flower
from hedgerow.simulation.flower_app.counts import MessageCounts
from hedgerow.simulation.flower_app.grid import AppGrid
from hedgerow.simulation.flower_app.randomness import OwnRandomness
from hedgerow.simulation.grid import InProcessGrid


def counting_app() -> ClientApp:
    """Clients that count their messages in their state; partition 1 fails when it is told to."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if "fail" in message.content and context.node_config["partition-id"] == 1:
            raise ZeroDivisionError("no data")
        count = int(context.state.get("count", {"n": 0})["n"]) + 1
        context.state["count"] = MetricRecord({"n": count})
        return Message(RecordDict({"count": MetricRecord({"n": count})}), reply_to=message)

    return app


def around(
    grid: InProcessGrid, counts: MessageCounts | None = None, seen: list[int] | None = None
) -> AppGrid:
    noted: list[int] = [] if seen is None else seen
    return AppGrid(
        grid,
        grid.get_node_ids,
        MessageCounts() if counts is None else counts,
        lambda t: noted.append(t.answered),
    )


def messages(grid: InProcessGrid, content: RecordDict | None = None, group: str = "") -> list[Message]:
    content = RecordDict() if content is None else content
    return [Message(content, node, "train", group_id=group) for node in grid.get_node_ids()]


def numbers(replies: list[Message]) -> list[int]:
    return [int(reply.content["count"]["n"]) for reply in replies]


def test_a_message_that_nobody_asks_a_reply_for_reaches_its_client_before_the_next() -> None:
    counts = MessageCounts()
    with InProcessGrid(counting_app(), 2) as grid:
        app_grid = around(grid, counts)
        forgotten = app_grid.push_messages(messages(grid))
        assert counts.answered == 0
        assert numbers(app_grid.send_and_receive(messages(grid))) == [2, 2]
        assert numbers(list(app_grid.pull_messages(forgotten))) == [1, 1]  # they can still be had
        app_grid.push_messages(messages(grid))
        app_grid.finish()
        assert numbers(app_grid.send_and_receive(messages(grid))) == [4, 4]
    assert (counts.sent, counts.answered) == (8, 8)


def test_replies_asked_for_with_a_set_come_in_the_order_of_their_messages() -> None:
    with InProcessGrid(counting_app(), 20) as grid:
        app_grid = around(grid)
        ids = app_grid.push_messages(messages(grid))
        replies = app_grid.pull_messages(set(ids))
        assert len(replies) == 20  # type: ignore[arg-type]
        assert [reply.metadata.reply_to_message_id for reply in replies] == ids


def test_what_passes_is_counted_and_failed_clients_are_named() -> None:
    counts, seen = MessageCounts(), list[int]()
    with InProcessGrid(counting_app(), 3) as grid:
        app_grid = around(grid, counts, seen)
        app_grid.send_and_receive(messages(grid, group="1"))
        fail = RecordDict({"fail": MetricRecord({"n": 0})})
        replies = app_grid.send_and_receive(messages(grid, fail, group="2"))
        absent = Message(RecordDict(), max(grid.get_node_ids()) + 5, "train")
        app_grid.send_and_receive([absent])
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert (counts.sent, counts.answered, counts.round) == (7, 7, 2)
    assert counts.failed == Counter({1: 1, -1: 1})
    assert "ZeroDivisionError" in counts.reasons[1]
    assert seen == [0, 1, 2, 3, 3, 4, 5, 6, 6, 7]
    assert 0 < counts.round_began < counts.seconds
    assert counts.clients_per_second == pytest.approx(7 / counts.seconds)


def test_after_a_timeout_the_rest_runs_before_the_next_message() -> None:
    with InProcessGrid(counting_app(), 2) as grid:
        app_grid = around(grid)
        assert app_grid.send_and_receive(messages(grid), timeout=0) == []
        assert numbers(app_grid.send_and_receive(messages(grid))) == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_too_slow_for_a_timeout_costs_its_own_reply_only(workers: int) -> None:
    """As Flower's SecAgg+ counts on; its late reply is there before its next message."""
    slow, app = (0 if workers == 2 else 11), counting_app()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == slow:
            time.sleep(5)
        context.state["count"] = MetricRecord({"n": 1})
        partition = MetricRecord({"n": int(context.node_config["partition-id"])})
        return Message(RecordDict({"count": partition}), reply_to=message)

    with InProcessGrid(app, 12, workers=workers) as grid:
        app_grid = around(grid)
        asked = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
        replies = app_grid.send_and_receive(asked, timeout=4)
        assert numbers(replies) == [partition for partition in range(12) if partition != slow]
        assert numbers(app_grid.send_and_receive(messages(grid), timeout=60)) == [2] * 12
        (late,) = app_grid.pull_messages([asked[slow].metadata.message_id])
        assert numbers([late]) == [slow]


def test_what_many_threads_send_at_a_time_is_sent_together() -> None:
    """As Flower's older API does, with a thread for each client."""
    app, go, there = counting_app(), threading.Event(), threading.Event()

    @app.query()
    def wait(message: Message, context: Context) -> Message:
        there.set()
        assert go.wait(600)
        return Message(RecordDict(), reply_to=message)

    counts, replies, sent = MessageCounts(), list[Message](), list[int]()
    with InProcessGrid(app, 9) as grid:
        app_grid = AppGrid(grid, grid.get_node_ids, counts, lambda t: sent.append(t.sent))
        first = Message(RecordDict(), grid.get_node_ids()[8], "query")
        blocking = threading.Thread(target=app_grid.send_and_receive, args=([first],))
        threads = [
            threading.Thread(target=lambda m=message: replies.extend(app_grid.send_and_receive([m])))
            for message in messages(grid)[:8]
        ]
        blocking.start()
        assert there.wait(600)
        for thread in threads:
            thread.start()
        while len(app_grid._queue) < 8:  # until they all have come to where they wait
            time.sleep(0.01)
        go.set()
        for thread in (blocking, *threads):
            thread.join()
    assert sorted({*sent}) == [1, 9]
    assert numbers(replies) == [1] * 8
    assert counts.answered == 9


def test_what_cannot_be_sent_is_the_senders_error() -> None:
    with InProcessGrid(counting_app(), 1) as grid:
        app_grid = around(grid)
        reply = app_grid.send_and_receive(messages(grid))[0]
        with pytest.raises(ValueError, match="answers no message"):
            app_grid.send_and_receive([reply])
        assert numbers(app_grid.send_and_receive(messages(grid))) == [2]


def test_a_client_that_seeds_global_generators_does_not_change_what_the_server_draws() -> None:
    app = ClientApp()
    drawn: list[tuple[float, float]] = []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 0:
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002
        drawn.append((random.random(), float(np.random.random())))  # noqa: NPY002
        return Message(RecordDict(), reply_to=message)

    with undisturbed():
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        expected = [random.random(), float(np.random.random())]  # noqa: NPY002
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        with InProcessGrid(OwnRandomness(app), 2) as grid:
            grid.send_and_receive(messages(grid))
        assert [random.random(), float(np.random.random())] == expected  # noqa: NPY002
    # Clients share theirs, as those of one process do: the second goes on where the first stopped.
    own_random, own_numpy = random.Random(0), np.random.RandomState(0)
    assert drawn == [(own_random.random(), float(own_numpy.random_sample())) for _ in range(2)]


def test_waiting_for_nodes_that_never_come_ends_with_their_number() -> None:
    with InProcessGrid(counting_app(), 3) as grid:
        flower.wait_for_nodes(grid, 3)
        with pytest.raises(RuntimeError, match="registered only 3 of 4 nodes"):
            flower.wait_for_nodes(grid, 4, patience=0.1)
