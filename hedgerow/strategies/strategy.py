"""A strategy: a frozen choice of parts, checked once."""

from dataclasses import dataclass, field
from types import NoneType

from hedgerow import checks
from hedgerow.privacy.accounting import Budget
from hedgerow.ring.arithmetic import ring_for
from hedgerow.ring.vector import MOST_CLIENTS
from hedgerow.strategies.aggregates.base import RULE, Aggregate
from hedgerow.strategies.aggregates.mean import mean
from hedgerow.strategies.origin import Origin
from hedgerow.strategies.pipeline.chain import float32
from hedgerow.strategies.pipeline.transform import STEPS, Transform
from hedgerow.strategies.release import Release
from hedgerow.strategies.sampling import Sampling, uniform
from hedgerow.strategies.server_update import ServerUpdate, sgd
from hedgerow.strategies.streams import BUFFERS, Stream
from hedgerow.types import Layout, LocalTraining
from hedgerow.types.split import Split, split_of

TRAINING = ", such as LocalTraining(epochs=2)"
"""What else to give, for an error."""


@checks.arguments
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
        max_weight: a reply with a larger weight is dropped; `None` for no bound
            but the largest weight that the pipeline gives.
        max_norm: a delta whose l2 norm is larger is dropped; `None` for no
            bound but what the sum can hold.
        streams: what travels beside the delta and the buffers, such as
            SCAFFOLD's control variates.
        budget: of a pipeline with noise: what a run may reveal of a client.
        personal: which layers each client keeps to itself, as `hedgerow.types.split.split_of` takes
            them: how names begin (`"head."`), `"norms"`, or `"last(1)"`. They never travel.
        origin: which preset made it; it decides nothing.

    A pipeline with noise makes the strategy `private`. Its rounds release a
    noised sum over the expected cohort, however many clients count: `quorum`
    has no say, because a round that fails would tell who was there. Nor are
    the clients' metrics released.

    Raises:
        ValueError: a part is of another kind, or they do not fit together; with the reason and a remedy.
    """

    name: str = "fedavg"
    sampling: Sampling = field(default_factory=lambda: uniform(10))
    local: LocalTraining = field(default_factory=LocalTraining)
    pipeline: Transform = field(default_factory=float32)
    aggregate: Aggregate = field(default_factory=mean)
    server_update: ServerUpdate = field(default_factory=sgd)
    quorum: float = 0.5
    max_weight: float | None = None
    max_norm: float | None = None
    streams: tuple[Stream, ...] = ()
    budget: Budget | None = None
    personal: tuple[str, ...] = ()
    origin: Origin | None = field(default=None, repr=False, compare=False)

    def split(self, layout: Layout) -> Split:
        """A model in what travels and what is personal.

        Raises:
            ValueError: `personal` does not fit the model.
        """
        return split_of(layout, self.personal)

    @property
    def needs(self) -> frozenset[str]:
        """What a trainer must support for this strategy beyond plain SGD, by name."""
        corrects = any(stream.correction is not None for stream in self.streams)
        return self.local.needs | ({"correction"} if corrects else set())

    @property
    def stateful(self) -> bool:
        """Whether clients keep something from one round to the next."""
        return self.pipeline.stateful or bool(self.streams) or bool(self.personal)

    @property
    def all_streams(self) -> tuple[Stream, ...]:
        """The model's buffers, and `streams`."""
        return (BUFFERS, *self.streams)

    def rule_for(self, stream: Stream) -> Aggregate:
        """How what clients sent of a stream becomes one."""
        return stream.aggregate or self.aggregate

    @property
    def largest_weight(self) -> float:
        """A reply with a larger weight is dropped."""
        given = self.pipeline.max_weight
        return given if self.max_weight is None else min(given, self.max_weight)

    @property
    def private(self) -> bool:
        """Whether its rounds are differentially private."""
        return self.pipeline.noise is not None

    @property
    def release(self) -> Release:
        """What a private round does with the sum of its deltas."""
        bounding, noise = self.pipeline.bounding, self.pipeline.noise
        expected, most = self.sampling.expected, self.sampling.most_clients
        assert bounding is not None
        assert noise is not None
        assert expected is not None
        assert most is not None
        return Release(bounding, noise, expected, most)

    def __post_init__(self) -> None:
        _check_kinds(self)
        personal = (self.personal,) if isinstance(self.personal, str) else self.personal
        if not isinstance(personal, tuple | list) or not all(isinstance(p, str) and p for p in personal):
            raise ValueError(
                f"personal is {self.personal!r}; it must be texts, such as ('head.',): how names of tensors"
                " begin, 'norms' or 'last(1)'"
            )
        object.__setattr__(self, "personal", tuple(personal))
        checks.fraction(quorum=self.quorum)
        if self.max_weight is not None:
            checks.positive(max_weight=self.max_weight)
        if self.max_norm is not None:
            checks.positive(max_norm=self.max_norm)
        if not self.aggregate.weights and "weight" in self.pipeline.kinds:
            raise ValueError(
                f"{self.aggregate.name} counts all clients alike, and {self.pipeline.name} weights them;"
                " take weighted=False, or mean()"
            )
        for stream in self.streams:
            if reason := stream.refuse(self):
                raise ValueError(reason)
        whole = self.pipeline.whole(0)
        if self.pipeline.only_sum and not whole:
            raise ValueError(
                f"{self.pipeline.name} masks values that are not whole numbers, and masks cancel only in"
                " whole numbers of one scale; put a quantiser with a range before the mask, such as"
                " quantize(8, range=0.1)"
            )
        if whole and not self.pipeline.only_sum and not self.private:
            raise ValueError(
                f"{self.pipeline.name} has a range, and sends whole numbers for a mask to sum;"
                " put mask() after it, or leave out the range"
            )
        if self.pipeline.secure and self.pipeline.largest_sum is None:
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
        if self.private:
            _refuse_unprotected(self)
            self.release.refuse_overflow()
        elif self.pipeline.bounding and self.pipeline.bounding.share:
            raise ValueError(
                f"{self.pipeline.name} tells the clients' norms without noise; add gaussian_noise(...)"
            )
        elif self.budget:
            raise ValueError(
                f"there is a privacy budget, and {self.pipeline.name} adds no noise; use dp_fedavg, or add"
                " gaussian_noise(...) after a clip(...)"
            )


def _check_kinds(strategy: Strategy) -> None:
    checks.kind(str, name=strategy.name)
    checks.kind(Sampling, ", such as uniform(10)", sampling=strategy.sampling)
    checks.kind(LocalTraining, TRAINING, local=strategy.local)
    checks.kind(Transform, STEPS, pipeline=strategy.pipeline)
    checks.kind(Aggregate, RULE, aggregate=strategy.aggregate)
    checks.kind(ServerUpdate, ", such as fedadam().server_update", server_update=strategy.server_update)
    checks.kind((Budget, NoneType), ", such as Budget(delta=1e-5)", budget=strategy.budget)
    checks.kind((Origin, NoneType), origin=strategy.origin)
    checks.kind((tuple, list), " of Stream", streams=strategy.streams)
    for stream in strategy.streams:
        checks.kind(Stream, ", as all of streams are", **{"one of streams": stream})


def _refuse_unprotected(strategy: Strategy) -> None:
    """What would make the ledger of a private strategy untrue."""
    pipeline, sampling = strategy.pipeline, strategy.sampling
    bands = len(pipeline.noise.bands) if pipeline.noise else 1
    refused = [
        (
            pipeline.bounding is None,
            f"{pipeline.name} has noise and no clip: nothing bounds what a client says; put clip(...) first",
        ),
        (
            pipeline.only_sum and "discrete noise" not in pipeline.kinds,
            f"{pipeline.name} leaves the noise to the server, which under a mask cannot bound what a client"
            " adds, nor what rounding does to it; let clients add the noise: secure_dp_fedavg, or"
            " chain(clip(...), lattice(...), distributed_noise(...), mask())",
        ),
        (
            "weight" in pipeline.kinds,
            f"{pipeline.name} weights clients: a weight scales a clipped update past its bound; leave it out,"
            " with weighted=False, so that all clients count the same",
        ),
        (
            pipeline.stateful,
            f"{pipeline.name} keeps something on the clients from round to round, which shows in rounds that"
            " are counted as without them; leave out error_feedback",
        ),
        (
            (sampling.rate is None and sampling.groups is None) or sampling.most_clients is None,
            f"the accounting does not hold for {sampling.name}: it needs each client drawn independently and"
            " a cohort whose expected size is public; use poisson(...) or cyclic(...)",
        ),
        (
            pipeline.noise is not None and pipeline.noise.fewest > 0 and sampling.groups is None,
            f"noise from the clients protects them from whoever sums, who knows whom {sampling.name} drew;"
            " use cyclic(clients, population=...), and no chance is counted on",
        ),
        (
            pipeline.only_sum and (sampling.most_clients or 0) > MOST_CLIENTS,
            f"a cohort of {sampling.name} may have {sampling.most_clients} clients, and a mask is for at most"
            f" {MOST_CLIENTS}; ask fewer clients",
        ),
        (
            "discrete noise" in pipeline.kinds and "quantize" not in pipeline.kinds,
            f"{pipeline.name} adds whole numbers of noise to numbers that are not; put lattice(...) first",
        ),
        (
            "discrete noise" in pipeline.kinds and not pipeline.summable,
            f"{pipeline.name} tells without noise which values a client chose to send; leave out top_k",
        ),
        (
            pipeline.bounding is not None
            and pipeline.bounding.share > 0
            and "discrete noise" in pipeline.kinds,
            f"{pipeline.name} adapts its norm to single clients, which nobody must see; use clip(...)",
        ),
        (
            bands > (sampling.groups or 1),
            f"noise is taken off again over {bands} rounds, and {sampling.name} lets a client be in two;"
            f" use cyclic(clients, population=...) with a population of at least {bands} times the clients",
        ),
        (
            bands > 1 and pipeline.bounding is not None and pipeline.bounding.share > 0,
            f"correlated noise needs the same norm in every round, and {pipeline.name} adapts it; use clip",
        ),
        (
            strategy.aggregate.name != mean().name,
            f"noise is measured for a sum, and {strategy.aggregate.name} is not one; use mean()",
        ),
        (
            strategy.quorum != Strategy.quorum,
            "a quorum would tell how many clients were there; leave it out: a private round always counts",
        ),
        (
            strategy.budget is None,
            "delta is not chosen: give budget=Budget(delta=...), well below 1 / clients",
        ),
    ]
    for holds, reason in refused:
        if holds:
            raise ValueError(reason)
