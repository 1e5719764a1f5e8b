"""Who may fetch the promoted model at the gateway, and what of it; and what a device does with it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import NAME as POLICY
from hedgerow.client.policy_file import policy_text
from hedgerow.coordinator import delivery
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.members import invite, join
from hedgerow.coordinator.status import status_of, told
from hedgerow.node import promoted
from hedgerow.node.connection import Connection
from hedgerow.node.device import Device, Enrolled
from hedgerow.node.fleet import Fleet
from hedgerow.node.kit import load_kit
from hedgerow.node.promoted import PromotedModel
from hedgerow.promotion import delivered
from hedgerow.promotion.delivered import Delivered
from hedgerow.promotion.shelf import Shelf
from tests.attacks.gateways import Raw, gateway, joined, signed
from tests.promoted import content, make


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    return FederationFolder.make(tmp_path / "federation")


def test_devices_alone_fetch_the_promoted_model_and_nothing_else(folder, tmp_path):
    key = joined(folder, "kitchen", tmp_path)
    shelf, stranger = Shelf(folder.path), ec.generate_private_key(ec.SECP384R1())
    with gateway(folder) as port:
        raw = Raw(folder, port)
        raw.send("GET", "/model", signed(key))
        status, _, body = raw.reply()
        assert (status, json.loads(body)["error"]) == (404, "no model has been promoted yet")
        old, now = shelf.promote(content(1), make), shelf.promote(content(2), make)
        raw.send("GET", "/model", signed(key))
        status, headers, body = raw.reply()
        assert (status, headers["etag"]) == (200, f'"{now.model}"')
        assert json.loads(body) == now.to_json()
        raw.send("GET", f"/model/{now.model}/0", signed(key))
        assert raw.reply()[2] == content(2)
        assert raw.ask("GET", "/model", {**signed(key), "if-none-match": f'"{now.model}"'}) == 304
        assert raw.ask("GET", "/model", {**signed(key), "if-none-match": f'"{old.model}"'}) == 200
        for path in ("/model", f"/model/{now.model}/0"):
            for headers in ({}, signed(stranger), signed(key, age=1000)):
                assert raw.ask("GET", path, headers) == 401
        for path in (
            f"/model/{old.model}/0", f"/model/{now.model}/1", f"/model/{now.model}", f"/model/{now.model}/-1",
            f"/model/{now.model}/0/0", f"/model/{now.model}/1e3", "/model/../members.json",
            "/model/%2e%2e/0", "/models", "/model/", f"/model/{now.model.upper()}/0",
        ):  # fmt: skip
            assert raw.ask("GET", path, signed(key)) == 404, path
        assert raw.ask("POST", "/model", signed(key)) == 405
        raw.socket.close()
    assert status_of(folder)["promoted"]["digest"] == now.model
    assert f"promoted: {now.model[:16]}, round 2 of demo" in told(status_of(folder))


def device_of(folder: FederationFolder, port: int, tmp_path: Path, policy: Policy) -> Device:
    """A device that has joined, of a federation without a SuperLink."""
    file = invite(folder, "kitchen", tmp_path)
    kit = replace(load_kit(file), address=f"https://127.0.0.1:{port}")
    device = Device.make(tmp_path / "device", Enrolled(kit, True, 7, "clinic.csv", 0.0))
    (device.folder / POLICY).write_text(policy_text(policy))
    request = {**json.loads(file.read_text()), "node_key": device.key.public.decode()}
    join(folder, request, lambda key, name: 7)
    return device


@pytest.mark.parametrize("taken", [True, False])
def test_a_device_follows_the_promoted_model_unless_its_policy_says_otherwise(
    folder, tmp_path, taken, monkeypatch
):
    for module in (delivered, delivery):
        monkeypatch.setattr(module, "PIECE", 64)
    monkeypatch.setattr(promoted, "_AT_ONCE_SECONDS", 0.0)
    now, said, steps = Shelf(folder.path).promote(content(2, 100), make), [], 0
    with gateway(folder) as port:
        device = device_of(folder, port, tmp_path, Policy(models=taken))
        connection = Connection(device.enrolled.kit.address, device.enrolled.kit.ca, device.key)
        follower, fleet = PromotedModel(device, said.append), Fleet(connection, 7)
        for announced in (now.model, f"../{now.model[3:]}"):
            connection.model = announced  # as the gateway's answer to a pull has it
            while follower.follow(fleet):
                connection.model, steps = announced, steps + 1
        connection.close()
    assert Delivered(device.folder).has(now.model) == taken
    assert (steps > 3) == taken
    wanted = "has the promoted model" if taken else "by this device's policy, it takes no promoted models"
    assert [wanted in line for line in said] == [True]
