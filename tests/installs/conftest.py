"""Environments that are made once for all tests of this folder."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.installs.environments import Environment, build_wheel, install, interpreter

Make = Callable[[str], Environment]


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder that every user of the machine can look into."""
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-installs-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def installs(place: Path) -> Callable[..., Environment]:
    """Makes an environment: of a name, with an extra, and with more packages."""
    python, wheel = interpreter(place / "python"), build_wheel(place / "wheel")
    return lambda name, extra, *more: install(python, place / name, wheel, extra, more)


@pytest.fixture(scope="session")
def environment(installs: Callable[..., Environment]) -> Make:
    """Makes the environment of an extra, or gives the one that was made."""
    return cache(lambda extra: installs(extra or "bare", extra))
