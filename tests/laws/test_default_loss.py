"""What is measured where the task does not say it is right, or is left out; it is never guessed."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.cohort.autotune.choice import Choice
from hedgerow.client.task import Task, accuracy
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import FailedFit, LocalTraining, Samples

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
BINARY = (X[:, 0] + 0.1 * RNG.normal(size=60) > 0).astype(np.int64)


def one_column() -> nn.Module:
    net = nn.Linear(4, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0, 0, 0]]))
        net.bias.zero_()
    return net


def bce(outputs, targets):
    return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.float().flatten())


def evaluated(task: Task, x, y):
    trainer = TorchTrainer(task, evaluation_batch=25)
    return trainer.evaluate(trainer.initial(0), Samples(x, y))


@pytest.mark.parametrize(
    "y", [BINARY, BINARY[:, None].astype(np.float32), X[:, :1]], ids=["01", "01f", "numbers"]
)
def test_with_a_loss_of_its_own_nothing_else_is_measured(y):
    assert evaluated(Task(one_column, bce), X, y).keys() == {"loss"}


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_accuracy_of_one_column_is_binary(kind, shape):
    right = float(((X[:, 0] > 0) == BINARY).mean())
    found = evaluated(Task(one_column, bce, {"accuracy": accuracy}), X, BINARY.astype(kind).reshape(shape))
    assert found["accuracy"] == pytest.approx(right)
    assert right > 0.9


def test_a_regression_has_no_accuracy():
    task = Task(one_column, lambda o, y: F.mse_loss(o[:, 0], y), {"accuracy": accuracy})
    with pytest.raises(ValueError, match=r"accuracy of one column.*0 or 1.*metrics={}"):
        evaluated(task, X, X[:, 0].copy())


def test_accuracy_of_several_labels_is_asked_for_by_name():
    task = Task(lambda: nn.Linear(4, 3), F.binary_cross_entropy_with_logits, {"accuracy": accuracy})
    y = (X[:, :3] > 0).astype(np.float32)
    with pytest.raises(ValueError, match="several labels a sample"):
        evaluated(task, X, y)


def test_accuracy_of_each_position_is_a_fraction_of_the_sample():
    outputs = torch.zeros(2, 3, 4)
    outputs[:, 1] = 1
    targets = torch.tensor([[1, 1, 1, 0], [1, -100, 2, -100]])
    assert accuracy(outputs, targets).tolist() == [0.75, 0.5]
    images = torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    assert accuracy(images, torch.zeros(2, 2, 2).long().transpose(1, 2)).tolist() == [1.0, 1.0]
    masks = accuracy(torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[1, 1]]]))
    assert masks.tolist() == [0.5]
    task = Task(lambda: nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 4))))
    assert 0 <= evaluated(task, X, RNG.integers(3, size=(60, 4)))["accuracy"] <= 1


def test_probabilities_of_classes_are_targets_too():
    y = np.eye(3, dtype=np.float32)[RNG.integers(3, size=60)] * 0.9 + 0.1 / 3
    task = Task(lambda: nn.Linear(4, 3))
    found = evaluated(task, X, y)
    assert found == {**found, "accuracy": pytest.approx(evaluated(task, X, y.argmax(1))["accuracy"])}


REFUSED = {
    "one column": (one_column, BINARY, "one column of outputs .*binary_cross_entropy_with_logits"),
    "no column": (lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), BINARY, "one column of outputs"),
    "a number for each": (lambda: nn.Linear(4, 3), X[:, 0].copy(), "targets are float32 .*mse_loss"),
    "several numbers": (lambda: nn.Linear(4, 3), X[:, :3].copy(), "must add up to 1.*mse_loss"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_cross_entropy_of_what_are_no_classes_is_refused_with_the_remedy(case):
    factory, y, message = case
    trainer = TorchTrainer(Task(factory))
    model, data = trainer.initial(0), Samples(X, y)
    with pytest.raises(ValueError, match=f"evaluation: .*{message}"):
        trainer.evaluate(model, data)
    for local in (LocalTraining(), LocalTraining(clip_samples=1.0)):
        with pytest.raises(ValueError, match=f"client 'a', round 1: .*{message}"):
            trainer.fit(model, data, local, seed=0, round=1, client="a")
    cohort = CohortTrainer(Task(factory), choice=Choice("batch", "", 2, 2))
    for _, result in cohort.fit_many(model, [("a", data), ("b", data)], LocalTraining(), seed=0, round=1):
        assert isinstance(result, FailedFit)
        assert "targets" in str(result.error) or "one column" in str(result.error)
