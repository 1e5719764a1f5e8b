"""A strategy: a frozen choice of parts, checked once."""

from dataclasses import dataclass, field

from hedgerow import checks
from hedgerow.strategies import control
from hedgerow.strategies.aggregation import Aggregate, mean
from hedgerow.strategies.ring import ring_for
from hedgerow.strategies.sampling import Sampling, uniform
from hedgerow.strategies.server_update import ServerUpdate, sgd
from hedgerow.strategies.transform import Transform, float32
from hedgerow.types import LocalTraining


@dataclass(frozen=True)
class Strategy:
    """What is computed in a round, and by which parts.

    Attributes:
        name: what it is called in tables.
        sampling: which clients are asked.
        local: what each does with its data.
        pipeline: how its delta is sent.
        aggregate: how deltas become one.
        server_update: how the model moves.
        quorum: smallest share of the cohort that must count; under it the
            round fails and the model stays as it was.
        max_weight: a reply with a larger weight is dropped.
        max_norm: a delta whose l2 norm is larger is dropped; `None` for no
            bound but what the sum can hold.
        control_variates: whether local steps are corrected by SCAFFOLD's
            control variates. They are sent as they are, in float32: the
            pipeline is for the delta.

    Raises:
        ValueError: the parts do not fit together; with the reason and a remedy.
    """

    name: str = "fedavg"
    sampling: Sampling = field(default_factory=lambda: uniform(10))
    local: LocalTraining = field(default_factory=LocalTraining)
    pipeline: Transform = field(default_factory=float32)
    aggregate: Aggregate = field(default_factory=mean)
    server_update: ServerUpdate = field(default_factory=sgd)
    quorum: float = 0.5
    max_weight: float = 1e6
    max_norm: float | None = None
    control_variates: bool = False

    @property
    def stateful(self) -> bool:
        """Whether clients keep something from one round to the next."""
        return self.pipeline.stateful or self.control_variates

    def __post_init__(self) -> None:
        checks.fraction(quorum=self.quorum)
        checks.positive(max_weight=self.max_weight)
        if self.max_norm is not None:
            checks.positive(max_norm=self.max_norm)
        if self.control_variates:
            control.refuse(self.local, self.pipeline, self.aggregate, self.max_norm)
        whole = self.pipeline.whole(0)
        if self.pipeline.only_sum and not whole:
            raise ValueError(
                f"{self.pipeline.name} masks values that are not whole numbers, and masks cancel only in"
                " whole numbers of one scale; put a quantiser with a range before the mask, such as"
                " quantize(8, range=0.1)"
            )
        if whole and not self.pipeline.only_sum:
            raise ValueError(
                f"{self.pipeline.name} has a range, and sends whole numbers for a mask to sum;"
                " put mask() after it, or leave out the range"
            )
        if self.pipeline.secure:
            # For the smallest cohort; each round checks its own.
            ring_for(self.pipeline.secure.min_clients, self.pipeline.max_weight, whole)
        if self.pipeline.only_sum and not self.aggregate.linear:
            raise ValueError(
                f"{self.aggregate.name} needs each client's update, and {self.pipeline.name} lets the server"
                " see only their sum; use mean(), or a pipeline without a mask"
            )
        if self.max_norm is not None and self.pipeline.only_sum:
            raise ValueError(
                f"max_norm needs each client's update, and {self.pipeline.name} lets the server see only"
                " their sum; clip on the clients instead"
            )
