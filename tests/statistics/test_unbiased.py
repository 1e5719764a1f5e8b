"""What calls itself unbiased is, and the test would notice if it were not."""

from functools import cache

import numpy as np
import pytest

from hedgerow.strategies import Transform, decode, encode, parse_pipeline
from hedgerow.types import Client, Layout, RoundContext, Vector

ROUNDS = 2000
# None so small that it would round up too seldom for its mean to be nearly normal.
X = np.array([0.9, -0.73, 0.5, 0.31, -0.2, 0.11, 0.07, -0.05, 0.03, -0.37, 0.0, 1.0], np.float32)
UNBIASED = (
    "quantize(1)",
    "quantize(2)",
    "quantize(3, block=5)",
    "quantize(4)",
    "quantize(8)",
    "quantize(16)",
    "quantize(3, range=1.0)",
    "quantize(8, range=1.5)",
    "random_k(0.25)",
    "random_k(0.5)",
    "chain(random_k(0.5), quantize(2))",
    "subspace(0.25)",
    "chain(subspace(0.5), quantize(4))",
)


def context(round: int) -> RoundContext:
    return RoundContext(20, round, Client("ann"), Layout.flat(len(X)))


def through(pipeline: Transform, round: int) -> Vector:
    c = context(round)
    return decode(pipeline, encode(pipeline, X, {}, c)[0], c)


@cache
def decoded(text: str) -> np.ndarray:
    """`(ROUNDS, values)` float32."""
    pipeline = parse_pipeline(text)
    return np.stack([through(pipeline, round) for round in range(1, ROUNDS + 1)])


def standardised_bias(values: np.ndarray) -> float:
    """Largest |mean error| of a value, in standard errors of that mean."""
    errors = values.astype(np.float64) - X
    # A value that rounds without any spread may be off by float32 rounding, not more.
    spread = np.maximum(errors.std(axis=0) / np.sqrt(ROUNDS), 2.0**-24)
    return float(np.abs(errors.mean(axis=0) / spread).max())


# 12 values and 11 pipelines: above 5 standard errors by chance in 8e-5 of all seeds.
LIMIT = 5.0


@pytest.mark.parametrize("text", UNBIASED)
def test_the_mean_of_what_is_decoded_is_what_was_encoded(text: str) -> None:
    assert parse_pipeline(text).unbiased
    assert standardised_bias(decoded(text)) < LIMIT


@pytest.mark.parametrize(
    "text",
    [
        "quantize(1, rounding='nearest')",
        "quantize(4, rounding='nearest')",
        "quantize(8, rounding='nearest')",
        "quantize(8, rounding='nearest', range=1.0)",
        "top_k(0.5)",
        "random_k(0.5, unbiased=False)",
        "clip(1.0)",
    ],
)
def test_what_is_biased_says_so_and_is_noticed(text: str) -> None:
    assert not parse_pipeline(text).unbiased
    assert standardised_bias(decoded(text)) > LIMIT


def test_beyond_its_range_a_quantizer_cuts() -> None:
    """It calls itself unbiased for what lies within, such as what was clipped to the range."""
    cut = through(parse_pipeline("quantize(8, range=0.5)"), 1)
    assert np.allclose(cut, np.clip(X, -0.5, 0.5), atol=0.5 / 127)
    assert cut.max() == 0.5


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 16])
def test_rounding_up_six_percent_too_often_is_noticed(bits: int) -> None:
    honest = decoded(f"quantize({bits})")
    step = 2.0 if bits == 1 else 1 / (2 ** (bits - 1) - 1)
    up = np.random.default_rng(1).random(honest.shape) < 0.06
    assert standardised_bias(honest) < LIMIT < standardised_bias((honest + step * up).astype(np.float32))


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_random_k_scaled_by_another_factor_is_noticed(factor: float) -> None:
    assert standardised_bias(np.float32(factor) * decoded("random_k(0.5)")) > LIMIT


def test_random_k_sends_every_position_equally_often() -> None:
    pipeline = parse_pipeline("random_k(0.25)")
    ones = np.ones(len(X), np.float32)
    sent = np.stack(
        [
            decode(pipeline, encode(pipeline, ones, {}, context(r))[0], context(r)) > 0
            for r in range(1, ROUNDS + 1)
        ]
    )
    assert (sent.sum(axis=1) == 3).all()
    expected, spread = ROUNDS / 4, np.sqrt(ROUNDS * 0.25 * 0.75)
    assert (np.abs(sent.sum(axis=0) - expected) < 4.5 * spread).all()


def test_stochastic_rounding_is_independent_between_values() -> None:
    flat = np.full(20_000, 0.3, np.float32)
    flat[0] = 1.0
    c = RoundContext(20, 1, Client("ann"), Layout.flat(len(flat)))
    pipeline = parse_pipeline("quantize(2)")
    up = decode(pipeline, encode(pipeline, flat, {}, c)[0], c)[1:] > 0
    spread = np.sqrt(0.3 * 0.7 / len(up))
    assert abs(up.mean() - 0.3) < 4.5 * spread
    together = (up[1:] & up[:-1]).mean()
    assert abs(together - 0.09) < 0.015
