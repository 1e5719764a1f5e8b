"""How a run is executed: one object, from the command line to the training loop.

What is computed (strategy, task, data, rounds, seed) is not here. Of these options,
`trainer`, `device` and `precision` may affect a run's last bits, and belong to its
identity; the others affect no result.
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
"""The options that may affect a run's last bits."""

PRECISIONS = ("float32", "bfloat16", "float16")


class Deployment(StrEnum):
    """Who runs the clients, which decides what is secret from whom.

    >>> Deployment.SIMULATED.masks, Deployment.REAL.seeded
    (False, False)
    """

    REAL = "real"
    """Each client is run by its owner: masks if the pipeline masks, noise from the operating system."""

    SIMULATED = "simulated"
    """One party runs all clients: sums are computed without masks; the seed determines all randomness."""

    MASKED = "simulated with masks"
    """Like `SIMULATED`, but with the whole secure aggregation protocol; the same bits."""

    REHEARSED = "rehearsed"
    """One party runs all clients, for audits: no masks, but the noise and cohorts of a real run."""

    @property
    def masks(self) -> bool:
        """Whether a masking pipeline is summed with masks."""
        return self in (Deployment.REAL, Deployment.MASKED)

    @property
    def seeded(self) -> bool:
        """Whether private rounds' noise and cohorts are derived from the run's seed, and protect nobody."""
        return self in (Deployment.SIMULATED, Deployment.MASKED)


@checks.arguments
@dataclass(frozen=True)
class RunOptions:
    """How a run is executed.

    Attributes:
        deployment: who runs the clients; `None` for `Deployment.SIMULATED` in `simulate`, and for
            `Deployment.REAL` on a grid.
        trainer: of a `Task`, by name: `"loop"` trains one client after another, `"batch"` several as one
            computation, `"auto"` measures which is faster, `"onnx"` trains on ONNX Runtime as devices
            without torch do; or one that a package registers under `hedgerow.trainers`. They agree only
            up to rounding, and so do two runs with `"auto"`; a run in a folder keeps its choice.
        device: of torch, for a `Task`, such as `"cpu"` or `"cuda:1"`. `None` is a GPU, if there is one,
            for `"batch"` and `"auto"` in one process, and else the CPU; a run in a folder keeps it.
            On a GPU two runs may differ in their last bits.
        precision: of forward and backward passes in training: `"float32"`, or `"bfloat16"` or
            `"float16"` by torch's autocast, if the device supports it; the weights stay float32.
        workers: number of processes that simulate clients, one thread each; it affects no result.
            `None` is 1, and on a cluster its number of CPUs.
        engine: `"local"`, or `"ray"` for workers on a Ray cluster.
        address: of the cluster: `"auto"`, `"host:port"` or `"ray://host:port"`; `None` starts Ray on
            this machine.
        gpus: that a worker on a cluster requests; 0.25 lets four share one.
        client_timeout: seconds that a simulated client may take before it is dropped; `None` for no limit.
        memory_limit: bytes that a simulated client's process may allocate above what it starts with,
            before the client is dropped; `None` for no limit. Linux only.
        timeout: seconds that a cohort on a grid has for its replies, in each stage of a secure aggregation;
            `None` waits for ever.
        min_clients: on a grid, the number of clients to wait for before the first round.
        register: identity keys of clients, which the server of a grid also pins.
        over_select: on a grid, extra clients to ask, as a fraction of the cohort. The first replies
            count, up to the size of the cohort; later ones are dropped. Only if updates are in the
            clear and nothing is private.
        retry: on a grid, how many times a round in which too few clients counted is repeated before it
            fails; under the same condition.
        quorum: how many replies must count for the round to count, besides the strategy's fraction.
        set_aside: bad replies in a row after which a client is set aside; 0 for never. Silence is not a
            bad reply. With a ledger of noise nobody is set aside.
        joined: on a grid, returns `{node id: name}` of the nodes that may take part, each under its
            own name; `None` believes every node's own name.

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
    """The fields of `RunOptions` that apply to clients on a grid."""

    deployment: Deployment | None
    timeout: float | None
    register: Mapping[str, bytes] | None
    over_select: float
    retry: int
    quorum: int
    set_aside: int
    joined: Callable[[], Mapping[int, str]] | None


class Waiting(OnGrid, total=False):
    """The fields that apply at the start of a run on a grid."""

    min_clients: int


class Simulating(TypedDict, total=False):
    """The fields that apply to simulated clients."""

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
    timeout: float | None
    over_select: float
    retry: int
    quorum: int
    set_aside: int


def options_for(
    function: str, meant: type, options: RunOptions | None, changes: Mapping[str, Any]
) -> RunOptions:
    """The options of a function that takes some of them as keyword arguments too.

    Args:
        function: its name, for the errors.
        meant: `OnGrid`, `Waiting` or `Simulating`: the options that it uses.
        options: the options it was given; `None` for the defaults.
        changes: its keyword arguments.

    Raises:
        TypeError: a keyword argument is not one of these.
        ValueError: an option that it does not use is set, or a value is not allowed.
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
