"""A cohort of enrolled devices; and the gateway of a module's federation, which is its fixture `folder`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.coordinator.folder import FederationFolder
from tests.attacks.gateways import Raw, gateway, joined
from tests.enrolled import Enrolled


@pytest.fixture
def cohort(tmp_path: Path) -> Enrolled:
    return Enrolled(tmp_path)


@pytest.fixture(scope="module")
def key(folder: FederationFolder, tmp_path_factory: pytest.TempPathFactory) -> ec.EllipticCurvePrivateKey:
    """Of a device that has joined the module's federation."""
    return joined(folder, "kitchen", tmp_path_factory.mktemp("kits"))


@pytest.fixture(scope="module")
def port(folder: FederationFolder) -> Iterator[int]:
    """Of the module's gateway."""
    with gateway(folder) as port:
        yield port


@pytest.fixture
def raw(folder: FederationFolder, port: int) -> Iterator[Raw]:
    """A connection to it."""
    connection = Raw(folder, port)
    yield connection
    connection.socket.close()
