"""Nothing here talks to anything but this machine; what needs much of it does not run side by side."""

import os
from typing import Any

import pytest
from hypothesis import settings

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

# Machines are shared and noisy: no test is timed.
settings.register_profile("hedgerow", deadline=None)
settings.load_profile("hedgerow")

pytest.register_assert_rewrite("tests.odd", "tests.cohorts", "tests.engines.several_processes")

# Their tests start many processes: slow, and two Rays at a time starve each other.
ONE_WORKER = (
    "tests/installs/", "tests/engines/federation/", "tests/engines/operated/", "tests/engines/ray/",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(ONE_WORKER):
            item.add_marker(pytest.mark.slow)
    # What takes longest begins first, or one worker would wait for the other's at the end.
    items.sort(key=lambda item: not item.nodeid.startswith(ONE_WORKER))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n 3`: such a folder as a whole goes to one worker, any other file to whichever is free.

    In two workers the tests of a file would each have its fixtures made, some of which are runs.
    `--dist loadgroup` would do so by marks, but with pytest 9.2 it no longer does (pytest-xdist issue 1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    class Folders(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in ONE_WORKER if file.startswith(folder)), file)

    config.option.loadscopereorder = False  # not the files with most tests first: those take little
    return Folders(config, log)
