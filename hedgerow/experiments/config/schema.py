"""An experiment as typed, frozen data: read from TOML, checked as a whole, written back as TOML.

What a table may hold follows from what it configures: `[local]` has the fields
of `LocalTraining`, `[data.partition]` the arguments of the partition it names,
and so on. `parse` finds every mistake, also those that only building a part
shows, and raises one `ConfigError`. It loads no data.

pydantic does the typing, because it collects every mistake before it raises.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hedgerow import checks
from hedgerow.client.trainers import TRAINERS
from hedgerow.datasets.held_out import ALL_WAYS
from hedgerow.experiments.config.arguments import Table, python_values
from hedgerow.recipe.own_data import NAME, OwnSchema
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining, RunOptions
from hedgerow.types.options import IDENTITY, PRECISIONS

if TYPE_CHECKING:  # loaded by the methods that need them
    from hedgerow.client.task import Task
    from hedgerow.datasets import Dataset, Federation
    from hedgerow.models import NamedModel
    from hedgerow.simulation.attacks.adversary import Adversary
    from hedgerow.types import Samples


def _checked(check: Callable[..., None], *bounds: Any) -> AfterValidator:
    def holds(value: Any) -> Any:
        check(*bounds, value=value)
        return value

    return AfterValidator(holds)


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("it must be a text of one line that is not empty")
    return text


def _share(value: float | None) -> None:
    if value is not None:
        checks.inside(value=value)


def _all_or_fraction(given: str | float | None) -> str | float | None:
    if isinstance(given, str) and given != "all":
        raise ValueError('it must be "all", or a number above 0 and at most 1')
    if isinstance(given, float):
        checks.fraction(value=given)
    return given


def _trainer(name: str) -> str:
    checks.one_of(TRAINERS.names(), value=name)
    return name


Seed = Annotated[int, _checked(checks.whole, 0, 2**63 - 1)]
Count = Annotated[int, _checked(checks.whole, 1)]
Positive = Annotated[float, _checked(checks.positive)]
Fraction = Annotated[float, _checked(checks.fraction)]
Share = Annotated[float, _checked(checks.probability)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_by_name=True,
        serialize_by_alias=True,
    )


class _Named(_Section):
    """A part by its name; every other key is an argument of that part."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def options(self) -> Table:
        """The arguments of the part, as plain TOML values."""
        return dict(self.model_extra or {})


class PartitionConfig(_Named):
    """`[data.partition]`: how samples are dealt to clients."""


class DataConfig(_Named):
    """`[data]`: a data set by name or path, and how it is dealt.

    `held_out` is the share of each client's samples that it does not train on,
    but measures models on; `held_out_by` is how they are chosen, `"random"`,
    `"time"` (the last ones) or `"row"` (by a hash of each).
    """

    partition: PartitionConfig
    held_out: Annotated[float | None, _checked(_share)] = None
    held_out_by: Annotated[str, _checked(checks.one_of, ALL_WAYS)] = "random"


class LoraConfig(_Section):
    """`[model.lora]`: low-rank adapters in place of all of the model, see `hedgerow.lora`."""

    rank: Count
    targets: tuple[str, ...] | None = None
    train: tuple[str, ...] = ()
    alpha: Positive | None = None


class ModelConfig(_Named):
    """`[model]`: a model by name, `module:function` or `file.py:function`.

    `initial` is where it starts from: a safetensors file, or the folder of a run
    that has ended.
    """

    initial: str | None = None

    lora: LoraConfig | None = None


class PretrainingConfig(_Section):
    """`[pretraining]`: the server trains the model before the first round, on samples that no client has.

    Attributes:
        share: of the training samples of these classes, drawn with the run's seed.
        classes: that the server knows; all where it is left out.
        local: how it trains, with the keys of `[local]`; its epochs are one after another.
    """

    share: Fraction
    classes: tuple[int, ...] | None = None
    local: LocalTraining = LocalTraining()


class StrategyConfig(_Named):
    """`[strategy]`: a preset, its arguments, and what every preset takes.

    `population` is how many clients there are meant to be, for sampling that
    must not depend on who is there (private presets).
    """

    clients_per_round: Count | None = None
    fraction: Fraction | None = None
    population: Count | None = None
    pipeline: str = "float32()"
    aggregate: str = "mean()"
    weighted: bool = True
    quorum: Fraction = Strategy.quorum
    max_weight: Positive | None = Strategy.max_weight
    max_norm: Positive | None = Strategy.max_norm
    personal: str | tuple[str, ...] | None = None


class AttackConfig(_Named):
    """`[attack]`: what compromised clients do, and the share of the clients that are; simulated ones only."""

    clients: Share


class EvaluationConfig(_Section):
    """`[evaluation]`: of the global model, on the test samples, on the server; and by clients.

    Attributes:
        every: rounds from one evaluation to the next; the last round is
            always evaluated.
        target_accuracy: tables show the bytes it took to reach it.
        server: whether it is measured; by default, where no layers are personal: with layers that
            no client has trained, the figure says little.
        clients: who measures the model too, on its held-out samples: `"all"`
            that are there, or a fraction of them.
        per_client: write down what each of them measured, in `clients.jsonl`.
    """

    every: Count = 1
    target_accuracy: Fraction | None = None
    server: bool | None = None
    clients: Annotated[str | float | None, AfterValidator(_all_or_fraction)] = None
    per_client: bool = False

    @property
    def fraction(self) -> float | None:
        """Of the clients that measure the model; `None` where none does."""
        return 1.0 if self.clients == "all" else self.clients  # type: ignore[return-value]


class RunConfig(_Section):
    """`[run]`: how a run is carried out, and how clients' work is executed; see `RunOptions`.

    `trainer`, `device` and `precision` may show in a run's last bits, and are
    part of what a run is; `workers` shows in no result, and is not.

    Attributes:
        record: keep in `replies/` who counted in each round, and with what, so
            that `hedgerow replay` gives the model again.
    """

    trainer: Annotated[str, AfterValidator(_trainer)] = "loop"
    device: str | None = None
    precision: Annotated[str, _checked(checks.one_of, PRECISIONS)] = "float32"
    workers: Count | None = None
    record: bool = False


class ServerConfig(_Section):
    """`[server]`: when a round of a federation ends; simulated clients are never late. See `RunOptions`.

    How many of those asked must count is `[strategy] quorum`.

    Attributes:
        deadline: seconds that a cohort has for its replies, in each stage under a mask; waits for ever
            where it is left out.
        min_clients: that must be there before the first round; all of the experiment's where it is left out.
        over_select: ask so many more, as a share of the cohort; the first replies count.
        retry: ask for a round again so often where too few count.
    """

    deadline: Positive | None = None
    min_clients: Count | None = None
    over_select: Share = 0.0
    retry: Annotated[int, _checked(checks.whole, 0)] = 0


class Experiment(_Section):
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

    name: Annotated[str, AfterValidator(_one_line)]
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
        """Who holds a share of the simulated clients; `None` where nobody does."""
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
        return replace(given, **own, workers=given.workers or self.run.workers)

    def strategy(self) -> Strategy:
        """The strategy, with its sampling, pipeline and local training."""
        from hedgerow.experiments.config.build import build_strategy

        return build_strategy(self.strategy_config, self.local)


def parse(table: Mapping[str, Any], source: str = "") -> Experiment:
    """Check a configuration as a whole and fill in every default.

    Args:
        table: as TOML gives it, without `[sweep]`.
        source: the file or recipe, for the error.

    Raises:
        ConfigError: with every mistake there is.
    """
    from hedgerow.experiments.config.build import resolve
    from hedgerow.experiments.config.errors import ConfigError

    resolved, mistakes = resolve(table)
    if mistakes:
        raise ConfigError(mistakes, source)
    return Experiment.model_validate_json(json.dumps(resolved))


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
