"""The page, built once as `npm run page` builds it; without node or its packages, tests are skipped."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.operated.phone_page.served import Served, served
from tests.engines.operated.phone_page.tab import WEB
from tests.typescript import why_not


def build(folder: Path) -> Path:
    """Build the page into a folder."""
    asked = ["--outDir", str(folder), "--emptyOutDir", "--logLevel", "warn"]
    command = ["npm", "run", "--silent", "page", "--", *asked]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if why := why_not():
        pytest.skip(f"NO PAGE: the page for phones was NOT looked at: {why}")
    return build(tmp_path_factory.mktemp("page") / "dist")


@pytest.fixture
def host(built: Path) -> Iterator[Served]:
    with served(built) as giving:
        yield giving
