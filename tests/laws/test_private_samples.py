"""Private local training is algorithm 1 of arXiv:1607.00133, and a client's account is that of its steps."""

import math
from copy import deepcopy
from dataclasses import replace
from itertools import count

import dp_accounting.pld.privacy_loss_distribution as pld
import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from scipy import stats
from torch import nn

from hedgerow.client import account
from hedgerow.client.cohort.trainer import CohortTrainer
from hedgerow.client.task import Task
from hedgerow.client.torch import private as torch_private
from hedgerow.client.torch.samples import CLIP_UNITS, SampleGradients
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.privacy.ledger import Ledger
from hedgerow.rng import seeded_source
from hedgerow.types import Fit, LocalTraining, Samples

PRIVATE = LocalTraining(
    learning_rate=0.5, batch_size=8, clip_samples=0.7, sample_noise=1.1, sample_rate=0.25, sample_delta=1e-5
)


def same_seed(place: int) -> int:
    return 0


def linear() -> nn.Module:
    return nn.Linear(3, 2)


def recurrent() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1])

    return Net()


def data(n: int, *shape: int) -> Samples:
    rng = np.random.default_rng(3)
    return Samples(3 * rng.normal(size=(n, *shape)).astype(np.float32), rng.integers(2, size=n))


def fit(local, samples, *, seed=1, round=1, client="a", **options):
    trainer = TorchTrainer(Task(linear))
    return trainer.fit(trainer.initial(0), samples, local, seed=seed, round=round, client=client, **options)


def clipped(weights, x, y, largest):
    """`(n, 8) float64`: each sample's clipped gradient of a softmax regression."""
    w, b = weights[:6].reshape(2, 3), weights[6:]
    logits = x @ w.T + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    g = np.concatenate([(p[:, :, None] * x[:, None, :]).reshape(len(y), 6), p], 1)
    return g / np.maximum(1, np.linalg.norm(g, axis=1, keepdims=True) / largest)


def no_noise(monkeypatch):
    monkeypatch.setattr(torch_private, "discrete_gaussian", lambda sigma, n, source: np.zeros(n, np.int64))


def off_the_textbook(n: int, by: str = "hedgerow") -> float:
    """How far a fit of `n` samples, with the noise left out, is from the formula, at most."""
    samples = data(n, 3)
    trainer = TorchTrainer(Task(linear))
    model = trainer.initial(0)
    local = replace(PRIVATE, sample_gradients=by)
    ours = trainer.fit(model, samples, local, seed=9, round=2, client="a", seeded_noise=True)
    assert ours.sample_gradients == by
    assert (ours.num_examples, dict(ours.metrics)) == (1, {})
    source = seeded_source(9, "batches of samples", round=2, client="a")
    weights = model.parameters.astype(float)
    for _ in range(4):  # 1 / 0.25
        drawn = source(n) / 2**64 < 0.25
        if drawn.any():
            rows = clipped(weights, samples.x[drawn].astype(float), samples.y[drawn], 0.7)
            weights = weights - 0.5 * rows.sum(0) / 8  # not the number drawn
    return float(np.abs(ours.delta - (weights - model.parameters)).max())


@pytest.mark.parametrize(("by", "off"), [("hedgerow", 2e-6), ("opacus", 1e-5)])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_without_its_noise_a_fit_is_the_textbook_formula(monkeypatch, n, by, off):
    no_noise(monkeypatch)
    assert off_the_textbook(n, by) < off


def no_clip(monkeypatch):
    real = SampleGradients.fixed_sum
    monkeypatch.setattr(
        SampleGradients,
        "fixed_sum",
        lambda self, x, y, largest, seed: real(self, x, y, 1e3, seed) * int(1e3 / largest),
    )


def mean_of_those_drawn(monkeypatch):
    real = torch_private.private_gradients

    def wrong(fixed_sum, samples, parameters, local, chance):
        drawn = [1]

        def counted(index):
            drawn.append(len(index))
            return fixed_sum(index)

        found = real(counted, samples, parameters, local, chance)
        return [g * local.batch_size / drawn[-1] for g in found]

    monkeypatch.setattr(torch_private, "private_gradients", wrong)


def clip_of_the_mean(monkeypatch):
    real = SampleGradients.fixed_sum

    def wrong(self, x, y, largest, seed):
        total = real(self, x, y, 1e3, seed).double() * (1e3 / largest)
        mean = total / len(x)
        return (mean / max(1.0, mean.norm().item() / CLIP_UNITS) * len(x)).long()

    monkeypatch.setattr(SampleGradients, "fixed_sum", wrong)


@pytest.mark.parametrize("fault", [no_clip, mean_of_those_drawn, clip_of_the_mean])
def test_the_textbook_tells_a_faulty_step(monkeypatch, fault):
    no_noise(monkeypatch)
    fault(monkeypatch)
    assert off_the_textbook(40) > 1e-3


@pytest.mark.parametrize(("factory", "shape"), [(linear, (3,)), (recurrent, (5, 3))])
@pytest.mark.parametrize("largest", [0.01, 1.0, 100.0])
def test_one_sample_more_changes_a_sum_by_at_most_the_clip_exactly(factory, shape, largest):
    trainer = TorchTrainer(Task(factory))
    trainer._net.load(trainer.initial(0))
    trainer._net.module.train()
    samples = data(30, *shape)
    x, y = torch.from_numpy(samples.x), torch.from_numpy(samples.y)

    def one(k):
        return trainer._samples.fixed_sum(x[k : k + 1], y[k : k + 1], largest, same_seed).numpy()

    for k in range(30):
        assert sum(int(v) ** 2 for v in one(k)) <= CLIP_UNITS**2
    total = trainer._samples.fixed_sum(x, y, largest, same_seed).numpy()
    # Together they are computed in other order, and so each to float32's rounding.
    np.testing.assert_allclose(total, sum(one(k) for k in range(30)), atol=30 * 1e-5 * CLIP_UNITS)


def times(factor):
    real = torch_private.discrete_gaussian
    return lambda sigma, n, source: real(int(factor * sigma), n, source)


def once_a_round():
    """Noise in the first of four steps only."""
    real, calls = torch_private.discrete_gaussian, count()
    return lambda sigma, n, source: real(sigma, n, source) * (next(calls) % 4 == 0)


@pytest.mark.parametrize(
    ("noise", "right"),
    [(times(1), True), (times(2 / 3), False), (times(3 / 2), False), (once_a_round(), False)],
)
def test_the_noise_has_its_size_in_every_step(monkeypatch, noise, right):
    """In the sum it is `clip_samples * sample_noise`, and that is divided by `batch_size`."""
    monkeypatch.setattr(torch_private, "poisson_batch", lambda n, rate, source: np.zeros(0, np.int64))
    monkeypatch.setattr(torch_private, "discrete_gaussian", noise)
    samples = data(20, 3)
    drawn = np.concatenate([fit(PRIVATE, samples, seed=s, seeded_noise=True).delta for s in range(40)])
    sigma = 0.5 * 1.1 * 0.7 / 8 * math.sqrt(4)  # four steps, each with its own
    chance = stats.chi2.cdf((drawn.astype(float) ** 2).sum() / sigma**2, len(drawn))
    assert (1e-6 < chance < 1 - 1e-6) == right


def test_batches_are_poisson_samples():
    sizes, together = [], 0
    source = seeded_source(5, "test")
    for _ in range(4000):
        batch = torch_private.poisson_batch(20, 0.1, source)
        sizes.append(len(batch))
        together += {3, 4} <= set(batch.tolist())
    counts = [*np.bincount(sizes, minlength=7)[:6], sum(s >= 6 for s in sizes)]
    law = stats.binom(20, 0.1)
    expected = 4000 * np.array([*law.pmf(range(6)), law.sf(5)])
    assert stats.chisquare(counts, expected).pvalue > 1e-6
    assert stats.binomtest(together, 4000, 0.01).pvalue > 1e-6
    assert torch_private.poisson_batch(5, 1.0, source).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # of Opacus's own hooks
def test_gradients_are_those_of_opacus():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2))
    trainer = TorchTrainer(Task(lambda: deepcopy(net)))
    module = GradSampleModule(deepcopy(net))
    samples = data(12, 1, 6, 6)
    x, y = torch.from_numpy(samples.x), torch.from_numpy(samples.y)
    nn.functional.cross_entropy(module(x), y).backward()
    flat = torch.cat([p.grad_sample.flatten(1) for p in module.parameters()], 1).double()
    norms = flat.norm(dim=1, keepdim=True)
    assert norms.min() < 3.0 < norms.max()
    theirs = (flat * (3.0 / norms.clamp(min=3.0))).mean(0)
    ours = trainer._samples.fixed_sum(x, y, 3.0, same_seed).double() * (3.0 / CLIP_UNITS / len(x))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


def test_noise_is_the_systems_unless_a_simulation_asks_for_another():
    samples = data(20, 3)
    assert not np.array_equal(fit(PRIVATE, samples).delta, fit(PRIVATE, samples).delta)
    seeded = [fit(PRIVATE, samples, seeded_noise=True).delta for _ in range(2)]
    assert np.array_equal(*seeded)
    system, repeated = (torch_private.chance(seeded, seed=1, round=1, client="a") for seeded in (False, True))
    assert len({system.model(0, b"one sample") for _ in range(20)}) == 20
    assert len({repeated.model(0, b"one sample") for _ in range(20)}) == 1
    places = [{"round": 1, "client": "a"}, {"round": 2, "client": "a"}, {"round": 1, "client": "b"}]
    others = [torch_private.chance(True, seed=1, **place) for place in places]
    assert len({chance.model(step, b"one sample") for chance in others for step in (0, 1)}) == 6


def test_a_sample_that_is_not_finite_counts_for_nothing(monkeypatch):
    no_noise(monkeypatch)
    samples = data(20, 3)
    broken = Samples(
        np.concatenate([samples.x, [[np.nan, 0, 0]]]).astype(np.float32), np.append(samples.y, 0)
    )
    net = TorchTrainer(Task(linear))
    sums = [
        net._samples.fixed_sum(torch.from_numpy(s.x), torch.from_numpy(s.y), 1.0, same_seed).numpy()
        for s in (samples, broken)
    ]
    np.testing.assert_allclose(sums[0], sums[1], atol=1e-4 * CLIP_UNITS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        *(
            ({name: 0}, "clip_samples .* must be above 0")
            for name in ("clip_samples", "sample_rate", "sample_delta", "batch_size")
        ),
        ({"sample_rate": 1.5}, "sample_rate is 1.5; it must be"),
        ({"sample_rate": -0.5}, "sample_rate is -0.5; it must"),
        ({"sample_delta": 1.0}, "sample_delta is 1.0; it must be"),
        ({"sample_noise": 0.0}, "sample_rate is 0.25; it goes with sample_noise"),
    ],
)
def test_half_a_configuration_is_refused(change, told):
    with pytest.raises(ValueError, match=told):
        replace(PRIVATE, **change)


def test_batch_norm_and_a_batch_of_clients_are_refused():
    trainer = TorchTrainer(Task(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))))
    with pytest.raises(ValueError, match="BatchNorm"):
        trainer.fit(trainer.initial(0), data(9, 3), PRIVATE, seed=1, round=1, client="a")
    cohort = CohortTrainer(Task(linear))
    clients = [("a", data(9, 3)), ("b", data(9, 3))]
    assert "sample_noise" in cohort.choose(cohort.initial(0), clients, PRIVATE, seed=1, round=1).why
    with pytest.raises(ValueError, match="sample_noise"):
        CohortTrainer(Task(linear), mode="batch").choose(cohort.initial(0), clients, PRIVATE, seed=1, round=1)


def test_an_account_is_dp_accountings_and_survives_a_kill(tmp_path):
    file, update = tmp_path / "privacy.jsonl", np.ones(4, np.float32)
    for round in range(1, 4):  # the process is another each time
        own = account.Account("a", PRIVATE, Ledger(account.budget(PRIVATE), file), seeded=False)
        own.check()
        own.record(round, Fit(update * round, np.empty(0, np.float32), 1))
    with file.open("a") as stream:
        stream.write('{"round": 4, "ev')  # killed while it wrote
    spent = Ledger(account.budget(PRIVATE), file).epsilon
    theirs = pld.from_gaussian_mechanism(1.1, sampling_prob=0.25).self_compose(12)
    analytic = theirs.get_epsilon_for_delta(1e-5)
    assert analytic * (1 - 1e-12) <= spent <= 1.01 * analytic
    assert spent == pytest.approx(account.spent(PRIVATE, 3))


def test_what_fails_in_a_step_tells_nothing_of_a_sample(caplog):
    samples = data(20, 3)
    wrong = Samples(samples.x, np.full(20, 77))
    with pytest.raises(ValueError, match="client's own log") as caught:
        fit(replace(PRIVATE, sample_rate=1.0), wrong)
    assert "77" not in str(caught.value)
    assert "77" in caplog.text
