"""One federation of three devices for all tests of this folder, with canaries in data and keys.

`kitchen` speaks through a proxy that keeps what it sends; `shed` is a process.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.processes import _free_ports
from tests.engines.operated.canaries import Canaries
from tests.engines.operated.devices import RECIPE, DeviceProcess, OwnDevice, table
from tests.engines.operated.proxy import Proxy, proxy
from tests.engines.operated.receiver import Receiver, receiver

LOST_AFTER = "8"
"""Seconds; 20 by default."""


@pytest.fixture(scope="package")
def traces() -> Iterator[Receiver]:
    """What the operator's OTLP endpoint gets."""
    with receiver() as taking, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taking.address)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield taking


@pytest.fixture(scope="package")
def real(traces: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinated]:
    home = tmp_path_factory.mktemp("operated")
    recipe = home / "clinics.toml"
    recipe.write_text(RECIPE)
    with coordinated(home, str(recipe), ["--lost-after", LOST_AFTER], _free_ports(1)[0]) as running:
        running.start()
        running.wait_until_it_serves()
        yield running


@pytest.fixture(scope="package")
def between(real: Coordinated) -> Iterator[Proxy]:
    """Stands between kitchen and the gateway, with the gateway's own certificate."""
    with proxy(real.folder, real.port) as standing:
        yield standing


@pytest.fixture(scope="package")
def canaries(real: Coordinated) -> Canaries:
    return Canaries(f"patients-{secrets.token_hex(8)}", secrets.SystemRandom())


@pytest.fixture(scope="package")
def devices(real: Coordinated, between: Proxy, canaries: Canaries) -> Iterator[dict[str, OwnDevice]]:
    """All of them take part."""
    kinds = {"garage": OwnDevice, "kitchen": OwnDevice, "shed": DeviceProcess}
    made: dict[str, OwnDevice] = {}
    for seed, (name, kind) in enumerate(kinds.items()):
        folder = real.home / canaries.folder / name
        folder.mkdir(parents=True)
        made[name] = kind(real, name, table(folder / "patients.csv", seed, canaries.row))
    made["kitchen"].through(between.address)
    for device in made.values():
        device.start()
    yield made
    for device in made.values():
        device.end()


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Where pictures are kept for the README: the folder that HEDGEROW_PICTURES names."""
    named = os.environ.get("HEDGEROW_PICTURES")
    return Path(named) if named else None
