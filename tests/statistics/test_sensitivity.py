"""One client moves a released sum by no more than the ledger says, whatever it sends."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow import rng
from hedgerow.privacy.accounting import Budget
from hedgerow.server.private import StartBounded
from hedgerow.server.rounds import begin
from hedgerow.strategies import Strategy, chain, cyclic, dp_ftrl, encode, parse_pipeline, poisson
from hedgerow.strategies.release import UNIT
from hedgerow.types import Client, Layout, Model, RoundContext
from hedgerow.wire.replies import Reply
from tests.flower_messages import pack_reply

COHORTS = 10_000
D = 24
LAYOUT = Layout.flat(D)
BOUNDS = ("clip(0.7)", "clip(0.003)", "clip(50.0)", "adaptive_clip(0.2, share=0.05)")
COMPRESSED = ("", ", quantize(2)", ", quantize(8)", ", top_k(0.3)", ", random_k(0.25)")


def strategy_of(bound: str, compressed: str = "") -> Strategy:
    pipeline = parse_pipeline(f"chain({bound}, gaussian_noise(1.0){compressed})")
    return Strategy(pipeline=pipeline, sampling=poisson(10, population=100), budget=Budget(1e-4))


STRATEGIES = [strategy_of(bound, compressed) for bound in BOUNDS for compressed in COMPRESSED]


def norm_of(strategy: Strategy) -> float:
    state = begin(strategy, Model(np.zeros(D, np.float32)), LAYOUT)
    return strategy.release.server_clip.norm(state.private)


def replies(strategy: Strategy, deltas: dict[str, np.ndarray]) -> dict[str, Any]:
    sent = {}
    for name, delta in deltas.items():
        context = RoundContext(0, 1, Client(name), LAYOUT, 5)
        payload, _ = encode(strategy.pipeline, delta, {}, context)
        sent[name] = _reply(pack_reply(Reply(payload, {}, 5, {"loss": 1.0}), round=1, client=name))
    return sent


def total(strategy: Strategy, sent: dict[str, Any], clients: int, norm: float) -> np.ndarray:
    """The sum that the server would noise, in units of 2**-36."""
    collector = StartBounded(strategy, LAYOUT, 0)(1, clients, norm)
    for name, reply in sent.items():
        collector.add(name, reply)
    assert not collector.collected.dropped
    assert not collector.collected.metrics
    return collector.total()


def _reply(content):
    class Reply:
        def has_error(self) -> bool:
            return False

    reply = Reply()
    reply.content = content
    return reply


def random_delta(random: np.random.Generator) -> np.ndarray:
    """Anything from far within the bound to far outside, dense or in one place."""
    delta = random.standard_t(1.5, D) if random.random() < 0.7 else np.eye(D)[random.integers(D)]
    return (delta * 10.0 ** random.uniform(-6, 4)).astype(np.float32)


@pytest.mark.slow
def test_over_ten_thousand_cohorts_a_client_moves_the_sum_by_at_most_the_norm():
    random = rng.generator(5, "cohorts")
    largest = 0.0
    for number in range(COHORTS):
        strategy = STRATEGIES[number % len(STRATEGIES)]
        norm = norm_of(strategy)
        cohort = replies(strategy, {f"c{i}": random_delta(random) for i in range(int(random.integers(1, 4)))})
        without = dict(list(cohort.items())[:-1])
        moved = total(strategy, cohort, 4, norm) - total(strategy, without, 4, norm)
        moved = moved.astype(np.float64) * UNIT
        reach = strategy.release.sensitivity(norm)
        assert np.linalg.norm(moved) <= reach * (1 + 1e-6)
        assert np.linalg.norm(moved[:D]) <= norm * (1 + 1e-6)
        # What the noise is measured for covers it with no tolerance at all.
        assert np.linalg.norm(moved) / UNIT <= strategy.release.sigma(norm, len(moved))
        largest = max(largest, float(np.linalg.norm(moved)) / reach)
    assert largest > 0.999, "no cohort came near the bound: the test would prove nothing"


@given(st.sampled_from(STRATEGIES), st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_a_client_moves_the_sum_by_at_most_the_norm(strategy, seed):
    random = np.random.default_rng(seed)
    norm = norm_of(strategy)
    cohort = replies(strategy, {f"c{i}": random_delta(random) for i in range(3)})
    without = {name: delta for name, delta in cohort.items() if name != "c1"}
    moved = total(strategy, cohort, 3, norm) - total(strategy, without, 3, norm)
    moved = moved.astype(np.float64) * UNIT
    assert np.linalg.norm(moved) <= strategy.release.sensitivity(norm) * (1 + 1e-6)


def test_without_the_servers_clip_the_test_would_notice():
    """Quantised after the clip, a delta is longer than the clip allows; only the server's own clip holds."""
    strategy = strategy_of("clip(0.7)", ", quantize(2)")
    loose = replace(strategy, pipeline=chain(parse_pipeline("clip(1000.0)"), *_rest(strategy)))
    random = rng.generator(5, "loose")
    sent = (replies(loose, {"a": random_delta(random)}) for _ in range(50))
    sums = [total(loose, each, 1, norm_of(loose)) for each in sent]
    worst = max(float(np.linalg.norm(each.astype(np.float64) * UNIT)) for each in sums)
    assert worst > 0.7 * (1 + 1e-6)


def _rest(strategy: Strategy):
    return [parse_pipeline("gaussian_noise(1.0)"), parse_pipeline("quantize(2)")]


def test_noise_covers_the_last_digits_of_a_norm_beside_the_rounding_to_units():
    """A norm of 50 is 3.4e12 units: one that is longer by its last digits, 1e-9, is so by 3,400 of them."""
    noise = strategy_of("clip(50.0)").release.noise
    assert noise.sigma(50.0, 1) >= noise.multiplier * 50.0 * (1 + 1e-9) / UNIT


def test_noise_covers_what_rounding_adds_of_each_rounds_bands_too():
    """Half a unit a value, and with bands one more for each round's own: of many values, most of it."""
    noise = dp_ftrl(1e-9, 1.0, bands=4, horizon=8, sampling=cyclic(10, population=40)).release.noise
    n, length = 10_000, float(np.sqrt(np.square(noise.bands).sum()))
    least = length * (1e-9 * (1 + 1e-9) / UNIT + np.sqrt(n) * (1 + np.sqrt(len(noise.bands))))
    assert noise.multiplier * least <= noise.sigma(1e-9, n) <= noise.multiplier * least + 1


def test_what_is_released_is_the_sum_of_the_deltas_over_the_expected_cohort():
    pipeline = parse_pipeline("chain(clip(50.0), gaussian_noise(0.000001))")
    strategy = Strategy(pipeline=pipeline, sampling=poisson(10, population=100), budget=Budget(1e-4))
    own = rng.generator(0, "deltas")
    deltas = {f"client-{k}": own.normal(size=D).astype(np.float32) for k in range(7)}
    summed = total(strategy, replies(strategy, deltas), 7, 50.0)
    state = begin(strategy, Model(np.zeros(D, np.float32)), LAYOUT).private
    released = strategy.release(summed, state, rng.seeded_source(0, "noise")).delta
    assert released == pytest.approx(sum(deltas.values()) / 10, abs=1e-3)
