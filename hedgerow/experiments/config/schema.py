"""An experiment as typed, frozen data: read from TOML, checked as a whole, written back as TOML.

The keys of a table follow from what it configures: `[local]` has the fields of
`LocalTraining`, `[data.partition]` the arguments of the partition it names, and
so on. `parse` finds every mistake, including those that only building a part
reveals, and raises one `ConfigError`. It loads no data.

pydantic checks the types, because it collects every mistake before it raises.
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
    ClockConfig,
    Count,
    DataConfig,
    DevicesConfig,
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
    from hedgerow.simulation.clock.clock import Clock
    from hedgerow.simulation.devices.base import Devices
    from hedgerow.types import Samples


class Experiment(Section):
    """One experiment: everything a run depends on.

    Two experiments that are equal give the same model. `strategy_config` is
    the table `[strategy]`; `strategy()` is what it describes.

    Attributes:
        name: used in tables and folders.
        label: how it differs from its neighbours in a sweep, without the
            seed; the name if there is no sweep.
        seed: of the run, for every random draw.
        rounds: number to train.
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
    devices: DevicesConfig | None = None
    clock: ClockConfig | None = None
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
        """The schema of the data that devices have themselves; `None` if the data set is available here."""
        if self.data.name != NAME:
            return None
        given = {key: value for key, value in self.data.options.items() if key not in ("files", "test_file")}
        return OwnSchema.from_json(given)

    @property
    def elsewhere(self) -> bool:
        """Whether only devices have the data."""
        return self.own_schema is not None and not self.data.options.get("files")

    def test(self) -> "Samples | None":
        """The samples on which the server evaluates the model; `None` if there are none.

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
        """The data set, split among clients.

        Raises:
            ValueError: the data cannot be read, or cannot be split that way.
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
        """The samples on which the server trains before the first round, and the data set without them.

        Raises:
            ValueError: the data cannot be read, or cannot be divided that way.
        """
        dataset, config = self.dataset(), self.pretraining
        if config is None:
            return None, dataset
        from hedgerow.datasets.server_part import server_part

        return server_part(dataset, config.share, config.classes, self.seed)

    def facts(self) -> "Dataset | OwnSchema":
        """The facts that a model must fit: `input_shape`, `num_outputs` and `task`.

        Raises:
            ValueError: the data cannot be read or fetched.
        """
        return self.own_schema or self.dataset()

    def factory(self) -> "NamedModel":
        """The factory of the plain model for the data set."""
        from hedgerow.models import NamedModel

        data = self.facts()
        facts: Table = {"input_shape": data.input_shape, "num_classes": data.num_outputs}
        return NamedModel(self.model.name, {**facts, **self.model.options})

    def shaped(self) -> "Callable[[], Any]":
        """The factory of the model that is pretrained or trained, with low-rank layers if there are any."""
        if self.model.low_rank is None:
            return self.factory()
        from hedgerow.client.torch.factorised import low_rank

        return low_rank(self.factory(), self.model.low_rank, layers=self.model.low_rank_layers)

    def around(self, model: Any) -> "Callable[[], Any] | None":
        """A model, or its factory, frozen, with what is trained of it instead; `None` if all of it is."""
        if self.model.one_shot is not None:
            from hedgerow.client.torch.closed_form import ClosedForm

            return ClosedForm(model, **self.model.computed)
        if self.model.lora is not None:
            from hedgerow.client.torch.lora import lora

            return lora(model, **self.model.lora.model_dump())
        return None

    def task(self) -> "Task":
        """The task: the model for the data set, with low-rank layers, adapters or a computed layer if asked.

        For regression, the loss is squared error and the metric absolute error.

        Raises:
            ValueError: the data or the model is not available, a regression has a target accuracy, or
                the model is computed in one shot, and `[local]` says otherwise.
        """
        from hedgerow.client.one_shot import one_shot_task, refuse_steps
        from hedgerow.client.regression import task_of

        facts, factory = self.facts(), self.shaped()
        if facts.task == "regression" and self.evaluation.target_accuracy is not None:
            raise ValueError(
                f"evaluation.target_accuracy is {self.evaluation.target_accuracy:g}; it must be left out:"
                f" {facts.name!r} is a regression, which has no accuracy"
            )
        frozen = self.around(factory)
        if self.model.one_shot is not None and frozen is not None:
            refuse_steps(self.local)
            return one_shot_task(facts.task, frozen)
        return task_of(facts.task, frozen or factory)

    def adversary(self) -> "Adversary | None":
        """The adversary that controls some simulated clients; `None` if there is none."""
        from hedgerow.simulation.attacks.adversary import Adversary
        from hedgerow.simulation.attacks.registry import ATTACKS

        if self.attack is None or not self.attack.clients:
            return None
        attack = ATTACKS.get(self.attack.name)
        options = python_values(attack, self.attack.options)
        if "num_classes" in signature(attack).parameters:
            options["num_classes"] = self.dataset().num_classes
        return Adversary(attack(**options), self.attack.clients)

    def described_devices(self) -> "Devices | None":
        """The devices of simulated clients; `None` if they are not described."""
        from hedgerow.simulation.devices.registry import DEVICES

        if self.devices is None:
            return None
        make = DEVICES.get(self.devices.name)
        found: Devices = make(**python_values(make, self.devices.options))
        return found

    def described_clock(self) -> "Clock | None":
        """The clock of a simulation; `None` if rounds take no simulated time."""
        from hedgerow.experiments.config.clock import build_clock

        return None if self.clock is None else build_clock(self.clock)

    @property
    def initial(self) -> Path | None:
        """The file that the model starts from; `None` for a new model."""
        return None if self.model.initial is None else Path(self.model.initial)

    def options(self, given: RunOptions) -> RunOptions:
        """The options of a run, completed from `[run]`; given workers take precedence.

        Raises:
            ValueError: a given trainer, device or precision differs from that of `[run]`.
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
    """The experiment as TOML, with every default written out; `load` returns an equal one.

    The only exception are the model's own defaults: finding them would mean importing
    torch wherever a configuration is read.
    """
    return tomli_w.dumps(experiment.model_dump(mode="json", exclude_none=True))


@lru_cache(maxsize=1)
def _load(name: str, options: str) -> "Dataset":
    # The last one is cached, because parts of an experiment and cells of a sweep use the same.
    from hedgerow.datasets import load_dataset

    return load_dataset(name, **json.loads(options))
