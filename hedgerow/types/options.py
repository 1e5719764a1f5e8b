"""How a run is executed: one object, from the command line to the training loop.

What is computed (strategy, task, data, rounds, seed) is not here. Of what is
here, `trainer`, `device` and `precision` may show in a run's last bits, and
belong to its identity; the others show in no result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from types import NoneType
from typing import Any, TypedDict

from hedgerow import checks
from hedgerow.wording import did_you_mean

ENGINES = ("local", "ray")
IDENTITY = ("trainer", "device", "precision")
"""The options that may show in a run's last bits."""

PRECISIONS = ("float32", "bfloat16", "float16")


class Deployment(StrEnum):
    """Who runs the clients, and so what is secret from whom.

    >>> Deployment.SIMULATED.masks, Deployment.REAL.seeded
    (False, False)
    """

    REAL = "real"
    """Each client is run by its owner: masks where the pipeline masks, noise from the operating system."""

    SIMULATED = "simulated"
    """One party runs all: what masks would sum is added in the clear; the seed decides all randomness."""

    MASKED = "simulated with masks"
    """As `SIMULATED`, but with the whole protocol of secure aggregation; the same bits."""

    REHEARSED = "rehearsed"
    """All in one hand, for audits: added in the clear, with the noise and cohorts of a real run."""

    @property
    def masks(self) -> bool:
        """Whether a pipeline that masks is summed under its masks."""
        return self in (Deployment.REAL, Deployment.MASKED)

    @property
    def seeded(self) -> bool:
        """Whether noise and cohorts of private rounds follow from the run's seed, and so protect nobody."""
        return self in (Deployment.SIMULATED, Deployment.MASKED)


@checks.arguments
@dataclass(frozen=True)
class RunOptions:
    """How a run is executed.

    Attributes:
        deployment: in whose hands the clients are; `None` for `Deployment.SIMULATED` in `simulate`, and
            for `Deployment.REAL` on a grid.
        trainer: of a `Task`, by name: `"loop"` trains one client after another, `"batch"` several as one
            computation, `"auto"` measures what is faster; or one that a package registers under
            `hedgerow.trainers`. Loop and batch agree to rounding only, and so do two runs with
            `"auto"`; a run in a folder keeps what it chose.
        device: of torch, for a `Task`, such as `"cpu"` or `"cuda:1"`. `None` is a GPU for `"batch"` and
            `"auto"` in one process, where there is one, and else the CPU; a run in a folder keeps it.
            On a GPU two runs may differ in their last bits.
        precision: of forward and backward passes in training: `"float32"`, or `"bfloat16"` or
            `"float16"` by torch's autocast, where the device can; the weights stay float32.
        workers: processes that simulate clients, one thread each; their number shows in no result.
            `None` is 1, and on a cluster as many as it has CPUs.
        engine: `"local"`, or `"ray"` for workers on a Ray cluster.
        address: of the cluster: `"auto"`, `"host:port"` or `"ray://host:port"`; `None` for a Ray of its
            own on this machine.
        gpus: that a worker on a cluster asks for; 0.25 lets four share one.
        client_timeout: seconds a simulated client may take before it is dropped; `None` for no limit.
        memory_limit: bytes that a simulated client's process may allocate beyond what it starts with,
            before the client is dropped; `None` for no limit. Linux only.
        timeout: seconds a cohort on a grid has for its replies, in each stage of a secure aggregation;
            `None` waits for ever.
        min_clients: on a grid, the clients to wait for before the first round.
        register: identity keys of clients, pinned by the server of a grid too.
        over_select: on a grid, the extra clients to ask, as a fraction of the cohort. The first replies
            count, up to the size of the cohort; later ones are dropped. Only where updates are in the
            clear and nothing is private.
        retry: on a grid, how many times a round in which too few clients counted is repeated before it
            fails; under the same condition.
        quorum: how many replies must count for a round to, beside the fraction that the strategy asks for.
        set_aside: bad replies in a row after which a client is asked no more; 0 for never. One that is
            silent has sent none. Beside noise with a ledger nobody is set aside.
        joined: on a grid, gives `{node id: name}` of the nodes that may take part, each under its
            own name; `None` takes every node for who it says that it is.

    Raises:
        ValueError: a value is not allowed, or an address or GPUs of a cluster are given without one.

    >>> RunOptions(workers=2).deployment is None
    True
    """

    deployment: Deployment | None = None
    trainer: str = "loop"
    device: str | None = None
    precision: str = "float32"
    workers: int | None = None
    engine: str = "local"
    address: str | None = None
    gpus: float = 0.0
    client_timeout: float | None = None
    memory_limit: int | None = None
    timeout: float | None = None
    min_clients: int = 1
    register: Mapping[str, bytes] | None = None
    over_select: float = 0.0
    retry: int = 0
    quorum: int = 1
    set_aside: int = 3
    joined: Callable[[], Mapping[int, str]] | None = None

    def __post_init__(self) -> None:
        if self.deployment is not None:
            checks.one_of([each.value for each in Deployment], deployment=self.deployment)
            object.__setattr__(self, "deployment", Deployment(self.deployment))
        checks.kind(str, ", such as 'loop'", trainer=self.trainer)
        checks.kind((str, NoneType), ", such as 'cpu'", device=self.device)
        checks.kind((str, NoneType), ", such as 'auto'", address=self.address)
        checks.kind((Mapping, NoneType), ", such as {'client-0001': key}", register=self.register)
        checks.one_of(PRECISIONS, precision=self.precision)
        checks.one_of(ENGINES, engine=self.engine)
        checks.not_negative(gpus=self.gpus)
        checks.whole(0, min_clients=self.min_clients, retry=self.retry, set_aside=self.set_aside)
        checks.whole(1, quorum=self.quorum)
        checks.probability(over_select=self.over_select)
        checks.kind((Callable, NoneType), " that gives {node id: name}", joined=self.joined)
        for count in ("workers", "memory_limit"):
            if getattr(self, count) is not None:
                checks.whole(1, **{count: getattr(self, count)})
        for seconds in ("client_timeout", "timeout"):
            if getattr(self, seconds) is not None:
                checks.positive(**{seconds: getattr(self, seconds)})
        if self.engine != "ray" and (self.address is not None or self.gpus):
            given = f"the address {self.address!r}" if self.address is not None else f"gpus={self.gpus:g}"
            raise ValueError(f"{given} is for workers on a cluster; choose engine='ray', or leave it out")


class OnGrid(TypedDict, total=False):
    """The fields of `RunOptions` that mean something where a grid has the clients."""

    deployment: Deployment | None
    timeout: float | None
    register: Mapping[str, bytes] | None
    over_select: float
    retry: int
    quorum: int
    set_aside: int
    joined: Callable[[], Mapping[int, str]] | None


class Waiting(OnGrid, total=False):
    """Those that mean something where a run on a grid begins."""

    min_clients: int


class Simulating(TypedDict, total=False):
    """Those that mean something where clients are simulated."""

    deployment: Deployment | None
    trainer: str
    device: str | None
    precision: str
    workers: int | None
    engine: str
    address: str | None
    gpus: float
    client_timeout: float | None
    memory_limit: int | None
    quorum: int
    set_aside: int


def options_for(
    function: str, meant: type, options: RunOptions | None, changes: Mapping[str, Any]
) -> RunOptions:
    """The options of a function that takes some of them as keyword arguments too.

    Args:
        function: its name, for the errors.
        meant: `OnGrid`, `Waiting` or `Simulating`: the options that it heeds.
        options: what it was given; `None` for the defaults.
        changes: its keyword arguments.

    Raises:
        TypeError: a keyword argument is none of those meant.
        ValueError: an option that it does not heed is set, or a value is not allowed.
    """
    checks.kind((RunOptions, NoneType), ", such as RunOptions(workers=2)", options=options)
    names = meant.__annotations__
    for name in changes:
        if name not in names:
            near = did_you_mean(name, names)
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}.{near}")
    chosen = replace(options or RunOptions(), **changes)
    for field in fields(RunOptions):
        value = getattr(chosen, field.name)
        if field.name not in names and value != field.default:
            raise ValueError(
                f"{field.name} is {value!r}; it must be left out: {function} heeds only {', '.join(names)}"
            )
    return chosen
