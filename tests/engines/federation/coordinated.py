"""A federation that `hedgerow up` keeps, as processes, with devices in threads of this one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow.client.app import client_app
from hedgerow.coordinator import members, processes
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.locks import holder_of
from tests import forked
from tests.engines.federation.device import Device

HEDGEROW = str(Path(sys.executable).parent / "hedgerow")
COMMAND = "import sys; from hedgerow.experiments.cli.start import main; sys.exit(main())"
"""The same, where it ends by itself."""


@dataclass
class Coordinated:
    """Everything in `home`: `run`, `federation`, and what `hedgerow up` says in `up.log`."""

    home: Path
    recipe: str
    overrides: Sequence[str]
    port: int
    up: "subprocess.Popen[bytes] | None" = None
    devices: list[Device] = field(default_factory=list)

    @property
    def folder(self) -> FederationFolder:
        return FederationFolder.open(self.home / "federation")

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.home / "run")

    @property
    def said(self) -> str:
        return (self.home / "up.log").read_text()

    def start(self) -> None:
        command = [HEDGEROW, "up", self.recipe, *self.overrides, "--out", "run", "--port", str(self.port)]
        with (self.home / "up.log").open("ab") as log:
            self.up = subprocess.Popen(
                command,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def command(self, *arguments: str) -> str:
        """What `hedgerow` with these arguments prints."""
        done = forked.run(COMMAND, *arguments, cwd=self.home, timeout_seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def invite(self, name: str) -> Path:
        return members.invite(self.folder, name, self.home)

    def kill_up(self) -> None:
        assert self.up is not None
        self.up.kill()
        self.up.wait(timeout=30)

    def join(self, name: str) -> Device:
        """A device that holds the data of the recipe's client of that name."""
        experiment = load(self.recipe, self.overrides)
        state = self.home / "devices" / name
        app = client_app(
            experiment.task(), experiment.federation, experiment.strategy(), state_folder=state, guard=None
        )
        device = Device(self.invite(name), app, state)
        device.join()
        self.devices.append(device.start())
        return device

    def wait(self, ready: Callable[[], object], what: str, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not ready():
            ended = self.up is not None and self.up.poll() is not None
            assert not ended or ready(), f"hedgerow up ended before {what}:\n{self.said}"
            assert time.monotonic() < until, f"no {what} in {seconds:g} s:\n{self.said}\n{self.problems()}"
            time.sleep(0.05)

    def wait_until_it_serves(self) -> None:
        self.wait(lambda: "devices reach it at" in self.said, "start")

    def wait_for_the_end(self, seconds: float = 500) -> None:
        assert self.up is not None
        self.wait(lambda: self.up.poll() is not None, "end", seconds)
        assert self.up.returncode == 0, f"{self.said}\n{self.problems()}"

    def rounds(self) -> int:
        with suppress(ValueError):
            return len(self.run.rounds())
        return 0

    def server_app(self) -> int:
        """Its process, once it holds the run's folder."""
        found = holder_of(self.home / "run")
        return 0 if found is None or found.dead else found.pid

    def kill(self, name: str) -> None:
        """Kill a process of the federation by its role, once there is one."""
        pid = 0  # which would be whoever tests

        def there() -> bool:
            nonlocal pid
            pid = self.process(name)
            return pid > 0

        self.wait(there, name)
        os.kill(pid, signal.SIGKILL)

    def process(self, name: str) -> int:
        if name == "ServerApp":
            return self.server_app()
        return int(self.folder.read(processes.FILE, {})[name]["pid"])

    def problems(self) -> str:
        logs = [
            file.read_text(errors="replace")[-3000:]
            for file in (self.home / "federation" / "logs").glob("*.log")
        ]
        return "\n".join(
            [*logs, *(f"{d.kit['name']}: {d.problems[-3:]} {d.answered[-3:]}" for d in self.devices)]
        )


@contextmanager
def coordinated(home: Path, recipe: str, overrides: Sequence[str], port: int) -> Iterator[Coordinated]:
    """Make the folder; at the end, end what was started, by its process id."""
    home.mkdir(parents=True, exist_ok=True)
    federation = Coordinated(home, recipe, overrides, port)
    try:
        yield federation
    finally:
        for device in federation.devices:
            device._ended.set()
        if federation.up is not None and federation.up.poll() is None:
            federation.up.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                federation.up.wait(timeout=40)
            if federation.up.poll() is None:
                os.kill(federation.up.pid, signal.SIGKILL)
        with suppress(ValueError, OSError):
            processes.end_left_over(federation.folder)
        for device in federation.devices:
            device.end()
