"""A disk that is full for a while, and processes that stop without dying: the run goes on by itself."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.engines.federation.campaign import check_model
from tests.engines.federation.survival import MOST_LATE, Survivors, survivors

DEADLINE = 6.0


@contextmanager
def small_disk(place: Path, megabytes: int = 128) -> Iterator[Path]:
    """A file system of that size; only root can make one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take all the room there is."""
    file = place / "filling"
    with suppress(OSError), file.open("wb", buffering=0) as out:
        while out.write(bytes(65536)):
            pass
    with suppress(OSError), file.open("ab", buffering=0) as out:
        while out.write(b"x"):
            pass
    return file


@pytest.mark.long
@pytest.mark.parametrize("way", ["error feedback", "masked"])
def test_while_the_disk_is_full_nothing_is_lost_and_with_room_the_run_goes_on(tmp_path, way):
    with small_disk(tmp_path / "disk") as disk, survivors(disk / "home", way) as found:
        filling = fill(disk)
        full_at = found.real.rounds()
        time.sleep(30)
        filling.unlink()
        found.wait_for_a_round("a full disk")
        assert found.real.rounds() > full_at
        found.finish()
        assert check_model(found, way) == []


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.long
def test_without_a_device_that_stops_a_round_ends_at_its_deadline(tmp_path):
    with survivors(tmp_path, "error feedback", overrides=[f"server.deadline={DEADLINE}"]) as found:
        with stopped(found.process("attic")):
            found.wait_for_a_round("a round that was on")
            found.wait_for_a_round("a round without it")
        late = [line for line in found.real.run.rounds() if line["dropped"]]
        assert [set(line["dropped"]) for line in late] == [{"attic"}] * len(late)
        assert late
        assert max(line["seconds"] for line in late) < DEADLINE + 5


@pytest.mark.long
def test_a_process_that_stops_without_dying_is_noticed_and_the_run_goes_on(tmp_path):
    with survivors(tmp_path, "error feedback") as found:
        for role in ("gateway", "page", "serverapp", "superlink"):
            with stopped(found.process(role)):
                goes_on(found, role)
        found.finish()
        assert check_model(found, "error feedback") == []
        for told in ("the gateway", "the page", "the ServerApp"):
            assert f"{told} has given no sign of life" in found.real.said
        assert "the superlink has not answered" in found.real.said


def goes_on(found: Survivors, role: str) -> None:
    """Without the page, rounds go on; what is lost with the others is no more than it may be."""
    before = found.process(role)
    found.wait_for_a_round(role)
    found.real.wait(lambda: role == "serverapp" or found.process(role) != before, f"another {role}", 120)
    assert found.losses[-1].seconds <= MOST_LATE[role]


@pytest.mark.long
def test_told_to_end_while_the_superlink_does_not_answer_all_ends_soon(tmp_path):
    with survivors(tmp_path, "error feedback") as found, stopped(found.process("superlink")):
        time.sleep(3)
        began = time.monotonic()
        found.keep_no_more()
        assert found.real.up is not None
        found.real.up.send_signal(signal.SIGTERM)
        assert found.real.up.wait(timeout=60) == 130
        assert time.monotonic() - began < 20
