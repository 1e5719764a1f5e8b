"""Keys change, certificates are renewed, and a backup goes on elsewhere: with the same devices.

It ends the federation of the other tests here, and so comes last.
"""

import ssl

import pytest
from cryptography import x509

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.node.connection import Connection, Unreachable
from hedgerow.node.device import Device
from hedgerow.node.keys import node_key
from hedgerow.node.rotate import move, rotate
from tests.attacks.gateways import gateway
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.processes import _free_ports


def certificate(real: Coordinated) -> x509.Certificate:
    """What the gateway shows to a new connection."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", real.port)).encode())


def counted(real: Coordinated, after: int, names: set[str]) -> bool:
    """Whether all of them counted in a later round."""
    return any(
        set(line["clients"]) - set(line["dropped"]) == names
        for line in real.run.rounds()
        if line["round"] > after and not line["failed"]
    )


def test_a_renewed_certificate_and_a_new_key_change_nothing_for_a_device(real, devices, tmp_path):
    first = certificate(real)
    assert "gateway" in real.command("certificates", "--renew")
    real.wait(lambda: certificate(real) != first, "the renewed certificate")
    assert certificate(real).issuer == first.issuer
    garage = devices["garage"]
    garage.end()
    old = node_key(garage.folder / "node.key")
    rotate(Device(garage.folder))
    kit = Device(garage.folder).enrolled.kit
    stolen = Connection(kit.address, kit.ca, old)
    with pytest.raises(Exception, match="has not joined, or was revoked"):
        stolen.call("/v1/fleet/pull-messages", b"")
    stolen.close()
    garage.start()
    rounds = real.rounds()
    real.wait(lambda: counted(real, rounds, set(devices)), "a round of all three", 400)
    assert "'garage' has a new key" in real.command("logs", "up")
    foreign = FederationFolder.make(tmp_path / "foreign")
    with gateway(foreign):
        pass  # makes its CA
    connection = Connection(kit.address, (foreign.path / "ca.pem").read_text(), old)
    with pytest.raises(Unreachable, match="is not the server in the kit"):
        connection.call("/v1/fleet/pull-messages", b"")


def test_a_backup_goes_on_at_another_address_with_the_same_devices(real, devices, tmp_path):
    real.wait(lambda: real.rounds() >= 1, "a round", 300)
    real.command("backup", str(tmp_path / "clinics.tar"))
    assert (tmp_path / "clinics.tar").stat().st_mode & 0o077 == 0
    real.command("stop")
    for device in devices.values():
        device.end()
    there = tmp_path / "there"
    with coordinated(there, str(there / "run"), ["--federation", "federation"], _free_ports(1)[0]) as moved:
        moved.command("restore", str(tmp_path / "clinics.tar"), "--out", "run")
        done = moved.rounds()
        assert done >= 1
        moved.start()
        moved.wait_until_it_serves()
        assert moved.port != real.port
        for device in devices.values():
            move(Device(device.folder), f"https://127.0.0.1:{moved.port}")
            device.start()
        moved.wait(lambda: counted(moved, done, set(devices)), "a round of all three", 400)
        assert len(moved.command("devices").splitlines()) == 3
        assert moved.run.rounds()[:done] == real.run.rounds()[:done]
        for device in devices.values():
            device.end()
