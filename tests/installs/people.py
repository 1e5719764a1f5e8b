"""A federation's coordinator and devices as users of one machine, who cannot read each other's files."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.installs.environments import Environment

FIRST_UID = 61000


def alone() -> str:
    """Why everybody is one and the same user here; empty where each can be its own."""
    if os.geteuid() == 0:
        return ""
    return "only root can start a process as another user: everybody is this one"


@dataclass
class Person:
    """Somebody with a folder that is theirs alone, and an environment.

    Attributes:
        number: 0 for the coordinator.
        counted: commands that they gave.
    """

    name: str
    number: int
    home: Path
    environment: Environment
    counted: list[str] = field(default_factory=list)
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home.mkdir(mode=0o700)
        self.take(self.home)

    @property
    def uid(self) -> int:
        return os.geteuid() if alone() else FIRST_UID + self.number

    def take(self, place: Path) -> None:
        """What was brought here is theirs from now on."""
        os.chown(place, self.uid, -1 if alone() else self.uid)

    def bring(self, file: Path) -> Path:
        """Carry a file here, as on a stick."""
        copy = self.home / file.name
        shutil.copyfile(file, copy)
        copy.chmod(0o600)
        self.take(copy)
        return copy

    def write(self, name: str, text: str) -> Path:
        file = self.home / name
        file.write_text(text)
        file.chmod(0o600)
        self.take(file)
        return file

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Give a `hedgerow` command; what it says is in `NAME.log` of the folder above."""
        self.counted.append(" ".join(("hedgerow", *arguments)))
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [self.environment.hedgerow, *arguments], cwd=self.home, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, **self._as_user(),
            )  # fmt: skip
        self.running.append(process)
        return process

    def run(self, *arguments: str) -> str:
        """Give a command, and wait for its end."""
        process = self.start(*arguments)
        assert process.wait(300) == 0, self.said
        return self.said

    def python(self, code: str) -> str:
        """What Python says, run as this user; the name of the error where it raises one."""
        done = subprocess.run(
            [self.environment.python, "-c", code], cwd=self.home, capture_output=True, text=True, check=False,
            **self._as_user(),
        )  # fmt: skip
        return done.stdout + (done.stderr.splitlines() or [""])[-1].partition(":")[0]

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.name}.log"

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> list[int]:
        """End what they have started that still runs; the exit codes."""
        left = [process for process in self.running if process.poll() is None]
        for process in left:
            process.send_signal(signal.SIGTERM)
        for process in left:
            with suppress(subprocess.TimeoutExpired):
                process.wait(40)
            if process.poll() is None:
                process.kill()
                process.wait()
        return [process.returncode for process in left]

    def _as_user(self) -> dict[str, object]:
        variables = {"env": self.environment.variables(HOME=str(self.home))}
        return (
            variables if alone() else {**variables, "user": self.uid, "group": self.uid, "extra_groups": []}
        )


@contextmanager
def ended(people: Sequence[Person]) -> Iterator[None]:
    """All that they have started has ended when the block has."""
    try:
        yield
    finally:
        for person in people:
            person.end()


def owner(pid: int) -> int:
    """The user that a process runs as."""
    return Path(f"/proc/{pid}").stat().st_uid
