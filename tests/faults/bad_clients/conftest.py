"""What odd clients leave in this process goes with its test."""

import sys
from collections.abc import Iterator

import pytest

from tests.faults.bad_clients.acts import hoard, released


@pytest.fixture(autouse=True)
def release() -> Iterator[None]:
    """Let the threads and the memory go that a client has left in this process."""
    if sys.platform != "linux":
        pytest.skip("memory is limited on Linux")
    released.clear()
    yield
    released.set()
    hoard.clear()
