"""A real Flower federation on this machine: a SuperLink and SuperNodes as processes.

with federation(tmp_path, nodes=3) as real:
    outcome = real.run(app_folder, {"recipe": "x"})
    assert outcome.status == "completed", outcome.log
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from tests import forked

CONNECTION = "local"

Config = Mapping[str, bool | float | int | str]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: `"completed"`, `"failed"` or `"stopped"`.
        details: why it failed, in Flower's words.
        log: all that the ServerApp printed and logged.
    """

    status: str
    details: str
    log: str


@dataclass(frozen=True)
class Federation:
    """A running federation. Its processes' logs are `*.log` in `home`."""

    home: Path

    def run(self, app: Path, run_config: Config | None = None, *, timeout_seconds: float = 3000) -> Outcome:
        """Start the app in the folder `app` with `flwr run`, and wait for its end.

        Raises:
            RuntimeError: the run could not be started, for instance because of
                an unknown key in `run_config`.
            TimeoutError: it did not end in time.
        """
        overrides = self.home / "run-config.toml"
        overrides.write_text(tomli_w.dumps(dict(run_config or {})))
        arguments = (
            "run",
            str(app),
            CONNECTION,
            "--run-config",
            str(overrides),
            "--format",
            "json",
            "--stream",
        )
        try:
            # The log is streamed until the run ends. The exit code tells whether
            # the run could be started, never how it ended.
            started = self._flwr(*arguments, timeout_seconds=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"the run of {app} did not end in {timeout_seconds:.0f} s") from error
        run_id = str(started["run-id"])
        while True:
            run = self._flwr("list", CONNECTION, "--run-id", run_id, "--format", "json")["runs"][0]
            state, _, status = str(run["status"]).partition(":")
            if state == "finished":
                return Outcome(status, str(run["status-details"]), self.log(run_id))
            time.sleep(0.3)

    def log(self, run_id: str) -> str:
        """What the ServerApp of a run printed and logged so far."""
        return _command(self.home, "log", run_id, CONNECTION, "--show").stdout

    def nodes_online(self) -> int:
        """Number of SuperNodes that are connected."""
        nodes = self._flwr("supernode", "list", CONNECTION, "--format", "json")["nodes"]
        return sum(node["status"] == "online" for node in nodes)

    def _flwr(self, *arguments: str, timeout_seconds: float = 300) -> dict[str, Any]:
        done = _command(self.home, *arguments, timeout_seconds=timeout_seconds)
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except json.JSONDecodeError:
            answer = {}
        if done.returncode != 0 or not answer.get("success"):
            raise RuntimeError(f"flwr {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return answer


@contextmanager
def federation(
    home: Path,
    *,
    nodes: int = 3,
    node_config: Callable[[int], Config] = lambda i: {"partition-id": i},
    timeout_seconds: float = 300,
) -> Iterator[Federation]:
    """Start a SuperLink and SuperNodes, wait until all are connected, and end them.

    Every process gets its own Flower home in `home`: two nodes that unpack one
    bundle into one folder at the same time can see it half-written.

    Args:
        home: an empty folder.
        nodes: how many SuperNodes.
        node_config: node configuration of SuperNode `i`.
        timeout_seconds: how long they may take to connect.

    Raises:
        RuntimeError: a process ended early or not all connected in time. The
            ends of all logs are added to this and to any other exception.
    """
    link_port, *node_ports = _free_ports(nodes + 1)
    address = f"127.0.0.1:{link_port}"
    real = Federation(home)
    connection = {"default": CONNECTION, CONNECTION: {"address": address, "insecure": True}}
    (home / "client").mkdir(parents=True)
    (home / "client" / "config.toml").write_text(tomli_w.dumps({"superlink": connection}))
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(lambda: _end(list(processes.values())))
        try:
            link = ["flower-superlink", "--insecure", "--port", str(link_port)]
            processes["superlink"] = _start(
                home, "superlink", [*link, "--disable-runtime-dependency-installation"]
            )
            for i, port in enumerate(node_ports):
                config = " ".join(f"{key}={json.dumps(value)}" for key, value in node_config(i).items())
                node = ["flower-supernode", "--insecure", "--superlink", address, "--port", str(port)]
                processes[f"node-{i}"] = _start(home, f"node-{i}", [*node, "--node-config", config])
            _wait_until_connected(real, processes, [link_port, *node_ports], timeout_seconds)
            yield real
        except BaseException as error:
            for name in processes:
                error.add_note(f"--- {name}.log ends:\n{(home / f'{name}.log').read_text()[-3000:]}")
            raise


def _environment(home: Path) -> dict[str, str]:
    # The processes find flower-superexec, flwr-serverapp and flwr-clientapp on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    off = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    return {
        **os.environ,
        **off,
        "PATH": path,
        "FLWR_HOME": str(home),
        "COLUMNS": "200",
        "PYTHONUNBUFFERED": "1",
        # Each message is a process of its own, and this is how often a node looks for one to start (1 s).
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    }


def _start(home: Path, name: str, command: list[str]) -> "subprocess.Popen[bytes]":
    (home / name).mkdir()
    executable = str(Path(sys.executable).parent / command[0])
    with (home / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [executable, *command[1:]],
            env=_environment(home / name),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _command(home: Path, *arguments: str, timeout_seconds: float = 300) -> "subprocess.CompletedProcess[str]":
    return forked.run(
        "from flwr.cli.app import app; app()",  # as the command `flwr` does
        *arguments,
        cwd=home,
        environment=_environment(home / "client"),
        timeout_seconds=timeout_seconds,
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_connected(
    real: Federation,
    processes: Mapping[str, "subprocess.Popen[bytes]"],
    ports: list[int],
    timeout_seconds: float,
) -> None:
    nodes = len(ports) - 1
    deadline = time.monotonic() + timeout_seconds
    logs = [real.home / f"{name}.log" for name in processes if name != "superlink"]
    # What a port and a log tell is cheaper to find out than the number of nodes.
    while not (
        all(map(_listens, ports))
        and all("SuperNode ID" in log.read_text() for log in logs)
        and real.nodes_online() == nodes
    ):
        for name, process in processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with exit code {process.returncode} before it was ready")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all {nodes} nodes were connected after {timeout_seconds:.0f} s")
        time.sleep(0.3)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(processes: list["subprocess.Popen[bytes]"]) -> None:
    """End processes and all that they started, by process id."""
    family = _descendants({process.pid for process in processes})
    _signal(family, signal.SIGTERM)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and _alive(family):
        time.sleep(0.2)
    _signal(_alive(family), signal.SIGKILL)
    for process in processes:
        process.wait(timeout=10)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _descendants(roots: set[int]) -> set[int]:
    family = set(roots)
    parents = {pid: parent for pid, parent, _ in _all_processes()}
    while children := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= children
    return family


def _alive(pids: set[int]) -> set[int]:
    return {pid for pid, _, state in _all_processes() if pid in pids and not state.startswith("Z")}


def _all_processes() -> list[tuple[int, int, str]]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [(int(pid), int(parent), state) for pid, parent, state in rows]
