"""Low-rank layers: a weight as the product of two small matrices, both trained and both sent.

A weight `W (m, n)` becomes `U V`, with `U (m, r)` and `V (r, n)`: `r (m + n)` values in place of `m n`,
and as many fewer products in each pass. A layer becomes two: `V` without an offset, then `U` with the
layer's own. Of a convolution `(m, channels, height, width)`, `V` is one to `r` channels, with the layer's
kernel, stride and padding, and `U` one of 1x1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, skip_init

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

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_OF_KERNELS = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
_KIND = "linear layer or convolution"


@final
class LowRankLayer(nn.Module):
    """Two layers in place of one, whose weights are the factors of its weight.

    Args:
        layer: linear, or a convolution with one group; its offset is taken over.
        rank: of the product; at most the matrix's.

    The product starts as the matrix of this rank that is nearest to the layer's weight, with equal shares
    of its scale in both factors: `U sqrt(S)` and `sqrt(S) V` of a singular value decomposition. Source:
    Khodak et al. 2021, arXiv:2105.01029, section 3.1, "spectral initialization". It is then scaled to the
    norm of the weight, so that outputs are as large as those of the plain layer.

    >>> factors = LowRankLayer(nn.Linear(50, 40), 2)
    >>> factors(torch.ones(1, 50)).shape, factors.weight.shape
    (torch.Size([1, 40]), torch.Size([40, 50]))
    """

    def __init__(self, layer: nn.Linear | nn.Conv1d | nn.Conv2d, rank: int) -> None:
        super().__init__()
        like: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        offset = layer.bias is not None
        bare: Any = skip_init  # the values are set below: none is drawn
        if isinstance(layer, nn.Linear):
            down = bare(nn.Linear, layer.in_features, rank, bias=False, **like)
            up = bare(nn.Linear, rank, layer.out_features, bias=offset, **like)
        else:
            kind, how = type(layer), {name: getattr(layer, name) for name in _OF_KERNELS}
            down = bare(kind, layer.in_channels, rank, bias=False, **how, **like)
            up = bare(kind, rank, layer.out_channels, kernel_size=1, bias=offset, **like)
        for part, values in zip((up, down), spectral(layer.weight.detach().flatten(1), rank), strict=True):
            part.weight = nn.Parameter(values.reshape(part.weight.shape))
        if offset:
            up.bias = layer.bias
        self.down, self.up = down, up
        self._shape = tuple(layer.weight.shape)

    @property
    def weight(self) -> Tensor:
        """The product of the factors, in the shape of the layer's weight: for those that read it."""
        up, down = (part.weight.flatten(1) for part in (self.up, self.down))
        product: Tensor = (up @ down).reshape(self._shape)
        return product

    @property
    def bias(self) -> Tensor | None:
        """The layer's offset."""
        found: Tensor | None = self.up.bias
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The layer's outputs."""
        y: Tensor = self.up(self.down(x))
        return y


@final
@dataclass(frozen=True)
class LowRankModel:
    """A factory of modules with low-rank layers, see `low_rank`; it can be pickled where its base can."""

    base: Base
    rank: int
    layers: Sequence[str] | None

    def __post_init__(self) -> None:
        checks.whole(1, rank=self.rank)
        check_base(self.base)
        check_names(layers=() if self.layers is None else self.layers)

    def __call__(self) -> nn.Module:
        """A new module with low-rank layers; raises `ValueError` as `low_rank` says."""
        module = plain_module(self.base)
        layers = {n: m for n, m in module.named_modules() if isinstance(m, _LAYERS)}
        if self.layers is None:
            inner = list(layers)[:-1]
            chosen = [name for name in inner if not self._obstacle(module, layers[name])]
            if not chosen:
                raise ValueError(self._nothing(module, [layers[name] for name in inner]))
        else:
            named = fitting("layers", self.layers, layers, _KIND)
            chosen = [name for name in layers if name in named]
            for name in chosen:
                if why := self._obstacle(module, layers[name]):
                    raise ValueError(f"layers has {name!r}, which {why}; leave it out")
        # By identity: a layer may be there under two names.
        factors = {id(layers[name]): LowRankLayer(layers[name], self.rank) for name in chosen}
        for parent in list(module.modules()):
            for name, child in parent._modules.items():
                if id(child) in factors:
                    parent._modules[name] = factors[id(child)]
        return module

    def merge(self, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
        """Convert a trained model's tensors to the plain model's, multiplying the factors.

        Args:
            tensors: of torch or numpy, by name: the state of a module with low-rank
                layers, or the contents of a run's `model.safetensors`.

        Returns:
            Tensors for the plain module's `load_state_dict(strict=True)`; integer
            tensors that are missing have the values that the factory gives them.

        Raises:
            ValueError: the tensors do not belong to this model.

        >>> small = low_rank(lambda: nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 2)), 2)
        >>> sorted(small.merge(small().state_dict()))
        ['0.bias', '0.weight', '1.bias', '1.weight']
        """
        module = self()
        load(module, tensors, f"with layers of rank {self.rank}, layers={self.layers!r}")
        state = module.state_dict()
        for name, layer in module.named_modules(remove_duplicate=False):
            if isinstance(layer, LowRankLayer):
                state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")}
                state[f"{name}.weight"] = layer.weight
                if layer.bias is not None:
                    state[f"{name}.bias"] = layer.bias
        return {name: state[name].detach().clone() for name in plain_module(self.base).state_dict()}

    def _obstacle(self, module: nn.Module, layer: nn.Module) -> str:
        """Why a layer cannot be factorised, as the end of a sentence; empty if it can be."""
        if type(layer) not in _LAYERS or parametrize.is_parametrized(layer):
            return "is computed in a way of its own"
        assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        weight = layer.weight
        if nn.parameter.is_lazy(weight):
            return "has no shape until the module has seen data"
        if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups > 1:
            return "is a convolution in groups"
        if not weight.requires_grad:
            return "is frozen"
        if owners(module, weight) > 1:
            return "shares its weight with another layer"
        if self.rank > (most := _largest_rank(weight)):
            allowed = f"at most {most} is" if most else "no rank is"
            return f"does not become smaller at rank {self.rank}: {allowed} possible"
        return ""

    def _nothing(self, module: nn.Module, inner: Sequence[nn.Module]) -> str:
        """Why no layer is factorised."""
        one = LowRankModel(self.base, 1, None)
        possible = [layer.weight for layer in inner if not one._obstacle(module, layer)]
        if possible:
            most = max(_largest_rank(weight) for weight in possible)  # type: ignore[arg-type]
            return (
                f"rank is {self.rank}; it must be at most {most}, or no layer of this model becomes smaller"
            )
        return (
            "the model has no layer for low rank: a trained linear layer or convolution, but the last one,"
            " that two factors make smaller; leave low rank out, or name the last layer in layers"
        )


@checks.arguments
def low_rank(model: Base, rank: int, *, layers: Sequence[str] | None = None) -> LowRankModel:
    """A model with low-rank layers, for `Task(model=...)`: it is smaller, trains faster and is sent as it is.

    It factorises `nn.Linear`, `nn.Conv1d` and `nn.Conv2d` (with one group), where two factors have fewer
    values than the weight, except for the last of them, which gives the outputs. Others stay as they are:
    frozen ones, tied ones, those with adapters, recurrent layers and attention.

    Args:
        model: makes the module, or is a module, which is copied; its weights are where training starts.
        rank: of each product.
        layers: names or patterns (`"conv*"`) of layers, or of modules with layers in them, to factorise,
            and no others; the last layer may be among them.

    Returns:
        A factory. Its `merge` turns a trained model back into a plain one.

    Raises:
        ValueError: an argument is out of range; or, when the factory is called, a name matches nothing, a
            named layer cannot be factorised, or no layer becomes smaller at this rank.

    >>> plain = lambda: nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 2))
    >>> [(name, p.numel()) for name, p in low_rank(plain, 2)().named_parameters()][:3]
    [('0.down.weight', 100), ('0.up.weight', 80), ('0.up.bias', 40)]
    """
    return LowRankModel(model, rank, layers)


def spectral(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors `(m, r)` and `(r, n)` of equal scale: the nearest matrix of this rank, as large as the weight.

    Where the weight has no more directions (it is zero), one factor has vectors of length 1 and the other
    zeros: the product is the same, and can be trained.

    >>> up, down = spectral(torch.diag(torch.tensor([12.0, 5.0])), 1)
    >>> (up @ down).diagonal(), up.norm() == down.norm()
    (tensor([13.,  0.]), tensor(True))
    """
    if len(weight) > weight.shape[1]:
        second, first = spectral(weight.T, rank)
        return first.T.contiguous(), second.T.contiguous()
    # From the smaller product of the weight with itself: several times faster than its decomposition.
    exact = weight.double()
    squares, vectors = torch.linalg.eigh(exact @ exact.T)
    squares, vectors = squares.clamp(min=0).flip(0), vectors[:, -rank:].flip(1)
    # The signs of a decomposition are arbitrary, and differ from one library to another.
    vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    sizes, whole = squares[:rank].sqrt(), squares.sum().sqrt()
    kept = squares[:rank].sum().sqrt()
    scale = whole / kept if kept else 1.0
    empty = sizes <= sizes[0] * torch.finfo(weight.dtype).eps
    roots = torch.where(empty, 1.0, (scale * sizes).sqrt())
    down = torch.where(empty, 0.0, scale / roots)[:, None] * (vectors.T @ exact)
    return (vectors * roots).to(weight.dtype).contiguous(), down.to(weight.dtype).contiguous()


def _largest_rank(weight: Tensor) -> int:
    """The largest rank at which two factors have fewer values than the weight; 0 if none is."""
    rows, columns = len(weight), math.prod(weight.shape[1:])
    return (rows * columns - 1) // (rows + columns)
