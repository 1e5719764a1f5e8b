"""The list of operators, and how a rule gets into it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from hedgerow.graphs.values import Call, Value

Results: TypeAlias = Sequence[Value]


class Operator(NamedTuple):
    """What a node with this operator may look like.

    Attributes:
        results: what it gives; raises `BadGraphs` where that cannot be told.
        inputs: the fewest and the most.
        attributes: that it may have.
        scratch: bytes that it takes beside inputs and results.
    """

    results: Callable[[Call], Results]
    inputs: tuple[int, int]
    attributes: frozenset[str] = frozenset()
    scratch: Callable[[Call, Results], int] = lambda call, results: 0


OPERATORS: dict[str, Operator] = {}

MANY = 4096
"""The most inputs of a node."""


def named(
    names: str,
    inputs: tuple[int, int],
    attributes: str = "",
    scratch: Callable[[Call, Results], int] = lambda call, results: 0,
) -> Callable[[Callable[[Call], Results]], Callable[[Call], Results]]:
    """Enter a rule into the list under each of some names."""

    def enter(results: Callable[[Call], Results]) -> Callable[[Call], Results]:
        for name in names.split():
            OPERATORS[name] = Operator(results, inputs, frozenset(attributes.split()), scratch)
        return results

    return enter
