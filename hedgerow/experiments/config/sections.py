"""The tables of a configuration, one class each: what may stand in them, and what is left out."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from hedgerow import checks
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
    """Refuse a text that is empty or has several lines."""
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
    """A part by its name; every other key is an argument of that part."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def options(self) -> Table:
        """The arguments of the part, as plain TOML values."""
        return dict(self.model_extra or {})


class PartitionConfig(NamedPart):
    """`[data.partition]`: how samples are dealt to clients."""


class DataConfig(NamedPart):
    """`[data]`: a data set by name or path, and how it is dealt.

    `held_out` is the fraction of each client's samples that it does not train on,
    but measures models on; `held_out_by` is how they are chosen, `"random"`,
    `"time"` (the last ones) or `"row"` (by a hash of each).
    """

    partition: PartitionConfig
    held_out: Annotated[float | None, checked(_inside)] = None
    held_out_by: Annotated[str, checked(checks.one_of, ALL_WAYS)] = "random"


class LoraConfig(Section):
    """`[model.lora]`: low-rank adapters in place of all of the model, see `hedgerow.lora`."""

    rank: Count
    targets: tuple[str, ...] | None = None
    train: tuple[str, ...] = ()
    alpha: Positive | None = None


class ModelConfig(NamedPart):
    """`[model]`: a model by name, `module:function` or `file.py:function`.

    `initial` is where it starts from: a safetensors file, or the folder of a run
    that has ended.
    """

    initial: str | None = None

    lora: LoraConfig | None = None


class PretrainingConfig(Section):
    """`[pretraining]`: the server trains the model before the first round, on samples that no client has.

    Attributes:
        share: fraction of the training samples of these classes, drawn with the run's seed.
        classes: that the server knows; all where it is left out.
        local: how it trains, with the keys of `[local]`; its epochs are one after another.
    """

    share: Fraction
    classes: tuple[int, ...] | None = None
    local: LocalTraining = LocalTraining()


class StrategyConfig(NamedPart):
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
    norm_bound: Annotated[float, checked(checks.not_negative)] = Strategy.norm_bound
    personal: str | tuple[str, ...] | None = None


class AttackConfig(NamedPart):
    """`[attack]`: what compromised clients do, and which fraction of all they are; simulated ones only."""

    clients: Probability


class EvaluationConfig(Section):
    """`[evaluation]`: of the global model, on the test samples, on the server; and by clients.

    Attributes:
        every: rounds from one evaluation to the next; the last round is
            always evaluated.
        target_accuracy: tables show the bytes it took to reach it.
        server: whether it is measured; by default, where no layers are personal: with layers that
            no client has trained, the figure says little.
        clients: who measures the model too, on its held-out samples: `"all"`
            that are there, or a fraction of them. Where the strategy masks, their sums are all that is known.
        per_client: write down what each of them measured, in `clients.jsonl`; without a mask only.
    """

    every: Count = 1
    target_accuracy: Fraction | None = None
    server: bool | None = None
    clients: Annotated[str | float | None, AfterValidator(_all_or_fraction)] = None
    per_client: bool = False

    @property
    def fraction(self) -> float | None:
        """The fraction of clients that measure the model; `None` where none does."""
        return 1.0 if self.clients == "all" else self.clients  # type: ignore[return-value]


class RunConfig(Section):
    """`[run]`: how a run is carried out, and how clients' work is executed; see `RunOptions`.

    `trainer`, `device` and `precision` may show in a run's last bits, and are
    part of what a run is; `workers` and `keep_models` show in no result, and are not.

    Attributes:
        record: keep in `replies/` who counted in each round, and with what, so
            that `hedgerow replay` gives the model again.
        keep_models: of so many of the last rounds, and of the best one, for `hedgerow promote`.
    """

    trainer: Annotated[str, AfterValidator(_trainer)] = "loop"
    device: str | None = None
    precision: Annotated[str, checked(checks.one_of, PRECISIONS)] = "float32"
    workers: Count | None = None
    record: bool = False
    keep_models: Annotated[int, checked(checks.whole, 0)] = KEPT


class ServerConfig(Section):
    """`[server]`: when a round ends, and who is asked no more. See `RunOptions`.

    Simulated clients are never late: for them quorum and set_aside hold, and the others say nothing.
    The share of those asked that must count is `[strategy] quorum`.

    Attributes:
        deadline: seconds that a cohort has for its replies, in each stage under a mask; waits for ever
            where it is left out.
        min_clients: that must be there before the first round; all of the experiment's where it is left out.
        over_select: the extra clients to ask, as a fraction of the cohort; the first replies count.
        retry: how many times a round in which too few clients count is repeated.
        quorum: how many replies must count for a round to, whatever the fraction is.
        set_aside: bad replies in a row after which a client is asked no more; 0 for never.
    """

    deadline: Positive | None = None
    min_clients: Count | None = None
    over_select: Probability = 0.0
    retry: Annotated[int, checked(checks.whole, 0)] = RunOptions.retry
    quorum: Count = RunOptions.quorum
    set_aside: Annotated[int, checked(checks.whole, 0)] = RunOptions.set_aside
