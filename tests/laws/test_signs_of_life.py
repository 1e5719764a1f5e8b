"""A process that hangs is told from one that is slow, and from a machine that slept."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.coordinator.beats import SILENT_SECONDS, Silence, beating


class Clock:
    """Two clocks: the supervisor's and that of files; a wrong clock of the machine changes nothing."""

    def __init__(self, file: Path) -> None:
        self.now, self.touched, self._file = 0.0, 10**9, file
        self.silence = Silence(file, lambda: self.now)
        self.silence.begin()

    def beat(self, by: int = 10**9) -> None:
        self.touched += by
        os.utime(self._file, ns=(self.touched, self.touched))

    def look(self, after: float) -> float:
        self.now += after
        return self.silence.seconds()


def silent(clock: Clock, seconds: float, tick: float = 0.25) -> float:
    found = 0.0
    for _ in range(round(seconds / tick)):
        found = clock.look(tick)
    return found


def test_nothing_is_said_of_a_process_before_its_first_sign_of_life(tmp_path) -> None:
    clock = Clock(tmp_path / "beats" / "gateway")
    assert silent(clock, 600) == 0
    clock.beat()
    assert silent(clock, 10) == 9.75


def test_a_process_that_stops_is_silent_for_as_long_as_it_is(tmp_path) -> None:
    clock = Clock(tmp_path / "beats" / "gateway")
    for _ in range(3):
        clock.beat()
        assert silent(clock, 1.0) < 1
    assert silent(clock, 20) > SILENT_SECONDS
    clock.silence.begin()
    assert silent(clock, 60) == 0, "it was started again, and has not come to its first sign"


@given(st.lists(st.floats(0, 3600), max_size=10), st.integers(-(10**12), 10**12).filter(bool))
def test_a_machine_that_slept_or_whose_clock_was_set_gives_no_false_alarm(
    tmp_path_factory, naps, set_by
) -> None:
    clock = Clock(tmp_path_factory.mktemp("beats") / "gateway")
    clock.beat()
    clock.look(0.25)
    for nap in naps:
        assert clock.look(nap) <= 1.0, "as much as one look, whatever the clock says"
        clock.beat(set_by)
        assert clock.look(0.25) == 0


def test_a_thread_gives_signs_of_life_as_long_as_its_block_lasts(tmp_path) -> None:
    file = tmp_path / "beats" / "serverapp"
    silence = Silence(file)
    silence.begin()
    os.utime(file, ns=(0, 0))
    with beating(file):
        assert file.stat().st_mtime_ns > 0
    os.utime(file, ns=(0, 0))
    assert file.stat().st_mtime_ns == 0
    file.unlink()
    with beating(file):  # no room for it on a full disk: nobody looks, and nothing fails
        assert silence.seconds() == 0
