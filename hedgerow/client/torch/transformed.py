"""What model transforms have in common: the plain module, its layers' names, a trained model's state."""

import copy
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hedgerow.wording import shown

Base = Callable[[], nn.Module] | nn.Module
"""A function that makes a module, or a module, which is copied."""


def check_base(base: Base) -> None:
    """Raise `ValueError` for what is neither a module nor a function."""
    if not callable(base):
        raise ValueError(f"model is {shown(base)}; it must be a torch module, or a function that makes one")


def check_names(**given: Sequence[str]) -> None:
    """Raise `ValueError` for an argument that is not a list of names."""
    for argument, patterns in given.items():
        listed = isinstance(patterns, Sequence) and not isinstance(patterns, str)
        if not listed or not all(isinstance(p, str) for p in patterns):
            raise ValueError(
                f"{argument} is {shown(patterns)}; it must be a list of names, such as ['hidden*']"
            )


def plain_module(base: Base) -> nn.Module:
    """A new module without the transform; raises `ValueError` if the function makes none."""
    if isinstance(base, nn.Module):
        return copy.deepcopy(base)
    module = base()
    if not isinstance(module, nn.Module):
        raise ValueError(f"the model to adapt gave {module!r}; it must give a torch.nn.Module")
    return module


def fitting(argument: str, patterns: Sequence[str], there: Mapping[str, Any], kind: str) -> set[str]:
    """Names that match a pattern, or lie in a module that does.

    Raises:
        ValueError: a pattern matches none.

    >>> sorted(fitting("layers", ["body.*", "head"], {"body.0": 1, "body.1": 1, "head": 1}, "layer"))
    ['body.0', 'body.1', 'head']
    """
    found: set[str] = set()
    for pattern in patterns:
        names = {name for name in there if any(fnmatchcase(part, pattern) for part in _containing(name))}
        if not names:
            listed = ", ".join(map(repr, there)) or "none"
            raise ValueError(f"{argument} has {pattern!r}, which names no {kind}; the model has {listed}")
        found |= names
    return found


def owners(module: nn.Module, weight: Tensor) -> int:
    """The number of places in a module's layers where this tensor is a parameter: 2 if it is tied."""
    return sum(p is weight for m in module.modules() for p in m._parameters.values())


def load(module: nn.Module, tensors: Mapping[str, Any], what: str) -> None:
    """Load a trained model's tensors into a transformed module.

    Args:
        module: of the transformed model.
        tensors: of torch or numpy, by name. Integer tensors may be missing.
        what: the model, for errors.

    Raises:
        ValueError: the tensors do not belong to this model.
    """
    given = {name: _tensor(value) for name, value in tensors.items()}
    try:
        absent, unknown = module.load_state_dict(given, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        raise ValueError(f"the tensors are not those of this model: {error}") from error
    state = module.state_dict()
    filled = {state[name].data_ptr() for name in given if name in state}
    missing = [n for n in absent if state[n].is_floating_point() and state[n].data_ptr() not in filled]
    if missing or unknown:
        lacks = f"misses {missing[0]!r}" if missing else f"has {unknown[0]!r}, not in the model"
        raise ValueError(f"the state {lacks}; it must be of this model {what}")


def _tensor(value: Any) -> Tensor:
    """A tensor, or an array as one; torch warns about those that are read-only."""
    return value if isinstance(value, Tensor) else torch.as_tensor(np.require(value, requirements=["W"]))


def _containing(name: str) -> list[str]:
    """A dotted name, and the names of the modules that contain it."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
