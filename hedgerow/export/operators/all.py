"""Every translator: what this imports registers them."""

from hedgerow.export.operators import arithmetic, draws, indexing, products, reductions, shapes
from hedgerow.export.operators.registry import TRANSLATORS, Translator

_FILES = (arithmetic, draws, indexing, products, reductions, shapes)
"""Named, or a linter would take what imports them away."""


def translator_of(operator: str) -> Translator | None:
    """The function that writes this operator, if there is one.

    >>> translator_of("aten.mm.default").__name__
    '_product'
    """
    return TRANSLATORS.get(operator)


def operators() -> list[str]:
    """All operators that can be written."""
    return sorted(TRANSLATORS)
