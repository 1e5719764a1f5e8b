"""Clients that train adapters: nothing else moves or travels, in a loop, side by side, and with noise."""

import numpy as np
import pytest
import torch
from torch import nn

import hedgerow as hr
from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.torch.lora import lora
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from hedgerow.strategies import parse_pipeline
from hedgerow.types import LocalTraining, Samples
from tests.cohorts import both, check_company, check_equal
from tests.tuned_models import LOCAL, MODELS, TIME, WIDTH, dense, samples

series = build("cnn-1d", input_shape=(2, 12), num_classes=3, width=5)


def some_clients(shape):
    return [(f"client {k}", samples(shape, 5 + 3 * k, k)) for k in range(5)]


MASKED = "chain(weight_by_examples(30), clip(5.0), quantize(8, range=1.0), mask())"


@pytest.mark.parametrize(
    ("pipeline", "options"),
    [("float32()", {}), ("float32()", {"workers": 2}), (MASKED, {"masks": True})],
    ids=["plain", "workers", "masked"],
)
def test_the_frozen_weights_keep_their_bits_and_only_adapters_are_sent(pipeline, options):
    task = hr.Task(lora(build("mlp-2nn", input_shape=(9,), num_classes=3), rank=2, train=["linear"]))
    trainer = TorchTrainer(task)
    start = trainer.initial(3)
    data = hr.from_function(12, lambda k: samples((9,), 6 + k, k))
    strategy = hr.fedavg(
        pipeline=parse_pipeline(pipeline), sampling=hr.uniform(11), local=LOCAL, weighted=False
    )
    results = list(hr.simulate(task, data, strategy, rounds=2, seed=3, **options))
    assert not any(r.dropped or r.failed for r in results)
    model = results[-1].state.model
    assert model.constants.tobytes() == start.constants.tobytes()
    assert not np.array_equal(model.parameters, start.parameters)
    adapted = 2 * (200 + 9) + 2 * (200 + 200) + 3 * 200 + 3
    assert trainer.layout.dimension == adapted
    assert trainer.layout.constant_size == 200 * 9 + 200 + 200 * 200 + 200
    if pipeline == "float32()":
        assert {4 * adapted < sent < 4 * adapted + 1000 for sent in results[0].bytes_up.values()} == {True}


def check_batched(make, clients) -> None:
    """There is a batch: one that cannot be is refused where it was asked for."""
    trainer = CohortTrainer(hr.Task(make), mode="batch", batch_clients=4)
    dict(trainer.fit_many(trainer.initial(1), clients, LOCAL, seed=3, round=2))
    assert trainer.choice.method == "batch"


@pytest.mark.parametrize(("make", "shape"), [*MODELS, pytest.param(series, (2, 12), id="series")])
def test_clients_side_by_side_get_what_each_gets_alone(make, shape):
    tuned = lora(make, rank=2)
    check_batched(tuned, some_clients(shape))
    check_equal(*both(tuned, some_clients(shape), LOCAL))
    check_company(tuned, some_clients(shape), LOCAL, 4, 2)


def test_each_samples_gradient_is_clipped_side_by_side_as_alone():
    local = LocalTraining(learning_rate=0.5, batch_size=4, clip_samples=0.1)
    check_equal(*both(lora(dense, rank=2), some_clients((5,)), local))


def test_a_model_that_cannot_be_batched_is_trained_in_a_loop_and_says_why():
    trainer = CohortTrainer(
        hr.Task(
            lora(
                build("gru-char", input_shape=(6,), num_classes=3, vocabulary=9),
                rank=2,
                targets=["linear"],
                train=["recurrent"],
            )
        )
    )
    words = np.random.default_rng(0)
    clients = [(str(k), Samples(words.integers(9, size=(8, 6)), words.integers(3, size=8))) for k in range(3)]
    fits = dict(trainer.fit_many(trainer.initial(0), clients, LOCAL, seed=1, round=1))
    assert trainer.choice.why
    for name, fit in fits.items():
        alone = trainer.fit(trainer.initial(0), dict(clients)[name], LOCAL, seed=1, round=1, client=name)
        np.testing.assert_allclose(fit.delta, alone.delta, rtol=0, atol=1e-6)


def test_noise_for_each_sample_works_beside_frozen_weights():
    local = LocalTraining(
        learning_rate=0.5,
        batch_size=4,
        clip_samples=0.5,
        sample_noise=1.0,
        sample_rate=0.5,
        sample_delta=1e-5,
    )
    for make in (
        lora(dense, rank=2),
        lambda: nn.Sequential(nn.Linear(5, 4).requires_grad_(False), nn.Linear(4, 3)),
    ):
        trainer = TorchTrainer(hr.Task(make))
        start = trainer.initial(0)
        fit = trainer.fit(start, samples((5,), 9), local, seed=1, round=1, client="a", seeded_noise=True)
        assert np.abs(fit.delta).max() > 0


def test_the_room_for_each_samples_gradient_counts_the_weights_that_adapters_change():
    net = FlatModule(lora(dense, rank=1)(), torch.device("cpu"))
    assert net.layout.dimension == 5 + 11 + 11 + 3
    assert net.gradient_size == net.layout.dimension + 5 * 11 + 11 * 3
    assert FlatModule(dense(), torch.device("cpu")).gradient_size == 5 * 11 + 11 + 11 * 3 + 3


class Replaced(nn.Module):
    """A transformer layer of torch's in which one part is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, dropout=0.0, batch_first=True)
        self.layer.norm1 = nn.RMSNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x):
        return self.head(self.layer(x).mean(1))


def test_a_transformer_layer_with_another_part_is_batched_as_what_it_is():
    check_batched(Replaced, some_clients((TIME, WIDTH)))
    check_equal(*both(Replaced, some_clients((TIME, WIDTH)), LOCAL))


def test_a_batch_has_room_for_every_clients_copy_of_the_frozen_weights(monkeypatch):
    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 300), nn.Tanh(), nn.Linear(300, 3))

    trainer = CohortTrainer(hr.Task(lora(wide, rank=1)))
    trained, frozen = trainer.layout.dimension, trainer.layout.constant_size
    assert frozen > 4 * trained
    monkeypatch.setattr("hedgerow.client.cohort.chooser._MEMORY_FLOATS", 2 * (4 * trained + frozen))
    dict(trainer.fit_many(trainer.initial(0), some_clients((5,)), LOCAL, seed=1, round=1))
    assert set(trainer.choice.milliseconds) == {"1", "2"}
