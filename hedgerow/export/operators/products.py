"""Products of matrices, and convolutions."""

from collections.abc import Sequence

from hedgerow.export.operators.registry import Form, translates
from hedgerow.export.writer import Value, Writer


@translates("aten.mm.default", "aten.bmm.default")
def _product(to: Writer, out: Form, a: Value, b: Value) -> Value:
    return to.node("MatMul", [a, b], out.shape, out.dtype)


@translates("aten.addmm.default")
def _addmm(
    to: Writer, out: Form, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1
) -> Value:
    return to.node("Gemm", [a, b, c], out.shape, out.dtype, alpha=float(alpha), beta=float(beta))


@translates("aten.convolution.default")
def _convolution(
    to: Writer,
    out: Form,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    dims = x.rank - 2
    inputs = [x, weight] if bias is None else [x, weight, bias]
    pads = [*spread(padding, dims)] * 2
    more = {"output_padding": spread(output_padding, dims)} if transposed else {}
    return to.node(
        "ConvTranspose" if transposed else "Conv", inputs, out.shape, out.dtype,
        strides=spread(stride, dims), dilations=spread(dilation, dims), pads=pads, group=groups,
        kernel_shape=list(weight.shape[2:]), **more,
    )  # fmt: skip


def spread(numbers: Sequence[int], dims: int) -> list[int]:
    """One number for each dimension: torch takes one for all of them too."""
    return list(numbers) * dims if len(numbers) == 1 else list(numbers)
