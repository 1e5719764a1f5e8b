"""Nothing here talks to anything but this machine; what needs much of it does not run side by side."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

# Machines are shared and noisy: no test is timed.
settings.register_profile("hedgerow", deadline=None)
settings.load_profile("hedgerow")

pytest.register_assert_rewrite("tests.odd", "tests.engines.several_processes")

ONE_WORKER = [Path(__file__).parent / "engines" / folder for folder in ("federation", "ray")]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """A folder that starts many processes is slow, and is left to one worker of pytest-xdist."""
    for item in items:
        for folder in ONE_WORKER:
            if item.path.is_relative_to(folder):
                item.add_marker(pytest.mark.slow)
                item.add_marker(pytest.mark.xdist_group(folder.name))
