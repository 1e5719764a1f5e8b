"""Worker processes start, keep their memory, and end with whoever started them."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hedgerow import rng
from hedgerow.client.app import client_app
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import fedavg, uniform
from tests.engines.several_processes import alone, own_processes, run
from tests.odd import Odd, alike
from tests.support import LAYOUT, clients

__all__ = ["alone"]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux"),
    pytest.mark.usefixtures("no_process_is_left"),
]


def test_workers_killed_from_outside_at_any_moment_change_nothing(alone):
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
        results = run(Odd(lambda: time.sleep(0.4), rounds=(1, 2, 3)), workers=2)
    finally:
        done.set()
        hunter.join()
    assert killed
    # Killed often enough, an innocent client may be taken for the guilty one; then it is dropped by name.
    if not any(result.dropped for result in results):
        alike(results, alone)


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
        for result in rounds(
            grid, strategy, begin(strategy, trainer.initial(0), trainer.layout), LAYOUT, num_rounds=9
        ):
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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"client_timeout": -1}, "client_timeout is -1"),
        ({"memory_limit": 0}, "memory_limit is 0"),
        ({"start_method": "forkserver"}, "start_method is 'forkserver'"),
        ({"names": ["a"]}, "there are 1 names for 3 clients"),
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


def test_a_worker_keeps_the_memory_that_a_step_frees_for_the_next():
    with InProcessGrid(faults, 1, workers=2) as grid:
        (reply,) = grid.send_and_receive([Message(RecordDict(), n, "train") for n in grid.get_node_ids()])
    assert reply.content["faults"]["last"] < 100 < reply.content["faults"]["first"]
