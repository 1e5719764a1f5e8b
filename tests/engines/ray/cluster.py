"""A Ray cluster of several nodes on this machine: `python -m tests.engines.ray.cluster`.

It prints its address and its head, replaces the node of each id that it reads, and ends with its input.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
NODES = 3
_SECONDS = 120.0


@dataclass(frozen=True)
class RayNodes:
    """A cluster of `NODES` nodes with one CPU each, the first of which is its head."""

    address: str
    head: str
    process: subprocess.Popen[str]

    def remove(self, node: str) -> None:
        """Kill all processes of a node, as when its power fails; a new one takes its place seconds later."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{node}\n")
        self.process.stdin.flush()
        assert _line(self.process) == "removed"

    def wait(self) -> None:
        """Wait until a new node is there."""
        assert _line(self.process) == "added"


@contextlib.contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    """A cluster, ended with all its processes."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.engines.ray.cluster"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            address, head = _line(process).split()
            yield RayNodes(address, head, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], _SECONDS)[0]:
        raise TimeoutError("the cluster does not answer")
    return process.stdout.readline().strip()


def _main() -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(NODES - 1):
        cluster.add_node(num_cpus=1)
    print(cluster.address, cluster.head_node.node_id, flush=True)
    for line in sys.stdin:
        (node,) = [node for node in cluster.worker_nodes if node.node_id == line.strip()]
        cluster.remove_node(node, allow_graceful=False)
        print("removed", flush=True)
        cluster.add_node(num_cpus=1)
        print("added", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    _main()
