"""Sums of clipped gradients that come layer by layer.

The private sum involves no float32 rounding between a sample's gradient and what
is released. Let `C` be the clip, `N` the norm of a sample's gradient `g`, computed
from its parts in real numbers, and `d` the number of parameters.

1. Norms are computed in float64, whose range holds the square of any product of
   float32. So the computed norm is at least `N (1 - e)`, with `e` below
   `(d + 16) 2**-52`, whatever the order of the sums.
2. A gradient is scaled by `c = min(1, C / norm) (1 - m)`, and both factors of an
   outer product are truncated to whole units, 42 bits together. Truncation
   makes no product larger. So a sample adds integers that depend only on itself,
   of norm at most `(1 - m) (1 + e) 2**42`.
3. None of them is above 2**42. So float64 adds those of 2**11 samples exactly, in
   any order and also inside a product of matrices, and int64 adds 2**21 samples.
4. The sum is converted to `CLIP_UNITS` by a shift of 12 bits, which adds at most one unit
   per value to the difference of two sums, `sqrt(d)` in all.

Therefore one more sample moves the sum by at most `CLIP_UNITS` if
`m >= e + sqrt(d) / CLIP_UNITS`; that is `margin(d)`, 1.2e-6 for 1.7 million parameters.

Opacus's ghost clipping has no such bound. Its norms are sums of products in
float32, whose squares underflow; and its second backward pass rounds differently,
which, if a layer's weights cancel, can change the gradient by much more than the
clip. `tests/laws/test_layer_sums.py` has weights with which it adds a sample at 20
to 160 times the clip.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hedgerow.client.torch.layers import Part
from hedgerow.client.torch.samples import CLIP_UNITS

AT_ONCE = 2**11
"""Most samples in one `whole_sum`; and 2**10 such sums may be added."""

_BITS = 42
_OUTER, _PLAIN = 21, 26
"""Bits of `right`, with `left` and without; the remaining bits are those of its factor."""

_SHIFT = _BITS - int(math.log2(CLIP_UNITS))


def margin(dimension: int) -> float:
    """The fraction by which a gradient of `dimension` values is scaled down beyond the clip.

    >>> margin(1_663_370) < 1.3e-6
    True
    """
    return (dimension + 16) * 2.0**-52 + math.sqrt(dimension) / CLIP_UNITS


def add_to_mean(parts: Sequence[Part], largest: float, count: int, out: Tensor) -> None:
    """Add clipped gradients, divided by `count`, in float32, so that rounding takes none beyond the clip.

    Args:
        parts: of all parameters that are used, at least one.
        largest: l2 norm over all parameters.
        count: number of samples in the mean, which may be more than these.
        out: `(d,) float32`, added to.
    """
    norms = _total([(_norms(part.left), _norms(part.right)) for part in parts])
    # Three roundings of at most 2**-24 each: of a factor and of two products.
    scale = (largest * (1 - 2.0**-21) / norms.clamp(min=largest) / count).float()
    for part in parts:
        if part.left is None:
            out[part.place] += scale @ part.right
        else:
            _matrix(out, part).addmm_((part.left * scale.unsqueeze(1)).T, part.right)


def whole_sum(parts: Sequence[Part], largest: float, dimension: int) -> Tensor:
    """The sum of clipped gradients in units of `largest / 2**42`, exactly: `(d,) int64`.

    A gradient that is not finite counts as zero: it must neither spoil the sum nor
    reveal that it was there.

    Args:
        parts: of all parameters that are used, at least one; of at most `AT_ONCE` samples.
        largest: l2 norm over all parameters.
        dimension: `d`.
    """
    total = torch.zeros(dimension, dtype=torch.float64, device=parts[0].right.device)
    doubles = [(part, _double(part.left), part.right.double()) for part in parts]
    lengths = [(_norms(left), _norms(right)) for _, left, right in doubles]
    norms = _total(lengths)
    lost = ~norms.isfinite()
    scale = (1 - margin(dimension)) / norms.clamp(min=largest)
    for (part, left, right), (_, length) in zip(doubles, lengths, strict=True):
        bits = _PLAIN if left is None else _OUTER
        power = torch.frexp(length.masked_fill(lost, 0.0)).exponent
        units = torch.ldexp(torch.ones_like(length), bits - power)
        right.mul_(units.unsqueeze(1)).trunc_()
        rest = (scale * torch.ldexp(torch.ones_like(length), power + _BITS - bits)).masked_fill(
            length == 0, 0.0
        )
        left = rest.unsqueeze(1) if left is None else left.mul_(rest.unsqueeze(1))
        left.trunc_()
        if bool(lost.any()):
            left[lost], right[lost] = 0.0, 0.0
        torch.mm(left.T, right, out=_matrix(total, part))
    return total.long()


def to_clip_units(total: Tensor) -> Tensor:
    """A sum of `whole_sum`s, in units of `largest / CLIP_UNITS`."""
    return total >> _SHIFT


def from_clip_units(total: Tensor) -> Tensor:
    """Undo `to_clip_units` exactly, for adding to `whole_sum`s."""
    return total << _SHIFT


def _total(lengths: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The norms of samples' gradients, from the norms of each part's `left` and `right`: `(n,) float64`."""
    found: Tensor = torch.linalg.vector_norm(torch.stack([left * right for left, right in lengths], 1), dim=1)
    return found


def _norms(rows: Tensor | None) -> Tensor:
    """The norm of each row, in float64; 1 for `None`."""
    if rows is None:
        return torch.ones((), dtype=torch.float64)
    found: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return found


def _double(rows: Tensor | None) -> Tensor | None:
    return None if rows is None else rows.double()


def _matrix(vector: Tensor, part: Part) -> Tensor:
    """The parameter's place in a flat vector, as `(o, p)`."""
    return vector[part.place].view(-1, part.right.shape[1])
