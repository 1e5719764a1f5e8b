"""An experiment as typed, frozen data: read from TOML, checked as a whole, written back as TOML.

What a table may hold follows from what it configures: `[local]` has the fields
of `LocalTraining`, `[data.partition]` the arguments of the partition it names,
and so on. `parse` finds every mistake, also those that only building a part
shows, and raises one `ConfigError`. It loads no data.

pydantic does the typing, because it collects every mistake before it raises.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hedgerow import checks
from hedgerow.experiments.config.arguments import Table, python_values
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining

if TYPE_CHECKING:  # loaded by the methods that need them
    from hedgerow.client.task import Task
    from hedgerow.datasets import Dataset, Federation


def _checked(check: Callable[..., None], *bounds: int) -> AfterValidator:
    def holds(value: Any) -> Any:
        check(*bounds, value=value)
        return value

    return AfterValidator(holds)


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("it must be a text of one line that is not empty")
    return text


Count = Annotated[int, _checked(checks.whole, 1)]
Positive = Annotated[float, _checked(checks.positive)]
Fraction = Annotated[float, _checked(checks.fraction)]


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
    """`[data]`: a data set by name or path, and how it is dealt."""

    partition: PartitionConfig


class ModelConfig(_Named):
    """`[model]`: a model by name, `module:function` or `file.py:function`."""


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


class EvaluationConfig(_Section):
    """`[evaluation]`: of the global model, on the test samples, on the server.

    Attributes:
        every: rounds from one evaluation to the next; the last round is
            always evaluated.
        target_accuracy: tables show the bytes it took to reach it.
        server: whether it is measured; by default, where no layers are personal: with layers that
            no client has trained, the figure says little.
    """

    every: Count = 1
    target_accuracy: Fraction | None = None
    server: bool | None = None


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
    seed: int = 0
    rounds: Count
    data: DataConfig
    model: ModelConfig
    strategy_config: StrategyConfig = Field(StrategyConfig(name="fedavg"), alias="strategy")
    local: LocalTraining = LocalTraining()
    evaluation: EvaluationConfig = EvaluationConfig()

    def dataset(self) -> "Dataset":
        """Load the data set.

        Raises:
            ValueError: the data cannot be read or fetched.
        """
        return _load(self.data.name, json.dumps(self.data.options, sort_keys=True))

    def federation(self) -> "Federation":
        """The data set, dealt to clients.

        Raises:
            ValueError: the data cannot be read, or not be dealt that way.
        """
        from hedgerow.datasets import PARTITIONS

        partition = self.data.partition
        constructor = PARTITIONS.get(partition.name)
        return self.dataset().split(constructor(**python_values(constructor, partition.options)), self.seed)

    def task(self) -> "Task":
        """The model, made to fit the data set."""
        from hedgerow.client.task import Task
        from hedgerow.models import build

        data = self.dataset()
        facts: Table = {"input_shape": data.input_shape, "num_classes": data.num_classes}
        return Task(model=build(self.model.name, **facts, **self.model.options))

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
