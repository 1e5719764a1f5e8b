"""Devices of our own as processes, in an environment that has neither Flower nor torch."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import policy_text
from tests.engines.federation.processes import Federation

HEDGEROW = str(Path(sys.executable).parent / "hedgerow")

OPEN = Policy.unenrolled()
"""A policy that lets everything."""

RECIPE = """
name = "clinics"
rounds = 3
[data]
name = "own"
columns = ["age", "pressure"]
label = "sick"
classes = ["no", "yes"]
shift = [50.0, 120.0]
scale = [20.0, 30.0]
lowest = [0.0, 40.0]
highest = [120.0, 260.0]
held_out = 0.2
[model]
name = "logistic"
[strategy]
clients_per_round = 3
[local]
learning_rate = 0.1
[run]
trainer = "ten-lines"
"""

TRAINER = '''
import os, signal
from pathlib import Path
import numpy as np
from hedgerow.types import Fit, Layout, Model, Tensor

class Softmax:
    """Logistic regression by full gradients."""

    supports = frozenset({"correction"})

    def __init__(self, task, computing):
        about = task.model.arguments
        self.size = int(np.prod(about["input_shape"])) + 1, about["num_classes"]
        self.layout = Layout((Tensor("weight", self.size),))

    def initial(self, seed):
        return Model(np.zeros(self.layout.dimension, np.float32))

    def chances(self, weights, data):
        x = np.c_[data.x.reshape(len(data), -1), np.ones(len(data), np.float32)]
        scores = np.exp(x @ weights)
        return x, scores / scores.sum(1, keepdims=True)

    def fit(self, model, data, local, *, seed, round, client, correction=None):
        fail = Path(os.environ.get("FAIL_ONCE", "/nowhere"))
        if fail.exists() and fail.read_text() == f"{client} {round}":
            fail.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        weights = model.parameters.reshape(self.size).copy()
        more = 0 if correction is None else correction.reshape(self.size)
        for _ in range(local.epochs):
            x, p = self.chances(weights, data)
            gradient = (x.T @ (p - np.eye(self.size[1])[data.y])).astype(np.float32) / np.float32(len(data))
            weights -= np.float32(local.learning_rate) * (gradient + more)
        return Fit(weights.ravel() - model.parameters, model.buffers, len(data), self.evaluate(model, data))

    def evaluate(self, model, data):
        _, p = self.chances(model.parameters.reshape(self.size), data)
        return {"loss": float(-np.log(p[np.arange(len(data)), data.y]).mean())}
'''

BARE = """
import sys

for name in ("flwr", "torch", "pydantic", "grpc", "pooch", "PIL", "cloudpickle", "ray", "scipy", "pandas"):
    sys.modules[name] = None
"""
"""A `sitecustomize` with which only what a bare install brings can be imported."""


def write_plugin(folder: Path) -> Path:
    """An installed package with a trainer, as a folder for the path."""
    about = folder / "ten_lines-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "ten_lines.py").write_text(TRAINER)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ten-lines\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[hedgerow.trainers]\nten-lines = ten_lines:Softmax\n")
    return folder


def write_clinics(folder: Path, names: Sequence[str], rows: int = 60) -> list[Path]:
    """A table for each device."""
    random, files = np.random.default_rng(3), []
    for name in names:
        age, pressure = random.uniform(20, 90, rows), random.uniform(80, 200, rows)
        sick = age / 50 + pressure / 130 + random.normal(0, 0.3, rows) > 2
        lines = [
            f"{a:.2f},{p:.1f},{'yes' if s else 'no'}" for a, p, s in zip(age, pressure, sick, strict=True)
        ]
        files.append(folder / f"{name}.csv")
        files[-1].write_text("\n".join(["age,pressure,sick", *lines]) + "\n")
    return files


@dataclass
class Running:
    """A device's process."""

    kit: Path
    data: Path
    folder: Path
    policy: Path
    path: str
    environment: Mapping[str, str]

    @property
    def options(self) -> list[str]:
        """Of the command."""
        return ["--policy", str(self.policy), "--folder", str(self.folder)]

    def start(self) -> None:
        """Start it, or start it again."""
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [HEDGEROW, "join", str(self.kit), "--data", str(self.data), *self.options],
                env={**os.environ, **self.environment, "PYTHONPATH": self.path},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def leave(self) -> str:
        """What `hedgerow leave` says."""
        environment = {**os.environ, "PYTHONPATH": self.path}
        command = [HEDGEROW, "leave", "--folder", str(self.folder)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    @property
    def said(self) -> str:
        """All that it has printed."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text()

    def wait_for(self, pattern: str, seconds: float = 60) -> None:
        """Wait until it has printed something."""
        until = time.monotonic() + seconds
        while not re.search(pattern, self.said):
            assert time.monotonic() < until, f"{pattern!r} is not in:\n{self.said}"
            assert self.process.poll() is None, self.said
            time.sleep(0.05)

    def megabytes(self) -> float:
        """Of memory that is its own, and its share of what is not."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"Pss:\s+(\d+)", text)[1]) / 1000

    def end(self) -> int:
        """End it as systemd would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def address_of(real: Federation) -> str:
    """Of its SuperLink."""
    return "http://" + re.search(r'address = "(.*?)"', (real.home / "client" / "config.toml").read_text())[1]


@contextmanager
def devices(
    real: Federation, home: Path, files: Sequence[Path], path: str, policy: Policy = OPEN, **environment: str
) -> Iterator[list[Running]]:
    """Devices that have joined, one for each file, running until the end."""
    running = []
    try:
        for file in files:
            kit = {"hedgerow": "0.1", "federation": "0" * 16, "name": file.stem, "address": address_of(real)}
            file.with_suffix(".kit").write_text(json.dumps(kit))
            file.with_suffix(".policy").write_text(policy_text(policy))
            places = file.with_suffix(".kit"), file, home / file.stem, file.with_suffix(".policy")
            running.append(Running(*places, path, environment))
            running[-1].start()
        for device in running:
            device.wait_for("is connected")
        yield running
    finally:
        for device in running:
            if device.process.poll() is None:
                device.process.kill()
                device.process.wait()
