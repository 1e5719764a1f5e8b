"""A federation with devices of our own that each have a file: nodes in threads, or as processes."""

import json
import re
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from hedgerow.client.policy_file import load_policy
from hedgerow.locks import hold
from hedgerow.node.availability import Availability
from hedgerow.node.connection import Backoff
from hedgerow.node.device import Device
from hedgerow.node.join import join
from hedgerow.node.kit import load_kit
from hedgerow.node.node import Node, Stopped
from tests.engines.federation.coordinated import HEDGEROW, Coordinated

RECIPE = """
name = "clinics"
rounds = 500
[data]
name = "own"
columns = ["age", "pressure"]
label = "sick"
classes = ["no", "yes"]
shift = [50.0, 120.0]
scale = [10.0, 20.0]
held_out = 0.25
[model]
name = "logistic"
[strategy]
name = "fedavg"
clients_per_round = 3
[evaluation]
clients = "all"
per_client = true
[server]
min_clients = 3
deadline = 10.0
"""
POLICY = "masked_only = false\nmin_clients = 3\ncorrupt = 0.0\nevaluate = true\nstatistics = true\n"


SHIFT, SCALE = np.array([50.0, 120.0]), np.array([10.0, 20.0])


def table(file: Path, seed: int, row: tuple[str, str]) -> Path:
    """A table of 40 patients, and one more."""
    random = np.random.default_rng(seed)
    rows = random.normal((50, 120), (20, 25), size=(40, 2)).round(1)
    lines = [f"{age},{pressure},{'yes' if age + pressure > 170 else 'no'}" for age, pressure in rows]
    file.write_text("\n".join(["age,pressure,sick", *lines, f"{row[0]},{row[1]},yes", ""]))
    return file


class OwnDevice:
    """A device with a file of its own, in a thread; `said` is what it tells a person."""

    def __init__(self, real: Coordinated, name: str, data: Path, kit: Path | None = None) -> None:
        self.name, self.data, self.said = name, data, list[str]()
        self.kit, self.folder = kit or real.invite(name), real.home / f"device-{name}"
        self.policy = real.home / "policy.toml"
        self.policy.write_text(POLICY)

    def through(self, address: str) -> None:
        """Have it reach the gateway at another address."""
        kit = json.loads(self.kit.read_text())
        self.kit.write_text(json.dumps({**kit, "address": address}))

    def start(self) -> "OwnDevice":
        if not (self.folder / "device.json").exists():
            join(load_kit(self.kit), self.folder, self.data, load_policy(self.policy))
        device = Device(self.folder)
        available = Availability(device, fresh=0.1, look=0.1, jitter=0.5)
        self._node = Node(device, self.said.append, available, Backoff(0.1, 1.0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def end(self) -> None:
        with suppress(Stopped):  # for signal handlers, where the node is at work
            self._node.stop()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        with hold(self.folder):
            self._node.run()


class DeviceProcess(OwnDevice):
    """The same as the process that `hedgerow join` makes."""

    def start(self) -> "DeviceProcess":
        command = [HEDGEROW, "join", str(self.kit), "--data", str(self.data), "--policy", str(self.policy)]
        with self.folder.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--folder", str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=60)


def page_address(real: Coordinated) -> str:
    """Of the status page, with its token, as `hedgerow up` has shown it last."""
    return re.findall(r"status page: (http\S+)", real.said)[-1]
