"""A local epoch on ONNX Runtime alone is as near to float64 as torch's, for every model and option."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.draws import Draws
from hedgerow.client.onnx.steps import Steps
from hedgerow.client.onnx.trainer import OnnxTrainer
from hedgerow.client.task import Task
from hedgerow.client.torch.factorised import low_rank
from hedgerow.client.torch.lora import lora
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.exporting import SampleForm, export_training
from hedgerow.graphs.signature import signature_of
from hedgerow.models import MODELS, build
from hedgerow.types import LocalTraining, Samples
from tests.laws.export_steps import by_torch
from tests.laws.onnx_fits import WHO, check_epoch, graphs_of, order_of
from tests.laws.test_export_training import SERIES, SHIPPED, batch_norm_task, samples, shipped

SETTINGS = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "weight decay and proximal": {"weight_decay": 0.1, "proximal": 0.5},
    "clipped gradients": {"clip_gradient": 0.1, "momentum": 0.5},
    "clipped samples": {"clip_samples": 0.3, "weight_decay": 0.01, "sample_gradients": "hedgerow"},
    "adam": {"optimizer": "adam", "learning_rate": 0.002},
    "decay": {"learning_rate_decay": 0.5, "epochs": 3},
}


def local(**given) -> LocalTraining:
    return LocalTraining(**{"batch_size": 6, "learning_rate": 0.05, **given})


def check(name: str, chosen: str, *, corrected: bool) -> None:
    """23 samples in batches of six: the last one is filled up."""
    task, _ = shipped(name)
    check_epoch(task, samples(SHIPPED[name][0], 23), local(**SETTINGS[chosen]), corrected=corrected)


SHOWN = MODELS.names()
DRAWN = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("name", "chosen", "corrected"),
    [(name, str(DRAWN.choice(list(SETTINGS))), bool(DRAWN.integers(2))) for name in SHOWN],
)
def test_a_shipped_models_epoch_is_as_near_to_float64_as_torchs(name, chosen, corrected):
    check(name, chosen, corrected=corrected)


@pytest.mark.long
@pytest.mark.parametrize("corrected", [False, True], ids=["", "corrected"])
@pytest.mark.parametrize("chosen", SETTINGS)
@pytest.mark.parametrize("name", SHOWN)
def test_so_is_every_shipped_models_with_every_option(name, chosen, corrected):
    check(name, chosen, corrected=corrected)


@pytest.mark.parametrize(("chosen", "corrected"), [(each, k % 2 == 0) for k, each in enumerate(SETTINGS)])
def test_every_option_is_torchs(chosen, corrected):
    check("mlp-2nn", chosen, corrected=corrected)


@pytest.mark.parametrize("chosen", ["adam", "decay", "weight decay and proximal"])
def test_a_step_in_float64_is_torchs_to_ten_digits(chosen):
    """Of a model whose operators ONNX Runtime has in float64; others are held to it by its reference."""
    task, _ = shipped("mlp-2nn")
    data, training = samples(SHIPPED["mlp-2nn"][0], 23), local(**SETTINGS[chosen])
    form = SampleForm.of(data)
    graph = export_training(task, training, form, correction=True, dtype="float64")
    model = TorchTrainer(task).initial(1)
    correction = np.linspace(-0.01, 0.01, len(model.parameters)).astype("float32")
    steps = Steps(graph.content, signature_of(graph.manifest, "train"), 1)
    steps.begin(model, training.learning_rate, correction)
    order = order_of(data, training)
    for index in order:
        steps.step(data.x.astype("float64"), data.y, index, Draws(0, round=0, client=""))
    exact = by_torch(task, model, training, data, torch.float64, correction=correction, order=order)
    np.testing.assert_allclose(steps.value("parameters"), exact, rtol=0, atol=1e-10 * len(order))


def frozen_net() -> nn.Module:
    first = nn.Conv1d(3, 4, 3).requires_grad_(False)
    return nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.LayerNorm(56), nn.Linear(56, 10))


class Tied(nn.Module):
    """One matrix before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.scores = nn.Linear(8, 10, bias=False)
        self.scores.weight = self.embedding.weight

    def forward(self, x):
        return self.scores(torch.tanh(self.embedding(x)).mean(1))


NETS = {
    "frozen layers": (frozen_net, SERIES),
    "LoRA": (lora(build("mlp-2nn", input_shape=SERIES, num_classes=10, hidden=12), rank=2), SERIES),
    "low rank": (low_rank(build("cnn-small", input_shape=(1, 16, 16), num_classes=10), rank=2), (1, 16, 16)),
    "tied weights": (Tied, (7,)),
}


@pytest.mark.parametrize("name", NETS)
def test_what_is_not_trained_stays_and_the_rest_is_torchs(name):
    model, shape = NETS[name]
    check_epoch(Task(model), samples(shape, 23), local(momentum=0.9, epochs=2))


@pytest.mark.parametrize("number", [19, 1])
def test_batch_norm_is_the_trainers_whatever_is_left_for_the_last_batch(number):
    """Of 19, it has a single sample, which is normalised by the running statistics."""
    task, data, training = batch_norm_task(), samples(SERIES, number), local(epochs=2)
    theirs, ours = TorchTrainer(task), OnnxTrainer(graphs_of(task, training, data))
    model = theirs.initial(1)
    expected, found = (t.fit(model, data, training, **WHO) for t in (theirs, ours))
    np.testing.assert_allclose(found.delta, expected.delta, atol=3e-6)
    np.testing.assert_allclose(found.buffers, expected.buffers, rtol=2e-6, atol=2e-6)
    after = type(model)(model.parameters + expected.delta, expected.buffers)
    assert ours.evaluate(after, data) == pytest.approx(theirs.evaluate(after, data), abs=1e-5)


def dropout_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 5), nn.Dropout1d(0.25), nn.Flatten(), nn.Dropout(0.4), nn.Linear(48, 10)
    )


@pytest.mark.parametrize("chosen", ["momentum", "clipped samples"])
def test_dropout_keeps_what_it_keeps_in_torchs_trainer(chosen):
    """Over several epochs, with a short last batch in each."""
    task, data, training = Task(dropout_net), samples(SERIES, 23), local(**SETTINGS[chosen], epochs=2)
    theirs, ours = TorchTrainer(task), OnnxTrainer(graphs_of(task, training, data))
    model = theirs.initial(1)
    expected, found, other = (
        trainer.fit(model, data, training, **{**WHO, "client": client})
        for trainer, client in ((theirs, "a"), (ours, "a"), (ours, "b"))
    )
    np.testing.assert_allclose(found.delta, expected.delta, atol=1e-6)
    assert found.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-5)
    assert np.abs(other.delta - expected.delta).max() > 1e-3
    np.testing.assert_allclose(ours.outputs(model, data.x), theirs.outputs(model, data.x), atol=1e-6)


def test_numbers_are_learned_and_measured_by_the_tasks_own_loss_and_metrics():
    random = np.random.default_rng(0)
    data = Samples(random.normal(size=(23, 4)), random.normal(size=(23, 1)))
    net = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1))
    metrics = {"absolute": lambda outputs, y: (outputs - y).abs().mean(1)}
    task = Task(lambda: deepcopy(net), nn.functional.smooth_l1_loss, metrics)
    check_epoch(task, data, local())
    theirs, ours = TorchTrainer(task), OnnxTrainer(graphs_of(task, local(), data))
    model = theirs.initial(0)
    assert ours.evaluate(model, data) == pytest.approx(theirs.evaluate(model, data), abs=1e-6)
    np.testing.assert_allclose(ours.outputs(model, data.x), theirs.outputs(model, data.x), atol=1e-6)


def test_targets_that_are_not_counted_and_probabilities_are_torchs():
    task, _ = shipped("logistic")
    data = samples(SHIPPED["logistic"][0], 23)
    check_epoch(task, Samples(data.x, np.where(np.arange(23) % 6 == 2, -100, data.y)), local())
    shares = np.random.default_rng(0).dirichlet(np.ones(10), 23).astype("float32")
    check_epoch(Task(task.model, metrics={}), Samples(data.x, shares), local())


def test_nothing_is_remembered_from_one_fit_to_the_next():
    task, _ = shipped("cnn-small")
    data, training = samples(SHIPPED["cnn-small"][0], 23), local(momentum=0.9)
    trainer, other = (OnnxTrainer(graphs_of(task, training, data)) for _ in range(2))
    model = TorchTrainer(task).initial(1)
    before = model.parameters.copy()
    first = trainer.fit(model, data, training, **WHO)
    trainer.fit(type(model)(first.delta), samples(SHIPPED["cnn-small"][0], 8), training, **WHO)
    measured = trainer.evaluate(model, data)
    with pytest.raises(ValueError, match="diverged"):
        trainer.fit(type(model)(first.delta * np.float32(np.nan)), data, training, **WHO)
    for again in (trainer.fit(model, data, training, **WHO), other.fit(model, data, training, **WHO)):
        assert again.delta.tobytes() == first.delta.tobytes()
        assert again.metrics == first.metrics
    assert trainer.evaluate(model, data) == measured
    assert model.parameters.tobytes() == before.tobytes()
