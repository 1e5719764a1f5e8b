"""Processes of a coordinator that was killed are known again by when they began, and ended; no others are."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from hedgerow.coordinator import processes
from hedgerow.coordinator.beats import beat_file
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.processes import Process, end, end_left_over, write_down
from hedgerow.locks import Holder

PARENT = (
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).wait()"
)


@pytest.fixture
def folder(tmp_path) -> FederationFolder:
    return FederationFolder.make(tmp_path / "federation")


@pytest.fixture
def process(folder) -> Iterator[Process]:
    made = Process(folder, "sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], {})
    made.start()
    yield made
    end([made.pid], patience=0.0)
    wait(made.ended)


def wait(ready: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_was_left_over_is_ended_once(folder, process):
    write_down(folder, [process])
    assert end_left_over(folder) == ["sleeper"]
    wait(process.ended)
    assert process.ended() == "was killed by signal 15"
    assert end_left_over(folder) == []


def test_a_process_that_has_another_ones_number_is_left_alone(folder, process):
    write_down(folder, [process])
    found = folder.read(processes.FILE, {})
    found["sleeper"]["began"] += 1
    folder.write(processes.FILE, found)
    assert end_left_over(folder) == []
    assert process.running


def test_who_does_not_end_when_asked_is_killed_with_whom_it_has_started(folder):
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {PARENT}"
    made = Process(folder, "stubborn", [sys.executable, "-c", stubborn], {})
    made.start()
    wait(lambda: len(processes._family({made.pid})) == 2)
    family = processes._family({made.pid})
    end([made.pid], patience=0.2)
    wait(made.ended)
    assert made.ended() == f"was killed by signal {int(signal.SIGKILL)}"
    wait(lambda: all(Holder.of(pid).dead for pid in family))


def test_a_long_log_begins_anew_and_the_one_before_is_kept(folder, process, monkeypatch):
    monkeypatch.setattr(processes, "_LARGEST_LOG", 10)
    process.log.write_text("x" * 11)
    process.trim_log()
    assert process.log.read_text() == ""
    assert process.log.with_suffix(".log.1").read_text() == "x" * 11


def test_a_process_that_hangs_is_killed_and_one_that_works_is_not(folder, monkeypatch):
    monkeypatch.setattr(processes, "SILENT_SECONDS", 0.5)
    file = beat_file(folder, "worker")
    works = f"import os, time\nwhile True: os.utime({str(file)!r}); time.sleep(0.02)"
    made = Process(folder, "worker", [sys.executable, "-c", works], {})
    made.start()
    try:
        first = file.stat().st_mtime_ns
        wait(lambda: file.stat().st_mtime_ns != first)
        made.end_if_it_hangs()  # has seen its first sign of life
        wait(lambda: not made.end_if_it_hangs() and file.stat().st_mtime_ns != first)
        os.kill(made.pid, signal.SIGSTOP)
        told: list[str] = []
        wait(lambda: told.append(made.end_if_it_hangs()) or told[-1])
        assert told[-1].startswith("the worker has given no sign of life for")
        wait(made.ended)
        assert made.ended() == "was killed by signal 9"
    finally:
        end([made.pid], patience=0.0)
        wait(made.ended)


def test_a_superlink_that_nobody_wrote_down_is_ended_by_the_database_that_it_was_given(folder, tmp_path):
    program = tmp_path / processes.SUPERLINK
    program.write_text("import time; time.sleep(600)")
    command = [sys.executable, str(program), "--database"]
    ours = Process(folder, "superlink", [*command, str(folder.path / processes.DATABASE)], {})
    another = Process(folder, "another", [*command, str(tmp_path / "another" / processes.DATABASE)], {})
    for each in (ours, another):
        each.start()
    try:
        wait(lambda: processes._command_of(ours.pid) and processes._command_of(another.pid))
        assert end_left_over(folder) == [f"superlink {ours.pid}"]
        wait(ours.ended)
        assert another.running
        assert processes.started_by(os.getpid(), processes.SUPERLINK) == {another.pid}
    finally:
        end([another.pid], patience=0.0)
        wait(another.ended)
