"""What a part of a strategy requires of the other parts, and what it excludes.

This does for all parts of a strategy what `pipeline/ordering.py` does for consecutive steps: each part
names its own properties (`Strategy.traits`), and states conditions on the others, with a reason and a
remedy. A strategy checks the conditions of all its parts when it is built.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from hedgerow.strategies.strategy import Strategy

Broken: TypeAlias = Callable[["Strategy"], bool]


@dataclass(frozen=True)
class Condition:
    """A condition on every strategy that contains a part.

    Attributes:
        broken: whether a strategy violates it.
        reason: why, and what to do. `{name}` stands for the strategy's name, `{pipeline.name}` for its
            pipeline's, and likewise `{sampling.name}`, `{aggregate.name}` and `{local.optimizer}`.
    """

    broken: Broken
    reason: str

    def why_broken(self, strategy: "Strategy") -> str:
        """The reason, filled in for this strategy; an empty string if the condition holds."""
        if not self.broken(strategy):
            return ""
        return self.reason.format(
            name=strategy.name,
            pipeline=strategy.pipeline,
            sampling=strategy.sampling,
            aggregate=strategy.aggregate,
            local=strategy.local,
        )

    def refuse(self, strategy: "Strategy") -> None:
        """Raise `ValueError` with the reason if the condition is broken."""
        if why := self.why_broken(strategy):
            raise ValueError(why)


def needs(*traits: str, reason: str) -> Condition:
    """The strategy has at least one of these traits.

    >>> from hedgerow.strategies import fedavg
    >>> needs("clip", reason="{pipeline.name} bounds nothing").refuse(fedavg(weighted=False))
    Traceback (most recent call last):
    ...
    ValueError: float32() bounds nothing
    """
    return Condition(lambda strategy: strategy.traits.isdisjoint(traits), reason)


def excludes(*traits: str, reason: str) -> Condition:
    """The strategy has none of these traits.

    >>> from hedgerow.strategies import fedavg, quantize
    >>> excludes("quantize", reason="it must be real").refuse(fedavg(pipeline=quantize(8)))
    Traceback (most recent call last):
    ...
    ValueError: it must be real
    """
    return Condition(lambda strategy: not strategy.traits.isdisjoint(traits), reason)


def within(what: str, *conditions: Condition) -> tuple[Condition, ...]:
    """The same conditions, with a prefix to their reasons that says what does not fit.

    >>> within("scaffold does not fit", needs("sgd", reason="take sgd"))[0].reason
    'scaffold does not fit: take sgd'
    """
    return tuple(replace(each, reason=f"{what}: {each.reason}") for each in conditions)
