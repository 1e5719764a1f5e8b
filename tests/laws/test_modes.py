"""Each layer trains in the mode that the module's author gave it, alone and side by side with others."""

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.cohort.autotune.choice import Choice
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import FailedFit, LocalTraining, Samples
from tests.cohorts import both, check_company, check_equal

LOCAL = LocalTraining(learning_rate=0.05, batch_size=16)


def samples(n: int, seed: int = 0, shape: tuple[int, ...] = (6,)) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples((3 + 2 * rng.normal(size=(n, *shape))).astype(np.float32), rng.integers(3, size=n))


def fit(trainer, data, local=LOCAL):
    return trainer.fit(trainer.initial(0), data, local, seed=1, round=1, client="a")


def norm_net(still: bool = False) -> nn.Module:
    norm = nn.BatchNorm1d(8)
    return nn.Sequential(nn.Linear(6, 8), norm.eval() if still else norm, nn.Tanh(), nn.Linear(8, 3))


class Frozen(nn.Module):
    """Keeps BatchNorm in evaluation mode whatever it is asked for, as one does in fine-tuning."""

    def __init__(self) -> None:
        super().__init__()
        self.net = norm_net()
        self.net[1].running_mean.fill_(2.5)

    def train(self, mode: bool = True):
        super().train(mode)
        self.net[1].eval()
        return self

    def forward(self, x):
        return self.net(x)


class Dropping(nn.Module):
    """Dropout in evaluation mode, in layers, in a function and in torch's transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(6, 2, 7, 0.4, batch_first=True).eval()
        self.dropout = nn.Dropout(0.5).eval()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(self.dropout(self.encoder(x.unsqueeze(1))).squeeze(1))


@pytest.mark.parametrize("factory", [lambda: norm_net(still=True), Frozen], ids=["factory", "train()"])
@pytest.mark.parametrize("n", [16, 17, 33, 1])
def test_a_frozen_batchnorm_stays_frozen_whatever_is_left_over(factory, n):
    trainer = TorchTrainer(Task(factory))
    model, data = trainer.initial(0), samples(n)
    local = LocalTraining(learning_rate=0.05, batch_size=16, epochs=2)
    result = trainer.fit(model, data, local, seed=1, round=1, client="a")
    assert np.array_equal(result.buffers, model.buffers)
    module = factory().train()
    expected = {name: b.clone() for name, b in module.named_buffers() if "running" in name}
    inner = dict(trainer._net.module.named_buffers())
    assert all(torch.equal(inner[name], values) for name, values in expected.items())


def test_a_batchnorm_in_training_mode_is_in_it_again_after_a_batch_of_one():
    trainer = TorchTrainer(Task(norm_net))
    model = trainer.initial(0)
    twice = LocalTraining(batch_size=16, epochs=2, learning_rate=1e-9)
    once = trainer.fit(model, samples(16), LocalTraining(batch_size=16, learning_rate=1e-9), seed=1, round=1,
                       client="a").buffers  # fmt: skip
    again = trainer.fit(model, samples(17), twice, seed=1, round=1, client="a").buffers
    assert np.abs(again[:8]).sum() > 1.5 * np.abs(once[:8]).sum()


def test_an_error_in_a_batch_of_one_leaves_no_layer_in_another_mode():
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = norm_net()

        def forward(self, x):
            if (self.net(x) if len(x) == 1 else x).shape[1] == 3 and x.max() > 100:
                raise RuntimeError("no")
            return self.net(x)

    used, fresh = TorchTrainer(Task(Choosy)), TorchTrainer(Task(Choosy))
    with pytest.raises(ValueError, match="no"):
        fit(used, Samples(np.full((1, 6), 1000, np.float32), np.zeros(1, np.int64)))
    assert all(m.training for m in used._net.module.modules())
    assert fit(used, samples(16)).buffers.tobytes() == fit(fresh, samples(16)).buffers.tobytes()


def test_dropout_that_the_factory_turned_off_drops_nothing():
    def net(dropout: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), dropout, nn.Linear(8, 3))

    off = fit(TorchTrainer(Task(lambda: net(nn.Dropout(0.5).eval()))), samples(20))
    without = fit(TorchTrainer(Task(lambda: net(nn.Identity()))), samples(20))
    assert off.delta.tobytes() == without.delta.tobytes()


def test_a_batch_of_one_that_cannot_be_normalised_says_change_batch_size():
    def net() -> nn.Module:
        norm = nn.BatchNorm1d(8, track_running_stats=False)
        return nn.Sequential(nn.Linear(6, 8), norm, nn.Linear(8, 3))

    trainer = TorchTrainer(Task(net), evaluation_batch=16)
    assert np.isfinite(fit(trainer, samples(16)).delta).all()
    with pytest.raises(ValueError, match=r"client 'a', round 1: .*change batch_size"):
        fit(trainer, samples(17))
    with pytest.raises(ValueError, match=r"evaluation: .*evaluation_batch"):
        trainer.evaluate(trainer.initial(0), samples(17))
    with pytest.raises(ValueError, match=r"clip_samples.*'1' mixes"):
        fit(trainer, samples(16), LocalTraining(clip_samples=1.0))
    cohort = CohortTrainer(Task(net), mode="batch")
    some = [("a", samples(9)), ("b", samples(5))]
    with pytest.raises(ValueError, match="BatchNorm layer '1' has no form"):
        cohort.choose(cohort.initial(0), some, LocalTraining(batch_size=0), seed=1, round=1)


@pytest.mark.parametrize("clip_samples", [0.0, 0.7])
@pytest.mark.parametrize("factory", [lambda: norm_net(still=True), Frozen, Dropping])
def test_side_by_side_the_modes_are_the_same(factory, clip_samples):
    some = [(f"client {k}", samples(n, k)) for k, n in enumerate([17, 16, 5, 1, 33])]
    local = LocalTraining(learning_rate=0.05, batch_size=16, clip_samples=clip_samples)
    together, alone = both(factory, some, local)
    check_equal(together, alone)
    assert all(np.array_equal(together[name].buffers, fit.buffers) for name, fit in alone.items())
    check_company(factory, some, local, 4, 4)


def test_samples_that_batchnorm_mixes_are_not_clipped_side_by_side_either():
    trainer = CohortTrainer(Task(norm_net), choice=Choice("batch", "", 2, 2))
    some = [("a", samples(9)), ("b", samples(5))]
    local = LocalTraining(clip_samples=1.0)
    for name, result in trainer.fit_many(trainer.initial(0), some, local, seed=1, round=1):
        assert isinstance(result, FailedFit), name
        assert "'1' mixes" in str(result.error)
