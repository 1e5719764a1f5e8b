"""Which preset made a strategy, with which arguments, and what a preset declares about itself."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias

from hedgerow.strategies.sampling import Sampling

if TYPE_CHECKING:
    from hedgerow.strategies.strategy import Strategy

P = ParamSpec("P")

Draws: TypeAlias = Callable[[float, int], Sampling]
"""`(clients of a cohort, population) -> Sampling`, such as `poisson`."""

_DRAWS = "draws_from_a_population"
_OTHERS = (
    *("sampling", "local", "downlink", "aggregate", "quorum", "max_weight", "max_norm", "norm_bound"),
    "personal",
)


@dataclass(frozen=True)
class Origin:
    """How a strategy was made, which its parts do not show.

    Attributes:
        preset: its name in the registry.
        options: the arguments that only this preset has.
        pipeline: the caller's pipeline as written, before the preset added to it.
        weighted: whether clients are weighted, if the caller said so.
    """

    preset: str
    options: Mapping[str, Any]
    pipeline: str
    weighted: bool | None


def described(preset: Callable[P, "Strategy"]) -> Callable[P, "Strategy"]:
    """Decorate a preset so that its strategies remember how they were made and can be described."""
    signature = inspect.signature(preset)
    inner = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")

    @wraps(preset)
    def make(*args: P.args, **options: P.kwargs) -> "Strategy":
        made = preset(*args, **options)  # first, because its errors about arguments are better
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given = {**bound.arguments, **bound.arguments.get(inner, {})}
        pipeline, weighted = given.get("pipeline"), given.get("weighted")
        beside = {inner, "pipeline", "weighted", *_OTHERS}
        own = {name: value for name, value in given.items() if name not in beside}
        text = "float32()" if pipeline is None else pipeline.name
        return replace(made, origin=Origin(preset.__name__, own, text, weighted))

    return make


def private(draws: Draws) -> Callable[[Callable[P, "Strategy"]], Callable[P, "Strategy"]]:
    """Declare that a preset is differentially private, and how it samples if a recipe gives `population`.

    A private preset never weights clients, and a recipe may give `epsilon` instead of `noise_multiplier`.
    """

    def declared(preset: Callable[P, "Strategy"]) -> Callable[P, "Strategy"]:
        setattr(preset, _DRAWS, draws)
        return preset

    return declared


def draws_of(preset: Callable[..., Any]) -> Draws | None:
    """How a private preset samples from a population; `None` if it is not private.

    >>> from hedgerow.strategies import dp_fedavg, fedavg
    >>> draws_of(dp_fedavg)(2, 10).name, draws_of(fedavg)
    ('poisson(2, population=10)', None)
    """
    found: Draws | None = getattr(preset, _DRAWS, None)
    return found
