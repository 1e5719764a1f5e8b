"""One federation for all tests of this folder: to start and end it takes as long as a run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.engines.federation.processes import Federation, federation

DEVICES = 3


@pytest.fixture(scope="package")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A SuperLink and three SuperNodes, each with a folder for its identity and its account."""
    home = tmp_path_factory.mktemp("federation")

    def node_config(number: int) -> dict[str, int | str]:
        device = str(home / "devices" / str(number))
        return {"partition-id": number, "enrolment": device, "account": device}

    with federation(home, nodes=DEVICES, node_config=node_config) as running:
        yield running


@pytest.fixture
def devices(real: Federation, tmp_path: Path) -> Sequence[Path]:
    """The devices' folders, empty."""
    place = real.home / "devices"
    if place.exists():
        place.rename(tmp_path / "devices-of-another-test")
    place.mkdir()
    folders = [place / str(number) for number in range(DEVICES)]
    for folder in folders:
        folder.mkdir()
    return folders
