"""Sums of clipped gradients that are given layer by layer.

For the private sum, no float32 stands between a sample's gradient and what is
released. Let `C` be the clip, `N` the norm of a sample's gradient `g`, the one
that its parts make in real numbers, and `d` the number of parameters.

1. Norms are computed in float64, whose range holds the square of any product of
   float32. So the norm found is at least `N (1 - e)`, with `e` below
   `(d + 16) 2**-52`, whatever the order of the sums.
2. A gradient is scaled by `c = min(1, C / norm) (1 - m)`, and both factors of an
   outer product are cut towards zero to whole units, 42 bits together. Cutting
   makes no product larger. So a sample adds whole numbers that follow from it
   alone, at most `(1 - m) (1 + e) 2**42` long.
3. None of them is above 2**42. So float64 adds those of 2**11 samples exactly, in
   any order and also inside a product of matrices, and int64 adds 2**21 samples.
4. The sum is brought to `CLIP_UNITS` by a shift of 12 bits, which moves two sums apart by
   at most one unit a value, `sqrt(d)` in all.

One sample more therefore moves the sum by at most `CLIP_UNITS` where
`m >= e + sqrt(d) / CLIP_UNITS`; that is `margin(d)`, 1.2e-6 for 1.7 million parameters.

Opacus's ghost clipping has no such bound. Its norms are sums of products in
float32, whose squares underflow; and its second backward pass rounds anew, which
where a layer's weights cancel is no small change of the gradient that the norm
was of. `tests/laws/test_layer_sums.py` has weights with which it adds a sample at 20
to 160 times the clip.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hedgerow.client.torch.layers import Part
from hedgerow.client.torch.samples import CLIP_UNITS

AT_ONCE = 2**11
"""Samples in one `whole_sum`, at most; and 2**10 such sums may be added."""

_BITS = 42
_OUTER, _PLAIN = 21, 26
"""Bits of `right`, with a left and without; the others are those of what it is multiplied by."""

_SHIFT = _BITS - int(math.log2(CLIP_UNITS))


def margin(dimension: int) -> float:
    """By how much of itself a gradient of `dimension` values is shortened, beyond the clip.

    >>> margin(1_663_370) < 1.3e-6
    True
    """
    return (dimension + 16) * 2.0**-52 + math.sqrt(dimension) / CLIP_UNITS


def add_to_mean(parts: Sequence[Part], largest: float, count: int, out: Tensor) -> None:
    """Add clipped gradients, divided by `count`, in float32, whose rounding lengthens none beyond the clip.

    Args:
        parts: of all parameters that are used, at least one.
        largest: l2 norm over all parameters.
        count: samples in the mean, of which these may be some.
        out: `(d,) float32`, added to.
    """
    norms = _total([(_norms(part.left), _norms(part.right)) for part in parts])
    # A factor, a product with it and one more are rounded, each by half of 2**-23.
    scale = (largest * (1 - 2.0**-21) / norms.clamp(min=largest) / count).float()
    for part in parts:
        if part.left is None:
            out[part.place] += scale @ part.right
        else:
            _matrix(out, part).addmm_((part.left * scale.unsqueeze(1)).T, part.right)


def whole_sum(parts: Sequence[Part], largest: float, dimension: int) -> Tensor:
    """The sum of clipped gradients in units of `largest / 2**42`, exactly: `(d,) int64`.

    A gradient that is not finite counts for nothing: it must not spoil the sum,
    nor tell that it was there.

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
    """The other way, to be added to `whole_sum`s: `to_clip_units` gives it back as it was."""
    return total << _SHIFT


def _total(lengths: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The norms of samples' gradients, from those of left and right of each part: `(n,) float64`."""
    found: Tensor = torch.linalg.vector_norm(torch.stack([left * right for left, right in lengths], 1), dim=1)
    return found


def _norms(rows: Tensor | None) -> Tensor:
    """The norm of each row, in float64; one where there are no rows."""
    if rows is None:
        return torch.ones((), dtype=torch.float64)
    found: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return found


def _double(rows: Tensor | None) -> Tensor | None:
    return None if rows is None else rows.double()


def _matrix(vector: Tensor, part: Part) -> Tensor:
    """The parameter's place in a flat vector, as `(o, p)`."""
    return vector[part.place].view(-1, part.right.shape[1])
