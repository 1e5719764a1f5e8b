"""One federation for all tests of this folder: to start and end it takes as long as a run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import NAME, policy_text
from tests.engines.federation.processes import Federation, federation

DEVICES = 3


@pytest.fixture(scope="package")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A SuperLink and three SuperNodes, each with data, and a folder for identity, policy and accounts."""
    home = tmp_path_factory.mktemp("federation")

    def node_config(number: int) -> dict[str, int | str]:
        device = home / "devices" / str(number)
        return {
            "partition-id": number,
            "data": "fashion-mnist",
            "enrolment": str(device),
            "policy": str(device / NAME),
        }

    with federation(home, nodes=DEVICES, node_config=node_config) as running:
        yield running


@pytest.fixture
def devices(real: Federation, tmp_path: Path) -> Sequence[Path]:
    """The devices' folders, with a policy that lets everything, for a test to be stricter."""
    place = real.home / "devices"
    if place.exists():
        place.rename(tmp_path / "devices-of-another-test")
    place.mkdir()
    folders = [place / str(number) for number in range(DEVICES)]
    for folder in folders:
        folder.mkdir()
        (folder / NAME).write_text(policy_text(replace(Policy.unenrolled(), data=("heart-disease",))))
    return folders
