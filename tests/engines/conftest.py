"""What every engine is compared with."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.simulation.server_app import run_server_app
from tests.engines import flower_apps
from tests.engines.several_processes import own_processes
from tests.engines.stateful_run import OVERRIDES, RECIPE


@pytest.fixture(scope="session")
def in_process(tmp_path_factory) -> RunFolder:
    """The stateful run in this process."""
    return run_experiment(load(RECIPE, OVERRIDES), tmp_path_factory.mktemp("in-process") / "run")


@pytest.fixture(scope="session")
def in_process_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray[Any, Any]]:
    out = tmp_path_factory.mktemp("in-process") / "models.npz"
    grid = InProcessGrid(flower_apps.client_app(), flower_apps.CLIENTS)
    run_server_app(flower_apps.server_app(out), grid)
    return dict(np.load(out))


@pytest.fixture
def no_process_is_left() -> Iterator[None]:
    yield
    assert own_processes() == []
