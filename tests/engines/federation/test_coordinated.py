"""What `hedgerow up` keeps gives the model of a simulation, also where its processes are killed."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from tests.attacks.gateways import signed
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.device import call, join
from tests.engines.federation.processes import _free_ports
from tests.engines.stateful_run import ROOT

CLIENTS = ("cleveland", "hungary", "switzerland", "va-long-beach")
PLAIN = ["rounds=3"]
STATEFUL = [
    "rounds=8",
    "strategy.name=scaffold",
    "strategy.weighted=false",
    "strategy.pipeline=error_feedback(top_k(0.3))",
]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_goes_on_by_itself_after_serverapp_superlink_and_gateway_were_killed(tmp_path):
    simulated = run_experiment(load("heart", PLAIN), tmp_path / "simulated")
    with coordinated(tmp_path / "real", "heart", PLAIN, _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        for name in CLIENTS[1:]:
            real.join(name)
        refused_through_the_gateway(real)
        real.wait(lambda: f"waiting for {CLIENTS[0]}" in real.said, "who is waited for")
        real.join(CLIENTS[0])
        real.wait(lambda: real.rounds() >= 1 and real.server_app(), "first round")
        real.kill("ServerApp")
        real.kill("gateway")
        real.wait(lambda: real.rounds() >= 2, "second round")
        real.kill("superlink")
        real.wait_for_the_end()
        assert digest(real.run.model) == digest(simulated.model), real.said
        assert [line["failed"] for line in real.run.rounds()] == ["", "", ""]
        for what in ("the ServerApp was killed", "the gateway was killed", "the superlink was killed"):
            assert what in real.said
        nothing_of_a_token_or_key_is_readable(real)


def refused_through_the_gateway(real: Coordinated) -> None:
    """What a device that has joined may not do, and a kit that was used."""
    device, other = real.devices[0], ec.generate_private_key(ec.SECP384R1())
    again, used = join(device.kit, device.key), join(device.kit, other)
    assert again[0] == 200
    assert (used[0], "token" in used[1]["error"]) == (403, True)
    invited = json.loads(real.invite(CLIENTS[0]).read_text())
    for change in ({"token": device.kit["token"]}, {"name": device.kit["name"]}, {"token": "AAAA"}):
        assert join(invited, other, **change)[0] == 403
    assert join(invited, device.key)[0] == 409
    mine = signed(device.key)
    for path in ("/v1/control/start-run", "/v1/control/register-node", "/v1/control/list-nodes"):
        assert call(device.kit, "POST", path, b"", mine)[0] == 404
    for path in ("/v1/fleet/register-node", "/v1/fleet/get-fab"):
        assert call(device.kit, "POST", path, b"", mine)[0] == 403


def nothing_of_a_token_or_key_is_readable(real: Coordinated) -> None:
    """The folder is its owner's alone, and no token stands in it."""
    files = [file for file in (real.home / "federation").rglob("*") if file.is_file()]
    assert len(files) > 10
    assert (real.home / "federation").stat().st_mode & 0o077 == 0
    for device in real.devices:
        assert not [file for file in files if device.kit["token"].encode() in file.read_bytes()]


def the_status_page_shows_it_to_whoever_has_the_token(real: Coordinated) -> None:
    """Live, with all that it needs, and nothing to anybody else."""
    (address,) = re.findall(r"status page: (http://127\.0\.0\.1:\d+/)\?token=\S+", real.said)
    (token,) = re.findall(r"\?token=(\S+)", real.said)
    for path in ("", "?token=", "?token=x", "events", "events?token=x", "..%2fmembers.json", "members.json"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}{path}", timeout=30)
        assert refused.value.code in (403, 404)
        refused.value.close()
    with urllib.request.urlopen(f"{address}?token={token}", timeout=30) as page:
        html, policy = page.read().decode(), page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert 'name="viewport"' in html
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", html)
    for name in re.findall(r'(?:src|href)="(page\.\w+)"', html):
        with urllib.request.urlopen(f"{address}{name}", timeout=30) as asset:
            assert asset.read()
    with urllib.request.urlopen(f"{address}events?token={token}", timeout=30) as events:
        shown = json.loads(events.readline().removeprefix(b"data: "))
    assert [(device["name"], device["state"]) for device in shown["devices"]] == [("hungary", "online")]
    assert shown["gathering"].startswith("1 of 4 connected: hungary")
    assert (shown["done"], shown["rounds"], shown["runs"]) == ([], 3, True)


def the_pages_commands_run(real: Coordinated) -> None:
    """Whatever the guide has an operator do beside `hedgerow up`, in its order.

    But for `--readmit`, which is for a device that was set aside, and nobody is here.
    """
    page = (ROOT / "docs" / "federation.md").read_text().partition("\n## With Flower's own programs")[0]
    lines = re.findall(r"^\$ (.+)$", page, re.MULTILINE)
    others = [line for line in lines if not line.startswith("hedgerow up") and "--readmit" not in line]
    assert len(others) == 9
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for line in others:
        done = subprocess.run(
            shlex.split(line), cwd=real.home, env=path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.long
def test_a_run_with_much_state_goes_on_after_everything_was_killed_at_any_moment(tmp_path):
    simulated = run_experiment(load("heart", STATEFUL), tmp_path / "simulated")
    with coordinated(tmp_path / "real", "heart", STATEFUL, _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        for name in CLIENTS:
            real.join(name)
        for done, victim in enumerate(
            ("ServerApp", "superlink", "ServerApp", "up", "gateway", "superlink"), 1
        ):
            real.wait(lambda done=done: real.rounds() >= done and real.server_app(), f"round {done}")
            if victim == "up":
                real.kill_up()
                real.start()
            else:
                real.kill(victim)
        real.wait_for_the_end()
        assert digest(real.run.model) == digest(simulated.model), real.said


def test_a_federation_is_stopped_and_gone_on_with_by_its_commands(tmp_path):
    with coordinated(tmp_path, "heart", PLAIN, _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        real.join("hungary")
        real.wait(lambda: "1 of 4 connected: hungary" in real.said, "who is there")
        status = json.loads(real.command("status", "--json"))
        assert (status["runs"], sorted(status["processes"])) == (True, ["gateway", "page", "superlink"])
        assert status["register"]["trust"] == "first-use"
        assert [row["state"] for row in json.loads(real.command("devices", "--json"))] == ["online"]
        the_status_page_shows_it_to_whoever_has_the_token(real)
        the_pages_commands_run(real)
        real.command("stop")
        assert real.up is not None
        assert real.up.wait(timeout=60) == 130
        assert "the same command continues" in real.said
        status = json.loads(real.command("status", "--json"))
        assert (status["runs"], status["register"]["trust"]) == (False, "signed")
        real.command("revoke", "hungary")
        assert json.loads(real.command("devices", "--json")) == []
