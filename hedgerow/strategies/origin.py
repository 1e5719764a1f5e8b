"""Which preset made a strategy, and with which arguments."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from hedgerow.strategies.strategy import Strategy

P = ParamSpec("P")
_OTHERS = ("sampling", "local", "aggregate", "quorum", "max_weight", "max_norm", "personal")


@dataclass(frozen=True)
class Origin:
    """What a strategy's own parts do not show.

    Attributes:
        preset: its name in the registry.
        options: every argument of the preset's own.
        pipeline: the caller's, as written, before the preset added to it.
        weighted: whether clients are weighted, where the caller said so.
    """

    preset: str
    options: Mapping[str, Any]
    pipeline: str
    weighted: bool | None


def described(preset: Callable[P, "Strategy"]) -> Callable[P, "Strategy"]:
    """A preset whose strategies remember how they were made, so that they can be described."""
    signature = inspect.signature(preset)
    inner = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")

    @wraps(preset)
    def make(*args: P.args, **options: P.kwargs) -> "Strategy":
        made = preset(*args, **options)  # first, because it says what is wrong with an argument
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given = {**bound.arguments, **bound.arguments.get(inner, {})}
        pipeline, weighted = given.get("pipeline"), given.get("weighted")
        beside = {inner, "pipeline", "weighted", *_OTHERS}
        own = {name: value for name, value in given.items() if name not in beside}
        text = "float32()" if pipeline is None else pipeline.name
        return replace(made, origin=Origin(preset.__name__, own, text, weighted))

    return make
