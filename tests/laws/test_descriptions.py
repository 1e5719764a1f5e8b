"""A strategy is described by plain JSON, and built from it again."""

import json
from dataclasses import replace

import pytest

from hedgerow.recipe.strategy import build, describe
from hedgerow.strategies import chain, clip, cyclic, mask, median, parse_pipeline, poisson, quantize, uniform
from hedgerow.strategies.presets import PRESETS, fedavg, fedprox
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining

SAMPLED = {
    "dp_fedavg": {"sampling": poisson(12.3456789, population=200)},
    "dp_ftrl": {"sampling": cyclic(10, population=100), "bands": 4, "epsilon": 3.0},
    "secure_dp_fedavg": {"sampling": cyclic(50, population=500), "noise": "skellam"},
    "secure_fedavg": {"pipeline": parse_pipeline("random_k(0.5)"), "max_examples": 50, "weighted": False},
    "fedavg": {"pipeline": parse_pipeline("error_feedback(top_k(0.1), quantize(4))"), "max_norm": 3.0},
    "fedprox": {"mu": 0.3, "local": LocalTraining(epochs=3)},
    "feddyn": {"alpha": 0.25, "sampling": uniform(fraction=0.3)},
    "fedadam": {"server_learning_rate": 1, "aggregate": median()},
}

MASKED = chain(clip(1.0), quantize(8, range=1.0), mask())


def parts(strategy: Strategy) -> dict[str, object]:
    found = {name: value for name, value in vars(strategy).items() if name != "origin"}
    named = {name: getattr(value, "name", value) for name, value in found.items()}
    return named | {"streams": [stream.name for stream in strategy.streams]}


@pytest.mark.parametrize("options", [{}, SAMPLED], ids=["by default", "with arguments"])
@pytest.mark.parametrize("name", PRESETS.names())
def test_every_presets_strategy_comes_back_from_its_description(name, options) -> None:
    strategy = PRESETS.get(name)(**options.get(name, {}))
    told = json.loads(json.dumps(describe(strategy)))
    again = build(told)
    assert parts(again) == parts(strategy)
    assert describe(again) == told
    assert again.pipeline.kinds == strategy.pipeline.kinds
    assert again.sampling.choose(["a", "b", "c"], 1, 1) == strategy.sampling.choose(["a", "b", "c"], 1, 1)


def test_what_a_strategy_was_given_later_is_in_its_description() -> None:
    strategy = replace(fedavg(), local=LocalTraining(epochs=7), sampling=uniform(3), quorum=1.0)
    assert parts(build(describe(strategy))) == parts(strategy)


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        (Strategy(), "put together by hand"),
        (replace(fedavg(), pipeline=quantize(8)), "has another pipeline"),
        (replace(fedprox(0.1), local=LocalTraining(proximal=0.2)), "has another local"),
        (
            replace(fedavg(weighted=False), pipeline=chain(clip(1.0), quantize(8, range=1.0), mask())),
            "pipeline",
        ),
    ],
    ids=["by hand", "pipeline", "local", "mask"],
)
def test_a_strategy_that_its_description_would_not_give_back_has_none(strategy, why) -> None:
    with pytest.raises(ValueError, match=why):
        describe(strategy)


@pytest.mark.parametrize(
    ("description", "why"),
    [
        ({}, "there is no strategy ''"),
        ({"preset": "fedvag"}, "Did you mean 'fedavg'"),
        ({"preset": "fedavg", "pipline": "float32()"}, "Did you mean 'pipeline'"),
        ({"preset": "fedavg", "pipeline": 8}, "pipeline is 8; it must be a text"),
        ({"preset": "fedavg", "sampling": "uniform(0)"}, "at 'uniform\\(0\\)'"),
        ({"preset": "fedavg", "local": {"epoch": 1}}, "Did you mean 'epochs'"),
        ({"preset": "fedavg", "local": [1]}, "it must be a table"),
        ({"preset": "fedprox", "options": {"nu": 1}}, "fedprox cannot be built"),
        ({"preset": "fedavg", "options": {"pipeline": "float32()"}}, "which belong next to it"),
        ({"preset": "fedprox", "options": {"mu": -1}}, "mu is -1"),
    ],
    ids=str,
)
def test_what_describes_no_strategy_is_refused_by_name(description, why) -> None:
    with pytest.raises(ValueError, match=why):
        build(description)
