"""The processes of a federation: starting them, finding them after their parent was killed, ending them."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import final

from hedgerow.coordinator.beats import SILENT_SECONDS, Silence, beat_file
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.files import append_private
from hedgerow.locks import Holder, holder_of

FILE, DATABASE = "processes.json", "link.db"
SUPERLINK = "flower-superlink"

_PATIENCE_SECONDS = 8.0
_PAUSE = 0.05
_STABLE_SECONDS = 20.0
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
_LARGEST_LOG = 20 * 2**20


@final
class Process:
    """A program to keep running; its output is in `logs/NAME.log`."""

    def __init__(
        self, folder: FederationFolder, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._folder, self.name = folder, name
        self._command, self._environment = command, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._began, self._wait = 0.0, _FIRST_WAIT
        self._silence = Silence(beat_file(folder, name))

    @property
    def log(self) -> Path:
        """The file of its output."""
        return self._folder.logs / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self, pause: Callable[[float], object] = time.sleep) -> None:
        """Start or restart it; after each quick end, it waits longer first."""
        if self._process is not None:
            stable = time.monotonic() - self._began > _STABLE_SECONDS
            self._wait = _FIRST_WAIT if stable else min(2 * self._wait, _LONGEST_WAIT)
            pause(self._wait)
        self._silence.begin()
        with append_private(self.log) as log:
            self._process = subprocess.Popen(
                list(self._command), env=dict(self._environment), cwd=self._folder.path,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._began = time.monotonic()

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and not self.ended()

    def ended(self) -> str:
        """How it ended; empty while it runs, or before it was started."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return ""
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"

    def end_if_it_hangs(self) -> str:
        """Kill it if it gives no heartbeat; returns what to report, empty if it works."""
        if not self.running or (silent := self._silence.seconds()) < SILENT_SECONDS:
            return ""
        end([self.pid], patience=0.0)
        return f"the {self.name} has given no sign of life for {silent:.0f} s"

    def trim_log(self) -> None:
        """Start a new log if it is long, and keep the previous one."""
        with suppress(OSError):  # such as a full disk
            if self.log.stat().st_size > _LARGEST_LOG:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)  # writers append to the end

    def last_lines(self, number: int = 5) -> str:
        """The last lines of its output."""
        with suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-number:])
        return ""


def write_down(folder: FederationFolder, processes: Iterable[Process]) -> None:
    """Record the running processes, so that they can be ended if this one is killed."""
    found = {each.name: asdict(Holder.of(each.pid)) for each in processes if each.running}
    folder.write(FILE, found)


def end_left_over(folder: FederationFolder) -> list[str]:
    """End processes that an earlier `hedgerow up` started and could not end; returns their names."""
    left = {name: Holder(**each) for name, each in folder.read(FILE, {}).items()}
    boot = Holder.this().boot
    alive = {name: each for name, each in left.items() if each.boot == boot and not each.dead}
    if unknown := _that_run(SUPERLINK, folder.path / DATABASE) - {each.pid for each in alive.values()}:
        alive |= {
            f"superlink {pid}": Holder.of(pid) for pid in unknown
        }  # it was killed before it could record them
    end([each.pid for each in alive.values()])
    folder.write(FILE, {})
    return sorted(alive)


def end(pids: Iterable[int], *, patience: float = _PATIENCE_SECONDS, family: bool = True) -> None:
    """End processes and their descendants: ask first, and kill those that stay."""
    asked = _family(set(pids)) if family else set(pids)
    _signal(asked, signal.SIGTERM)
    until = time.monotonic() + patience
    while (left := {pid for pid in asked if _runs(pid)}) and time.monotonic() < until:
        time.sleep(_PAUSE)
    _signal(left, signal.SIGKILL)


def started_by(root: int, program: str) -> set[int]:
    """Processes that run a program and descend from a given process."""
    return {pid for pid in _family({root}) - {root} if _runs_program(_command_of(pid), program)}


def _that_run(program: str, path: Path) -> set[int]:
    """Processes that run a program with a path as an argument."""
    commands = {int(entry.name): _command_of(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
    return {pid for pid, each in commands.items() if str(path) in each and _runs_program(each, program)}


def _runs_program(command: Sequence[str], program: str) -> bool:
    return any(Path(each).name == program for each in command[:3])


def _command_of(pid: int) -> Sequence[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def _family(roots: set[int]) -> set[int]:
    """These processes and all their descendants, as far as `/proc` tells."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _runs(pid: int) -> bool:
    return not Holder.of(pid).dead


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def stop(folder: FederationFolder) -> Sequence[str]:
    """Ask the process that holds a federation to end, and end what is left over; returns what was ended.

    Raises:
        FederationError: no process holds it.
    """
    holder = holder_of(folder.path)
    if holder is None or holder.dead:
        left = end_left_over(folder)
        if not left:
            raise FederationError(f"no federation is running in {folder.path}")
        return left
    if not holder.here:
        raise FederationError(f"the federation is running on {holder.host}; stop it there")
    end([holder.pid], patience=60.0, family=False)
    return ["hedgerow up"]
