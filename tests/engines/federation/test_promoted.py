"""The hand-over as a whole: `hedgerow up`, a canary on devices, the model on each, and its use there."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hedgerow.client.policy_file import load_policy
from hedgerow.experiments.runs.promote import promote
from hedgerow.node.device import Device
from hedgerow.node.join import join
from hedgerow.node.kit import load_kit
from hedgerow.node.node import Node
from hedgerow.node.prediction import predict
from hedgerow.promotion.canary import Canary
from hedgerow.promotion.delivered import Delivered
from hedgerow.promotion.shelf import Shelf
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.processes import _free_ports
from tests.own_clinics import NAMES, POLICY, RECIPE, write_clinics


@contextmanager
def joined(real: Coordinated, files: list[Path]) -> Iterator[list[Device]]:
    """A device in a thread for each file, which comes back by itself."""
    policy = real.home / "policy.toml"
    policy.write_text(POLICY)
    policy.chmod(0o600)
    devices = [
        join(load_kit(real.invite(name)), real.home / "devices" / name, file, load_policy(policy))
        for name, file in zip(NAMES, files, strict=True)
    ]
    nodes = [Node(device) for device in devices]
    threads = [threading.Thread(target=node.run, daemon=True) for node in nodes]
    for thread in threads:
        thread.start()
    try:
        yield devices
    finally:
        for node in nodes:
            node._stop.set()
        for thread in threads:
            thread.join(timeout=60)


def wait_for(ready, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_promoted_model_reaches_the_devices_by_a_canary_and_is_used_there(tmp_path):
    files = write_clinics(tmp_path, RECIPE)
    with coordinated(tmp_path, str(tmp_path / "clinics.toml"), ["--stay"], _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        with joined(real, files) as devices:
            real.wait(lambda: "the run has ended" in real.said, "end of the run", 300)
            first = promote(real.home / "run", "1")
            assert (first.lineage.trust, first.lineage.clients) == ("first-use", 3)
            reached(devices, first.model)
            # By the federation that runs, and on the devices that a share draws.
            found = promote(real.home / "run", canary=Canary(0.7, worse=1.0, metric="loss"))
            rule = found.rule
            assert (len(rule["asked"]), rule["measured"], rule["dropped"]) == (2, rule["asked"], {})
            asked = [d for d in devices if "evaluate" in (d.folder / "answers.jsonl").read_text()]
            assert {device.name for device in asked} >= set(rule["asked"])
            reached(devices, found.model)
            status = json.loads(real.command("status", "--json"))
            assert status["promoted"]["model"] == found.model
            for device in devices:
                delivered = Delivered(device.folder)
                now = delivered.standing()[0]
                said = predict(delivered.path(now), now.description, tmp_path / "new.csv")
                assert [said.classes[row.argmax()] for row in said.values] == ["yes", "no"]
            Shelf(real.folder.path).rollback()
            reached(devices, first.model)


def reached(devices: list[Device], model: str) -> None:
    wait_for(lambda: all(Delivered(device.folder).has(model) for device in devices))
