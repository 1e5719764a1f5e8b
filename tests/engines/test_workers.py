"""Clients in worker processes: the same model, bit for bit, whatever happens to the processes."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hedgerow import rng
from hedgerow.client.app import client_app
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid, run_server_app
from hedgerow.strategies import fedavg, parse_pipeline, uniform
from hedgerow.types import Fit, LocalTraining, Model, RoundResult, Samples
from tests.engines import flower_apps
from tests.support import LAYOUT, MeanTrainer, clients

STATEFUL = "chain(weight_by_examples(), error_feedback(top_k(0.2), quantize(8)))"
BAD = "client-003"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")


class Odd(MeanTrainer):
    """Does something odd for one client, in some rounds, before it trains."""

    def __init__(self, odd: Callable[[], Any] = lambda: None, rounds: tuple[int, ...] = (2,)) -> None:
        super().__init__(LAYOUT)
        object.__setattr__(self, "odd", odd)
        object.__setattr__(self, "rounds", rounds)

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str
    ) -> Fit:
        if client == BAD and round in self.rounds:
            self.odd()
        return super().fit(model, data, local, seed=seed, round=round, client=client)


class Together(Odd):
    """Trains several at once."""

    def fit_many(self, model, clients, local, *, seed, round) -> Iterator[tuple[str, Fit | Exception]]:
        for name, data in reversed(clients):
            try:
                yield name, self.fit(model, data, local, seed=seed, round=round, client=name)
            except ValueError as error:
                yield name, error


def once(folder: Path, act: Callable[[], Any]) -> Callable[[], None]:
    """Acts in the first process that gets there; the next ones carry on."""

    def odd() -> None:
        try:
            (folder / "once").touch(exist_ok=False)
        except FileExistsError:
            return
        act()

    return odd


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(
    trainer: MeanTrainer | None = None,
    *,
    pipeline: str = STATEFUL,
    num_rounds: int = 4,
    number: int = 24,
    state_folder: Path | None = None,
    **options: Any,
) -> list[RoundResult]:
    """Some rounds of ragged clients that carry a residual along."""
    trainer, data = trainer or Odd(), clients(number)
    strategy = fedavg(
        pipeline=parse_pipeline(pipeline), sampling=uniform(number - 4), local=LocalTraining(epochs=2)
    )
    app = client_app(trainer, data, strategy, state_folder=state_folder)
    with InProcessGrid(app, number, names=data.names, **options) as grid:
        state = begin(strategy, trainer.initial(0))
        results = list(rounds(grid, strategy, state, trainer.layout, num_rounds=num_rounds))
    assert own_processes() == []
    return results


def own_processes() -> list[str]:
    """This process's children, also those that ended and were not waited for."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found}
    return [pid for pid, name in names.items() if b"resource_tracker" not in name]


def alike(results: list[RoundResult], others: list[RoundResult]) -> None:
    """Equal in all but their times."""
    assert len(results) == len(others)
    for one, other in zip(results, others, strict=True):
        assert one.state.model.parameters.tobytes() == other.state.model.parameters.tobytes()
        for name in ("cohort", "dropped", "failed", "bytes_up", "bytes_down", "metrics"):
            assert getattr(one, name) == getattr(other, name), name


@pytest.fixture(scope="module")
def alone() -> list[RoundResult]:
    """The run in this process."""
    results = run()
    assert all(not result.dropped and BAD in result.cohort for result in results[1:3])
    return results


# One model


@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_never_shows(alone, workers):
    alike(run(workers=workers), alone)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_nor_does_it_where_clients_train_together(alone, workers):
    alike(run(Together(), workers=workers), alone)


def test_one_worker_in_a_process_of_its_own_gives_the_same(alone):
    alike(run(workers=1, client_timeout=60), alone)


def test_state_in_a_folder_gives_the_same(alone, tmp_path):
    alike(run(workers=2, state_folder=tmp_path), alone)
    assert len(list(tmp_path.iterdir())) == 24


def test_spawned_workers_give_the_same(alone):
    alike(run(MeanTrainer(), workers=2, start_method="spawn"), alone)


@pytest.mark.parametrize("pipeline", ["float32()", "chain(clip(1.0), random_k(0.3), quantize(4))"])
def test_other_pipelines_give_the_same(pipeline):
    alike(run(pipeline=pipeline, workers=2), run(pipeline=pipeline))


def test_a_second_run_on_the_same_grid_starts_afresh():
    trainer, data = MeanTrainer(), clients(6)
    models = []
    for workers in (1, 2):
        strategies = [fedavg(sampling=uniform(n), pipeline=parse_pipeline("float32()")) for n in (3, 5)]
        app = client_app(trainer, data, strategies[0])
        with InProcessGrid(app, 6, names=data.names, workers=workers) as grid:
            for strategy in strategies:
                *_, last = rounds(grid, strategy, begin(strategy, trainer.initial(0)), LAYOUT, num_rounds=2)
                models.append(last.state.model.parameters.tobytes())
    assert models[:2] == models[2:]
    assert models[0] != models[1]


# Processes that end


@pytest.mark.parametrize("trainer", [Odd, Together])
@pytest.mark.parametrize("act", [kill, lambda: os._exit(3)], ids=["kill -9", "exit"])
def test_a_worker_that_dies_once_is_replaced_and_its_clients_run_again(alone, tmp_path, act, trainer):
    alike(run(trainer(once(tmp_path, act)), workers=2), alone)
    assert (tmp_path / "once").exists()


def test_workers_killed_from_outside_at_any_moment_change_nothing(alone):
    trainer, data = Odd(lambda: time.sleep(0.4), rounds=(1, 2, 3, 4)), clients(24)
    strategy = fedavg(pipeline=parse_pipeline(STATEFUL), sampling=uniform(20), local=LocalTraining(epochs=2))
    app = client_app(trainer, data, strategy)
    done = threading.Event()
    killed = []

    def hunt() -> None:
        random = rng.generator(0, "which worker to kill")
        while not done.wait(0.25) and len(killed) < 4:
            if alive := own_processes():
                os.kill(int(alive[random.integers(len(alive))]), signal.SIGKILL)
                killed.append(time.monotonic())

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        with InProcessGrid(app, 24, names=data.names, workers=2) as grid:
            state = begin(strategy, trainer.initial(0))
            results = list(rounds(grid, strategy, state, LAYOUT, num_rounds=4))
    finally:
        done.set()
        hunter.join()
    assert killed
    # Killed often enough, an innocent client may be taken for the guilty one; then it is dropped by name.
    if not any(result.dropped for result in results):
        alike(results, alone)


@pytest.mark.parametrize("trainer", [Odd, Together])
@pytest.mark.parametrize(
    ("act", "says"),
    [
        (kill, "it failed: its process was killed (SIGKILL), perhaps for lack of memory"),
        (lambda: os._exit(3), "it failed: its process ended with exit code 3"),
    ],
    ids=["kill -9", "exit"],
)
def test_a_client_that_ends_its_process_each_time_fails_by_name(trainer, act, says):
    results = run(trainer(act), workers=2)
    assert [result.dropped for result in results] == [{}, {BAD: says}, {}, {}]
    assert not any(result.failed for result in results)
    without = run(Odd(lambda: 1 / 0))
    assert results[-1].state.model.parameters.tobytes() == without[-1].state.model.parameters.tobytes()


@pytest.mark.parametrize("trainer", [Odd, Together])
def test_a_client_that_hangs_is_stopped_and_fails_by_name(trainer):
    began = time.monotonic()
    results = run(trainer(lambda: time.sleep(600)), workers=2, client_timeout=0.4)
    assert [result.dropped for result in results] == [
        {}, {BAD: "it failed: it was stopped: it took longer than 0.4 s"}, {}, {},
    ]  # fmt: skip
    assert time.monotonic() - began < 60


def too_much() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**33, hard))
    try:
        np.ones(2**34, np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def raises() -> None:
    raise ValueError("the sensor is unplugged")


@pytest.mark.parametrize("trainer", [Odd, Together])
@pytest.mark.parametrize(
    ("act", "says"),
    [
        (raises, "ValueError: the sensor is unplugged"),
        (lambda: sys.exit(3), "SystemExit: 3"),
        (too_much, "MemoryError"),
    ],
    ids=["raises", "sys.exit", "too much memory"],
)
def test_a_client_that_fails_does_so_by_name_and_the_others_go_on(trainer, act, says, caplog):
    results = run(trainer(act), workers=2)
    assert [list(result.dropped) for result in results] == [[], [BAD], [], []]
    assert says in results[1].dropped[BAD]
    alike(results, run(Odd(act)))
    assert "client 3 failed" in caplog.text, "what a worker logs is logged here"


def test_garbage_from_one_client_drops_it_by_name():
    strategy, data = fedavg(sampling=uniform(6)), clients(6)
    app = client_app(MeanTrainer(), data, strategy)

    def node(message: Message, context: Context) -> Message:
        reply = app(message, context)
        if context.node_config["partition-id"] == 3:
            return Message(RecordDict({"nonsense": ConfigRecord({"a": 1})}), reply_to=message)
        return None if context.node_config["partition-id"] == 4 else reply  # type: ignore[return-value]

    with InProcessGrid(node, 6, names=data.names, workers=2) as grid:
        state = begin(strategy, MeanTrainer().initial(0))
        (result,) = rounds(grid, strategy, state, LAYOUT, num_rounds=1)
    assert sorted(result.dropped) == ["client-003", "client-004"]
    assert "it must have" in result.dropped["client-003"]
    assert "returned NoneType" in result.dropped["client-004"]


def test_threads_that_a_client_leaves_behind_do_no_harm(alone):
    def leave() -> None:
        threading.Thread(target=time.sleep, args=(600,)).start()

    alike(run(Odd(leave), workers=2), alone)


def test_workers_that_cannot_start_are_told_and_not_tried_for_ever(capfd):
    def app(message: Message, context: Context) -> Message:
        return Message(RecordDict(), reply_to=message)

    app.unpicklable = Unreadable()  # type: ignore[attr-defined]
    with (
        pytest.raises(RuntimeError, match="do not start: its process ended with exit code 1"),
        InProcessGrid(app, 2, workers=1, client_timeout=60, start_method="spawn") as grid,
    ):
        grid.send_and_receive([Message(RecordDict(), node, "train") for node in grid.get_node_ids()])
    assert own_processes() == []


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_an_exception_or_an_interrupt_outside_ends_all_processes(error):
    def main() -> None:
        with InProcessGrid(ClientApp(), 2, workers=2) as grid:
            ids = grid.push_messages([Message(RecordDict(), node, "train") for node in grid.get_node_ids()])
            next(iter(grid.pull_messages(ids)))
            assert len(own_processes()) == 2
            raise error

    with pytest.raises(error):
        main()
    assert own_processes() == []


def test_a_run_that_is_left_early_ends_all_processes():
    trainer, data = Odd(), clients(12)
    strategy = fedavg(sampling=uniform(8))
    app = client_app(trainer, data, strategy)
    with InProcessGrid(app, 12, names=data.names, workers=2) as grid:
        for result in rounds(grid, strategy, begin(strategy, trainer.initial(0)), LAYOUT, num_rounds=9):
            assert len(own_processes()) == 2
            if result.round == 2:
                break
    assert own_processes() == []


SCRIPT = """
import os, sys, time
from flwr.app import Message, RecordDict
from hedgerow.simulation.grid import InProcessGrid

def app(message, context):
    # In one piece: print may write the line's end apart, and the other worker's number between.
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(600)

with InProcessGrid(app, 2, workers=2) as grid:
    print(len(grid.send_and_receive([Message(RecordDict(), node, "train") for node in grid.get_node_ids()])))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent_however_it_ends(number):
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline()) for _ in range(2)]
        try:
            for _ in range(30):
                # Python loses an interrupt that comes in the middle of a fork.
                process.send_signal(number)
                time.sleep(0.5)
                if not any(Path(f"/proc/{pid}").exists() for pid in pids):
                    break
            assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
            process.wait(30)
        finally:
            process.kill()
        assert process.stderr is not None
        assert "resource_tracker" not in process.stderr.read()


# Any Flower app


def test_flowers_strategies_give_the_same_models_on_workers(tmp_path):
    models = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.npz"
        grid = InProcessGrid(flower_apps.client_app(), flower_apps.CLIENTS, workers=workers)
        run_server_app(flower_apps.server_app(out), grid)
        models.append(dict(np.load(out)))
    assert sorted(models[0]) == ["fedadam", "fedavg", "krum", "unordered"]
    for name in ("fedadam", "fedavg", "krum"):
        assert models[0][name].tobytes() == models[1][name].tobytes(), name


def slow(message: Message, context: Context) -> Message:
    began = time.monotonic()
    time.sleep(0.3)
    times = MetricRecord({"began": began, "ended": time.monotonic(), "pid": os.getpid()})
    return Message(RecordDict({"times": times}), reply_to=message)


def test_clients_run_side_by_side_and_replies_come_in_order():
    with InProcessGrid(slow, 4, workers=2) as grid:
        messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
        replies = grid.send_and_receive(messages)
    asked = [message.metadata.message_id for message in messages]
    assert [reply.metadata.reply_to_message_id for reply in replies] == asked
    times = [reply.content["times"] for reply in replies]
    assert len({time["pid"] for time in times}) == 2
    assert times[1]["began"] < times[0]["ended"]


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
        assert 2 <= len(replies) < 12
        rest = list(grid.pull_messages([m.metadata.message_id for m in messages[len(replies) :]]))
    assert len(rest) + len(replies) == 12
    assert all(reply.has_content() for reply in (*replies, *rest))


def test_a_flower_client_that_dies_or_hangs_is_an_error_reply():
    def odd(message: Message, context: Context) -> Message:
        match context.node_config["partition-id"]:
            case 0:
                os._exit(7)
            case 1:
                time.sleep(600)
        return slow(message, context)

    with InProcessGrid(odd, 3, workers=2, client_timeout=1.0) as grid:
        replies = grid.send_and_receive(
            [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
        )
    assert [reply.has_error() for reply in replies] == [True, True, False]
    assert replies[0].error.reason == "its process ended with exit code 7"
    assert "longer than 1 s" in str(replies[1].error.reason)


# Arguments


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"client_timeout": -1}, "client_timeout is -1"),
        ({"memory_limit": 0}, "memory_limit is 0"),
        ({"start_method": "forkserver"}, "start_method is 'forkserver'"),
        ({"names": ["a"]}, "there are 1 names and 3 clients"),
    ],
)
def test_impossible_arguments_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        InProcessGrid(ClientApp(), 3, **options)


def faults(message: Message, context: Context) -> Message:
    """Pages that the kernel had to clear for a large array that is made and freed again and again."""
    counts = []
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**22)  # 32 MiB: more than the C library keeps by itself
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return Message(
        RecordDict({"faults": MetricRecord({"first": counts[0], "last": counts[-1]})}), reply_to=message
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of other systems has no such setting")
def test_a_worker_keeps_the_memory_that_a_step_frees_for_the_next():
    with InProcessGrid(faults, 1, workers=2) as grid:
        (reply,) = grid.send_and_receive([Message(RecordDict(), n, "train") for n in grid.get_node_ids()])
    assert reply.content["faults"]["last"] < 100 < reply.content["faults"]["first"]
