"""Error feedback: the compression error of one round is sent in later ones."""

from hedgerow.strategies.pipeline.chain import chain
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.protection import Protection
from hedgerow.types import Arrays, Payload, RoundContext


def error_feedback(*steps: Transform) -> Transform:
    """Add to each update what earlier rounds failed to send.

    With residual `e` (initially zero) and update `x`, the client sends the
    compressed `v = x + e` and keeps `e = v - decoded` (Seide et al. 2014;
    Karimireddy et al. 2019, arXiv:1901.09847, algorithm 2). One residual covers
    all inner steps, so both what `top_k` drops and what `quantize` rounds away
    is sent later. Over any number of rounds, the sum of the decoded updates is
    the sum of the updates minus the last residual. State: `"residual"`,
    `(n,) float32`.

    Only sparsifiers and quantisers belong inside, and all must be `contractive`;
    otherwise the residual would grow from round to round.

    Raises:
        ValueError: a step does not belong inside; when encoding, the residual
            and the update have different lengths.

    >>> from hedgerow.strategies import quantize, top_k
    >>> error_feedback(top_k(0.01), quantize(8)).name
    'error_feedback(top_k(0.01), quantize(8))'
    """
    if not steps:
        raise ValueError("error_feedback() has no steps; give at least one, such as top_k(0.01)")
    inner = chain(*steps)
    name = f"error_feedback({', '.join(step.name for step in steps)})"
    for step in steps:
        _refuse_inside(step)

    def encode(payload: Payload, state: Arrays, context: RoundContext) -> tuple[Payload, Arrays]:
        owed = payload.values
        if "residual" in state:
            residual = state["residual"]
            if residual.shape != owed.shape:
                raise ValueError(
                    f"{name}: the residual of client {context.client!r} has shape {residual.shape}, the"
                    f" update has {owed.shape}: the model has changed since; delete the client's state"
                )
            owed = owed + residual
        kept = {key.removeprefix("inner."): value for key, value in state.items() if key.startswith("inner.")}
        sent, new = inner.encode(payload.replace(owed), kept, context)
        decoded = inner.decode(sent, len(owed), context).values
        return sent, {"residual": owed - decoded, **{f"inner.{key}": value for key, value in new.items()}}

    return Transform(
        name=name,
        kinds=("feedback", *inner.kinds),
        encode=encode,
        decode=inner.decode,
        length=inner.length,
        summable=inner.summable,
        unbiased=False,
        stateful=True,
        code_bits=inner.code_bits,
        conditions=inner.conditions,
        # A mask may sum its integers; none of the inner steps may protect anything.
        protection=Protection(max_int=inner.protection.max_int),
    )


def _refuse_inside(step: Transform) -> None:
    if "feedback" in step.kinds:
        raise ValueError(
            f"{step.name} cannot be inside error_feedback: the second residual would always be zero;"
            " keep one of the two"
        )
    if set(step.kinds) - {"sparsify", "quantize"}:
        raise ValueError(
            f"{step.name} cannot be inside error_feedback: only the errors of sparsifiers and quantisers can"
            " be sent in a later round; put it before or after error_feedback(...)"
        )
    if not step.contractive:
        remedy = "rounding='nearest'"
        if "sparsify" in step.kinds:
            remedy = "unbiased=False"
        elif not step.protection.max_int(0):
            remedy += " or at least 3 bits"
        raise ValueError(
            f"{step.name} cannot be inside error_feedback: its error can exceed its input, so the residual"
            f" would grow from round to round; use {remedy}"
        )
