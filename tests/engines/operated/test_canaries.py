"""Nothing of a device's data and keys is in what it sends, nor anywhere on the coordinator's side."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from hedgerow.coordinator.metrics import exposition
from hedgerow.coordinator.watch import snapshot
from tests.engines.federation.coordinated import Coordinated
from tests.engines.operated.canaries import of_secret, scalar, seen
from tests.engines.operated.devices import page_address


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for place in sorted(folder.rglob("*")):
        if place.is_file():
            yield str(place), place.read_bytes()


def processes() -> Iterator[tuple[str, bytes]]:
    """Command lines of all processes, as any user of the machine sees them."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield str(place), place.read_bytes()
        except OSError:  # it has ended
            continue


def shown(real: Coordinated, traces: object) -> Iterator[tuple[str, bytes]]:
    """What an operator and their monitoring see."""
    with urllib.request.urlopen(page_address(real).replace("/?", "/events?"), timeout=60) as events:
        yield "page", events.readline()
    yield "snapshot", json.dumps(snapshot(real.folder)).encode()
    yield "metrics", exposition(real.folder)
    for body in traces.bodies:
        yield "trace", body


def test_no_canary_of_data_or_keys_leaves_a_device(real, devices, between, canaries, traces):
    real.wait(lambda: real.rounds() >= 2, "two rounds", 300)
    secrets = {}
    for name, device in devices.items():
        secrets |= of_secret(f"node key of {name}", scalar((device.folder / "node.key").read_bytes()))
        identity = bytes.fromhex((device.folder / "identity.key").read_text().strip())
        secrets |= of_secret(f"identity key of {name}", identity)
    forms = canaries.forms() | secrets
    assert len(forms) > 500
    sent = b"".join(between.sent)
    for expected in (b"/v1/fleet/push-object", b"hedgerow", b"num-examples", b"/join"):
        assert expected in sent, "the proxy must have seen what the device says"
    assert list(seen(forms, [("sent by kitchen", sent)])) == []
    assert list(seen(forms, files(real.home / "federation"))) == []
    assert list(seen(forms, files(real.home / "run"))) == []
    assert list(seen(forms, [("hedgerow up", real.said.encode())])) == []
    assert list(seen(forms, shown(real, traces))) == []
    assert list(seen(forms, processes())) == []


def test_the_search_finds_what_does_leave_its_place(devices, canaries):
    """The forms are those that the device itself keeps."""
    kitchen = devices["kitchen"]
    own = [*files(kitchen.folder), *files(kitchen.data.parent)]
    secret = of_secret("node key", scalar((kitchen.folder / "node.key").read_bytes()))
    found = set(seen(canaries.forms() | secret, own))
    assert any(line.startswith("cell 0 as text") for line in found)
    assert any(line.startswith("name of the data folder") for line in found), "device.json names the data"
    identity = (kitchen.folder / "identity.key").read_text().strip()
    assert any(seen(of_secret("identity", bytes.fromhex(identity)), own))
