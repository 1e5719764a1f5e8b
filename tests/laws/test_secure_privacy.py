"""Noise from the clients in a ring: sums are exact, and no list of survivors is too short for the noise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.ledger import Ledger
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import RingSum, RingVector, open_payload
from hedgerow.server.announced import Announced
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.masked import MaskedRounds
from hedgerow.server.masked_collector import MaskedCollector, StartMasked
from hedgerow.server.masked_sums import MaskedSums
from hedgerow.server.private import PrivateRounds, Released
from hedgerow.server.round_kind import Cohort, Counted
from hedgerow.server.rounds import begin
from hedgerow.server.step import step
from hedgerow.strategies import Strategy, cyclic, parse_pipeline, poisson, secure_dp_fedavg
from hedgerow.strategies.pipeline.coding import encode
from hedgerow.strategies.transforms.mask import shape_of, to_ring
from hedgerow.types import Client, Fit, Layout, Model, RoundContext


def encoded(
    strategy: Strategy, delta: np.ndarray, client: str, clients: int
) -> tuple[np.ndarray, RingVector]:
    """What a client sends, as whole numbers and in the ring."""
    layout = Layout.flat(len(delta))
    payload, _ = encode(strategy.pipeline, delta, {}, RoundContext(1, 1, Client(client), layout, 5, True))
    fit = Fit(delta, np.empty(0, np.float32), 5, {"loss": 0.5})
    shape = shape_of(strategy.pipeline, layout, clients)
    return payload.values.astype(np.int64), to_ring(payload, fit, shape, strategy.pipeline)


@given(
    st.sampled_from(["gaussian", "skellam"]),
    st.integers(3, 25),
    st.integers(10, 20),
    st.floats(0.5, 8.0),
    st.sampled_from([0.05, 0.25, 1.0]),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_the_noised_sum_of_a_cohort_is_exact_in_its_ring(noise, clients, bits, multiplier, reach, seed):
    """Also where all clients push the same values as far as they may."""
    try:
        strategy = secure_dp_fedavg(
            1.0, multiplier, noise=noise, bits=bits, value_range=reach, min_clients=3, corrupt=0.1,
            dropout=0.0, sampling=cyclic(clients, population=clients),
        )  # fmt: skip
        largest = np.array([9.0, -9.0, 0.0], np.float32)
        added = [encoded(strategy, largest, f"{seed} {i}", clients) for i in range(clients)]
    except ValueError as error:
        # A cohort that cannot be, or too few bits for the smallest noise of a client.
        if not any(why in str(error) for why in ("a cohort of", "fit", "must be 4 or more")):
            raise
        return
    total = RingSum(shape_of(strategy.pipeline, Layout.flat(3), clients))
    for _, vector in added:
        total.add(vector)
    assert total.total().tolist() == np.sum([numbers for numbers, _ in added], axis=0).tolist()
    assert (total.weight, total.shape.words) == (clients, 1), "no metric is sent, whatever a trainer measures"


@pytest.mark.parametrize("clients", [20, 50, 100, 1000])
@pytest.mark.parametrize("dimension", [100, 200_000, 1_000_000])
@pytest.mark.parametrize("noise", ["gaussian", "skellam"])
def test_an_upload_at_16_bits_is_at_most_0_55_of_float32(clients, dimension, noise):
    pipeline = secure_dp_fedavg(
        1.0, 2.0, noise=noise, sampling=cyclic(clients, population=10 * clients)
    ).pipeline
    shape = shape_of(pipeline, Layout.flat(dimension), int(1.25 * clients))
    vector = RingVector(np.zeros(shape.length, shape.ring.dtype), np.zeros(shape.words, np.uint64))
    sent = sum(array.nbytes for array in open_payload(vector, shape).values())
    assert sent <= 0.55 * 4 * dimension


@given(st.integers(3, 400), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 300))
@settings(max_examples=300, deadline=None)
def test_whoever_is_corrupt_the_fewest_honest_clients_are_in_a_sum(clients, corrupt, dropout, min_honest):
    try:
        plain = SecureAggregation(corrupt, dropout, clients)
        secure = plain.under(min_honest)
        plan = secure.plan(clients)
    except ValueError as error:
        if "a cohort of" not in str(error):
            raise
        return
    bad = int(np.ceil(corrupt * clients - 1e-9))
    assert plan.survivors - bad >= min_honest
    assert plan.survivors >= plain.plan(clients).survivors
    assert plan.threshold >= plain.plan(clients).threshold
    assert plan.survivors <= clients
    assert secure.metrics == ()
    assert plain.honest(clients) == clients - bad - int(np.ceil(dropout * clients - 1e-9))


def test_a_chain_of_steps_binds_the_mask_to_the_noise():
    steps = "clip(1.0), randomized_round(0.0009765625, 1.0), distributed_noise(2.0, 1.0, 0.0009765625, 60)"
    pipeline = parse_pipeline(f"chain({steps}, mask(metrics='loss accuracy'))")
    assert (pipeline.protection.secure.min_honest, pipeline.protection.secure.metrics) == (60, ())
    assert pipeline.protection.secure.plan(100).survivors == 80
    with pytest.raises(ValueError, match="a cohort of 70, of which 14 may be corrupt, lacks the 60 honest"):
        pipeline.protection.secure.plan(70)
    sampling, budget = cyclic(100, population=200), Budget(1e-3)
    assert Strategy(sampling=sampling, pipeline=pipeline, budget=budget).private
    with pytest.raises(ValueError, match=r"leaves the noise to the server.*secure_dp_fedavg"):
        Strategy(
            pipeline=parse_pipeline("chain(clip(1.0), gaussian_noise(1.0), quantize(8, range=1.0), mask())"),
            sampling=poisson(10, population=100),
            budget=budget,
        )
    with pytest.raises(ValueError, match="put discrete noise before the mask"):
        parse_pipeline(
            "chain(clip(1.0), randomized_round(0.25, 1.0), mask(), distributed_noise(9.0, 1.0, 0.25, 9))"
        )


def outcome(private: PrivateRounds, vectors: list[RingVector], layout: Layout, failed: str = "") -> Released:
    """What comes of a round in which 20 were asked and these have answered."""
    collector = MaskedCollector(StartMasked(private.strategy, layout, 1), 1, 20)
    for vector in vectors:
        collector.collected.sum.add(vector)
        collector.collected.counted += 1
    collector.collected.failed = failed
    cohort = Cohort({str(number): number for number in range(20)}, 20)
    return Released(private, Counted(private.strategy, cohort, collector))


def test_the_ledger_is_written_first_and_only_for_what_is_released(monkeypatch):
    strategy = secure_dp_fedavg(1.0, 2.0, 1e-3, sampling=cyclic(20, population=20))
    layout, state = Layout.flat(3), begin(strategy, Model(np.zeros(3, np.float32)), Layout.flat(3))
    ledger = Ledger(Budget(1e-3))
    private = PrivateRounds(
        MaskedRounds(MaskedSums(None, None, Announced("")), StartMasked(strategy, layout, 1), Broadcasts()),
        strategy,
        1,
        ledger,
        False,
    )
    vectors = [encoded(strategy, np.ones(3, np.float32), str(i), 20)[1] for i in range(20)]

    def ended(vectors, failed=""):
        return step(private.strategy, state, outcome(private, vectors, layout, failed).aggregated(state))

    after, why = ended(vectors, "secure aggregation failed: TooFewShares")
    assert (why, ledger.releases) == ("secure aggregation failed: TooFewShares", 0)
    assert after.model == state.model
    after, why = ended(vectors[:11])
    assert "11 clients count, and the noise of 12 makes a sum private" in why
    assert (ledger.releases, after.model) == (0, state.model)

    order: list[str] = []
    record = ledger.record
    monkeypatch.setattr(Ledger, "record", lambda self, *a, **k: (order.append("ledger"), record(*a, **k))[1])
    update = strategy.server_update
    watched = replace(update, apply=lambda *a: (order.append("model"), update.apply(*a))[1])
    private = replace(private, strategy=replace(strategy, server_update=watched))
    after, why = ended(vectors)
    assert (why, order, ledger.releases) == ("", ["ledger", "model"], 1)
    assert after.model.parameters.any()
