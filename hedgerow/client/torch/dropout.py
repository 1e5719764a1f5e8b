"""Dropout of every kind, with zeros and ones from a source of our own in place of torch's generator.

That is every function of torch that drops: those of layers and functions of dropout, of attention, and of
recurrent layers with dropout between them. Whatever else a model draws, and what is dropped within
TorchScript or packed series, comes from torch's generator.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

import torch
from torch import Tensor
from torch.nn import functional as F


class Source(Protocol):
    """Gives zeros and ones."""

    def whole(self, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """Of this shape, for the batch at hand; dtype and device are those of `like`."""
        ...

    def each(self, samples: int, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """Those of each sample, `(samples, *shape)`, of which each is computed alone."""
        ...


@final
class Dropout:
    """While this is entered, dropout takes what it keeps from a source; in one thread of a process at a time.

    It puts functions in the place of torch's own, which costs nothing where nothing is dropped; a
    `TorchFunctionMode` would be asked about every attribute of a tensor, half of a small model's step.

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
        self._source = source
        self._inside = False
        self.places: Tensor | None = None
        """Where samples are computed alone, side by side in `torch.vmap`: of these, each one has its own."""

    def __enter__(self) -> None:
        """Put our functions in place."""
        _ENTERED.append(self)
        for names, ours, _ in _SEAMS:
            names.update(ours)

    def __exit__(self, *error: object) -> None:
        """Put torch's back, if no other is entered."""
        _ENTERED.pop()
        if not _ENTERED:
            for names, _, torchs in _SEAMS:
                names.update(torchs)

    def call(self, torchs: Any, own: Any, args: Any, kwargs: Any) -> Any:
        """A function of ours in the place of torch's, which it calls where a source draws by it."""
        if self._inside:
            return torchs(*args, **kwargs)
        self._inside = True
        try:
            return own(self, torchs, *args, **kwargs)
        finally:
            self._inside = False

    def kept(self, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """Zeros and ones, each a one with this probability."""
        if self.places is None:
            return self._source.whole(shape, probability, like)

        def draw(samples: int) -> Tensor:
            return self._source.each(samples, shape, probability, like)

        found: Tensor = _Each.apply(self.places, draw)  # type: ignore[no-untyped-call]
        return found

    def drop(self, x: Tensor, p: float, shape: Sequence[int], *, inplace: bool = False) -> Tensor:
        """What is kept is divided by the probability to keep it."""
        factor = x.new_zeros(()) if p == 1 else self.kept(shape, 1 - p, x).div_(1 - p)
        return x.mul_(factor) if inplace else x * factor

    def drop_alpha(self, x: Tensor, p: float, shape: Sequence[int], *, inplace: bool = False) -> Tensor:
        """What is dropped becomes SELU's lowest value, and mean and variance stay (arXiv:1706.02515)."""
        if p == 1:
            return self.drop(x, p, shape, inplace=inplace)
        lowest = -1.7580993408473766
        a = 1 / math.sqrt((lowest**2 * p + 1) * (1 - p))
        kept = self.kept(shape, 1 - p, x)
        factor, shift = kept * a, (1 - kept) * (lowest * a) - lowest * a * p
        return x.mul_(factor).add_(shift) if inplace else x * factor + shift


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


def _function(drop: Callable[..., Tensor], *, channels: bool = False, inplace: bool = False) -> Any:
    """A function `(input, p, train)` that drops values, or whole channels of `(n, channels, ...)`."""

    def own(dropout: Dropout, torchs: Any, input: Tensor, p: float, train: bool) -> Any:
        if not (train and 0 < p <= 1 and input.numel()):
            return torchs(input, p, train)  # nothing is dropped, or torch says what is wrong
        shape = [*input.shape[:2], *[1] * (input.dim() - 2)] if channels else input.shape
        return drop(dropout, input, p, shape, inplace=inplace)

    return own


def _attention(
    dropout: Dropout, torchs: Any, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """`scaled_dot_product_attention` by its formula, where something is dropped."""
    if not dropout_p:
        found: Tensor = torchs(
            query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )
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
    weights = scores.softmax(-1)
    return dropout.drop(weights, dropout_p, weights.shape) @ value


def _recurrent(dropout: Dropout, torchs: Any, x: Tensor, state: Any, weights: Any, *settings: Any) -> Any:
    """Layers of a recurrent network one by one, where something is dropped between them."""
    bias, layers, p, train, both, first = settings
    if not isinstance(bias, bool) or not (train and p and layers > 1):  # no bool: the series are packed
        return torchs(x, state, weights, *settings)
    states = state if isinstance(state, tuple | list) else [state]
    size, ways = len(weights) // layers, 2 if both else 1
    last = []
    for k in range(layers):
        own = [each[k * ways : (k + 1) * ways] for each in states]
        x, *ends = torchs(
            dropout.drop(x, p, x.shape) if k else x, own if isinstance(state, tuple | list) else own[0],
            weights[k * size : (k + 1) * size], bias, 1, 0.0, train, both, first,
        )  # fmt: skip
        last.append(ends)
    return x, *(torch.cat(each) for each in zip(*last, strict=True))


_FUNCTIONS: dict[str, Any] = {
    "dropout": _function(Dropout.drop),
    "dropout_": _function(Dropout.drop, inplace=True),
    "feature_dropout": _function(Dropout.drop, channels=True),
    "feature_dropout_": _function(Dropout.drop, channels=True, inplace=True),
    "alpha_dropout": _function(Dropout.drop_alpha),
    "alpha_dropout_": _function(Dropout.drop_alpha, inplace=True),
    "feature_alpha_dropout": _function(Dropout.drop_alpha, channels=True),
    "feature_alpha_dropout_": _function(Dropout.drop_alpha, channels=True, inplace=True),
    **dict.fromkeys(["gru", "lstm", "rnn_tanh", "rnn_relu"], _recurrent),
}

_ENTERED: list[Dropout] = []
"""The last one counts."""


def _in_place_of(torchs: Any, own: Any) -> Any:
    return lambda *args, **kwargs: _ENTERED[-1].call(torchs, own, args, kwargs)


def _seam(owner: Any, functions: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    torchs = {name: getattr(owner, name) for name in functions}
    return vars(owner), {name: _in_place_of(torchs[name], own) for name, own in functions.items()}, torchs


_SEAMS = [  # torch's own Python calls these in `torch._VF`, whatever a user's code calls
    _seam(torch._VF, _FUNCTIONS),
    _seam(torch, _FUNCTIONS),
    _seam(F, {"scaled_dot_product_attention": _attention}),
]
"""Where names are looked up, our functions by name, and torch's."""
