"""What a model draws is an input of the graph: whoever runs it draws it."""

from typing import Any

from hedgerow.export.operators.registry import Form, translates
from hedgerow.export.writer import Value, Writer


@translates("aten.bernoulli.p")
def _bernoulli(to: Writer, out: Form, like: Value, probability: float, **kwargs: Any) -> Value:
    """Zeros and ones, such as dropout multiplies by."""
    return to.draw(out.shape, out.dtype, probability)
