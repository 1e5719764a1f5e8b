"""Low-rank adapters: train and send a few values for each matrix, next to frozen weights.

Hu et al. 2021, arXiv:2106.09685, equation 3: a weight `W (m, n)` becomes
`W + (alpha / r) B A`, with `B (m, r)` and `A (r, n)`. `W` is frozen, so it is a
constant of the model's layout, and no client sends it back. `A` starts random and
`B` starts at zero, so that training starts from the original model.

An adapter is a torch parametrization: reading `layer.weight` gives the sum. So it
works with whatever a layer does with its weight, such as the fast path of torch's
transformer layers.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hedgerow import checks
from hedgerow.client.torch.transformed import (
    Base,
    check_base,
    check_names,
    fitting,
    load,
    owners,
    plain_module,
)

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention)
_KIND = "linear layer, convolution or attention"
_PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


@final
class LowRank(nn.Module):
    """The change of a weight: `scale * B A` in the weight's shape.

    Args:
        weight: `(m, ...) float32`; a convolution's is treated as `(m, channels * height * width)`.
        rank: of the change; at most the matrix's.
        alpha: the scale is `alpha / rank`; `None` is a scale of 1.
        blocks: number of stacked matrices that make up the weight; each has its own change.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float | None = None, blocks: int = 1) -> None:
        super().__init__()
        rows, columns = len(weight) // blocks, math.prod(weight.shape[1:])
        rank = min(rank, rows, columns)
        self.shape, self.scale = tuple(weight.shape), 1.0 if alpha is None else alpha / rank
        self.a = nn.Parameter(weight.new_empty(blocks, rank, columns).normal_(std=columns**-0.5))
        self.b = nn.Parameter(weight.new_zeros(blocks, rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The sum of the weight and its change."""
        matrices = weight.reshape(len(self.a), -1, self.a.shape[2])
        return torch.baddbmm(matrices, self.b, self.a, alpha=self.scale).reshape(self.shape)


@final
@dataclass(frozen=True)
class Lora:
    """A factory of modules with adapters, see `lora`; it can be pickled where its base can."""

    base: Base
    rank: int
    targets: Sequence[str] | None
    train: Sequence[str]
    alpha: float | None

    def __post_init__(self) -> None:
        checks.whole(1, rank=self.rank)
        if self.alpha is not None:
            checks.positive(alpha=self.alpha)
        check_base(self.base)
        check_names(train=self.train, targets=() if self.targets is None else self.targets)

    def __call__(self) -> nn.Module:
        """A new module with adapters; raises `ValueError` if a name matches nothing."""
        module = plain_module(self.base)
        named = dict(module.named_parameters())
        whole = fitting("train", self.train, named, "parameter")
        layers = {n: m for n, m in module.named_modules() if isinstance(m, _LAYERS)}
        adapted = layers if self.targets is None else fitting("targets", self.targets, layers, _KIND)
        for name, parameter in named.items():
            if nn.parameter.is_lazy(parameter):
                raise ValueError(
                    f"parameter {name!r} has no shape until the module has seen data; give its sizes"
                )
            parameter.requires_grad_(False)
        # Drawn in the order of the layers, whatever the order of the names.
        weights = [found for name in layers if name in adapted for found in _weights(name, layers[name])]
        for layer, name, full, blocks in weights:
            if full not in whole:
                _check_alone(module, full, named.get(full))
                change = LowRank(named[full], self.rank, self.alpha, blocks)
                parametrize.register_parametrization(layer, name, change)
        for name in whole:
            named[name].requires_grad_(True)
        return module

    def merge(self, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
        """Convert a trained model's tensors to the plain model's, adding each change to its weight.

        Args:
            tensors: of torch or numpy, by name: the state of a module with
                adapters, or the contents of a run's `model.safetensors`.

        Returns:
            Tensors for the plain module's `load_state_dict(strict=True)`; integer
            tensors that are missing have the values that the factory gives them.

        Raises:
            ValueError: the tensors do not belong to this model.

        >>> tuned = lora(lambda: nn.Linear(3, 2), rank=1)
        >>> sorted(tuned.merge(tuned().state_dict()))
        ['bias', 'weight']
        """
        module = self()
        load(module, tensors, f"with adapters of rank {self.rank} for targets {self.targets!r}")
        for layer in list(module.modules()):
            if parametrize.is_parametrized(layer):
                for name, changes in list(layer.parametrizations.items()):  # type: ignore[union-attr, operator]
                    if isinstance(changes[0], LowRank):
                        parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@checks.arguments
def lora(
    model: Callable[[], nn.Module] | nn.Module,
    *,
    rank: int,
    targets: Sequence[str] | None = None,
    train: Sequence[str] = (),
    alpha: float | None = None,
) -> Lora:
    """A model with low-rank adapters, for `Task(model=...)`: only the adapters are trained and sent.

    It adapts linear layers, 1-D and 2-D convolutions, and torch's attention: queries,
    keys and values separately, and the output. All other parameters are frozen; the
    running statistics of a BatchNorm in training mode still follow the data.

    Args:
        model: makes the module, or is a module, which is copied.
        rank: of each matrix's change; a matrix with fewer rows or columns gets full rank.
        targets: names or patterns (`"encoder.*.linear1"`) of layers, or of modules with
            layers in them; `None` is every layer that can be adapted.
        train: names or patterns of parameters, or of modules with parameters in
            them, that are trained in full, such as a new head.
        alpha: each change is scaled by `alpha` over its rank; `None` means no scaling. Source: section 4.1.

    Returns:
        A factory. Its `merge` turns a trained model back into a plain one.

    Raises:
        ValueError: an argument is out of range; or, when the factory is called, a name
            matches nothing or two layers share a weight to adapt.

    >>> plain = lambda: nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 2, bias=False))
    >>> tuned = lora(plain, rank=2, train=["2"])
    >>> [(n, p.numel()) for n, p in tuned().named_parameters() if p.requires_grad]
    [('0.parametrizations.weight.0.a', 100), ('0.parametrizations.weight.0.b', 80), ('2.weight', 80)]
    """
    return Lora(model, rank, targets, train, alpha)


def _weights(name: str, layer: nn.Module) -> Iterator[tuple[nn.Module, str, str, int]]:
    """A layer's weights: `(owner, name in it, full name, number of stacked matrices)`."""
    if not isinstance(layer, nn.MultiheadAttention):
        yield layer, "weight", f"{name}.weight".lstrip("."), 1
        return
    own = {"in_proj_weight": 3} if layer.in_proj_weight is not None else dict.fromkeys(_PROJECTIONS, 1)
    yield from ((layer, weight, f"{name}.{weight}".lstrip("."), blocks) for weight, blocks in own.items())


def _check_alone(module: nn.Module, name: str, weight: Tensor | None) -> None:
    if weight is None:
        raise ValueError(
            f"weight {name!r} is computed from others (as by weight_norm) or is first known by another name;"
            " leave its layer out of targets"
        )
    if owners(module, weight) > 1:
        raise ValueError(
            f"weight {name!r} belongs to two layers (tied weights), and adapting one would untie them;"
            " leave its layer out of targets"
        )
