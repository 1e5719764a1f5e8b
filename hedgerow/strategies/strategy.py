"""A strategy: a frozen choice of parts, checked once."""

from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType

from hedgerow import checks
from hedgerow.privacy.accounting import Budget
from hedgerow.ring.arithmetic import ring_for
from hedgerow.strategies.aggregates.base import RULE, Aggregate
from hedgerow.strategies.aggregates.mean import mean
from hedgerow.strategies.conditions import Condition, needs
from hedgerow.strategies.origin import Origin
from hedgerow.strategies.personal import patterns_of, split_of
from hedgerow.strategies.pipeline.chain import float32
from hedgerow.strategies.pipeline.transform import STEPS, Transform
from hedgerow.strategies.release import NoisyAggregation
from hedgerow.strategies.sampling import Sampling, uniform
from hedgerow.strategies.server_update import ServerUpdate, sgd
from hedgerow.strategies.streams import BUFFERS, Stream
from hedgerow.types import Layout, LocalTraining
from hedgerow.types.split import Split

_BUDGET = needs(
    "noise",
    "discrete noise",
    reason="there is a privacy budget, and {pipeline.name} adds no noise; use dp_fedavg, or add"
    " gaussian_noise(...) after a clip(...)",
)

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
        quorum: smallest fraction of the cohort that must count; under it the
            round fails and the model stays as it was.
        max_weight: a reply with a larger weight is dropped; `None` for no bound
            but the largest weight that the pipeline gives.
        max_norm: a delta whose l2 norm is larger is dropped; `None` for no
            bound but what the sum can hold.
        norm_bound: what a client sends is dropped where its l2 norm is more than so many times the
            largest median of the rounds that counted, and up to `norm_bound` times as much for more
            local steps; 0 for no such bound. It holds where the server sees each update and nothing
            is private.
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
    norm_bound: float = 10.0
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

    @cached_property
    def stateful(self) -> bool:
        """Whether clients keep something from one round to the next."""
        return self.pipeline.stateful or bool(self.streams) or bool(self.personal)

    @cached_property
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
        return self.pipeline.protection.noise is not None

    @property
    def protected(self) -> bool:
        """Whether nothing may be told of one client: it masks, or adds noise for clients or samples."""
        return self.pipeline.sum_only or self.private or self.local.sample_noise > 0

    @property
    def release(self) -> NoisyAggregation:
        """What a private round does with the sum of its deltas."""
        server_clip, noise = self.pipeline.protection.server_clip, self.pipeline.protection.noise
        expected, most = self.sampling.expected, self.sampling.most_clients
        assert server_clip is not None
        assert noise is not None
        assert expected is not None
        assert most is not None
        return NoisyAggregation(server_clip, noise, expected, most)

    @property
    def traits(self) -> frozenset[str]:
        """What its parts are, by name, for the conditions of the others."""
        chosen = {
            "quorum": self.quorum != Strategy.quorum,
            "max_norm": self.max_norm is not None,
            "norm_bound": self.norm_bound not in (0, Strategy.norm_bound),
            "budget": self.budget is not None,
        }
        own = frozenset(name for name, holds in chosen.items() if holds)
        return own | self.pipeline.traits | self.sampling.traits | self.aggregate.traits | self.local.traits

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What its parts ask of each other."""
        return (
            *self.aggregate.conditions,
            *(condition for stream in self.streams for condition in stream.all_conditions),
            *self.pipeline.conditions,
            *self.pipeline.protection.conditions,
            *([] if self.budget is None else [_BUDGET]),
        )

    def __post_init__(self) -> None:
        _check_kinds(self)
        object.__setattr__(self, "personal", patterns_of(self.personal))
        checks.fraction(quorum=self.quorum)
        if self.max_weight is not None:
            checks.positive(max_weight=self.max_weight)
        if self.max_norm is not None:
            checks.positive(max_norm=self.max_norm)
        checks.not_negative(norm_bound=self.norm_bound)
        if 0 < self.norm_bound < 1:
            raise ValueError(
                f"norm_bound is {self.norm_bound:g}; it must be 0, for none, or 1 or more: half of the"
                " clients lie above the median"
            )
        for condition in self.conditions:
            condition.refuse(self)
        protection = self.pipeline.protection
        if protection.secure and protection.max_sum is None:
            # For the smallest cohort; each round checks its own.
            ring_for(protection.secure.min_clients, self.pipeline.max_weight, protection.max_int(0))
        if self.private:
            self.release.refuse_overflow()


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
