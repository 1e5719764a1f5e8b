"""Large values and many examples count in a round; what is absurd is dropped by name."""

from dataclasses import dataclass

import numpy as np
import pytest
from torch import nn

from hedgerow.client.app import client_app
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.datasets import from_function
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import fedavg, parse_pipeline, scaffold, secure_fedavg, uniform, weight_by_examples
from hedgerow.types import Deployment, Fit, Layout, LocalTraining, Model, Samples, Tensor
from tests.support import MeanTrainer, clients


def run(strategy, trainer, data, *, count=1, workers=1, masks=True):
    deployment = Deployment.REAL if masks else Deployment.REHEARSED
    app = client_app(trainer, data, strategy, deployment=deployment)
    with InProcessGrid(app, len(data.names), names=data.names, workers=workers) as grid:
        state = begin(strategy, trainer.initial(0), trainer.layout)
        return list(rounds(grid, strategy, state, trainer.layout, num_rounds=count, deployment=deployment))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_linear_regression_on_house_prices_learns_and_no_reply_is_dropped(workers):
    def houses(number):
        random = np.random.default_rng(number)
        x = random.normal(size=(100, 2)).astype(np.float32)
        y = 250_000 + x @ np.array([50_000, -20_000]) + 1000 * random.normal(size=100)
        return Samples(x, y.astype(np.float32))

    squared = Task(lambda: nn.Linear(2, 1), loss=lambda out, y: nn.functional.mse_loss(out[:, 0], y))
    local = LocalTraining(learning_rate=0.5, epochs=2, batch_size=0)
    strategy = fedavg(sampling=uniform(3), local=local)
    results = run(strategy, TorchTrainer(squared), from_function(3, houses), count=3, workers=workers)
    assert [(r.dropped, r.failed) for r in results] == [({}, "")] * 3
    assert results[-1].state.model.parameters == pytest.approx([50_000, -20_000, 250_000], abs=500)


def test_batch_norm_over_raw_features_of_a_large_deviation_counts_every_client():
    def raw(number):
        random = np.random.default_rng(number)
        return Samples(random.normal(0, 40, (600, 3)).astype(np.float32), random.integers(2, size=600))

    def model():
        return nn.Sequential(nn.BatchNorm1d(3, momentum=0.9), nn.Linear(3, 2))

    strategy = fedavg(sampling=uniform(100), local=LocalTraining(batch_size=300))
    [result] = run(strategy, TorchTrainer(Task(model)), from_function(100, raw))
    assert (result.dropped, result.failed) == ({}, "")
    assert result.state.model.buffers[3:] == pytest.approx([1600] * 3, rel=0.05)


LAYOUT = Layout((Tensor("first", (3,)), Tensor("second", (2,))))


@dataclass(frozen=True)
class Given(MeanTrainer):
    """Clients answer what they are given: factors of a delta of ones, and numbers of examples."""

    deltas: tuple[float, ...] = (1.0,)
    examples: tuple[int, ...] = (10,)
    layout: Layout = LAYOUT
    supports = frozenset({"correction"})

    def initial(self, seed: int) -> Model:
        return Model(
            np.zeros(self.layout.dimension, np.float32), np.zeros(self.layout.buffer_size, np.float32)
        )

    def fit(self, model, data, local, *, seed, round, client, correction=None):
        number = int(client.rpartition("-")[2])
        delta = np.full(self.layout.dimension, self.deltas[number % len(self.deltas)], np.float32)
        examples = self.examples[number % len(self.examples)]
        buffers = np.full(self.layout.buffer_size, delta[0], np.float32)
        return Fit(delta, buffers, examples, {"loss": float(number)})


@pytest.mark.parametrize("weighted", [True, False])
def test_a_client_of_more_than_a_million_examples_counts_with_the_most_that_is_allowed(weighted):
    trainer = Given(deltas=(1.0, 2.0), examples=(1_000_001, 1_000_000))
    strategy = fedavg(sampling=uniform(2), weighted=weighted)
    [result] = run(strategy, trainer, clients(2))
    assert result.dropped == {}
    assert result.state.model.parameters.tolist() == [1.5] * 5
    assert result.metrics == {"loss": 0.5}


@pytest.mark.parametrize(
    ("at_most", "mean"), [(100, 1.5), (3_000_000, 1.75), (5_000_000, 8.6 / 4.8)], ids=["low", "high", "above"]
)
def test_the_largest_weight_is_a_cap_wherever_it_lies(at_most, mean):
    trainer = Given(deltas=(1.0, 2.0), examples=(1_000_000, 3_800_000))
    pipeline = weight_by_examples(at_most)
    [result] = run(fedavg(sampling=uniform(2), pipeline=pipeline), trainer, clients(2))
    assert result.dropped == {}
    assert result.state.model.parameters.tolist() == pytest.approx([mean] * 5)


def test_a_lower_bound_of_the_strategy_drops_who_is_above_it():
    trainer = Given(examples=(50, 5000))
    [result] = run(fedavg(sampling=uniform(2), max_weight=1000), trainer, clients(2))
    assert result.dropped == {"client-001": "its weight is 5000.0; it must be a number from 0 to 1000"}


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("claim", [2**60, 2**40 + 1])
def test_an_absurd_number_of_examples_is_dropped_by_name(claim, weighted):
    trainer = Given(deltas=(1.0, 1.0, 9.0), examples=(10, 20, claim))
    [result] = run(fedavg(sampling=uniform(3), weighted=weighted), trainer, clients(3))
    assert result.dropped == {
        "client-002": f"its number of examples is {claim}; it must be a whole number from 0 to"
        " 1,099,511,627,776"
    }
    assert result.state.model.parameters.tolist() == [1.0] * 5


def test_the_most_examples_that_may_be_claimed_take_over_neither_model_nor_metrics():
    trainer = Given(deltas=(0.0, 1.0), examples=(1_000_000, 2**40))
    [result] = run(fedavg(sampling=uniform(2)), trainer, clients(2))
    assert result.dropped == {}
    assert result.state.model.parameters.tolist() == [0.5] * 5
    assert result.metrics == {"loss": 0.5}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("pipeline", ["float32()", "random_k(0.5)", "quantize(8)"])
def test_clients_of_all_sizes_give_one_model_with_any_number_of_workers(pipeline, workers):
    """The model is larger than what a pipe holds; only some workers have sums with a second word."""
    layout = Layout((Tensor("w", (40_000,)),), (Tensor("running_var", (30_000,)),))
    deltas = (1e-3, 1.0, 1e-3, 3e12, -3e12, 7e9, 0.5, 1e-5)
    trainer = Given(deltas=deltas, examples=(1, 60_000, 7), layout=layout)
    strategy = fedavg(sampling=uniform(24), pipeline=parse_pipeline(pipeline), norm_bound=0)
    here = run(strategy, trainer, clients(24), count=2, workers=1)
    there = run(strategy, trainer, clients(24), count=2, workers=workers + 1)
    for one, other in zip(here, there, strict=True):
        assert one.dropped == other.dropped == {}
        assert one.state.model.parameters.tobytes() == other.state.model.parameters.tobytes()
        assert one.state.model.buffers.tobytes() == other.state.model.buffers.tobytes()
    assert np.abs(here[0].state.model.parameters).max() > 1e6


def test_control_variates_of_large_values_count():
    trainer = Given(deltas=(1e9, 2e9, 3e9))
    local = LocalTraining(learning_rate=0.01, batch_size=0)
    [result] = run(scaffold(sampling=uniform(3), local=local), trainer, clients(3))
    assert (result.dropped, result.failed) == ({}, "")
    assert result.state.streams["control"] == pytest.approx([-2e11] * 5, rel=1e-6)


@pytest.mark.parametrize(
    ("layout", "delta", "tensor"),
    [
        (LAYOUT, 1e18, "first"),
        (Layout((Tensor("w", (2,)),), (Tensor("mean", (4,)), Tensor("var", (1,)))), 1e18, "mean"),
    ],
)
@pytest.mark.parametrize("pipeline", ["float32()", "quantize(8)"])
def test_a_value_beyond_the_range_is_dropped_with_its_tensor_and_the_remedy(layout, delta, tensor, pipeline):
    trainer = Given(deltas=(1.0, delta), layout=layout)
    strategy = fedavg(sampling=uniform(2), pipeline=parse_pipeline(pipeline))
    [result] = run(strategy, trainer, clients(2))
    assert list(result.dropped) == ["client-001"]
    said = result.dropped["client-001"]
    assert said.startswith(f"in '{tensor}' its largest weighted value is 1e+19, 1e+18 with a weight of 10;")
    assert "at most 1.15e+18 is allowed: scale inputs and targets to about 1, or lower" in said
    assert result.state.model.parameters.tolist() == [1.0] * layout.dimension


def test_under_a_mask_a_client_of_very_many_examples_counts_as_well():
    trainer = Given(deltas=(0.5,), examples=(2_000_000, 10))
    strategy = secure_fedavg(1.0, sampling=uniform(12))
    [result] = run(strategy, trainer, clients(12), masks=False)
    assert (result.dropped, result.failed) == ({}, "")
