"""Parse a pipeline or a rule, such as `"chain(top_k(0.01), quantize(8))"` or `"median()"`."""

import ast
import inspect
from collections.abc import Callable
from typing import Any

from hedgerow import checks
from hedgerow.registry import Registry
from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.registry import AGGREGATES
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.sampling import Sampling
from hedgerow.wording import did_you_mean

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
        "randomized_round": "hedgerow.strategies.transforms.client_noise:randomized_round",
        "distributed_noise": "hedgerow.strategies.transforms.client_noise:distributed_noise",
        "skellam_noise": "hedgerow.strategies.transforms.client_noise:skellam_noise",
        "banded_noise": "hedgerow.strategies.transforms.noise:banded_noise",
        "eden": "hedgerow.strategies.transforms.eden:eden",
        "drive": "hedgerow.strategies.transforms.eden:drive",
        "ternary": "hedgerow.strategies.transforms.ternary:ternary",
        "entropy": "hedgerow.strategies.transforms.entropy:entropy",
        "error_feedback": "hedgerow.strategies.transforms.feedback:error_feedback",
        "top_k": "hedgerow.strategies.transforms.compression:top_k",
        "random_k": "hedgerow.strategies.transforms.compression:random_k",
        "subspace": "hedgerow.strategies.transforms.subspace:subspace",
        "quantize": "hedgerow.strategies.transforms.compression:quantize",
        "mask": "hedgerow.strategies.transforms.mask:mask",
    },
)
"""Steps that a configuration may name."""

SAMPLINGS = Registry(
    "sampling",
    "hedgerow.samplings",
    {name: f"hedgerow.strategies.sampling:{name}" for name in ("uniform", "poisson", "cyclic")},
)
"""Sampling rules that a description may name."""


@checks.arguments
def parse_pipeline(text: str) -> Transform:
    """Build the pipeline that a text describes; `str` of a pipeline returns that text.

    The text is a call of a registered transform. Its arguments are numbers,
    strings, True, False, None, or nested calls; nothing is evaluated.

    Raises:
        ValueError: the text is something else, a name or argument is unknown,
            or the steps do not fit; with the position and what is allowed.

    >>> parse_pipeline("chain(top_k(0.01), quantize(bits=8))")
    chain(top_k(0.01), quantize(8))
    >>> parse_pipeline("chain(topk(0.01), quantize(8))")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: at 'topk(0.01)' (character 7): there is no transform 'topk'; ... Did you mean 'top_k'?
    """
    step: Transform = parse_call(text, TRANSFORMS, "pipeline", "quantize(8)")
    return step


@checks.arguments
def parse_aggregate(text: str) -> Aggregate:
    """Build the aggregation rule that a text describes, such as `"median()"`.

    >>> parse_aggregate("trimmed_mean(0.1)").name
    'trimmed_mean(0.1)'
    """
    rule: Aggregate = parse_call(text, AGGREGATES, "aggregate", "median()")
    return rule


def parse_sampling(text: str) -> Sampling:
    """Build the sampling rule that a text describes, such as `"uniform(10)"`.

    >>> parse_sampling("poisson(10, population=100)").rate
    0.1
    """
    rule: Sampling = parse_call(text, SAMPLINGS, "sampling", "uniform(10)")
    return rule


def parse_call(text: str, registry: Registry, what: str, example: str) -> Any:
    """Build the part that a call of a registered name describes.

    Args:
        text: the call.
        registry: of the names that may be called.
        what: what the text describes, for the error.
        example: an example of such a text, for the error.

    Raises:
        ValueError: the text is something else, a name or argument is unknown,
            or the parts do not fit; with the position and what is allowed.
    """
    checks.kind(str, f", such as {example!r}", text=text)
    source = " ".join(text.split())
    try:
        tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        place = f" (character {error.offset})" if error.offset else ""
        raise ValueError(f"the {what} {source!r} cannot be read{place}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        why = str(error) or "it is nested too deeply"
        raise ValueError(f"the {what} {source[:60]!r} cannot be read: {why}") from None
    if not isinstance(tree, ast.Call):
        article = "an" if what[0] in "aeiou" else "a"
        raise _mistake(source, tree, f"{article} {what} is a call such as {example}")
    return _build(source, tree, registry)


def _build(source: str, node: ast.Call, registry: Registry) -> Any:
    if not isinstance(node.func, ast.Name):
        raise _mistake(source, node, f"only {_a(registry)}'s own name can be called")
    try:
        make = registry.get(node.func.id)
    except ValueError as error:
        raise _mistake(source, node, str(error)) from None
    arguments = [_argument(source, argument, registry) for argument in node.args]
    options = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise _mistake(source, keyword.value, "** is not allowed; write each argument as name=value")
        options[keyword.arg] = _argument(source, keyword.value, registry)
    _check_signature(source, node, make, arguments, options)
    try:
        return make(*arguments, **options)
    except (ValueError, TypeError) as error:
        raise _mistake(source, node, str(error)) from None


def _argument(source: str, node: ast.expr, registry: Registry) -> Any:
    if isinstance(node, ast.Call):
        return _build(source, node, registry)
    if isinstance(node, ast.Name) and node.id in registry.names():
        raise _mistake(source, node, f"{_a(registry)} needs its brackets: {node.id}(...)")
    value = node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = node.operand
    if not isinstance(value, ast.Constant) or not isinstance(value.value, int | float | str | None):
        allowed = f"a number, a string, True, False, None or {_a(registry)}"
        raise _mistake(source, node, f"an argument must be {allowed}")
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


def _a(registry: Registry) -> str:
    return f"{'an' if registry.kind[0] in 'aeiou' else 'a'} {registry.kind}"


def _mistake(source: str, node: ast.expr, what: str) -> ValueError:
    if what.startswith("at '"):
        return ValueError(what)  # a nested call has already said where
    shown = ast.get_source_segment(source, node) or source
    return ValueError(f"at {shown!r} (character {node.col_offset + 1}): {what}")
