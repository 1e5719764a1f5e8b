"""The five steps of docs/raspberry-pi.md, to the first round; other programs' part is left out."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hedgerow.client.policy_file import load_policy
from tests.engines.federation.coordinated import coordinated
from tests.engines.federation.devices import RECIPE, write_clinics, write_plugin
from tests.engines.federation.processes import _free_ports

PAGE = (Path(__file__).parents[3] / "docs" / "raspberry-pi.md").read_text()
OTHERS = ("uname", "apt-get", "python3", "/opt/hedgerow/bin/pip", "sh -c 'rm ", "groupadd", "systemctl",
          "journalctl")  # fmt: skip
"""Programs that change the machine, or are only to look."""


def commands() -> list[str]:
    """Of the page, oldest first."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line.removeprefix("sudo ") for line in lines]


def here(text: str, place: Path) -> str:
    """The same with the folders of this test."""
    text = text.replace("/opt/hedgerow/bin", str(Path(sys.executable).parent))
    text = text.replace("-g hedgerow-data", f"-g {os.getegid() or 65534}")  # root's would let nobody in
    for folder in ("/etc/hedgerow", "/srv/hedgerow", "/etc/systemd/system"):
        text = text.replace(folder, f"{place}{folder}")
    return text


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that a service can look into: those of pytest are their user's alone."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_its_five_steps_lead_to_the_first_round(place, monkeypatch):
    plugin = str(write_plugin(place / "plugin"))
    monkeypatch.setenv("PYTHONPATH", plugin)
    (place / "clinics.toml").write_text(RECIPE)
    (place / "etc" / "systemd" / "system").mkdir(parents=True)
    write_clinics(place, ["clinic"])
    overrides = ["strategy.clients_per_round=1", "rounds=1"]
    ran, said = [], ""
    with coordinated(place, str(place / "clinics.toml"), overrides, _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        real.invite("kitchen")
        for line in commands():
            if line.startswith(OTHERS):
                continue
            ran.append(line)
            if "policy.toml /etc" in line:  # the person changes what it answers
                policy = place / "policy.toml"
                text = policy.read_text().replace("masked_only = true ", "masked_only = false ")
                policy.write_text(text.replace("statistics = false", "statistics = true"))
            done = subprocess.run(
                ["sh", "-ec", here(line, place)], cwd=place, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            said += done.stdout
        assert len(ran) == 7
        assert [line[:7] for line in said.splitlines() if not line.startswith("ok ")] == []
        assert all(f"ok      {word}: " in said for word in ("coordinator", "link", "memory", "step", "runs"))
        unit = (place / "etc/systemd/system/hedgerow-kitchen.service").read_text()
        assert set(run_as_systemd_would(unit, place, real)) == {"answered train of round 1"}


def run_as_systemd_would(unit: str, place: Path, real) -> list[str]:
    """Start what a unit says, with its credentials and state folder; what it answered till the run's end."""
    credentials = dict(
        line.split(":", 1) for line in re.findall(r"^LoadCredential=(.+)$", unit, re.MULTILINE)
    )
    (place / "credentials").mkdir()
    for name, file in credentials.items():
        (place / "credentials" / name).write_bytes(Path(file).read_bytes())
    state = str(place / "state")
    command = re.search(r"^ExecStart=(.+)$", unit, re.MULTILINE)[1]
    command = command.replace("%d", str(place / "credentials")).replace("${STATE_DIRECTORY}", state)
    with (place / "device.log").open("wb") as log:
        process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place
        )
    try:
        real.wait_for_the_end()
    finally:
        process.terminate()
        process.wait(60)
    return re.findall(r"answered train of round \d+", (place / "device.log").read_text())


def test_the_limits_that_it_shows_are_a_policy(tmp_path):
    (block,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "policy.toml").write_text(block)
    limits = load_policy(tmp_path / "policy.toml").limits
    assert (limits.memory, limits.threads, limits.temperature) == (600, 3, 75.0)
    assert (limits.on_mains, limits.unmetered, limits.quiet) == (True, True, ("18:00-23:00",))
