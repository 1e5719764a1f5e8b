"""Bad configurations: what the user is told.

Each names the place, what was given, what is allowed and, where there is one,
the nearest name. Several mistakes come in one error.
"""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import pytest

from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.expand import put
from hedgerow.experiments.config.parse import parse
from tests.faults.configurations import GOOD

# (key, value, what the user reads, in this order)
CASES: list[tuple[str, Any, list[str]]] = [
    ("sed", 3, ["sed = 3: there is no such key; allowed are name,", "Did you mean 'seed'?"]),
    ("evaluation.evry", 2, ["evaluation.evry = 2: there is no such key", "every", "Did you mean 'every'?"]),
    (
        "strategy.server_learning_rat",
        1,
        ["strategy.server_learning_rat = 1", "Did you mean 'server_learning_rate'?"],
    ),
    (
        "strategy.mu",
        0.1,
        ["strategy.mu = 0.1: there is no such key", "server_learning_rate, beta_1, beta_2, tau"],
    ),
    (
        "local.learning_rat",
        1,
        ["local.learning_rat = 1: there is no such key", "Did you mean 'learning_rate'?"],
    ),
    (
        "strategy.population",
        50,
        ["strategy.population = 50: it must be left out: fedadam samples"],
    ),
    ("strategy.name", "dp_fedavg", ["dp_fedavg needs population, the intended number of clients"]),
    ("data.partition.alhpa", 1, ["data.partition.alhpa = 1", "Did you mean 'alpha'?"]),
    ("data.label", "x", ['data.label = "x": there is no such key']),
    ("model.hiden", 3, ["model.hiden = 3: there is no such key"]),
    ("rounds", "three", ['rounds = "three": it must be a whole number']),
    ("rounds", 2.5, ["rounds = 2.5: it must be a whole number"]),
    ("rounds", True, ["rounds = true: it must be a whole number"]),
    ("rounds", 0, ["rounds = 0: it must be a whole number of at least 1"]),
    ("name", "", ['name = "": it must be a text of one line that is not empty']),
    ("name", "a\nb", ['name = "a\\nb": it must be a text of one line']),
    ("seed", "0", ['seed = "0": it must be a whole number']),
    ("data", 3, ["data = 3: it must be a table"]),
    ("local.batch_size", [10], ["local.batch_size = [10]: it must be a whole number"]),
    (
        "local.optimizer",
        "adma",
        ["local.optimizer = \"adma\": it must be one of 'sgd'", "Did you mean 'adam'?"],
    ),
    ("local.learning_rate", -1, ["local.learning_rate = -1", "it must be a number above 0"]),
    ("local.learning_rate", float("nan"), ["local.learning_rate = nan: it must be a finite number"]),
    ("strategy.weighted", 1, ["strategy.weighted = 1: it must be true or false"]),
    ("strategy.quorum", 1.5, ["strategy.quorum = 1.5: it must be a number above 0 and at most 1"]),
    ("strategy.max_norm", 0, ["strategy.max_norm = 0: it must be a number above 0"]),
    (
        "strategy.clients_per_round",
        0,
        ["strategy.clients_per_round = 0: it must be a whole number of at least 1"],
    ),
    (
        "strategy.server_learning_rate",
        -1,
        ["strategy.server_learning_rate = -1: it must be a number above 0"],
    ),
    ("strategy.beta_1", 1, ["strategy.beta_1 = 1: it must be a number from 0 up to, but not including, 1"]),
    (
        "evaluation.target_accuracy",
        75,
        ["evaluation.target_accuracy = 75: it must be a number above 0 and at most 1"],
    ),
    (
        "data.name",
        "fashon-mnist",
        ['data.name = "fashon-mnist": it must be one of', "Did you mean 'fashion-mnist'?"],
    ),
    ("data.name", "gone/rows.csv", ["data.name = ", "an existing folder or file of yours"]),
    (
        "data.partition.name",
        "dirchlet",
        ['data.partition.name = "dirchlet"', "'iid'", "Did you mean 'dirichlet'?"],
    ),
    ("data.partition.clients", 0, ["data.partition.clients = 0: it must be a whole number of at least 1"]),
    ("data.partition.alpha", -0.5, ["data.partition.alpha = -0.5: it must be a number above 0"]),
    (
        "data.partition.alpha",
        1e9,
        ["data.partition.alpha = 1000000000.0: it must be from 0.000001 to 1,000,000"],
    ),
    ("data.partition", {"name": "iid", "clients": 3}, ["data.partition.alpha = 0.3: there is no such key"]),
    ("model.name", "cnn-smal", ['model.name = "cnn-smal": it must be one of', "Did you mean 'cnn-small'?"]),
    ("model.name", "no_such_module:make", ["model: ", "no_such_module"]),
    (
        "model.name",
        "hedgerow.models.dense:logistik",
        ["model: ", "has no 'logistik'", "Did you mean 'logistic'?"],
    ),
    ("model.name", "gone.py:make", ["model: ", "gone.py"]),
    ("strategy.name", "fedavgg", ['strategy.name = "fedavgg": it must be one of', "Did you mean 'fedavg'?"]),
    (
        "strategy.pipeline",
        "quantise(8)",
        ["strategy.pipeline = ", "no transform 'quantise'", "Did you mean 'quantize'?"],
    ),
    ("strategy.pipeline", "quantize(8", ['strategy.pipeline = "quantize(8": ', "character 9"]),
    (
        "strategy.pipeline",
        "quantize(99)",
        ["strategy.pipeline = ", "bits is 99; it must be a whole number from 1 to 16"],
    ),
    (
        "strategy.pipeline",
        "chain(quantize(8), top_k(0.1))",
        ["strategy.pipeline = ", "top_k(0.1) cannot follow quantize(8)", "put the sparsifier first"],
    ),
    (
        "strategy",
        {"fraction": 0.5, "clients_per_round": 3},
        ["strategy.clients_per_round = 3: give either it or"],
    ),
]


def told(table: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(table, "mine.toml")
    return str(caught.value)


def changed(key: str, value: Any) -> dict[str, Any]:
    table = tomllib.loads(GOOD)
    if key == "strategy" and "fraction" in value:
        table["strategy"] |= value
    elif isinstance(table.get(key), dict) and not isinstance(value, dict):
        table[key] = value
    else:
        put(table, key, value)
    return table


def test_the_configuration_that_is_broken_below_is_good() -> None:
    assert parse(tomllib.loads(GOOD)).rounds == 3
    assert len(CASES) == 46


@pytest.mark.parametrize(("key", "value", "texts"), CASES, ids=[f"{k}={str(v)[:30]!r}" for k, v, _ in CASES])
def test_a_mistake_is_told(key: str, value: Any, texts: Sequence[str]) -> None:
    text = told(changed(key, value))
    assert text.startswith("1 mistake in mine.toml\n  ")
    place = 0
    for wanted in texts:
        assert wanted in text[place:], text
        place = text.index(wanted, place)
    assert not re.search(r"pydantic|validation|Input should|extra_forbidden|type=", text)


def test_all_mistakes_come_in_one_error_in_the_order_of_the_file() -> None:
    table = tomllib.loads(GOOD)
    table |= {"rounds": -1, "sed": 1, "model": {"name": "cnn"}}
    table["data"]["partition"] |= {"clients": 0, "alpha": -1, "min_samples": 0.5}
    table["strategy"] |= {"pipeline": "topk(0.1)", "beta_2": 2, "tau": -1, "max_norn": 1}
    table["local"] = {"epochs": 0, "learning_rate": 0, "batch_size": "x", "momentun": 1}
    text = told(table)
    assert text.startswith("14 mistakes in mine.toml\n")
    places = [line.strip().split(" ")[0] for line in text.splitlines()[1:]]
    assert sorted(places) == sorted(
        [
            "sed", "rounds", "data.partition.clients", "data.partition.alpha", "data.partition.min_samples",
            "model.name", "strategy.max_norn", "strategy.beta_2", "strategy.tau", "strategy.pipeline",
            "local.momentun", "local.batch_size", "local.epochs", "local.learning_rate",
        ]
    )  # fmt: skip
    sections = [place.partition(".")[0] for place in places]
    assert sections == ["sed", "rounds", *["data"] * 3, "model", *["strategy"] * 4, *["local"] * 4]


def test_what_is_missing_is_told_with_an_example() -> None:
    text = told({"data": {"partition": {}}, "model": {}})
    assert text.startswith("5 mistakes")
    assert "rounds: it must be given, such as rounds = 30" in text
    assert 'data.name: it must be given, such as name = "fashion-mnist"' in text
    assert 'data.partition.name: it must be given, such as name = "iid"' in text
    assert 'model.name: it must be given, such as name = "cnn-small"' in text
    assert "  name: it must be given" in text


def test_a_needed_argument_of_a_part_is_told() -> None:
    table = tomllib.loads(GOOD)
    del table["data"]["partition"]["alpha"]
    assert "data.partition.alpha: it must be given" in told(table)


def test_what_a_preset_sets_itself_cannot_be_set_beside_it() -> None:
    table = tomllib.loads(GOOD) | {"strategy": {"name": "fedprox", "mu": 0.1}, "local": {"proximal": 0.5}}
    assert "local.proximal = 0.5: fedprox sets it; leave it out" in told(table)


def test_parts_that_do_not_fit_together_are_told() -> None:
    table = tomllib.loads(GOOD) | {"local": {"optimizer": "adam", "momentum": 0.5}}
    assert "local.momentum = 0.5: adam has its own" in told(table)
