"""Which tensors of a module are trained, averaged, constant, or left to the module."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm

from hedgerow.types.model import Unsent

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@final
@dataclass(frozen=True)
class Kinds:
    """Names of a module's tensors by how they are treated; see `hedgerow.client.torch.module`.

    Attributes:
        parameters: trained.
        buffers: averaged.
        constants: sent by the server and never changed.
    """

    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    constants: tuple[str, ...]


def kinds_of(module: nn.Module, statistics: Sequence[str] = (), constants: Sequence[str] = ()) -> Kinds:
    """Decide how each tensor is treated, from a module in training mode.

    Args:
        module: with its layers in the modes that they train in.
        statistics: names or patterns (`"teacher.*"`) of tensors that are buffers, whatever the rules say.
        constants: names or patterns of tensors that are constants.

    Raises:
        ValueError: a pattern matches no tensor that could be either, or a tensor matches both.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).requires_grad_(False))
    >>> kinds_of(net).buffers, kinds_of(net).constants
    (('1.running_mean', '1.running_var'), ('1.weight', '1.bias'))
    """
    parameters = tuple(name for name, p in module.named_parameters() if p.requires_grad)
    frozen = {name: p for name, p in module.named_parameters() if not p.requires_grad}
    changes = {name: _even(buffer) for name, buffer in _saved_floats(module)}
    changes.update((name, change) for name, change in _known(module) if name in changes)
    changes.update(dict.fromkeys(frozen, False))
    averaged, still = _named(changes, statistics=statistics), _named(changes, constants=constants)
    if both := averaged & still:
        raise ValueError(f"{min(both)!r} is in statistics and in constants; it can be in one of them")
    changes.update({**dict.fromkeys(averaged, True), **dict.fromkeys(still, False)})
    buffers, kept = (tuple(n for n, change in changes.items() if change == kind) for kind in (True, False))
    return Kinds(parameters, buffers, kept)


def names_of_norms(module: nn.Module) -> frozenset[str]:
    """Names of the parameters and buffers of norm layers.

    >>> sorted(names_of_norms(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))))
    ['1.bias', '1.weight']
    """
    return frozenset(
        f"{prefix}.{name}".lstrip(".")
        for prefix, layer in module.named_modules()
        if isinstance(layer, _NORMS)
        for name in (*layer._parameters, *layer._buffers)
    )


def unsent_of(module: nn.Module) -> tuple[Unsent, ...]:
    """The values of the buffers that a module saves and that are not floating-point.

    >>> [each.name for each in unsent_of(nn.BatchNorm1d(2))]
    ['num_batches_tracked']
    """
    saved = module.state_dict().keys()
    there = {
        name: buffer.detach().cpu().numpy()
        for name, buffer in module.named_buffers()
        # Safetensors has no complex128.
        if name in saved and not buffer.is_floating_point() and buffer.dtype != torch.complex128
    }
    return tuple(Unsent(name, v.dtype.str, v.shape, v.tobytes()) for name, v in there.items())


def ties_of(module: nn.Module) -> tuple[tuple[str, str], ...]:
    """The second names under which a module saves tied tensors, each with the first name.

    >>> one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> two.weight = one.weight
    >>> ties_of(nn.Sequential(one, two))
    (('1.weight', '0.weight'),)
    """
    first = {id(tensor): name for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    saved = module.state_dict(keep_vars=True).items()
    return tuple((name, first[id(t)]) for name, t in saved if first.get(id(t), name) != name)


def _saved_floats(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    saved = module.state_dict().keys()
    for name, buffer in module.named_buffers():
        if name in saved and buffer.is_floating_point():
            yield name, buffer


def _known(module: nn.Module) -> Iterator[tuple[str, bool]]:
    """Names of the buffers of torch's own layers, and whether training changes them."""
    for prefix, layer in module.named_modules():
        names: tuple[str, ...] = ()
        changes = layer.training
        if isinstance(layer, _NormBase):
            names, changes = ("running_mean", "running_var"), changes and layer.track_running_stats
        elif isinstance(layer, _SpectralNorm):
            names = ("_u", "_v")
        yield from ((f"{prefix}.{name}".lstrip("."), changes) for name in names)


def _even(buffer: Tensor) -> bool:
    """Whether a buffer starts as statistics do: all zeros, or all ones.

    The mean of zeros and the mean of ones are exact, so a constant that is mistaken
    for a statistic here still keeps its bits.
    """
    if nn.parameter.is_lazy(buffer) or not buffer.numel() or bool(buffer.signbit().any()):
        return False
    return any(bool((buffer == value).all()) for value in (0, 1))


def _named(there: Iterable[str], **given: Sequence[str]) -> set[str]:
    """The names that match one of the patterns; raises `ValueError` if a pattern matches none."""
    found: set[str] = set()
    for argument, patterns in given.items():
        for pattern in patterns:
            if not (fitting := {name for name in there if fnmatchcase(name, pattern)}):
                names = ", ".join(map(repr, there)) or "none"
                raise ValueError(
                    f"{argument} has {pattern!r}, which names no floating-point buffer that is saved and no"
                    f" frozen parameter; the model has {names}"
                )
            found |= fitting
    return found
