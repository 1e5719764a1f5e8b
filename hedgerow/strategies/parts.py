"""Arguments that every preset takes in addition to its own, and the strategy assembled from both."""

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
    """The arguments that every preset takes in addition to its own.

    `pipeline` says how a delta is sent, `downlink` how the model is, and `aggregate` how a
    cohort's deltas are combined. The others are those of `Strategy`.
    """

    sampling: Sampling
    local: LocalTraining
    pipeline: Transform
    downlink: Transform
    aggregate: Aggregate
    quorum: float
    max_weight: float | None
    max_norm: float | None
    norm_bound: float
    personal: tuple[str, ...] | str


class Parts(Unweighted, total=False):
    """The same, plus `weighted`: clients are weighted by their examples unless it is false."""

    weighted: bool


def pipeline_of(parts: Unweighted) -> Transform:
    """The pipeline that the caller gives, or `float32()`; raises `ValueError` if it is not a pipeline."""
    given = parts.get("pipeline", float32())
    checks.kind(Transform, STEPS, pipeline=given)
    return given


def local_of(parts: Unweighted) -> LocalTraining:
    """The local training that the caller gives, or the default; raises `ValueError` for another type."""
    given = parts.get("local", LocalTraining())
    checks.kind(LocalTraining, TRAINING, local=given)
    return given


def weighted_of(parts: Parts, default: bool) -> bool:
    """Whether the caller wants clients weighted by their examples; raises `ValueError` for another type."""
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
    """Build a strategy from the choices of a preset and of its caller.

    Args:
        update: the server update.
        parts: the caller's choices.
        budget: privacy budget of a private strategy.
        streams: what is sent in addition to the delta.
    """
    pipeline, rule = pipeline_of(parts), parts.get("aggregate", mean())
    checks.kind(Aggregate, RULE, aggregate=rule)
    # A rule that ignores weights gets none, unless the caller asks for them.
    if weighted_of(parts, rule.weights) and "weight" not in pipeline.kinds:
        pipeline = chain(weight_by_examples(), *([pipeline] if pipeline.kinds else []))
    others: Any = {key: value for key, value in parts.items() if key not in ("pipeline", "weighted")}
    return Strategy(
        name=name, pipeline=pipeline, server_update=update, budget=budget, streams=streams, **others
    )
