"""What a model draws is an input of the graph: whoever runs it draws it (`hedgerow.client.draws`)."""

from collections.abc import Sequence

from hedgerow.export.operators.registry import Form, translates
from hedgerow.export.writer import Value, Writer


@translates("hedgerow.draw.default")
def _draw(to: Writer, out: Form, like: Value, shape: Sequence[int], probability: float, axis: int) -> Value:
    """Zeros and ones, such as dropout multiplies by."""
    return to.draw(out.shape, out.dtype, probability, None if axis < 0 else axis)
