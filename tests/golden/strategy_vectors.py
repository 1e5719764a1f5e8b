"""Golden vectors of strategies: descriptions, and what a device must know of each; or why it is refused.

Each description is a JSON text, so that `1` and `1.0` stay apart.
"""

import json
from functools import cache
from typing import Any

from hedgerow.client.policy import client_event, strategy_hash
from hedgerow.privacy.events import to_json
from hedgerow.recipe.strategy import build
from hedgerow.strategies.measuring import refuse_client_evaluation, refuse_evaluation
from hedgerow.strategies.presets import PRESETS

_MANY = "cyclic(20, population=200)"
_ADAPTIVE = {"server_learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.5, "tau": 0.1}

_BUILT: list[dict[str, Any]] = [
    {},
    {"pipeline": "quantize(8)", "sampling": "uniform(5)", "weighted": False, "quorum": 1},
    {"pipeline": "error_feedback(top_k(0.1), quantize(8))", "aggregate": "median()"},
    {"pipeline": "random_k(0.25)", "aggregate": "trimmed_mean(0.25)", "personal": ["head.", "last(2)"]},
    {"sampling": "uniform(fraction=0.25)", "aggregate": "krum(0.1, 3)", "max_norm": 2, "norm_bound": 0},
    {"sampling": "uniform(fraction=1)", "aggregate": "geometric_median()", "max_weight": 9.5},
    {"sampling": "poisson(2.5, population=1000)", "personal": "norms"},
    {"sampling": "cyclic(1e3, population=1234567)"},
    {"local": {"learning_rate": 1, "epochs": 3, "batch_size": 0, "max_steps": 7}},
    {"local": {"learning_rate_decay": 0.99}},
    {"local": {"optimizer": "adam", "learning_rate": 1e-05, "weight_decay": 0.001, "clip_gradient": 1}},
    {"local": {"time_budget": 2, "momentum": 0.9, "clip_samples": 1.5, "sample_gradients": "opacus"}},
    {"local": {"clip_samples": 1, "sample_noise": 1.1, "sample_rate": 0.02, "sample_delta": 1e-4}},
    {"pipeline": "chain(clip(5), quantize(8, range=1.0), mask(min_clients=5))", "weighted": False},
    {"pipeline": "chain(clip(1e-3), float32())"},
    {"preset": "fedprox"},
    {"preset": "fedprox", "options": {"mu": 0}},
    {"preset": "fedprox", "options": {"mu": 1}, "local": {"momentum": 0.5}},
    {"preset": "fedavgm", "options": {"server_learning_rate": 2, "server_momentum": 0.5}},
    {"preset": "fedadam", "options": _ADAPTIVE},
    {"preset": "fedyogi", "options": _ADAPTIVE},
    {"preset": "fedadagrad", "options": {"server_learning_rate": 0.1, "tau": 0.1}},
    {"preset": "secure_fedavg"},
    {"preset": "secure_fedavg", "options": {"clip_norm": 1, "bits": 8, "max_examples": 64, "min_clients": 4}},
    {"preset": "secure_fedavg", "options": {"value_range": 0.5, "corrupt": 0, "dropout": 0.1, "metrics": ""}},
    {"preset": "secure_fedavg", "pipeline": "random_k(0.1)", "weighted": False},
    {"preset": "secure_fedavg", "pipeline": "weight_by_examples(8)", "personal": ["last(1)"]},
    {"preset": "dp_fedavg"},
    {"preset": "dp_fedavg", "options": {"clip_quantile": 0.5, "epsilon": 8}, "pipeline": "quantize(8)"},
    {"preset": "dp_fedavg", "options": {"clip_norm": 1, "noise_multiplier": 2}, "sampling": _MANY},
    {"preset": "dp_ftrl"},
    {"preset": "dp_ftrl", "options": {"bands": 4, "horizon": 3, "server_momentum": 0.9}},
    {"preset": "secure_dp_fedavg"},
    {"preset": "secure_dp_fedavg", "options": {"noise": "skellam", "bits": 12, "epsilon": 8.0}},
    {
        "preset": "secure_dp_fedavg", "sampling": _MANY,
        "options": {"clip_norm": 1, "noise_multiplier": 2.0, "bits": 20, "value_range": 0.5, "corrupt": 0.1},
    },
    {"preset": "secure_dp_fedavg", "options": {"min_clients": 4}, "sampling": "cyclic(4, population=40)"},
    {"preset": "scaffold"},
    {"preset": "scaffold", "options": {"server_learning_rate": 0.5}, "pipeline": "quantize(8)"},
    {"preset": "fednova"},
    {"preset": "fednova", "local": {"momentum": 0.9, "proximal": 1, "weight_decay": 0.5, "max_steps": 9}},
    {"preset": "fednova", "local": {"proximal": 1, "weight_decay": 0, "learning_rate": 1}},
    {
        "preset": "fednova", "weighted": False,
        "pipeline": "chain(clip(1.0), quantize(12, range=1.0), mask(min_clients=4))",
    },
    {"preset": "feddyn"},
    {"preset": "feddyn", "options": {"alpha": 1}, "pipeline": "top_k(0.1)"},
    {"preset": "fedper"},
    {"preset": "fedper", "options": {"layers": 2}},
    {"preset": "fedper", "personal": ["head."]},
    {"preset": "fedbn"},
    {"preset": "fedbn", "personal": ["norms", "head.[ab]"]},
]  # fmt: skip

_REFUSED: list[dict[str, Any]] = [
    {"preset": "fedavg2"},
    {"preset": "fedavg", "options": {"mu": 1}},
    {"preset": "fedavg", "nothing": 1},
    {"preset": "fedavg", "options": {"quorum": 1}},
    {"preset": "fedavg", "options": []},
    {"preset": "fedavg", "local": {"speed": 1}},
    {"preset": "fedavg", "local": {"epochs": 0}},
    {"preset": "fedavg", "local": {"epochs": 2.0}},
    {"preset": "fedavg", "local": {"learning_rate": "0.1"}},
    {"preset": "fedavg", "local": {"learning_rate": True}},
    {"preset": "fedavg", "local": {"optimizer": "adam", "momentum": 0.5}},
    {"preset": "fedavg", "local": {"sample_noise": 1}},
    {"preset": "fedavg", "local": {"sample_rate": 0.5}},
    {"preset": "fedavg", "local": {"sample_adjacency": "replace"}},
    {"preset": "fedavg", "local": {"sample_gradients": "hedgerow"}},
    {
        "preset": "fedavg",
        "local": {
            "clip_samples": 1, "sample_noise": 1, "sample_rate": 0.1, "sample_delta": 0.1, "time_budget": 1,
        },
    },
    {"preset": "fedavg", "quorum": 0},
    {"preset": "fedavg", "norm_bound": 0.5},
    {"preset": "fedavg", "personal": [1]},
    {"preset": "fedavg", "personal": None},
    {"preset": "fedavg", "weighted": 1},
    {"preset": "fedavg", "aggregate": "median()", "weighted": True},
    {"preset": "fedavg", "pipeline": 8},
    {"preset": "fedavg", "pipeline": "quantize(8, range=1.0)"},
    {"preset": "fedavg", "pipeline": "adaptive_clip()"},
    {"preset": "fedavg", "pipeline": "chain(clip(1.0), mask())"},
    {"preset": "fedavg", "pipeline": "chain(quantize(8, range=1.0), mask())", "aggregate": "median()"},
    {"preset": "fedavg", "pipeline": "chain(quantize(8, range=1.0), mask())", "max_norm": 1.0},
    {"preset": "fedavg", "pipeline": "chain(quantize(8, range=1.0), mask())", "norm_bound": 3.0},
    {"preset": "fedavg", "pipeline": "gaussian_noise(1.0)", "weighted": False},
    {"preset": "fedavg", "pipeline": "chain(clip(1.0), gaussian_noise(1.0))", "weighted": False},
    {"preset": "secure_fedavg", "options": {"bits": 17}},
    {"preset": "secure_fedavg", "sampling": "poisson(5000, population=100000)"},
    {"preset": "dp_fedavg", "weighted": True},
    {"preset": "dp_fedavg", "sampling": "uniform(10)"},
    {"preset": "dp_fedavg", "quorum": 0.75},
    {"preset": "dp_fedavg", "aggregate": "median()"},
    {"preset": "dp_fedavg", "pipeline": "error_feedback(top_k(0.1))"},
    {"preset": "dp_fedavg", "pipeline": "chain(quantize(8, range=1.0), mask())"},
    {"preset": "dp_fedavg", "options": {"clip_norm": 1e6}},
    {"preset": "dp_ftrl", "options": {"bands": 20}},
    {"preset": "dp_ftrl", "sampling": "poisson(10, population=100)"},
    {"preset": "secure_dp_fedavg", "pipeline": "quantize(8)"},
    {"preset": "secure_dp_fedavg", "sampling": "cyclic(5, population=100)"},
    {"preset": "secure_dp_fedavg", "sampling": "poisson(50, population=100)"},
    {"preset": "scaffold", "weighted": True},
    {"preset": "scaffold", "local": {"momentum": 0.9}},
    {"preset": "scaffold", "local": {"optimizer": "adam"}},
    {"preset": "scaffold", "local": {"proximal": 0.1}},
    {"preset": "scaffold", "aggregate": "krum()"},
    {"preset": "scaffold", "max_norm": 1.0},
    {"preset": "scaffold", "pipeline": "chain(clip(1.0), quantize(12, range=1.0), mask(min_clients=4))"},
    {"preset": "fednova", "local": {"clip_gradient": 1.0}},
    {"preset": "fednova", "local": {"learning_rate_decay": 0.9, "proximal": 0.1}},
    {"preset": "fednova", "aggregate": "median()"},
    {"preset": "fednova", "pipeline": "chain(quantize(12, range=1.0), mask(min_clients=4))"},
    {"preset": "feddyn", "options": {"alpha": 0}},
    {"preset": "feddyn", "local": {"optimizer": "adam"}},
    {"preset": "fedper", "options": {"layers": 2}, "personal": ["head."]},
    {"preset": "fedper", "options": {"layers": 1.0}},
    {"preset": "fedbn", "personal": ["nothing(1)"]},
]  # fmt: skip


@cache
def in_rounds() -> list[str]:
    """The presets that a real federation has: where replies count as they arrive, only simulations do."""
    return [name for name in PRESETS.names() if build({"preset": name}).arrivals is None]


def strategies() -> Any:
    """Every packaged preset of a real federation, with and without options, and what cannot be built."""
    assert {each.get("preset", "fedavg") for each in _BUILT} == set(in_rounds())
    return {
        "built": [_told({"preset": "fedavg"} | each) for each in _BUILT],
        "refused": [{"description": json.dumps(each), "why": _why(each)} for each in _REFUSED],
    }


def _told(description: dict[str, Any]) -> dict[str, Any]:
    strategy = build(description)
    secure, event = strategy.pipeline.protection.secure, client_event(strategy)
    return {
        "description": json.dumps(description),
        "name": strategy.name,
        "pipeline": strategy.pipeline.name,
        "hash": strategy_hash(strategy),
        "needs": sorted(strategy.needs),
        "traits": sorted(strategy.traits),
        "streams": [stream.name for stream in strategy.streams],
        "personal": list(strategy.personal),
        "keeps": [strategy.stateful, strategy.keeps_pace],
        "hides": [strategy.pipeline.sum_only, strategy.private],
        "apart": strategy.sampling.groups or 1,
        "secure": None if secure is None else [secure.min_clients, secure.corrupt, secure.min_honest],
        "event": None if event is None else {name: _plain(value) for name, value in to_json(event).items()},
        "evaluation": [refuse_evaluation(strategy), refuse_client_evaluation(strategy)],
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)


def _why(description: dict[str, Any]) -> str:
    try:
        build(description)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{description} is not refused")
