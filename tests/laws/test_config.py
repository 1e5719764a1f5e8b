"""Laws of the configuration, on generated ones."""

import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.experiments.config.expand import Sweep, expand
from hedgerow.experiments.config.names import slug
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.config.schema import Experiment, to_toml
from hedgerow.strategies.pipeline.parse import parse_pipeline

PIPELINES = [
    "float32()",
    "quantize(8)",
    "quantize(bits=4)",
    "clip(1.5)",
    "random_k(0.1)",
    "error_feedback(top_k(0.01))",
    "error_feedback(top_k(0.01), quantize(bits=8))",
    "chain( clip(2),quantize(3) )",
]
SHARE = st.floats(0.001, 1.0)
POSITIVE = st.floats(1e-6, 1e6)
BELOW_ONE = st.floats(0.0, 0.999)
COUNT = st.integers(1, 10_000)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


def table(
    required: dict[str, Any], optional: dict[str, Any] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional or {})


PARTITIONS = st.one_of(
    table({"name": st.just("iid"), "clients": COUNT}),
    table({"name": st.just("dirichlet"), "clients": COUNT, "alpha": POSITIVE}, {"min_samples": COUNT}),
    table({"name": st.just("shards"), "clients": COUNT}, {"shards_per_client": COUNT}),
    table({"name": st.just("natural")}, {"clients": COUNT, "min_samples": COUNT}),
)
DATA = st.one_of(
    table({"name": st.sampled_from(["fashion-mnist", "heart-disease"]), "partition": PARTITIONS}),
    table({"name": st.just("watch"), "partition": PARTITIONS}, {"window": COUNT, "step": COUNT}),
)
COMMON = {
    "pipeline": st.sampled_from(PIPELINES), "weighted": st.booleans(), "quorum": SHARE, "max_norm": POSITIVE,
    "max_weight": POSITIVE,
}  # fmt: skip
PRESETS = st.one_of(
    table({"name": st.just("fedavg")}, COMMON | {"clients_per_round": COUNT}),
    table({"name": st.just("fedprox")}, COMMON | {"mu": st.floats(0, 10), "fraction": SHARE}),
    table({"name": st.just("fedavgm")}, COMMON | {"server_momentum": BELOW_ONE}),
    table({"name": st.sampled_from(["fedadam", "fedyogi"])}, COMMON | {"beta_1": BELOW_ONE, "tau": POSITIVE}),
)
STEPS = {
    "learning_rate": POSITIVE,
    "learning_rate_decay": SHARE,
    "epochs": COUNT,
    "batch_size": st.integers(0, 1000),
    "weight_decay": st.floats(0, 1),
    "clip_gradient": st.floats(0, 100),
}
LOCAL = st.one_of(
    table({}, STEPS | {"optimizer": st.just("sgd"), "momentum": BELOW_ONE}),
    table({"optimizer": st.just("adam")}, STEPS),
)
CONFIGS = table(
    {
        "name": NAMES, "rounds": COUNT, "data": DATA,
        "model": table({"name": st.sampled_from(["logistic", "cnn-small"])}, {}),
    },
    {
        "seed": st.integers(0, 2**63 - 1), "strategy": PRESETS, "local": LOCAL,
        "evaluation": table({}, {"every": COUNT, "target_accuracy": SHARE}),
    },
)  # fmt: skip


def same(text: str) -> Experiment:
    return parse(tomllib.loads(text))


@given(CONFIGS)
@settings(max_examples=150)
def test_the_resolved_file_loads_to_an_equal_experiment(config: dict[str, Any]) -> None:
    experiment = parse(config)
    assert same(to_toml(experiment)) == experiment
    assert to_toml(same(to_toml(experiment))) == to_toml(experiment)


@given(CONFIGS)
def test_what_was_given_stands_in_the_resolved_file(config: dict[str, Any]) -> None:
    resolved = tomllib.loads(to_toml(parse(config)))

    def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Any:
        for key, value in tree.items():
            yield from leaves(value, (*path, key)) if isinstance(value, dict) else [((*path, key), value)]

    for path, value in leaves(config):
        found: Any = resolved
        for key in path:
            found = found[key]
        assert found == (str(parse_pipeline(value)) if path[-1] == "pipeline" else value)


@given(CONFIGS)
def test_parsing_changes_nothing_that_it_is_given(config: dict[str, Any]) -> None:
    before = tomli_w.dumps(config)
    parse(config)
    assert tomli_w.dumps(config) == before


@given(CONFIGS)
def test_the_strategy_is_what_the_file_says(config: dict[str, Any]) -> None:
    experiment = parse(config)
    strategy, given_ = experiment.strategy(), config.get("strategy", {})
    assert strategy.name == given_.get("name", "fedavg")
    assert strategy.quorum == given_.get("quorum", 0.5)
    assert strategy.max_norm == given_.get("max_norm")
    assert ("weight" in strategy.pipeline.kinds) == given_.get("weighted", True)
    assert strategy.local.epochs == config.get("local", {}).get("epochs", 1)
    assert strategy.local.proximal == (given_.get("mu", 0.01) if strategy.name == "fedprox" else 0)


def test_every_default_is_written_out() -> None:
    text = to_toml(load("demo", ["sweep.seed=", "sweep.strategy.pipeline="]))
    resolved = tomllib.loads(text)
    assert resolved["seed"] == 0
    assert resolved["data"]["partition"]["min_samples"] == 1
    assert resolved["strategy"]["quorum"] == 0.5
    assert resolved["local"]["momentum"] == 0.0
    assert resolved["evaluation"]["every"] == 1


def test_an_experiment_cannot_be_changed() -> None:
    experiment = load("heart")
    assert isinstance(experiment, Experiment)
    with pytest.raises(ValueError, match="frozen"):
        experiment.rounds = 1  # type: ignore[misc]


@given(st.integers(1, 99), st.sampled_from(PIPELINES), st.booleans())
def test_an_override_is_the_same_as_the_key_in_the_file(rounds: int, pipeline: str, weighted: bool) -> None:
    overrides = [
        f"rounds={rounds}",
        f"strategy.pipeline={pipeline}",
        f"strategy.weighted={str(weighted).lower()}",
    ]
    changed = tomllib.loads(to_toml(load("heart")))
    changed["rounds"] = rounds
    changed["strategy"] |= {"pipeline": pipeline, "weighted": weighted}
    assert load("heart", overrides) == parse(changed)


def test_overrides_take_toml_values_and_bare_texts(tmp_path: Path) -> None:
    def strategy(*overrides: str) -> Any:
        return load("heart", overrides).strategy_config  # type: ignore[union-attr]

    assert strategy("strategy.pipeline=quantize(8)") == strategy('strategy.pipeline="quantize(8)"')
    assert strategy("strategy.clients_per_round=3").fraction is None
    assert strategy("strategy.fraction=").clients_per_round == 10
    assert strategy('strategy={name="fedadam", tau=0.5}').tau == 0.5
    assert load("demo", ["seed=7"]).cells[0].experiment.seed == 7  # type: ignore[union-attr]


@given(
    st.dictionaries(
        st.sampled_from(["seed", "rounds", "local.epochs", "local.batch_size", "data.partition.clients"]),
        st.lists(st.integers(1, 50), min_size=1, max_size=3, unique=True),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=15)
def test_a_sweep_has_one_experiment_for_each_combination(grid: dict[str, list[int]]) -> None:
    base = tomllib.loads(to_toml(load("fashion-mnist")))
    sweep = expand(base, grid)
    assert len({cell.folder for cell in sweep.cells}) == len(sweep.cells)
    values = [tuple(_at(cell.experiment, key) for key in grid) for cell in sweep.cells]
    assert values == list(itertools.product(*grid.values()))
    # Seeds are repetitions: they share a label, and nothing else does.
    others = [tuple(v for key, v in zip(grid, chosen, strict=True) if key != "seed") for chosen in values]
    labels = [cell.experiment.label for cell in sweep.cells]
    assert len(set(labels)) == len(set(others))


def _at(experiment: Experiment, key: str) -> Any:
    found: Any = experiment
    for step in key.split("."):
        found = getattr(found, step)
    return found


def test_folder_names_stay_when_a_sweep_grows() -> None:
    def folders(*overrides: str) -> list[str]:
        return [cell.folder for cell in load("demo", overrides).cells]  # type: ignore[union-attr]

    grown = folders(
        "sweep.seed=[2, 0, 1]", 'sweep."strategy.pipeline"=["clip(1)", "float32()", "quantize(8)"]'
    )
    assert {"float32-seed=0", "quantize-8-seed=1"} <= set(folders()) & set(grown)


def test_values_that_make_the_same_folder_name_are_told_apart() -> None:
    base = tomllib.loads(to_toml(load("heart")))
    sweep = expand(base, {"name": ["a b", "a-b"]})
    assert len({cell.folder for cell in sweep.cells}) == 2
    assert all(cell.folder.startswith("a-b-") for cell in sweep.cells)


@given(st.text(max_size=300))
def test_a_slug_is_a_name_for_a_folder(text: str) -> None:
    name = slug(text)
    assert name
    assert len(name) <= 100
    assert name not in (".", "..")
    assert name.isascii()
    assert "/" not in name


def test_paths_are_relative_to_the_file_and_those_of_overrides_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    for folder in (tmp_path, tmp_path / "here"):
        (folder / "rows.csv").write_text("a,label\n1,x\n2,y\n", encoding="utf-8")
        (folder / "net.py").write_text("def make(num_classes):\n    ...\n", encoding="utf-8")
    file = tmp_path / "mine.toml"
    file.write_text(
        'rounds = 1\n[data]\nname = "rows.csv"\nlabel = "label"\n'
        '[data.partition]\nname = "iid"\nclients = 1\n'
        '[model]\nname = "net.py:make"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path / "here")
    experiment = load(file)
    assert isinstance(experiment, Experiment)
    assert experiment.name == "mine"
    assert experiment.data.name == str(tmp_path / "rows.csv")
    assert experiment.model.name == f"{tmp_path / 'net.py'}:make"
    changed = load(file, ["data.name=rows.csv", "model.name=net.py:make"])
    assert isinstance(changed, Experiment)
    assert changed.data.name == str(tmp_path / "here" / "rows.csv")
    assert changed.model.name == f"{tmp_path / 'here' / 'net.py'}:make"
    # A run's folder holds absolute paths, so it can be read from anywhere.
    assert same(to_toml(experiment)) == experiment


@pytest.mark.parametrize("name", ["demo", "servers", "epsilon"])
def test_a_sweep_folder_loads_to_the_same_sweep(name: str, tmp_path: Path) -> None:
    sweep = load(name, ["rounds=3", "sweep.seed=[5]"])
    assert isinstance(sweep, Sweep)
    (tmp_path / "sweep.toml").write_text(sweep.toml, encoding="utf-8")
    assert load(tmp_path) == sweep
