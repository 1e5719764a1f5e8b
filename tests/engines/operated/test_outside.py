"""What somebody can do who reaches the gateway, also with a device's key: that device's part, and no more."""

import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import tomli_w
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.coordinator.superlink import CONTROL, FLEET, RELAYED, Control, link_address, link_context
from hedgerow.node.keys import NodeKey
from hedgerow.wire.fleet import FLEET as MESSAGES
from tests.attacks.gateways import Raw, public, signed
from tests.engines.federation.coordinated import Coordinated
from tests.engines.federation.device import join

_MB = 2**20


def stolen(device) -> ec.EllipticCurvePrivateKey:
    """The key of a device, as a thief has it."""
    key = serialization.load_pem_private_key((device.folder / "node.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def raw(real: Coordinated) -> Raw:
    return Raw(real.folder, real.port)


def ask(real: Coordinated, path: str, headers=None, body: bytes = b"", method: str = "POST"):
    """`(status, body)` of one call."""
    connection = raw(real)
    connection.send(method, path, {"content-type": "application/protobuf", **(headers or {})}, body)
    status, _, said = connection.reply()
    connection.socket.close()
    return status, said


@pytest.fixture(scope="module")
def flower(real: Coordinated, tmp_path_factory: pytest.TempPathFactory):
    """Flower's own program, with the gateway as its SuperLink, and its CA."""
    home = tmp_path_factory.mktemp("flower")
    ca = str(real.folder.path / "ca.pem")
    connection = {"address": f"127.0.0.1:{real.port}", "root-certificates": ca}
    (home / "config.toml").write_text(tomli_w.dumps({"superlink": {"default": "there", "there": connection}}))

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(Path(sys.executable).parent / "flwr"), *arguments],
            env={**os.environ, "FLWR_HOME": str(home)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return run


def test_flowers_own_program_starts_no_run_and_registers_no_node(real, devices, flower, tmp_path):
    control = Control(real.folder)
    nodes = control.nodes()
    app = Path(__file__).parents[1] / "tiny-app"
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    (tmp_path / "key.pub").write_bytes(
        ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(*form)
    )
    for arguments in (
        ["run", str(app), "there"],
        ["supernode", "register", str(tmp_path / "key.pub"), "there"],
        ["supernode", "list", "there"],
        ["list", "there"],
    ):
        done = flower(*arguments)
        assert done.returncode != 0, (arguments, done.stdout)
        assert "403" in done.stdout + done.stderr or "404" in done.stdout + done.stderr, done.stderr
    assert control.nodes() == nodes
    assert len(control.unfinished()) <= 1, "the federation's own run is the only one"
    control.close()


def test_every_path_of_the_superlink_that_is_not_on_the_list_is_refused_to_a_device(real, devices):
    with httpx.Client(base_url=link_address(real.folder), verify=link_context(real.folder)) as link:
        served = link.get("/openapi.json").json()["paths"]
    assert set(served) >= RELAYED
    assert len([path for path in served if path.startswith(CONTROL)]) > 20
    key, connection = stolen(devices["garage"]), raw(real)
    tricks = [f"{FLEET}../control/start-run", f"{FLEET}%2e%2e/control/start-run", "//v1/control/start-run",
              "/v1/control/start-run?x", f"{FLEET}pull-messages/../register-node", "/openapi.json", "/docs",
              "/../members.json", "/federation/ca.key"]  # fmt: skip
    for path in [*(set(served) - RELAYED), *tricks]:
        assert connection.ask("POST", path, signed(key)) in (403, 404), path
    connection.socket.close()


def test_a_device_speaks_for_no_other_node(real, devices):
    nodes = json.loads(real.command("devices", "--json"))
    victim = next(row["node_id"] for row in nodes if row["name"] == "kitchen")
    thief = signed(stolen(devices["garage"]))
    as_victim = MESSAGES["Node"](node_id=victim)
    for call, request in {
        "pull-messages": MESSAGES["PullMessagesRequest"](node=as_victim),
        "send-node-heartbeat": MESSAGES["SendNodeHeartbeatRequest"](node=as_victim, heartbeat_interval=30.0),
        "push-messages": MESSAGES["PushMessagesRequest"](node=as_victim),
        "deactivate-node": MESSAGES["DeactivateNodeRequest"](node_id=victim),
        "activate-node": MESSAGES["ActivateNodeRequest"](
            public_key=public(stolen(devices["kitchen"])).encode(), heartbeat_interval=30.0
        ),
    }.items():
        status, said = ask(real, FLEET + call, thief, request.SerializeToString())
        assert 400 <= status < 500, (call, status, said)


def test_what_was_sent_once_is_not_counted_again_when_it_is_sent_again(real, devices, between):
    real.wait(lambda: b"/v1/fleet/push-messages" in b"".join(between.sent), "a reply", 300)
    key, again, rounds = stolen(devices["kitchen"]), 0, real.rounds()
    for sent in [bytes(each) for each in between.sent]:
        for request in sent.split(b"POST ")[1:]:
            head, _, body = request.partition(b"\r\n\r\n")
            path = head.split()[0].decode()
            if path.startswith(FLEET + "push") and again < 12:
                again += 1
                status, _ = ask(real, path, signed(key), body)
                assert status < 500, (path, status)
    assert again > 1
    real.wait(lambda: real.rounds() >= rounds + 2, "two rounds more", 300)
    for line in real.run.rounds():
        assert len(line["clients"]) - len(line["dropped"]) <= 3
        assert line["clients"].get("kitchen", {"bytes_up": 0})["bytes_up"] < 1000, "one reply a round"


def test_a_stolen_key_is_worth_nothing_once_its_device_is_revoked_or_has_another(real, devices):
    kit = json.loads(real.invite("barn").read_text())
    first, second = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    node = join(kit, first)[1]["node_id"]
    assert join(kit, second)[0] == 403, "a token is good once"
    pull = MESSAGES["PullMessagesRequest"](node=MESSAGES["Node"](node_id=node)).SerializeToString()

    def pulls(key: ec.EllipticCurvePrivateKey) -> int:
        return ask(real, FLEET + "pull-messages", signed(key), pull)[0]

    new = NodeKey(second.private_bytes(*_PEM)).public.decode()
    forged = json.dumps({"node_key": new, "signature": "AAAA"}).encode()
    assert ask(real, "/rotate", signed(first), forged)[0] == 403, "the signed header alone moves no key"
    assert ask(real, "/rotate", signed(second), forged)[0] == 401
    assert pulls(first) != 401
    real.command("revoke", "barn")
    assert [pulls(key) for key in (first, second)] == [401, 401]
    assert ask(real, "/leave", signed(first))[0] == 401


_PEM = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


def peak(pid: int) -> float:
    """Megabytes of memory that a process has had at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def test_600_mb_from_strangers_take_less_than_20_mb_of_the_gateway(real, devices):
    gateway = real.process("gateway")
    before, chunk = peak(gateway), bytes(_MB)
    for path in (FLEET + "push-object", "/join", "/register", "/rotate", "/nothing") * 2:
        connection = raw(real)
        connection.send("POST", path, {"content-length": str(600 * _MB)})
        sent = 0
        try:
            while sent < 600:
                connection.socket.sendall(chunk)
                sent += 1
        except (OSError, ssl.SSLError):
            pass
        connection.socket.close()
        assert sent < 60, f"{path} took {sent} MB"
    assert peak(gateway) - before < 20
    assert real.process("gateway") == gateway, "it has not been started again"


def test_1000_connections_that_say_nothing_hold_up_no_device_and_take_little(real, devices):
    gateway = real.process("gateway")
    before = peak(gateway)
    silent = [socket.create_connection(("127.0.0.1", real.port)) for _ in range(1000)]
    for each in silent[::2]:
        each.sendall(b"\x16\x03\x01")
    rounds = real.rounds()
    real.wait(lambda: real.rounds() > rounds, "a round meanwhile", 300)
    for each in silent:
        each.close()
    assert ask(real, "/register", method="GET")[0] == 200
    assert peak(gateway) - before < 120, "without a limit for strangers it is 300 MB"
