"""Apps in the shapes of Flower's own examples, with 1 and 2 workers; `ray` has them on Flower's engine."""

from pathlib import Path
from typing import Any

import pytest

from tests.engines.simulate_command import SECAGG, SHAPES, result, simulate


def outcome(app: Path, clients: int, workers: int, cwd: Path) -> Any:
    return result(simulate(app, "--clients", str(clients), "--workers", str(workers), cwd=cwd))


def test_queries_split_learning_mods_and_an_own_strategy_do_not_depend_on_workers(tmp_path: Path) -> None:
    one = outcome(SHAPES, 3, 1, tmp_path)
    assert sum(one["histogram"]) == 3 * 40 * 2
    assert one["losses"] == sorted(one["losses"], reverse=True)
    assert len(set(one["losses"])) == 3
    assert one["asked"] == 2 * 3
    assert 0.0 == one["norms"][0] < one["norms"][1] < one["norms"][2]
    steps = "query.embed train.backward " * 3
    assert one["types"] == [f"query {steps}train evaluate train evaluate query.types"]
    assert one["begun"] == [1 + 6 + 4 + 1] * 3
    assert outcome(SHAPES, 3, 2, tmp_path) == one


@pytest.mark.slow
def test_flowers_secure_aggregation_goes_on_without_a_client_that_is_too_slow(tmp_path: Path) -> None:
    mean = outcome(SECAGG, 5, 2, tmp_path)
    assert mean == pytest.approx([(1 + 2 + 3 + 4) / 4] * 3, abs=1e-3)
