"""The operators that a graph may use, each with the rule that says what its results look like.

This list is the only one: what is not in it is refused. It has what `hedgerow export` writes, and
`tests/laws/test_graph_operators.py` holds both to each other.
"""

from hedgerow.graphs import loops, operators, windows
from hedgerow.graphs.registry import OPERATORS

__all__ = ["OPERATORS"]

_FILES = (loops, operators, windows)
"""Named, or a linter would take what imports them away."""
