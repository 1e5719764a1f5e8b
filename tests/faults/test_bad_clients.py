"""A client that raises, hangs, answers nonsense, exits, takes all memory or leaves threads behind.

It fails by name, the round ends, and the run goes on; each case on every way of
running clients: rounds that are summed, messages of a Flower app, `hedgerow simulate`.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.types import Fit, RoundResult
from tests.support import LAYOUT, MeanTrainer, clients

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")

BAD = "client-003"
MEMORY = 300 * 10**6
OWN_PROCESS = {"workers": 1, "client_timeout": 2.0, "memory_limit": MEMORY}
TWO_WORKERS = {**OWN_PROCESS, "workers": 2}

hoard: list[Any] = []
released = threading.Event()


def raises() -> None:
    raise ValueError("the sensor is unplugged")


def hangs() -> None:
    time.sleep(600)


def sys_exit() -> None:
    sys.exit(3)


def os_exit() -> None:
    os._exit(3)


def takes_all_memory() -> None:
    """In small pieces, and never lets them go."""
    while True:
        hoard.append(np.ones(10**6, np.uint8))


def takes_all_memory_in_torch() -> None:
    import torch

    while True:
        hoard.append(torch.ones(10**6))


def too_much_at_once() -> None:
    np.ones(10**15, np.uint8)


def spins() -> None:
    while not released.is_set():
        sum(range(1000))


def leaves_threads() -> None:
    """One that waits and is no daemon, and one that works."""
    threading.Thread(target=released.wait, args=(600,), name="forgotten").start()
    threading.Thread(target=spins, name="busy", daemon=True).start()


FAILS = [
    (raises, "ValueError: the sensor is unplugged"),
    (sys_exit, "SystemExit: 3"),
    (too_much_at_once, "MemoryError"),
]
ENDS = [
    (hangs, "it was stopped: it took longer than 2 s"),
    (os_exit, "its process ended with exit code 3"),
    (takes_all_memory, "it needs more memory than the 300 MB allowed"),
]


def limits(act: Callable[[], Any], workers: int) -> dict[str, Any]:
    """On a busy machine it takes some time to fill the memory."""
    return {**OWN_PROCESS, "workers": workers, "client_timeout": 2.0 if act is hangs else 20.0}


# With a limit, whoever runs out of memory has its process replaced.
FAILS_ANYWHERE = [
    *((act, says, {"workers": 1}) for act, says in FAILS),
    *((act, says, {"workers": 2}) for act, says in FAILS),
    *((act, says, limits(act, 1)) for act, says in [*FAILS[:2], *ENDS]),
    *((act, says, limits(act, 2)) for act, says in [*FAILS[:2], *ENDS]),
]
NAMES = [f"{act.__name__}-{len(options)}-{options['workers']}" for act, _, options in FAILS_ANYWHERE]


@pytest.fixture(autouse=True)
def release() -> Iterator[None]:
    """Let the threads go that a client has left in this process."""
    released.clear()
    yield
    released.set()
    hoard.clear()


class Odd(MeanTrainer):
    """Does something odd for one client, in round 2, before it trains."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(LAYOUT)
        object.__setattr__(self, "act", act)

    def fit(self, model, data, local, *, seed, round, client) -> Fit:
        if client == BAD and round == 2:
            self.act()
        return super().fit(model, data, local, seed=seed, round=round, client=client)


class Together(Odd):
    """Trains several at once."""

    def fit_many(self, model, clients, local, *, seed, round) -> Iterator[tuple[str, Fit | Exception]]:
        for name, data in clients:
            try:
                yield name, self.fit(model, data, local, seed=seed, round=round, client=name)
            except (ValueError, MemoryError) as error:
                yield name, error


def run(trainer: MeanTrainer, **options: Any) -> list[RoundResult]:
    """Three rounds of all clients, which carry a residual along."""
    data = clients(8)
    strategy = hr.fedavg(pipeline=hr.error_feedback(hr.top_k(0.2), hr.quantize(8)))
    app = client_app(trainer, data, strategy)
    with InProcessGrid(app, 8, names=data.names, **options) as grid:
        state = begin(strategy, trainer.initial(0))
        return list(rounds(grid, strategy, state, LAYOUT, num_rounds=3))


def models(results: list[RoundResult]) -> list[bytes]:
    return [result.state.model.parameters.tobytes() for result in results]


# Rounds that are summed


@pytest.fixture(scope="module")
def without() -> list[bytes]:
    """The models where the client only raises."""
    return models(run(Odd(raises)))


@pytest.mark.parametrize(("act", "says", "options"), FAILS_ANYWHERE, ids=NAMES)
def test_it_fails_by_name_in_a_round_and_the_others_count(without, act, says, options):
    results = run(Odd(act), **options)
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert says in results[1].dropped[BAD]
    assert not any(result.failed for result in results)
    assert models(results) == without


@pytest.mark.slow
@pytest.mark.parametrize(("act", "says"), [*FAILS[:2], *ENDS])
def test_of_clients_that_are_trained_together_only_it_fails(without, act, says):
    results = run(Together(act), **limits(act, 2))
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert says in results[1].dropped[BAD]
    assert models(results) == without


@pytest.mark.slow
def test_torch_that_takes_all_memory_is_told_as_such(without):
    options = {"workers": 1, "memory_limit": MEMORY}
    results = run(Odd(takes_all_memory_in_torch), **options)
    assert "it needs more memory than the 300 MB allowed" in results[1].dropped[BAD]
    assert models(results) == without


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2}, OWN_PROCESS, TWO_WORKERS])
def test_threads_that_it_leaves_behind_are_named_and_change_nothing(options, caplog):
    assert models(run(Odd(leaves_threads), **options)) == models(run(MeanTrainer()))
    assert "client 3 left 2 threads behind: forgotten, busy" in caplog.text


def test_threads_left_behind_by_one_of_many_at_once_are_told_too(caplog):
    assert models(run(Together(leaves_threads), workers=2)) == models(run(MeanTrainer()))
    assert "at once left 2 threads behind: forgotten, busy" in caplog.text


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2}, TWO_WORKERS])
@pytest.mark.parametrize("fit", ["nonsense", None, Fit(np.full(40, np.nan, np.float32), np.empty(0), 3, {})])
def test_garbage_from_it_drops_it_by_name(without, options, fit):
    class Garbage(Odd):
        def fit(self, model, data, local, *, seed, round, client):
            good = super().fit(model, data, local, seed=seed, round=round, client=client)
            return fit if client == BAD and round == 2 else good

    results = run(Garbage(lambda: None), **options)
    assert [list(result.dropped) for result in results] == [[], [BAD], []]
    assert models(results)[:2] == without[:2]


def test_a_client_whose_neighbour_hoards_memory_is_run_again_in_a_new_process(tmp_path):
    """Three quarters of what is allowed, kept by one client; the next one needs half, and gets it."""
    steps = {"client-002": 0.75, BAD: 0.5}

    class Hoarder(MeanTrainer):
        def fit(self, model, data, local, *, seed, round, client):
            if share := steps.get(client):
                block = np.ones(int(share * MEMORY), np.uint8)
                if client == "client-002":
                    hoard.append(block)
                with (tmp_path / client).open("a") as file:
                    file.write(f"{os.getpid()}\n")
            return super().fit(model, data, local, seed=seed, round=round, client=client)

    results = run(Hoarder(), workers=1, memory_limit=MEMORY)
    assert [dict(result.dropped) for result in results] == [{}, {}, {}]
    assert models(results) == models(run(MeanTrainer()))
    of_hoarder, of_other = (set((tmp_path / name).read_text().split()) for name in ("client-002", BAD))
    assert len(of_hoarder | of_other) > 1


def test_a_client_that_was_slow_beside_threads_left_behind_has_another_go(tmp_path):
    """Only beside them it hangs: it is run again in a process without them."""

    class Crowded(MeanTrainer):
        def fit(self, model, data, local, *, seed, round, client):
            if client == "client-002" and round == 2:
                leaves_threads()
            elif client == BAD and round == 2 and any(t.name == "busy" for t in threading.enumerate()):
                (tmp_path / "slow").touch()
                time.sleep(600)
            return super().fit(model, data, local, seed=seed, round=round, client=client)

    results = run(Crowded(), workers=1, client_timeout=2.0)
    assert (tmp_path / "slow").exists()
    assert [dict(result.dropped) for result in results] == [{}, {}, {}]
    assert models(results) == models(run(MeanTrainer()))


# Messages of a Flower app


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


# The command line


APP = """
import os, sys, threading, time
import numpy as np
from flwr.app import ArrayRecord, MetricRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

server_app, client_app, hoard = ServerApp(), ClientApp(), []

@server_app.main()
def main(grid, context):
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=8, min_available_nodes=8)
    result = strategy.start(grid, ArrayRecord([np.zeros(2, np.float32)]), num_rounds=2)
    print("RESULT", result.arrays.to_numpy_ndarrays()[0].tolist(), flush=True)

@client_app.train()
def train(message, context):
    match context.node_config["partition-id"]:
        case 0: raise ValueError("no data")
        case 1: time.sleep(600)
        case 2: return "nonsense"
        case 3: sys.exit(3)
        case 4: os._exit(3)
        case 5:
            while True: hoard.append(np.ones(10**6, np.uint8))
        case 6:
            threading.Thread(target=time.sleep, args=(600,), name="forgotten").start()
    model = message.content["arrays"].to_numpy_ndarrays()[0] + 1
    reply = {"arrays": ArrayRecord([model]), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(reply), reply_to=message)
"""
PYPROJECT = """
[project]
name = "bad"
version = "1.0.0"
[tool.flwr.app]
publisher = "hedgerow"
[tool.flwr.app.components]
serverapp = "bad:server_app"
clientapp = "bad:client_app"
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_of_them_in_one_app_are_named_and_the_two_good_ones_make_the_model(workers, tmp_path):
    (tmp_path / "bad.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    command = ["simulate", str(tmp_path), "--clients", "8", "--workers", workers]
    done = subprocess.run(
        [
            sys.executable, "-c", "from hedgerow.experiments.cli import main; main()",
            *command, "--client-timeout", "2", "--memory-limit", "300",
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "RESULT [2.0, 2.0]" in done.stdout
    assert "failed: " + ", ".join(f"client {i} (2x)" for i in range(6)) in done.stdout
    assert "client 6 left 1 thread behind: forgotten" in done.stderr
