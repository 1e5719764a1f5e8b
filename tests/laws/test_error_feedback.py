"""Error feedback loses nothing: what one round drops, a later one sends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.strategies import decode, encode, parse_pipeline
from hedgerow.strategies.norms import l2_norm
from hedgerow.types import Arrays, Client, Layout, RoundContext

INSIDE = (
    "top_k(0.05)",
    "top_k(0.05), quantize(8)",
    "top_k(0.2), quantize(3)",
    "top_k(0.1), quantize(1, rounding='nearest')",
    "random_k(0.1, unbiased=False)",
    "random_k(0.1, unbiased=False), quantize(8)",
    "subspace(0.1, unbiased=False)",
    "quantize(8)",
    "quantize(3)",
    "quantize(1, rounding='nearest')",
    "quantize(2, rounding='nearest', block=16)",
    "eden(1)",
    "eden(4)",
    "drive(unbiased=False)",
    "eden(0.5, unbiased=False)",
    "top_k(0.2), eden(2)",
    "ternary(0.05)",
    "entropy(top_k(0.1), quantize(1, rounding='nearest'))",
)


def context(round: int, d: int) -> RoundContext:
    return RoundContext(3, round, Client("ann"), Layout.flat(d), num_examples=5)


@given(st.sampled_from(INSIDE), st.integers(0, 2**32 - 1), st.integers(1, 15), st.integers(1, 80))
@settings(deadline=None, max_examples=100)
def test_what_is_decoded_is_what_was_put_in_minus_the_last_residual(
    inside: str, seed: int, rounds: int, d: int
) -> None:
    pipeline = parse_pipeline(f"error_feedback({inside})")
    draw = np.random.default_rng(seed)
    put_in, came_out = np.zeros(d), np.zeros(d)
    state: Arrays = {}
    for r in range(1, rounds + 1):
        delta = draw.standard_normal(d).astype(np.float32)
        payload, state = encode(pipeline, delta, state, context(r, d))
        put_in += delta
        came_out += decode(pipeline, payload, context(r, d))
    assert state["residual"].dtype == np.float32
    assert np.allclose(came_out, put_in - state["residual"], atol=1e-4)


@pytest.mark.parametrize("inside", INSIDE)
def test_the_residual_stays_bounded(inside: str) -> None:
    d, rounds = 400, 300
    pipeline = parse_pipeline(f"error_feedback({inside})")
    draw = np.random.default_rng(8)
    state: Arrays = {}
    norms = []
    for r in range(1, rounds + 1):
        delta = draw.standard_normal(d).astype(np.float32)
        state = encode(pipeline, delta, state, context(r, d))[1]
        norms.append(l2_norm(state["residual"]))
    assert np.mean(norms[-50:]) < 1.3 * np.mean(norms[100:150])


@given(st.sampled_from([t for t in INSIDE if "quantize(3)" not in t and "quantize(8)" not in t]), st.data())
@settings(deadline=None, max_examples=200)
def test_what_is_allowed_inside_and_not_stochastic_is_contractive(inside: str, data: st.DataObject) -> None:
    values = st.floats(-1e9, 1e9, width=32) | st.floats(-1, 1, width=32)
    x = np.array(data.draw(st.lists(values, min_size=1, max_size=40)), np.float32)
    state = encode(parse_pipeline(f"error_feedback({inside})"), x, {}, context(1, len(x)))[1]
    assert l2_norm(state["residual"]) <= l2_norm(x) * (1 + 1e-6)


@pytest.mark.parametrize("text", ["quantize(1)", "quantize(2)", "random_k(0.1)", "eden(0.5)"])
def test_what_does_not_declare_that_it_is_contractive_is_not(text: str) -> None:
    pipeline = parse_pipeline(text)
    assert not pipeline.contractive
    x = np.random.default_rng(2).standard_normal(2000).astype(np.float32)
    decoded = decode(pipeline, encode(pipeline, x, {}, context(1, 2000))[0], context(1, 2000))
    assert l2_norm(x - decoded) > l2_norm(x)


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ("", "give at least one, such as top_k"),
        ("random_k(0.1)", "use unbiased=False"),
        ("eden(0.5)", "use unbiased=False"),
        ("top_k(0.1), quantize(1)", "use rounding='nearest' or at least 3 bits"),
        ("quantize(2)", "use rounding='nearest' or at least 3 bits"),
        ("clip(1.0)", "put it before or after error_feedback"),
        ("weight_by_examples(), top_k(0.1)", "put it before or after error_feedback"),
        ("error_feedback(top_k(0.1))", "keep one of the two"),
    ],
)
def test_what_does_not_belong_inside_is_refused_with_a_remedy(inside: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_pipeline(f"error_feedback({inside})")


def test_random_k_of_everything_may_stand_inside() -> None:
    assert parse_pipeline("error_feedback(random_k(1.0))").stateful


def test_a_residual_of_another_model_is_refused_with_a_remedy() -> None:
    pipeline = parse_pipeline("error_feedback(top_k(0.5))")
    state = encode(pipeline, np.ones(4, np.float32), {}, context(1, 4))[1]
    with pytest.raises(ValueError, match=r"'ann' has shape \(4,\), the update has \(5,\).*delete"):
        encode(pipeline, np.ones(5, np.float32), state, context(2, 5))


def test_a_residual_survives_inside_a_chain() -> None:
    pipeline = parse_pipeline("chain(weight_by_examples(), error_feedback(top_k(0.5)))")
    x = np.array([3, 1], np.float32)
    _, state = encode(pipeline, x, {}, context(1, 2))
    assert {name: value.tolist() for name, value in state.items()} == {"1.residual": [0, 1]}
    payload, state = encode(pipeline, np.array([0, 1], np.float32), state, context(2, 2))
    assert decode(pipeline, payload, context(2, 2)).tolist() == [0, 2]
    assert state["1.residual"].tolist() == [0, 0]
