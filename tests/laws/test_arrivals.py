"""What holds of asynchronous runs: FedBuff and FedAsync against their papers' equations, and FedAvg."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hedgerow as hr
from hedgerow.server.failures import EveryClientFailed
from hedgerow.server.recording import Recorder
from hedgerow.server.replay import replay
from hedgerow.server.replies import NO_REPLY
from hedgerow.strategies.arrivals import constant, hinge, poly
from tests.clocks import DATA, fleet, model, run
from tests.support import LAYOUT, MeanTrainer

LOCAL = hr.LocalTraining(learning_rate=0.2, epochs=2)


def buffered(buffer=3, at_once=5, **parts):
    return hr.fedbuff(buffer=buffer, sampling=hr.uniform(at_once), local=LOCAL, **parts)


def mixed(mixing=0.6, at_once=5, **parts):
    return hr.fedasync(mixing, sampling=hr.uniform(at_once), local=LOCAL, **parts)


def versions(results):
    """The parameters after each step, by its number, from the untrained model on."""
    start = MeanTrainer().initial(0).parameters
    return {0: start} | {r.round: r.state.model.parameters for r in results}


def learned(name, start, round):
    """What a client learns from a model."""
    sent = hr.Model(start)
    return MeanTrainer().fit(sent, DATA.samples(name), LOCAL, seed=0, round=round, client=name).delta


@pytest.mark.parametrize("pipeline", ["float32()", "quantize(8)", "error_feedback(top_k(0.2))"])
@pytest.mark.parametrize("staleness", ["constant()", "poly(0.5)", "hinge(10.0, 4)"])
def test_with_a_buffer_of_all_clients_that_work_it_is_fedavg_bit_for_bit(pipeline, staleness):
    parts = {"sampling": hr.uniform(12), "local": LOCAL, "pipeline": hr.parse_pipeline(pipeline)}
    alike = run(hr.fedbuff(12, staleness=staleness, **parts)), run(hr.fedavg(**parts))
    assert model(alike[0]) == model(alike[1])
    assert [r.spent for r in alike[0]] == [r.spent for r in alike[1]]
    assert all(set(r.staleness.values()) == {0} for r in alike[0])


def test_fedbuff_makes_the_steps_of_its_paper():
    results = run(buffered(staleness="poly(0.7)", server_learning_rate=0.8), rounds=8)
    known = versions(results)
    assert max(max(r.staleness.values()) for r in results) >= 2
    for result in results:
        added, weight = np.zeros(LAYOUT.dimension), 0
        for name, stale in result.staleness.items():
            version, samples = result.round - 1 - stale, len(DATA.samples(name))
            delta = learned(name, known[version], version + 1).astype(np.float64)
            added += samples * (stale + 1.0) ** -0.7 * delta
            weight += samples
        wanted = known[result.round - 1] + 0.8 * added / weight
        np.testing.assert_allclose(known[result.round], wanted, atol=2e-6)


def test_fedasync_makes_the_steps_of_its_paper():
    results = run(mixed(0.5, staleness="hinge(0.5, 1)"), rounds=12)
    known = versions(results)
    assert max(max(r.staleness.values()) for r in results) >= 3
    for result in results:
        ((name, stale),) = result.staleness.items()
        version = result.round - 1 - stale
        theirs = known[version] + learned(name, known[version], version + 1)
        share = 0.5 * hinge(0.5, 1).weight(stale)
        wanted = (1 - share) * known[result.round - 1].astype(np.float64) + share * theirs
        np.testing.assert_allclose(known[result.round], wanted, atol=2e-6)


@given(st.integers(0, 100), st.floats(0.1, 5), st.integers(0, 10))
def test_a_staler_reply_never_counts_more(stale, slope, free):
    for rule in (constant(), poly(slope), hinge(slope, free)):
        assert rule.weight(0) == 1.0
        assert 0 < rule.weight(stale + 1) <= rule.weight(stale) <= 1.0


@given(st.integers(0, 4), st.integers(1, 4), st.integers(2, 9), st.sampled_from([0.0, 0.3]))
@settings(max_examples=8)
def test_as_many_are_at_work_as_were_meant_and_none_twice(seed, buffer, at_once, dropout):
    results = run(buffered(buffer, at_once), rounds=5, seed=seed, clock=fleet(dropout=dropout))
    elapsed = 0.0
    for result in results:
        flying = [flight.client for flight in result.state.flights.flights]
        assert len(flying) == len(set(flying)) <= at_once - 1  # the next is asked after the step
        if len(result.cohort) + at_once <= 12:  # else nobody is left to be asked
            assert len(flying) == at_once - 1
        assert len(result.staleness) == buffer
        assert set(result.staleness) | set(result.dropped) == set(result.cohort)
        assert set(result.bytes_down) == set(result.cohort) == set(result.spent.clients)
        assert result.spent.elapsed >= elapsed
        elapsed = result.spent.elapsed


def test_a_reply_that_is_too_stale_is_dropped_by_name():
    results = run(mixed(most_staleness=2), rounds=12)
    reasons = {why for r in results for why in r.dropped.values()}
    assert reasons
    assert all("it is stale: the server has made" in why for why in reasons)
    assert max(max(r.staleness.values(), default=0) for r in results) <= 2


def test_a_client_that_is_late_is_given_up_and_another_one_asked():
    results = run(buffered(), rounds=6, timeout=0.5, set_aside=0)
    late = [name for r in results for name, why in r.dropped.items() if why == NO_REPLY]
    assert late
    assert all(len(r.staleness) == 3 for r in results)
    assert max(r.spent.seconds for r in results) < 1.0


def test_a_buffer_larger_than_the_fleet_makes_a_step_with_what_is_there():
    results = run(buffered(buffer=50, at_once=4), rounds=2)
    assert [len(r.staleness) for r in results] == [12, 12]


@pytest.mark.parametrize("strategy", [buffered(), mixed()], ids=["fedbuff", "fedasync"])
def test_the_model_follows_from_what_was_recorded(tmp_path, strategy):
    settings = {"folder": tmp_path, "clock": fleet(dropout=0.2)}
    run(strategy, rounds=3, **settings)
    results = run(strategy, rounds=9, record=True, **settings)  # recorded from the fourth step on
    states = list(replay(Recorder(tmp_path / "replies", LAYOUT, 0), strategy))
    assert [state.round for state in states] == list(range(3, 10))
    assert states[-1].model.parameters.tobytes() == model(results)


def test_replies_count_as_they_arrive_on_any_grid():
    from hedgerow.client.app import client_app
    from hedgerow.simulation.grid import InProcessGrid

    strategy, trainer = buffered(), MeanTrainer()
    app = client_app(trainer, DATA, strategy, deployment=hr.Deployment.SIMULATED)
    state = hr.begin(strategy, trainer.initial(0), LAYOUT)
    with InProcessGrid(app, 12, names=DATA.names) as grid:
        results = list(hr.arrivals(grid, strategy, state, LAYOUT, num_rounds=4))
    assert [r.round for r in results] == [1, 2, 3, 4]
    assert all(len(r.staleness) == 3 and r.spent is None for r in results)


def test_a_run_in_which_every_client_fails_alike_ends_with_the_reason():
    class Broken(MeanTrainer):
        def fit(self, *given, **named):
            raise ValueError("it cannot train")

    with pytest.raises(EveryClientFailed, match="it cannot train"):
        run(buffered(), rounds=3, trainer=Broken())


def test_who_is_asked_is_drawn_from_the_free_ones_alike():
    strategy = hr.fedasync(1.0, sampling=hr.uniform(1), local=hr.LocalTraining(epochs=1))
    counts = np.zeros(12)
    for result in run(strategy, rounds=600):
        counts[DATA.names.index(result.cohort[0])] += 1
    # One at a time, each of twelve is asked 50 times.
    assert ((counts - 50) ** 2 / 50).sum() < 38  # chi-square with 11 degrees of freedom: once in 12,000
    favoured = counts + np.where(np.arange(12) < 6, 15, -15)  # such a preference would be seen
    assert ((favoured - 50) ** 2 / 50).sum() > 38


@given(st.floats(0.05, 3.0))
@settings(max_examples=6)
def test_any_deadline_gives_up_who_is_later(deadline):
    results = run(buffered(), rounds=3, timeout=deadline, set_aside=0)
    assert all(
        cost.seconds <= deadline or name in result.dropped
        for result in results
        for name, cost in result.spent.clients.items()
        if name in result.cohort and result.staleness.get(name) is not None
    )
