"""One run at a time writes in a folder; what a killed one leaves does not block the next."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import hedgerow as hr
from hedgerow.locks import FILE, FolderInUse, Holder, hold
from tests import support

TRAINER, CLIENTS = support.MeanTrainer(), support.clients(3)

HOLD = """
import os, sys, time
from pathlib import Path
from hedgerow.locks import hold
with hold(Path(sys.argv[1])):
    parent = os.getpid()
    if "child" in sys.argv and os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        time.sleep(0.5)  # what it does still, without its parent
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""

RACE = """
import sys
from pathlib import Path
from hedgerow.locks import FolderInUse, hold
sys.stdin.readline()
try:
    with hold(Path(sys.argv[1])):
        print("won", flush=True)
        sys.stdin.readline()
except FolderInUse:
    print("refused", flush=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def held_elsewhere(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    process = start(HOLD, folder, *arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def run(folder: Path, rounds: int = 4, seed: int = 3):
    return hr.simulate(TRAINER, CLIENTS, hr.fedavg(), rounds=rounds, seed=seed, folder=folder)


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path) -> None:
    process = held_elsewhere(tmp_path)
    try:
        message = f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()}, since "
        with pytest.raises(FolderInUse, match=message):
            next(run(tmp_path))
        assert [p.name for p in tmp_path.iterdir()] == [FILE]
    finally:
        end(process)


def test_the_folder_of_a_process_that_was_killed_is_taken_over_and_left_clean(tmp_path) -> None:
    end(held_elsewhere(tmp_path))
    assert (tmp_path / FILE).exists()
    assert len(list(run(tmp_path))) == 4
    assert not (tmp_path / FILE).exists()


def test_what_a_killed_process_had_started_is_waited_for(tmp_path) -> None:
    process = held_elsewhere(tmp_path, "child")
    process.kill()
    process.wait()
    began = time.monotonic()
    with hold(tmp_path):
        assert time.monotonic() - began > 0.2, "a worker of the killed process may still write"
    process.communicate()


def test_of_many_that_take_a_folder_over_at_once_one_wins(tmp_path) -> None:
    end(held_elsewhere(tmp_path))
    racers = [start(RACE, tmp_path) for _ in range(4)]
    try:
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()
        said = sorted(racer.stdout.readline() for racer in racers if racer.stdout is not None)
        assert said == ["refused\n"] * 3 + ["won\n"]
    finally:
        for racer in racers:
            end(racer)


def test_a_number_that_another_process_has_by_now_is_not_taken_for_the_holder() -> None:
    this = Holder.this()
    assert not this.dead
    assert replace(this, began=this.began - 1).dead
    assert replace(this, began=this.began - 1, host="renamed").dead
    assert not replace(this, began=1, host="elsewhere", boot="other").dead, "nobody here can know"


def test_a_holder_on_another_machine_is_believed_and_the_remedy_is_told(tmp_path) -> None:
    elsewhere = replace(Holder.this(), host="elsewhere", boot="other")
    (tmp_path / FILE).write_text(json.dumps(asdict(elsewhere)))
    with pytest.raises(FolderInUse, match=rf"on elsewhere, since .*remove {tmp_path / FILE}"), hold(tmp_path):
        pytest.fail("two machines in one folder")
    (tmp_path / FILE).unlink()
    with hold(tmp_path):
        pass


def test_a_torn_lock_file_of_a_dead_process_is_taken_over(tmp_path) -> None:
    (tmp_path / FILE).write_text('{"pid": 12, "ho')
    with hold(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()


def test_a_stopped_process_still_holds_its_folder(tmp_path) -> None:
    process = held_elsewhere(tmp_path)
    try:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(FolderInUse), hold(tmp_path):
            pytest.fail("it can go on at any time")
    finally:
        end(process)


def test_of_two_runs_of_one_process_in_one_folder_the_later_one_goes_on(tmp_path) -> None:
    whole = [result.state.model.parameters.tobytes() for result in run(tmp_path / "whole")]
    first = run(tmp_path / "run")
    next(first)
    again = [result.state.model.parameters.tobytes() for result in run(tmp_path / "run")]
    assert again == whole
    with pytest.raises(FolderInUse, match="a later run of this process has taken over"):
        next(first)
    first.close()
    assert not (tmp_path / "run" / FILE).exists()


def test_a_loop_that_is_doing_a_round_keeps_its_folder(tmp_path) -> None:
    def evaluate(model: hr.Model) -> dict[str, float]:
        with pytest.raises(FolderInUse, match="in use by another run of this process"):
            next(run(tmp_path))
        return {"loss": 0.0}

    app = hr.client_app(TRAINER, CLIENTS, hr.fedavg())
    with hr.InProcessGrid(app, 3, names=CLIENTS.names) as grid:
        results = hr.train(
            grid, hr.fedavg(), TRAINER.initial(3), TRAINER.layout, num_rounds=2, folder=tmp_path,
            evaluate=evaluate,
        )  # fmt: skip
        assert len(list(results)) == 2
