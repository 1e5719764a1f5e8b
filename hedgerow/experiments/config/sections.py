"""The tables of a configuration, one class each: their keys and defaults."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator

from hedgerow import checks
from hedgerow.client.one_shot import HEADS, RIDGE
from hedgerow.client.trainers import TRAINERS
from hedgerow.datasets.held_out import ALL_WAYS
from hedgerow.experiments.config.arguments import Table
from hedgerow.promotion.candidates import KEPT
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining, RunOptions
from hedgerow.types.options import PRECISIONS


def checked(check: Callable[..., None], *bounds: Any) -> AfterValidator:
    """A validator that calls one of `hedgerow.checks` with these bounds."""

    def holds(value: Any) -> Any:
        check(*bounds, value=value)
        return value

    return AfterValidator(holds)


def one_line(text: str) -> str:
    """Refuse a text that is empty or has more than one line."""
    if not text.strip() or not text.isprintable():
        raise ValueError("it must be a text of one line that is not empty")
    return text


def _inside(value: float | None) -> None:
    if value is not None:
        checks.inside(value=value)


def _all_or_fraction(given: str | float | None) -> str | float | None:
    if isinstance(given, str) and given != "all":
        raise ValueError('it must be "all", or a number above 0 and at most 1')
    if isinstance(given, float):
        checks.fraction(value=given)
    return given


def _untimed(local: LocalTraining) -> LocalTraining:
    if local.time_budget:
        raise ValueError("it must be without time_budget: the server trains for all epochs")
    return local


def _trainer(name: str) -> str:
    checks.one_of(TRAINERS.names(), value=name)
    return name


Seed = Annotated[int, checked(checks.whole, 0, 2**63 - 1)]
Count = Annotated[int, checked(checks.whole, 1)]
Positive = Annotated[float, checked(checks.positive)]
Fraction = Annotated[float, checked(checks.fraction)]
Probability = Annotated[float, checked(checks.probability)]


class Section(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_by_name=True,
        serialize_by_alias=True,
    )


class NamedPart(Section):
    """A part, given by name; every other key is an argument of that part."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def options(self) -> Table:
        """The arguments of the part, as plain TOML values."""
        return dict(self.model_extra or {})


class PartitionConfig(NamedPart):
    """`[data.partition]`: how samples are split among clients."""


class DataConfig(NamedPart):
    """`[data]`: a data set by name or path, and how it is split.

    `held_out` is the fraction of its samples on which each client does not train
    but evaluates models; `held_out_by` is how they are chosen: `"random"`, `"time"`
    (the last ones) or `"row"` (by a hash of each).
    """

    partition: PartitionConfig
    held_out: Annotated[float | None, checked(_inside)] = None
    held_out_by: Annotated[str, checked(checks.one_of, ALL_WAYS)] = "random"


class LoraConfig(Section):
    """`[model.lora]`: train low-rank adapters instead of the whole model, see `hedgerow.lora`."""

    rank: Count
    targets: tuple[str, ...] | None = None
    train: tuple[str, ...] = ()
    alpha: Positive | None = None


class ModelConfig(NamedPart):
    """`[model]`: a model by name, `module:function` or `file.py:function`.

    `initial` is what it starts from: a safetensors file, or the folder of a run
    that has ended. `low_rank` is the rank of its layers, all that become smaller
    but the last, or those of `low_rank_layers`; see `hedgerow.low_rank`. `one_shot`
    freezes the model and computes its last layer in one round: `"ridge"`, with a
    penalty `ridge`, or `"class_means"`; see `hedgerow.ridge`.
    """

    initial: str | None = None

    lora: LoraConfig | None = None
    low_rank: Count | None = None
    low_rank_layers: tuple[str, ...] | None = None
    one_shot: Annotated[str, checked(checks.one_of, HEADS)] | None = None
    ridge: Positive | None = None

    @property
    def computed(self) -> dict[str, Any]:
        """The last layer that is computed in one shot, as arguments of its task."""
        return {"head": self.one_shot, "strength": self.ridge or RIDGE if self.one_shot == "ridge" else None}

    @field_validator("low_rank", "one_shot")
    @classmethod
    def _one_way(cls, given: Any, others: ValidationInfo) -> Any:
        if given is not None and others.data.get("lora") is not None:
            raise ValueError("it must be left out beside [model.lora], whose adapters are of whole weights")
        return given

    @field_validator("low_rank_layers")
    @classmethod
    def _with_rank(cls, layers: tuple[str, ...] | None, others: ValidationInfo) -> tuple[str, ...] | None:
        if layers is not None and others.data.get("low_rank") is None:
            raise ValueError("it must be given with low_rank, such as low_rank = 8")
        return layers

    @field_validator("ridge")
    @classmethod
    def _of_ridge(cls, strength: float | None, others: ValidationInfo) -> float | None:
        if strength is not None and others.data.get("one_shot") != "ridge":
            raise ValueError('it must be given with one_shot = "ridge"')
        return strength


class PretrainingConfig(Section):
    """`[pretraining]`: the server trains the model before the first round, on samples that no client has.

    Attributes:
        share: fraction of the training samples of these classes, drawn with the run's seed.
        classes: known to the server; default: all.
        local: how it trains, with the keys of `[local]`; epochs run one after another.
    """

    share: Fraction
    classes: tuple[int, ...] | None = None
    local: Annotated[LocalTraining, AfterValidator(_untimed)] = LocalTraining()


class StrategyConfig(NamedPart):
    """`[strategy]`: a preset, its arguments, and the keys common to all presets.

    `population` is the intended number of clients, for sampling that must not
    depend on which clients are online (private presets).
    """

    clients_per_round: Count | None = None
    fraction: Fraction | None = None
    population: Count | None = None
    pipeline: str = "float32()"
    downlink: str = "float32()"
    aggregate: str = "mean()"
    weighted: bool = True
    quorum: Fraction = Strategy.quorum
    max_weight: Positive | None = Strategy.max_weight
    max_norm: Positive | None = Strategy.max_norm
    norm_bound: Annotated[float, checked(checks.not_negative)] = Strategy.norm_bound
    personal: str | tuple[str, ...] | None = None


class AttackConfig(NamedPart):
    """`[attack]`: what compromised clients do, and their fraction of all; only in simulations."""

    clients: Probability


class DevicesConfig(NamedPart):
    """`[devices]`: how long a step takes on each simulated client's device; real ones have a clock."""


class AvailabilityConfig(NamedPart):
    """`[clock.availability]`: when simulated clients are there."""


class ClockConfig(Section):
    """`[clock]`: devices and links of simulated clients, whose rounds then take simulated time.

    The other keys are the arguments of `hedgerow.simulation.clock.clock.clock`.
    """

    model_config = ConfigDict(extra="allow")
    availability: AvailabilityConfig | None = None

    @property
    def options(self) -> Table:
        """The other keys, as plain TOML values."""
        return dict(self.model_extra or {})


class EvaluationConfig(Section):
    """`[evaluation]`: of the global model, on test samples on the server, and by clients.

    Attributes:
        every: rounds from one evaluation to the next; the last round is
            always evaluated.
        target_accuracy: tables show the bytes needed to reach it.
        target_in_a_row: evaluations in a row at or above the target with which it counts as reached.
        server: whether the server evaluates it; by default, only if no layers are personal, because a
            figure with layers that no client has trained says little.
        clients: which clients also evaluate the model, on their held-out samples: `"all"`
            that are online, or a fraction of them. If the strategy masks, only their sums are known.
        per_client: record what each of them measured, in `clients.jsonl`; only without a mask.
    """

    every: Count = 1
    target_accuracy: Fraction | None = None
    target_in_a_row: Count = 1
    server: bool | None = None
    clients: Annotated[str | float | None, AfterValidator(_all_or_fraction)] = None
    per_client: bool = False

    @property
    def fraction(self) -> float | None:
        """The fraction of clients that evaluate the model; `None` if none does."""
        return 1.0 if self.clients == "all" else self.clients  # type: ignore[return-value]


class RunConfig(Section):
    """`[run]`: how a run is carried out, and how clients' work is executed; see `RunOptions`.

    `trainer`, `device` and `precision` may affect a run's last bits, so they are part
    of its identity; `workers` and `keep_models` affect no result, and are not.

    Attributes:
        record: keep the replies that counted in each round in `replies/`, so that
            `hedgerow replay` can rebuild the model.
        keep_models: number of last rounds whose models are kept for `hedgerow promote`, besides the best.
    """

    trainer: Annotated[str, AfterValidator(_trainer)] = "loop"
    device: str | None = None
    precision: Annotated[str, checked(checks.one_of, PRECISIONS)] = "float32"
    workers: Count | None = None
    record: bool = False
    keep_models: Annotated[int, checked(checks.whole, 0)] = KEPT


class ServerConfig(Section):
    """`[server]`: when a round ends, and which clients are set aside. See `RunOptions`.

    Without [clock] simulated clients are never late: for them only quorum and set_aside have an effect.
    The fraction of asked clients that must count is `[strategy] quorum`.

    Attributes:
        deadline: seconds that a cohort has for its replies, in masked rounds for each stage; without it,
            the server waits for ever.
        min_clients: number that must be online before the first round; default: all of the experiment's.
        over_select: extra clients to ask, as a fraction of the cohort; the first replies count.
        retry: how many times a round is repeated if too few clients count.
        quorum: how many replies must count for the round to count, whatever the fraction is.
        set_aside: bad replies in a row after which a client is set aside; 0 for never.
    """

    deadline: Positive | None = None
    min_clients: Count | None = None
    over_select: Probability = 0.0
    retry: Annotated[int, checked(checks.whole, 0)] = RunOptions.retry
    quorum: Count = RunOptions.quorum
    set_aside: Annotated[int, checked(checks.whole, 0)] = RunOptions.set_aside
