"""What a graph would not show as torch has it is refused, by name."""

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.export.errors import CannotExport
from hedgerow.models import build
from hedgerow.types import LocalTraining, Samples
from tests.laws.export_steps import exported


def local(**settings) -> LocalTraining:
    return LocalTraining(**{"batch_size": 6, **settings})


class Stateful(nn.Linear):
    def forward(self, x):
        self.seen = x.mean()
        return super().forward(x)


class Deciding(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


class Sorted(nn.Linear):
    def forward(self, x):
        return super().forward(x.sort(1).values)


class Counting(nn.Linear):
    """Of what it counts, a trainer starts anew in every fit; here in every step."""

    def __init__(self, *sizes, buffer=0):
        super().__init__(*sizes)
        self.register_buffer("seen", torch.tensor(buffer))

    def forward(self, x):
        self.seen += 1
        return super().forward(x) / self.seen


class Centred(nn.Linear):
    def forward(self, x):
        return super().forward(x - x.mean(0))


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (lambda: Counting(4, 2), r"never sent \('seen'\)"),
        (lambda: Counting(4, 2, buffer=0.5), "changes a tensor that is constant"),
        (lambda: Centred(4, 2), "mixes the samples of a batch"),
        (lambda: nn.Sequential(Stateful(4, 2)), "keeps state that is no buffer"),
        (lambda: nn.Sequential(Deciding(4, 2)), r"0 \(Deciding\) cannot be written as a graph"),
        (lambda: nn.Sequential(Sorted(4, 2)), r"0 \(Sorted\) uses aten\.sort\.default, which has no"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.CELU(), nn.RReLU(), nn.Linear(4, 2)), r"2 \(RReLU\)"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_module_that_it_comes_from(net, told):
    data = Samples(np.ones((3, 4), "float32"), np.zeros(3, np.int64))
    with pytest.raises(CannotExport, match=told):
        exported(Task(net), local(), data)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        (
            {"clip_samples": 1.0, "sample_noise": 1.0, "sample_rate": 0.1, "sample_delta": 1e-5},
            "sample_noise is 1",
        ),
        ({"clip_samples": 1.0}, "'norm1' mixes the samples"),
    ],
)
def test_settings_that_a_graph_cannot_have_are_refused(settings, told):
    with pytest.raises(CannotExport, match=told):
        exported(
            Task(build("cnn-1d", input_shape=(3, 16), num_classes=2, batch_norm=True)),
            local(**settings),
            Samples(np.ones((3, 3, 16), "float32"), np.zeros(3, np.int64)),
        )


def test_a_loss_that_is_no_mean_over_its_samples_is_refused():
    task = Task(lambda: nn.Linear(4, 1), loss=lambda outputs, y: nn.functional.mse_loss(outputs, y).sqrt())
    with pytest.raises(CannotExport, match="needs a loss that is the mean"):
        exported(task, local(), Samples(np.ones((3, 4), "float32"), np.ones((3, 1), "float32")))
