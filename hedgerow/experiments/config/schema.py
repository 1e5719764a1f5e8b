"""An experiment as typed, frozen data: read from TOML, checked as a whole, written back as TOML.

What a table may hold follows from what it configures: `[local]` has the fields
of `LocalTraining`, `[data.partition]` the arguments of the partition it names,
and so on. `parse` finds every mistake, also those that only building a part
shows, and raises one `ConfigError`. It loads no data.

pydantic does the typing, because it collects every mistake before it raises.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
from pydantic import AfterValidator, Field

from hedgerow.experiments.config.arguments import Table, python_values
from hedgerow.experiments.config.sections import (
    AttackConfig,
    Count,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    Section,
    Seed,
    ServerConfig,
    StrategyConfig,
    one_line,
)
from hedgerow.recipe.own_data import NAME, OwnSchema
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining, RunOptions
from hedgerow.types.options import IDENTITY

if TYPE_CHECKING:  # loaded by the methods that need them
    from hedgerow.client.task import Task
    from hedgerow.datasets import Dataset, Federation
    from hedgerow.models import NamedModel
    from hedgerow.simulation.attacks.adversary import Adversary
    from hedgerow.types import Samples


class Experiment(Section):
    """One experiment: everything a run depends on.

    Two experiments that are equal give the same model. `strategy_config` is
    the table `[strategy]`; `strategy()` is what it describes.

    Attributes:
        name: what tables and folders call it.
        label: how it differs from its neighbours in a sweep, without the
            seed; the name where there is no sweep.
        seed: of the run, for every draw.
        rounds: to train.
    """

    name: Annotated[str, AfterValidator(one_line)]
    label: str = ""
    seed: Seed = 0
    rounds: Count
    data: DataConfig
    model: ModelConfig
    pretraining: PretrainingConfig | None = None
    strategy_config: StrategyConfig = Field(StrategyConfig(name="fedavg"), alias="strategy")
    local: LocalTraining = LocalTraining()
    evaluation: EvaluationConfig = EvaluationConfig()
    attack: AttackConfig | None = None
    run: RunConfig = RunConfig()
    server: ServerConfig = ServerConfig()

    def dataset(self) -> "Dataset":
        """Load the data set.

        Raises:
            ValueError: the data cannot be read or fetched.
        """
        return _load(self.data.name, json.dumps(self.data.options, sort_keys=True))

    @property
    def own_schema(self) -> OwnSchema | None:
        """Of the data that each device has for itself; `None` where the data set is one that is here."""
        if self.data.name != NAME:
            return None
        given = {key: value for key, value in self.data.options.items() if key not in ("files", "test_file")}
        return OwnSchema.from_json(given)

    @property
    def elsewhere(self) -> bool:
        """Whether devices have the data, and none of it is here."""
        return self.own_schema is not None and not self.data.options.get("files")

    def test(self) -> "Samples | None":
        """What the server measures the model on; `None` where there is nothing.

        Raises:
            ValueError: it cannot be read.
        """
        if self.own_schema is not None and self.elsewhere:
            from hedgerow.datasets.own_file import test_samples

            found = test_samples(self.data.options.get("test_file", ""), self.own_schema)
        else:
            found = self.divided()[1].test
        return found if len(found) else None

    def federation(self) -> "Federation":
        """The data set, dealt to clients.

        Raises:
            ValueError: the data cannot be read, or not be dealt that way.
        """
        from hedgerow.datasets import PARTITIONS

        partition = self.data.partition
        constructor = PARTITIONS.get(partition.name)
        _, dataset = self.divided()
        dealt = dataset.split(constructor(**python_values(constructor, partition.options)), self.seed)
        if self.data.held_out is None:
            return dealt
        return dealt.hold_out(self.data.held_out, self.data.held_out_by, seed=self.seed)

    def divided(self) -> "tuple[Samples | None, Dataset]":
        """The samples that the server trains on before the first round, and the data set without them.

        Raises:
            ValueError: the data cannot be read, or not be divided that way.
        """
        dataset, config = self.dataset(), self.pretraining
        if config is None:
            return None, dataset
        from hedgerow.datasets.server_part import server_part

        return server_part(dataset, config.share, config.classes, self.seed)

    def facts(self) -> "Dataset | OwnSchema":
        """What a model must fit: `input_shape`, `num_outputs` and `task`.

        Raises:
            ValueError: the data cannot be read or fetched.
        """
        return self.own_schema or self.dataset()

    def factory(self) -> "NamedModel":
        """What makes the plain model, to fit the data set."""
        from hedgerow.models import NamedModel

        data = self.facts()
        facts: Table = {"input_shape": data.input_shape, "num_classes": data.num_outputs}
        return NamedModel(self.model.name, {**facts, **self.model.options})

    def adapted(self, model: Any) -> "Callable[[], Any]":
        """A model, or what makes it, with the adapters of `[model.lora]`."""
        from hedgerow.client.torch.lora import lora

        assert self.model.lora is not None
        return lora(model, **self.model.lora.model_dump())

    def task(self) -> "Task":
        """The model, with adapters where there are some, made to fit the data set.

        In regression it is trained with squared error and measured by absolute error.

        Raises:
            ValueError: the data or the model cannot be had, or there is an accuracy to reach in regression.
        """
        from hedgerow.client.regression import task_of

        facts, factory = self.facts(), self.factory()
        if facts.task == "regression" and self.evaluation.target_accuracy is not None:
            raise ValueError(
                f"evaluation.target_accuracy is {self.evaluation.target_accuracy:g}; it must be left out:"
                f" {facts.name!r} has numbers to predict, and no accuracy"
            )
        return task_of(facts.task, factory if self.model.lora is None else self.adapted(factory))

    def adversary(self) -> "Adversary | None":
        """Who holds some of the simulated clients; `None` where nobody does."""
        from hedgerow.simulation.attacks.adversary import Adversary
        from hedgerow.simulation.attacks.registry import ATTACKS

        if self.attack is None or not self.attack.clients:
            return None
        attack = ATTACKS.get(self.attack.name)
        options = python_values(attack, self.attack.options)
        if "num_classes" in signature(attack).parameters:
            options["num_classes"] = self.dataset().num_classes
        return Adversary(attack(**options), self.attack.clients)

    @property
    def initial(self) -> Path | None:
        """Where the model starts from; `None` for a new one."""
        return None if self.model.initial is None else Path(self.model.initial)

    def options(self, given: RunOptions) -> RunOptions:
        """The options of a run, with what `[run]` says; workers that are given stay.

        Raises:
            ValueError: a trainer, device or precision is given that is another than that of `[run]`.
        """
        own = {name: getattr(self.run, name) for name in IDENTITY}
        for name, value in own.items():
            if getattr(given, name) not in (value, getattr(RunOptions(), name)):
                raise ValueError(
                    f"{name} is {getattr(given, name)!r}; it must be that of [run], {value!r}, or left out"
                )
        return replace(
            given, **own, workers=given.workers or self.run.workers,
            quorum=self.server.quorum, set_aside=self.server.set_aside,
        )  # fmt: skip

    def strategy(self) -> Strategy:
        """The strategy, with its sampling, pipeline and local training."""
        from hedgerow.experiments.config.strategy import build_strategy

        return build_strategy(self.strategy_config, self.local)


def to_toml(experiment: Experiment) -> str:
    """The experiment as TOML, every default written out; `load` gives an equal one back.

    The model's own defaults are the one exception: to know them, torch would
    have to be imported wherever a configuration is read.
    """
    return tomli_w.dumps(experiment.model_dump(mode="json", exclude_none=True))


@lru_cache(maxsize=1)
def _load(name: str, options: str) -> "Dataset":
    # One is kept, because the parts of an experiment and the cells of a sweep ask for the same.
    from hedgerow.datasets import load_dataset

    return load_dataset(name, **json.loads(options))
