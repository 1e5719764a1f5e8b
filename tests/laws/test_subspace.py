"""A random subspace: a projection, the same for all clients, whose error hardly depends on the update."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hedgerow as hr
from hedgerow.strategies import decode, encode, parse_pipeline, subspace
from hedgerow.types import Client, Layout, RoundContext, Vector
from tests.support import MeanTrainer, clients


def context(d: int, round: int = 1, client: str = "ann") -> RoundContext:
    return RoundContext(5, round, Client(client), Layout.flat(d), num_examples=3)


def there_and_back(x: Vector, fraction: float, unbiased: bool, **other) -> Vector:
    step, where = subspace(fraction, unbiased), context(len(x), **other)
    return decode(step, encode(step, x, {}, where)[0], where)


def squared(x: Vector) -> float:
    return float(np.square(x, dtype=np.float64).sum())


@given(st.integers(1, 300), st.floats(0.01, 1.0), st.integers(0, 99), st.integers(1, 9), st.integers(-60, 60))
@settings(deadline=None, max_examples=60)
def test_without_the_scale_it_is_a_projection(
    d: int, fraction: float, seed: int, round: int, power: int
) -> None:
    x = np.ldexp(np.random.default_rng(seed).standard_normal(d), power).astype(np.float32)
    once = there_and_back(x, fraction, False, round=round)
    again = there_and_back(once, fraction, False, round=round)
    size = squared(x)
    assert squared(again - once) <= 1e-9 * size, "what lies in the subspace stays"
    assert abs(squared(x) - squared(once) - squared(x - once)) <= 1e-5 * size, "the rest is at right angles"
    kept = len(encode(subspace(fraction), x, {}, context(d, round))[0].values)
    scaled = there_and_back(x, fraction, True, round=round)
    assert squared(scaled - once * np.float32(d / kept)) <= 1e-9 * squared(scaled)


def test_all_clients_of_a_round_share_a_subspace_and_the_next_round_has_another() -> None:
    x = np.random.default_rng(1).standard_normal(500).astype(np.float32)
    first, other = (there_and_back(x, 0.1, True, client=name) for name in ("ann", "bob"))
    assert first.tobytes() == other.tobytes()
    assert first.tobytes() != there_and_back(x, 0.1, True, round=2).tobytes()


@pytest.mark.parametrize("update", ["one value", "normal"])
def test_each_draw_loses_about_the_expected_share_whatever_the_update_is(update: str) -> None:
    d, fraction, rounds = 2048, 0.125, 60
    x = np.zeros(d, np.float32)
    x[7] = 1.0
    if update == "normal":
        x = np.random.default_rng(2).standard_normal(d).astype(np.float32)
    losses = [
        squared(there_and_back(x, fraction, True, round=r) - x) / squared(x) for r in range(1, rounds + 1)
    ]
    # The expectation is 7; of `random_k`, half of the draws of a single value would lose 1, and others 49.
    assert abs(np.mean(losses) - 7) < 0.5
    assert np.std(losses) < 1.5


def test_a_masked_round_sums_it_to_the_same_bits_as_one_in_the_clear() -> None:
    pipeline = parse_pipeline("chain(clip(5.0), subspace(0.5), quantize(12, range=8.0), mask(min_clients=5))")
    strategy = hr.fedavg(pipeline=pipeline, sampling=hr.uniform(12), weighted=False)
    models = [
        list(hr.simulate(MeanTrainer(), clients(12), strategy, rounds=1, masks=masks))[-1].state.model
        for masks in (False, True)
    ]
    assert models[0].parameters.tobytes() == models[1].parameters.tobytes()
    assert np.abs(models[0].parameters).max() > 0
