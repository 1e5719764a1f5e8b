"""What a trainer declares that it supports beyond plain SGD, checked against what a strategy needs.

Nothing is guessed from signatures, and nothing is silently ignored: a trainer
that leaves out the proximal term would turn FedProx into FedAvg.
"""

from typing import Any, TypeGuard

from hedgerow.client.trainer import Chooses, Predicts, Trainer, TrainsMany
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining
from hedgerow.wording import did_you_mean

_METHODS = {"many": ("fit_many",), "choice": ("choice", "choose"), "outputs": ("outputs",)}
"""The methods that a trainer must have for each name that it declares."""

_EXTRAS = {"opacus": 'pip install "hedgerow[opacus]", or leave sample_gradients out'}
"""How to get a name that a trainer supports only if an extra is installed."""


def supported(trainer: Trainer) -> frozenset[str]:
    """The names that a trainer declares in `supports`; none if it declares nothing.

    Raises:
        ValueError: `supports` is not a set of names, or a name does not match the trainer's methods.

    >>> class Plain: ...
    >>> supported(Plain())
    frozenset()
    """
    name = type(trainer).__name__
    declared: object = getattr(trainer, "supports", frozenset[str]())
    if not isinstance(declared, set | frozenset) or not all(isinstance(each, str) for each in declared):
        raise ValueError(
            f"supports of {name} is {declared!r}; it must be a set of names, such as"
            " frozenset({'proximal'})"
        )
    names = frozenset(declared)
    for each, methods in _METHODS.items():
        missing = [method for method in methods if not hasattr(trainer, method)]
        if each in names and missing:
            raise ValueError(
                f"{name} declares {each!r} in supports and has no {missing[0]}; add it, or do not declare it"
            )
        if each not in names and not missing:
            raise ValueError(
                f"{name} has {methods[-1]} and does not declare {each!r} in supports; declare it, so that it"
                " is used, or leave the method out"
            )
    return names


def alone(trainer: Trainer, local: LocalTraining) -> dict[str, Any]:
    """The extra arguments of `fit` for a simulated client that has no state yet.

    >>> alone(type("Learns", (), {"supports": frozenset({"state"})})(), LocalTraining())
    {'state': {}}
    """
    state: dict[str, Any] = {"state": {}} if "state" in supported(trainer) else {}
    return state | ({"seeded_noise": True} if local.sample_noise else {})


def trains_many(trainer: Trainer) -> TypeGuard[TrainsMany]:
    """Whether a trainer declares that it trains several clients at once, and keeps no client state."""
    return "many" in supported(trainer) and "state" not in supported(trainer)


def predicts(trainer: Trainer) -> TypeGuard[Predicts]:
    """Whether a trainer declares that it can return a model's outputs for samples."""
    return "outputs" in supported(trainer)


def chooses(trainer: Trainer) -> TypeGuard[Chooses]:
    """Whether a trainer declares that it chooses how it trains."""
    return "choice" in supported(trainer)


def require(trainer: Trainer, strategy: Strategy) -> None:
    """Refuse a trainer that does not support what the strategy needs, or keeps state that it must not.

    Raises:
        ValueError: naming what is missing or kept, and the remedy.
    """
    there, name = supported(trainer), type(trainer).__name__
    if "state" in there and (strategy.private or strategy.local.sample_noise):
        raise ValueError(
            f"{name} keeps state of its clients from round to round, which shows in rounds that the account"
            f" of {strategy.name} counts as without them; train with one that does not declare 'state', or"
            " take a strategy that is not private"
        )
    missing = sorted(strategy.needs - there)
    if not missing:
        return
    listed = ", ".join(sorted(there)) or "nothing beyond plain SGD"
    near = "".join(did_you_mean(each, there) for each in missing)
    declared = ", ".join(map(repr, sorted({*there, *missing})))
    remedy = "take another strategy or local training, train with TorchTrainer in float32"
    if brings := [_EXTRAS[each] for each in missing if each in _EXTRAS]:
        remedy = f"{brings[0]}, train with TorchTrainer in float32"
    raise ValueError(
        f"{strategy.name} needs a trainer that supports {', '.join(missing)}, and {name} supports {listed};"
        f" {remedy}, or, if {name}"
        f" does it, declare it: supports = frozenset({{{declared}}}).{near}"
    )
