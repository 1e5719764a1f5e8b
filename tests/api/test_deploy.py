"""The files of `deploy/` are what systemd and Docker take, and name options that are there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer.main
import yaml

from hedgerow.experiments.cli.main import app

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


def test_every_command_in_them_has_its_options():
    lines = [re.search(r"^ExecStart=\S+/hedgerow (.+)$", unit.read_text(), re.MULTILINE)[1] for unit in UNITS]
    commands = [*(line.split() for line in lines), COMPOSE["command"], COMPOSE["healthcheck"]["test"][2:]]
    assert len(commands) == 4
    for command in commands:
        options_of(command)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="NO SYSTEMD: the units were NOT verified")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_a_unit_and_finds_little_exposed(unit, tmp_path):
    here = str(Path(sys.executable).parent)
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/hedgerow/bin", here))
    verified = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    exposed = ["systemd-analyze", "security", "--offline=true", "--threshold=15", copy]
    assert subprocess.run(exposed, capture_output=True, text=True, check=False).returncode == 0
    for setting in ("User=hedgerow", "Restart=always", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert f"\n{setting}\n" in unit.read_text()


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
