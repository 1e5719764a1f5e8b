"""The canary rule: some devices evaluate a candidate and the current model, and their results decide.

    overall gain           mean of (candidate - current) over the devices that measured both
    gain of a group        the same over its devices

with the sign reversed if less is better. The candidate is accepted if the overall gain is at least
`better`, and no group loses more than `worse`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hedgerow import checks
from hedgerow.types.evaluation import LESS_IS_BETTER, Measured

RULE = "canary"

_TOO_LITTLE = 1e-9
"""Differences this small are rounding: 0.06 - 0.05 is less than 0.01 in floating point."""

_MOST_REASONS = 3
"""Why devices did not measure: a sentence for people, whatever the number of devices."""


@checks.arguments
@dataclass(frozen=True)
class Canary:
    """Which devices measure a candidate, and the results required.

    Attributes:
        share: of the devices, drawn at random; at least one.
        better: smallest overall gain, in units of the metric.
        worse: largest loss of a group.
        metric: to compare; empty for the accuracy, or else the loss.

    Raises:
        ValueError: a value is out of range.
    """

    share: float
    better: float = 0.0
    worse: float = 0.05
    metric: str = ""

    def __post_init__(self) -> None:
        checks.fraction(share=self.share)
        checks.not_negative(better=self.better, worse=self.worse)


@dataclass(frozen=True)
class Comparison:
    """What devices measured for a candidate and for the current model.

    Attributes:
        asked: names of the devices that were drawn, sorted.
        candidate, current: `{name: measured}` of those that answered.
        dropped: `{name: reason}` of those that failed to measure either.
    """

    asked: Sequence[str]
    candidate: Mapping[str, Measured]
    current: Mapping[str, Measured]
    dropped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The result of a rule.

    Attributes:
        why: the candidate is rejected; empty if it is accepted.
        figures: that the result is based on, as JSON values.
    """

    why: str
    figures: Mapping[str, Any]


def judge(rule: Canary, found: Comparison, groups: Mapping[str, str] | None = None) -> Verdict:
    """Whether a candidate is accepted.

    Args:
        rule: to apply.
        found: what devices measured.
        groups: `{device: group}`; each device that is not in it is its own group.

    >>> def two(a, b):
    ...     return {name: Measured(10, {"accuracy": v}) for name, v in (("a", a), ("b", b))}
    >>> judge(Canary(1.0, better=0.01), Comparison("ab", two(0.8, 0.9), two(0.79, 0.89))).why
    ''
    >>> judge(Canary(1.0), Comparison("ab", two(0.9, 0.7), two(0.5, 0.8))).why
    "group 'b' is worse by 0.1 in accuracy; at most 0.05 is allowed"
    """
    groups = groups or {}
    both = sorted(found.candidate.keys() & found.current.keys())
    metric = rule.metric or _common_metric(found, both)
    sign = -1.0 if metric in LESS_IS_BETTER else 1.0
    gains = {
        name: sign * (found.candidate[name].metrics[metric] - found.current[name].metrics[metric])
        for name in both
        if metric in found.candidate[name].metrics and metric in found.current[name].metrics
    }
    gains = {name: gain for name, gain in gains.items() if math.isfinite(gain)}
    figures: dict[str, Any] = {
        "rule": RULE, **asdict(rule), "metric": metric, "asked": list(found.asked),
        "measured": list(gains), "dropped": dict(found.dropped),
    }  # fmt: skip
    if 2 * len(gains) < len(found.asked) or not gains:
        reasons = Counter(found.dropped.values()).most_common(_MOST_REASONS)
        without = "; ".join(f"{devices} of them: {why}" for why, devices in reasons)
        return Verdict(
            f"{len(gains)} of {len(found.asked)} devices measured both models; at least half must"
            + (f" ({without})" if without else ""),
            figures,
        )
    by_group: dict[str, list[float]] = {}
    for name, gain in gains.items():
        by_group.setdefault(groups.get(name, name), []).append(gain)
    whole = _mean(list(gains.values()))
    each = {group: _mean(values) for group, values in sorted(by_group.items())}
    figures |= {"gain": whole, "groups": each}
    if whole < rule.better - _TOO_LITTLE:
        how = "better" if whole >= 0 else "worse"
        return Verdict(
            f"{metric} is {how} by {abs(whole):.4g}; a gain of at least {rule.better:g} is required", figures
        )
    worst = min(each, key=lambda group: each[group])
    if -each[worst] > rule.worse + _TOO_LITTLE:
        return Verdict(
            f"group {worst!r} is worse by {-each[worst]:.4g} in {metric}; at most {rule.worse:g} is allowed",
            figures,
        )
    return Verdict("", figures)


def _common_metric(found: Comparison, both: Sequence[str]) -> str:
    """The accuracy if devices measure it, or else the loss."""
    known = {name for device in both for name in found.candidate[device].metrics}
    return "accuracy" if "accuracy" in known else "loss"


def _mean(values: Sequence[float]) -> float:
    # Computed exactly and rounded once, so that the order of devices does not matter.
    return math.fsum(values) / len(values)
