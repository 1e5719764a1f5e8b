"""Which layers each client keeps to itself: how their names begin, or a rule by its name."""

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
"""Rules that stand in place of how names begin, written as calls: `"last(2)"`."""

NORMS = "norms"
"""The one rule that needs no brackets."""

_NAMED = 12


def norms() -> Rule:
    """The parameters and statistics of all norm layers."""
    return lambda layout: layout.norms


@checks.arguments
def last(layers: int = 1) -> Rule:
    """The last layers that are trained, in the order in which the model defines them."""
    checks.whole(1, layers=layers)

    def rule(layout: Layout) -> Iterable[str]:
        chosen = list(dict.fromkeys(_layer(t.name) for t in layout.parameters))[-layers:]
        return [name for name in _changed(layout) if _layer(name) in chosen]

    return rule


def patterns_of(personal: object) -> tuple[str, ...]:
    """What `personal` names, of one text or several.

    Raises:
        ValueError: it is something else, or there is no such rule.

    >>> patterns_of("norms")
    ('norms',)
    """
    given = (personal,) if isinstance(personal, str) else personal
    if not isinstance(given, tuple | list) or not all(isinstance(text, str) and text for text in given):
        raise ValueError(
            f"personal is {shown(personal)}; it must be texts, such as ('head.',): how names of"
            " tensors begin, 'norms' or 'last(1)'"
        )
    for pattern in given:
        _rule(pattern)
    return tuple(given)


def split_of(layout: Layout, personal: Sequence[str]) -> Split:
    """Split a model by what is personal.

    Args:
        layout: of the whole model.
        personal: how names of tensors begin (`"head."`, and `*` for anything between: `"block.*.norm"`);
            or rules of `PERSONAL`: `"norms"`, all norm layers, and `"last(2)"`, the last two layers that
            are trained.

    Raises:
        ValueError: there is no such rule; one of these fits nothing that training changes, or nothing
            that is trained would travel.

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
                f"personal has {pattern!r}, which fits nothing: the model {what}; name how tensors begin,"
                " such as 'head.', or take 'last(1)'"
            )
        found |= fitting
    split = Split(layout, frozenset(found))
    if not split.shared.dimension:
        raise ValueError(
            f"personal is {list(personal)}, which is all that the model trains: nothing would be learned"
            " together; leave a layer out"
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
    """Names of what training changes."""
    return [t.name for t in (*layout.parameters, *layout.buffers)]


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
