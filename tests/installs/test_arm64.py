"""A device on an arm64 processor, as a Raspberry Pi has, under qemu: it joins, and takes part in rounds."""

import os
import platform
import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import policy_text
from tests.engines.federation.coordinated import HEDGEROW, Coordinated, coordinated
from tests.engines.federation.devices import RECIPE, write_clinics, write_plugin
from tests.engines.federation.processes import _free_ports
from tests.installs.arm64 import Arm64, Arm64Environment, why_not
from tests.installs.environments import running

NAMES = ("attic", "barn", "pi")
MASKED = ["strategy.name=secure_fedavg", "strategy.min_clients=3", "strategy.dropout=0.0",
          "strategy.corrupt=0.0", "rounds=1"]  # fmt: skip
SECONDS = 240


@pytest.fixture
def environment(tmp_path, capsys) -> Arm64Environment:
    if why := why_not():
        pytest.skip(why)
    began = time.monotonic()
    found = Arm64.made().with_hedgerow(tmp_path)
    with capsys.disabled():
        print(f"\na root for arm64 in {time.monotonic() - began:.0f} s")
    return found


@pytest.mark.long
@pytest.mark.skipif(platform.machine() == "aarch64", reason="every other test runs on arm64 here")
def test_an_arm64_device_trains_beside_others_in_the_clear_and_under_a_mask(
    environment, tmp_path, monkeypatch, capsys
):
    plugin = write_plugin(tmp_path / "plugin")
    monkeypatch.setenv("PYTHONPATH", str(plugin))  # the coordinator's, and of the devices that are not arm64
    (tmp_path / "clinics.toml").write_text(RECIPE)
    (tmp_path / "tables").mkdir()
    files = dict(zip(NAMES, write_clinics(tmp_path / "tables", NAMES), strict=True))
    policy = tmp_path / "policy.toml"
    policy.write_text(policy_text(replace(Policy.unenrolled(), evaluate=False)))
    began = time.monotonic()
    with coordinated(tmp_path, str(tmp_path / "clinics.toml"), ["rounds=2"], _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()

        def join(name: str, *more: str) -> list[str]:
            kit = tmp_path / f"{name}.kit"
            folder = tmp_path / f"device-{name}"
            given = ["--data", str(files[name]), "--policy", str(policy), "--folder", str(folder)]
            return ["join", str(kit if kit.exists() else real.invite(name)), *given, *more]

        variables = environment.variables(plugin)
        selftest = subprocess.run(
            environment.command(*join("pi", "--selftest")), env=variables, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert selftest.returncode == 0, selftest.stdout + selftest.stderr
        here = {**os.environ}
        with (
            running([HEDGEROW, *join("attic")], tmp_path / "attic.log", here),
            running([HEDGEROW, *join("barn")], tmp_path / "barn.log", here),
            running(environment.command(*join("pi")), tmp_path / "pi.log", variables) as pi,
        ):
            ended(real)
            plain, lines = load_file(real.run.model), real.run.rounds()
            (tmp_path / "run").rename(tmp_path / "plain")
            real.overrides = MASKED
            real.start()
            ended(real)
            masked = real.run.rounds()
            assert pi.poll() is None, (tmp_path / "pi.log").read_text()
        seconds = time.monotonic() - began
    said = (tmp_path / "pi.log").read_text()
    with capsys.disabled():
        print(f"{selftest.stdout}{said}two rounds in the clear and a masked one in {seconds:.0f} s")
    machine = environment.run(
        str(environment.root.python), "-c", "import platform; print(platform.machine())"
    )
    assert machine.strip() == "aarch64"
    for line in (*lines, *masked):
        assert not line["failed"]
        assert set(line["clients"]) - set(line["dropped"]) == set(NAMES)
    assert masked[-1]["secure"] == "masked"
    assert set(re.findall(r"answered train of round (\d)", said)) == {"1", "2"}
    same_as_simulated(tmp_path, files, plain)


def ended(real: Coordinated) -> None:
    """Wait for a run's end."""
    assert real.up is not None
    assert real.up.wait(SECONDS) == 0, f"{real.said}\n{real.problems()}"


def same_as_simulated(place: Path, files: dict[str, Path], model: dict) -> None:
    """The model is that of one process here, up to what the processors' `exp` differ by."""
    listed = str([str(file) for file in files.values()]).replace("'", '"')
    command = [HEDGEROW, "run", str(place / "clinics.toml"), "rounds=2", f"data.files={listed}"]
    command += ["--out", str(place / "simulated"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = load_file(place / "simulated" / "model.safetensors")
    assert set(expected) == set(model)
    for name, values in expected.items():
        assert abs(values - model[name]).max() < 1e-6, name
