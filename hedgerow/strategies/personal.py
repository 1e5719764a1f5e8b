"""Which layers stay on each client: selected by the prefix of their names, or by a named rule."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from hedgerow import checks
from hedgerow.registry import Registry
from hedgerow.strategies.pipeline.parse import parse_call
from hedgerow.types import Layout
from hedgerow.types.split import Split
from hedgerow.wording import shown

Rule: TypeAlias = Callable[[Layout], Iterable[str]]
"""Names of a model's personal tensors, from its layout."""

PERSONAL = Registry(
    "personal rule",
    "hedgerow.personal",
    {name: f"hedgerow.strategies.personal:{name}" for name in ("norms", "last")},
)
"""Rules that may be given instead of prefixes, written as calls: `"last(2)"`."""

NORMS = "norms"
"""The only rule that is written without brackets."""

_NAMED = 12


def norms() -> Rule:
    """The parameters and statistics of all normalisation layers."""
    return lambda layout: layout.norms


@checks.arguments
def last(layers: int = 1) -> Rule:
    """The last trained layers, in the order in which the model defines them."""
    checks.whole(1, layers=layers)

    def rule(layout: Layout) -> Iterable[str]:
        chosen = list(dict.fromkeys(_layer(t.name) for t in layout.parameters))[-layers:]
        return [name for name in _changed(layout) if _layer(name) in chosen]

    return rule


def patterns_of(personal: object) -> tuple[str, ...]:
    """The patterns of `personal`, given as one string or several.

    Raises:
        ValueError: it is something else, or there is no such rule.

    >>> patterns_of("norms")
    ('norms',)
    """
    given = (personal,) if isinstance(personal, str) else personal
    if not isinstance(given, tuple | list) or not all(isinstance(text, str) and text for text in given):
        raise ValueError(
            f"personal is {shown(personal)}; it must be strings: prefixes of tensor names, such as"
            " ('head.',), 'norms' or 'last(1)'"
        )
    for pattern in given:
        _rule(pattern)
    return tuple(given)


def split_of(layout: Layout, personal: Sequence[str]) -> Split:
    """Split a model into shared and personal tensors.

    Args:
        layout: of the whole model.
        personal: prefixes of tensor names (`"head."`; `*` matches anything: `"block.*.norm"`), or rules
            of `PERSONAL`: `"norms"` for all normalisation layers, `"last(2)"` for the last two trained
            layers.

    Raises:
        ValueError: there is no such rule, a pattern matches nothing that training changes, or no trained
            tensor would be shared.

    >>> from hedgerow.types import Tensor
    >>> split_of(Layout((Tensor("0.weight", (2,)), Tensor("2.weight", (1,)))), ["last(1)"]).own.parameters
    (Tensor(name='2.weight', shape=(1,)),)
    """
    found: set[str] = set()
    for pattern in personal:
        fitting = set(_rule(pattern)(layout)).intersection(_changed(layout))
        if not fitting:
            names = _changed(layout)
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            listed = ", ".join(map(repr, names[:_NAMED])) + more
            what = "trains no norm layer" if pattern == NORMS else f"trains {listed}"
            raise ValueError(
                f"personal has {pattern!r}, which matches nothing: the model {what}; give a prefix of tensor"
                " names, such as 'head.', or use 'last(1)'"
            )
        found |= fitting
    split = Split(layout, frozenset(found))
    if not split.shared.dimension:
        raise ValueError(
            f"personal is {list(personal)}, which is everything that the model trains: nothing would be"
            " shared; leave a layer out"
        )
    return split


def _rule(pattern: str) -> Rule:
    if pattern == NORMS:
        return norms()
    if pattern.endswith(")"):
        rule: Rule = parse_call(pattern, PERSONAL, "personal rule", "last(1)")
        return rule
    return lambda layout: [name for name in _changed(layout) if fnmatchcase(name, f"{pattern}*")]


def _changed(layout: Layout) -> list[str]:
    """Names of the tensors that training changes."""
    return [t.name for t in (*layout.parameters, *layout.buffers)]


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
