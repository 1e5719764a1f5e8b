"""Every test of this folder starts Ray, or is on a cluster of three nodes that they share."""

import sys
from collections.abc import Iterator

import pytest

from hedgerow.simulation.ray.cluster import RayCluster
from tests.engines.ray.cluster import RayNodes, ray_nodes


@pytest.fixture(scope="package", autouse=True)
def installed() -> None:
    """Skip where there is no Ray, or where it has no clusters."""
    if sys.platform == "win32":
        pytest.skip("Ray has no clusters on Windows")
    pytest.importorskip("ray")


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with ray_nodes() as cluster:
        yield cluster


@pytest.fixture
def cluster(nodes) -> RayCluster:
    return RayCluster(nodes.address)
