"""Devices of our own, each a process with its own file; the coordinator is killed in a masked round."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from tests.engines.federation.coordinated import HEDGEROW, Coordinated, coordinated
from tests.engines.federation.processes import _free_ports
from tests.engines.federation.test_coordinated import digest

NAMES = ("garage", "kitchen", "shed")
RECIPE = """
name = "masked"
rounds = 3
[data]
name = "own"
columns = ["age", "pressure"]
label = "sick"
classes = ["no", "yes"]
shift = [50.0, 120.0]
scale = [10.0, 20.0]
[model]
name = "logistic"
[strategy]
name = "secure_fedavg"
clients_per_round = 3
min_clients = 3
dropout = 0.0
corrupt = 0.0
[server]
deadline = 120.0
"""
POLICY = "masked_only = true\nmin_clients = 3\ncorrupt = 0.0\nevaluate = false\nstatistics = false\n"


@contextmanager
def joined(home: Path, real: Coordinated) -> Iterator[None]:
    """A process for each device; they end with the block."""
    nodes = []
    try:
        for place, name in enumerate(NAMES):
            random = np.random.default_rng(place)
            rows = random.normal((50, 120), (20, 25), size=(40, 2)).round(1)
            lines = [f"{age},{pressure},{'yes' if age + pressure > 170 else 'no'}" for age, pressure in rows]
            data = home / f"{name}.csv"
            data.write_text("\n".join(["age,pressure,sick", *lines, ""]))
            command = [HEDGEROW, "join", str(real.invite(name)), "--data", str(data)]
            command += ["--policy", str(home / "policy.toml"), "--folder", str(home / f"device-{name}")]
            with (home / f"{name}.log").open("ab") as log:
                nodes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        yield
    finally:
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        for node in nodes:
            with suppress(subprocess.TimeoutExpired):
                node.wait(timeout=30)
            if node.poll() is None:
                node.kill()


@pytest.mark.long
@pytest.mark.parametrize("answered", ["train.keys", "train.masked", "train.survivors"])
def test_killed_in_any_stage_of_a_masked_round_the_run_ends_with_the_same_model(tmp_path, answered):
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "masked.toml").write_text(RECIPE)
    with coordinated(tmp_path, str(tmp_path / "masked.toml"), [], _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        with joined(tmp_path, real):
            real.wait_for_the_end()
            (tmp_path / "run").rename(tmp_path / "undisturbed")
            before, stage = len((tmp_path / "kitchen.log").read_text()), f"answered {answered} of round 2"
            real.start()
            real.wait(lambda: stage in (tmp_path / "kitchen.log").read_text()[before:], stage)
            real.kill("ServerApp")
            real.wait_for_the_end()
        assert "the ServerApp was killed" in real.said
        assert [line["failed"] for line in real.run.rounds()] == ["", "", ""]
        assert digest(real.run.model) == digest(tmp_path / "undisturbed" / "model.safetensors"), real.said
