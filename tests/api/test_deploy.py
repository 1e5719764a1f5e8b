"""The files of `deploy/` are what systemd and Docker take, and name options that are there."""

import grp
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import click
import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from hedgerow.client.limits import Limits
from hedgerow.experiments.cli.main import app
from hedgerow.node.kit import Kit
from hedgerow.node.service import unit

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["coordinator"]


def options_of(line: list[str]) -> None:
    """Assert that a command of ours has each option."""
    command = typer.main.get_command(app)
    assert isinstance(command, click.Group)
    found = command.commands[line[0]]
    known = {option for each in found.params for option in each.opts}
    given = {part for part in line[1:] if part.startswith("--")}
    assert given <= known, given - known


@pytest.fixture
def devices_unit(monkeypatch, tmp_path) -> str:
    """What `hedgerow join --service` prints for a device with data that only a group can read."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: "/opt/hedgerow/bin")
    kit = {
        "hedgerow": "0.1",
        "federation": "0123456789abcdef",
        "name": "ward 7",
        "address": "https://fl.example",
    }
    (tmp_path / "ward-7.kit").write_text(json.dumps(kit))
    (tmp_path / "policy.toml").write_text("[limits]\nmemory = 300\n")
    with tempfile.TemporaryDirectory(prefix="hedgerow-data-") as place:
        data = Path(place) / "clinic.csv"
        data.write_text("a,label\n1,2\n")
        data.chmod(0o640)
        Path(place).chmod(0o755)
        given = ["join", str(tmp_path / "ward-7.kit"), "--data", str(data), "--service"]
        refused = CliRunner().invoke(app, given)
        assert "a service has nobody to ask: give --policy FILE" in refused.output
        given += ["--policy", str(tmp_path / "policy.toml")]
        if os.getegid() == 0:
            refused = CliRunner().invoke(app, given)
            assert f"a service cannot read {data}, because of the mode of {data}" in " ".join(
                refused.output.split()
            )
            os.chown(data, -1, 65534)
        done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_command_in_them_has_its_options(devices_unit):
    texts = [devices_unit, *(file.read_text() for file in UNITS)]
    lines = [re.search(r"^ExecStart=\S+/hedgerow (.+)$", text, re.MULTILINE)[1] for text in texts]
    commands = [*(line.split() for line in lines), COMPOSE["command"], COMPOSE["healthcheck"]["test"][2:]]
    assert len(commands) == 4
    for command in commands:
        options_of(command)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="NO SYSTEMD: the units were NOT verified")
@pytest.mark.parametrize("file", [*UNITS, None], ids=lambda path: path.name if path else "device")
def test_systemd_takes_a_unit_and_finds_little_exposed(file, devices_unit, tmp_path):
    text = file.read_text() if file else devices_unit
    copy = tmp_path / (file.name if file else "hedgerow-device.service")
    copy.write_text(text.replace("/opt/hedgerow/bin", str(Path(sys.executable).parent)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    exposed = ["systemd-analyze", "security", "--offline=true", "--threshold=15", copy]
    assert subprocess.run(exposed, capture_output=True, text=True, check=False).returncode == 0
    user = "User=hedgerow" if file else "DynamicUser=yes"
    for setting in (user, "Restart=always", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert f"\n{setting}\n" in text


def test_a_devices_unit_waits_for_the_clock_and_has_the_limits_of_its_policy(devices_unit, tmp_path):
    for line in (
        "Wants=network-online.target systemd-time-wait-sync.service",
        "After=network-online.target time-sync.target",
        "MemoryMax=428M",
        f"LoadCredential=device.kit:{tmp_path}/ward-7.kit",
        f"LoadCredential=policy.toml:{tmp_path}/policy.toml",
        f"SupplementaryGroups={grp.getgrgid(65534 if os.getegid() == 0 else os.getegid()).gr_name}",
        "StateDirectory=hedgerow/0123456789abcdef/ward_207",
    ):
        assert f"\n{line}\n" in devices_unit


@pytest.mark.parametrize(
    ("place", "told"),
    [("/home/pi/clinic.csv", "is in somebody's home, which a service does not see: move it, such as to /srv"),
     ("/srv/my clinic.csv", "has characters that mean something in a unit")],
)  # fmt: skip
def test_data_that_a_service_could_not_read_are_refused(monkeypatch, place, told):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: "/opt/hedgerow/bin")
    monkeypatch.setattr(Path, "exists", lambda path: True)
    with pytest.raises(ValueError, match=re.escape(told)):
        unit(Kit("0" * 16, "a", "https://a"), Path("/a.kit"), Path(place), Path("/p.toml"), Limits())


def test_the_container_is_nobodys_and_keeps_its_data_in_a_volume():
    image = (DEPLOY / "Dockerfile").read_text()
    assert "USER hedgerow" in image
    assert "/wheel/hedgerow-*.whl" in image, "what is installed is the wheel"
    assert COMPOSE["user"] == "10001:10001"
    assert (COMPOSE["read_only"], COMPOSE["cap_drop"], COMPOSE["restart"]) == (True, ["ALL"], "always")
    assert "data:/data" in COMPOSE["volumes"]
    assert [port for port in COMPOSE["ports"] if "8471" in port] == ["127.0.0.1:8471:8471"]


def compose() -> list[str]:
    """Docker Compose as it is installed; empty where it is not."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return []


def test_docker_compose_takes_the_file(tmp_path):
    if not (command := compose()):
        pytest.skip("NO DOCKER COMPOSE: compose.yaml was NOT checked by it")
    environment = {
        "PATH": "/usr/bin:/bin:/usr/local/bin",
        "HEDGEROW_HOST": "fl.example",
        "RECIPE": "./r.toml",
    }
    done = subprocess.run(
        [*command, "-f", DEPLOY / "compose.yaml", "config"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "fl.example" in done.stdout
