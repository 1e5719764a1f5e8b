"""Private steps on a GPU: whole units, the clip's bound, and the noise of the seed."""

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch import private as torch_private
from hedgerow.client.torch.samples import CLIP_UNITS
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.client.torch.with_opacus import installed
from hedgerow.types import LocalTraining, Samples
from tests.gpus import apart, bits, needs_gpu

pytestmark = needs_gpu

WAYS = ["hedgerow", pytest.param("opacus", marks=pytest.mark.skipif(not installed(), reason="no Opacus"))]


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))


class Recurrent(nn.Module):
    """torch's own GRU, which `torch.func` cannot take: samples one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.linear = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(self.recurrent(x.flatten(1, 2))[0][:, -1])


class Dropped(nn.Module):
    """Dropout between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.second(nn.functional.dropout(self.first(x.flatten(1)), 0.4, self.training))


MODELS = [dense, convolutional, Recurrent, Dropped]


def samples(n: int) -> Samples:
    rng = np.random.default_rng(n)
    return Samples(rng.normal(size=(n, 1, 4, 4)).astype(np.float32), rng.integers(3, size=n))


def private(by: str, noise: float = 1.1, rate: float = 0.25) -> LocalTraining:
    return LocalTraining(
        learning_rate=0.5, batch_size=8, clip_samples=0.7, sample_noise=noise, sample_rate=rate,
        sample_delta=1e-5, sample_gradients=by,
    )  # fmt: skip


def fitted(device: str, model, by: str, data: Samples):
    trainer = TorchTrainer(Task(model), device=device)
    return trainer.fit(trainer.initial(0), data, private(by), seed=1, round=1, client="a", seeded_noise=True)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("model", MODELS)
def test_a_private_client_learns_what_it_learns_on_the_cpu_and_twice_the_same_bits(model, by):
    cpu, one, two = (fitted(device, model, by, samples(30)) for device in ("cpu", "cuda", "cuda"))
    assert bits(one) == bits(two)
    # Dropout of a private step draws from torch's generator, which is another one on a GPU.
    assert model is Dropped or apart(one, cpu) < 1e-4
    assert (one.num_examples, one.metrics, one.sample_gradients) == (1, {}, cpu.sample_gradients)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("largest", [0.01, 1.0, 100.0])
def test_a_sum_is_of_whole_units_and_no_sample_adds_more_than_the_clip(model, by, largest):
    trainer = TorchTrainer(Task(model), device="cuda")
    trainer._net.load(trainer.initial(0))
    trainer._net.train()
    data = samples(20)
    gradients = trainer._way(data, private(by), "a").gradients
    x, y = (torch.from_numpy(values).cuda() for values in (data.x, data.y))

    def summed(rows: slice) -> list[int]:
        found = gradients.fixed_sum(x[rows], y[rows], largest, lambda k: 7)
        assert found.dtype == torch.int64
        return found.cpu().tolist()

    alone = [summed(slice(k, k + 1)) for k in range(20)]
    for one in alone:
        assert sum(value**2 for value in one) <= CLIP_UNITS**2
    assert summed(slice(0, 20)) == summed(slice(0, 20))
    if model is not Dropped:  # each one draws by its place among the samples
        np.testing.assert_allclose(summed(slice(0, 20)), np.sum(alone, 0), atol=20 * 1e-5 * CLIP_UNITS)


def test_powers_of_two_are_exact_there():
    exponents = torch.arange(-120, 121, device="cuda")
    found = torch.ldexp(torch.ones(len(exponents), dtype=torch.float64, device="cuda"), exponents)
    assert found.tolist() == [2.0**k for k in range(-120, 121)]


def test_sum_and_noise_are_on_one_grid_and_the_noise_is_the_seeds(monkeypatch):
    drawn, given = [], []
    real = torch_private.discrete_gaussian

    def noted(sigma, n, source):
        drawn.append(real(sigma, n, source))
        return drawn[-1]

    def seen(sums, take, data, parameters, local, *rest):
        found = step(sums, take, data, parameters, local, *rest)
        given.append(torch.cat([g.flatten() for g in found]).double().cpu() * local.batch_size)
        return found

    step = torch_private.private_step
    monkeypatch.setattr(torch_private, "discrete_gaussian", noted)
    monkeypatch.setattr("hedgerow.client.torch.trainer.private_step", seen)
    for device in ("cpu", "cuda"):
        fitted(device, dense, "hedgerow", samples(30))
    half = len(drawn) // 2
    assert half == 4
    for cpu, gpu in zip(drawn[:half], drawn[half:], strict=True):
        assert np.array_equal(cpu, gpu)
    for gradient, noise in zip(given[half:], drawn[half:], strict=True):
        units = gradient / (0.7 / CLIP_UNITS)  # float32 of a whole number of units
        off = (units - units.round()).abs() / units.abs().clamp(min=1)
        assert off.max() < 2**-23
        rest = (units.round() - torch.from_numpy(noise)).norm() / CLIP_UNITS
        assert rest < 30
