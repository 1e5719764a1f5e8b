"""Payloads of steps that pack, rotate and code what is sent, as bytes: to be changed, and to be read."""

from collections.abc import Iterable

import numpy as np

from hedgerow.strategies import decode, encode, parse_pipeline
from hedgerow.types import Client, Layout, Payload, RoundContext, Tensor

LAYOUT = Layout((Tensor("a", (9, 4)), Tensor("b", (25,))))
CONTEXT = RoundContext(4, 2, Client("eve"), LAYOUT, num_examples=12)
DTYPES = {"indices": np.dtype("u1"), "scales": np.dtype("<f4"), "values": np.dtype("u1")}
NORMAL = np.random.default_rng(3).normal(size=LAYOUT.dimension).astype(np.float32)
DELTAS = (NORMAL, NORMAL**31)
"""Few values of the second are not near zero, so that its codes are worth coding."""
PIPELINES = {
    "eden": ("eden(1)", "eden(3)", "eden(0.3)"),
    "ternary": ("ternary(0.05)", "error_feedback(ternary(0.4))"),
    "entropy": ("entropy(quantize(2))", "entropy(quantize(4))", "entropy(top_k(0.2), quantize(8))"),
}

NAMES = {
    text: sorted(encode(parse_pipeline(text), DELTAS[0], {}, CONTEXT)[0].arrays)
    for texts in PIPELINES.values()
    for text in texts
}


def messages(step: str) -> Iterable[bytes]:
    """Payloads of a step; the first byte says of which pipeline, and each array comes after its length."""
    for number, text in enumerate(PIPELINES[step]):
        for delta in DELTAS:
            arrays = encode(parse_pipeline(text), delta, {}, CONTEXT)[0].arrays
            parts = [np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays)]
            yield bytes([number]) + b"".join(len(part).to_bytes(2, "little") + part for part in parts)


def read(step: str, data: bytes) -> None:
    """Decode a payload: what is not refused is finite, and of the model's length."""
    texts = PIPELINES[step]
    text, at, arrays = texts[data[0] % len(texts) if data else 0], 1, {}
    for name in NAMES[text]:
        part = data[at + 2 : at + 2 + int.from_bytes(data[at : at + 2], "little")]
        at += 2 + len(part)
        size = DTYPES[name].itemsize
        arrays[name] = np.frombuffer(part[: len(part) // size * size], DTYPES[name])
    found = decode(parse_pipeline(text), Payload(arrays), CONTEXT)
    assert found.dtype == np.float32
    assert found.shape == (LAYOUT.dimension,)
    assert np.isfinite(found).all()
