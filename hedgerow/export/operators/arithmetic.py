"""Operators that work on each element."""

from typing import Any

import numpy as np

from hedgerow.export.operators.registry import Form, Translator, same, translates
from hedgerow.export.writer import Value, Writer

_UNARY = {
    "aten.neg.default": "Neg",
    "aten.exp.default": "Exp",
    "aten.log.default": "Log",
    "aten.sqrt.default": "Sqrt",
    "aten.reciprocal.default": "Reciprocal",
    "aten.abs.default": "Abs",
    "aten.sign.default": "Sign",
    "aten.tanh.default": "Tanh",
    "aten.sigmoid.default": "Sigmoid",
    "aten.relu.default": "Relu",
    "aten.erf.default": "Erf",
    "aten.sin.default": "Sin",
    "aten.cos.default": "Cos",
    "aten.floor.default": "Floor",
    "aten.ceil.default": "Ceil",
}
_BINARY = {
    "aten.mul.Tensor": "Mul",
    "aten.mul.Scalar": "Mul",
    "aten.div.Tensor": "Div",
    "aten.div.Scalar": "Div",
    "aten.pow.Tensor_Tensor": "Pow",
    "aten.pow.Scalar": "Pow",
    "aten.maximum.default": "Max",
    "aten.minimum.default": "Min",
}
_COMPARED = {
    "aten.eq": "Equal",
    "aten.lt": "Less",
    "aten.le": "LessOrEqual",
    "aten.gt": "Greater",
    "aten.ge": "GreaterOrEqual",
}
_LOGICAL = {
    "aten.logical_and.default": "And",
    "aten.logical_or.default": "Or",
    "aten.logical_xor.default": "Xor",
    "aten.bitwise_and.Tensor": "And",
    "aten.bitwise_or.Tensor": "Or",
    "aten.bitwise_xor.Tensor": "Xor",
}


def _unary(name: str) -> Translator:
    return lambda to, out, x: to.map(name, to.cast(x, out.dtype))


def _binary(name: str) -> Translator:
    return lambda to, out, a, b: to.map(name, to.operand(a, out.dtype), to.operand(b, out.dtype))


def _logical(name: str) -> Translator:
    return lambda to, out, a, b: to.map(name, to.operand(a, bool), to.operand(b, bool))


def _compared(name: str) -> Translator:
    def compare(to: Writer, out: Form, a: Value, b: Any) -> Value:
        kind = common(a, b)
        return to.map(name, to.operand(a, kind), to.operand(b, kind), dtype=bool)

    return compare


same(_UNARY, _unary)
same(_BINARY, _binary)
same(_LOGICAL, _logical)
same({f"{name}.{kind}": op for name, op in _COMPARED.items() for kind in ("Tensor", "Scalar")}, _compared)


def common(a: Value, b: Any) -> np.dtype[Any]:
    """The dtype in which two are compared; a number takes that of the tensor, unless it is a fraction."""
    if isinstance(b, Value):
        return np.promote_types(a.dtype, b.dtype)
    if a.dtype.kind in "bi" and isinstance(b, float):
        return np.dtype(np.float32)
    return np.dtype(np.int64) if a.dtype.kind == "b" and not isinstance(b, bool) else a.dtype


@translates("aten.add.Tensor", "aten.add.Scalar")
def _add(to: Writer, out: Form, a: Value, b: Any, alpha: Any = 1) -> Value:
    return to.map("Add", to.operand(a, out.dtype), _scaled(to, out, b, alpha))


@translates("aten.sub.Tensor", "aten.sub.Scalar")
def _sub(to: Writer, out: Form, a: Value, b: Any, alpha: Any = 1) -> Value:
    return to.map("Sub", to.operand(a, out.dtype), _scaled(to, out, b, alpha))


def _scaled(to: Writer, out: Form, b: Any, alpha: Any) -> Value:
    other = to.operand(b, out.dtype)
    return other if alpha == 1 else to.map("Mul", other, to.constant(alpha, out.dtype))


@translates("aten.pow.Tensor_Scalar")
def _pow(to: Writer, out: Form, x: Value, power: float) -> Value:
    base = to.cast(x, out.dtype)
    if power == 2:
        return to.map("Mul", base, base)
    return to.map("Pow", base, to.constant(power, out.dtype))


@translates("aten.rsqrt.default")
def _rsqrt(to: Writer, out: Form, x: Value) -> Value:
    return to.map("Reciprocal", to.map("Sqrt", to.cast(x, out.dtype)))


@translates("aten.log1p.default")
def _log1p(to: Writer, out: Form, x: Value) -> Value:
    """`log(u) * x / (u - 1)` with `u = 1 + x`: exact for small `x` too (Kahan)."""
    one = to.constant(1, x.dtype)
    u = to.map("Add", x, one)
    rounded = to.map("Equal", u, one, dtype=bool)
    safe = to.map("Where", rounded, one, to.map("Sub", u, one))
    # Where x is infinite, log(u) is the answer, and the fraction is none.
    fraction = to.map("Where", to.map("IsInf", x, dtype=bool), one, to.map("Div", x, safe))
    return to.map("Where", rounded, x, to.map("Mul", to.map("Log", u), fraction))


@translates("aten.expm1.default")
def _expm1(to: Writer, out: Form, x: Value) -> Value:
    """`2 tanh(x / 2) / (1 - tanh(x / 2))` near zero, where `exp(x) - 1` loses digits."""
    half, one, two = (to.constant(k, x.dtype) for k in (0.5, 1, 2))
    t = to.map("Tanh", to.map("Mul", x, half))
    near = to.map("Div", to.map("Mul", two, t), to.map("Sub", one, t))
    small = to.map("Less", to.map("Abs", x), half, dtype=bool)
    return to.map("Where", small, near, to.map("Sub", to.map("Exp", x), one))


@translates("aten.ne.Tensor", "aten.ne.Scalar")
def _ne(to: Writer, out: Form, a: Value, b: Any) -> Value:
    kind = common(a, b)
    return to.map("Not", to.map("Equal", to.operand(a, kind), to.operand(b, kind), dtype=bool))


@translates("aten.logical_not.default", "aten.bitwise_not.default")
def _not(to: Writer, out: Form, x: Value) -> Value:
    return to.map("Not", to.cast(x, bool))


@translates("aten.isnan.default")
def _isnan(to: Writer, out: Form, x: Value) -> Value:
    return to.map("IsNaN", x, dtype=bool)


@translates("aten.isinf.default")
def _isinf(to: Writer, out: Form, x: Value) -> Value:
    return to.map("IsInf", x, dtype=bool)


@translates("aten.where.self")
def _where(to: Writer, out: Form, condition: Value, a: Value, b: Value) -> Value:
    return to.map("Where", to.cast(condition, bool), to.cast(a, out.dtype), to.cast(b, out.dtype))


@translates("aten.clamp.default", "aten.clamp.Tensor")
def _clamp(to: Writer, out: Form, x: Value, min: Any = None, max: Any = None) -> Value:
    found = to.cast(x, out.dtype)
    if min is not None:
        found = to.map("Max", found, to.operand(min, out.dtype))
    return found if max is None else to.map("Min", found, to.operand(max, out.dtype))


@translates("aten.leaky_relu.default")
def _leaky_relu(to: Writer, out: Form, x: Value, slope: float = 0.01) -> Value:
    positive = to.map("Greater", x, to.constant(0, x.dtype), dtype=bool)
    return to.map("Where", positive, x, to.map("Mul", x, to.constant(slope, x.dtype)))


@translates("aten.hardtanh.default")
def _hardtanh(to: Writer, out: Form, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    return to.map("Min", to.map("Max", x, to.constant(low, x.dtype)), to.constant(high, x.dtype))


@translates("aten._to_copy.default")
def _to_copy(to: Writer, out: Form, x: Value, **kwargs: Any) -> Value:
    if x.dtype.kind == "f" and out.dtype.kind in "iu":
        return to.cast(x, out.dtype)
    if x.dtype.kind == "f" and out.dtype.kind == "b":  # NaN is true, and so is a fraction
        return to.map("Not", to.map("Equal", x, to.constant(0, x.dtype), dtype=bool))
    return to.cast(x, out.dtype)


@translates("aten.alias.default", "aten.clone.default", "aten.lift_fresh_copy.default")
def _as_it_is(to: Writer, out: Form, x: Value, **kwargs: Any) -> Value:
    return x


@translates("aten.copy.default")
def _copy(to: Writer, out: Form, over: Value, x: Value, non_blocking: bool = False) -> Value:
    return to.expand(to.cast(x, out.dtype), out.shape)
