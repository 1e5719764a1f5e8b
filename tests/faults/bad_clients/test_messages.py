"""To a Flower app, a bad client is an error reply; its state stays as it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hedgerow.simulation.grid import InProcessGrid
from tests.faults.bad_clients.acts import (
    FAILS_ANYWHERE,
    NAMES,
    TWO_WORKERS,
    leaves_threads,
    sys_exit,
    too_much_at_once,
)
from tests.odd import raises


def odd_app(act: Callable[[], Any]) -> ClientApp:
    """Clients that count their messages; partition 3 does something odd at its second."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        count = int(context.state.get("count", MetricRecord({"n": 0}))["n"]) + 1
        if context.node_config["partition-id"] == 3 and int(message.metadata.group_id) == 2:
            given = act()
            if given is not None:
                return given  # type: ignore[no-any-return]
        context.state["count"] = MetricRecord({"n": count})
        return Message(RecordDict({"count": MetricRecord({"n": count})}), reply_to=message)

    return app


def ask(app: ClientApp, **options: Any) -> list[list[Message]]:
    """The replies of three rounds."""
    with InProcessGrid(app, 8, **options) as grid:
        return [
            grid.send_and_receive(
                [Message(RecordDict(), node, "train", group_id=str(number)) for node in grid.get_node_ids()]
            )
            for number in (1, 2, 3)
        ]


def counts(replies: list[Message]) -> list[int | None]:
    return [None if reply.has_error() else int(reply.content["count"]["n"]) for reply in replies]


@pytest.mark.parametrize(("act", "says", "options"), FAILS_ANYWHERE, ids=NAMES)
def test_in_a_flower_app_it_is_an_error_reply_and_its_state_stays_as_it_was(act, says, options):
    first, second, third = ask(odd_app(act), **options)
    assert counts(first) == [1] * 8
    assert counts(second) == [2, 2, 2, None, 2, 2, 2, 2]
    kind = says.partition(": ")[0] if act in (raises, sys_exit, too_much_at_once) else says
    assert kind in str(second[3].error.reason)
    assert counts(third) == [3, 3, 3, 2, 3, 3, 3, 3]


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2}, TWO_WORKERS])
def test_in_a_flower_app_garbage_and_threads_are_told(options, caplog):
    assert counts(ask(odd_app(lambda: "nonsense"), **options)[1]) == [2, 2, 2, None, 2, 2, 2, 2]
    assert "returned str; it must return a Message" in caplog.text
    assert counts(ask(odd_app(leaves_threads), **options)[2]) == [3] * 8
    assert "client 3 left 2 threads behind: forgotten, busy" in caplog.text


def test_the_kernel_ends_a_worker_first_where_the_machine_has_no_memory_left():
    def score(message: Message, context: Context) -> Message:
        number = int(Path("/proc/self/oom_score_adj").read_text())
        return Message(RecordDict({"score": MetricRecord({"n": number})}), reply_to=message)

    mine = int(Path("/proc/self/oom_score_adj").read_text())
    with InProcessGrid(score, 2, workers=2) as grid:
        replies = grid.send_and_receive([Message(RecordDict(), n, "train") for n in grid.get_node_ids()])
    assert [reply.content["score"]["n"] for reply in replies] == [1000, 1000]
    assert int(Path("/proc/self/oom_score_adj").read_text()) == mine
