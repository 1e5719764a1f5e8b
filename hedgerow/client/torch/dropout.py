"""Dropout of every kind, with zeros and ones from a source of our own in place of torch's generator.

That is every call of torch that drops: the layers and functions of dropout, attention, and recurrent layers
with dropout between them; and `bernoulli` with one probability. Whatever else a model draws, and what is
dropped within TorchScript or packed sequences, comes from torch's generator.
"""

import math
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Protocol, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Source(Protocol):
    """Gives zeros and ones."""

    def whole(self, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """Of this shape, for the batch at hand; dtype and device are those of `like`."""
        ...

    def each(self, samples: int, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """Those of each sample, `(samples, *shape)`, of which each is computed alone."""
        ...


Call = Callable[..., Any]


@final
class Dropout(TorchFunctionMode):
    """While this is entered, dropout in this thread takes what it keeps from a source.

    Args:
        source: gives the zeros and ones.

    >>> class Ones:
    ...     def whole(self, shape, probability, like):
    ...         return torch.ones(shape)
    >>> with Dropout(Ones()):
    ...     torch.nn.Dropout(0.75)(torch.ones(2)).tolist()
    [4.0, 4.0]
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self.places: Tensor | None = None
        """Where samples are computed alone, side by side in `torch.vmap`: of these, each one has its own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every function of torch, in here."""
        own = _OWN.get(func)
        if own is not None:
            return own(self, func, *args, **(kwargs or {}))
        return func(*args, **kwargs) if kwargs else func(*args)

    def kept(self, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """Zeros and ones, each a one with this probability."""
        if self.places is None:
            return self._source.whole(shape, probability, like)

        def draw(samples: int) -> Tensor:
            return self._source.each(samples, shape, probability, like)

        found: Tensor = _Each.apply(self.places, draw)  # type: ignore[no-untyped-call]
        return found

    def dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """`torch.nn.functional.dropout`."""
        return _scaled(self, input, p, training, input.shape, inplace)


class _Each(torch.autograd.Function):
    """What `draw` gives, `(samples, ...)`, each sample's its own."""

    @staticmethod
    def forward(places: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        raise AssertionError("samples are computed side by side, in vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, places: Tensor, draw: Callable[[int], Tensor]) -> tuple[Tensor, int]:
        return draw(info.batch_size), 0

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None


def _scaled(mode: Dropout, x: Tensor, p: float, train: bool, shape: Sequence[int], inplace: bool) -> Tensor:
    """What is kept is divided by the probability to keep it."""
    if not train or p == 0 or not x.numel():
        return x
    factor = x.new_zeros(()) if p == 1 else mode.kept(shape, 1 - p, x).div_(1 - p)
    return x.mul_(factor) if inplace else x * factor


def _alpha(mode: Dropout, x: Tensor, p: float, train: bool, shape: Sequence[int], inplace: bool) -> Tensor:
    """What is dropped becomes SELU's lowest value; mean and variance stay (arXiv:1706.02515, section 3)."""
    if not train or p == 0 or not x.numel():
        return x
    if p == 1:
        return x.mul_(0) if inplace else x * x.new_zeros(())
    lowest = -1.7580993408473766
    a = 1 / math.sqrt((lowest**2 * p + 1) * (1 - p))
    kept = mode.kept(shape, 1 - p, x)
    factor, shift = kept * a, (1 - kept) * (lowest * a) - lowest * a * p
    return x.mul_(factor).add_(shift) if inplace else x * factor + shift


def _of_channels(x: Tensor) -> list[int]:
    return [*x.shape[:2], *[1] * (x.dim() - 2)]


def _drops(drop: Call, shape: Call, *, inplace: bool = False) -> Call:
    """A function of torch that takes a tensor, a probability, and whether it trains."""

    def own(
        mode: Dropout, func: Any, input: Tensor, p: float = 0.5, training: bool = True,
        inplace: bool = inplace, train: bool | None = None,
    ) -> Any:  # fmt: skip
        if not 0 <= p <= 1:
            return func(input, p, training)  # torch says what is wrong
        return drop(mode, input, p, training if train is None else train, shape(input), inplace)

    return own


def _dropout1d(
    mode: Dropout, func: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    if input.dim() not in (2, 3) or not 0 <= p <= 1:
        return func(input, p, training, inplace)
    shape = [*input.shape[:-1], 1]
    return _scaled(mode, input, p, training, shape, inplace)


def _attention(
    mode: Dropout, func: Any, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """`scaled_dot_product_attention` by its formula, where something is dropped."""
    if not dropout_p:
        found: Tensor = func(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)
        return found
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(attn_mask.logical_not(), -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return mode.dropout(scores.softmax(-1), dropout_p) @ value


def _followed(function: Any) -> Call:
    """A function of torch that calls others, which are to come to the mode too.

    Torch would not let them: inside of what a mode is asked about, it is not asked again.
    """
    never = ["has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"]
    names = {**function.__globals__, **dict.fromkeys(never, lambda *args: False)}
    inner = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    inner.__kwdefaults__ = function.__kwdefaults__

    def own(mode: Dropout, func: Any, *args: Any, **kwargs: Any) -> Any:
        with mode:
            return inner(*args, **kwargs)

    return own


def _recurrent(mode: Dropout, func: Any, x: Tensor, state: Any, weights: Any, *settings: Any) -> Any:
    """Layers of a recurrent network one by one, where something is dropped between them."""
    bias, layers, p, train, both, first = settings
    if not isinstance(bias, bool) or not (train and p and layers > 1):  # no bool: the series are packed
        return func(x, state, weights, *settings)
    states = state if isinstance(state, tuple | list) else [state]
    size, ways = len(weights) // layers, 2 if both else 1
    last = []
    for k in range(layers):
        own = [each[k * ways : (k + 1) * ways] for each in states]
        x, *ends = func(
            mode.dropout(x, p) if k else x, own if isinstance(state, tuple | list) else own[0],
            weights[k * size : (k + 1) * size], bias, 1, 0.0, train, both, first,
        )  # fmt: skip
        last.append(ends)
    return x, *(torch.cat(each) for each in zip(*last, strict=True))


def _bernoulli(mode: Dropout, func: Any, x: Tensor, p: Any = None, **kwargs: Any) -> Any:
    """Zeros and ones like a tensor, of one probability."""
    if func is torch.Tensor.bernoulli_ and p is None:
        p = 0.5
    if not isinstance(p, float | int) or not 0 < p < 1 or kwargs:
        return func(x, **kwargs) if p is None else func(x, p, **kwargs)
    kept = mode.kept(x.shape, float(p), x)
    return x.copy_(kept) if func is torch.Tensor.bernoulli_ else kept


def _all(x: Tensor) -> Sequence[int]:
    return x.shape


_CALLING = (F.multi_head_attention_forward, torch.autograd.grad, torch.autograd.backward, Tensor.backward)
"""What calls functions of torch itself; a backward pass does where a part of the forward pass is repeated."""

_OWN: dict[Any, Call] = {
    **dict.fromkeys([F.dropout, torch.dropout], _drops(_scaled, _all)),
    torch.dropout_: _drops(_scaled, _all, inplace=True),
    **dict.fromkeys([F.dropout2d, F.dropout3d, torch.feature_dropout], _drops(_scaled, _of_channels)),
    torch.feature_dropout_: _drops(_scaled, _of_channels, inplace=True),
    F.dropout1d: _dropout1d,
    **dict.fromkeys([F.alpha_dropout, torch.alpha_dropout], _drops(_alpha, _all)),
    torch.alpha_dropout_: _drops(_alpha, _all, inplace=True),
    **dict.fromkeys([F.feature_alpha_dropout, torch.feature_alpha_dropout], _drops(_alpha, _of_channels)),
    torch.feature_alpha_dropout_: _drops(_alpha, _of_channels, inplace=True),
    **{f: _followed(f) for f in _CALLING},
    F.scaled_dot_product_attention: _attention,
    **dict.fromkeys([torch.gru, torch.lstm, torch.rnn_tanh, torch.rnn_relu], _recurrent),
    **dict.fromkeys([torch.bernoulli, torch.Tensor.bernoulli, torch.Tensor.bernoulli_], _bernoulli),
}
