"""A cohort of enrolled devices."""

from pathlib import Path

import pytest

from tests.enrolled import Enrolled


@pytest.fixture
def cohort(tmp_path: Path) -> Enrolled:
    return Enrolled(tmp_path)
