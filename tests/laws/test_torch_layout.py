"""What of a torch module is sent: parameters once, buffers that are saved, frozen weights as constants."""

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from hedgerow.rng import generator
from hedgerow.types import Layout, LocalTraining, Model, Samples
from tests.laws.torch_fits import Leaky, cnn_trainer, fit, images, norm_net


def test_batchnorm_statistics_are_sent_and_its_counter_is_not():
    trainer = TorchTrainer(Task(norm_net))
    assert [(b.name, b.shape) for b in trainer.layout.buffers] == [
        ("2.running_mean", (8,)),
        ("2.running_var", (8,)),
    ]
    model, data = trainer.initial(0), images(20)
    assert model.buffers.tolist() == [0.0] * 8 + [1.0] * 8
    module = norm_net().train()
    nn.utils.vector_to_parameters(torch.from_numpy(model.parameters.copy()), module.parameters())
    module(torch.from_numpy(data.x))
    got = fit(trainer, data, LocalTraining(batch_size=0), model).buffers
    expected = torch.cat([module[2].running_mean, module[2].running_var]).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)
    tuned = Model(model.parameters, expected)
    module.eval()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(torch.from_numpy(data.x)), torch.from_numpy(data.y))
    assert trainer.evaluate(tuned, data)["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("n", [1, 11])
def test_a_batch_of_one_trains_with_batchnorms_running_statistics(n):
    trainer = TorchTrainer(Task(norm_net))
    model = trainer.initial(0)
    result = fit(trainer, images(n), LocalTraining(batch_size=10), model)
    assert result.num_examples == n
    assert np.abs(result.delta).max() > 0
    assert np.array_equal(result.buffers, model.buffers) == (n == 1)


def test_buffers_that_are_not_saved_are_not_sent():
    layout = TorchTrainer(Task(Leaky)).layout
    assert [b.name for b in layout.buffers] == ["norm.running_mean", "norm.running_var"]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(256, 256, bias=False)
        self.second = nn.Linear(256, 256, bias=False)
        self.second.weight = self.first.weight
        self.unused = nn.Parameter(torch.ones(3))
        self.scale = nn.Parameter(torch.full((2,), 2.0), requires_grad=False)
        self.register_buffer("table", torch.ones(256, dtype=torch.int32))

    def forward(self, x):
        return self.second(torch.relu(self.first(x.flatten(1))))[:, :10] * self.scale[0]


def test_tied_weights_are_there_once_frozen_ones_are_constants_and_integers_nowhere():
    trainer = TorchTrainer(Task(Tied))
    assert [t.name for t in trainer.layout.parameters] == ["unused", "first.weight"]
    assert [t.name for t in trainer.layout.constants] == ["scale"]
    model = trainer.initial(0)
    result = fit(trainer, images(20), model=model)
    assert model.constants.tolist() == [2.0, 2.0]
    assert not result.buffers.size
    assert result.delta[:3].tolist() == [0.0] * 3
    factory_delta = plain_tied_delta(model, images(20))
    np.testing.assert_allclose(result.delta[3:], factory_delta, atol=1e-7)
    silenced = Model(model.parameters, constants=np.zeros(2, np.float32))
    assert not fit(trainer, images(20), model=silenced).delta.any()


def plain_tied_delta(model: Model, data: Samples) -> np.ndarray:
    module = Tied()
    weight = torch.from_numpy(model.parameters[3:].copy()).view(256, 256)
    with torch.no_grad():
        module.first.weight.copy_(weight)
    optimizer = torch.optim.SGD([module.first.weight], 0.1)
    order = torch.from_numpy(generator(1, "shuffle", round=1, client="a").permutation(len(data)))
    for index in order.split(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            module(torch.from_numpy(data.x)[index]), torch.from_numpy(data.y)[index]
        ).backward()
        optimizer.step()
    return (module.first.weight.detach() - weight).flatten().numpy()


def test_the_layout_is_in_the_order_of_the_vector():
    trainer = cnn_trainer()
    model = trainer.initial(7)
    module = build("cnn-small", input_shape=(1, 16, 16), num_classes=10, hidden=20)()
    names = [n for n, _ in module.named_parameters()]
    assert [t.name for t in trainer.layout.parameters] == names
    for part, where in zip(trainer.layout.parameters, trainer.layout.slices(), strict=True):
        assert part.shape == tuple(module.get_parameter(part.name).shape)
        with torch.no_grad():
            module.get_parameter(part.name).copy_(torch.from_numpy(model.parameters[where]).view(part.shape))
    module.eval()
    data = images(8)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(torch.from_numpy(data.x)), torch.from_numpy(data.y))
    assert trainer.evaluate(model, data)["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert isinstance(trainer.layout, Layout)
