"""Local training is that of a plain torch loop, and what is measured is a mean over samples."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from hedgerow.rng import generator
from hedgerow.types import LocalTraining, Model, Samples
from tests.laws.torch_fits import cnn_trainer, dropout_net, fit, images


def plain_fit(factory, model: Model, data: Samples, local: LocalTraining, seed, round, client) -> np.ndarray:
    """The obvious loop with torch.optim, on a module of its own."""
    torch.manual_seed(0)
    module = factory()
    nn.utils.vector_to_parameters(torch.from_numpy(model.parameters.copy()), module.parameters())
    start = [p.detach().clone() for p in module.parameters()]
    optimizer = (
        torch.optim.SGD(
            module.parameters(),
            local.learning_rate_at(round),
            momentum=local.momentum,
            weight_decay=local.weight_decay,
        )
        if local.optimizer == "sgd"
        else torch.optim.Adam(
            module.parameters(), local.learning_rate_at(round), weight_decay=local.weight_decay
        )
    )
    shuffle = generator(seed, "shuffle", round=round, client=client)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    for _ in range(local.epochs):
        for index in torch.from_numpy(shuffle.permutation(len(data))).split(local.batch_size or len(data)):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(x[index]), y[index])
            distance = sum(((p - s) ** 2).sum() for p, s in zip(module.parameters(), start, strict=True))
            (loss + local.proximal / 2 * distance).backward()
            if local.clip_gradient:
                nn.utils.clip_grad_norm_(module.parameters(), local.clip_gradient)
            optimizer.step()
    return nn.utils.parameters_to_vector(module.parameters()).detach().numpy() - model.parameters


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@settings(max_examples=25, deadline=None)
@given(
    epochs=st.integers(1, 3),
    batch_size=st.sampled_from([0, 1, 4, 5, 100]),
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.01]),
    proximal=st.sampled_from([0.0, 0.5]),
    clip_gradient=st.sampled_from([0.0, 0.05, 100.0]),
    decay=st.sampled_from([1.0, 0.9]),
)
def test_a_fit_is_the_plain_torch_loop(
    optimizer, epochs, batch_size, momentum, weight_decay, proximal, clip_gradient, decay
):
    local = LocalTraining(
        optimizer=optimizer,
        learning_rate=0.05 if optimizer == "sgd" else 0.003,
        learning_rate_decay=decay,
        epochs=epochs,
        batch_size=batch_size,
        momentum=momentum if optimizer == "sgd" else 0.0,
        weight_decay=weight_decay,
        proximal=proximal,
        clip_gradient=clip_gradient,
    )
    factory = build("mlp-2nn", input_shape=(2, 3), num_classes=3, hidden=8)
    trainer = TorchTrainer(Task(factory))
    model, data = trainer.initial(3), images(9, classes=3, shape=(2, 3))
    ours = trainer.fit(model, data, local, seed=11, round=3, client="c").delta
    plain = plain_fit(factory, model, data, local, 11, 3, "c")
    # A value where Adam's gradient is nearly 0 / 0 amplifies the last bit of the gradient; SGD does not.
    np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-7 if optimizer == "sgd" else 1e-5)
    assert np.abs(plain).max() > 1e-5


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cnn_in_channels_last_format_trains_as_a_plain_one(channels):
    factory = build("cnn-small", input_shape=(channels, 16, 16), num_classes=10, hidden=20)
    trainer = TorchTrainer(Task(factory))
    model, data = trainer.initial(3), images(25, shape=(channels, 16, 16))
    ours = trainer.fit(model, data, LocalTraining(), seed=1, round=1, client="c").delta
    plain = plain_fit(factory, model, data, LocalTraining(), 1, 1, "c")
    np.testing.assert_allclose(ours, plain, rtol=0, atol=5e-7)


def test_a_step_is_never_longer_than_the_clipped_gradient_allows():
    local = LocalTraining(learning_rate=0.5, batch_size=0, clip_gradient=0.01)
    delta = fit(cnn_trainer(), images(20), local).delta
    assert np.linalg.norm(delta) == pytest.approx(0.5 * 0.01, rel=1e-3)


def each_clipped(model: Model, data: Samples, largest: float, factory) -> np.ndarray:
    """The mean of the clipped gradients, from one backward pass for each sample."""
    torch.manual_seed(0)
    module = factory()
    nn.utils.vector_to_parameters(torch.from_numpy(model.parameters.copy()), module.parameters())
    total = np.zeros(len(model.parameters))
    for x, y in zip(torch.from_numpy(data.x), torch.from_numpy(data.y), strict=True):
        module.zero_grad()
        nn.functional.cross_entropy(module(x[None]), y[None]).backward()
        gradient = nn.utils.parameters_to_vector([p.grad for p in module.parameters()]).double().numpy()
        total += gradient * min(1.0, largest / np.linalg.norm(gradient))
    return total / len(data)


@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small", "gru-char"])
@pytest.mark.parametrize("largest", [0.05, 1.5, 1e6])
def test_a_step_is_the_mean_of_the_samples_clipped_gradients(name, largest):
    words = name == "gru-char"  # whose samples go one after another: torch.func cannot take its GRU
    shape = (6,) if words else (1, 16, 16)
    factory = build(name, input_shape=shape, num_classes=10, hidden=9)
    trainer, data = TorchTrainer(Task(factory)), images(7, shape=shape)
    if words:
        data = Samples(np.random.default_rng(0).integers(10, size=(7, 6)), data.y)
    model = trainer.initial(0)
    local = LocalTraining(learning_rate=0.5, batch_size=0, clip_samples=largest)
    got = fit(trainer, data, local, model)
    expected = -0.5 * each_clipped(model, data, largest, factory)
    np.testing.assert_allclose(got.delta, expected, rtol=0, atol=3e-7)
    loss = fit(trainer, data, LocalTraining(batch_size=0), model).metrics["loss"]
    assert got.metrics["loss"] == pytest.approx(loss, rel=1e-6)


def test_dropout_is_drawn_for_each_sample_apart_when_samples_are_clipped():
    trainer, data = TorchTrainer(Task(dropout_net)), images(1)
    twins = Samples(np.repeat(data.x, 2, 0), np.repeat(data.y, 2))
    local = LocalTraining(batch_size=0, clip_samples=1e6)
    model = trainer.initial(0)
    one, two = (fit(trainer, d, local, model).delta for d in (data, twins))
    assert np.abs(one - two).max() > 1e-4
    assert np.array_equal(fit(trainer, twins, local, model).delta, two)


def test_a_correction_is_added_to_every_gradient():
    trainer, data = cnn_trainer(), images(20)
    model, local = trainer.initial(0), LocalTraining(learning_rate=1e-6, batch_size=5)
    correction = np.linspace(-1, 1, trainer.layout.dimension, dtype=np.float32)
    plain = trainer.fit(model, data, local, seed=1, round=1, client="a").delta
    moved = trainer.fit(model, data, local, seed=1, round=1, client="a", correction=correction).delta
    np.testing.assert_allclose(moved - plain, -4e-6 * correction, rtol=0, atol=1e-7)


def test_the_proximal_term_holds_the_model_nearer():
    far = fit(cnn_trainer(), images(40), LocalTraining(epochs=5)).delta
    near = fit(cnn_trainer(), images(40), LocalTraining(epochs=5, proximal=2.0)).delta
    assert np.linalg.norm(near) < 0.8 * np.linalg.norm(far)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 41))
def test_evaluation_does_not_depend_on_its_batches(n, batch):
    data = images(n)
    model = cnn_trainer().initial(2)
    whole = cnn_trainer().evaluate(model, data)
    parts = cnn_trainer(evaluation_batch=batch).evaluate(model, data)
    assert parts["accuracy"] == pytest.approx(whole["accuracy"], abs=1e-12)
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_own_loss_and_metrics_are_means_over_samples():
    def loss(outputs, targets):
        return ((outputs[:, 0] - targets) ** 2).mean()

    def error(outputs, targets):
        return (outputs[:, 0] - targets).abs()

    def factory():
        net = nn.Linear(1, 1)
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
        return net

    trainer = TorchTrainer(Task(factory, loss, {"error": error}), evaluation_batch=2)
    data = Samples(np.zeros((3, 1), np.float32), np.array([1, 2, 6]))
    assert trainer.evaluate(trainer.initial(0), data) == {
        "loss": pytest.approx(41 / 3),
        "error": pytest.approx(3.0),
    }


def test_the_loss_of_a_fit_is_the_mean_over_samples_and_epochs():
    trainer, data = cnn_trainer(), images(11)
    model = trainer.initial(0)
    barely = LocalTraining(learning_rate=1e-12, epochs=2, batch_size=4)
    expected = trainer.evaluate(model, data)["loss"]
    assert fit(trainer, data, barely, model).metrics == {"loss": pytest.approx(expected, rel=1e-6)}
