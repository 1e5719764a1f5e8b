"""The rules of most operators: what they give, by https://onnx.ai/onnx/operators/ of version 20.

Every shape is known beforehand, or the node is refused.
"""

from hedgerow.graphs.registry import MANY, Results, named
from hedgerow.graphs.values import DTYPES, Call, Value


@named("Abs Ceil Cos Erf Exp Floor Identity Log Neg Not Reciprocal Relu Sigmoid Sign Sin Sqrt Tanh", (1, 1))
@named("Softmax LogSoftmax", (1, 1), "axis", lambda call, results: 2 * call.x.bytes)
@named("CumSum", (2, 2))
def _as_the_first(call: Call) -> Results:
    return call.like(call.x.shape)


@named("Add And Div Max Min Mod Mul Or Pow Sub Xor", (2, 2))
def _together(call: Call) -> Results:
    return call.like(call.broadcast(*call.inputs))


@named("Equal Greater GreaterOrEqual Less LessOrEqual", (2, 2))
@named("IsInf IsNaN", (1, 1))
def _truths(call: Call) -> Results:
    return call.like(call.broadcast(*call.inputs), dtype="bool")


@named("Where", (3, 3))
def _where(call: Call) -> Results:
    return call.like(call.broadcast(*call.inputs), dtype=call.inputs[1].dtype)


@named("Cast", (1, 1), "to")
def _cast(call: Call) -> Results:
    if (dtype := DTYPES.get(call.whole("to"))) is None:
        raise call.refuse("gives a dtype that no export writes")
    return call.like(call.x.shape, dtype=dtype)


@named("Reshape", (2, 2), "allowzero")
def _reshape(call: Call) -> Results:
    shape = call.numbers(1)
    if not call.whole("allowzero", 0):
        shape = [call.x.shape[k] if n == 0 and k < call.x.rank else n for k, n in enumerate(shape)]
    if shape.count(-1) == 1:
        rest = Value(tuple(n for n in shape if n != -1), "bool").size
        shape[shape.index(-1)] = call.x.size // rest if rest > 0 else 0
    if min(shape, default=0) < 0 or Value(tuple(shape), "bool").size != call.x.size:
        raise call.refuse("changes how many elements there are")
    return call.like(shape)


@named("Transpose", (1, 1), "perm")
def _transpose(call: Call) -> Results:
    order = call.wholes("perm", call.x.rank)
    if sorted(order) != list(range(call.x.rank)):
        raise call.refuse("has no order of the dimensions")
    return call.like([call.x.shape[k] for k in order])


@named("Expand", (2, 2))
def _expand(call: Call) -> Results:
    return call.like(call.broadcast(call.x, Value(_sizes(call, 1), "bool")))


@named("Tile", (2, 2))
def _tile(call: Call) -> Results:
    times = _sizes(call, 1)
    if len(times) != call.x.rank:
        raise call.refuse("repeats other dimensions than there are")
    return call.like([n * t for n, t in zip(call.x.shape, times, strict=True)])


@named("Pad", (3, 3))
def _pad(call: Call) -> Results:
    amounts, rank = _sizes(call, 1), call.x.rank
    if len(amounts) != 2 * rank:
        raise call.refuse("fills up other dimensions than there are")
    return call.like([n + amounts[k] + amounts[rank + k] for k, n in enumerate(call.x.shape)])


@named("Slice", (5, 5))
def _slice(call: Call) -> Results:
    shape, places = list(call.x.shape), [call.numbers(k) for k in range(1, 5)]
    if len({len(each) for each in places}) != 1:
        raise call.refuse("has lists of different lengths")
    for start, end, axis, step in zip(*places, strict=True):
        dim = call.axis(axis, call.x.rank)
        if step < 1 or not 0 <= start <= end <= call.x.shape[dim]:
            raise call.refuse("takes a part that is not there")
        shape[dim] = len(range(start, end, step))
    return call.like(shape)


@named("Split", (2, 2), "axis")
def _split(call: Call) -> Results:
    sizes, axis = _sizes(call, 1), call.axis(call.whole("axis", 0), call.x.rank)
    if sum(sizes) != call.x.shape[axis] or len(sizes) != call.outputs:
        raise call.refuse("has parts that are not the whole")
    return call.like(*((*call.x.shape[:axis], n, *call.x.shape[axis + 1 :]) for n in sizes))


@named("Concat", (1, MANY), "axis")
def _concat(call: Call) -> Results:
    axis = call.axis(call.whole("axis"), call.x.rank)
    rest = {(*v.shape[:axis], *v.shape[axis + 1 :], v.dtype, v.rank) for v in call.inputs}
    if len(rest) != 1:
        raise call.refuse("puts together what does not fit together")
    shape = list(call.x.shape)
    shape[axis] = sum(v.shape[axis] for v in call.inputs)
    return call.like(shape)


@named("ConstantOfShape", (1, 1), "value")
def _constant_of_shape(call: Call) -> Results:
    value = call.attributes.get("value")
    if not isinstance(value, Value) or value.size != 1:
        raise call.refuse("has no value")
    shape = _sizes(call, 0)
    (found,) = call.like(shape, dtype=value.dtype)
    if value.dtype == "int64" and found.rank == 1 and found.size <= MANY and value.data is not None:
        return [found._replace(data=memoryview(bytes(value.data) * found.size))]
    return [found]


@named("Gather", (2, 2), "axis")
def _gather(call: Call) -> Results:
    axis = call.axis(call.whole("axis", 0), call.x.rank)
    return call.like((*call.x.shape[:axis], *call.inputs[1].shape, *call.x.shape[axis + 1 :]))


@named("GatherElements", (2, 2), "axis")
def _gather_elements(call: Call) -> Results:
    return call.like(call.inputs[1].shape)


@named("GatherND", (2, 2))
def _gather_nd(call: Call) -> Results:
    places = call.inputs[1]
    if not places.rank or not 1 <= places.shape[-1] <= call.x.rank:
        raise call.refuse("looks up places of other dimensions than there are")
    return call.like((*places.shape[:-1], *call.x.shape[places.shape[-1] :]))


@named("ScatterElements", (3, 3), "axis reduction")
@named("ScatterND", (3, 3), "reduction")
def _scatter(call: Call) -> Results:
    return call.like(call.x.shape)


@named("ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum", (2, 2), "keepdims")
def _reduce(call: Call) -> Results:
    over = {call.axis(k, call.x.rank) for k in call.numbers(1)}
    if not over:
        raise call.refuse("names no dimension")
    keep = call.whole("keepdims", 1)
    return call.like([1 if k in over else n for k, n in enumerate(call.x.shape) if keep or k not in over])


@named("ArgMax ArgMin", (1, 1), "axis keepdims")
def _place(call: Call) -> Results:
    axis, keep = call.axis(call.whole("axis", 0), call.x.rank), call.whole("keepdims", 1)
    shape = [1 if k == axis else n for k, n in enumerate(call.x.shape) if keep or k != axis]
    return call.like(shape, dtype="int64")


@named("MatMul", (2, 2))
def _product(call: Call) -> Results:
    a, b = call.inputs
    if a.rank < 2 or b.rank < 2 or a.shape[-1] != b.shape[-2]:
        raise call.refuse("multiplies what does not fit together")
    batch = call.broadcast(Value(a.shape[:-2], a.dtype), Value(b.shape[:-2], b.dtype))
    return call.like((*batch, a.shape[-2], b.shape[-1]))


@named("Gemm", (3, 3), "alpha beta")
def _affine(call: Call) -> Results:
    a, b, _ = call.inputs
    if a.rank != 2 or b.rank != 2 or a.shape[1] != b.shape[0]:
        raise call.refuse("multiplies what does not fit together")
    (found,) = call.like((a.shape[0], b.shape[1]))
    if call.broadcast(found, call.inputs[2]) != found.shape:
        raise call.refuse("adds what does not fit")
    return [found]


def _sizes(call: Call, place: int) -> tuple[int, ...]:
    """Sizes that a constant gives; none is negative."""
    found = call.numbers(place)
    if min(found, default=0) < 0:
        raise call.refuse("is given a negative size")
    return tuple(found)
