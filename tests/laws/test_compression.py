"""What quantising and sparsifying promise: how far off, how many bytes, which values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.strategies import decode, encode, parse_pipeline
from hedgerow.types import RoundContext, Vector
from tests.laws.transform_cases import cases, context_for, relaxed, there_and_back


def block_scales(x: Vector, context: RoundContext, block: int | None, use_mean: bool) -> Vector:
    parts = context.layout.slices()
    if block is not None:
        parts = tuple(slice(i, i + block) for i in range(0, len(x), block))
    scale = np.zeros(len(x))
    for part in parts:
        size = np.abs(x[part].astype(np.float64))
        scale[part] = (size.mean() if use_mean else size.max(initial=0)) if size.size else 0
    return scale


@given(
    cases(largest=float(np.finfo(np.float32).max)),
    st.integers(1, 16),
    st.booleans(),
    st.none() | st.integers(1, 40),
)
@relaxed
def test_quantize_errs_by_less_than_a_step_and_takes_its_bits(
    case: tuple[Vector, RoundContext], bits: int, nearest: bool, block: int | None
) -> None:
    x, context = case
    how = ", rounding='nearest'" * nearest + (f", block={block}" if block else "")
    pipeline = parse_pipeline(f"quantize({bits}{how})")
    payload, _ = encode(pipeline, x, {}, context)
    assert payload.values.nbytes == math.ceil(len(x) * bits / 8)
    groups = math.ceil(len(x) / block) if block else sum(t.size > 0 for t in context.layout.parameters)
    assert payload.arrays["scales"].shape == (groups,)
    decoded = decode(pipeline, payload, context).astype(np.float64)
    scale = block_scales(x, context, block, use_mean=bits == 1 and nearest)
    float_error = 1e-6 * scale + 2.0**-148
    if bits == 1:
        assert (np.abs(np.abs(decoded) - scale) <= float_error).all()
        if nearest:
            assert (decoded * x >= 0).all()
    else:
        step = scale / (2 ** (bits - 1) - 1)
        error = np.abs(decoded - x)
        assert (error <= step * (0.5 if nearest else 1) + float_error).all()
        levels = decoded / np.where(step > 0, step, 1)
        settled = step > 2.0**-120
        assert (np.abs(levels - np.rint(levels))[settled] < 0.01).all()


def test_quantize_gives_each_tensor_its_own_scale_and_sent_values_one() -> None:
    context = context_for(2, 0, 2)
    x = np.array([1, 0.5, 100, -50], np.float32)
    dense, _ = encode(parse_pipeline("quantize(8)"), x, {}, context)
    assert dense.arrays["scales"].tolist() == [1, 100]
    sparse, _ = encode(parse_pipeline("chain(top_k(0.5), quantize(8))"), x, {}, context)
    assert sparse.arrays["scales"].tolist() == [100]


@pytest.mark.parametrize("bits", [1, 2, 8, 16])
@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_quantize_keeps_zero_blocks_zero_and_denormals_finite(bits: int, rounding: str) -> None:
    text = f"quantize({bits}, rounding='{rounding}')"
    x = np.array([0.0, -0.0, 0.0, 2.0**-149, -(2.0**-149)], np.float32)
    decoded = there_and_back(text, x, context_for(3, 2))
    assert (decoded[:3] == 0).all()
    assert decoded[3:].tolist() == x[3:].tolist()


def test_stochastic_rounding_differs_between_clients_rounds_and_seeds() -> None:
    x = np.linspace(-1, 1, 500, dtype=np.float32)
    contexts = [context_for(500, **other) for other in ({}, {"client": "bob"}, {"round": 2}, {"seed": 2})]
    assert len({there_and_back("quantize(2)", x, c).tobytes() for c in contexts}) == 4


@given(cases(), st.floats(0.001, 1))
@relaxed
def test_top_k_sends_the_largest_and_of_equal_ones_the_first(
    case: tuple[Vector, RoundContext], fraction: float
) -> None:
    x, context = case
    order = sorted(range(len(x)), key=lambda i: (-abs(float(x[i])), i))
    k = min(len(x), max(1, math.floor(fraction * len(x) + 0.5)))
    expected = np.zeros_like(x)
    expected[order[:k]] = x[order[:k]]
    pipeline = parse_pipeline(f"top_k({fraction!r})")
    payload, _ = encode(pipeline, x, {}, context)
    assert payload.values.tolist() == x[sorted(order[:k])].tolist()
    assert len(payload.arrays["indices"]) <= 1 + math.ceil(len(x) / 8)
    assert decode(pipeline, payload, context).tolist() == expected.tolist()


def test_random_k_sends_the_same_positions_for_all_clients_and_others_next_round() -> None:
    x = np.arange(1, 1001, dtype=np.float32)
    ann, bob, later = (
        there_and_back("random_k(0.05)", x, context_for(1000, **other))
        for other in ({}, {"client": "bob"}, {"round": 2})
    )
    sent = np.flatnonzero(ann)
    assert len(sent) == 50
    assert ann[sent].tolist() == (x[sent] * 20).tolist()
    assert np.array_equal(np.flatnonzero(bob), sent)
    assert len(set(np.flatnonzero(later)) & set(sent)) < 20
