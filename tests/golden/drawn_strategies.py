"""Descriptions of strategies, drawn at random: both languages must build the same, and refuse the same."""

import random
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from typing import Any

from hedgerow.client.policy import strategy_hash
from hedgerow.recipe.strategy import build, describe
from hedgerow.types import LocalTraining
from tests.golden.strategy_vectors import in_rounds

_GOOD = (1, 2, 3, 4, 5, 8, 10, 12, 16, 40, 64, 100, 0.1, 0.25, 0.5, 0.9, 1.0, 1.5, 2.0, 10.0, 1e-5, 1e-6)
_ODD = (0, -1, 17, 1000, 0.0, -0.5, 1e6, 1e30, 3.0, 10**15, None, True, "1")
_TEXTS = (
    "sgd",
    "adam",
    "auto",
    "opacus",
    "zero_out",
    "replace",
    "gaussian",
    "skellam",
    "loss",
    "",
    " loss  mae ",
)
_STEPS = (
    "weight_by_examples()", "weight_by_examples(8)", "clip(1)", "clip(0.5)", "clip(norm=1e-7)",
    "adaptive_clip()",
    "adaptive_clip(0.5, quantile=0.9)", "gaussian_noise(1.0)", "banded_noise(2, 4, 10)",
    "randomized_round(0.0078125, 1.0)", "randomized_round(unit=0.25, norm=1, range=0.5)",
    "distributed_noise(4.0, 1.0, 0.0078125, 6)", "skellam_noise(4.0, 1.0, 0.0078125, 6, 16)",
    "top_k(0.1)", "top_k(1)",
    "random_k(0.25)", "random_k(0.1, unbiased=False)", "quantize(8)", "quantize(1, 'nearest')",
    "quantize(3, rounding='nearest', block=16)", "quantize(8, range=1)", "quantize(12, range=0.5)", "mask()",
    "mask(min_clients=4)", "mask(0.1, 0.1, 5, metrics='loss accuracy')", "mask(failure_bits=64)",
    "mask(0.5, 0.4)",
    "error_feedback(top_k(0.1), quantize(8))", "error_feedback(quantize(2))", "error_feedback()", "float32()",
    "chain()", "quantize(17)", "nonsense(1)", "top_k(0)", "top_k(0.1, 2)", "clip()", "clip(None)",
    "clip('a')",
    " clip( 1 ) ",
)  # fmt: skip
_SAMPLINGS = (
    "uniform(10)", "uniform(fraction=0.5)", "uniform(fraction=1)", "uniform()", "uniform(0.5)",
    "uniform(10.0)",
    "poisson(10, population=100)", "poisson(2.5, 1000)", "poisson(200, population=100)", "poisson(5, 10.0)",
    "cyclic(10, population=100)", "cyclic(4, population=40)", "cyclic(33.3, population=100)",
    "cyclic(1e3, population=1234567)", "cyclic(5000, population=100000)",
)  # fmt: skip
_RULES = (
    "mean()", "median()", "trimmed_mean(0.2)", "trimmed_mean(0.5)", "krum(0.1, 3)", "krum(keep=0)",
    "geometric_median(steps=5)", "mean(1)", "average()",
)  # fmt: skip
_PERSONAL: tuple[Any, ...] = ([], ["norms"], ["last(2)", "head."], "last()", ["last(0)"], ["x(1)"], [1], None)


def descriptions(number: int) -> Iterator[dict[str, Any]]:
    """So many, the same ones each time."""
    draws = random.Random(2026)
    for _ in range(number):
        yield _drawn(draws)


def hash_of(description: dict[str, Any]) -> str | None:
    """The hash of the strategy; `None` if it cannot be built."""
    try:
        return strategy_hash(build(description))
    except (ValueError, ArithmeticError):  # noise of almost nothing
        return None


def _drawn(draws: random.Random) -> dict[str, Any]:
    preset = draws.choice(in_rounds())
    found: dict[str, Any] = {"preset": preset}
    own = _options(preset)
    if draws.random() < 0.5:
        found["options"] = {name: _value(draws, usual) for name, usual in own.items() if draws.random() < 0.3}
    if draws.random() < 0.4:
        local = {field.name: field.default for field in fields(LocalTraining)} | {"nonsense": 1}
        found["local"] = {
            name: _value(draws, usual) for name, usual in local.items() if draws.random() < 0.12
        }
    if draws.random() < 0.4:
        found["pipeline"] = _pipeline(draws)
    for name, texts in (("sampling", _SAMPLINGS), ("aggregate", _RULES), ("personal", _PERSONAL)):
        if draws.random() < 0.3:
            found[name] = draws.choice(texts)
    for name in ("weighted", "quorum", "max_weight", "max_norm", "norm_bound"):
        if draws.random() < 0.12:
            found[name] = _value(draws, name == "weighted" or 1.0)
    return found


@cache
def _options(preset: str) -> dict[str, Any]:
    found: dict[str, Any] = describe(build({"preset": preset}))["options"]
    return found


def _pipeline(draws: random.Random) -> str:
    steps = [draws.choice(_STEPS) for _ in range(draws.choice((1, 1, 1, 2, 2, 3, 4)))]
    if draws.random() < 0.3:
        steps.sort(key=_STEPS.index)
    return steps[0] if len(steps) == 1 else f"chain({', '.join(steps)})"


def _value(draws: random.Random, usual: Any) -> Any:
    """Mostly a value of the usual one's kind."""
    if draws.random() < 0.2:
        return draws.choice(_ODD)
    if isinstance(usual, bool):
        return draws.random() < 0.5
    return draws.choice(_TEXTS) if isinstance(usual, str) else draws.choice(_GOOD)
