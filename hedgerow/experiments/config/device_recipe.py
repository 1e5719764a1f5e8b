"""A run on a device: a recipe that its policy allows, on the device's own data.

Everything that a run names is checked against what it may name before it is looked
up, so that no error reveals what is on the device, and nothing there is imported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from hedgerow.client.data import ClientData, OneClient
from hedgerow.client.guard import Guard
from hedgerow.client.policy import AgainstPolicy
from hedgerow.datasets.loading import find_loader
from hedgerow.experiments.config.arguments import Table
from hedgerow.experiments.config.build import DEALT
from hedgerow.experiments.config.expand import Sweep
from hedgerow.experiments.config.recipe import as_sweep, checked, load_unchecked, recipes
from hedgerow.experiments.config.schema import Experiment
from hedgerow.node.own_samples import OwnSamples, own_data
from hedgerow.recipe.own_data import NAME as OWN
from hedgerow.types import Samples

_CHOSEN = ("data", "data.name", "model", "model.name")


@dataclass(frozen=True)
class DeviceRun:
    """What a device does in a run.

    Attributes:
        experiment: what the run resolves to.
        data: loads the device's data.
    """

    experiment: Experiment
    data: Callable[[], ClientData]


def device_run(recipe: str, overrides: Sequence[str], guard: Guard, client: str = "") -> DeviceRun:
    """Resolve what a run names, as far as the device allows.

    Args:
        recipe, overrides: of the run.
        guard: the device's policy and its data.
        client: the device's name; needed if its data is a file or a folder.

    Raises:
        AgainstPolicy: the run may not name this recipe, data or model.
        ConfigError: it cannot be read; with every mistake there is.
        ValueError: it describes several experiments, or the device has no name.
    """
    guard.policy.check_recipe(recipe, recipes())
    table, axes, source = load_unchecked(recipe, overrides)
    own = table if recipe in recipes() else load_unchecked(recipe)[0]
    _check_model(table, own, recipe)
    if any(key in axes for key in _CHOSEN):
        raise AgainstPolicy("rule data: a run on devices has one model, and each device chooses its data")
    replaced = _choose_data(table, own, recipe, guard)
    experiment = one_experiment(recipe, checked(table, axes, source))
    if not replaced:
        return DeviceRun(experiment, experiment.federation)
    if not client:
        raise ValueError(
            "a device with its own data needs a name: start the SuperNode with --node-config"
            " 'client-name=\"NAME\"' too"
        )
    return DeviceRun(experiment, lambda: _own_data(experiment, client, guard))


def one_experiment(recipe: str, loaded: Experiment | Sweep) -> Experiment:
    """The experiment of a recipe that describes one which a real federation can run.

    Raises:
        ValueError: it describes several, or its replies count as they arrive.
    """
    cells = as_sweep(loaded).cells
    if len(cells) > 1:
        raise ValueError(
            f"{recipe!r} describes {len(cells)} experiments, and a federation runs one;"
            " choose with overrides, such as 'seed=0 strategy.mu=0.1'"
        )
    refuse_arrivals(cells[0].experiment)
    return cells[0].experiment


def refuse_arrivals(experiment: Experiment) -> None:
    """Raise `ValueError` if replies count as they arrive, which only simulations have."""
    if experiment.strategy().arrivals is not None:
        raise ValueError(
            f"strategy is {experiment.strategy_config.name!r}; a real federation trains in rounds only, and"
            " counts no replies as they arrive: take fedavg, or simulate this recipe with hedgerow run"
        )


def _check_model(table: Table, own: Table, recipe: str) -> None:
    """Check that the model, which is code, is packaged or in a file that the device's policy lists."""
    from hedgerow.models import MODELS

    name = _named(table, "model")
    listed = recipe not in recipes() and name == _named(own, "model")
    if name and name not in MODELS.names() and not listed:
        raise AgainstPolicy("rule recipes: a run may name only packaged models, and no code of its own")


def _choose_data(table: Table, own: Table, recipe: str, guard: Guard) -> bool:
    """Put the device's own data into the table; returns whether it is a file or a folder.

    Data that the policy lists stays unchanged; so does the data that a listed recipe
    names itself, on a device that names none.
    """
    from hedgerow.datasets import DATASETS

    asked = _named(table, "data")
    if asked == OWN:
        if not guard.data or guard.data in DATASETS.names():
            raise AgainstPolicy(
                "rule data: the run needs a file or folder of the device's own, and the device names none"
                " (--node-config 'data=\"PATH\"')"
            )
        for key in ("files", "test_file"):  # for simulations: a run may not name a device's files
            table["data"].pop(key, None)
        return True
    if not asked or asked in {_path(name) for name in guard.policy.data}:
        return False
    if guard.data in DATASETS.names():
        if asked == guard.data:
            return False
        raise AgainstPolicy("rule data: the run is for data other than the device's")
    if not guard.data:
        if recipe not in recipes() and asked == _named(own, "data"):
            return False
        raise AgainstPolicy(
            "rule data: the device names no data of its own (--node-config 'data=\"NAME or PATH\"'), and its"
            " policy lists none that a run may name"
        )
    kept = {key: table["data"][key] for key in DEALT if key in table["data"]}
    table["data"] = {"name": _path(guard.data), **_whole(guard), "partition": {}, **kept}
    return True


def _whole(guard: Guard) -> dict[str, Any]:
    """The loader's options; a device has no test samples except those that it holds out itself.

    Test samples are drawn among all samples, so one more sample would change which
    others are trained on, but the account of a sample covers only that one sample.
    """
    options = dict(guard.data_options)
    loader, path = find_loader(_path(guard.data))
    return {"test": 0.0, **options} if path and "test" in signature(loader).parameters else options


def _named(table: Table, section: str) -> str:
    """The name in a section; empty if there is none, which the configuration's checks report."""
    found = table.get(section)
    name = found.get("name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


def _path(name: str) -> str:
    from hedgerow.datasets import DATASETS

    return name if name in DATASETS.names() else str(Path(name).expanduser().resolve())


def _own_data(experiment: Experiment, client: str, guard: Guard) -> ClientData:
    schema, config = experiment.own_schema, experiment.data
    data: ClientData = OneClient(client, partial(_samples, experiment))
    if schema is not None:
        data = OwnSamples(client, Path(guard.data).expanduser(), schema)
    return own_data(data, config.held_out, config.held_out_by, experiment.seed)


def _samples(experiment: Experiment) -> Samples:
    return experiment.dataset().train
