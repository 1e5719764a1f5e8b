"""Devices in threads of this process: Hedgerow's own node around a trainer that does next to nothing."""

import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

VALUES = "HEDGEROW_LOAD_VALUES"
"""Environment variable: how many numbers the model has."""

PLUGIN = f'''
import os
import numpy as np
from hedgerow.types import Fit, Layout, Model, Tensor

class Trivial:
    """Moves each value a little, unlike any other client's in any other round: equal pieces travel once."""

    def __init__(self, task, computing):
        self.layout = Layout((Tensor("weight", (int(os.environ["{VALUES}"]),)),))

    def initial(self, seed):
        return Model(np.zeros(self.layout.dimension, np.float32))

    def fit(self, model, data, local, *, seed, round, client):
        random = np.random.default_rng([round, *client.encode()])
        step = random.random(self.layout.dimension, np.float32) * np.float32(1e-3)
        return Fit(step, model.buffers, len(data), {{"loss": 1.0}})

    def evaluate(self, model, data):
        return {{"loss": float(np.abs(model.parameters).mean())}}
'''


def write_plugin(folder: Path) -> Path:
    """An installed package with the trainer, as a folder for the path."""
    about = folder / "load_trainer-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "load_trainer.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: load-trainer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[hedgerow.trainers]\ntrivial = load_trainer:Trivial\n")
    sys.path.insert(0, str(folder))
    return folder


def own_data(folder: Path) -> Path:
    """Two lines of a table, the same for all."""
    file = folder / "own.csv"
    file.write_text("a,label\n1,no\n2,yes\n")
    return file


class Devices:
    """Threads of nodes, and how long each of their calls took."""

    def __init__(self, home: Path) -> None:
        from hedgerow.node.connection import Connection

        self._home, self._nodes, self._threads = home, list[Any](), list[threading.Thread]()
        self.calls: list[tuple[float, float]] = []
        self.said: list[str] = []
        real, calls = Connection.call, self.calls
        self._undo = lambda: setattr(Connection, "call", real)

        def timed(connection: Any, path: str, *given: Any, **named: Any) -> bytes:
            began = time.monotonic()
            found = real(connection, path, *given, **named)
            # A look for messages is held until there is one: that is no time that it takes.
            calls.append((began, time.monotonic() - began - connection.held))
            return found

        Connection.call = timed  # type: ignore[method-assign]

    def join(self, file: Path, data: Path, address: str = "") -> None:
        """A device that joins by its kit, perhaps at another address, and takes part from now on."""
        from hedgerow.client.policy import Policy
        from hedgerow.node.join import join
        from hedgerow.node.kit import load_kit
        from hedgerow.node.node import Node

        kit = load_kit(file)
        kit = replace(kit, address=address or kit.address)
        device = join(kit, self._home / kit.name, data, Policy.unenrolled())
        node = Node(device, self._said)
        self._nodes.append(node)
        self._threads.append(threading.Thread(target=node.run, daemon=True))
        self._threads[-1].start()

    def end(self) -> None:
        """End them all."""
        from hedgerow.node.node import Stopped

        for node in self._nodes:
            with suppress(Stopped):
                node.stop()
        for thread in self._threads:
            thread.join(timeout=10)
        self._undo()

    def _said(self, text: str) -> None:
        if "trying again" in text:
            self.said.append(text)


def environment(plugin: Path, values: int) -> dict[str, str]:
    """Of the coordinator, which has the same trainer."""
    path = os.pathsep.join([str(plugin), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    off = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    os.environ[VALUES] = str(values)
    return {**os.environ, **off, "PYTHONPATH": path}
