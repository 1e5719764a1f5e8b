"""A client's error stays its own, and a model that cannot be batched is trained in a loop."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.task import Task
from hedgerow.types import Fit, LocalTraining, Samples
from tests.laws.cohort_cases import CLASSES, SHIPPED, Case, the_same, trainer_of


def faulty(case: Case) -> dict[str, Samples]:
    good = case.clients([9, 9, 9, 9, 9])
    x, y = good[0][1].x, good[0][1].y
    return {
        **dict(good),
        "empty": Samples(x[:0], y[:0]),
        "of another shape": Samples(x[..., 1:], y),
        "of bytes": Samples(x.astype(np.uint8), y),
        "of no class": Samples(x, y + CLASSES),
        "of negative classes": Samples(x, y - 1),
        "not finite": Samples(x * np.float32(np.nan), y),
    }


@pytest.mark.parametrize("mode", ["auto", "batch", "loop"])
@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small"])
def test_a_clients_error_is_its_own(name, mode):
    case = SHIPPED[name]
    trainer = CohortTrainer(Task(case.factory), mode=mode)
    model, data = trainer.initial(0), faulty(case)
    got = dict(trainer.fit_many(model, list(data.items()), LocalTraining(), seed=1, round=1))
    assert got.keys() == data.keys()
    for client, result in got.items():
        arguments = (model, data[client], LocalTraining())
        if client.startswith("client"):
            alone = trainer.fit(*arguments, seed=1, round=1, client=client)
            np.testing.assert_allclose(result.delta, alone.delta, rtol=0, atol=1e-6)
        else:
            assert isinstance(result.error, ValueError)
            with pytest.raises(ValueError, match=re.escape(str(result.error))):
                trainer.fit(*arguments, seed=1, round=1, client=client)
    healthy = {n: d for n, d in data.items() if n.startswith("client")}
    for client, fit in trainer.fit_many(model, list(healthy.items()), LocalTraining(), seed=1, round=1):
        assert the_same(fit, got[client])


def test_words_out_of_the_vocabulary_do_not_reach_another_clients_embedding():
    case = SHIPPED["gru-char"]
    trainer, model = trainer_of("gru-char")
    clients = case.clients([5, 5, 5])
    clients[1][1].x[2, 3] = CLASSES
    got = dict(trainer.fit_many(model, clients, LocalTraining(), seed=1, round=1))
    assert isinstance(got["client 1"].error, ValueError)
    assert isinstance(got["client 0"], Fit)
    assert isinstance(got["client 2"], Fit)


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)
        self.last = torch.zeros(CLASSES)

    def forward(self, x):
        out = self.linear(x.flatten(1)) + self.last
        self.last = out.detach().mean(0)
        return out


class Counting(Stateful):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.seen += 1
        return self.linear(x.flatten(1)) / self.seen


class DataDependent(Stateful):
    def forward(self, x):
        return self.linear(x.flatten(1) if x.sum() > 0 else -x.flatten(1))


def hooked():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))
    module[1].register_forward_hook(lambda module, args, out: out * 2)
    return module


class Alpha(Stateful):
    def forward(self, x):
        return F.alpha_dropout(self.linear(x.flatten(1)), 0.5, self.training)


UNBATCHED = {
    "state": (Stateful, "keeps state"),
    "buffer": (Counting, "keeps state"),
    "data-dependent": (DataDependent, "data-dependent"),
    "hooks": (hooked, "hooks"),
    "random numbers": (Alpha, "random"),
}


@pytest.mark.parametrize("name", UNBATCHED)
def test_a_model_that_cannot_be_batched_is_trained_in_a_loop_and_the_reason_is_kept(name):
    factory, reason = UNBATCHED[name]
    clients = Case(factory, (2, 3)).clients([7, 25, 4])
    trainer = CohortTrainer(Task(factory))
    model = trainer.initial(0)
    for client, fit in trainer.fit_many(model, clients, LocalTraining(), seed=1, round=1):
        alone = trainer.fit(model, dict(clients)[client], LocalTraining(), seed=1, round=1, client=client)
        assert the_same(fit, alone)
    assert trainer.choice.method == "loop"
    with pytest.raises(ValueError, match=f"(?s)mode is 'batch', but.*({reason}).*take mode 'auto' or 'loop'"):
        CohortTrainer(Task(factory), mode="batch").choose(model, clients, LocalTraining(), seed=1, round=1)
