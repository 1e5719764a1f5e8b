"""The rules of operators that move a window over their input."""

from hedgerow.graphs.registry import Results, named
from hedgerow.graphs.values import Call, Value

_WINDOW = "kernel_shape strides pads dilations"


def _window(call: Call, across: int) -> list[int]:
    """How often a window fits into each dimension, with pads and dilations."""
    k, s, d = (call.wholes(name, across) for name in ("kernel_shape", "strides", "dilations"))
    pads = call.wholes("pads", 2 * across)
    if min(*k, *s, *d) < 1 or min(pads) < 0:
        raise call.refuse("has a window without a size")
    room = [n + pads[i] + pads[across + i] - d[i] * (k[i] - 1) - 1 for i, n in enumerate(call.x.shape[2:])]
    if min(room) < 0:
        raise call.refuse("has a window that is larger than what it moves over")
    if not call.whole("ceil_mode", 0):
        return [n // s[i] + 1 for i, n in enumerate(room)]
    # A last window that would begin behind the values is left out.
    found = [-(-n // s[i]) + 1 for i, n in enumerate(room)]
    return [n - ((n - 1) * s[i] >= call.x.shape[2 + i] + pads[i]) for i, n in enumerate(found)]


def _columns(call: Call, of: Value, moved_to: Value) -> int:
    """The windows of one sample and group side by side, which are multiplied by the weights."""
    channels = -(-of.shape[1] // max(1, call.whole("group", 1)))
    window = Value(call.inputs[1].shape[2:], call.x.dtype).bytes
    return channels * window * Value(moved_to.shape[2:], "bool").size


@named("Conv", (2, 3), f"{_WINDOW} group", lambda call, results: _columns(call, call.x, results[0]))
def _convolution(call: Call) -> Results:
    x, weight, across = *call.inputs[:2], call.x.rank - 2
    if across < 1 or weight.rank != x.rank or list(weight.shape[2:]) != call.attributes.get("kernel_shape"):
        raise call.refuse("has weights of another form than its window")
    if weight.shape[1] * call.whole("group", 1) != x.shape[1]:
        raise call.refuse("has weights for other channels")
    return call.like((x.shape[0], weight.shape[0], *_window(call, across)))


@named(
    "ConvTranspose",
    (2, 3),
    f"{_WINDOW} group output_padding",
    lambda call, results: _columns(call, results[0], call.x),
)
def _transposed_convolution(call: Call) -> Results:
    x, weight, across = *call.inputs[:2], call.x.rank - 2
    if across < 1 or weight.rank != x.rank or weight.shape[0] != x.shape[1]:
        raise call.refuse("has weights of another form than its window")
    k, s, d = (call.wholes(name, across) for name in ("kernel_shape", "strides", "dilations"))
    pads, more = call.wholes("pads", 2 * across), call.wholes("output_padding", across)
    if min(*k, *s, *d) < 1 or min(*pads, *more) < 0 or list(weight.shape[2:]) != k:
        raise call.refuse("has a window without a size")
    sizes = [
        s[i] * (n - 1) + more[i] + d[i] * (k[i] - 1) + 1 - pads[i] - pads[across + i]
        for i, n in enumerate(x.shape[2:])
    ]
    return call.like((x.shape[0], weight.shape[1] * call.whole("group", 1), *sizes))


@named("MaxPool", (1, 1), f"{_WINDOW} ceil_mode")
def _max_pool(call: Call) -> Results:
    if call.x.rank < 3 or not 1 <= call.outputs <= 2:
        raise call.refuse("is given something else than planes")
    shape = (*call.x.shape[:2], *_window(call, call.x.rank - 2))
    return [Value(shape, call.x.dtype), Value(shape, "int64")][: call.outputs]
