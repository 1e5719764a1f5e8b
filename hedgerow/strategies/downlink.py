"""The way down: a model as the difference to one that clients have, through the steps of a pipeline.

With `C` for the steps and `D` for what undoes them, the server holds `w`, and clients hold a base `b`:

    sent      C(w - b)
    trained   v = b + D(C(w - b))
    step      w + server_update(mean of the updates, each relative to v)

Without error feedback `b` is the model before the first round, so that clients need no state: each has it
from the seed, or is sent it once. With error feedback `b` is the `v` that was sent last. The residual
`w - v` is then part of the next difference (Seide et al. 2014; downwards as in DoubleSqueeze, Tang et al.
2019, arXiv:1905.05957, algorithm 1): the server keeps one, and no client keeps any.
"""

import numpy as np

from hedgerow import checks
from hedgerow.rng import integer_seed
from hedgerow.strategies.pipeline.coding import decode, encode
from hedgerow.strategies.pipeline.transform import STEPS, Transform
from hedgerow.types import Arrays, Layout, Payload, PayloadError, RoundContext, Server, Vector

MOST_MISSED = 256
"""Most payloads that a client is sent at once, after it has missed rounds."""

_ALLOWED = {"sparsify", "quantize", "feedback"}

# What a step does: why it makes no sense downwards, and what to do instead.
_REFUSED = {
    "mask": ("masks cancel in a sum over clients", "put mask() into the pipeline"),
    "noise": ("it protects what clients send", "put it into the pipeline"),
    "discrete noise": ("it protects what clients send", "put it into the pipeline"),
    "clip": ("the model would be cut short", "put clip(...) into the pipeline"),
    "weight": ("it says how much a client counts", "leave weight_by_examples() out"),
}


def check_downlink(step: Transform) -> None:
    """Refuse a step that makes no sense on the way down.

    Raises:
        ValueError: with the reason and a remedy.

    >>> from hedgerow.strategies import clip
    >>> check_downlink(clip(1.0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: downlink is clip(1.0); it must have no clip: the model would be cut short; put clip(...) ...
    """
    checks.kind(Transform, STEPS, downlink=step)
    remedy = "use sparsifiers and quantizers, such as eden(4) or error_feedback(top_k(0.01))"
    what = reason = ""
    if refused := [kind for kind in step.kinds if kind not in _ALLOWED]:
        what = refused[0]
        reason, remedy = _REFUSED.get(what, ("it is not for models", remedy))
    elif step.protection.max_int(0):
        what, reason, remedy = "range", "that is for a mask to sum integers", "leave it out"
    elif step.stateful and not follows(step):
        what, reason = "state of its sender", "clients that miss a round would lack it"
    if what:
        raise ValueError(f"downlink is {step.name}; it must have no {what}: {reason}; {remedy}")


def is_plain(step: Transform) -> bool:
    """Whether the model is sent as it is.

    >>> from hedgerow.strategies import eden, float32
    >>> is_plain(float32()), is_plain(eden(4))
    (True, False)
    """
    return not step.kinds


def follows(step: Transform) -> bool:
    """Whether the base is what clients were sent last, and not the model before the first round."""
    return "feedback" in step.kinds


def encode_down(
    step: Transform, model: Vector, base: Vector, *, seed: int, number: int, layout: Layout
) -> tuple[Arrays, Vector]:
    """The payload of a model, and what clients make of it, `(d,) float32`.

    Args:
        step: the downlink.
        model: the server's.
        base: what clients have.
        seed: of the run.
        number: the round that made the model.
        layout: of the model.

    Raises:
        ValueError: the difference is not finite.

    >>> from hedgerow.strategies import top_k
    >>> base, model = np.zeros(4, np.float32), np.array([0, 8, 1, 0], np.float32)
    >>> arrays, sent = encode_down(top_k(0.25), model, base, seed=0, number=1, layout=Layout.flat(4))
    >>> sent.tolist(), arrays["values"].tolist()
    ([0.0, 8.0, 0.0, 0.0], [8.0])
    """
    with np.errstate(over="ignore"):
        payload, _ = encode(step, model - base, {}, _context(seed, number, layout))
    return payload.arrays, decode_down(step, payload.arrays, base, seed=seed, number=number, layout=layout)


def decode_down(
    step: Transform, arrays: Arrays, base: Vector, *, seed: int, number: int, layout: Layout
) -> Vector:
    """The model `(d,) float32` that a payload makes of the base: on server and clients bit for bit the same.

    Raises:
        PayloadError: this downlink cannot have produced the payload, or the model would not be finite.
    """
    change = decode(step, Payload(arrays), _context(seed, number, layout))
    with np.errstate(over="ignore"):
        model: Vector = base + change
    if not np.isfinite(model).all():
        raise PayloadError(f"the model of round {number} would not be finite")
    return model


def _context(seed: int, number: int, layout: Layout) -> RoundContext:
    # Apart from the draws of the clients of a round: random_k would otherwise send where it has received.
    return RoundContext(integer_seed(seed, "downlink"), number, Server(), layout)
