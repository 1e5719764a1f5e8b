"""A pipeline from its text, such as `"chain(top_k(0.01), quantize(8))"`."""

import ast
import inspect
from collections.abc import Callable
from typing import Any

from hedgerow.checks import did_you_mean
from hedgerow.registry import Registry
from hedgerow.strategies.pipeline.transform import Transform

TRANSFORMS = Registry(
    "transform",
    "hedgerow.transforms",
    {
        "float32": "hedgerow.strategies.pipeline.chain:float32",
        "chain": "hedgerow.strategies.pipeline.chain:chain",
        "weight_by_examples": "hedgerow.strategies.transforms.weighting:weight_by_examples",
        "clip": "hedgerow.strategies.transforms.clipping:clip",
        "adaptive_clip": "hedgerow.strategies.transforms.clipping:adaptive_clip",
        "gaussian_noise": "hedgerow.strategies.transforms.noise:gaussian_noise",
        "lattice": "hedgerow.strategies.transforms.client_noise:lattice",
        "distributed_noise": "hedgerow.strategies.transforms.client_noise:distributed_noise",
        "skellam_noise": "hedgerow.strategies.transforms.client_noise:skellam_noise",
        "banded_noise": "hedgerow.strategies.transforms.noise:banded_noise",
        "error_feedback": "hedgerow.strategies.transforms.feedback:error_feedback",
        "top_k": "hedgerow.strategies.transforms.compression:top_k",
        "random_k": "hedgerow.strategies.transforms.compression:random_k",
        "quantize": "hedgerow.strategies.transforms.compression:quantize",
        "mask": "hedgerow.strategies.transforms.mask:mask",
    },
)
"""Steps that a configuration may name."""


def parse_pipeline(text: str) -> Transform:
    """Build the pipeline that a text describes; `str` of a pipeline is such a text.

    The text is a call of a registered transform. Its arguments are numbers,
    texts, True, False, None, or such calls again; nothing is evaluated.

    Raises:
        ValueError: the text is something else, a name or argument is unknown,
            or the steps do not fit; with the place and what is allowed.

    >>> parse_pipeline("chain(top_k(0.01), quantize(bits=8))")
    chain(top_k(0.01), quantize(8))
    >>> parse_pipeline("chain(topk(0.01), quantize(8))")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: at 'topk(0.01)' (character 7): there is no transform 'topk'; ... Did you mean 'top_k'?
    """
    source = " ".join(text.split())
    try:
        tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        place = f" (character {error.offset})" if error.offset else ""
        raise ValueError(f"the pipeline {source!r} cannot be read{place}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        why = str(error) or "it is nested too deeply"
        raise ValueError(f"the pipeline {source[:60]!r} cannot be read: {why}") from None
    if not isinstance(tree, ast.Call):
        raise _mistake(source, tree, "a pipeline is a call such as quantize(8)")
    step: Transform = _build(source, tree)
    return step


def _build(source: str, node: ast.Call) -> Any:
    if not isinstance(node.func, ast.Name):
        raise _mistake(source, node, "only a transform's own name can be called")
    try:
        make = TRANSFORMS.get(node.func.id)
    except ValueError as error:
        raise _mistake(source, node, str(error)) from None
    arguments = [_argument(source, argument) for argument in node.args]
    options = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise _mistake(source, keyword.value, "** is not allowed; write each argument as name=value")
        options[keyword.arg] = _argument(source, keyword.value)
    _check_signature(source, node, make, arguments, options)
    try:
        return make(*arguments, **options)
    except (ValueError, TypeError) as error:
        raise _mistake(source, node, str(error)) from None


def _argument(source: str, node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _build(source, node)
    if isinstance(node, ast.Name) and node.id in TRANSFORMS.names():
        raise _mistake(source, node, f"a transform needs its brackets: {node.id}(...)")
    value = node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = node.operand
    if not isinstance(value, ast.Constant) or not isinstance(value.value, int | float | str | None):
        raise _mistake(source, node, "an argument must be a number, a text, True, False, None or a transform")
    if value is node:
        return value.value
    if isinstance(value.value, bool) or not isinstance(value.value, int | float):
        raise _mistake(source, node, "only a number can follow a minus sign")
    return -value.value


def _check_signature(
    source: str, node: ast.Call, make: Callable[..., Any], arguments: list[Any], options: dict[str, Any]
) -> None:
    signature = inspect.signature(make)
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        allowed = list(signature.parameters)
        unknown = [option for option in options if option not in allowed]
        near = did_you_mean(unknown[0], allowed) if unknown else ""
        listed = ", ".join(str(part).split(":")[0] for part in signature.parameters.values()) or "none"
        raise _mistake(source, node, f"{error}; the arguments are: {listed}.{near}") from None


def _mistake(source: str, node: ast.expr, what: str) -> ValueError:
    if what.startswith("at '"):
        return ValueError(what)  # a nested call has already said where
    shown = ast.get_source_segment(source, node) or source
    return ValueError(f"at {shown!r} (character {node.col_offset + 1}): {what}")
