"""Checks a configuration against the parts it names: what they would refuse, and their defaults."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hedgerow.datasets import DATASETS, PARTITIONS
from hedgerow.datasets.held_out import BY_ROW
from hedgerow.datasets.loading import find_loader
from hedgerow.datasets.own import is_own
from hedgerow.experiments.config.arguments import (
    Table,
    arguments,
    as_json,
    from_value_error,
    refused,
    translate,
)
from hedgerow.experiments.config.clock import clock_table
from hedgerow.experiments.config.errors import MISSING, Mistake
from hedgerow.experiments.config.parts import check_built, check_named, keys_of, options_of
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.config.sections import DataConfig, ModelConfig, ServerConfig, StrategyConfig
from hedgerow.experiments.config.strategy import INNER, build_strategy, private_draws
from hedgerow.models import MODELS, build
from hedgerow.recipe.own_data import NAME as OWN
from hedgerow.simulation.attacks.registry import ATTACKS
from hedgerow.simulation.devices.registry import DEVICES
from hedgerow.strategies.calibration import noise_multiplier
from hedgerow.strategies.measuring import refuse_client_evaluation, refuse_evaluation
from hedgerow.strategies.pipeline.parse import parse_aggregate, parse_pipeline
from hedgerow.strategies.presets import PRESETS
from hedgerow.strategies.quorum import refuse_quorum
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining

# Keys of [data] that are not arguments of a loader.
DEALT = tuple(DataConfig.model_fields)[1:]

_MODEL_FACTS = ("input_shape", "num_classes")
_OWN_DATA = (
    ", or an existing folder or file of yours, or a function as 'file.py:function' or 'module:function'"
)
_OWN_MODEL = ", or your own as 'module:function' or 'file.py:function'"


def resolve(table: Mapping[str, Any]) -> tuple[Table, list[Mistake]]:
    """Fill in every default, and find every mistake.

    Returns:
        The table for `Experiment`, valid only if there are no mistakes; and the
        mistakes, in the order of the sections.
    """
    resolved: Table = {**deepcopy(dict(table))}
    resolved.setdefault("label", resolved.get("name", ""))
    found: list[Mistake] = []
    for section, check in _CHECKS.items():
        given = resolved.get(section, {} if section in ("strategy", "local") else None)
        if isinstance(given, dict):
            resolved[section], mistakes = check(given)
            found += mistakes
    found += _typed(resolved, found)
    if not found:
        found = _measured(resolved, table.get("strategy", {})) or _together(resolved)
    return resolved, sorted((_as_given(m, table) for m in found), key=lambda m: _order(m.path))


def _data(given: Table) -> tuple[Table, list[Mistake]]:
    given = _own_data(given)
    resolved, found = _dataset(given)
    if isinstance(given.get("partition"), dict):
        partition, mistakes = check_built("data.partition", given["partition"], PARTITIONS)
        resolved, found = {**resolved, "partition": partition}, found + mistakes
    return resolved, found


def _own_data(given: Table) -> Table:
    """Normalise the user's own data: a function's arguments may be in a table of their own."""
    name, options = given.get("name"), given.get("options", {})
    if name == OWN:
        # Samples are already split among devices, and their files grow.
        return {"partition": {"name": "natural"}, "held_out_by": BY_ROW, **given}
    if not isinstance(name, str) or not is_own(name) or not isinstance(options, dict):
        return given
    beside = {key: value for key, value in given.items() if key != "options"}
    # Whoever provides clients has already split the samples.
    return {"partition": {"name": "natural"}, **options, **beside}


def _dataset(given: Table) -> tuple[Table, list[Mistake]]:
    """Check `[data]` against the loader with that name, or for that kind of file."""
    name = given.get("name")
    if not isinstance(name, str) or name in DATASETS.names() or not (is_own(name) or Path(name).exists()):
        return check_named("data", given, DATASETS, beside=DEALT, hint=_OWN_DATA)
    try:
        loader, values = find_loader(name)
    except ValueError as error:
        return given, [Mistake("data.name", str(error), name)]
    # The loader's first argument is the path, which is the name.
    inner = list(inspect.signature(loader).parameters)[: len(values)]
    options = {key: value for key, value in options_of(given).items() if key not in DEALT}
    filled, found = arguments(loader, options, "data", inner=inner, beside=DEALT)
    return {**given, **filled}, found


def _model(given: Table) -> tuple[Table, list[Mistake]]:
    beside = list(ModelConfig.model_fields)[1:]
    options = {key: value for key, value in options_of(given).items() if key not in beside}
    name = given.get("name")
    if not isinstance(name, str):
        return given, []
    if ":" not in name:
        if name in MODELS.names() and not options:
            return given, []  # only a built-in's options need torch to look them up
        named = {"name": name, **options}
        _, found = check_named("model", named, MODELS, inner=_MODEL_FACTS, beside=beside, hint=_OWN_MODEL)
        return given, found
    try:
        build(name, input_shape=(1,), num_classes=2, **options)
    except ValueError as error:
        return given, [Mistake("model", str(error))]
    return given, []


def _strategy(given: Table) -> tuple[Table, list[Mistake]]:
    common = {key: value for key, value in given.items() if key in StrategyConfig.model_fields}
    own = {key: value for key, value in given.items() if key not in StrategyConfig.model_fields}
    common.setdefault("name", "fedavg")
    if private_draws(common["name"]):
        common.setdefault("weighted", False)
    beside = list(StrategyConfig.model_fields)[1:]
    named = {"name": common["name"], **own}
    resolved, found = check_built("strategy", named, PRESETS, inner=INNER, beside=beside)
    if "clients_per_round" in common and "fraction" in common:
        either = "give either it or strategy.fraction, not both"
        found.append(Mistake("strategy.clients_per_round", either, common["clients_per_round"]))
    elif "fraction" not in common:
        common.setdefault("clients_per_round", 10)
    for way in [key for key in ("pipeline", "downlink") if isinstance(common.get(key), str)]:
        try:
            common[way] = str(parse_pipeline(common[way]))
        except ValueError as error:
            found.append(Mistake(f"strategy.{way}", str(error), common[way]))
    if isinstance(common.get("aggregate"), str):
        try:
            rule = parse_aggregate(common["aggregate"])
            common["aggregate"] = rule.name
            if not rule.weights:
                common.setdefault("weighted", False)
        except ValueError as error:
            found.append(Mistake("strategy.aggregate", str(error), common["aggregate"]))
    return {**options_of(resolved), **common}, found  # keys whose default differs for a preset are in both


def _local(given: Table, path: str = "local") -> tuple[Table, list[Mistake]]:
    resolved, found = arguments(LocalTraining, given, path)
    return resolved, found + refused(LocalTraining, resolved, path, wrong=keys_of(found))


def _pretraining(given: Table) -> tuple[Table, list[Mistake]]:
    if not isinstance(given.get("local"), dict):
        return given, []
    local, found = _local(given["local"], "pretraining.local")
    return {**given, "local": local}, found


def _attack(given: Table) -> tuple[Table, list[Mistake]]:
    own = {key: value for key, value in given.items() if key != "clients"}
    # The number of classes comes from the data.
    resolved, found = check_built("attack", own, ATTACKS, inner=("num_classes",), beside=("clients",))
    return {**resolved, **{key: given[key] for key in ("clients",) if key in given}}, found


_CHECKS: dict[str, Callable[[Table], tuple[Table, list[Mistake]]]] = {
    "data": _data, "model": _model, "pretraining": _pretraining, "strategy": _strategy, "local": _local,
    "attack": _attack, "devices": partial(check_built, "devices", registry=DEVICES),
    "clock": clock_table,
}  # fmt: skip


def _typed(resolved: Table, found: list[Mistake]) -> list[Mistake]:
    """Mistakes that the sections' types find; tables already found wrong are skipped."""
    wrong = {m.path for m in found}
    checked = dict(resolved)
    if any(path.startswith("local.") for path in wrong):
        checked.pop("local")
    if any(path.startswith("pretraining.local.") for path in wrong):
        checked.pop("pretraining")
    try:
        Experiment.model_validate_json(as_json(checked))
    except ValidationError as error:
        return [m for m in translate(error, checked, "", Experiment) if m.path not in wrong]
    return []


def _measured(resolved: Table, given: Table) -> list[Mistake]:
    """Fill in the noise that an epsilon needs over all rounds, if it is not given."""
    strategy = resolved["strategy"]
    if private_draws(strategy["name"]) is None or "noise_multiplier" in given or "epsilon" not in given:
        return []

    def make(noise: float) -> Strategy:
        config = StrategyConfig.model_validate({**strategy, "noise_multiplier": noise})
        return build_strategy(config, LocalTraining())

    try:
        strategy["noise_multiplier"] = noise_multiplier(make, resolved["rounds"])
    except (ValueError, ImportError) as error:
        return [from_value_error(error, strategy, "strategy")]
    return []


def _together(resolved: Table) -> list[Mistake]:
    """Mistakes that show only when all parts are combined."""
    experiment = Experiment.model_validate_json(as_json(resolved))
    try:
        strategy = experiment.strategy()
    except ValueError as error:
        return [from_value_error(error, resolved["strategy"], "strategy")]
    if experiment.devices is not None and experiment.clock is not None:
        return [Mistake("devices", "[clock] says how long a step takes; leave [devices] out")]
    if found := _arriving(experiment, strategy):
        return found
    evaluation = experiment.evaluation
    if evaluation.clients is not None and (refused := refuse_evaluation(strategy)):
        return [Mistake("evaluation.clients", refused, evaluation.clients)]
    if evaluation.per_client and evaluation.clients is None:
        return [Mistake("evaluation.per_client", "it needs evaluation.clients", True)]
    if evaluation.per_client and (refused := refuse_client_evaluation(strategy)):
        return [Mistake("evaluation.per_client", refused, True)]
    if refused := refuse_quorum(strategy, experiment.server.quorum):
        return [Mistake("server.quorum", refused, experiment.server.quorum)]
    cohort = experiment.strategy_config.clients_per_round
    if cohort is not None and experiment.server.quorum > cohort:
        most = f"at most {cohort} of a cohort of {cohort} can count"
        return [Mistake("server.quorum", most, experiment.server.quorum)]
    default = LocalTraining()
    return [
        Mistake(f"local.{f.name}", f"{strategy.name} sets it; leave it out, or use fedavg", given)
        for f in fields(LocalTraining)
        if (given := getattr(experiment.local, f.name)) != getattr(default, f.name)
        and given != getattr(strategy.local, f.name)
    ]


def _arriving(experiment: Experiment, strategy: Strategy) -> list[Mistake]:
    """Mistakes in a recipe whose replies count as they arrive."""
    if strategy.arrivals is None:
        return []
    default, given = ServerConfig(), experiment.server
    found = [
        Mistake(f"server.{name}", f"{strategy.name} has no cohort: leave it out", getattr(given, name))
        for name in ("over_select", "retry", "quorum")
        if getattr(given, name) != getattr(default, name)
    ]
    if experiment.clock is None:
        why = "replies count as they arrive, and only [clock] says when: describe devices and links in it"
        found.append(Mistake("strategy.name", why, experiment.strategy_config.name))
    return found


def _as_given(mistake: Mistake, table: Mapping[str, Any]) -> Mistake:
    """The mistake with the value as written in the file: 1, if it was converted to 1.0."""
    found: Any = table
    for step in mistake.path.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return mistake
        found = found[step]
    return mistake if mistake.given is MISSING else replace(mistake, given=found)


def _order(path: str) -> int:
    section = path.partition(".")[0]
    sections = [field.alias or name for name, field in Experiment.model_fields.items()]
    return sections.index(section) if section in sections else -1
