"""EDEN, ternary updates and entropy coding: what is sent takes the bits that their papers say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.ring.packing import unpack
from hedgerow.strategies import decode, encode, parse_pipeline
from hedgerow.strategies.norms import l2_norm
from hedgerow.types import Payload, RoundContext, Vector
from tests.laws.transform_cases import cases, context_for, relaxed, there_and_back

SMALL_CNN = 11_274


def heavy(n: int) -> Vector:
    return np.random.default_rng(n).standard_t(3, n).astype(np.float32)


def sent(text: str, n: int) -> Payload:
    return encode(parse_pipeline(text), heavy(n), {}, context_for(n))[0]


def bits_of(payload: Payload) -> int:
    return 8 * sum(array.nbytes for array in payload.arrays.values())


@pytest.mark.parametrize("bits", [0.5, 1, 2, 4, 8])
def test_eden_sends_its_bits_and_one_percent_for_scales_at_most(bits: float) -> None:
    """The paper sends `bits` a value and one scale; nothing is padded here either."""
    for n in (SMALL_CNN, 100_001):
        assert n * bits <= bits_of(sent(f"eden({bits})", n)) <= n * bits * 1.01 + 64


@given(cases() | cases(largest=2.0**-120), st.sampled_from([1, 2, 8]), st.booleans())
@relaxed
def test_eden_errs_by_no_more_than_what_was_put_in(
    case: tuple[Vector, RoundContext], bits: int, unbiased: bool
) -> None:
    x, context = case
    decoded = there_and_back(f"eden({bits}, unbiased={unbiased})", x, context)
    assert l2_norm((decoded - x).astype(np.float32)) <= l2_norm(x) * (1 + 1e-5)


def test_eden_of_values_near_the_ends_of_float32_is_finite_and_of_too_large_ones_refused_by_name() -> None:
    for size in (3e37, 1e-37):
        x = np.full(1000, size, np.float32)
        decoded = there_and_back("eden(4)", x, context_for(1000))
        assert l2_norm(decoded - x) <= 0.2 * l2_norm(x)
    assert not there_and_back("eden(4)", np.full(1000, 1e-45, np.float32), context_for(1000)).any()
    assert not there_and_back("eden(2)", np.zeros(9, np.float32), context_for(9)).any()
    whole = np.full(8192, np.finfo(np.float32).max, np.float32)
    with pytest.raises(ValueError, match=r"eden\(1\): 1 of 1 values are not finite"):
        encode(parse_pipeline("eden(1)"), whole, {}, context_for(8192))


@given(cases(), st.floats(0.001, 1))
@relaxed
def test_ternary_keeps_what_top_k_keeps_at_their_mean_and_their_signs(
    case: tuple[Vector, RoundContext], fraction: float
) -> None:
    x, context = case
    kept = there_and_back(f"top_k({fraction!r})", x, context)
    found = there_and_back(f"ternary({fraction!r})", x, context)
    if len(x):
        k = min(len(x), max(1, math.floor(fraction * len(x) + 0.5)))
        mean = np.abs(kept).sum(dtype=np.float64) / k
        assert np.allclose(np.abs(found[found != 0]), mean, rtol=1e-6)
        assert (found[kept != 0] * np.sign(kept[kept != 0]) >= 0).all()
        assert np.count_nonzero(found) in (0, k)


@pytest.mark.parametrize("fraction", [1 / 25, 1 / 100, 1 / 400])
def test_ternary_takes_the_papers_bits(fraction: float) -> None:
    """Sattler 2019, arXiv:1903.02891: a Golomb code of the distances, a sign each, and the mean."""
    n = 400_000
    k = round(fraction * n)
    low = 1 + math.floor(math.log2(math.log((math.sqrt(5) - 1) / 2) / math.log(1 - fraction)))
    papers = k * (low + 1 / (1 - (1 - fraction) ** 2**low) + 1) + 32
    assert 0.95 * papers < bits_of(sent(f"ternary({fraction})", n)) < 1.01 * papers


@pytest.mark.parametrize("step", ["quantize(8)", "quantize(4)", "eden(4)", "top_k(0.3), quantize(6)"])
def test_entropy_sends_the_same_codes_in_their_entropy(step: str) -> None:
    n = 100_000
    plain, coded = sent(f"chain({step})", n), sent(f"entropy({step})", n)
    pipeline = parse_pipeline(f"chain({step})")
    share = np.bincount(unpack(plain.values, pipeline.code_bits, pipeline.length(n))) / pipeline.length(n)
    least = -(share[share > 0] @ np.log2(share[share > 0])) * pipeline.length(n) / 8
    assert least < coded.values.nbytes < 1.01 * least + 2**pipeline.code_bits + 10
    assert coded.values.nbytes < plain.values.nbytes
    both = [decode(parse_pipeline(f"{how}({step})"), payload, context_for(n))
            for how, payload in (("chain", plain), ("entropy", coded))]  # fmt: skip
    assert both[0].tobytes() == both[1].tobytes()
