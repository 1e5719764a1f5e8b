"""An update far larger than those of the others is dropped by name; nothing else is."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.rng import generator
from hedgerow.server.app import train
from hedgerow.server.norm_bound import STEPS, NormBound, medians
from hedgerow.server.recording import Recorder
from hedgerow.server.replay import replay
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies.norms import l2_norm, quick_norm
from hedgerow.types import Fit, Model, PayloadError, Samples, Tensor
from tests.support import LAYOUT, MeanTrainer, clients

DATA = clients(6)
LIAR = DATA.names[2]
LOCAL = hr.LocalTraining(learning_rate=0.1)


@dataclass(frozen=True)
class Liar(MeanTrainer):
    """One client's deltas are 10,000 times as large, from a round on."""

    since: int = 2
    factor: float = 1e4
    everybody: bool = False

    def fit(self, model, data, local, *, seed, round, client):
        fit = super().fit(model, data, local, seed=seed, round=round, client=client)
        lies = round >= self.since and (client == LIAR or self.everybody)
        return Fit(fit.delta * np.float32(self.factor if lies else 1), fit.buffers, 5, fit.metrics)


def run(trainer, number=5, data=DATA, folder=None, options=None, **parts):
    strategy = hr.fedavg(local=LOCAL, **parts)
    with InProcessGrid(
        client_app(trainer, data, strategy), len(data.names), names=data.names, **(options or {})
    ) as grid:
        start = trainer.initial(0)
        if folder is not None:
            return list(train(grid, strategy, start, LAYOUT, num_rounds=number, folder=folder, record=True))
        return list(rounds(grid, strategy, begin(strategy, start, LAYOUT), LAYOUT, num_rounds=number))


@pytest.mark.parametrize("pipeline", [hr.float32(), hr.quantize(8), hr.random_k(0.5)], ids=str)
def test_who_sends_ten_thousand_times_as_much_is_dropped_by_name(pipeline):
    results = run(Liar(since=2), number=4, pipeline=pipeline)
    assert results[0].dropped == {}
    for result in results[1:3]:
        assert list(result.dropped) == [LIAR]
        assert "at most 10 times" in result.dropped[LIAR]
        assert result.failed == ""
    without = run(MeanTrainer(), number=4, pipeline=pipeline)
    distance = np.linalg.norm(results[-1].state.model.parameters - without[-1].state.model.parameters)
    assert distance < np.linalg.norm(without[-1].state.model.parameters)


def test_in_the_first_round_it_costs_that_round_and_moves_no_model():
    results = run(Liar(since=1))
    assert f"the norm of the delta of {LIAR} is" in results[0].failed
    assert results[0].state.model.parameters.tobytes() == MeanTrainer().initial(0).parameters.tobytes()
    assert [list(result.dropped) for result in results[1:4]] == [[LIAR]] * 3
    assert not any(result.failed for result in results[1:])


def test_a_model_is_the_same_with_the_bound_and_without_where_nothing_exceeds_it():
    with_it, without = run(MeanTrainer()), run(MeanTrainer(), norm_bound=0)
    assert with_it[-1].state.model.parameters.tobytes() == without[-1].state.model.parameters.tobytes()
    assert with_it[-1].state.norms[""] > 0
    assert without[-1].state.norms == {}


def test_without_a_bound_it_counts():
    assert [result.dropped for result in run(Liar(since=2, factor=100.0), number=3, norm_bound=0)] == [{}] * 3


def test_norms_that_grow_for_everybody_cost_one_round_and_set_nobody_aside():
    results = run(Liar(since=3, factor=50.0, everybody=True), number=6, quorum=0.5)
    assert [bool(result.failed) for result in results[:4]] == [False, False, True, False]
    assert len(results[2].dropped) == len(DATA.names)
    assert results[2].set_aside == ()
    assert results[3].dropped == {}


@pytest.mark.parametrize("options", [{"workers": 2}])
def test_any_number_of_workers_drops_the_same(options):
    one, two = run(Liar(since=1)), run(Liar(since=1), options=options)
    assert [(r.dropped, r.failed, r.set_aside) for r in one] == [
        (r.dropped, r.failed, r.set_aside) for r in two
    ]
    assert one[-1].state.model.parameters.tobytes() == two[-1].state.model.parameters.tobytes()
    assert one[-1].state.norms == two[-1].state.norms


def test_a_run_that_is_gone_on_with_has_the_bound_and_replay_gives_the_model(tmp_path):
    whole = run(Liar(since=1), number=6, folder=tmp_path / "whole")
    run(Liar(since=1), number=2, folder=tmp_path / "parts")
    later = run(Liar(since=1), number=6, folder=tmp_path / "parts")
    assert [result.dropped for result in later] == [result.dropped for result in whole[2:]]
    assert later[-1].state.model.parameters.tobytes() == whole[-1].state.model.parameters.tobytes()
    assert (later[-1].state.norms, later[-1].state.strikes) == (
        whole[-1].state.norms, whole[-1].state.strikes,
    )  # fmt: skip
    for name in ("whole", "parts"):
        recorder = Recorder(tmp_path / name / "replies", LAYOUT, 0)
        *_, last = replay(recorder, hr.fedavg(local=LOCAL))
        assert last.model.parameters.tobytes() == whole[-1].state.model.parameters.tobytes()


class Buffered(MeanTrainer):
    """Has a buffer of three values, which one client makes far too large."""

    def initial(self, seed):
        return Model(super().initial(seed).parameters, np.ones(3, np.float32))

    def fit(self, model, data, local, *, seed, round, client):
        fit = super().fit(model, data, local, seed=seed, round=round, client=client)
        large = 1e4 if client == LIAR and round >= 2 else 1
        return Fit(fit.delta, np.full(3, large, np.float32), fit.num_examples, fit.metrics)


def test_what_travels_beside_the_delta_is_bounded_too():
    strategy, trainer = hr.fedavg(local=LOCAL), Buffered(replace(LAYOUT, buffers=(Tensor("mean", (3,)),)))
    with InProcessGrid(client_app(trainer, DATA, strategy), len(DATA.names), names=DATA.names) as grid:
        state = begin(strategy, trainer.initial(0), trainer.layout)
        results = list(rounds(grid, strategy, state, trainer.layout, num_rounds=2))
    assert list(results[1].dropped) == [LIAR]
    assert "the norm of its buffers is 1.732e+04" in results[1].dropped[LIAR]
    assert results[1].state.model.buffers.tolist() == [1.0] * 3


SIZES = (1, 1, 2, 3, 5, 8, 20, 60, 300, 3000)


def unlike(number: int) -> Samples:
    """Of one to 3000 samples, all of one class."""
    x = generator(0, "unlike", client=str(number)).normal(size=(SIZES[number % 10], 20))
    return Samples(x.astype(np.float32), np.full(len(x), number % 2, np.int64))


@pytest.mark.parametrize("algorithm", [hr.fedavg, hr.scaffold])
def test_honest_clients_of_all_sizes_and_one_class_each_are_never_dropped(algorithm):
    local = hr.LocalTraining(learning_rate=0.1, batch_size=16)
    strategy, task = algorithm(sampling=hr.uniform(10), local=local), hr.Task(lambda: nn.Linear(20, 2))
    for result in hr.simulate(task, hr.from_function(20, unlike), strategy, rounds=12):
        assert (result.dropped, result.failed) == ({}, "")


def test_more_local_steps_allow_more_and_no_claim_of_them_more_than_the_factor():
    bound = NormBound(10.0, {"": 2.0, STEPS: 4.0})
    for steps, most in ((0, 20), (1, 20), (4, 20), (8, 40), (40, 200), (2**40, 200)):
        bound.check("", most, steps)
        with pytest.raises(PayloadError, match="the norm of its delta"):
            bound.check("", most * 1.001, steps)


def test_medians_never_shrink_and_a_client_that_is_new_is_measured_by_the_largest():
    norms = {"": {"a": 0.1, "b": 0.2, "c": 0.3}, "control": {"a": 5.0, "b": 6.0, "c": 7.0}}
    found = medians(norms, (), {"": 2.0, "control": 3.0}, failed=False)
    assert found == {"": 2.0, "control": 6.0}


@pytest.mark.parametrize("failed", [True, False])
def test_fewer_than_three_clients_bound_nobody_whether_or_not_their_round_counts(failed):
    assert medians({"": {"a": 1e9, "b": 1e9}}, (), {"": 2.0}, failed=failed) == {}


@pytest.mark.parametrize("value", [1e-30, 1e-20, 1.0, 1e20, 3e38])
def test_a_quick_norm_is_the_norm_however_small_or_large_the_values_are(value):
    values = np.full(10_000, value, np.float32)
    assert quick_norm(values) == pytest.approx(l2_norm(values), rel=1e-5)


@pytest.mark.parametrize("n", [0, 1, 8191, 8192, 8193, 2 * 8192, 5 * 8192 + 1])
def test_a_quick_norm_is_the_norm_of_any_number_of_values(n):
    values = np.random.default_rng(n).normal(size=n).astype(np.float32)
    assert quick_norm(values) == pytest.approx(l2_norm(values), rel=1e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float64])
def test_a_quick_norm_is_the_norm_of_whole_numbers_too(dtype):
    # Squares of 100 wrap round in a byte, and their sum over 10,000 in four.
    values = np.full(500_000, 100, dtype)
    assert quick_norm(values) == l2_norm(values) == pytest.approx(100 * 500_000**0.5)


def test_a_bound_below_the_median_is_refused():
    with pytest.raises(ValueError, match=r"norm_bound is 0\.5; it must be 0, for none, or 1 or more"):
        hr.fedavg(norm_bound=0.5)
    with pytest.raises(ValueError, match="norm_bound"):
        hr.fedavg(norm_bound=-1)
