"""A coordinator as a process, and what it takes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

RECIPE = """
name = "load"
rounds = {rounds}
[data]
name = "own"
columns = ["a"]
label = "label"
classes = ["no", "yes"]
[model]
name = "logistic"
[strategy]
clients_per_round = {nodes}
[run]
trainer = "trivial"
"""
HEDGEROW = str(Path(sys.executable).parent / "hedgerow")


class Coordinator:
    """`hedgerow up` in a folder."""

    def __init__(
        self, home: Path, nodes: int, port: int, environment: Mapping[str, str], rounds: int = 100_000
    ) -> None:
        self.home = home
        (home / "load.toml").write_text(RECIPE.format(nodes=nodes, rounds=rounds))
        command = [HEDGEROW, "up", "load.toml", "--out", "run", "--port", str(port)]
        with (home / "up.log").open("ab") as log:
            self.up = subprocess.Popen(
                command, cwd=home, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.wait(lambda: "devices reach it at" in (home / "up.log").read_text(), 300)

    def wait(self, ready: Any, seconds: float) -> None:
        """Wait for a condition."""
        until = time.monotonic() + seconds
        while not ready():
            if self.up.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.home / "up.log").read_text())
            time.sleep(0.2)

    def invite(self, names: list[str]) -> list[Path]:
        """A kit for each."""
        from hedgerow.coordinator.folder import FederationFolder
        from hedgerow.coordinator.members import invite

        folder = FederationFolder.open(self.home / "federation")
        return [invite(folder, name, self.home) for name in names]

    def rounds(self) -> list[dict[str, Any]]:
        """What `metrics.jsonl` has."""
        file = self.home / "run" / "metrics.jsonl"
        lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
        return [json.loads(line) for line in lines if line]

    def processes(self) -> dict[str, int]:
        """Numbers of its processes."""
        from hedgerow.coordinator import processes
        from hedgerow.coordinator.folder import FederationFolder
        from hedgerow.locks import holder_of

        folder = FederationFolder.open(self.home / "federation")
        pids = {name: each["pid"] for name, each in folder.read(processes.FILE, {}).items()}
        holder = holder_of(self.home / "run")
        return pids | {"supervisor": self.up.pid} | ({"serverapp": holder.pid} if holder else {})

    def cpu_seconds(self) -> dict[str, float]:
        """That each process has computed for."""
        found = {}
        for name, pid in self.processes().items():
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                found[name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return found

    def megabytes(self) -> dict[str, float]:
        """Memory of each process that is its own, with its share of what is not."""
        found = {}
        for name, pid in self.processes().items():
            with suppress(OSError, StopIteration):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                line = next(line for line in text.splitlines() if line.startswith("Pss:"))
                found[name] = int(line.split()[1]) / 1000
        return found

    def end(self) -> None:
        """End it."""
        self.up.send_signal(signal.SIGTERM)
        try:
            self.up.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.kill(self.up.pid, signal.SIGKILL)
