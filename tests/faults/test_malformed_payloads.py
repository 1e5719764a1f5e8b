"""A payload that no client of ours made is refused, or decodes to finite numbers. Nothing else happens."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.strategies import check_payload, decode, encode, parse_pipeline
from hedgerow.types import Client, Layout, Payload, PayloadError, RoundContext, Tensor

LAYOUT = Layout((Tensor("a", (9, 4)), Tensor("none", (0,)), Tensor("b", (25,))))
D = 61
CONTEXT = RoundContext(4, 2, Client("eve"), LAYOUT, num_examples=12)
PIPELINES = (
    "float32()",
    "weight_by_examples()",
    "clip(1.0)",
    "quantize(1)",
    "quantize(3)",
    "quantize(8, block=10)",
    "quantize(11)",
    "quantize(16)",
    "top_k(0.05)",
    "top_k(0.5)",
    "random_k(0.2)",
    "subspace(0.2)",
    "chain(top_k(0.1), quantize(4))",
    "chain(weight_by_examples(), error_feedback(top_k(0.1), quantize(8)))",
    "eden(3)",
    "eden(0.3)",
    "ternary(0.1)",
    "ternary(0.4)",
    "entropy(quantize(4))",
)
DTYPES = ("<f4", ">f4", "<f8", "<f2", "u1", "i1", "<u2", "<i8", "?", "<c8")


def payload_of(text: str, seed: int = 0) -> Payload:
    x = np.random.default_rng(seed).standard_normal(D).astype(np.float32)
    return encode(parse_pipeline(text), x, {}, CONTEXT)[0]


def edit(payload: Payload, name: str, array: np.ndarray) -> Payload:
    return replace(payload, arrays={**payload.arrays, name: array})


def refused(text: str, payload: Payload) -> str:
    with pytest.raises(PayloadError) as caught:
        decode(parse_pipeline(text), payload, CONTEXT)
    return str(caught.value)


every_array = [(text, name) for text in PIPELINES for name in payload_of(text).arrays]


def test_all_arrays_of_all_pipelines_are_attacked() -> None:
    assert len(every_array) == 19 + 12 + 6  # values; scales; indices


@pytest.mark.parametrize(("text", "name"), every_array)
def test_every_other_length_of_every_array_is_refused(text: str, name: str) -> None:
    payload = payload_of(text)
    array = payload.arrays[name]
    for cut in range(len(array)):
        refused(text, edit(payload, name, array[:cut]))
    for extra in (1, 2, 9, 1000):
        refused(text, edit(payload, name, np.append(array, np.zeros(extra, array.dtype))))
        refused(text, edit(payload, name, np.append(array, np.ones(extra, array.dtype))))


@pytest.mark.parametrize(("text", "name"), every_array)
def test_another_dtype_or_shape_or_a_missing_array_is_refused_by_name(text: str, name: str) -> None:
    payload = payload_of(text)
    array = payload.arrays[name]
    for dtype in DTYPES:
        if np.dtype(dtype).newbyteorder("=") != array.dtype:
            assert repr(name) in refused(text, edit(payload, name, array.astype(np.float32).astype(dtype)))
    assert repr(name) in refused(text, edit(payload, name, array[None]))
    assert repr(name) in refused(text, edit(payload, name, array[0]))
    without = {other: value for other, value in payload.arrays.items() if other != name}
    assert f"the array {name!r} is missing" in refused(text, replace(payload, arrays=without))


@pytest.mark.parametrize("text", PIPELINES)
def test_an_array_that_no_step_reads_is_refused_by_name(text: str) -> None:
    payload = payload_of(text)
    assert "'payload.exe'" in refused(text, edit(payload, "payload.exe", np.zeros(3, np.uint8)))


@pytest.mark.parametrize("text", [t for t in PIPELINES if "scales" in payload_of(t).arrays])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0, -(2.0**-149)])
def test_a_scale_that_is_negative_or_not_finite_is_refused(text: str, bad: float) -> None:
    payload = payload_of(text)
    scales = payload.arrays["scales"].copy()
    scales[-1] = bad
    assert "a scale is negative or not finite" in refused(text, edit(payload, "scales", scales))


@pytest.mark.parametrize("text", [t for t in PIPELINES if payload_of(t).values.dtype == np.float32])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(text: str, bad: float) -> None:
    payload = payload_of(text)
    values = payload.values.copy()
    values[0] = bad
    assert "not finite" in refused(text, edit(payload, "values", values))


@pytest.mark.parametrize(
    ("text", "code", "top"),
    [("quantize(3)", 7, 6), ("quantize(11)", 2047, 2046), ("quantize(16)", 65535, 65534)],
)
def test_a_code_above_the_highest_level_is_refused(text: str, code: int, top: int) -> None:
    payload = payload_of(text)
    message = refused(text, edit(payload, "values", np.full(len(payload.values), 255, np.uint8)))
    assert "padding" in message or f"is {code}; it must be 0 to {top}" in message


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("text", PIPELINES)
def test_a_weight_that_is_not_above_zero_is_refused(text: str, weight: float) -> None:
    assert "the weight is" in refused(text, replace(payload_of(text), weight=weight))


def test_a_weight_that_was_not_asked_for_is_refused() -> None:
    assert "client has weight 1 in" in refused("quantize(8)", replace(payload_of("quantize(8)"), weight=2.0))
    for weight in (1e9, 0.5, 1.5):
        message = refused("weight_by_examples()", replace(payload_of("weight_by_examples()"), weight=weight))
        assert "from 1 to 1000000" in message


def test_a_payload_is_checked_before_it_is_added_to_a_sum() -> None:
    pipeline, payload = parse_pipeline("random_k(0.2)"), payload_of("random_k(0.2)")
    check_payload(pipeline, payload, LAYOUT)
    nan = np.full(12, np.nan, np.float32)
    for values in (np.zeros(11, np.float32), np.zeros(12), np.zeros((12, 1), np.float32), nan):
        with pytest.raises(PayloadError):
            check_payload(pipeline, edit(payload, "values", values), LAYOUT)
    with pytest.raises(PayloadError, match="left over"):
        check_payload(pipeline, edit(payload, "more", nan), LAYOUT)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, Payload]:
    text = draw(st.sampled_from(PIPELINES))
    payload = payload_of(text, draw(st.integers(0, 50)))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(payload.arrays)))
        payload = edit(payload, name, draw(damaged_array(payload.arrays[name])))
    return text, payload


@st.composite
def damaged_array(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    raw = bytearray(np.ascontiguousarray(array).tobytes())
    how = draw(st.sampled_from(["flip", "header", "cut", "extend", "replace", "dtype"]))
    dtype: Any = array.dtype
    if how == "flip" and raw:
        for _ in range(draw(st.integers(1, 4))):
            raw[draw(st.integers(0, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
    elif how == "header" and raw:
        raw[0] = draw(st.integers(0, 255))
    elif how == "cut":
        raw = raw[: draw(st.integers(0, len(raw)))]
    elif how == "extend":
        raw += draw(st.binary(min_size=1, max_size=9))
    elif how == "replace":
        raw = bytearray(draw(st.binary(max_size=len(raw) + 8)))
    else:
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    return np.frombuffer(bytes(raw[: len(raw) // dtype.itemsize * dtype.itemsize]), dtype)


@given(damaged())
@settings(max_examples=1000)
def test_a_damaged_payload_is_refused_or_decodes_to_finite_values(case: tuple[str, Payload]) -> None:
    text, payload = case
    try:
        decoded = decode(parse_pipeline(text), payload, CONTEXT)
    except PayloadError as error:
        message = str(error)
    else:
        message = ""
        assert decoded.dtype == np.float32
        assert decoded.shape == (D,)
        assert np.isfinite(decoded).all()
    assert len(message) < 300
