"""What every step of the pipeline promises."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hedgerow.strategies import TRANSFORMS, decode, encode, parse_pipeline
from hedgerow.strategies.norms import l2_norm
from hedgerow.types import Client, CohortSum, Payload, PayloadError, RoundContext, Vector
from tests.laws.transform_cases import cases, context_for, relaxed, there_and_back

PIPELINES = (
    "float32()",
    "weight_by_examples()",
    "clip(1.5)",
    "adaptive_clip(1.5)",
    "chain(clip(1.5), gaussian_noise(1.0))",
    "chain(clip(1.5), banded_noise(1.0, 3, 10))",
    "chain(clip(1.5), randomized_round(0.00390625, 1.5), distributed_noise(1.0, 1.5, 0.00390625, 9))",
    "chain(clip(1.5), randomized_round(0.00390625, 1.5), skellam_noise(1.0, 1.5, 0.00390625, 9))",
    *(f"quantize({bits})" for bits in range(1, 17)),
    *(f"quantize({bits}, rounding='nearest')" for bits in (1, 2, 3, 8, 16)),
    "quantize(4, block=3)",
    "quantize(1, rounding='nearest', block=5)",
    "top_k(0.3)",
    "random_k(0.3)",
    "random_k(0.3, unbiased=False)",
    "chain(top_k(0.3), quantize(8))",
    "chain(random_k(0.3), quantize(5, block=2))",
    "subspace(0.3)",
    "subspace(0.3, unbiased=False)",
    "chain(weight_by_examples(), clip(2.0), subspace(0.5), quantize(4, rounding='nearest', range=1.0))",
    "chain(weight_by_examples(50), clip(2.0), random_k(0.5))",
    "chain(weight_by_examples(), error_feedback(top_k(0.3), quantize(8)))",
    "error_feedback(top_k(0.3))",
    "error_feedback(random_k(0.3, unbiased=False))",
    "error_feedback(quantize(2, rounding='nearest'))",
    "quantize(8, range=2.0)",
    "chain(weight_by_examples(), clip(2.0), random_k(0.5), quantize(4, rounding='nearest', range=1.0))",
    *(f"eden({bits})" for bits in (0.1, 0.5, 1, 2, 5, 8)),
    "eden(0.5, unbiased=False)",
    "eden(3, unbiased=False)",
    "drive()",
    "chain(top_k(0.3), eden(2))",
    "chain(weight_by_examples(), error_feedback(eden(1)))",
    "ternary(0.3)",
    "error_feedback(ternary(0.1))",
    "entropy(quantize(8))",
    "entropy(eden(4))",
    "error_feedback(entropy(top_k(0.5), quantize(4)))",
)

SUMMABLE = (
    "float32()",
    "weight_by_examples()",
    "clip(1.5)",
    "adaptive_clip(1.5)",
    "chain(clip(1.5), gaussian_noise(1.0))",
    "chain(clip(1.5), banded_noise(1.0, 3, 10))",
    "chain(clip(1.5), randomized_round(0.00390625, 1.5), distributed_noise(1.0, 1.5, 0.00390625, 9))",
    "chain(clip(1.5), randomized_round(0.00390625, 1.5), skellam_noise(1.0, 1.5, 0.00390625, 9))",
    "random_k(0.3)",
    "random_k(0.3, unbiased=False)",
    "subspace(0.3)",
    "subspace(0.3, unbiased=False)",
    "chain(weight_by_examples(), clip(2.0), subspace(0.5), quantize(4, rounding='nearest', range=1.0))",
    "chain(weight_by_examples(50), clip(2.0), random_k(0.5))",
    "error_feedback(random_k(0.3, unbiased=False))",
    "quantize(8, range=2.0)",
    "chain(weight_by_examples(), clip(2.0), random_k(0.5), quantize(4, rounding='nearest', range=1.0))",
)

pipelines = st.sampled_from(PIPELINES)


def test_every_registered_transform_is_under_these_laws() -> None:
    names = TRANSFORMS.names()
    assert len(names) == 20
    # What is masked is never decoded alone: tests/laws/test_masking.py.
    assert [n for n in names if not any(f"{n}(" in text for text in PIPELINES)] == ["mask"]


@given(pipelines, cases())
@relaxed
def test_a_payload_decodes_to_finite_float32_of_the_models_length(
    text: str, case: tuple[Vector, RoundContext]
) -> None:
    x, context = case
    kept = x.copy()
    pipeline = parse_pipeline(text)
    payload, state = encode(pipeline, x, {}, context)
    decoded = decode(pipeline, payload, context)
    assert decoded.dtype == np.float32
    assert decoded.shape == x.shape
    assert np.isfinite(decoded).all()
    assert np.array_equal(x, kept), "encoding must not write into what it was given"
    assert bool(state) == pipeline.stateful
    if "quantize" not in pipeline.kinds:
        assert len(payload.values) == pipeline.length(len(x))


@given(pipelines, cases())
@relaxed
def test_equal_contexts_give_equal_bytes(text: str, case: tuple[Vector, RoundContext]) -> None:
    x, context = case
    first, second = (encode(parse_pipeline(text), x, {}, context)[0] for _ in range(2))
    assert first.weight == second.weight
    assert {k: v.tobytes() for k, v in first.arrays.items()} == {
        k: v.tobytes() for k, v in second.arrays.items()
    }


@given(cases(largest=float(np.finfo(np.float32).max)), st.floats(1e-6, 1e6))
@relaxed
def test_clip_never_exceeds_its_norm_and_keeps_the_direction(
    case: tuple[Vector, RoundContext], norm: float
) -> None:
    x, context = case
    clipped = there_and_back(f"clip({norm!r})", x, context)
    assert l2_norm(clipped) <= norm
    if l2_norm(x) <= norm:
        assert clipped.tolist() == x.tolist()
    else:
        assert l2_norm(clipped) >= norm * (1 - 1e-6)
        assert np.allclose(clipped / np.float64(norm), x.astype(np.float64) / l2_norm(x), atol=1e-6)


def test_clip_holds_its_norm_in_a_long_vector() -> None:
    x = np.random.default_rng(3).standard_normal(300_000).astype(np.float32)
    for norm in np.random.default_rng(4).uniform(0.1, 10, 20).tolist():
        clipped = there_and_back(f"clip({norm!r})", x, context_for(300_000))
        assert norm * (1 - 1e-6) <= l2_norm(clipped) <= norm


def test_weight_is_the_number_of_examples_up_to_the_largest() -> None:
    for text, weight in [("weight_by_examples()", 20), ("weight_by_examples(7)", 7), ("float32()", 1)]:
        payload, _ = encode(parse_pipeline(text), np.zeros(2, np.float32), {}, context_for(2))
        assert payload.weight == weight
    nobody = replace(context_for(2), num_examples=0)
    with pytest.raises(ValueError, match="'ann' trained on 0 samples"):
        encode(parse_pipeline("weight_by_examples()"), np.zeros(2, np.float32), {}, nobody)


def test_only_these_pipelines_are_summable() -> None:
    assert tuple(text for text in PIPELINES if parse_pipeline(text).summable) == SUMMABLE


@given(st.sampled_from(SUMMABLE), st.integers(1, 5), st.data())
@relaxed
def test_the_sum_commutes_with_decode_where_it_says_so(text: str, clients: int, data: st.DataObject) -> None:
    pipeline = parse_pipeline(text)
    context = context_for(7, 13)
    values = arrays(np.float32, 20, elements=st.floats(-100, 100, width=32))
    encoded_sum, decoded_sum, size = np.zeros(pipeline.length(20)), np.zeros(20), 0.0
    for client in range(clients):
        mine = replace(context, sender=Client(f"c{client}"))
        payload, _ = encode(pipeline, data.draw(values), {}, mine)
        weight = data.draw(st.integers(1, 9))
        encoded_sum += weight * payload.values.astype(np.float64)
        decoded = decode(pipeline, payload, mine).astype(np.float64)
        decoded_sum += weight * decoded
        size += weight * np.abs(decoded).max()
    total = Payload({"values": encoded_sum}, weight=30.0)
    at_once = decode(pipeline, total, replace(context, sender=CohortSum(), num_examples=0))
    # A rotation adds in float32, also where what is left of the sum is small.
    assert np.allclose(at_once, decoded_sum, rtol=1e-6, atol=max(1e-3, 1e-6 * size))


@given(pipelines, st.integers(0, 4), st.sampled_from([math.nan, math.inf, -math.inf]))
@relaxed
def test_a_value_that_is_not_finite_is_refused_by_name(text: str, position: int, bad: float) -> None:
    x = np.ones(5, np.float32)
    x[position] = bad
    with pytest.raises(ValueError, match=rf"the first is {bad} at position {position}"):
        encode(parse_pipeline(text), x, {}, context_for(5))
    pipeline = parse_pipeline(text)
    if pipeline.kinds not in [(), ("weight",)]:
        with pytest.raises(ValueError, match=r"\): 1 of 5 values are not finite"):
            pipeline.encode(Payload({"values": x}), {}, context_for(5))


def test_scaling_past_float32_is_refused_by_name() -> None:
    x = np.full(10, 3e38, np.float32)
    with pytest.raises(ValueError, match=r"random_k\(0.1\): 1 of 1 values are not finite"):
        encode(parse_pipeline("random_k(0.1)"), x, {}, context_for(10))


@pytest.mark.parametrize("delta", [np.zeros(3), np.zeros(4, np.float32), np.zeros((3, 1), np.float32)])
def test_a_delta_of_another_dtype_or_shape_is_refused(delta: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"it must be float32 \(3,\)"):
        encode(parse_pipeline("float32()"), delta, {}, context_for(3))


@given(cases(), pipelines)
@relaxed
def test_without_a_step_or_with_one_a_chain_is_that_step(
    case: tuple[Vector, RoundContext], text: str
) -> None:
    x, context = case
    alone, chained = there_and_back(text, x, context), there_and_back(f"chain(float32(), {text})", x, context)
    assert alone.tobytes() == chained.tobytes()
    assert there_and_back("chain()", x, context).tobytes() == x.tobytes()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("quantize(0)", "bits is 0; it must be a whole number from 1 to 16"),
        ("quantize(17)", "bits is 17; it must be a whole number from 1 to 16"),
        ("quantize(8, rounding='up')", "rounding is 'up'; it must be one of 'stochastic', 'nearest'"),
        ("quantize(8, block='layer')", "block is 'layer'; it must be 'tensor' or a number of values"),
        ("quantize(8, block=0)", "block is 0; it must be a whole number of at least 1"),
        ("top_k(0)", "fraction is 0; it must be a number above 0 and at most 1"),
        ("top_k(1.5)", "fraction is 1.5"),
        ("random_k(-1)", "fraction is -1"),
        ("random_k(0.1, unbiased='no')", "unbiased is 'no'; it must be True or False"),
        ("subspace(2)", "fraction is 2"),
        ("subspace(0.1, unbiased=1)", "unbiased is 1; it must be True or False"),
        ("eden(0)", "bits is 0; it must be a whole number from 1 to 8, or a number above 0 and below 1"),
        ("eden(9)", "bits is 9; it must be a whole number"),
        ("eden(1.5)", "bits is 1.5; it must be a whole number"),
        ("eden(True)", "bits is True; it must be a whole number"),
        ("eden(2, unbiased='no')", "unbiased is 'no'; it must be True or False"),
        ("drive(unbiased=1)", "unbiased is 1; it must be True or False"),
        ("ternary(0)", "fraction is 0; it must be a number above 0 and at most 1"),
        ("entropy()", "give at least one, such as quantize(8)"),
        ("entropy(top_k(0.1))", "top_k(0.1) does not pack codes of 1 to 8 bits"),
        ("entropy(quantize(9))", "quantize(9) does not pack codes of 1 to 8 bits"),
        ("entropy(quantize(8, range=1.0))", "such as quantize(8) without a range"),
        ("entropy(entropy(quantize(8)))", "entropy(quantize(8)) does not pack codes of 1 to 8 bits"),
        ("clip(0)", "norm is 0; it must be a number above 0"),
        ("weight_by_examples(0)", "max_weight is 0; it must be a whole number from 1 to"),
    ],
)
def test_an_argument_out_of_range_says_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        parse_pipeline(text)
    assert not isinstance(caught.value, PayloadError)
