"""Arguments that every preset takes beside its own, and the strategy made of both."""

from typing import Any, TypedDict

from hedgerow import checks
from hedgerow.privacy.accounting import Budget
from hedgerow.strategies.aggregates.base import RULE, Aggregate
from hedgerow.strategies.aggregates.mean import mean
from hedgerow.strategies.pipeline.chain import chain, float32
from hedgerow.strategies.pipeline.transform import STEPS, Transform
from hedgerow.strategies.sampling import Sampling
from hedgerow.strategies.server_update import ServerUpdate
from hedgerow.strategies.strategy import TRAINING, Strategy
from hedgerow.strategies.streams import Stream
from hedgerow.strategies.transforms.weighting import weight_by_examples
from hedgerow.types import LocalTraining


class Unweighted(TypedDict, total=False):
    """What every preset takes beside its own arguments.

    `pipeline` is how a delta is sent, and `aggregate` how a cohort's become one.
    The others are those of `Strategy`.
    """

    sampling: Sampling
    local: LocalTraining
    pipeline: Transform
    aggregate: Aggregate
    quorum: float
    max_weight: float | None
    max_norm: float | None
    norm_bound: float
    personal: tuple[str, ...] | str


class Parts(Unweighted, total=False):
    """The same, where clients are weighted by their examples unless `weighted` is false."""

    weighted: bool


def pipeline_of(parts: Unweighted) -> Transform:
    """The pipeline that a preset's caller gives, or the plain one; raises `ValueError` where it is none."""
    given = parts.get("pipeline", float32())
    checks.kind(Transform, STEPS, pipeline=given)
    return given


def local_of(parts: Unweighted) -> LocalTraining:
    """The local training that a preset's caller gives, or the usual; raises `ValueError` where it is none."""
    given = parts.get("local", LocalTraining())
    checks.kind(LocalTraining, TRAINING, local=given)
    return given


def weighted_of(parts: Parts, default: bool) -> bool:
    """Whether a preset's caller wants clients weighted by their examples; raises `ValueError` as they do."""
    given = parts.get("weighted", default)
    checks.flag(weighted=given)
    return given


def assemble(
    name: str,
    update: ServerUpdate,
    parts: Parts,
    *,
    budget: Budget | None = None,
    streams: tuple[Stream, ...] = (),
) -> Strategy:
    """A strategy from what a preset chooses and what its caller does.

    Args:
        update: how the server moves.
        parts: the caller's.
        budget: of a private strategy.
        streams: what travels beside the delta.
    """
    pipeline, rule = pipeline_of(parts), parts.get("aggregate", mean())
    checks.kind(Aggregate, RULE, aggregate=rule)
    # A rule that counts all clients alike is not asked to weight them, unless the caller asks for it.
    if weighted_of(parts, rule.weights) and "weight" not in pipeline.kinds:
        pipeline = chain(weight_by_examples(), *([pipeline] if pipeline.kinds else []))
    others: Any = {key: value for key, value in parts.items() if key not in ("pipeline", "weighted")}
    return Strategy(
        name=name, pipeline=pipeline, server_update=update, budget=budget, streams=streams, **others
    )
