"""Flower's own strategies run unchanged on the in-process grid; `ray` has them on Flower's engine."""

from typing import Any

import numpy as np

from tests.engines import flower_apps


def test_flowers_strategies_learn_on_the_in_process_grid(in_process_models: dict[str, Any]) -> None:
    assert sorted(in_process_models) == ["fedadam", "fedavg", "krum", "unordered"]
    parts = [flower_apps.samples(i) for i in range(flower_apps.CLIENTS)]
    x, y = (np.concatenate(side) for side in zip(*parts, strict=True))
    for name, model in in_process_models.items():
        loss = float(((x @ model[:4] + model[4] - y) ** 2).mean())
        assert loss < 0.8 * float((y**2).mean()), name
    # Flower asks in a random order, and a float sum depends on it, but only by round-off.
    np.testing.assert_allclose(in_process_models["unordered"], in_process_models["fedavg"], rtol=1e-6)
    assert (in_process_models["krum"] != in_process_models["fedavg"]).all()
