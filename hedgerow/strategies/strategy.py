"""A strategy: an immutable selection of parts, checked when it is built."""

from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType

from hedgerow import checks
from hedgerow.privacy.accounting import Budget
from hedgerow.ring.arithmetic import ring_for
from hedgerow.strategies.aggregates.base import RULE, Aggregate
from hedgerow.strategies.aggregates.mean import mean
from hedgerow.strategies.arrivals import Arrivals
from hedgerow.strategies.conditions import Condition, needs
from hedgerow.strategies.downlink import check_downlink
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
"""Example for the error about `local`."""


@checks.arguments
@dataclass(frozen=True)
class Strategy:
    """The parts that determine what is computed in a round.

    Attributes:
        name: its name in tables.
        sampling: which clients are asked.
        local: how each client trains on its data.
        pipeline: how a client's delta is sent.
        downlink: how the server's model is sent, as in `hedgerow.strategies.downlink`.
        aggregate: how the deltas are combined.
        server_update: how the server updates the model.
        quorum: smallest fraction of the cohort that must count; below it the
            round fails and the model stays as it was.
        max_weight: a reply with a larger weight is dropped; with `None`, the
            only bound is the largest weight that the pipeline gives.
        max_norm: a delta with a larger l2 norm is dropped; with `None`, the
            only bound is what the sum can hold.
        norm_bound: an update is dropped if its l2 norm is more than this many times the largest
            median of the rounds that counted, where more local steps allow up to `norm_bound` times
            as much; 0 for no bound. It applies if the server sees each update and nothing is private.
        streams: what is sent in addition to the delta and the buffers, such as
            SCAFFOLD's control variates.
        budget: for a pipeline with noise: how much a run may reveal of a client.
        personal: the layers that stay on each client, as in `hedgerow.strategies.personal.split_of`:
            prefixes of names (`"head."`), `"norms"`, or `"last(1)"`. They are never sent.
        arrivals: how replies count as they arrive; `None` for rounds, in which a cohort is waited for.
        origin: the preset that made it; it has no effect.

    A pipeline with noise makes the strategy `private`. Its rounds release a
    noisy sum, divided by the expected cohort size, however many clients count:
    `quorum` is ignored, because a failed round would reveal who took part. The
    clients' metrics are not released either.

    Raises:
        ValueError: a part has the wrong type, or the parts do not fit together; with reason and remedy.
    """

    name: str = "fedavg"
    sampling: Sampling = field(default_factory=lambda: uniform(10))
    local: LocalTraining = field(default_factory=LocalTraining)
    pipeline: Transform = field(default_factory=float32)
    downlink: Transform = field(default_factory=float32)
    aggregate: Aggregate = field(default_factory=mean)
    server_update: ServerUpdate = field(default_factory=sgd)
    quorum: float = 0.5
    max_weight: float | None = None
    max_norm: float | None = None
    norm_bound: float = 10.0
    streams: tuple[Stream, ...] = ()
    budget: Budget | None = None
    personal: tuple[str, ...] = ()
    arrivals: Arrivals | None = None
    origin: Origin | None = field(default=None, repr=False, compare=False)

    def split(self, layout: Layout) -> Split:
        """Split a model into its shared and its personal tensors.

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
        """Whether clients keep state from one round to the next."""
        return self.pipeline.stateful or bool(self.streams) or bool(self.personal) or self.keeps_pace

    @cached_property
    def keeps_pace(self) -> bool:
        """Whether clients with a time budget keep the time of a step for their next round.

        Not if rounds are private: the account counts each without what a client remembers of others.
        """
        return self.local.time_budget > 0 and not self.private

    @cached_property
    def all_streams(self) -> tuple[Stream, ...]:
        """The model's buffers, and `streams`."""
        return (BUFFERS, *self.streams)

    def sent_beside(self, layout: Layout) -> int:
        """Number of values that a client sends in `streams`."""
        return sum(stream.size(layout) for stream in self.streams)

    def rule_for(self, stream: Stream) -> Aggregate:
        """The rule that combines what clients sent of a stream."""
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
        """Whether no single client may be revealed: it masks, or adds noise for clients or samples."""
        return self.pipeline.sum_only or self.private or self.local.sample_noise > 0

    @property
    def release(self) -> NoisyAggregation:
        """How a private round releases the sum of its deltas."""
        server_clip, noise = self.pipeline.protection.server_clip, self.pipeline.protection.noise
        expected, most = self.sampling.expected, self.sampling.most_clients
        assert server_clip is not None
        assert noise is not None
        assert expected is not None
        assert most is not None
        return NoisyAggregation(server_clip, noise, expected, most)

    @property
    def traits(self) -> frozenset[str]:
        """The traits of all its parts, for the conditions of the others."""
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
        """The conditions that its parts put on each other."""
        return (
            *self.aggregate.conditions,
            *(condition for stream in self.streams for condition in stream.all_conditions),
            *self.pipeline.conditions,
            *self.pipeline.protection.conditions,
            *([] if self.budget is None else [_BUDGET]),
            *(() if self.arrivals is None else self.arrivals.conditions),
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
                " clients are above the median"
            )
        for condition in self.conditions:
            condition.refuse(self)
        protection = self.pipeline.protection
        if protection.secure and protection.max_sum is None:
            # Check the smallest cohort here; each round checks its own.
            ring_for(protection.secure.min_clients, self.pipeline.max_weight, protection.max_int(0))
        if self.private:
            self.release.refuse_overflow()


def _check_kinds(strategy: Strategy) -> None:
    checks.kind(str, name=strategy.name)
    checks.kind(Sampling, ", such as uniform(10)", sampling=strategy.sampling)
    checks.kind(LocalTraining, TRAINING, local=strategy.local)
    checks.kind(Transform, STEPS, pipeline=strategy.pipeline)
    check_downlink(strategy.downlink)
    checks.kind(Aggregate, RULE, aggregate=strategy.aggregate)
    checks.kind(ServerUpdate, ", such as fedadam().server_update", server_update=strategy.server_update)
    checks.kind((Budget, NoneType), ", such as Budget(delta=1e-5)", budget=strategy.budget)
    checks.kind((Origin, NoneType), origin=strategy.origin)
    checks.kind((Arrivals, NoneType), arrivals=strategy.arrivals)
    checks.kind((tuple, list), " of Stream", streams=strategy.streams)
    for stream in strategy.streams:
        checks.kind(Stream, ", like all items of streams", **{"one of streams": stream})
